// A list on the left and what is chosen on the right; on narrow screens one after the other.

import { button, emptyState, fill, h } from "./dom.js";
import { BACK } from "./icons.js";
import { t } from "./texts.js";

export class ListView {
  /** `empty`: [title, text] of an empty list; `search(text)`: what to do when the user looks for something. */
  constructor({ label, empty, search }) {
    this.empty = empty;
    this.rows = h("ul", { class: "rows", "aria-label": label });
    this.more = h("div", { class: "more" });
    this.box = h("input", { type: "search", placeholder: t.stored.search, "aria-label": t.stored.search, oninput: () => search(this.box.value) });
    this.detail = h("section", { class: "detail", tabindex: "-1", "aria-label": t.stored.detail });
    this.element = h("div", { class: "list-view" }, h("div", { class: "list" }, h("div", { class: "list-head" }, this.box), this.rows, this.more), this.detail);
    this.chosen = null;
    this.clear();
  }

  /** Nothing is chosen. */
  clear() {
    this.element.classList.remove("with-detail");
    fill(this.detail, emptyState(t.stored.choose));
  }

  /** Show what was chosen; `row` is where. */
  show(row, ...content) {
    this.chosen?.removeAttribute("aria-current");
    this.chosen = row;
    row?.setAttribute("aria-current", "true");
    fill(this.detail, h("div", { class: "back" }, button(t.stored.back, () => {
      this.clear();
      row?.focus();
    }, { kind: "quiet", icon: BACK })), content);
    this.element.classList.add("with-detail");
    this.detail.scrollTop = 0;
    if (matchMedia("(max-width: 56rem)").matches) this.detail.focus();
  }

  /** The rows; `open(object, row)` when one is chosen. */
  list(objects, row, open, { append = false, found = objects.length } = {}) {
    const made = objects.map((object) => {
      const { title, facts } = row(object);
      const item = h("button", { type: "button", class: "row", onclick: () => open(object, item) }, h("span", { class: "title" }, title), h("span", { class: "hint" }, facts));
      return h("li", {}, item);
    });
    if (append) this.rows.append(...made);
    else this.rows.replaceChildren(...made);
    if (!found && !append) this.rows.replaceChildren(h("li", {}, emptyState(...this.empty)));
  }
}
