// What the server counts, as it counts it: the text of /metrics.

import { breakable, call, count, element, percent } from "./api.js";

const POLL = 2000;  // milliseconds
const INPUTS = ["values", "missing", "unknown", "outside"];
const MOST = 12;  // columns shown

export function parse(text) {
  const samples = [];
  for (const line of text.split("\n")) {
    const found = line.match(/^ludocast_(\w+)(?:\{(.*)\})? (\S+)$/);
    if (!found) continue;
    const labels = {};
    for (const [, name, value] of (found[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
      labels[name] = value.replace(/\\(.)/g, (_, one) => (one === "n" ? "\n" : one));
    }
    samples.push({ name: found[1], labels, value: Number(found[3]) });
  }
  return samples;
}

export class Live {
  constructor(counters, drift, alive, model) { Object.assign(this, { counters, drift, alive, model, before: null }); }

  async start() {
    try {
      const samples = parse(await (await call("metrics")).text());
      this.alive(true);
      this.show(samples);
    } catch (error) {
      this.alive(error.status !== 0);
      if ([401, 403, 404].includes(error.status)) {
        this.counters.replaceChildren(element("p", { class: "soft" }, error.message));
        return;
      }
    }
    setTimeout(() => this.start(), POLL);
  }

  show(samples) {
    const total = (name, of = () => true) => samples.filter((one) => one.name === name && of(one.labels)).reduce((sum, one) => sum + one.value, 0);
    const predicts = (labels) => labels.route.endsWith("predict") || labels.route.includes("infer") || labels.route.includes("execute");
    const now = { at: performance.now() / 1000, requests: total("requests_total", predicts), rows: total("rows_total") };
    const seconds = this.before ? now.at - this.before.at : 0;
    const rate = (name) => (seconds ? (now[name] - this.before[name]) / seconds : 0);
    const batches = total("batch_calls_count");
    const cards = [
      ["predictions asked for", count(now.requests)], ["rows predicted", count(now.rows)],
      ["requests a second", rate("requests").toFixed(1)], ["rows a second", rate("rows").toFixed(1)],
      ["99 of 100 within", this.within(samples, predicts, 0.99)],
      ["requests scored at once", batches ? (total("batch_calls_sum") / batches).toFixed(1) : "–"],
      ["waiting", count(total("queue_calls"))], ["refused or failed", count(total("requests_total", (labels) => predicts(labels) && Number(labels.status) >= 400))],
    ];
    this.counters.replaceChildren(...cards.map(([title, value]) => element("div", { class: "number" }, element("b", {}, value), title)));
    this.before = now;
    this.showInputs(samples);
  }

  // The upper bound below which that share lies.
  within(samples, of, share) {
    const below = new Map();
    for (const one of samples) {
      if (one.name === "request_seconds_bucket" && of(one.labels)) below.set(one.labels.le, (below.get(one.labels.le) ?? 0) + one.value);
    }
    const all = below.get("+Inf") ?? 0;
    if (!all) return "–";
    const found = [...below].find(([, value]) => value >= share * all)[0];
    return found === "+Inf" ? "> 30 s" : `${Number((1000 * Number(found)).toPrecision(3))} ms`;
  }

  showInputs(samples) {
    const model = this.model();
    const columns = new Map();
    for (const { name, labels, value } of samples) {
      const what = name.match(/^input_(\w+)_total$/)?.[1];
      if (!INPUTS.includes(what) || labels.model !== model.name || labels.version !== model.version) continue;
      const of = columns.get(labels.column) ?? Object.fromEntries(INPUTS.map((one) => [one, 0]));
      columns.set(labels.column, { ...of, [what]: of[what] + value });
    }
    const odd = [...columns].filter(([, of]) => of.values > 0 && of.missing + of.unknown + of.outside > 0).map(([column, of]) =>
      [column, ...["missing", "unknown", "outside"].map((what) => of[what] / of.values)])
      .sort((a, b) => Math.max(b[1], b[2], b[3]) - Math.max(a[1], a[2], a[3])).slice(0, MOST);
    this.drift.hidden = !columns.size;
    if (!odd.length) {
      this.drift.replaceChildren(element("p", { class: "soft" }, "Nothing that was asked so far is missing, of an unknown category or outside the range of the training."));
      return;
    }
    this.drift.replaceChildren(element("h3", {}, "What was asked, beside the training"), element("div", { class: "scroll" },
      element("table", { class: "drift" }, element("thead", {}, element("tr", {},
        ...["column", "missing", "unknown category", "outside the range"].map((name) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, ...odd.map(([column, ...shares]) => element("tr", {}, element("td", {}, ...breakable(column)), ...shares.map((one) => element("td", {}, percent(one)))))))));
  }
}
