export class Batch { }
