// Where a message is written: the text, files beside it, and the button that sends or stops.

import { button, fill, h } from "./dom.js";
import { partOf } from "./attachments.js";
import { ATTACH, CLOSE, SEND, STOP } from "./icons.js";
import { t } from "./texts.js";

const ROWS = 10;

export class Composer {
  /** `send(text, parts)`, `stop()`, `capabilities()`: of the model, `notice(text)`. */
  constructor({ send, stop, capabilities, notice }) {
    Object.assign(this, { send, stop, capabilities, notice });
    this.parts = [];
    this.busy = false;
    this.text = h("textarea", {
      id: "message", rows: "1", placeholder: t.chat.placeholder, "aria-label": t.chat.message, "aria-describedby": "message-keys",
      oninput: () => this.fit(), onkeydown: (event) => this.#key(event), onpaste: (event) => this.take(event.clipboardData.files),
    });
    this.files = h("input", { type: "file", multiple: true, hidden: true, "aria-label": t.chat.attach, onchange: () => {
      this.take(this.files.files);
      this.files.value = "";
    } });
    this.list = h("div", { class: "media" });
    this.go = button("", () => (this.busy ? this.stop() : this.#send()), { kind: "primary icon-only", icon: SEND, label: t.chat.send, id: "send" });
    this.element = h(
      "div", { class: "composer" },
      h("div", { class: "box" }, this.list, h(
        "div", { class: "line" },
        button("", () => this.files.click(), { kind: "quiet icon-only", icon: ATTACH, label: t.chat.attach }),
        this.files, this.text, this.go,
      )),
      h("p", { class: "hint", id: "message-keys" }, t.chat.keys),
    );
  }

  #key(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (!this.busy) this.#send();
    }
  }

  #send() {
    const text = this.text.value.trim();
    if (!text && !this.parts.length) return;
    if (!this.send(text, this.parts)) return;
    this.text.value = "";
    this.parts = [];
    this.#show();
    this.fit();
  }

  /** While the model writes, the button stops it. */
  set working(busy) {
    this.busy = busy;
    const label = busy ? t.chat.stop : t.chat.send;
    this.go.replaceWith(this.go = button("", () => (this.busy ? this.stop() : this.#send()), {
      kind: `icon-only ${busy ? "danger" : "primary"}`, icon: busy ? STOP : SEND, label, id: "send",
    }));
  }

  fit() {
    this.text.rows = 1;
    while (this.text.scrollHeight > this.text.clientHeight + 1 && this.text.rows < ROWS) this.text.rows += 1;
  }

  async take(files) {
    for (const file of [...files]) {
      try {
        this.parts.push(await partOf(file, this.capabilities()));
      } catch (error) {
        this.notice(error.message);
      }
    }
    this.#show();
  }

  #show() {
    fill(this.list, this.parts.map((part) => h(
      "span", { class: "chip" },
      part.kind === "picture" && h("img", { src: part.address, alt: "" }),
      part.name,
      button("", () => {
        this.parts = this.parts.filter((each) => each !== part);
        this.#show();
      }, { kind: "quiet icon-only", icon: CLOSE, label: t.chat.detach(part.name) }),
    )));
  }
}
