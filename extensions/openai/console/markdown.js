// Markdown to nodes: the part of CommonMark and GFM that models write, and mathematics.
//
// HTML in a text stays text. Addresses are links only if they lead to the web or are mail; pictures become links too,
// because loading them would tell another site what is read here.

import { copyButton } from "./clipboard.js";
import { h } from "./dom.js";
import { formula } from "./mathematics.js";

const FENCE = /^( {0,3})(`{3,}|~{3,})\s*([^\s`]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^ {0,3}([-*_])(\s*\1){2,}\s*$/;
const QUOTE = /^ {0,3}>\s?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(\s+|$)/;
const TABLE_LINE = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const MATH_BLOCK = /^\s*(\$\$|\\\[)/;
const DEEPEST = 12;

/** The blocks of a text: {from, to, lines} by line, so that a writer can go on where it stopped. */
export function blocksOf(lines, start = 0) {
  const found = [];
  let at = start;
  while (at < lines.length) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const to = endOf(lines, at);
    found.push({ from: at, to });
    at = to;
  }
  return found;
}

function endOf(lines, at) {
  const fence = FENCE.exec(lines[at]);
  if (fence) return closing(lines, at + 1, (line) => isClosing(line, fence[2]));
  const math = MATH_BLOCK.exec(lines[at]);
  if (math) {
    const close = math[1] === "$$" ? "$$" : "\\]";
    const rest = lines[at].slice(math[0].length);
    return rest.includes(close) ? at + 1 : closing(lines, at + 1, (line) => line.includes(close));
  }
  if (HEADING.test(lines[at]) || RULE.test(lines[at])) return at + 1;
  if (ITEM.test(lines[at])) return endOfList(lines, at);
  if (isTable(lines, at)) return while_(lines, at, (line) => line.trim() && line.includes("|"));
  if (QUOTE.test(lines[at])) return while_(lines, at, (line) => line.trim() && !FENCE.test(line));
  return while_(lines, at, (line, index) => line.trim() && (index === at || !interrupts(lines, index)));
}

function while_(lines, at, holds) {
  let to = at;
  while (to < lines.length && holds(lines[to], to)) to += 1;
  return Math.max(to, at + 1);
}

function closing(lines, at, closes) {
  for (let index = at; index < lines.length; index += 1) if (closes(lines[index])) return index + 1;
  return lines.length;
}

const isClosing = (line, mark) => {
  const text = line.trim();
  return text.length >= mark.length && text === mark[0].repeat(text.length);
};

const isTable = (lines, at) => lines[at].includes("|") && at + 1 < lines.length && TABLE_LINE.test(lines[at + 1])
  && lines[at + 1].includes("-");

function interrupts(lines, at) {
  const line = lines[at];
  return FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || MATH_BLOCK.test(line)
    || /^ {0,3}([-*+]|1[.)])\s+\S/.test(line) || isTable(lines, at);
}

function endOfList(lines, at) {
  const [, margin, mark] = ITEM.exec(lines[at]);
  const another = (line) => {
    const item = ITEM.exec(line);
    return item && item[1].length <= margin.length + 1 && /\d/.test(item[2]) !== /\d/.test(mark);
  };
  let to = at + 1;
  while (to < lines.length) {
    const line = lines[to];
    if (another(line)) return to;
    if (!line.trim()) {
      const next = lines.findIndex((each, index) => index > to && each.trim());
      if (next < 0 || !(/^\s{2,}/.test(lines[next]) || ITEM.test(lines[next]))) return to;
    } else if (RULE.test(line) || HEADING.test(line)) return to;
    else if (/^ {0,1}\S/.test(line) && !ITEM.test(line) && !lines[to - 1].trim()) return to;
    else if (FENCE.test(line) && /^\S/.test(line)) return to;
    to += 1;
  }
  return to;
}

/** The node of one block. */
export function blockNode(lines, depth = 0) {
  const fence = FENCE.exec(lines[0]);
  if (fence) return codeBlock(lines, fence);
  if (MATH_BLOCK.test(lines[0])) return mathBlock(lines);
  const heading = HEADING.exec(lines[0]);
  // The page has headings of its own above those of an answer.
  if (heading) return h(`h${Math.min(heading[1].length + 2, 6)}`, {}, inline(heading[2]));
  if (RULE.test(lines[0])) return h("hr");
  if (depth < DEEPEST && ITEM.test(lines[0])) return list(lines, depth);
  if (isTable(lines, 0)) return gridTable(lines);
  if (depth < DEEPEST && QUOTE.test(lines[0])) {
    return h("blockquote", {}, nodesOf(lines.map((line) => line.replace(QUOTE, "")), depth + 1));
  }
  return h("p", {}, inline(lines.map((line) => line.trimStart()).join("\n")));
}

const nodesOf = (lines, depth) => blocksOf(lines).map(({ from, to }) => blockNode(lines.slice(from, to), depth));

