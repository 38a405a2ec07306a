"""Ask a running server every prompt that is not trained on, and write a table of what came back.

    python -m tiny.evaluate --base-url http://127.0.0.1:5001/v1
    python -m tiny.evaluate --part cases --temperature 1 --samples 5

Works with any OpenAI-compatible endpoint; needs neither torch nor the weights. The part `cases` asks for structured
output, which the server must enforce.
"""

import json
import urllib.request
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from tiny.text import arguments, load


class Outcome(NamedTuple):
    """What came back for one prompt; `right` is None where nothing is known to be right."""

    ended: bool
    tokens: int
    right: bool | None


def _json(text: str) -> Any:
    """The text as JSON; None where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _calls(message: dict[str, Any]) -> list[tuple[str, Any]]:
    """Names and parsed arguments of the tool calls of a message."""
    functions = [call["function"] for call in message.get("tool_calls") or []]
    return [(function["name"], _json(function["arguments"])) for function in functions]


def right(row: dict[str, Any], message: dict[str, Any]) -> bool:
    """Whether an answer is what a row of heldout.jsonl wants."""
    wanted, text = row["messages"][-1], (message.get("content") or "").strip()
    if wanted.get("tool_calls") or message.get("tool_calls"):
        return _calls(message) == _calls(wanted)
    if row.get("exact"):
        return text == wanted["content"].strip()
    return any(part.lower() in text.lower() for part in row.get("expect", []))


def judge(row: dict[str, Any], message: dict[str, Any], ended: bool, tokens: int) -> Outcome:
    """What a row of either table says of an answer; one that is not valid has not ended."""
    if "body" not in row:
        return Outcome(ended, tokens, right(row, message))
    values = [value for _, value in _calls(message)]
    if not values:
        text = message.get("content") or ""
        values = [text if row.get("text") else _json(text)]
    first, copied = values[0] if isinstance(values[0], dict) else {}, row.get("copied")
    good = all(first.get(key) == value for key, value in copied.items()) if copied else None
    return Outcome(ended and None not in values, tokens, good)


def table(outcomes: list[tuple[str, Outcome]]) -> str:
    """A Markdown table: one row per group."""
    rows: dict[str, list[Outcome]] = defaultdict(list)
    for group, outcome in [*outcomes, *(("**all**", outcome) for _, outcome in outcomes)]:
        rows[group].append(outcome)
    lines = ["| group | answers | right | turn ended | in 128 tokens | tokens, middle one |", "| --- |" + " ---: |" * 5]
    for name, group in rows.items():
        judged = [o.right for o in group if o.right is not None]
        good = f"{100 * sum(judged) / len(judged):.1f} %" if judged else ""
        ended = [o.tokens for o in group if o.ended]
        shares = [100 * len(ended) / len(group), 100 * sum(n <= 128 for n in ended) / len(group)]
        middle = sorted(o.tokens for o in group)[len(group) // 2]
        lines.append(f"| {name} | {len(group)} | {good} | {shares[0]:.1f} % | {shares[1]:.1f} % | {middle} |")
    return "\n".join(lines)


def main() -> None:
    o = arguments(
        base_url="http://127.0.0.1:5001/v1", model="openedai-tiny", key="none", part="heldout", temperature=0.0, samples=1,
        workers=4, seed=7, wrong=0,
    )  # fmt: skip

    def ask(row: dict[str, Any], seed: int) -> tuple[str, Outcome]:
        body = {"messages": row["messages"], "max_tokens": 200, **row["body"]} if "body" in row else {}
        if not body:
            body = {"messages": row["messages"][:-1], "max_tokens": 256}
            body |= {"tools": row["tools"]} if "tools" in row else {}
        data = json.dumps({"model": o.model, "temperature": o.temperature, "seed": seed, **body}).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {o.key}"}
        request = urllib.request.Request(f"{o.base_url}/chat/completions", data, headers)
        with urllib.request.urlopen(request, timeout=120) as reply:
            whole = json.load(reply)
        choice = whole["choices"][0]
        ended = choice["finish_reason"] in ("stop", "tool_calls")
        outcome = judge(row, choice["message"], ended, whole["usage"]["completion_tokens"])
        if o.wrong and not (outcome.ended and outcome.right is not False):
            print(f"[{row['group']}] {body['messages'][-1]['content'][-200:]}\n  got: {choice['message']}")
        return row["group"], outcome

    jobs = [(row, o.seed + at) for row in load(f"{o.part}.jsonl") for at in range(o.samples)]
    with ThreadPoolExecutor(o.workers) as pool:
        print(table(list(pool.map(lambda job: ask(*job), jobs))))


if __name__ == "__main__":
    main()
