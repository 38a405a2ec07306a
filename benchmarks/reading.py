"""Prompts that come back, where memory is scarce or their first line changes: what is computed of them.

Each situation has servers of its own, which are first asked until they know what comes back.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .figures import Figures, figures_of
from .load import Plan, Seen
from .processes import Server, ask, free_port, python
from .workloads import COMPLETIONS, GREEDY, MODEL, STREAM, Body, words

MESSAGES = "/v1/messages"
SLOTS, LENGTH, NEW = 4, 900, 40  # tokens of a conversation, and of a turn
FIRST_ROUNDS, ROUNDS = 5, 2
PROMPT_MIB = 6
"""Memory for two of these conversations of the embedded model (2,560 bytes a token)."""
SHARED_KV_BYTES = 4 * 2 * 4096 * 2560
"""Of a machine whose quarter holds two contexts of the embedded model."""
SESSIONS, STEPS = 3, 20


@dataclass(frozen=True, slots=True)
class Situation:
    what: str
    first: Sequence[Body]
    """What is asked before it counts."""
    then: Sequence[Body]
    options: tuple[str, ...] = ()
    memory: int = 0
    """Bytes of the machine; 0: all that there are."""
    path: str = COMPLETIONS


@dataclass(frozen=True, slots=True)
class Read:
    """What one server computed in a situation, of how many tokens."""

    what: str
    server: str
    figures: Figures
    asked: int


def _turns(conversations: int, shared: int = 0) -> tuple[list[Body], list[Body]]:
    start = f"[{secrets.token_hex(6)}]" + words(shared, 5)

    def body(turn: int, which: int) -> Body:
        own = words(LENGTH - shared + NEW * turn, which)
        return GREEDY | STREAM | {"prompt": f"{start} {which}:{own}", "max_tokens": 2}

    bodies = [
        [body(turn, which) for which in range(conversations)]
        for turn in range(FIRST_ROUNDS + ROUNDS)
    ]
    first = [each for turn in bodies[:FIRST_ROUNDS] for each in turn]
    return first, [each for turn in bodies[FIRST_ROUNDS:] for each in turn]


def _agents() -> tuple[list[Body], list[Body]]:
    """Steps of three sessions of claude-code, one after the other."""
    instructions, bodies = words(1200, 9), []
    for session in range(SESSIONS):
        messages: list[Body] = []
        for step in range(STEPS):
            messages.append({"role": "user", "content": words(40, step)})
            first = f"x-anthropic-billing-header: cc_version=2.1.{session}; cch={step:05x};"
            system = [{"type": "text", "text": text} for text in (first, instructions)]
            bodies.append(
                {"model": MODEL, "max_tokens": 2, "system": system, "messages": list(messages)}
            )
            messages.append({"role": "assistant", "content": words(20, step + 1)})
    return [], bodies


def situations() -> list[Situation]:
    memory = ("--cache-ram", str(PROMPT_MIB))
    return [
        Situation("6 conversations in turn, memory for all: 2 rounds", *_turns(6), memory),
        Situation("8 of them, memory for 6: 2 rounds", *_turns(8), memory),
        Situation("6 that begin with the same 600 tokens: 2 rounds", *_turns(6, 600), memory),
        Situation(
            "4 conversations in slots that share a KV cache: 2 rounds",
            *_turns(4),
            memory=SHARED_KV_BYTES,
        ),
        Situation("3 agents of 20 steps, a new first line in each", *_agents(), path=MESSAGES),
    ]


def measured(model: Path, tell: Callable[[str], None]) -> list[Read]:
    """Raises DidNotStart, and OSError when a server hangs up."""
    found = []
    for situation in situations():
        for name, start in (("ours", _ours), ("llama-server", _llama_server)):
            server = start(model, situation)
            try:
                if situation.first:
                    _ask(server, situation, situation.first)
                seen, spent = _ask(server, situation, situation.then)
                peak = server.peak_rss()
            finally:
                server.stop()
            if any(each.status != 200 for each in seen):
                raise OSError(f"{situation.what}: {name} refuses")
            asked = sum(each.prompt for each in seen)
            found.append(Read(situation.what, name, figures_of(seen, spent, peak), asked))
        tell(situation.what)
    return found


def _ask(
    server: Server, situation: Situation, bodies: Sequence[dict[str, Any]]
) -> tuple[list[Seen], float]:
    spent = server.cpu()
    plan = Plan(server.port, situation.path, list(bodies), 1)
    seen = [Seen(**each) for each in ask(python("-m", "benchmarks.load"), asdict(plan))]
    return seen, server.cpu() - spent


def _ours(model: Path, situation: Situation) -> Server:
    port = free_port()
    arguments = [
        *("--extensions", "openai", "--model", str(model), "--parallel", str(SLOTS)),
        *("--api-port", str(port), *situation.options),
    ]
    command = _command("server", situation.memory, arguments)
    return Server(command, port, environment={"OPENEDAI_LOG_REQUESTS": "false"})


def _llama_server(model: Path, situation: Situation) -> Server:
    port = free_port()
    arguments = ["--model", str(model), "--port", str(port), "--parallel", str(SLOTS)]
    command = _command(
        "benchmarks.llama_server", situation.memory, [*arguments, *situation.options]
    )
    return Server(command, port)


def _command(module: str, memory: int, arguments: Sequence[str]) -> list[str]:
    if not memory:
        return python("-m", module, *arguments)
    return python("-m", "benchmarks.small_machine", str(memory), module, *arguments)
