// Batches: start one from a file, see how far each is, pause, cancel, and save what came of it.

import { ApiError, bytes as load, call, get } from "./api.js";
import { confirmed } from "./dialog.js";
import { button, emptyState, field, fill, h, table } from "./dom.js";
import { EXPORT } from "./icons.js";
import { poll } from "./poll.js";
import { t } from "./texts.js";

const s = t.batches;
const EVERY_S = 2;
const ENDPOINTS = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/v1/embeddings"];
const ENDED = new Set(["completed", "failed", "expired", "cancelled"]);
const when = (seconds) => new Date(seconds * 1000).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" });

export class View {
  constructor(caller) {
    this.caller = caller;
    this.status = h("div", { role: "status" });
    this.list = h("div", {});
    this.file = h("input", { type: "file", accept: ".jsonl,application/jsonl,application/x-ndjson", required: true });
    this.endpoint = h("select", {}, ENDPOINTS.map((each) => h("option", { value: each }, each)));
    this.element = h("div", { class: "view page" },
      h("div", { class: "head" }, h("h1", {}, t.views.batches), h("p", { class: "hint" }, s.text)), this.status,
      caller.scopes.includes("write") && h("section", { "aria-label": s.start }, h("form", { onsubmit: (event) => {
        event.preventDefault();
        return this.start();
      } }, field(s.file, this.file, s.fileHelp), field(s.endpoint, this.endpoint), h("button", { class: "button primary" }, s.start))),
      h("section", { "aria-label": t.views.batches }, this.list));
  }

  async show() {
    if (!this.caller.stores) {
      fill(this.list, emptyState(t.stored.off, t.stored.offText));
      return;
    }
    this.end?.();
    this.end = poll(() => this.step(), EVERY_S);
    await this.step();
  }

  hide() {
    this.end?.();
  }

  back() {
    return this.show();
  }

  async step() {
    const { data } = await get("v1/batches", { limit: 100 });
    const drawn = JSON.stringify(data);
    if (drawn === this.drawn) return;  // so that the focus stays where it is
    this.drawn = drawn;
    fill(this.list, data.length ? table(t.views.batches, [s.state, s.progress, s.results, s.endpoint, s.made, ""], data.map((each) => this.#row(each)))
      : emptyState(s.none, s.noneText));
  }

  #row(each) {
    const { total, completed, failed } = each.request_counts;
    const isBad = each.status === "failed" || each.status === "expired";
    const saved = (id, text) => id && button(text, () => this.save(id), { kind: "small", icon: EXPORT });
    return [
      h("span", {}, h("span", { class: `badge ${isBad ? "bad" : ENDED.has(each.status) ? "good" : "accent"}` }, each.paused ? s.paused : s.states[each.status] ?? each.status),
        each.errors?.data.slice(0, 3).map((error) => h("span", { class: "hint block" }, error.line ? `${s.line(error.line)}: ` : "", error.message))),
      total > 0 && h("span", {}, h("progress", { max: total, value: completed + failed, "aria-label": s.progress }), h("span", { class: "hint block" }, s.counts(completed, total, failed))),
      h("span", { class: "chips" }, saved(each.output_file_id, s.output), saved(each.error_file_id, s.errors)),
      h("span", {}, each.endpoint, each.metadata?.file && h("span", { class: "hint block" }, each.metadata.file)),
      h("span", {}, h("span", { class: "nowrap" }, when(each.created_at)), h("span", { class: "hint block" }, h("code", {}, each.id))),
      { text: h("span", { class: "chips" }, this.#buttons(each)), class: "number" },
    ];
  }

  #buttons({ id, status, paused }) {
    if (ENDED.has(status) || status === "cancelling") return [];
    const path = `v1/internal/batches/${encodeURIComponent(id)}`;
    return [
      this.caller.scopes.includes("admin") && button(paused ? s.resume : s.pause, () => this.act(() => call("POST", `${path}/${paused ? "resume" : "pause"}`)), { kind: "small" }),
      this.caller.scopes.includes("write") && button(s.cancel, async () => {
        if (await confirmed(s.cancel, s.cancelText, s.cancel)) await this.act(() => call("POST", `v1/batches/${encodeURIComponent(id)}/cancel`));
      }, { kind: "small danger" }),
    ];
  }

  /** Upload the file, and let its requests be answered. */
  async start() {
    const [file] = this.file.files;
    const form = new FormData();
    form.append("purpose", "batch");
    form.append("file", file);
    fill(this.status, h("div", { class: "notice" }, s.uploading(file.name)));
    await this.act(async () => {
      const { id } = await call("POST", "v1/files", { body: form });
      await call("POST", "v1/batches", { body: { input_file_id: id, endpoint: this.endpoint.value, completion_window: "24h", metadata: { file: file.name.slice(0, 512) } } });
      this.file.value = "";
    });
  }

  async act(work) {
    try {
      await work();
      fill(this.status);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status === 401) throw error;
      fill(this.status, h("div", { class: "notice bad", role: "alert" }, error.message));
    }
    await this.step();
  }

  async save(id) {
    const data = await load("GET", `v1/files/${encodeURIComponent(id)}/content`);
    const link = h("a", { href: URL.createObjectURL(data), download: `${id}.jsonl` });
    link.click();
    URL.revokeObjectURL(link.href);
  }
}
