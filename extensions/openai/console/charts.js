// Bars over time, stacked; with the numbers as a table for who cannot see them.

import { h, svg, table } from "./dom.js";
import { t } from "./texts.js";

const HEIGHT = 220, LEFT = 52, BOTTOM = 24, TOP = 8;
const COLOURS = 6;

/** `labels`: one for each bar; `series`: {name, values}, the largest first; `width` in pixels. */
export function bars(title, labels, series, width) {
  const sums = labels.map((_, at) => series.reduce((sum, each) => sum + each.values[at], 0));
  const top = ceiling(Math.max(1, ...sums));
  const step = (width - LEFT) / labels.length;
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
  const lines = [0, 0.5, 1].map((share) => svg("g", {},
    svg("line", { class: "grid", x1: LEFT, x2: width, y1: y(top * share), y2: y(top * share) }),
    svg("text", { class: "tick", x: LEFT - 6, y: y(top * share) + 4, "text-anchor": "end" }, short(top * share))));
  const every = Math.ceil(labels.length / Math.max(2, Math.floor((width - LEFT) / 70)));
  const columns = labels.map((label, at) => {
    let below = 0;
    const x = LEFT + at * step + step * 0.15;
    return svg("g", {}, svg("title", {}, `${label}: ${sums[at].toLocaleString("en")}`),
      svg("rect", { class: "reach", x: LEFT + at * step, y: TOP, width: step, height: HEIGHT - TOP - BOTTOM }),
      series.map((each, place) => {
        const value = each.values[at];
        if (!value) return null;
        below += value;
        return svg("rect", { class: `c${Math.min(place, COLOURS - 1)}`, x, y: y(below), width: step * 0.7, height: Math.max(0.5, y(below - value) - y(below)) });
      }),
      at % every === 0 && svg("text", { class: "tick", x: x + step * 0.35, y: HEIGHT - 6, "text-anchor": "middle" }, label));
  });
  return h("figure", { class: "chart" },
    svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": title }, lines, columns),
    h("ul", { class: "legend" }, series.map((each, place) => h("li", {}, svg("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, svg("rect", { class: `c${Math.min(place, COLOURS - 1)}`, width: 10, height: 10, rx: 2 })), each.name))),
    h("details", { class: "numbers" }, h("summary", {}, t.usage.numbers), table(
      title, [t.usage.day, ...series.map((each) => ({ text: each.name, class: "number" }))],
      labels.map((label, at) => [label, ...series.map((each) => ({ text: each.values[at].toLocaleString("en"), class: "number" }))]).filter((_, at) => sums[at]),
      { empty: t.usage.none },
    )));
}

/** The next number that reads well. */
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 10].find((each) => each * power >= value) * power;
}

/** A number in few characters. */
export function short(value) {
  if (value >= 1e6) return `${+(value / 1e6).toFixed(1)} M`;
  return value >= 1e3 ? `${+(value / 1e3).toFixed(1)} k` : String(+value.toFixed(1));
}

/** Bytes as people say them. */
export function bytes(value) {
  if (value === null || value === undefined) return "–";
  return value >= 1e9 ? `${(value / 1e9).toFixed(1)} GB` : `${Math.round(value / 1e6)} MB`;
}
