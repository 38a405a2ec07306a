// Lets the model answer: a stream of the API into a message of a conversation.

import { ApiError, ConnectionLost, stream } from "./api.js";
import { t } from "./texts.js";

/**
 * Fill `node` from the stream until it ends. `changed` is called for each event. Never throws: what goes wrong is in
 * `node.error`.
 */
export async function answer(node, body, headers, signal, changed) {
  const began = performance.now();
  let first = null;
  const sent = { ...body, stream: true, stream_options: { include_usage: true } };
  node.stats = {};
  try {
    for await (const chunk of stream("v1/chat/completions", sent, { signal, headers })) {
      node.model = chunk.model;
      if (chunk.id) node.answer = chunk.id;
      const [choice] = chunk.choices ?? [];
      if (choice && take(node, choice) && first === null) first = performance.now();
      if (chunk.usage) note(node.stats, chunk.usage);
      changed();
    }
  } catch (error) {
    if (error.name === "AbortError") node.finish = "stopped";
    else node.error = said(error);
  }
  const now = performance.now();
  if (first !== null) {
    node.stats.first = first - began;
    node.stats.writing = now - first;
  }
  node.stats.all = now - began;
}

/** Add what a chunk brings; whether it brings some of the answer. */
function take(node, { delta = {}, finish_reason: finish, logprobs }) {
  let brings = false;
  if (delta.content) {
    node.content += delta.content;
    brings = true;
  }
  if (delta.refusal) node.content += delta.refusal;
  const thought = delta.reasoning_content ?? delta.reasoning;
  if (thought) {
    node.reasoning = (node.reasoning ?? "") + thought;
    brings = true;
  }
  for (const call of delta.tool_calls ?? []) {
    node.calls ??= [];
    const known = node.calls[call.index] ??= { id: "", name: "", arguments: "" };
    if (call.id) known.id = call.id;
    known.name += call.function?.name ?? "";
    known.arguments += call.function?.arguments ?? "";
    brings = true;
  }
  for (const each of logprobs?.content ?? []) {
    (node.tokens ??= []).push({
      text: each.token, p: Math.exp(each.logprob), others: (each.top_logprobs ?? []).map((other) => [other.token, Math.exp(other.logprob)]),
    });
  }
  if (finish) node.finish = finish;
  return brings;
}

function note(stats, usage) {
  stats.prompt = usage.prompt_tokens;
  stats.cached = usage.prompt_tokens_details?.cached_tokens ?? 0;
  stats.tokens = usage.completion_tokens;
}

/** What to show of an error. */
export function said(error) {
  if (error instanceof ConnectionLost) return { title: t.cut, text: "" };
  if (error instanceof ApiError) {
    const wait = error.retryAfter ? ` ${t.retryIn(error.retryAfter)}` : "";
    return { title: error.status === 403 ? t.noRights : t.failed, text: error.message + wait, code: error.code ?? "" };
  }
  throw error;
}
