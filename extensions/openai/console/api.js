// Talks to the server: its address, the key, JSON, streams of events, and what goes wrong.

/** Where the server is, whatever lies in front of it: two folders above this file's address. */
export const BASE = new URL("../", import.meta.url);
/** What clients call the base URL. */
export const BASE_URL = `${BASE.href}v1`;
/** The page itself, for links to the rest of the server. */
export const address = (path) => new URL(path, BASE).href;

const KEY = "openedai.key";

/** The key of this tab; kept by the browser only where the user wished that. */
export const key = {
  get value() {
    return sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY) ?? "";
  },
  get remembered() {
    return localStorage.getItem(KEY) !== null;
  },
  keep(value, remember) {
    this.forget();
    if (value) (remember ? localStorage : sessionStorage).setItem(KEY, value);
  },
  forget() {
    sessionStorage.removeItem(KEY);
    localStorage.removeItem(KEY);
  },
};

/** The server answered with an error. */
export class ApiError extends Error {
  constructor(status, { message, code, param, type } = {}, retryAfter = null) {
    super(message || `HTTP ${status}`);
    Object.assign(this, { status, code, param, type, retryAfter });
  }
}

/** The server did not answer, or stopped in the middle. */
export class ConnectionLost extends Error {}

/** Tells the page when the connection is lost. */
export const events = new EventTarget();

function url(path, query) {
  const found = new URL(path, BASE);
  for (const [name, value] of Object.entries(query ?? {})) {
    for (const each of [value].flat()) if (each !== undefined && each !== null) found.searchParams.append(name, each);
  }
  return found;
}

async function send(method, path, { body, query, signal, headers = {} } = {}) {
  const sent = { ...headers };
  if (key.value) sent.Authorization = `Bearer ${key.value}`;
  const isForm = body instanceof FormData;
  if (body !== undefined && !isForm) sent["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(url(path, query), {
      method, signal, headers: sent, cache: "no-store", referrerPolicy: "no-referrer",
      body: body === undefined || isForm ? body : JSON.stringify(body),
    });
  } catch (error) {
    throw lost(error);
  }
  if (!response.ok) throw await failure(response);
  return response;
}

function lost(error) {
  if (error.name === "AbortError") return error;
  events.dispatchEvent(new Event("lost"));
  return new ConnectionLost();
}

async function failure(response) {
  let said = {};
  try {
    said = (await response.json()).error ?? {};
  } catch {
    said = {};  // Something between the server and us has answered.
  }
  const error = new ApiError(response.status, said, response.headers.get("retry-after"));
  if (error.status === 401) events.dispatchEvent(new CustomEvent("key", { detail: error }));
  return error;
}

/** The JSON that a request is answered with. Throws ApiError, ConnectionLost. */
export async function call(method, path, options) {
  const response = await send(method, path, options);
  try {
    return await response.json();
  } catch (error) {
    throw lost(error);
  }
}

/** The bytes that a request is answered with. */
export async function bytes(method, path, options) {
  return (await send(method, path, options)).blob();
}

export const get = (path, query, signal) => call("GET", path, { query, signal });

/** All pages of a list, one after the other. */
export async function* pages(path, query = {}) {
  let after;
  do {
    const page = await get(path, { limit: 100, ...query, after });
    yield page.data;
    after = page.has_more ? page.last_id : undefined;
  } while (after);
}

/** The objects of a stream of events. Throws ApiError for an error inside of it, ConnectionLost if it is cut. */
export async function* stream(path, body, { signal, headers } = {}) {
  const response = await send("POST", path, { body, signal, headers });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await read(reader);
      if (done) throw lost(new Error("cut"));
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data:")) continue;
        const data = line.slice(5).trim();
        if (data === "[DONE]") return;
        const event = JSON.parse(data);
        if (event.error?.message) throw new ApiError(response.status, event.error);
        yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});  // The stream has ended already.
  }
}

async function read(reader) {
  try {
    return await reader.read();
  } catch (error) {
    throw lost(error);
  }
}
