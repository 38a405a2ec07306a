"""What guessing ahead is worth: `--draft-model`, and `--speculative`, which guesses from earlier text.

The draft model is the first layers of the model itself, so that it often guesses right; where it does not,
its work is lost. Both are of random weights. One thread computes: two that wait for each other would measure
what else the machine does.
"""

from __future__ import annotations

import json
import statistics
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .processes import Server, free_port, python
from .random_model import LAYERS, write_model
from .workloads import words

DRAFT_LAYERS, TOKENS = 3, 64
KINDS = ("off", "ngram-simple", "ngram-map-k", "ngram-mod", "draft model")
TEXTS = {
    "a text that repeats": "the quick brown fox jumps over the lazy dog. " * 12,
    "one that does not": words(100, 9),
}


@dataclass(frozen=True, slots=True)
class Guessed:
    """What one kind of guesses came to."""

    kind: str
    speeds: Mapping[str, float]
    """Tokens a second by text, the middle of the rounds."""
    equal: bool
    """Whether all answers were those without guesses."""


def measured(folder: Path, rounds: int, tell: Callable[[str], None]) -> list[Guessed]:
    """Raises DidNotStart, and OSError when a server fails."""
    times: dict[tuple[str, str], list[float]] = {}
    answers: dict[tuple[str, str], set[str]] = {}
    for at in range(rounds):
        for kind in KINDS:  # one at a time: idle threads of the engine would take from the others
            server = _start(folder, kind)
            try:
                for text, prompt in TEXTS.items():
                    began = time.perf_counter()
                    answer = _ask(server.port, prompt)
                    times.setdefault((kind, text), []).append(time.perf_counter() - began)
                    answers.setdefault((kind, text), set()).add(answer)
            finally:
                server.stop()
        tell(f"guesses, round {at + 1} of {rounds}")
    return [
        Guessed(
            kind,
            {text: TOKENS / statistics.median(times[kind, text]) for text in TEXTS},
            all(answers[kind, text] == answers["off", text] for text in TEXTS),
        )
        for kind in KINDS
    ]


def table(found: Sequence[Guessed]) -> str:
    """Tokens a second with each kind, and times those without."""
    plain = next(each for each in found if each.kind == "off")
    lines = [
        f"| guesses | {' | '.join(f'{text}: tokens/s, times' for text in TEXTS)} | same answers |",
        f"| --- |{' ---: |' * len(TEXTS)} --- |",
    ]
    for each in found:
        speeds = (
            f"{each.speeds[text]:.1f}, {each.speeds[text] / plain.speeds[text]:.2f}"
            for text in TEXTS
        )
        lines.append(f"| {each.kind} | {' | '.join(speeds)} | {'yes' if each.equal else 'no'} |")
    return "\n".join(lines)


def _start(folder: Path, kind: str) -> Server:
    model, draft = _file(folder, LAYERS), _file(folder, DRAFT_LAYERS)
    options = {"off": (), "draft model": ("--draft-model", str(draft))}
    port = free_port()
    command = python(
        *("server.py", "--extensions", "openai", "--model", str(model), "--parallel", "1"),
        *("--threads", "1"),
        *("--api-port", str(port), *options.get(kind, ("--speculative", kind))),
    )
    return Server(command, port, environment={"OPENEDAI_LOG_REQUESTS": "false"})


def _file(folder: Path, layers: int) -> Path:
    path = folder / ("random-135m.gguf" if layers == LAYERS else f"random-{layers}-layers.gguf")
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_model(path, layers=layers)
    return path


def _ask(port: int, prompt: str) -> str:
    body = {
        "model": "random-135m",
        "prompt": prompt,
        "max_tokens": TOKENS,
        "temperature": 0,
        "ignore_eos": True,
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=600) as response:
        answer = json.load(response)
    assert answer["usage"]["completion_tokens"] == TOKENS
    return str(answer["choices"][0]["text"])
