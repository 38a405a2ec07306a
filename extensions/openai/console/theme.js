// Light, dark, or as the system has it.

import { button } from "./dom.js";
import { THEME } from "./icons.js";
import { t } from "./texts.js";

const KEPT = "openedai.theme";
const NEXT = { auto: "light", light: "dark", dark: "auto" };

const now = () => localStorage.getItem(KEPT) ?? "auto";

function apply(theme) {
  document.documentElement.dataset.theme = theme;
}

/** The button that goes on to the next one. */
export function themeButton() {
  apply(now());
  const made = button("", () => {
    const next = NEXT[now()];
    localStorage.setItem(KEPT, next);
    apply(next);
    made.title = t.theme[next];
    made.setAttribute("aria-label", t.theme[next]);
  }, { kind: "quiet icon-only", icon: THEME, label: t.theme[now()] });
  return made;
}
