// "Show as code": the request of a chat as a program, with a placeholder for the key.

import { BASE_URL } from "./api.js";
import { codeNode } from "./markdown.js";
import { dialog } from "./dialog.js";
import { h } from "./dom.js";
import { t } from "./texts.js";

const STANDARD = new Set(("model messages temperature top_p max_tokens seed stop presence_penalty frequency_penalty logprobs "
  + "top_logprobs tools response_format store stream").split(" "));
const SHOWN_DATA = 200;

/** The program in each language. `body` and `headers` are those of the request. */
export function programs(body, headers, needsKey) {
  const short = JSON.parse(JSON.stringify(body), (_, value) => (
    typeof value === "string" && value.length > SHOWN_DATA && /^(data:|[A-Za-z0-9+/=]+$)/.test(value) ? `${value.slice(0, 60)}…` : value));
  return { curl: curl(short, headers, needsKey), python: python(short, headers, needsKey), javascript: javascript(short, headers, needsKey) };
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curl(body, headers, needsKey) {
  const lines = [`curl ${BASE_URL}/chat/completions`, `-H "Content-Type: application/json"`];
  if (needsKey) lines.push(`-H "Authorization: Bearer $OPENAI_API_KEY"`);
  for (const [name, value] of Object.entries(headers)) lines.push(`-H ${quoted(`${name}: ${value}`)}`);
  lines.push(`-d ${quoted(JSON.stringify(body, null, 2))}`);
  return lines.join(" \\\n  ");
}

function python(body, headers, needsKey) {
  const extra = Object.fromEntries(Object.entries(body).filter(([name]) => !STANDARD.has(name)));
  const lines = Object.entries(body).filter(([name]) => STANDARD.has(name)).map(([name, value]) => `    ${name}=${literal(value, 1)},`);
  if (Object.keys(extra).length) lines.push(`    extra_body=${literal(extra, 1)},`);
  if (Object.keys(headers).length) lines.push(`    extra_headers=${literal(headers, 1)},`);
  const key = needsKey ? 'os.environ["OPENAI_API_KEY"]' : '"unused"';
  return `${needsKey ? "import os\n\n" : ""}from openai import OpenAI

client = OpenAI(base_url=${JSON.stringify(BASE_URL)}, api_key=${key})
answer = client.chat.completions.create(
${lines.join("\n")}
)
print(answer.choices[0].message.content)`;
}

/** A value as Python writes it. */
export function literal(value, depth = 0) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  // Strings of JSON are strings of Python, but for the halves of characters that JSON may name.
  if (typeof value !== "object") return JSON.stringify(value);
  const margin = "    ".repeat(depth);
  const [open, close] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  const items = Array.isArray(value)
    ? value.map((each) => literal(each, depth + 1))
    : Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${literal(each, depth + 1)}`);
  const line = `${open}${items.join(", ")}${close}`;
  if (line.length < 80 && !line.includes("\n")) return line;
  return `${open}\n${items.map((each) => `${margin}    ${each},\n`).join("")}${margin}${close}`;
}

function javascript(body, headers, needsKey) {
  const key = needsKey ? "process.env.OPENAI_API_KEY" : '"unused"';
  const options = Object.keys(headers).length ? `, ${JSON.stringify({ headers })}` : "";
  return `import OpenAI from "openai";

const client = new OpenAI({ baseURL: ${JSON.stringify(BASE_URL)}, apiKey: ${key} });
const answer = await client.chat.completions.create(${JSON.stringify(body, null, 2)}${options});
console.log(answer.choices[0].message.content);`;
}

/** Show the programs. */
export function showCode(body, headers, needsKey) {
  const made = programs(body, headers, needsKey);
  const shown = h("div", {});
  const tabs = Object.entries(t.code.languages).map(([name, title]) => h("button", {
    type: "button", role: "tab", class: "tab", "aria-controls": "code-panel", id: `code-${name}`, onclick: () => choose(name),
    onkeydown: (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const names = Object.keys(t.code.languages);
      const next = names[(names.indexOf(name) + step + names.length) % names.length];
      choose(next);
      document.getElementById(`code-${next}`).focus();
    },
  }, title));
  const panel = h("div", { role: "tabpanel", id: "code-panel", tabindex: "-1" }, shown);
  function choose(name) {
    for (const tab of tabs) {
      const is = tab.id === `code-${name}`;
      tab.setAttribute("aria-selected", String(is));
      tab.tabIndex = is ? 0 : -1;
    }
    panel.setAttribute("aria-labelledby", `code-${name}`);
    const needs = t.code.packages[name];
    shown.replaceChildren(codeNode(made[name], name), ...(needs ? [h("p", { class: "hint" }, h("code", {}, needs))] : []));
  }
  choose("curl");
  dialog(t.code.title, [
    h("div", { role: "tablist", class: "tabs", "aria-label": t.code.title }, tabs),
    panel,
    needsKey && h("p", { class: "hint" }, t.code.keyHint),
  ], { wide: true });
}