/** All nodes of a text. */
export const markdown = (text) => nodesOf(text.replace(/\r\n?/g, "\n").split("\n"), 0);

function codeBlock(lines, fence) {
  const closed = lines.length > 1 && isClosing(lines.at(-1), fence[2]);
  const indent = new RegExp(`^ {0,${fence[1].length}}`);
  const code = lines.slice(1, closed ? -1 : undefined).map((line) => line.replace(indent, "")).join("\n");
  return codeNode(code, fence[3]);
}

/** Code with its language and a button that copies it. */
export function codeNode(code, language = "") {
  const pre = h("pre", { tabindex: "0" }, h("code", {}, code));
  return h(
    "figure",
    { class: "code" },
    h("figcaption", {}, h("span", { class: "language" }, language || "text"), copyButton(() => pre.textContent)),
    pre,
  );
}

function mathBlock(lines) {
  const whole = lines.join("\n").trim();
  const [open, close] = whole.startsWith("$$") ? ["$$", "$$"] : ["\\[", "\\]"];
  const end = whole.indexOf(close, open.length);
  const source = whole.slice(open.length, end < 0 ? undefined : end);
  const rest = end < 0 ? "" : whole.slice(end + close.length).trim();
  const block = h("div", { class: "formula" }, formula(source, true));
  return rest ? h("div", {}, block, h("p", {}, inline(rest))) : block;
}

function list(lines, depth) {
  const first = ITEM.exec(lines[0]);
  const ordered = /\d/.test(first[2]);
  const items = [];
  let width = 0;
  for (const line of lines) {
    const start = ITEM.exec(line);
    if (start && (!items.length || start[1].length < width)) {
      width = start[1].length + start[2].length + Math.min(start[3].length || 1, 4);
      items.push([line.slice(Math.min(width, line.length))]);
    } else {
      const margin = /^\s*/.exec(line)[0].length;
      items.at(-1).push(line.slice(Math.min(margin, width)));
    }
  }
  const start = ordered ? Number.parseInt(first[2], 10) : 1;
  return h(
    ordered ? "ol" : "ul",
    { start: ordered && start !== 1 ? start : undefined },
    items.map((item) => h("li", {}, itemNodes(item, depth + 1))),
  );
}

function itemNodes(lines, depth) {
  const task = /^\[([ xX])\]\s+/.exec(lines[0]);
  const own = task ? [lines[0].slice(task[0].length), ...lines.slice(1)] : lines;
  const nodes = nodesOf(own, depth);
  // A tight item is a line and not a paragraph.
  const tight = nodes[0]?.tagName === "P" ? [...nodes[0].childNodes, ...nodes.slice(1)] : nodes;
  return task ? [task[1] === " " ? "☐ " : "☑ ", ...tight] : tight;
}

function gridTable(lines) {
  const [head, marks, ...rows] = lines.map(cells);
  const side = marks.map((mark) => (/^:.*:$/.test(mark) ? "center" : mark.endsWith(":") ? "right" : undefined));
  const row = (name, texts) => h("tr", {}, head.map((_, at) => h(name, { class: side[at], scope: name === "th" ? "col" : undefined }, inline(texts[at] ?? ""))));
  return h(
    "div",
    { class: "table", tabindex: "0", role: "group", "aria-label": head.join(", ").slice(0, 80) || "table" },
    h("table", {}, h("thead", {}, row("th", head)), h("tbody", {}, rows.map((each) => row("td", each)))),
  );
}

function cells(line) {
  const bare = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");
  return bare.split(/(?<!\\)\|/).map((each) => each.trim().replaceAll("\\|", "|"));
}

