// The models that requests load by naming them: load, unload, keep, download, delete; and the room for them.

import { ApiError, call, get, stream } from "./api.js";
import { bytes } from "./charts.js";
import { confirmed } from "./dialog.js";
import { announce, button, field, fill, h, table } from "./dom.js";
import { t } from "./texts.js";

const s = t.models;
const FOLDER = "v1/internal/models";

export class ModelsOnRequest {
  /** `changed()`: after something was done; its promise is waited for. */
  constructor(changed) {
    this.changed = changed;
    this.list = h("div", {});
    this.room = h("p", { class: "hint" });
    this.status = h("div", { role: "status" });
    this.bar = h("progress", { "aria-label": s.download });
    this.wanted = h("input", { type: "text", placeholder: "hf:OWNER/REPO:Q4_K_M", spellcheck: "false", autocomplete: "off", required: true });
    this.element = h("section", { "aria-label": s.onRequest, hidden: true },
      h("h2", {}, s.onRequest), this.room, this.list, this.status,
      h("form", { onsubmit: (event) => {
        event.preventDefault();
        return this.download(this.wanted.value.trim());
      } }, field(s.download, this.wanted, s.downloadHelp), h("button", { class: "button" }, s.download)));
  }

  /** Show how they are; nothing where this server has none. */
  async show() {
    let found;
    try {
      found = await get(FOLDER);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status === 401) throw error;
      this.element.hidden = true;
      return;
    }
    const { room } = found;
    this.element.hidden = room === null;
    if (room === null) return;
    const data = found.data.filter((each) => each.on_request);
    this.room.textContent = s.room(bytes(room.used), room.bytes ? bytes(room.bytes) : "", room.models);
    const number = (text) => ({ text, class: "number" });
    fill(this.list, table(s.onRequest, [s.name, s.what, number(s.context), number(s.needs), s.abilities, ""], data.map((each) => [
      h("span", {}, h("strong", {}, each.id), each.aliases.length > 0 && h("span", { class: "hint block" }, each.aliases.join(", "))),
      h("span", { class: "chips" }, h("span", { class: each.state === "loaded" ? "badge good" : "badge" }, s.states[each.state]), each.pinned && h("span", { class: "badge" }, s.pinned)),
      number(each.context_length.toLocaleString("en")), number(each.size ? bytes(each.size) : ""),
      h("span", { class: "chips" }, each.capabilities.map((name) => h("span", { class: "badge" }, name))),
      { text: h("span", { class: "chips" }, this.#buttons(each)), class: "number" },
    ]), { empty: s.noFiles }));
  }

  #buttons({ id, state, pinned }) {
    const made = (text, action, body) => button(text, () => this.act(`${text}: ${id}`, () => call("POST", `${FOLDER}/${action}`, { body: { model: id, ...body } })), { kind: "small" });
    return [
      state === "not_loaded" ? made(s.load, "load") : made(s.unload, "unload"),
      pinned ? made(s.unpin, "pin", { pinned: false }) : made(s.pin, "pin", { pinned: true }),
      button(s.remove, async () => {
        if (await confirmed(s.remove, s.removeText(id), s.remove)) await this.act(`${s.remove}: ${id}`, () => call("DELETE", `${FOLDER}/${id.split("/").map(encodeURIComponent).join("/")}`));
      }, { kind: "small danger" }),
    ];
  }

  async act(text, work) {
    fill(this.status, h("div", { class: "notice" }, `${text}…`));
    for (const each of this.list.querySelectorAll("button")) each.disabled = true;
    try {
      await work();
      fill(this.status);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#bad(error.message);
    }
    await this.changed();
  }

  async download(model) {
    try {
      for await (const now of stream(`${FOLDER}/download`, { model, stream: true })) {
        if (now.state === "failed") {
          this.#bad(now.error);
          return;
        }
        if (now.state === "ready") {
          fill(this.status, h("div", { class: "notice" }, s.ready(now.model)));
          announce(s.ready(now.model));
          this.wanted.value = "";
          continue;
        }
        if (now.total) Object.assign(this.bar, { max: now.total, value: now.done });
        else this.bar.removeAttribute("value");
        if (!this.status.contains(this.bar)) fill(this.status, h("div", { class: "notice" }, h("span", {}), this.bar));
        this.bar.previousElementSibling.textContent = s.downloading(model, bytes(now.done), now.total ? bytes(now.total) : "");
      }
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#bad(error.message);
      return;
    }
    await this.changed();
  }

  #bad(text) {
    fill(this.status, h("div", { class: "notice bad", role: "alert" }, text));
  }
}
