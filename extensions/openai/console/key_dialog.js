// Asks for the key, and says whose it is.

import { key } from "./api.js";
import { dialog } from "./dialog.js";
import { button, field, h, tick } from "./dom.js";
import { t } from "./texts.js";

let opened = false;

/** Ask for a key; `error`: why one is wanted; `done`: another key is in use now. */
export function askForKey(caller, error, done) {
  if (opened) return;
  opened = true;
  let remember = key.remembered;
  const box = h("input", {
    type: "password", autocomplete: "off", spellcheck: "false", required: true, "aria-invalid": error && key.value ? "true" : undefined,
  });
  const use = (value) => {
    key.keep(value, remember);
    close();
    done();
  };
  const close = dialog(t.key.title, h(
    "form", {
      onsubmit: (event) => {
        event.preventDefault();
        use(box.value.trim());
      },
    },
    error ? h("div", { class: "notice bad", role: "alert" }, h("div", {}, h("strong", {}, key.value ? t.key.wrong : t.key.needed), key.value && h("p", {}, error.message)))
      : caller.name && h("p", {}, t.key.holder(caller.name, caller.scopes)),
    !error && !caller.key_needed && h("p", { class: "hint" }, t.key.none),
    field(t.key.label, box, t.key.help),
    tick(t.key.remember, remember, (on) => {
      remember = on;
    }, t.key.rememberHelp),
    h("div", { class: "actions" },
      key.value && button(t.key.forget, () => use("")),
      h("button", { class: "button primary" }, t.key.use)),
  ), { onclose: () => {
    opened = false;
  } });
  box.focus();
}
