// Calls of the server; a key is kept for this tab alone.

const KEY = "ludocast-key";

export class Refused extends Error {
  constructor(status, sentence) { super(sentence); this.status = status; }
}

export function key() { return sessionStorage.getItem(KEY) ?? ""; }
export function setKey(value) { sessionStorage.setItem(KEY, value); }

export async function call(path, options = {}) {
  const headers = new Headers(options.headers);
  if (key()) headers.set("Authorization", `Bearer ${key()}`);
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch {
    throw new Refused(0, "the server cannot be reached");
  }
  if (answer.ok) return answer;
  let sentence = `the server answered ${answer.status}`;
  try { sentence = (await answer.json()).error ?? sentence; } catch { /* no JSON: the status is all there is */ }
  throw new Refused(answer.status, sentence);
}

export async function getJson(path) { return (await call(path)).json(); }

export async function predict(model, records) {
  const answer = await call(`models/${encodeURIComponent(model)}/predict`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(records),
  });
  return answer.json();
}

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (attribute in made && typeof value !== "string") made[attribute] = value;
    else if (value !== null) made.setAttribute(attribute, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

export function number(value) { return String(Number(value.toPrecision(4))); }

export function percent(p) { return `${(100 * p).toFixed(p > 0.0995 && p < 0.9995 ? 1 : 2)} %`; }
export function count(n) { return Math.round(n).toLocaleString("en"); }

// A name that may be broken behind an underscore.
export function breakable(name) { return name.split("_").flatMap((part, place) => (place ? ["_", document.createElement("wbr"), part] : [part])); }
