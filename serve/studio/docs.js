// All routes of the server, from its OpenAPI document, each with a form to try it.

import { element, key, setKey } from "./api.js";

const part = (id) => document.getElementById(id);
const JSON_TYPE = "application/json";

function say(state, text) { part("state").className = state; part("state").textContent = text; }

async function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  if (key()) headers.set("Authorization", `Bearer ${key()}`);
  return fetch(path.replace(/^\//, ""), { ...options, headers });
}

async function start() {
  let answer;
  try {
    answer = await ask("/openapi.json");
  } catch {
    say("down", "the server cannot be reached");
    return;
  }
  const found = await answer.json();
  if (!answer.ok) {
    say("down", found.error.split(";")[0]);
    part("key-form").hidden = ![401, 403].includes(answer.status);
    if (!part("key-form").hidden) part("key").focus();
    return;
  }
  part("key-form").hidden = true;
  say("up", "answers");
  show(found);
}

function show(found) {
  part("about").textContent = `${found.info.title} ${found.info.version}: every route, as its OpenAPI document tells. Errors are a sentence in {"error": …}.`;
  const byTag = new Map();
  for (const [path, operations] of Object.entries(found.paths)) {
    for (const [verb, operation] of Object.entries(operations)) {
      const tag = operation.tags?.[0] ?? "other";
      byTag.set(tag, [...(byTag.get(tag) ?? []), route(found, verb, path, operation)]);
    }
  }
  part("routes").replaceChildren(...[...byTag].map(([tag, routes]) => element("section", {}, element("h2", {}, tag), ...routes)));
  const schemas = Object.entries(found.components.schemas).map(([name, schema]) => element("details", { class: "schema", id: `schema-${name}` },
    element("summary", {}, name), element("pre", { tabIndex: 0 }, JSON.stringify(schema, null, 2))));
  part("schemas").hidden = false;
  part("schemas").replaceChildren(element("h2", {}, "Schemas"), ...schemas);
}

function route(found, verb, path, operation) {
  const made = element("details", { class: "card route" }, element("summary", {},
    element("span", { class: `verb ${verb}` }, verb.toUpperCase()), element("span", { class: "path" }, path),
    element("span", { class: "soft" }, operation.summary ?? "")));
  // Filled when it is opened: a server of many models has many routes.
  made.addEventListener("toggle", () => { if (made.open && made.children.length === 1) made.append(inside(verb, path, operation)); });
  return made;
}

function inside(verb, path, operation) {
  const inputs = (operation.parameters ?? []).map((parameter) => [parameter, parameterInput(parameter)]);
  const contents = Object.entries(operation.requestBody?.content ?? {});
  const body = bodyInput(contents);
  const output = element("pre", { tabIndex: 0, hidden: true, "aria-live": "polite" });
  const form = element("form", {},
    operation.description ? element("p", {}, operation.description) : null,
    inputs.length ? element("div", { class: "inputs" }, ...inputs.map(([parameter, input]) => element("label", {}, `${parameter.name} `,
      element("small", {}, `${parameter.in}${parameter.description ? `: ${parameter.description}` : ""}`), input))) : null,
    body && element("label", {}, "Body ", element("small", {}, contents.map(([type]) => type).join(", ")), body),
    element("p", { class: "actions" }, element("button", { type: "submit" }, "Try it")), output);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    output.hidden = false;
    output.textContent = "…";
    output.textContent = await tried(verb, path, inputs, body?.value, contents[0]?.[0]);
  });
  return element("div", {}, form, element("h4", {}, "Answers"), codes(operation), ...schemaLinks(operation));
}

function parameterInput(parameter) {
  const schema = parameter.schema ?? {};
  const values = schema.enum ?? (schema.type === "boolean" ? ["true", "false"] : schema.const ? [schema.const] : null);
  if (values === null) return element("input", { name: parameter.name, required: parameter.required === true, spellcheck: false });
  const options = parameter.required ? values : ["", ...values];
  return element("select", { name: parameter.name }, ...options.map((value) => element("option", { value }, value || "—")));
}

function bodyInput(contents) {
  if (!contents.length) return null;
  const [type, content] = contents[0];
  const text = type === JSON_TYPE ? JSON.stringify(content.example ?? {}, null, 1) : "";
  return element("textarea", { spellcheck: false, rows: 8 }, text);
}

async function tried(verb, path, inputs, body, type) {
  let place = path;
  const query = new URLSearchParams(), headers = {};
  for (const [{ name, in: where }, { value }] of inputs) {
    if (where === "path") place = place.replace(`{${name}}`, encodeURIComponent(value));
    else if (value && where === "query") query.set(name, value);
    else if (value && where === "header") headers[name] = value;
  }
  if (body !== undefined) headers["Content-Type"] = type;
  const start = performance.now();
  let answer;
  try {
    answer = await ask(place + (query.size ? `?${query}` : ""), { method: verb.toUpperCase(), headers, body });
  } catch {
    return "the server cannot be reached";
  }
  const head = `${answer.status} ${answer.statusText}, ${Math.round(performance.now() - start)} ms, ${answer.headers.get("content-type")}\n\n`;
  const text = await answer.text();
  try { return head + JSON.stringify(JSON.parse(text), null, 1); } catch { return head + text; }
}

function codes(operation) {
  return element("table", { class: "codes" }, ...Object.entries(operation.responses).sort().map(([code, response]) =>
    element("tr", {}, element("th", { scope: "row" }, code), element("td", {}, response.description))));
}

function schemaLinks(operation) {
  const names = [...new Set(JSON.stringify(operation).match(/#\/components\/schemas\/[^"]+/g) ?? [])].map((one) => one.split("/").pop());
  if (!names.length) return [];
  const links = names.map((name) => {
    const link = element("a", { href: `#schema-${name}` }, name);
    link.addEventListener("click", () => { part(`schema-${name}`).open = true; });
    return link;
  });
  return [element("h4", {}, "Schemas"), element("p", {}, ...links.flatMap((link, at) => (at ? [", ", link] : [link])))];
}

part("key-form").addEventListener("submit", (event) => { event.preventDefault(); setKey(part("key").value.trim()); start(); });
start();
