// An answer as its tokens, each coloured by how likely it was.

import { fill, freshId, h } from "./dom.js";
import { t } from "./texts.js";

const STEPS = [0.9, 0.6, 0.3, 0.1];

/** The class of a probability: p0 is likely, p4 is not. */
export const shade = (p) => `p${STEPS.filter((step) => p < step).length}`;

/** The tokens, and below them what is known of the one that the pointer or the arrow keys are at. */
export function tokensView(tokens) {
  const detail = h("div", { class: "token-detail", "aria-live": "polite" }, h("span", { class: "hint" }, t.chat.tokenHelp));
  const spans = tokens.map((token, at) => h("span", { class: `token ${shade(token.p)}`, "data-at": at }, token.text));
  let chosen = -1;
  const show = (at) => {
    if (at < 0 || at >= tokens.length || at === chosen) return;
    spans[chosen]?.classList.remove("chosen");
    chosen = at;
    spans[at].classList.add("chosen");
    const token = tokens[at];
    const others = token.others.filter(([text]) => text !== token.text);
    fill(
      detail,
      h("span", { class: "this" }, h("code", {}, visible(token.text)), ` ${t.chat.probability(token.p)}`),
      others.length > 0 && h("span", { class: "hint" }, t.chat.alternatives),
      others.map(([text, p]) => h("span", {}, h("code", {}, visible(text)), ` ${t.chat.probability(p)}`)),
    );
  };
  const list = h("div", {
    class: "tokens", tabindex: "0", role: "group", "aria-label": t.chat.tokens, id: freshId("tokens"),
    onpointerover: (event) => show(Number(event.target.dataset.at ?? -1)),
    onkeydown: (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      show(Math.max(chosen, 0) + (chosen < 0 ? 0 : step));
    },
  }, spans);
  return h("div", {}, list, detail);
}

const visible = (text) => text.replaceAll("\n", "↵").replace(/^ | $/g, "␣") || "∅";
