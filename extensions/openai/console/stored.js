// What the store has of this key: chats, conversations, responses, sessions. Search, open, go on, export, delete.

import { call, get, pages } from "./api.js";
import { Conversation } from "./conversation.js";
import { confirmed } from "./dialog.js";
import { announce, button, emptyState, fill, h } from "./dom.js";
import { CHAT, DELETE, EXPORT } from "./icons.js";
import { codeNode, markdown } from "./markdown.js";
import { plotNode } from "./plots.js";
import { t } from "./texts.js";
import { ListView } from "./view_list.js";

const s = t.stored;
const day = (seconds) => new Date(seconds * 1000).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" });
const path = (...parts) => ["v1", ...parts].map((part) => encodeURIComponent(part)).join("/");
const cut = (text, most = 120) => (text.length > most ? `${text.slice(0, most)}…` : text);

async function all(...options) {
  const found = [];
  for await (const page of pages(...options)) found.push(...page);
  return found;
}

/** Where each kind is, and what of it is shown. `messages`: {role, content, reasoning, calls, call, id}, in their order. */
const KINDS = {
  chats: {
    path: ["chat", "completions"],
    row: (chat) => ({
      title: cut(chat.metadata?.title || textOf(chat.choices[0]?.message) || chat.id),
      facts: `${day(chat.created)} · ${chat.model} · ${s.tokens(chat.usage?.total_tokens ?? 0)}`,
    }),
    words: (chat) => [chat.id, chat.model, ...Object.values(chat.metadata ?? {}), ...chat.choices.map(({ message }) => textOf(message))],
    messages: async (chat) => (await all(path("chat", "completions", chat.id, "messages"), { order: "asc" })).map(fromMessage),
    plots: (chat, message) => all(path("chat", "completions", chat.id, "messages", message.id, "plots")),
  },
  conversations: {
    path: ["conversations"],
    row: (each) => ({ title: cut(each.metadata?.title || Object.values(each.metadata ?? {}).join(", ") || each.id), facts: day(each.created_at) }),
    words: (each) => [each.id, ...Object.values(each.metadata ?? {})],
    messages: async (each) => (await all(path("conversations", each.id, "items"), { order: "asc" })).map(fromItem),
  },
  sessions: {
    path: ["sessions"],
    row: (each) => ({ title: cut(each.session), facts: `${day(each.last_used_at)}${each.agent ? ` · ${each.agent}` : ""}` }),
    words: (each) => [each.id, each.session, each.agent ?? ""],
    messages: async (each) => (await get(path("sessions", each.id))).messages.map(fromMessage),
  },
  responses: {
    path: ["responses"],
    row: (each) => ({ title: cut(each.output.map(fromItem).map((item) => item.content).join(" ").trim() || each.id), facts: `${day(each.created_at)} · ${each.model}` }),
    words: (each) => [each.id, each.model, ...Object.values(each.metadata ?? {}), ...each.output.map((item) => fromItem(item).content)],
    messages: async (each) => [...(await all(path("responses", each.id, "input_items"), { order: "asc" })), ...each.output].map(fromItem),
  },
};

const textOf = (message) => contentText(message?.content) || (message?.tool_calls ?? []).map((each) => each.function?.name).join(", ");

function contentText(content) {
  if (typeof content === "string") return content;
  return (content ?? []).map((part) => part.text ?? part.refusal ?? `[${part.type}]`).join("\n");
}

function fromMessage(message) {
  return {
    id: message.id, role: message.role, content: contentText(message.content ?? message.content_parts), reasoning: message.reasoning_content,
    calls: message.tool_calls?.map((each) => ({ id: each.id, name: each.function?.name ?? each.type, arguments: each.function?.arguments ?? "" })), call: message.tool_call_id,
  };
}

function fromItem(item) {
  if (item.type === "function_call") return { id: item.id, role: "assistant", content: "", calls: [{ id: item.call_id, name: item.name, arguments: item.arguments }] };
  if (item.type === "function_call_output") return { id: item.id, role: "tool", content: contentText(item.output), call: item.call_id };
  if (item.type === "reasoning") return { id: item.id, role: "assistant", content: "", reasoning: contentText(item.content ?? item.summary) };
  if (item.type === "message" || item.role) return { id: item.id, role: item.role, content: contentText(item.content) };
  return { id: item.id, role: item.type, content: JSON.stringify(item) };
}

export class View {
  constructor(caller, openInChat) {
    this.caller = caller;
    this.openInChat = openInChat;
    this.kind = "chats";
    this.tabs = h("div", { class: "tabs", role: "group", "aria-label": s.kinds });
    this.body = h("div", { class: "body" });
    this.element = h("div", { class: "view stored" }, h("h1", { class: "unseen" }, t.views.stored), this.tabs, this.body);
  }

