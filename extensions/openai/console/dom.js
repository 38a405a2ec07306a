// Makes elements. Texts become text nodes: nothing here, or in any other module, parses HTML.

const SVG = "http://www.w3.org/2000/svg";
const MATHML = "http://www.w3.org/1998/Math/MathML";

/** An element of HTML. `props`: attributes; `on*`: listeners; `class`, `value`, `checked`... as expected. */
export function h(name, props, ...children) {
  return filled(document.createElement(name), props, children);
}

/** An element of SVG. */
export function svg(name, props, ...children) {
  return filled(document.createElementNS(SVG, name), props, children);
}

/** An element of MathML. */
export function math(name, props, ...children) {
  return filled(document.createElementNS(MATHML, name), props, children);
}

const PROPERTIES = new Set(["value", "checked", "disabled", "selected", "hidden", "open", "indeterminate"]);

function filled(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false && !PROPERTIES.has(name)) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (PROPERTIES.has(name)) element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  add(element, children);
  return element;
}

/** Append strings, nodes and lists of them; null and false are left out. */
export function add(element, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

/** Put these children in the place of all that are there. */
export function fill(element, ...children) {
  element.replaceChildren();
  return add(element, children);
}

let last = 0;

/** An id that no other element has. */
export function freshId(prefix = "id") {
  last += 1;
  return `${prefix}-${last}`;
}

/** An icon of lines on a grid of 24 by 24. */
export function icon(path) {
  return svg(
    "svg",
    { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: path }),
  );
}

/** A button; `label` is read aloud where only an icon is shown. */
export function button(text, onclick, { kind = "", icon: path, label, ...rest } = {}) {
  return h(
    "button",
    { type: "button", class: `button ${kind}`.trim(), onclick, title: label, "aria-label": label, ...rest },
    path && icon(path),
    text,
  );
}

/** A labelled control with a line that explains it. */
export function field(label, control, help) {
  const id = control.id || (control.id = freshId("field"));
  const hint = help && h("p", { class: "hint", id: `${id}-hint` }, help);
  if (hint) control.setAttribute("aria-describedby", hint.id);
  return h("div", { class: "field" }, h("label", { for: id }, label), control, hint);
}

/** A box to tick, with its text behind it. */
export function tick(label, checked, onchange, help) {
  const id = freshId("tick");
  const box = h("input", { type: "checkbox", id, checked, onchange: () => onchange(box.checked) });
  const hint = help && h("p", { class: "hint", id: `${id}-hint` }, help);
  if (hint) box.setAttribute("aria-describedby", hint.id);
  return h("div", { class: "field tick" }, box, h("label", { for: id }, label), hint);
}

/** A table; each row is a list of cells, each a text, a node, or {text, class}. */
export function table(caption, heads, rows, { empty } = {}) {
  const cell = (each) => each !== null && typeof each === "object" && !(each instanceof Node) && !Array.isArray(each)
    ? h("td", { class: each.class, title: each.title }, each.text)
    : h("td", {}, each);
  return h(
    "div",
    { class: "table", role: "group", tabindex: "0", "aria-label": caption },
    h(
      "table",
      {},
      h("caption", { class: "unseen" }, caption),
      h("thead", {}, h("tr", {}, heads.map((each) => (each === "" ? h("td") : h("th", { scope: "col", class: each.class }, each.text ?? each))))),
      h("tbody", {}, rows.map((row) => (row instanceof Node ? row : h("tr", {}, row.map(cell))))),
    ),
    !rows.length && empty && h("p", { class: "empty" }, empty),
  );
}

/** What a view shows while there is nothing to show. */
export function emptyState(title, text, ...actions) {
  return h("div", { class: "empty-state" }, h("h2", {}, title), text && h("p", {}, text), actions);
}

/** Say something to screen readers without moving the focus. */
export function announce(text) {
  const live = document.getElementById("live");
  if (live) live.textContent = text;
}
