// The chat: a conversation, its settings, and what is under way.

import { BASE_URL, get } from "./api.js";
import { answer } from "./answering.js";
import { choosable, settingsView } from "./chat_settings.js";
import { copyButton } from "./clipboard.js";
import { Composer } from "./composer.js";
import { Conversations, asMessage } from "./conversation.js";
import { announce, button, fill, h } from "./dom.js";
import { CLOSE, CODE, PLUS, SETTINGS } from "./icons.js";
import { MessageView } from "./message.js";
import { Pace } from "./pace.js";
import { bodyOf, headersOf, kept } from "./parameters.js";
import { t } from "./texts.js";

const NEAR_END = 80;  // pixels
const WIDE = matchMedia("(min-width: 72rem)");

export class ChatView {
  /** `caller`: who uses the console. */
  constructor(caller) {
    this.caller = caller;
    this.settings = kept();
    this.conversations = new Conversations();
    this.views = new Map();
    this.models = [];
    this.loading = null;
    this.loaded = false;
    this.running = null;
    this.notices = h("div", { class: "notices", role: "status" });
    this.thread = h("div", { class: "thread" });
    this.scroll = h("div", { class: "scroll" }, this.thread);
    this.list = h("ul", { class: "chats" });
    this.panel = h("div", { class: "panel-body" });
    this.title = h("h1", { class: "unseen" }, t.views.chat);
    this.composer = new Composer({
      send: (text, parts) => this.say(text, parts), stop: () => this.stop(), capabilities: () => this.model?.capabilities ?? [],
      notice: (text) => this.notice(text),
    });
    const toggle = button(t.chat.settings, () => this.toggle(), { kind: "quiet", icon: SETTINGS, "aria-expanded": "false", "aria-controls": "settings", id: "toggle" });
    this.aside = h("aside", { class: "panel", id: "settings", "aria-label": t.settings.title }, h(
      "header", {}, h("h2", {}, t.settings.title), button("", () => this.toggle(), { kind: "quiet icon-only close", icon: CLOSE, label: t.close }),
    ), this.panel);
    this.element = h(
      "div", { class: "chat" },
      h("nav", { class: "side", "aria-label": t.chat.list }, button(t.chat.new, () => this.begin(), { kind: "wide", icon: PLUS }), this.list),
      h("section", { class: "talk" },
        this.title,
        h("div", { class: "bar" },
          h("span", { class: "narrow-only" }, button("", () => this.begin(), { kind: "quiet icon-only", icon: PLUS, label: t.chat.new })),
          h("span", { class: "spacer" }),
          button(t.chat.code, () => this.code(), { kind: "quiet", icon: CODE }), toggle),
        this.scroll, this.notices, this.composer.element),
      this.aside,
    );
    this.#drops();
    WIDE.addEventListener("change", () => this.toggle(WIDE.matches));
    this.element.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.running) this.stop();
    });
  }

  get model() {
    return this.models.find((each) => each.id === this.settings.model) ?? this.models[0];
  }

  get conversation() {
    return this.conversations.current;
  }

  /** Load what the server has, then show everything. */
  async show() {
    if (!this.models.length) this.toggle(WIDE.matches);
    this.loading = this.loadModels();
    this.draw();
    await this.loading;
    this.composer.text.focus({ preventScroll: true });
  }

  async loadModels() {
    try {
      this.models = choosable((await get("v1/models")).data);
    } catch (error) {
      if (!error.status) throw error;
      this.models = [];
      this.notice(error.message);
    }
    this.loaded = true;
    if (!this.models.some((each) => each.id === this.settings.model)) this.settings.model = "";
    settingsView(this.panel, this.settings, this.models, { stores: this.caller.stores, changed: () => {} });
    this.draw();
  }

  toggle(open = !this.element.classList.contains("with-panel")) {
    this.element.classList.toggle("with-panel", open);
    const toggle = this.element.querySelector("#toggle");
    toggle.setAttribute("aria-expanded", String(open));
    if (!open && this.aside.contains(document.activeElement)) toggle.focus();
  }

  notice(text) {
    const made = h("div", { class: "notice" }, h("span", {}, text), button("", () => made.remove(), { kind: "quiet icon-only", icon: CLOSE, label: t.close }));
    this.notices.append(made);
  }

  begin() {
    this.stop();
    this.conversations.begin();
    this.draw();
    this.composer.text.focus();
  }

  /** Show another conversation, such as one from the store. */
  open(conversation) {
    this.stop();
    this.conversations.open(conversation);
    this.draw();
  }

  /** Say something behind all that is shown; whether it could be. */
  say(text, parts = []) {
    if (this.running) return false;
    const last = this.conversation.path().at(-1);
    const node = this.conversation.add(last?.id ?? null, { role: "user", content: text, parts });
    this.#answer(node);
    return true;
  }

  async #answer(behind) {
    const { conversation } = this;
    const running = this.running = new AbortController();
    this.composer.working = true;
    if (!this.loaded) {
      this.draw();
      await this.loading.catch(() => {});  // Only then is it known which model answers; `show` says what failed.
    }
    let body;
    try {
      body = bodyOf(this.settings, conversation.path(behind).map(asMessage), this.model?.id ?? "");
    } catch (error) {
      this.#ended(running);
      this.notice(t.settings.badJson(error.message));
      this.draw();
      return;
    }
    if (body.store) body.metadata = { console_chat: conversation.id, title: conversation.title.slice(0, 60) };
    const node = conversation.add(behind.id, { role: "assistant", model: body.model });
    this.draw();
    this.#toEnd(true);
    announce(t.chat.writing);
    const view = this.views.get(node);
    const pace = new Pace(() => {
      const follows = this.#isAtEnd();
      view.update({ writing: true });
      if (follows) this.#toEnd();
    });
    await answer(node, body, headersOf(this.settings), running.signal, () => pace.soon());
    pace.end();
    this.#ended(running);
    announce(node.error ? node.error.title : t.chat.done);
    const follows = this.#isAtEnd();
    if (!this.conversations.save()) this.notice(t.chat.notSaved);
    if (this.conversation === conversation) this.draw();
    if (follows) this.#toEnd();
  }

  #ended(running) {
    if (this.running !== running) return;
    this.running = null;
    this.composer.working = false;
  }

  stop() {
    this.running?.abort();
  }

  /** What can be done with a message. */
  actions = {
    retry: (node) => {
      if (!this.running) this.#answer(this.conversation.nodes.get(node.parent));
    },
    edit: (node, text) => {
      if (this.running) return;
      const { id: _, ...same } = node;
      const made = this.conversation.add(node.parent, node.role === "user" ? { ...same, content: text } : { role: node.role, model: node.model, content: text, call: node.call });
      if (node.role === "user") this.#answer(made);
      else this.#changed();
    },
    branch: (node) => {
      this.open(this.conversation.branch(node));
      this.#changed();
    },
    choose: (node) => {
      this.conversation.choose(node);
      this.#changed();
    },
    results: (node, results) => {
      if (this.running) return;
      let parent = node.id;
      for (const each of results) parent = this.conversation.add(parent, { role: "tool", ...each }).id;
      this.#answer(this.conversation.nodes.get(parent));
    },
    answered: (node) => Boolean(this.conversation.chosen[node.id]),
    shown: (node) => this.views.get(node).update({ versions: this.conversation.versions(node) }),
  };

  #changed() {
    this.conversations.save();
    this.draw();
  }

  /** The request that the conversation comes to, as programs. */
  async code() {
    const { showCode } = await import("./code.js");
    const path = this.conversation.path();
    const last = path.findLastIndex((node) => node.role !== "assistant");
    const messages = last < 0 ? [{ role: "user", content: this.composer.text.value || t.chat.examples[0] }] : path.slice(0, last + 1).map(asMessage);
    try {
      showCode(bodyOf(this.settings, messages, this.model?.id ?? "MODEL"), headersOf(this.settings), this.caller.key_needed);
    } catch (error) {
      this.notice(t.settings.badJson(error.message));
    }
  }

  draw() {
    const path = this.conversation.path();
    const shown = path.map((node) => {
      const view = this.views.get(node) ?? new MessageView(node, this.actions);
      this.views.set(node, view);
      const writes = this.running && node === path.at(-1) && node.role === "assistant";
      view.update({ writing: Boolean(writes), versions: this.conversation.versions(node) });
      return view.element;
    });
    fill(this.thread, shown.length ? shown : this.#greeting());
    fill(this.list, this.conversations.all.map((each) => this.#entry(each)));
  }

  #entry(each) {
    const title = each.title || t.chat.untitled;
    return h("li", { class: each === this.conversation ? "chosen" : undefined },
      button(title, () => this.open(each), { kind: "quiet name", "aria-current": each === this.conversation ? "true" : undefined }),
      button("", () => {
        if (each === this.conversation) this.stop();
        this.conversations.remove(each);
        this.#changed();
      }, { kind: "quiet icon-only", icon: CLOSE, label: t.chat.remove(title) }));
  }

  #greeting() {
    const line = (label, address) => h("div", { class: "address" }, h("span", { class: "hint" }, label), h("code", {}, address), copyButton(() => address));
    const publicUrl = document.body.dataset.publicUrl;
    return h("div", { class: "greeting" },
      h("h2", {}, t.chat.greeting),
      h("p", { class: "hint" }, this.model ? t.chat.greetingText(this.model.id) : this.loaded && t.chat.noModel),
      h("div", { class: "examples" }, t.chat.examples.map((text) => button(text, () => this.say(text)))),
      line(t.chat.connect, BASE_URL), publicUrl && line(t.chat.everywhere, `${publicUrl}/v1`));
  }

  #isAtEnd() {
    return this.scroll.scrollHeight - this.scroll.scrollTop - this.scroll.clientHeight < NEAR_END;
  }

  #toEnd() {
    this.scroll.scrollTop = this.scroll.scrollHeight;
  }

  #drops() {
    const { element } = this;
    const over = (on) => element.classList.toggle("dropping", on);
    element.dataset.drop = t.chat.drop;
    element.addEventListener("dragover", (event) => {
      event.preventDefault();
      over(true);
    });
    element.addEventListener("dragleave", (event) => {
      if (!element.contains(event.relatedTarget)) over(false);
    });
    element.addEventListener("drop", (event) => {
      event.preventDefault();
      over(false);
      this.composer.take(event.dataTransfer.files);
    });
  }
}
