// What the settings of a chat come to in a request; kept in the tab.

const KEPT = "openedai.settings";

export const PRESETS = {
  default: {},
  exact: { temperature: 0 },
  balanced: { temperature: 0.7, top_p: 0.95 },
  creative: { temperature: 1.2, min_p: 0.05 },
  own: null,
};
export const NUMBERS = {
  temperature: { min: 0, max: 2, step: 0.05 },
  top_p: { min: 0, max: 1, step: 0.01 },
  min_p: { min: 0, max: 1, step: 0.01 },
  presence_penalty: { min: -2, max: 2, step: 0.1 },
  frequency_penalty: { min: -2, max: 2, step: 0.1 },
};
export const WHOLE = { max_tokens: { min: 1 }, seed: {} };
const FRESH = {
  model: "", system: "", preset: "default", own: {}, max_tokens: "", seed: "", stop: "", thinking: "default",
  logprobs: false, tools: "", schema: "", store: false, session: "",
};

/** The settings of this tab. */
export function kept() {
  try {
    return { ...FRESH, ...JSON.parse(sessionStorage.getItem(KEPT) ?? "{}") };
  } catch {
    return { ...FRESH };
  }
}

export function keep(settings) {
  sessionStorage.setItem(KEPT, JSON.stringify(settings));
}

/** The list of tools, or null. Throws SyntaxError. */
export const toolsOf = (settings) => (settings.tools.trim() ? JSON.parse(settings.tools) : null);
/** The schema of the answer, or null. Throws SyntaxError. */
export const schemaOf = (settings) => (settings.schema.trim() ? JSON.parse(settings.schema) : null);

/** The body of a request, without `stream`. Throws SyntaxError for JSON that is none. */
export function bodyOf(settings, messages, model) {
  const body = { model: settings.model || model };
  const system = settings.system.trim();
  body.messages = system ? [{ role: "system", content: system }, ...messages] : messages;
  Object.assign(body, PRESETS[settings.preset] ?? numbers(settings.own));
  Object.assign(body, numbers({ max_tokens: settings.max_tokens, seed: settings.seed }));
  const stops = settings.stop.split("\n").filter(Boolean);
  if (stops.length) body.stop = stops;
  if (settings.thinking !== "default") body.enable_thinking = settings.thinking === "on";
  if (settings.logprobs) Object.assign(body, { logprobs: true, top_logprobs: 5 });
  const tools = toolsOf(settings), schema = schemaOf(settings);
  if (tools) body.tools = tools;
  if (schema) body.response_format = { type: "json_schema", json_schema: { name: "answer", schema } };
  if (settings.store) body.store = true;
  return body;
}

/** The headers that belong to it. */
export const headersOf = (settings) => (settings.session.trim() ? { "x-openedai-session-key": settings.session.trim() } : {});

const numbers = (given) => Object.fromEntries(
  Object.entries(given).filter(([, value]) => value !== "" && Number.isFinite(Number(value))).map(([name, value]) => [name, Number(value)]),
);

export const EXAMPLE_TOOLS = JSON.stringify([{
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather of a city.",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
}], null, 2);
