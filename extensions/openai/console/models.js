// The models: what each can do, which one is loaded, load and unload.

import { ApiError, call, get } from "./api.js";
import { bytes } from "./charts.js";
import { ModelsOnRequest } from "./on_request.js";
import { button, emptyState, fill, h, table } from "./dom.js";
import { t } from "./texts.js";

const s = t.models;

function state(each) {
  if (each.root) return h("span", { class: "hint" }, s.stands(each.root));
  const isLoaded = each.loaded !== false;
  return h("span", { class: "chips" }, h("span", { class: isLoaded ? "badge good" : "badge" }, s.states[each.state] ?? (isLoaded ? s.loaded : s.notLoaded)),
    each.pinned && h("span", { class: "badge" }, s.pinned));
}

export class View {
  constructor(caller) {
    this.caller = caller;
    this.status = h("div", { role: "status" });
    this.served = h("div", {});
    this.host = h("div", {});
    this.onRequest = new ModelsOnRequest(() => this.show());
    this.element = h("div", { class: "view page" },
      h("div", { class: "head" }, h("h1", {}, t.views.models)), this.status,
      h("section", { "aria-label": s.served }, h("h2", {}, s.served), this.served),
      this.onRequest.element,
      h("section", { "aria-label": s.host }, h("h2", {}, s.host), this.host));
  }

  async show() {
    await Promise.all([this.#served(), this.onRequest.show(), this.#host()]);
  }

  back() {
    return this.show();
  }

  async #served() {
    let models = [];
    try {
      models = (await get("v1/models")).data;
    } catch (error) {
      if (error.status !== 503) throw error;
    }
    fill(this.served, models.length ? table(s.served, [s.name, s.what, { text: s.context, class: "number" }, { text: s.size, class: "number" }, s.abilities], models.map((each) => [
      h("span", {}, h("strong", {}, each.id), each.description && h("span", { class: "hint block" }, each.description)),
      state(each),
      { text: each.context_length?.toLocaleString("en") ?? "", class: "number" }, { text: each.size ? bytes(each.size) : "", class: "number" },
      h("span", { class: "chips" }, each.capabilities.map((name) => h("span", { class: "badge" }, name))),
    ])) : emptyState(s.none));
  }

  /** What the host could load instead; not every host can. */
  async #host() {
    let names, memory, now;
    try {
      [{ model_names: names, memory }, now] = await Promise.all([get("v1/internal/model/list", { memory: true }), get("v1/internal/model/info")]);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status === 401) throw error;
      fill(this.host, h("p", { class: "empty" }, error.message));
      return;
    }
    fill(this.host, table(s.host, [s.name, s.what, { text: s.needs, class: "number" }, ""], names.map((name) => {
      const isLoaded = name === now.model_name;
      return [
        h("strong", {}, name), isLoaded ? h("span", { class: "badge good" }, s.loaded) : h("span", { class: "badge" }, s.notLoaded),
        { text: memory[name] ? bytes(memory[name]) : "", class: "number" },
        { text: isLoaded ? button(s.unload, () => this.act(s.unloading(name), "unload"), { kind: "small" })
          : button(s.load, () => this.act(s.loading(name), "load", { model_name: name }), { kind: "small" }), class: "number" },
      ];
    }), { empty: s.noFiles }));
  }

  async act(text, action, body) {
    fill(this.status, h("div", { class: "notice" }, text));
    for (const each of this.host.querySelectorAll("button")) each.disabled = true;
    try {
      await call("POST", `v1/internal/model/${action}`, { body });
      fill(this.status);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      fill(this.status, h("div", { class: "notice bad", role: "alert" }, error.message));
    }
    await this.show();
  }
}
