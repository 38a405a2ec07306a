// A dialog: the browser's own, which keeps the focus inside and gives it back.

import { button, fill, freshId, h } from "./dom.js";
import { CLOSE } from "./icons.js";
import { t } from "./texts.js";

/** Open a dialog. Returns a function that closes it. */
export function dialog(title, content, { wide = false, onclose } = {}) {
  const id = freshId("dialog");
  const made = h("dialog", { class: wide ? "dialog wide" : "dialog", "aria-labelledby": id });
  const close = () => made.close();
  fill(
    made,
    h("header", {}, h("h2", { id }, title), button("", close, { kind: "quiet", icon: CLOSE, label: t.close })),
    h("div", { class: "dialog-body" }, content),
  );
  made.addEventListener("close", () => {
    made.remove();
    onclose?.();
  });
  made.addEventListener("click", (event) => {
    if (event.target === made) close();
  });
  document.body.append(made);
  made.showModal();
  return close;
}

/** Ask before something is done that cannot be undone. */
export function confirmed(title, text, action) {
  return new Promise((resolve) => {
    let answer = false;
    const close = dialog(title, [
      h("p", {}, text),
      h("div", { class: "actions" }, button(t.cancel, () => close()), button(action, () => {
        answer = true;
        close();
      }, { kind: "danger" })),
    ], { onclose: () => resolve(answer) });
  });
}