// One after the other: what begins first and is closed is taken. No expression can repeat what it may leave.
const INLINE = [
  [/\\([!-/:-@[-`{-~])/y, (found) => (found[1] === "(" || found[1] === "[" ? null : found[1])],
  [/(`+)([^`]|[^`][\s\S]{0,20000}?[^`])\1(?!`)/y, (found) => h("code", {}, found[2].replace(/^ (.*) $/s, "$1"))],
  [/\\\(([^\n]{1,2000}?)\\\)/y, (found) => formula(found[1], false)],
  [/\\\[([^\n]{1,2000}?)\\\]/y, (found) => formula(found[1], false)],
  [/\$\$([^\n$]{1,2000})\$\$/y, (found) => formula(found[1], false)],
  [/\$(?=\S)([^\n$]{0,999}[^\n$\s\\]|[^\n$\s\\])\$(?!\d)/y, (found) => formula(found[1], false)],
  [/!?\[((?:[^[\]]|\[[^[\]]{0,200}\]){0,2000})\]\(\s*<?([^\s<>()]{0,2000}(?:\([^\s<>()]{0,200}\)[^\s<>()]{0,2000})?)>?(?:\s+"[^"\n]{0,500}")?\s*\)/y, link],
  [/<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/y, (found) => anchor(found[1], found[1])],
  [/https?:\/\/[^\s<>"'`]{1,2000}/y, bareLink],
  [/(\*\*|__)(?=\S)([\s\S]{0,2000}?\S)\1/y, (found, depth, before) => emphasis("strong", found, depth, before)],
  [/~~(?=\S)([\s\S]{0,2000}?\S)~~/y, (found, depth) => h("del", {}, inline(found[1], depth + 1))],
  [/(\*|_)(?=[^\s*_])([\s\S]{0,2000}?[^\s*_])\1(?![\w*])/y, (found, depth, before) => emphasis("em", found, depth, before)],
  [/(?: {2,}|\\)\n/y, () => h("br")],
  [/\n/y, () => h("br")],
];
const STARTS = /[\\`$![<h*_~\n ]/g;

/** The nodes of a line. */
export function inline(text, depth = 0) {
  const nodes = [];
  let plain = 0, at = 0;
  const upTo = (end) => {
    if (end > plain) nodes.push(text.slice(plain, end));
  };
  while (at < text.length) {
    STARTS.lastIndex = at;
    const start = STARTS.exec(text);
    if (!start) break;
    at = start.index;
    const taken = depth < DEEPEST && taking(text, at, depth);
    if (taken) {
      upTo(at);
      nodes.push(taken.node, ...(taken.after ?? []));
      at += taken.length;
      plain = at;
    } else at += 1;
  }
  upTo(text.length);
  return nodes;
}

function taking(text, at, depth) {
  for (const [pattern, make] of INLINE) {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    const node = found && make(found, depth, text[at - 1] ?? "");
    if (node !== null && node !== undefined) {
      return node.length !== undefined && node.node ? node : { node, length: found[0].length };
    }
  }
  return null;
}

function emphasis(name, found, depth, before) {
  // snake_case is a name.
  if (found[1][0] === "_" && /\w/.test(before)) return null;
  return h(name, {}, inline(found[2], depth + 1));
}

function link(found, depth) {
  const isPicture = found[0].startsWith("!");
  return anchor(found[2], isPicture ? found[1] || found[2] : inline(found[1], depth + 1)) ?? found[0];
}

function bareLink(found) {
  const address = found[0].replace(/[.,:;!?)\]}*_~]+$/, "");
  const node = anchor(address, address);
  return node && { node, length: address.length };
}

/** A link to the web or to mail; null for any other address, `javascript:` among them. */
export function anchor(address, content) {
  let found;
  try {
    found = new URL(address);
  } catch {
    return null;
  }
  if (!["http:", "https:", "mailto:"].includes(found.protocol)) return null;
  return h("a", { href: found.href, target: "_blank", rel: "noopener noreferrer nofollow" }, content);
}

/** Writes a text that grows. Blocks that are complete are left alone, so that a long answer costs no more than a short one. */
export class MarkdownWriter {
  constructor(element) {
    this.element = element;
    this.done = 0;
    this.open = [];
    this.lines = [];
    this.text = "";
  }

  /** Show this text, which begins with all that was shown before. */
  show(text) {
    if (!text.startsWith(this.text) || !this.text) this.reset();
    // The last line may have grown.
    const from = Math.max(this.lines.length - 1, 0);
    const known = this.lines.slice(0, from).reduce((sum, line) => sum + line.length + 1, 0);
    this.lines.splice(from, Infinity, ...text.slice(this.known ?? known).split("\n"));
    this.known = text.length - this.lines.at(-1).length;
    this.text = text;
    const blocks = blocksOf(this.lines, this.done);
    const last = blocks.pop();
    if (!last) return;
    if (blocks.length) {
      for (const node of this.open) node.remove();
      for (const { from: start, to } of blocks) this.element.append(blockNode(this.lines.slice(start, to)));
      this.done = last.from;
      this.open = [];
    }
    this.#showLast(this.lines.slice(last.from, last.to));
  }

  #showLast(lines) {
    const [node] = this.open;
    // Code only grows: add what is new, instead of making all of it again.
    if (node?.matches("figure.code") && FENCE.test(lines[0]) && !isClosing(lines.at(-1), FENCE.exec(lines[0])[2])) {
      const code = node.querySelector("code");
      const whole = lines.slice(1).join("\n");
      if (!FENCE.exec(lines[0])[1] && whole.startsWith(code.firstChild?.data ?? "")) {
        if (code.firstChild) code.firstChild.appendData(whole.slice(code.firstChild.length));
        else code.append(whole);
        return;
      }
    }
    const made = blockNode(lines);
    if (node) node.replaceWith(made);
    else this.element.append(made);
    this.open = [made];
  }

  reset() {
    this.element.replaceChildren();
    this.done = 0;
    this.known = 0;
    this.open = [];
    this.lines = [];
  }
}
