"""Ask a running server for structured output, and write a table of what came back.

    python -m tiny.evaluate --part structured --base-url http://127.0.0.1:5001/v1

The server must enforce what is asked for, as the project's own does. Each case is asked several
times at temperature 1, the API's default, with other seeds.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tiny.client import Client
from tiny.structured_cases import Case, cases

MAX_TOKENS = 200
SHORT = 128  # tokens


@dataclass
class Made:
    """What came back for one case: did the answer end, with how many tokens, is it valid, and does
    it hold the wanted values (None where none are)?"""

    group: str
    ended: bool
    tokens: int
    valid: bool
    right: bool | None
    asked: str
    got: str


def _data(case: Case, text: str) -> Any:
    """The answer as JSON; None where it is none."""
    try:
        return json.loads(text) if case.json else text
    except ValueError:
        return None


def ask(client: Client, case: Case, temperature: float, seed: int) -> Made:
    """Put one case to the server."""
    messages = [{"role": "user", "content": case.prompt}]
    reply = client.reply(messages=messages, temperature=temperature, max_tokens=MAX_TOKENS, seed=seed, **case.body)
    choice = reply["choices"][0]
    calls = choice["message"].get("tool_calls") or []
    texts = [call["function"]["arguments"] for call in calls]
    texts = texts or [choice["message"].get("content") or ""]
    found = [_data(case, text) for text in texts]
    valid = all(each is not None for each in found)
    right = None
    if case.copied:
        first = found[0] if isinstance(found[0], dict) else {}
        right = all(first.get(key) == value for key, value in case.copied.items())
    return Made(
        case.group,
        choice["finish_reason"] in ("stop", "tool_calls"),
        reply["usage"]["completion_tokens"],
        valid,
        right,
        case.prompt,
        " | ".join(texts),
    )


def table(found: Iterable[Made]) -> str:
    """A Markdown table: one row per group."""
    rows: dict[str, list[Made]] = defaultdict(list)
    for made in found:
        rows[made.group].append(made)
        rows["**all**"].append(made)
    rows["**all**"] = rows.pop("**all**")
    lines = [
        f"| asked for | answers | ended in {MAX_TOKENS} tokens | in {SHORT} | tokens, middle one | values right |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, group in rows.items():
        ended = [m for m in group if m.ended and m.valid]
        short = sum(m.tokens <= SHORT for m in ended)
        middle = sorted(m.tokens for m in group)[len(group) // 2]
        judged = [m.right for m in group if m.right is not None]
        right = f"{100 * sum(judged) / len(judged):.1f} %" if judged else ""
        share = f"{100 * len(ended) / len(group):.1f} % | {100 * short / len(group):.1f} %"
        lines.append(f"| {name} | {len(group)} | {share} | {middle} | {right} |")
    return "\n".join(lines)


def evaluate(client: Client, temperature: float, samples: int, workers: int, seed: int) -> list[Made]:
    """Every case, `samples` times with seeds from `seed` on."""
    jobs = [(case, seed + at) for case in cases() for at in range(samples)]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda job: ask(client, job[0], temperature, job[1]), jobs))
