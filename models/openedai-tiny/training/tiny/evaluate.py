"""Ask a running server every held-out prompt and write a table of what came back.

    python -m tiny.evaluate --base-url http://127.0.0.1:5001/v1

Works with any OpenAI-compatible endpoint; needs neither torch nor the weights. `--part structured` asks for structured
output instead, which the server must enforce.
"""

from __future__ import annotations

import argparse
import json
import urllib.request
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tiny.cases import Case, cases
from tiny.corpus import HELDOUT_SEED, heldout, long_history
from tiny.text import Example, Rng, load, user

GROUPS: dict[str, str] = load("groups")


@dataclass
class Outcome:
    """What came back for one prompt: did the turn end, with how many tokens, was the answer right (None where nothing
    is known to be right)?"""

    group: str
    ended: bool
    tokens: int
    right: bool | None
    asked: str
    got: str


def _calls(message: dict[str, Any]) -> list[tuple[str, Any]]:
    """Names and parsed arguments of the tool calls of a message."""
    functions = [call["function"] for call in message.get("tool_calls") or []]
    return [(function["name"], _json(function["arguments"])) for function in functions]


def _json(text: str) -> Any:
    """The text as JSON; None where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def right(example: Example, message: dict[str, Any]) -> bool:
    """Whether an answer is what the example wants."""
    wanted, text = example.messages[-1], (message.get("content") or "").strip()
    if wanted.get("tool_calls") or message.get("tool_calls"):
        return _calls(message) == _calls(wanted)
    if example.exact:
        return text == wanted["content"].strip()
    return any(part.lower() in text.lower() for part in example.expect)


class Client:
    """Sends chats to one base URL (which ends with /v1)."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.url, self.model, self.key = options.base_url.rstrip("/"), options.model, options.key

    def chat(self, **body: Any) -> tuple[dict[str, Any], bool, int]:
        """The answer's message, whether it ended by itself, and its number of tokens."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
        data = json.dumps({"model": self.model, **body}).encode()
        request = urllib.request.Request(f"{self.url}/chat/completions", data, headers)
        with urllib.request.urlopen(request, timeout=120) as reply:
            whole = json.load(reply)
        choice = whole["choices"][0]
        return choice["message"], choice["finish_reason"] in ("stop", "tool_calls"), whole["usage"]["completion_tokens"]

    def ask(self, example: Example, temperature: float, seed: int) -> Outcome:
        """Put one held-out conversation to the server."""
        body = {"messages": example.messages[:-1], **({"tools": example.tools} if example.tools else {})}
        message, ended, tokens = self.chat(temperature=temperature, max_tokens=256, seed=seed, **body)
        group = next(group for group, kinds in GROUPS.items() if example.behaviour in kinds.split())
        got = message.get("content") or str(_calls(message))
        return Outcome(group, ended, tokens, right(example, message), str(example.messages[-2]["content"]), got)

    def ask_structured(self, case: Case, temperature: float, seed: int) -> Outcome:
        """Put one case to the server; an answer that is not valid has not ended."""
        body = {"messages": [user(case.prompt)], **case.body}
        message, ended, tokens = self.chat(temperature=temperature, max_tokens=200, seed=seed, **body)
        texts = [call["function"]["arguments"] for call in message.get("tool_calls") or []]
        texts = texts or [message.get("content") or ""]
        found = [_json(text) if case.json else text for text in texts]
        good = None
        if case.copied:
            first = found[0] if isinstance(found[0], dict) else {}
            good = all(first.get(key) == value for key, value in case.copied.items())
        return Outcome(case.group, ended and None not in found, tokens, good, case.prompt, " | ".join(texts))


def table(outcomes: list[Outcome]) -> str:
    """A Markdown table: one row per group."""
    rows: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        rows[outcome.group].append(outcome)
    lines = ["| group | answers | right | turn ended | in 128 tokens | tokens, middle one |", "| --- |" + " ---: |" * 5]
    for name, group in [*rows.items(), ("**all**", outcomes)]:
        judged = [o.right for o in group if o.right is not None]
        good = f"{100 * sum(judged) / len(judged):.1f} %" if judged else ""
        ended = [o.tokens for o in group if o.ended]
        shares = [100 * len(ended) / len(group), 100 * sum(n <= 128 for n in ended) / len(group)]
        middle = sorted(o.tokens for o in group)[len(group) // 2]
        lines.append(f"| {name} | {len(group)} | {good} | {shares[0]:.1f} % | {shares[1]:.1f} % | {middle} |")
    return "\n".join(lines)


def prompts() -> list[Example]:
    """All held-out prompts, and project questions after a long history."""
    rng = Rng(HELDOUT_SEED + 1)
    return heldout() + [long_history(rng, turns) for turns in (25, 35, 45, 55)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--base-url", default="http://127.0.0.1:5001/v1")
    parser.add_argument("--model", default="openedai-tiny")
    parser.add_argument("--key", default="none")
    parser.add_argument("--part", choices=["behaviours", "structured"], default="behaviours")
    parser.add_argument("--temperature", type=float, help="default: 0; structured: 1")
    parser.add_argument("--samples", type=int, default=1, help="of each prompt, with seeds from --seed on")
    parser.add_argument("--workers", type=int, default=4, help="requests at the same time")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--wrong", type=int, default=0, help="show this many wrong answers")
    options = parser.parse_args()
    client = Client(options)
    structured = options.part == "structured"
    ask, asked = (client.ask_structured, list(cases())) if structured else (client.ask, prompts())
    temperature = float(structured) if options.temperature is None else options.temperature
    jobs = [(each, options.seed + at) for each in asked for at in range(options.samples)]
    with ThreadPoolExecutor(options.workers) as pool:
        found = list(pool.map(lambda job: ask(job[0], temperature, job[1]), jobs))
    print(f"T = {temperature:g}\n\n{table(found)}")
    for o in [o for o in found if not o.ended or o.right is False][: options.wrong]:
        print(f"\n[{o.group}] {o.asked[-200:]}\n  got: {o.got[:200]}")


if __name__ == "__main__":
    main()
