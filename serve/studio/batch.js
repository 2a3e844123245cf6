// Tables that are scored in the background: sent, watched, fetched.

import { call, count, element, getJson, key, percent } from "./api.js";

const POLL = 700;  // milliseconds
const ENDED = ["done", "failed", "cancelled"];

export class Batch {
  constructor(form, model) {
    this.form = form;
    this.model = model;
    this.note = form.querySelector("#batch-note");
    this.list = form.querySelector("#jobs");
    this.file = form.querySelector("#batch-file");
    this.text = form.querySelector("#batch-text");
    this.shown = new Map();
    this.dropped = null;
    const drop = form.querySelector("#drop");
    for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
    for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.remove("over"); });
    drop.addEventListener("drop", (event) => { [this.dropped] = event.dataTransfer.files; this.say(`${this.dropped.name} is ready to be sent`); });
    this.file.addEventListener("change", () => { this.dropped = null; });
    form.addEventListener("submit", (event) => { event.preventDefault(); this.send(); });
  }

  say(sentence, isError = false) {
    this.note.textContent = sentence;
    this.note.className = isError ? "error" : "soft";
  }

  // Jobs that are there already; without jobs on this server the form says how to have them.
  async start() {
    try {
      const { jobs } = await getJson("jobs");
      for (const job of jobs.slice(0, 20).reverse()) this.show(job);
    } catch (error) {
      this.form.querySelectorAll("input, textarea, button").forEach((one) => { one.disabled = true; });
      this.say(error.status === 404 ? "This server runs no jobs; start it with --jobs FOLDER." : error.message, error.status !== 404);
    }
  }

  get table() {
    if (this.dropped) return this.dropped;
    if (this.file.files.length) return this.file.files[0];
    return this.text.value.trim() ? new File([this.text.value.trim() + "\n"], "pasted.csv") : null;
  }

  async send() {
    const table = this.table;
    if (!table) { this.say("Choose a file, drop one, or paste rows first.", true); return; }
    const query = new URLSearchParams({ model: this.model().name, filename: table.name });
    this.say(`sending ${table.name} …`);
    try {
      const answer = await call(`jobs?${query}`, { method: "POST", body: table,
        headers: { "Content-Type": "application/octet-stream", "Idempotency-Key": crypto.randomUUID?.() ?? String(Math.random()) } });
      this.say("");
      this.form.reset();
      this.dropped = null;
      this.show(await answer.json());
    } catch (error) { this.say(error.message, true); }
  }

  show(job) {
    let row = this.shown.get(job.id);
    if (!row) {
      row = element("li", {});
      this.shown.set(job.id, row);
      this.list.prepend(row);
    }
    const buttons = [];
    if (job.state === "done") {
      buttons.push(this.button("Download", () => this.download(`jobs/${job.id}/result`)));
      if (job.bad_rows) buttons.push(this.button("Bad rows", () => this.download(`jobs/${job.id}/bad_rows`)));
    }
    buttons.push(ENDED.includes(job.state)
      ? this.button("Delete", async () => { await call(`jobs/${job.id}`, { method: "DELETE" }); this.shown.delete(job.id); row.remove(); })
      : this.button("Cancel", async () => { this.show(await (await call(`jobs/${job.id}/cancel`, { method: "POST" })).json()); }));
    const left = job.seconds_left === null ? "" : `, about ${count(job.seconds_left)} s left`;
    const told = { done: `${count(job.rows)} rows scored`, failed: job.error, running: `${count(job.rows)} rows, ${percent(job.share)}${left}` }[job.state] ?? job.state;
    row.replaceChildren(element("span", {}, element("b", {}, job.input), ` by ${job.model} ${job.version}`),
      ENDED.includes(job.state) ? "" : element("progress", { max: 1, value: job.share, "aria-label": `progress of ${job.input}` }),
      element("span", { class: job.state === "failed" ? "error" : "soft", role: "status" }, told,
        job.bad_rows ? `, ${count(job.bad_rows)} rows without an answer` : ""),
      ...job.notes.map((note) => element("small", {}, note)), element("span", { class: "actions" }, ...buttons));
    if (!ENDED.includes(job.state)) setTimeout(() => this.watch(job.id), POLL);
  }

  async watch(id) {
    try { this.show(await getJson(`jobs/${id}`)); } catch { setTimeout(() => this.watch(id), 4 * POLL); }
  }

  button(text, act) {
    const made = element("button", { type: "button", class: "quiet" }, text);
    made.addEventListener("click", async () => { try { await act(); } catch (error) { this.say(error.message, true); } });
    return made;
  }

  // A link is enough, and takes files of any size, where no key has to go along.
  async download(path) {
    const link = element("a", { href: path, download: "" });
    if (key()) {
      const answer = await call(path);
      link.href = URL.createObjectURL(await answer.blob());
      link.download = answer.headers.get("Content-Disposition")?.match(/filename="([^"]+)"/)?.[1] ?? "scored";
    }
    document.body.append(link);
    link.click();
    link.remove();
  }
}
