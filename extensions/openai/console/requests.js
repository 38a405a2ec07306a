// What was asked lately, without content, and what is running now; as it comes.

import { ApiError, call, get } from "./api.js";
import { dialog } from "./dialog.js";
import { button, fill, h, table } from "./dom.js";
import { STOP } from "./icons.js";
import { codeNode } from "./markdown.js";
import { poll } from "./poll.js";
import { t } from "./texts.js";

const s = t.requests;
const EVERY_S = 2;
const MOST = 500;

export class View {
  constructor(caller) {
    this.caller = caller;
    this.past = [];
    this.running = h("div", {});
    this.list = h("div", {});
    this.wanted = h("input", { type: "search", placeholder: s.filter, "aria-label": s.filter, oninput: () => this.draw() });
    this.errors = h("input", { type: "checkbox", id: "only-errors", onchange: () => this.draw() });
    this.element = h("div", { class: "view page" },
      h("div", { class: "head" }, h("h1", {}, t.views.requests), this.whose = h("p", { class: "hint" })),
      h("section", { "aria-label": s.running }, h("h2", {}, s.running), this.running),
      h("section", { "aria-label": s.past }, h("div", { class: "section-head" }, h("h2", {}, s.past), h("span", { class: "spacer" }),
        h("span", { class: "check" }, this.errors, h("label", { for: "only-errors" }, s.errors)), this.wanted), this.list));
  }

  async show() {
    this.past = [];
    this.end?.();
    this.end = poll(() => this.step(), EVERY_S);
    await this.step();
    this.draw();
  }

  hide() {
    this.end?.();
  }

  back() {
    return this.show();
  }

  async step() {
    const newest = this.past[0]?.number;
    const [past, queue] = await Promise.all([get("v1/internal/requests", { limit: newest === undefined ? MOST : 1000, after: newest }), get("v1/internal/queue")]);
    if (newest !== this.past[0]?.number) return;  // another step had its answer first
    // A server that was started again counts from the beginning.
    if (past.restarted) this.past = [];
    this.withContent = past.with_content;
    this.whose.textContent = `${this.caller.scopes.includes("admin") ? s.all : s.own} ${past.with_content ? s.content : s.noContent}`;
    this.past = [...past.data, ...this.past].slice(0, MOST);
    if (past.data.length || past.restarted) this.draw();
    this.#running(queue);
  }

  #running(queue) {
    fill(this.running, h("p", { class: "hint" }, s.load(queue.running, queue.slots, queue.requests_waiting)), queue.requests.length > 0 && table(
      s.running, [s.state, s.key, s.user, { text: s.tokens, class: "number" }, { text: s.seconds, class: "number" }, ""],
      queue.requests.map((each) => [
        h("span", { class: "badge accent" }, s.states[each.state]), each.caller, each.user ?? "", { text: each.completion_tokens, class: "number" },
        { text: each.seconds.toFixed(1), class: "number" },
        this.caller.scopes.includes("write") && button(t.chat.stop, () => call("POST", "v1/internal/stop-generation", { body: { id: each.id } }), { kind: "small", icon: STOP }),
      ]),
    ));
  }

  /** What was said in a request: it is there where the server runs with --debug. */
  async open(each) {
    let found;
    try {
      found = await get(`v1/internal/requests/${encodeURIComponent(each.id)}`);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status === 401) throw error;
      dialog(each.route, h("p", {}, error.message));
      return;
    }
    const shown = (body) => (typeof body === "string" ? body : JSON.stringify(body, null, 2));
    dialog(each.route, [
      h("p", { class: "hint" }, h("code", {}, each.id), ` · ${found.answer.status}`),
      codeNode(shown(found.request.body), s.sent), codeNode(shown(found.answer.body), s.answered),
    ], { wide: true });
  }

  draw() {
    const wanted = this.wanted.value.trim().toLowerCase();
    const rows = this.past.filter((each) => (!this.errors.checked || each.error || each.status >= 400)
      && (!wanted || [each.route, each.model, each.caller, each.user, each.error, each.id, String(each.status)].some((word) => word?.toLowerCase().includes(wanted))));
    const number = (value) => ({ text: value, class: "number" });
    fill(this.list, table(
      s.past,
      [s.time, s.status, s.route, s.model, s.key, number(s.prompt), number(s.answer), number(s.first), number(s.duration), number(s.speed)],
      rows.map((each) => [
        { text: new Date(each.ended_at * 1000).toLocaleTimeString("en", { hour12: false }), class: "nowrap", title: new Date(each.ended_at * 1000).toLocaleString("en") },
        h("span", { class: "nowrap" }, h("span", { class: `badge ${each.status >= 400 || each.error ? "bad" : "good"}` }, each.status || "–"), each.error && h("span", { class: "hint" }, ` ${each.error}`), each.cancelled && h("span", { class: "hint" }, ` ${s.left}`)),
        { text: this.withContent ? button(each.route || "–", () => this.open(each), { kind: "quiet" }) : each.route || "–", class: "ellipsis", title: `${each.route} ${each.id}` }, { text: each.model ?? "", class: "ellipsis" }, { text: [each.caller, each.user && ` · ${each.user}`], class: "nowrap" },
        number(each.prompt_tokens ? `${each.prompt_tokens.toLocaleString("en")}${each.cached_tokens ? ` (${each.cached_tokens.toLocaleString("en")})` : ""}` : ""),
        number(each.completion_tokens ? each.completion_tokens.toLocaleString("en") : ""),
        number(each.first_token_ms === null ? "" : s.ms(each.first_token_ms)), number(s.ms(each.duration_ms)),
        number(each.tokens_per_second === null ? "" : each.tokens_per_second.toFixed(0)),
      ]),
      { empty: s.none },
    ));
  }
}
