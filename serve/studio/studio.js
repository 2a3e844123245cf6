// The page: which model, its form and answers; the parts are in the files beside this one.

import { Refused, count, element, getJson, key, predict, setKey } from "./api.js";
import { showAnswer, showError, variations, whatIf } from "./answer.js";
import { Batch } from "./batch.js";
import { PlayerForm } from "./form.js";
import { Live } from "./live.js";
import { LANGUAGES, snippet } from "./snippets.js";

const MOST_VARIATIONS = 4000;  // rows of one question
const METRICS = 6;  // shown
const LISTS = /@(10|20)$/;  // of lists the lengths that are shown

const part = (id) => document.getElementById(id);
let model, form, language = LANGUAGES[0], asked = 0;

function say(state, text) { part("state").className = state; part("state").textContent = text; }

async function start() {
  let models;
  try {
    models = (await getJson("models")).models;
  } catch (error) {
    if (error instanceof Refused && [401, 403].includes(error.status)) {
      part("key-form").hidden = false;
      part("key").focus();
      say("down", error.message.split(";")[0]);  // the header that programs send is not for people
    } else {
      say("down", error.message);
      setTimeout(start, 2000);
    }
    return;
  }
  part("key-form").hidden = true;
  document.querySelector("main").hidden = false;
  say("up", "answers");
  part("models").replaceChildren(...models.map((one) => element("option", { value: one.name }, one.name)));
  document.querySelector(".picker").hidden = models.length < 2;
  await choose(models[0].name);
  await batch.start();
  new Live(part("counters"), part("drift"), (up) => say(up ? "up" : "down", up ? "answers" : "the server cannot be reached"), () => model).start();
}

async function choose(name) {
  model = await getJson(`models/${encodeURIComponent(name)}`);
  document.title = `${model.name} – ludocast`;
  part("model-name").textContent = model.name;
  part("model-about").textContent = about(model);
  part("metrics").replaceChildren(...Object.entries(model.metrics).filter(([title, one]) => Number.isFinite(one?.value ?? one) && (!title.includes("@") || LISTS.test(title))).slice(0, METRICS)
    .map(([title, one]) => element("div", { class: "number" }, element("b", {}, (one.value ?? one).toFixed(4)), title.replaceAll("_", " "),
      one.low === undefined ? null : element("small", {}, element("br"), `${one.low.toFixed(3)} to ${one.high.toFixed(3)}`))));
  form = new PlayerForm(part("fields"), model);
  part("answer").replaceChildren(element("p", { class: "soft" }, "Fill in the form and press Predict."));
  await ask();
}

function about(one) {
  const what = { items: `suggests among ${count(one.classes.length)} items`, tags: "labels each step", next: "tells what is likely next" }[one.task]
    ?? (one.labels !== null ? `tells which of ${count(one.classes.length)} labels a row has` : one.coverage !== null ? "predicts a number" : one.measures !== null ? `tells which of ${count(one.classes.length)} segments` : one.positive === null ? `tells ${count(one.classes.length)} classes apart` : `tells how likely ${one.positive} is`);
  return `version ${one.version}, made ${one.created.slice(0, 10)}; ${what} from ${count(one.inputs.length)} column${one.inputs.length === 1 ? "" : "s"}`;
}

async function ask() {
  const number = ++asked, record = form.record, of = model;
  form.mark(null);
  showSnippet();
  try {
    const answer = await predict(of.name, [record]);
    if (number !== asked) return;
    showAnswer(part("answer"), of, answer, null);
    if (answer.predictions[0].items || (answer.predictions[0].labels && !of.labels)) return;
    const { records, changes } = variations(of, record);
    if (!records.length || records.length > MOST_VARIATIONS) return;
    const others = await predict(of.name, records);
    if (number === asked) showAnswer(part("answer"), of, answer, whatIf(of, answer.predictions[0], changes, others.predictions));
  } catch (error) {
    if (number !== asked) return;
    showError(part("answer"), error.message);
    form.mark(error.message.match(/column "([^"]+)"/)?.[1] ?? null);
  }
}

function showSnippet() {
  part("snippet").textContent = snippet(language, model, form.record, key() !== "");
  for (const tab of part("tabs").children) {
    const selected = tab.textContent === language;
    tab.setAttribute("aria-selected", String(selected));
    tab.tabIndex = selected ? 0 : -1;
  }
}

part("tabs").replaceChildren(...LANGUAGES.map((name) => element("button", { role: "tab", type: "button", "aria-controls": "snippet-panel" }, name)));
part("tabs").addEventListener("click", (event) => {
  if (event.target.role === "tab" || event.target.getAttribute("role") === "tab") { language = event.target.textContent; showSnippet(); }
});
part("tabs").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  language = LANGUAGES[(LANGUAGES.indexOf(language) + step + LANGUAGES.length) % LANGUAGES.length];
  showSnippet();
  part("tabs").querySelector("[aria-selected=true]").focus();
});
part("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText(part("snippet").textContent);
  part("copy").textContent = "Copied";
  setTimeout(() => { part("copy").textContent = "Copy"; }, 1500);
});
part("models").addEventListener("change", (event) => choose(event.target.value));
part("player").addEventListener("submit", (event) => { event.preventDefault(); ask(); });
part("player").addEventListener("input", () => showSnippet());
part("example").addEventListener("click", () => { form.next(); ask(); });
part("key-form").addEventListener("submit", (event) => { event.preventDefault(); setKey(part("key").value); start(); });
const batch = new Batch(part("batch"), () => model);
start();
