// One message on the page: text, thoughts, calls, pictures, figures of its making, and what can be done with it.

import { copyButton } from "./clipboard.js";
import { add, button, fill, freshId, h } from "./dom.js";
import { AGAIN, BACK, BRANCH, EDIT, FORTH, TOKENS } from "./icons.js";
import { MarkdownWriter, codeNode } from "./markdown.js";
import { t } from "./texts.js";
import { tokensView } from "./tokens.js";

/** The element of a message. `actions`: what the chat does with it, by name. */
export class MessageView {
  constructor(node, actions) {
    this.node = node;
    this.actions = actions;
    this.showsTokens = false;
    this.writing = false;
    this.text = h("div", { class: "text" });
    this.thought = h("div", { class: "text" });
    this.thoughts = h("details", { class: "thoughts", hidden: true }, h("summary", {}, t.chat.thought), this.thought);
    this.calls = h("div", { class: "calls" });
    this.foot = h("div", { class: "foot" });
    this.error = h("div", {});
    const title = freshId("by");
    this.by = h("h2", { class: "by", id: title });
    this.element = h(
      "article",
      { class: `message ${node.role}`, "aria-labelledby": title, "data-id": node.id },
      this.by, this.media(), node.role === "assistant" && this.thoughts, this.text, this.calls, this.error, this.foot,
    );
    this.writer = new MarkdownWriter(this.text);
    this.thinker = new MarkdownWriter(this.thought);
    this.update();
  }

  media() {
    const parts = this.node.parts ?? [];
    return parts.length > 0 && h("div", { class: "media" }, parts.map(mediaNode));
  }

  /** Show what the message is now. */
  update({ writing = false, versions = [this.node] } = {}) {
    const { node } = this;
    this.writing = writing;
    this.element.classList.toggle("writing", writing);
    this.element.setAttribute("aria-busy", String(writing));
    const names = { user: t.chat.you, tool: t.chat.tool, assistant: node.model || t.chat.assistant };
    this.by.textContent = names[node.role] ?? node.role;
    this.#showThought(writing);
    if (this.showsTokens && node.tokens && !writing) fill(this.text, tokensView(node.tokens));
    else if (node.role === "assistant") this.writer.show(node.content);
    else fill(this.text, node.content);
    this.#showCalls(writing);
    fill(this.error, !writing && node.error && h(
      "div", { class: "notice bad", role: "alert" },
      h("div", {}, h("strong", {}, node.error.title), node.error.text && h("p", {}, node.error.text)),
      button(t.again, () => this.actions.retry(node), { kind: "small" }),
    ));
    fill(this.foot, writing ? h("span", { class: "hint" }, node.content || node.reasoning ? "" : h("span", { class: "dots", "aria-hidden": "true" }, "···")) : this.#foot(versions));
  }

  #showThought(writing) {
    const { node } = this;
    this.thoughts.hidden = !node.reasoning;
    if (!node.reasoning) return;
    this.thinker.show(node.reasoning);
    this.thoughts.querySelector("summary").textContent = writing && !node.content ? t.chat.thinking : t.chat.thought;
  }

  #showCalls(writing) {
    const { calls } = this.node;
    if (!calls?.length) return;
    fill(this.calls, h("p", { class: "hint" }, t.chat.calls), calls.map((call) => codeNode(pretty(call.arguments), call.name)));
    if (writing || this.actions.answered(this.node)) return;
    const boxes = calls.map((call) => h("textarea", { rows: "2", id: freshId("result"), spellcheck: "false" }));
    add(this.calls, h("form", {
      class: "results",
      onsubmit: (event) => {
        event.preventDefault();
        this.actions.results(this.node, calls.map((call, at) => ({ call: call.id, content: boxes[at].value })));
      },
    }, calls.map((call, at) => h("div", { class: "field" }, h("label", { for: boxes[at].id }, t.chat.callResult(call.name)), boxes[at])),
    h("button", { class: "button primary" }, t.chat.sendResults)));
  }

  #foot(versions) {
    const { node, actions } = this;
    const at = versions.indexOf(node);
    const isAnswer = node.role === "assistant";
    const small = (path, label, action) => button("", action, { kind: "quiet icon-only", icon: path, label });
    return [
      versions.length > 1 && h(
        "span", { class: "versions" },
        button("", () => actions.choose(versions[at - 1]), { kind: "quiet icon-only", icon: BACK, label: t.chat.previous, disabled: at === 0 }),
        h("span", { class: "hint" }, t.chat.version(at + 1, versions.length)),
        button("", () => actions.choose(versions[at + 1]), { kind: "quiet icon-only", icon: FORTH, label: t.chat.next, disabled: at === versions.length - 1 }),
      ),
      h(
        "span", { class: "tools" },
        copyButton(() => node.content, { label: "", kind: "quiet icon-only" }),
        node.role !== "tool" && small(EDIT, t.chat.edit, () => this.edit()),
        isAnswer && small(AGAIN, t.chat.regenerate, () => actions.retry(node)),
        small(BRANCH, t.chat.branch, () => actions.branch(node)),
        node.tokens && small(TOKENS, this.showsTokens ? t.chat.text : t.chat.tokens, () => {
          this.showsTokens = !this.showsTokens;
          if (!this.showsTokens) this.writer.reset();
          this.update({ versions });
        }),
      ),
      isAnswer && h("span", { class: "stats hint" }, stats(node)),
    ];
  }

  /** Let the user change the text. */
  edit() {
    const { node } = this;
    const box = h("textarea", { class: "editing", value: node.content, rows: Math.min(12, node.content.split("\n").length + 1), "aria-label": t.chat.edit });
    const close = () => {
      this.writer.reset();
      this.actions.shown(node);
    };
    fill(this.text, box);
    fill(this.foot, h("div", { class: "actions" }, button(t.cancel, close, { kind: "small" }), button(
      node.role === "assistant" ? t.chat.saveAnswer : t.chat.save, () => this.actions.edit(node, box.value), { kind: "primary small" },
    )));
    box.addEventListener("keydown", (event) => {
      if (event.key === "Escape") close();
    });
    box.focus();
  }
}

function mediaNode(part) {
  if (part.kind === "picture") return h("img", { src: part.address, alt: `${t.chat.picture}: ${part.name}` });
  if (part.kind === "sound") return h("audio", { src: part.address, controls: true, "aria-label": `${t.chat.sound}: ${part.name}` });
  return h("span", { class: "chip" }, part.name);
}

function stats({ stats: found = {}, finish }) {
  const said = [];
  if (found.tokens !== undefined) said.push(t.chat.stats.tokens(found.tokens));
  if (found.tokens > 1 && found.writing > 0) said.push(t.chat.stats.speed((found.tokens - 1) / (found.writing / 1000)));
  if (found.first !== undefined) said.push(t.chat.stats.first(found.first));
  if (found.prompt !== undefined) said.push(t.chat.stats.prompt(found.prompt, found.cached));
  if (finish === "stopped") said.push(t.chat.stopped);
  else if (t.chat.finish[finish]) said.push(t.chat.finish[finish]);
  return said.join(" · ");
}

function pretty(json) {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;  // It is still being written.
  }
}
