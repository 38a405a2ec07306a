// A figure of Plotly's: drawn in a frame that can reach nothing, neither the key nor the network; else as a table.

import { address } from "./api.js";
import { fill, h, table } from "./dom.js";
import { t } from "./texts.js";

const MOST_ROWS = 200;

/** The node of a figure: its frame, or its numbers where Plotly is not installed or cannot draw it. */
export function plotNode(figure) {
  const title = titleOf(figure) || t.stored.plot;
  const frame = h("iframe", { src: address("console/plot.html"), sandbox: "allow-scripts", title, loading: "lazy" });
  const element = h("figure", { class: "plot" }, frame);
  const listen = ({ source, data }) => {
    if (source !== frame.contentWindow) return;
    if (data === "ready") frame.contentWindow.postMessage({ figure, ...colours(element) }, "*");
    if (data === "drawn") element.classList.add("drawn");
    if (data === "failed") {
      removeEventListener("message", listen);
      fill(element, h("figcaption", {}, title), tablesOf(figure));
    }
  };
  addEventListener("message", listen);
  return element;
}

function colours(element) {
  const style = getComputedStyle(element.isConnected ? element : document.body);
  return { ink: style.color, dark: matchMedia("(prefers-color-scheme: dark)").matches && document.documentElement.dataset.theme !== "light" || document.documentElement.dataset.theme === "dark" };
}

const titleOf = ({ layout }) => String(layout?.title?.text ?? (typeof layout?.title === "string" ? layout.title : "")).replace(/<[^>]*>/g, " ").trim();

function tablesOf({ data = [] }) {
  return data.map((trace, at) => {
    const columns = ["x", "y", "z", "labels", "values", "open", "high", "low", "close"].filter((name) => trace[name] !== undefined).map((name) => [name, listOf(trace[name])]);
    const length = Math.min(Math.max(0, ...columns.map(([, values]) => values.length)), MOST_ROWS);
    const rows = Array.from({ length }, (_, row) => columns.map(([, values]) => shown(values[row])));
    return table(String(trace.name ?? `${trace.type ?? "scatter"} ${at + 1}`), columns.map(([name]) => name), rows, { empty: t.stored.noNumbers });
  });
}

const shown = (value) => (value === undefined || value === null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value));
const ARRAYS = { f8: Float64Array, f4: Float32Array, i4: Int32Array, i2: Int16Array, i1: Int8Array, u4: Uint32Array, u2: Uint16Array, u1: Uint8Array };

/** The values of a list as JSON or, as newer versions of Plotly write it, as bytes. */
function listOf(value) {
  if (Array.isArray(value)) return value;
  if (value?.bdata && ARRAYS[value.dtype]) {
    const bytes = Uint8Array.from(atob(value.bdata), (each) => each.charCodeAt(0));
    return [...new ARRAYS[value.dtype](bytes.buffer)];
  }
  return [value];
}
