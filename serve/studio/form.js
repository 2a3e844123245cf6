// A form made from what a model reads: one field a column, with the values of the training.

import { element } from "./api.js";

const SHOWN_ITEMS = 2000;  // of a list to choose from

function hint(input) {
  if (input.kind === "timestamp" && input.range) {
    return input.range.map((second) => new Date(1000 * second).toISOString().slice(0, 10)).join(" to ");
  }
  return input.range ? `${number(input.range[0])} to ${number(input.range[1])}` : "";
}

function number(value) { return String(Number(value.toPrecision(5))); }

function control(input, id) {
  if (input.form !== "cell") return element("textarea", { id, rows: "6", spellcheck: "false", placeholder: "one entry a line" });
  if (input.kind === "boolean" || (input.categories && input.categories.length)) {
    const values = input.kind === "boolean" ? ["true", "false"] : input.categories;
    const list = element("datalist", { id: `${id}-list` }, ...values.slice(0, SHOWN_ITEMS).map((value) => element("option", { value })));
    return [element("input", { id, list: `${id}-list`, placeholder: "missing", autocomplete: "off" }), list];
  }
  return element("input", { id, placeholder: "missing", autocomplete: "off", inputmode: input.kind === "number" ? "decimal" : "text" });
}

export class PlayerForm {
  constructor(holder, model) {
    this.model = model;
    this.inputs = model.inputs;
    this.example = 0;
    holder.replaceChildren(...this.inputs.map((input, place) => {
      const id = `field-${place}`;
      const more = hint(input);
      return element("label", { class: input.form === "cell" ? "field" : "field wide", for: id },
        element("span", { class: "name" }, input.column), ...[control(input, id)].flat(), more ? element("small", {}, more) : null);
    }));
    this.fields = this.inputs.map((_, place) => holder.querySelector(`#field-${place}`));
    this.next();
  }

  // The next of the model's examples.
  next() {
    const examples = this.model.examples.filter((row) => Object.values(row).some((value) => value !== null && value.length !== 0));
    this.set(examples[this.example++ % examples.length]);
  }

  set(record) {
    this.inputs.forEach((input, place) => {
      const value = record[input.column] ?? "";
      this.fields[place].value = Array.isArray(value) ? value.map((one) => one ?? "").join("\n") : String(value);
    });
    this.mark(null);
  }

  get record() {
    return Object.fromEntries(this.inputs.map((input, place) => [input.column, this.value(input, this.fields[place].value)]));
  }

  value(input, text) {
    if (input.form !== "cell") return text.split("\n").filter((line) => line.trim()).map((line) => this.cell(input, line.trim()));
    return this.cell(input, text.trim());
  }

  // The server reads numbers in texts and says what is wrong with one that is none.
  cell(input, text) {
    if (text === "") return null;
    if (input.kind === "boolean") return text === "true" ? true : text === "false" ? false : text;
    return input.kind === "number" && Number.isFinite(Number(text)) ? Number(text) : text;
  }

  mark(column) {
    this.inputs.forEach((input, place) => {
      const wrong = input.column === column;
      this.fields[place].closest(".field").classList.toggle("wrong", wrong);
      this.fields[place].setAttribute("aria-invalid", String(wrong));
      if (wrong) this.fields[place].focus();
    });
  }
}
