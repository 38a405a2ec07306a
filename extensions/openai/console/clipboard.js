// Copies a text, also where a browser gives the page no clipboard: over plain HTTP from another machine.

import { announce, button } from "./dom.js";
import { COPY } from "./icons.js";
import { t } from "./texts.js";

/** A button that copies what `text()` returns. */
export function copyButton(text, { label = t.copy, kind = "quiet small" } = {}) {
  const made = button(label, async () => {
    const said = await copied(text(), made);
    announce(said);
    made.classList.add("done");
    if (label) made.lastChild.textContent = said;
    setTimeout(() => {
      made.classList.remove("done");
      if (label) made.lastChild.textContent = label;
    }, 1500);
  }, { kind, icon: COPY, label: label ? undefined : t.copy });
  return made;
}

async function copied(text, beside) {
  try {
    await navigator.clipboard.writeText(text);
    return t.copied;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "unseen";
    beside.after(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done ? t.copied : t.failed;
  }
}
