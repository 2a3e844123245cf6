// What a model answered, and what would change it.

import { breakable, element, number, percent } from "./api.js";

const STEPS = 7;  // values that a number is set to
const MOST = 8;  // columns shown
const MOST_VALUES = 12;  // of a category

export function showAnswer(holder, model, answer, whatIf) {
  const found = answer.predictions[0];
  const warnings = answer.warnings.length
    ? element("ul", { class: "warn" }, ...answer.warnings.map((sentence) => element("li", {}, sentence))) : null;
  holder.replaceChildren(...[body(model, found)].flat(), warnings ?? "", whatIf ?? "");
}

export function showError(holder, sentence) { holder.replaceChildren(element("p", { class: "error" }, sentence)); }

function body(model, found) {
  if (found.items) {
    return [element("h3", {}, found.items.length ? "Suggestions, the best first" : "No suggestion is left"),
      element("ol", { class: "items" }, ...found.items.map((one) => element("li", {}, element("b", {}, one.item),
        one.because && one.because.length ? element("small", {}, ` because of ${one.because.join(", ")}`) : null)))];
  }
  if (model.labels) {
    const each = model.classes.map((name, place) => ({ name, p: found.probabilities[name], threshold: model.labels[place].threshold }))
      .sort((a, b) => b.p - a.p);
    return [element("p", { class: "verdict" }, element("b", {}, found.labels.length), element("span", {}, `of ${each.length} labels`)),
      ...each.map(({ name, p, threshold }) => element("div", { class: "label" },
        element("div", {}, element("span", { class: found.labels.includes(name) ? "tag" : "soft" }, name), ` ${percent(p)}`), meter(p, threshold))),
      element("p", { class: "soft" }, "A label is answered from its mark on.")];
  }
  if (found.labels) {
    return [element("h3", {}, model.task === "next" ? "What is likeliest next" : "Of each step"),
      element("ol", { class: "items" }, ...found.labels.map((label, place) =>
        element("li", {}, element("span", { class: "tag" }, label), ` ${percent(found.probabilities[place])}`)))];
  }
  if (found.value !== undefined) {
    return [element("p", { class: "verdict" }, element("b", {}, number(found.value)), element("span", {}, "predicted value")),
      element("p", { class: "soft" }, `${percent(model.coverage)} of true values are to lie within ${number(found.lower)} and ${number(found.upper)}`)];
  }
  if (found.segment !== undefined) {
    const [measure] = model.measures;
    const isDistance = measure === "distances";
    const each = Object.entries(found[measure]).sort((a, b) => isDistance ? a[1] - b[1] : b[1] - a[1]).slice(0, MOST);
    return [element("p", { class: "verdict" }, element("b", {}, found.segment), element("span", {}, "segment")),
      element("p", { class: "soft" }, isDistance ? "Distance to each, the nearest first" : "Probability of each"),
      element("ul", { class: "items" }, ...each.map(([name, one]) =>
        element("li", {}, element("span", { class: "tag" }, name), ` ${isDistance ? number(one) : percent(one)}`))),
      found.anomaly === undefined ? "" : element("p", {}, `anomaly score ${number(found.anomaly)}: below 0.5 ordinary, near 1 odd`)];
  }
  const p = found.probability;
  const threshold = model.threshold ?? null;
  const of = model.positive ?? found.label;
  const rest = model.positive === null
    ? element("ol", { class: "items" }, ...Object.entries(found.probabilities).sort((a, b) => b[1] - a[1])
      .slice(0, MOST).map(([name, one]) => element("li", {}, `${name} ${percent(one)}`))) : null;
  return [element("p", { class: "verdict" }, element("b", {}, percent(p)), element("span", {}, `probability of ${of}`)), meter(p, threshold),
    element("p", { class: "soft" }, "answered: ", element("span", { class: "tag" }, found.label),
      threshold === null ? "" : ` (${model.positive} from ${percent(threshold)} on)`), rest ?? ""];
}

function meter(p, threshold) {
  const bar = element("div", { class: threshold !== null && p >= threshold ? "meter high" : "meter" }, element("i", {}));
  bar.firstChild.style.width = `${100 * p}%`;
  if (threshold !== null) {
    const mark = element("u", { title: `threshold ${threshold}` });
    mark.style.left = `${100 * threshold}%`;
    bar.append(mark);
  }
  return bar;
}

// Records of the same row with one column changed, and which column and value each has.
export function variations(model, record) {
  const records = [], changes = [];
  for (const input of model.inputs) {
    if (input.form !== "cell" || !(input.column in record)) continue;
    for (const value of valuesOf(input)) {
      records.push({ ...record, [input.column]: value });
      changes.push({ column: input.column, value });
    }
  }
  return { records, changes };
}

