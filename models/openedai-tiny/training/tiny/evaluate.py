"""Ask a running server every held-out prompt and write a table of what came back.

    python -m tiny.evaluate --base-url http://127.0.0.1:5001/v1

Works with any OpenAI-compatible endpoint; needs neither torch nor the weights.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tiny import evaluate_structured, heldout
from tiny.client import Client
from tiny.example import Example

MAX_TOKENS = 256
# Small talk kinds that share one row of the table.
GROUPS = {
    "small talk": ("greeting", "how_are_you", "thanks", "goodbye", "test", "small_talk", "sad"),
    "who and what it is": ("identity", "maker", "not_famous", "size", "abilities"),
    "project facts": ("facts",),
    "says that it does not know": ("unknown", "live"),
    "repeats a phrase": ("repeat", "repeat_times"),
    "repeats a long text": ("repeat_long",),
    "counts": ("count",),
    "lists and order": ("known_list", "some_of", "order"),
    "sums up to 20": ("sums",),
    "sums that are too big": ("big_sums",),
    "capitals": ("capitals",),
    "opposites": ("opposites",),
    "words in other languages": ("translate",),
    "jokes, poems, stories": ("joke", "haiku", "poem", "story", "emoji"),
    "JSON answers": ("json", "json_wrap"),
    "remembers earlier turns": ("memory", "memory_none", "secret", "again"),
    "follows a system prompt": ("system_name", "system_ending"),
    "calls the right tool": ("tool_call",),
    "answers from a tool result": ("tool_answer",),
    "leaves tools alone": ("tool_none",),
    "longer conversations": ("conversation", "long"),
    "long history (about 1500 to 3500 tokens)": ("long_history",),
}


@dataclass
class Outcome:
    """What came back for one prompt: did the turn end, and was the answer right?"""

    behaviour: str
    temperature: float
    ended: bool
    right: bool
    asked: str
    wanted: str
    got: str


def _calls(message: dict[str, Any]) -> list[tuple[str, Any]]:
    """Names and parsed arguments of the tool calls of a message."""
    found: list[tuple[str, Any]] = []
    for call in message.get("tool_calls") or []:
        function = call["function"]
        try:
            found.append((function["name"], json.loads(function["arguments"])))
        except ValueError:
            found.append((function["name"], function["arguments"]))
    return found


def right(example: Example, message: dict[str, Any]) -> bool:
    """Whether an answer is what the example wants."""
    wanted = example.messages[-1]
    if wanted.get("tool_calls"):
        return _calls(message) == _calls(wanted)
    if message.get("tool_calls"):
        return False
    text = (message.get("content") or "").strip()
    if example.exact:
        return text == str(wanted["content"]).strip()
    return any(part.lower() in text.lower() for part in example.expect)


def ask(client: Client, example: Example, temperature: float, seed: int) -> Outcome:
    """Put one held-out conversation to the server."""
    body: dict[str, Any] = {
        "messages": example.messages[:-1],
        "temperature": temperature,
        "max_tokens": MAX_TOKENS,
        "seed": seed,
    }
    if example.tools:
        body["tools"] = example.tools
    choice = client.chat(**body)
    message = choice["message"]
    wanted = example.messages[-1]
    return Outcome(
        example.behaviour,
        temperature,
        choice["finish_reason"] in ("stop", "tool_calls"),
        right(example, message),
        str(example.messages[-2].get("content")),
        str(wanted.get("content") or _calls(wanted)),
        str(message.get("content") or _calls(message)),
    )


def table(outcomes: Iterable[Outcome], temperatures: list[float]) -> str:
    """A Markdown table: one row per group, shares per temperature."""
    rows: dict[str, dict[float, list[Outcome]]] = defaultdict(lambda: defaultdict(list))
    group_of = {kind: group for group, kinds in GROUPS.items() for kind in kinds}
    for outcome in outcomes:
        for name in (group_of[outcome.behaviour], "**all**"):
            rows[name][outcome.temperature].append(outcome)
    head = "| behaviour | prompts |"
    rule = "| --- | ---: |"
    for temperature in temperatures:
        head += f" right, T={temperature:g} | turn ended, T={temperature:g} |"
        rule += " ---: | ---: |"
    lines = [head, rule]
    for name in [*GROUPS, "**all**"]:
        if name not in rows:
            continue
        per = rows[name]
        line = f"| {name} | {len(per[temperatures[0]])} |"
        for temperature in temperatures:
            found = per[temperature]
            good, ended = (sum(o.right for o in found), sum(o.ended for o in found))
            line += f" {100 * good / len(found):.1f} % | {100 * ended / len(found):.1f} % |"
        lines.append(line)
    return "\n".join(lines)


def prompts() -> list[Example]:
    """All held-out prompts, and project questions after a long history."""
    rng = random.Random(heldout.SEED + 1)
    return heldout.build() + [heldout.long_history(rng, turns) for turns in (25, 35, 45, 55)]


def _keep(path: Path | None, found: Iterable[Outcome | evaluate_structured.Made]) -> None:
    """Write what came back as JSON lines."""
    if path:
        with path.open("w", encoding="utf-8") as file:
            for outcome in found:
                file.write(json.dumps(asdict(outcome), ensure_ascii=False) + "\n")


def _structured(client: Client, options: argparse.Namespace) -> None:
    """The part on structured output, once for each temperature."""
    for temperature in options.temperatures or [1.0]:
        found = evaluate_structured.evaluate(client, temperature, options.samples, options.workers, options.seed)
        print(f"T = {temperature:g}\n\n{evaluate_structured.table(found)}")
        _keep(options.answers, found)
        bad = [m for m in found if not (m.ended and m.valid) or m.right is False]
        for made in bad[: options.wrong]:
            print(f"\n[{made.group}] {made.asked}\n  got: {made.got[:200]}")


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--base-url", default="http://127.0.0.1:5001/v1")
    parser.add_argument("--model", default="openedai-tiny")
    parser.add_argument("--key", default="")
    parser.add_argument("--part", choices=["behaviours", "structured"], default="behaviours")
    parser.add_argument("--temperatures", type=float, nargs="+", help="default: 0 0.7; structured: 1")
    parser.add_argument("--samples", type=int, default=4, help="of each case, in structured")
    parser.add_argument("--workers", type=int, default=4, help="requests at the same time")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--answers", type=Path, help="write every answer here, as JSON lines")
    parser.add_argument("--wrong", type=int, default=0, help="show this many wrong answers")
    options = parser.parse_args()
    client = Client(options.base_url, options.model, options.key)
    if options.part == "structured":
        _structured(client, options)
        return
    temperatures = options.temperatures or [0.0, 0.7]
    jobs = [(e, t) for t in temperatures for e in prompts()]
    with ThreadPoolExecutor(options.workers) as pool:
        found = list(pool.map(lambda job: ask(client, job[0], job[1], options.seed), jobs))
    print(table(found, temperatures))
    _keep(options.answers, found)
    for outcome in [o for o in found if not (o.right and o.ended)][: options.wrong]:
        print(f"\n[{outcome.behaviour}, T={outcome.temperature:g}] {outcome.asked[-200:]}")
        print(f"  wanted: {outcome.wanted[:200]}\n  got:    {outcome.got[:200]}")


if __name__ == "__main__":
    main()
