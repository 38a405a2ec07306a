// The console: who uses it, which views there are, and which one is shown.

import { ApiError, ConnectionLost, address, events, get } from "./api.js";
import { ChatView } from "./chat.js";
import { watchConnection } from "./connection.js";
import { button, emptyState, fill, h, icon } from "./dom.js";
import * as icons from "./icons.js";
import { askForKey } from "./key_dialog.js";
import { t } from "./texts.js";
import { themeButton } from "./theme.js";

/** The views by their names in the address; loaded when they are first shown. */
const VIEWS = {
  chat: { icon: icons.CHAT, needs: "write" },
  stored: { icon: icons.STORED, needs: "read" },
  batches: { icon: icons.BATCHES, needs: "read" },
  requests: { icon: icons.REQUESTS, needs: "read" },
  usage: { icon: icons.USAGE, needs: "read" },
  models: { icon: icons.MODELS, needs: "admin" },
  keys: { icon: icons.KEYS, needs: "admin" },
};

class Console {
  constructor() {
    this.caller = { name: "", scopes: [], stores: false, key_needed: true };
    this.shown = new Map();
    this.nav = h("nav", { class: "views", "aria-label": t.main });
    this.main = h("main", { id: "content", tabindex: "-1" });
    this.connection = h("div", { class: "connection", role: "status", hidden: true });
    this.keyButton = button("", () => this.askForKey(), { kind: "quiet icon-only", icon: icons.LOCK, label: t.key.open });
    document.body.prepend(
      h("a", { class: "skip", href: "#content", onclick: (event) => {
        event.preventDefault();
        this.main.focus();
      } }, t.skip),
      h("div", { class: "app" },
        h("header", { class: "top" },
          h("a", { class: "brand", href: "#/chat" }, h("img", { src: address("favicon.ico"), alt: "", width: "20", height: "20" }), h("span", {}, t.product)),
          this.nav, h("span", { class: "spacer" }),
          h("a", { class: "button quiet", href: address("docs") }, t.documentation), themeButton(), this.keyButton),
        this.connection, this.main),
      h("div", { id: "live", class: "unseen", "aria-live": "polite" }),
    );
    addEventListener("hashchange", () => this.show());
    watchConnection(this.connection, () => this.again());
    events.addEventListener("key", ({ detail }) => this.askForKey(detail));
  }

  /** Find out who uses the console, then show the view that the address names. */
  async start() {
    fill(this.main, h("p", { class: "empty" }, t.loading));
    try {
      this.caller = await get("v1/internal/caller");
    } catch (error) {
      if (error instanceof ConnectionLost || error.status === 401) return;  // What follows comes back here.
      if (!(error instanceof ApiError)) throw error;
      // A key that may not read, or a server where this is switched off.
      this.caller = { name: "", scopes: ["write"], stores: false, key_needed: true };
    }
    this.shown.clear();
    this.draw();
    await this.show();
  }

  /** The server is back: what could not be shown is shown now. */
  async again() {
    if (!this.caller.scopes.length) await this.start();
    else this.view?.back?.();
  }

  draw() {
    fill(this.nav, Object.entries(VIEWS).filter(([, view]) => this.mayShow(view)).map(([name, view]) => h(
      "a", { href: `#/${name}`, id: `view-${name}` }, icon(view.icon), h("span", {}, t.views[name]),
    )));
  }

  mayShow = (view) => this.caller.scopes.includes(view.needs);

  async show() {
    if (!this.caller.scopes.length) return;
    const [, wanted] = location.hash.split("/");
    const name = VIEWS[wanted] && this.mayShow(VIEWS[wanted]) ? wanted : Object.keys(VIEWS).find((each) => this.mayShow(VIEWS[each]));
    for (const link of this.nav.children) {
      if (link.id === `view-${name}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    document.title = `${t.views[name]} · ${t.product}`;
    this.view?.hide?.();
    if (!this.shown.has(name)) this.shown.set(name, await this.make(name));
    this.view = this.shown.get(name);
    fill(this.main, this.view.element);
    try {
      await this.view.show();
    } catch (error) {
      if (error instanceof ConnectionLost || error.status === 401) return;
      fill(this.main, emptyState(t.failed, error.message, button(t.again, () => this.show())));
    }
  }

  async make(name) {
    if (name === "chat") return new ChatView(this.caller);
    const { View } = await import(`./${name}.js`);
    return new View(this.caller, (conversation) => this.openInChat(conversation));
  }

  async openInChat(conversation) {
    if (!this.shown.has("chat")) this.shown.set("chat", await this.make("chat"));
    this.shown.get("chat").open(conversation);
    location.hash = "#/chat";
  }

  askForKey(error = null) {
    askForKey(this.caller, error, () => this.start());
  }
}

document.querySelector("noscript")?.remove();

await new Console().start();
