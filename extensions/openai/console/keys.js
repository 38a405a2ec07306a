// Named keys: make one (shown once), what each may do, replace, revoke.

import { ApiError, call, get, key } from "./api.js";
import { copyButton } from "./clipboard.js";
import { confirmed, dialog } from "./dialog.js";
import { button, field, fill, h, table, tick } from "./dom.js";
import { PLUS } from "./icons.js";
import { t } from "./texts.js";

const s = t.keys;
const DAY = 86400;
const day = (seconds) => (seconds ? new Date(seconds * 1000).toLocaleDateString("en", { dateStyle: "medium" }) : "–");

export class View {
  constructor(caller) {
    this.caller = caller;
    this.list = h("div", {});
    this.element = h("div", { class: "view page" },
      h("div", { class: "head" }, h("h1", {}, t.views.keys), h("span", { class: "spacer" }), button(s.make, () => this.make(), { kind: "primary", icon: PLUS })),
      h("p", { class: "hint" }, s.text), h("section", { "aria-label": t.views.keys }, this.list));
  }

  async show() {
    const { data } = await get("v1/internal/keys");
    fill(this.list, table(t.views.keys, [s.name, s.state, s.may, s.limits, s.made, s.ends, ""], data.map((each) => [
      h("strong", {}, each.name), h("span", { class: `badge ${each.valid ? "good" : "bad"}` }, each.valid ? s.valid : s.ended),
      h("span", { class: "chips" }, each.scopes.map((scope) => h("span", { class: "badge" }, scope)), !each.stores && h("span", { class: "badge" }, s.noStore)),
      limits(each), { text: day(each.created_at), class: "nowrap" }, { text: day(each.ends_at), class: "nowrap" },
      { text: each.valid && [button(s.rotate, () => this.rotate(each), { kind: "small" }), " ", button(s.revoke, () => this.revoke(each), { kind: "small danger" })], class: "number" },
    ]), { empty: s.none }));
  }

  back() {
    return this.show();
  }

  make() {
    const chosen = { scopes: new Set(["read", "write"]), stores: true };
    const name = h("input", { type: "text", required: true, pattern: "[A-Za-z0-9]([A-Za-z0-9_\\-]{0,38}[A-Za-z0-9])?", autocomplete: "off", spellcheck: "false" });
    const days = h("input", { type: "number", min: 1, placeholder: s.never });
    const numbers = Object.entries(s.limitNames).map(([id, label]) => [id, label, h("input", { type: "number", min: 0, placeholder: s.asServer })]);
    const problem = h("div", {});
    const scope = (id) => tick(id, chosen.scopes.has(id), (on) => (on ? chosen.scopes.add(id) : chosen.scopes.delete(id)), s.scopes[id]);
    const close = dialog(s.make, h("form", { onsubmit: async (event) => {
      event.preventDefault();
      const body = { name: name.value, scopes: [...chosen.scopes], stores: chosen.stores };
      if (days.value) body.expires_at = Math.floor(Date.now() / 1000) + Number(days.value) * DAY;
      const limits = Object.fromEntries(numbers.filter(([, , box]) => box.value !== "").map(([id, , box]) => [id, Number(box.value)]));
      if (Object.keys(limits).length) body.limits = limits;
      try {
        this.shown(await call("POST", "v1/internal/keys", { body }), close);
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        fill(problem, h("div", { class: "notice bad", role: "alert" }, error.message));
      }
    } },
    !this.caller.key_needed && h("div", { class: "notice" }, s.first), problem, field(s.name, name, s.nameHelp),
    h("fieldset", {}, h("legend", {}, s.may), ["read", "write", "admin"].map(scope)),
    tick(s.stores, true, (on) => {
      chosen.stores = on;
    }),
    h("details", { class: "section" }, h("summary", {}, s.limits), field(s.days, days), numbers.map(([, label, box]) => field(label, box))),
    h("div", { class: "actions" }, h("button", { class: "button primary" }, s.make))));
    name.focus();
  }

  /** Show a new key; this is the only time. */
  shown(made, close) {
    close();
    const locked = !this.caller.key_needed;
    if (locked && made.scopes.includes("admin")) key.keep(made.key, false);
    this.caller.key_needed = true;
    dialog(s.once, [
      h("p", {}, s.onceText), h("div", { class: "secret" }, h("code", {}, made.key), copyButton(() => made.key)),
      locked && h("p", { class: "hint" }, made.scopes.includes("admin") ? s.inUse : s.lockedOut),
    ], { onclose: () => this.show().catch(() => {}) });
  }

  async rotate(each) {
    if (!await confirmed(s.rotate, s.rotateText(each.name), s.rotate)) return;
    const made = await call("POST", `v1/internal/keys/${encodeURIComponent(each.name)}/rotate`, { body: {} });
    if (each.name === this.caller.name) key.keep(made.key, key.remembered);
    this.shown(made, () => {});
  }

  async revoke(each) {
    if (!await confirmed(s.revoke, s.revokeText(each.name), s.revoke)) return;
    await call("DELETE", `v1/internal/keys/${encodeURIComponent(each.name)}`);
    await this.show();
  }
}

function limits(each) {
  const said = Object.entries(each.limits).map(([name, most]) => `${name.replaceAll("_", " ")} ${most.toLocaleString("en")}`);
  return h("span", { class: "hint" }, said.join(", ") || "–");
}
