// Says when the server does not answer, and when it is back.

import { BASE, events } from "./api.js";
import { announce } from "./dom.js";
import { t } from "./texts.js";

const FIRST_S = 0.5, LONGEST_S = 5, SHOWN_S = 2;

/** Shows the state of the connection in `element`; calls `found` when the server is back. */
export function watchConnection(element, found) {
  let watching = false;
  const show = (text, kind) => {
    element.className = `connection ${kind}`;
    element.textContent = text;
    element.hidden = !text;
    if (text) announce(text);
  };
  events.addEventListener("lost", async () => {
    if (watching) return;
    watching = true;
    show(t.connection.lost, "bad");
    for (let wait = FIRST_S; ; wait = Math.min(wait * 1.5, LONGEST_S)) {
      await new Promise((resolve) => setTimeout(resolve, wait * 1000));
      const status = await asked();
      if (status === 200) break;
      if (status === 503) show(t.connection.loading, "bad");
    }
    watching = false;
    show(t.connection.found, "good");
    setTimeout(() => {
      if (!watching) show("", "");
    }, SHOWN_S * 1000);
    found();
  });
}

async function asked() {
  try {
    return (await fetch(new URL("health", BASE), { cache: "no-store" })).status;
  } catch {
    return 0;
  }
}
