// Tokens and requests by day, and what the server does now.

import { ApiError, get } from "./api.js";
import { bars, bytes, short } from "./charts.js";
import { emptyState, fill, freshId, h, table } from "./dom.js";
import { poll } from "./poll.js";
import { t } from "./texts.js";

const s = t.usage;
const DAY = 86400, EVERY_S = 2, MOST_SERIES = 5;
const KINDS = ["completions", "embeddings", "rerank"];
const MEASURES = {
  tokens: (each) => each.input_tokens + each.output_tokens,
  input: (each) => each.input_tokens, output: (each) => each.output_tokens, cached: (each) => each.input_cached_tokens, requests: (each) => each.num_model_requests,
};
const GROUPS = { model: "model", key: "api_key_id", user: "user_id" };

export class View {
  constructor(caller) {
    this.caller = caller;
    this.isAdmin = caller.scopes.includes("admin");
    this.days = choice(s.range, { 7: s.days(7), 31: s.days(31) }, "31", () => this.draw());
    this.measure = choice(s.measure, s.measures, "tokens", () => this.draw());
    this.group = choice(s.group, s.groups, "model", () => this.draw());
    this.now = h("dl", { class: "tiles" });
    this.chart = h("div", {});
    this.totals = h("div", {});
    this.limits = h("div", {});
    this.element = h("div", { class: "view page" },
      h("div", { class: "head" }, h("h1", {}, t.views.usage), h("p", { class: "hint" }, this.isAdmin ? s.all : s.own)),
      h("section", { "aria-label": s.now }, h("h2", {}, s.now), this.now),
      h("section", { "aria-label": s.byDay }, h("div", { class: "section-head" }, h("h2", {}, s.byDay), h("span", { class: "spacer" }), this.measure.node, this.group.node, this.days.node), this.chart),
      h("section", { "aria-label": s.month }, h("h2", {}, s.month), this.totals, this.limits));
    this.counted = new Map();
  }

  async show() {
    this.end?.();
    this.end = poll(() => this.step(), EVERY_S);
    await this.step();
    await this.draw();
  }

  hide() {
    this.end?.();
  }

  back() {
    return this.show();
  }

  /** Slots, queue, speed and memory as they are now. */
  async step() {
    const [queue, health] = await Promise.all([get("v1/internal/queue").catch(noModel), this.isAdmin ? get("v1/internal/health") : null]);
    const speed = this.#speed(queue?.requests ?? []);
    const tile = (name, value, of) => h("div", {}, h("dt", {}, name), h("dd", {}, value, of && h("span", { class: "hint" }, ` ${of}`)));
    fill(this.now,
      tile(s.slots, queue ? queue.running : "–", queue && s.of(queue.slots)), tile(s.queue, queue ? queue.requests_waiting : "–", queue && s.of(queue.limit)),
      tile(s.speed, speed === null ? "–" : speed.toFixed(0)),
      health && [tile(s.memory, bytes(health.process.memory_bytes)), tile(s.uptime, s.hours(health.uptime_seconds)), tile(s.status, s.statuses[health.status] ?? health.status)]);
  }

  /** Tokens that were written since the last time, by all requests that are running. */
  #speed(requests) {
    const at = performance.now(), before = this.counted;
    this.counted = new Map(requests.map((each) => [each.id, each.completion_tokens]));
    const seconds = (at - (this.countedAt ?? at)) / 1000;
    this.countedAt = at;
    if (!seconds) return null;
    return requests.reduce((sum, each) => sum + Math.max(0, each.completion_tokens - (before.get(each.id) ?? 0)), 0) / seconds;
  }

  async draw() {
    const days = Number(this.days.value), group = GROUPS[this.group.value];
    const start = (Math.floor(Date.now() / 1000 / DAY) - days + 1) * DAY;
    let buckets;
    try {
      buckets = await Promise.all(KINDS.map((kind) => get(`v1/organization/usage/${kind}`, { start_time: start, bucket_width: "1d", limit: days, group_by: group })));
    } catch (error) {
      if (!(error instanceof ApiError) || error.status === 401) throw error;
      fill(this.chart, emptyState(s.none, error.message));
      return;
    }
    this.#chart(buckets.map((each) => each.data), group);
    await this.#totals();
  }

  #chart(kinds, group) {
    const labels = kinds[0].map((each) => new Date(each.start_time * 1000).toLocaleDateString("en", { month: "short", day: "numeric", timeZone: "UTC" }));
    const measure = MEASURES[this.measure.value], sums = new Map();
    kinds.forEach((buckets) => buckets.forEach((bucket, at) => {
      for (const result of bucket.results) {
        const name = result[group] ?? s.nobody;
        if (!sums.has(name)) sums.set(name, labels.map(() => 0));
        sums.get(name)[at] += measure(result);
      }
    }));
    const total = (values) => values.reduce((sum, each) => sum + each, 0);
    const series = [...sums].map(([name, values]) => ({ name, values })).sort((a, b) => total(b.values) - total(a.values));
    const rest = series.splice(MOST_SERIES);
    if (rest.length) series.push({ name: s.others(rest.length), values: labels.map((_, at) => total(rest.map((each) => each.values[at]))) });
    const title = `${s.measures[this.measure.value]}, ${s.groups[this.group.value]}`;
    fill(this.chart, series.length ? bars(title, labels, series, Math.max(280, this.chart.clientWidth - 26)) : emptyState(s.none, s.noneText));
  }

  async #totals() {
    const found = await get("v1/usage");
    const number = (value) => ({ text: typeof value === "number" ? short(value) : value, class: "number" });
    fill(this.totals, table(
      s.month, [s.key, s.user, s.model, number(s.measures.requests), number(s.measures.input), number(s.measures.cached), number(s.measures.output)],
      found.data.map((each) => [each.api_key_id ?? "", each.user_id ?? "", each.model ?? "", number(each.num_model_requests), number(each.input_tokens), number(each.input_cached_tokens), number(each.output_tokens)]),
      { empty: s.noneText },
    ));
    const limits = Object.entries(found.limits).filter(([, most]) => most);
    fill(this.limits, limits.length > 0 && h("p", { class: "hint" }, s.limits, limits.map(([name, most]) => ` ${name.replaceAll("_", " ")} ${most.toLocaleString("en")}`).join(",")));
  }
}

const noModel = (error) => {
  if (error.status === 503) return null;
  throw error;
};

function choice(label, options, value, changed) {
  const id = freshId("choice");
  const select = h("select", { id, onchange: changed }, Object.entries(options).map(([name, text]) => h("option", { value: name, selected: name === value }, text)));
  return { node: h("span", { class: "choice" }, h("label", { for: id, class: "unseen" }, label), select), get value() { return select.value; } };
}
