export class Live { start() { } }
