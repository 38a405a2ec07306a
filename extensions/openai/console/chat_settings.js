// The settings of a chat: model, system text, sampling, output, and what the server keeps.

import { button, field, fill, h, tick } from "./dom.js";
import { EXAMPLE_TOOLS, NUMBERS, PRESETS, WHOLE, keep } from "./parameters.js";
import { t } from "./texts.js";

const s = t.settings;

/** Fill `element`; `settings` are changed in place. `models`: as the API lists them. */
export function settingsView(element, settings, models, { stores, changed }) {
  const set = (name, value) => {
    settings[name] = value;
    keep(settings);
    changed();
  };
  const area = (name, rows, more = {}) => h("textarea", { rows, value: settings[name], oninput: (event) => set(name, event.target.value), ...more });
  const json = (name, check, wrong) => {
    const problem = h("p", { class: "hint problem", role: "status" });
    const test = (text) => {
      let said = "";
      try {
        if (text.trim() && !check(JSON.parse(text))) said = wrong;
      } catch (error) {
        said = s.badJson(error.message);
      }
      problem.textContent = said;
      box.setAttribute("aria-invalid", String(Boolean(said)));
    };
    const box = area(name, 4, { class: "mono", spellcheck: "false", onchange: (event) => test(event.target.value) });
    return { box, problem, test };
  };
  const tools = json("tools", Array.isArray, s.badTools);
  const schema = json("schema", (value) => value !== null && typeof value === "object" && !Array.isArray(value), s.badSchema);
  const own = h("div", { class: "own" });
  const meaning = h("p", { class: "hint" });
  const showOwn = () => {
    meaning.textContent = s.presets[settings.preset][1];
    fill(own, settings.preset === "own" && Object.entries(NUMBERS).map(([name, bounds]) => slider(settings, name, bounds, () => set("own", settings.own))));
  };
  const preset = h("select", { onchange: (event) => {
    set("preset", event.target.value);
    showOwn();
  } }, Object.keys(PRESETS).map((name) => h("option", { value: name, selected: settings.preset === name }, s.presets[name][0])));
  const model = models.find((each) => each.id === settings.model) ?? models[0];
  showOwn();
  fill(
    element,
    field(s.model, modelSelect(settings, models, (value) => {
      set("model", value);
      settingsView(element, settings, models, { stores, changed });
    }), model?.description),
    field(s.system, area("system", 4), s.systemHelp),
    section(s.sections.sampling, true, field(s.preset, preset), meaning, own,
      number(settings, "max_tokens", set), number(settings, "seed", set), field(s.stop, area("stop", 2), s.stopHelp)),
    section(s.sections.output, Boolean(settings.tools || settings.schema || settings.logprobs || settings.thinking !== "default"),
      model?.template?.thinking && field(s.thinking, h("select", { onchange: (event) => set("thinking", event.target.value) },
        Object.entries(s.thinkings).map(([name, title]) => h("option", { value: name, selected: settings.thinking === name }, title)))),
      tick(s.logprobs, settings.logprobs, (on) => set("logprobs", on), s.logprobsHelp),
      field(s.tools, tools.box, s.toolsHelp), tools.problem,
      button(s.toolsExample, () => {
        tools.box.value = EXAMPLE_TOOLS;
        set("tools", EXAMPLE_TOOLS);
        tools.test(EXAMPLE_TOOLS);
      }, { kind: "small" }),
      field(s.schema, schema.box, s.schemaHelp), schema.problem),
    section(s.sections.server, Boolean(settings.store || settings.session),
      stores ? [
        tick(s.store, settings.store, (on) => set("store", on), s.storeHelp),
        field(s.session, h("input", { type: "text", value: settings.session, autocomplete: "off", oninput: (event) => set("session", event.target.value) }), s.sessionHelp),
      ] : h("p", { class: "hint" }, s.noStore)),
  );
}

/** The names to choose from: those that chat, each model once. */
export const choosable = (listed) => listed.filter(
  (each) => isAgent(each) || (!each.root && (each.loaded === false || each.capabilities.includes("chat"))),
);

const isAgent = (each) => each.owned_by === "operator" && each.id.startsWith("agent:");

function section(title, open, ...content) {
  return h("details", { class: "section", open }, h("summary", {}, title), content);
}

function modelSelect(settings, models, change) {
  const option = (each) => h("option", { value: each.id, selected: settings.model === each.id }, each.id);
  const agents = models.filter(isAgent), others = models.filter((each) => !isAgent(each));
  return h("select", { onchange: (event) => change(event.target.value) },
    agents.length ? [h("optgroup", { label: s.models }, others.map(option)), h("optgroup", { label: s.agents }, agents.map(option))] : others.map(option));
}

function number(settings, name, set) {
  return field(s[name], h("input", {
    type: "number", value: settings[name], step: "1", ...WHOLE[name], placeholder: s.asServer, oninput: (event) => set(name, event.target.value),
  }), s[`${name}Help`]);
}

function slider(settings, name, bounds, changed) {
  return field(s[name], h("input", {
    type: "number", value: settings.own[name] ?? "", placeholder: s.asServer, ...bounds,
    oninput: (event) => {
      settings.own = { ...settings.own, [name]: event.target.value };
      changed();
    },
  }), s[`${name}Help`]);
}