  async show() {
    fill(this.tabs, Object.keys(KINDS).map((name) => h("button", {
      type: "button", class: "tab", "aria-current": name === this.kind ? "true" : undefined, onclick: () => {
        this.kind = name;
        return this.show();
      },
    }, s.names[name])));
    if (!this.caller.stores) {
      fill(this.body, emptyState(s.off, s.offText));
      return;
    }
    const kind = KINDS[this.kind];
    this.view = new ListView({ label: s.names[this.kind], empty: s.empties[this.kind], search: (text) => this.search(text) });
    fill(this.body, this.view.element);
    this.objects = [];
    this.source = pages(path(...kind.path), { order: "desc" });
    await this.more();
  }

  back() {
    return this.show();
  }

  /** Load one more page. */
  async more() {
    const { value = [], done } = await this.source.next();
    this.objects.push(...value);
    this.complete = done || value.length < 100;
    this.#list(value, { append: true });
    if (!this.objects.length) this.#list([]);
  }

  #list(objects, options = {}) {
    this.view.list(objects, KINDS[this.kind].row, (object, row) => this.open(object, row), options);
    fill(this.view.more, this.complete ? null : button(t.more, () => this.more(), { kind: "small wide" }));
  }

  /** Look through all of them; what is not here yet is loaded first. */
  async search(text) {
    this.wanted = text.trim().toLowerCase();
    const { wanted, kind } = this;
    const matches = () => this.objects.filter((each) => !wanted || KINDS[kind].words(each).some((word) => word.toLowerCase().includes(wanted)));
    this.#list(matches(), { found: 1 });
    while (wanted && !this.complete && this.wanted === wanted && this.kind === kind) {
      const { value = [], done } = await this.source.next();
      this.objects.push(...value);
      this.complete = done || value.length < 100;
      this.#list(matches(), { found: 1 });
    }
    if (this.wanted !== wanted) return;
    const found = matches();
    this.#list(found);
    announce(s.found(found.length));
  }

  async open(object, row) {
    const kind = KINDS[this.kind];
    const messages = await kind.messages(object);
    const { title, facts } = kind.row(object);
    this.view.show(
      row,
      h("header", { class: "detail-head" }, h("div", {}, h("h2", {}, title), h("p", { class: "hint" }, facts, " · ", h("code", {}, object.id))),
        h("div", { class: "actions" },
          this.caller.scopes.includes("write") && button(s.goOn, () => this.openInChat(conversationOf(title, messages)), { icon: CHAT }),
          button(s.export, () => download(object, messages), { icon: EXPORT }),
          this.caller.scopes.includes("write") && button(s.delete, () => this.remove(object, row), { kind: "danger", icon: DELETE }))),
      h("div", { class: "transcript" }, messages.map((message) => this.#message(object, message))),
    );
  }

  #message(object, message) {
    const plots = h("div", { class: "plots" });
    const names = { user: t.chat.you, assistant: t.chat.assistant, tool: t.chat.tool };
    if (KINDS[this.kind].plots && message.role === "assistant") this.#plots(object, message, plots);
    const plain = message.role === "user" || message.role === "tool";
    return h("article", { class: `message ${message.role}` },
      h("h3", { class: "by" }, names[message.role] ?? message.role),
      message.reasoning && h("details", { class: "thoughts" }, h("summary", {}, t.chat.thought), h("div", { class: "text" }, markdown(message.reasoning))),
      message.content && h("div", { class: "text" }, plain ? message.content : markdown(message.content)),
      message.calls?.map((each) => codeNode(each.arguments, each.name)), plots);
  }

  async #plots(object, message, element) {
    const found = await KINDS[this.kind].plots(object, message);
    element.append(...found.map((plot) => plotNode(plot.figure)));
  }

  async remove(object, row) {
    if (!await confirmed(s.delete, s.deleteText, s.delete)) return;
    await call("DELETE", path(...KINDS[this.kind].path, object.id));
    row?.parentNode.remove();
    this.objects = this.objects.filter((each) => each !== object);
    this.view.clear();
    announce(s.deleted);
    if (this.objects.length === 0) this.#list([]);
  }
}

function conversationOf(title, messages) {
  const made = new Conversation({ title: cut(title, 60) });
  let parent = null;
  for (const { role, content, reasoning, calls, call: answers } of messages) {
    if (["user", "assistant", "tool"].includes(role)) parent = made.add(parent, { role, content, reasoning, calls, call: answers }).id;
  }
  return made;
}

function download(object, messages) {
  const data = new Blob([JSON.stringify({ ...object, messages }, null, 2)], { type: "application/json" });
  const link = h("a", { href: URL.createObjectURL(data), download: `${object.id}.json` });
  link.click();
  URL.revokeObjectURL(link.href);
}