function valuesOf(input) {
  if (input.kind === "boolean") return [true, false];
  if (input.categories && input.categories.length) return input.categories.slice(0, MOST_VALUES);
  if (!input.range) return [];
  const [low, high] = input.range;
  if (input.kind === "timestamp") {
    return Array.from({ length: STEPS }, (_, step) => new Date(1000 * (low + (high - low) * step / (STEPS - 1))).toISOString());
  }
  const whole = Number.isInteger(low) && Number.isInteger(high) && high - low >= STEPS - 1;
  const values = Array.from({ length: STEPS }, (_, step) => low + (high - low) * step / (STEPS - 1));
  return [...new Set(whole ? values.map(Math.round) : values)];
}

// A span a column: the least and the highest probability, value or distance, if that column alone were another.
export function whatIf(model, now, changes, predictions) {
  if (!model.labels) return spans(model, now, changes, predictions, null);
  // Of several labels one at a time, first the likeliest.
  const names = [...model.classes].sort((a, b) => now.probabilities[b] - now.probabilities[a]);
  const holder = element("div", {});
  const choice = element("select", {}, ...names.map((name) => element("option", { value: name }, name)));
  const draw = () => holder.replaceChildren(spans(model, now, changes, predictions, choice.value) ?? element("p", { class: "soft" }, "No column would."));
  choice.addEventListener("change", draw);
  draw();
  return element("div", {}, element("label", { class: "field" }, "What would change the label ", choice), holder);
}

function spans(model, now, changes, predictions, label) {
  const isSegment = now.segment !== undefined;
  const isNumber = now.value !== undefined || (isSegment && model.measures[0] === "distances");
  const score = (one) => label !== null ? one.probabilities[label] : isSegment ? one[model.measures[0]][now.segment] : isNumber ? one.value : model.positive !== null ? one.probability : one.probabilities[now.label];
  const said = isNumber ? number : percent;
  const current = score(now);
  const found = new Map();
  predictions.forEach((one, place) => {
    const { column, value } = changes[place];
    const p = score(one);
    const span = found.get(column) ?? { column, low: current, high: current, lowAt: null, highAt: null };
    if (p < span.low) Object.assign(span, { low: p, lowAt: value });
    if (p > span.high) Object.assign(span, { high: p, highAt: value });
    found.set(column, span);
  });
  const kinds = new Map(model.inputs.map((input) => [input.column, input.kind]));
  const shown = [...found.values()].sort((a, b) => b.high - b.low - (a.high - a.low)).slice(0, MOST).filter((one) => one.high > one.low);
  if (!shown.length) return null;
  const limits = isNumber ? [Math.min(...shown.map((one) => one.low)), Math.max(...shown.map((one) => one.high))] : [0, 1];
  const rows = shown.map((span) => {
    const text = [[span.low, span.lowAt], [span.high, span.highAt]].filter(([, at]) => at !== null)
      .map(([p, at]) => `${said(p)} at ${shownValue(at, kinds.get(span.column))}`).join(", ");
    return element("tr", {}, element("th", { scope: "row" }, ...breakable(span.column), element("br"), element("small", {}, text)),
      element("td", {}, drawSpan(span, current, limits, `${span.column}: ${text}`)));
  });
  return element("div", {}, label === null ? element("h3", {}, "What would change it") : "",
    element("p", { class: "soft" }, "Each column alone set to other values of the training; the dot is this row. It tells of the model, not of causes."),
    element("table", { class: "what-if" }, element("tbody", {}, ...rows)));
}

function shownValue(value, kind) {
  if (kind === "timestamp") return value.slice(0, 10);
  return typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value);
}

function drawSpan(span, current, [least, most], title) {
  const ns = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(ns, "svg");
  svg.setAttribute("viewBox", "0 0 200 24");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", title);
  const line = (x1, x2, name) => {
    const made = document.createElementNS(ns, "line");
    for (const [key, value] of Object.entries({ x1, x2, y1: 12, y2: 12, class: name })) made.setAttribute(key, value);
    svg.append(made);
  };
  const at = (p) => 6 + 188 * (p - least) / (most - least);
  line(at(least), at(most), "track");
  line(at(span.low), at(span.high), "span");
  const dot = document.createElementNS(ns, "ellipse");
  for (const [key, value] of Object.entries({ cx: at(current), cy: 12, rx: 4.5, ry: 6, class: "now" })) dot.setAttribute(key, value);
  svg.append(dot);
  return svg;
}
