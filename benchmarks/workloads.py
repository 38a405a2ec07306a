"""What is asked of the servers, a row each."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Body = dict[str, Any]

MODEL = "gpt-3.5-turbo"  # a name that every server here takes for its only model
COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
GREEDY: Body = {"model": MODEL, "temperature": 0}
STREAM: Body = {"stream": True, "stream_options": {"include_usage": True}}

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Workload:
    """So many requests by so many clients, each with a body of its own number."""

    name: str
    what: str
    clients: int
    requests: int
    body: Callable[[int], Body]
    path: str = COMPLETIONS
    standard: bool = True
    """Every server can do it, in a time that fits into a round."""
    cold: bool = False
    """Its prompts begin with a text that no server has seen: the same for all of one round of one server."""

    def bodies(self) -> list[Body]:
        bodies = [self.body(number) for number in range(self.requests)]
        if self.cold:
            text, ids = f"[{secrets.token_hex(6)}]", [secrets.choice(IDS) for _ in range(6)]
            for body in bodies:
                body["prompt"] = (text if isinstance(body["prompt"], str) else ids) + body["prompt"]
        return bodies


def _stream(tokens: int) -> Callable[[int], Body]:
    def body(number: int) -> Body:
        prompt = f"Tell me about number {number}."
        # Without an end token each answer has its full length.
        return GREEDY | STREAM | {"prompt": prompt, "max_tokens": tokens, "ignore_eos": True}

    return body


def words(count: int, seed: int) -> str:
    """So many words of a token each, in the embedded model's vocabulary; other words for another seed."""
    words = ["the", "and", "of", "to", "in", "is", "you", "it"]
    return "".join(f" {words[(seed + at * (seed + 3) + at // 7) % 8]}" for at in range(count))


IDS = range(300, 900)
"""Tokens of any vocabulary."""


def tokens(count: int, seed: int) -> list[int]:
    """So many tokens for a model that has other ones for words; others for another seed."""
    return [IDS[(seed * 37 + at * (seed + 3) + at // 7) % len(IDS)] for at in range(count)]


def _one(number: int) -> Body:
    return GREEDY | {"prompt": "Hello", "max_tokens": 1}


def _long_prompt(number: int) -> Body:
    prompt = f"{number}:" + words(2000, number)
    return GREEDY | STREAM | {"prompt": prompt, "max_tokens": 16, "ignore_eos": True}


def _prefix(number: int) -> Body:
    prompt = words(1500, 5) + f" Question {number}:"
    return GREEDY | STREAM | {"prompt": prompt, "max_tokens": 16, "ignore_eos": True}


def _tools(number: int) -> Body:
    messages = [{"role": "user", "content": f"What is the weather in city {number}?"}]
    return GREEDY | {"messages": messages, "tools": TOOLS, "max_tokens": 48}


def _several(number: int) -> Body:
    prompt = f"Number {number} is"
    return GREEDY | {"prompt": prompt, "n": 4, "max_tokens": 32, "ignore_eos": True}


def _schema(number: int) -> Body:
    messages = [{"role": "user", "content": f"Describe person {number}."}]
    schema = {"name": "person", "schema": SCHEMA, "strict": True}
    format = {"type": "json_schema", "json_schema": schema}
    return GREEDY | {"messages": messages, "response_format": format, "max_tokens": 48}


@dataclass(frozen=True, slots=True)
class _Prompts:
    """Of one way to write them: in words, or in tokens."""

    some: Callable[[int, int], Any]
    """So many tokens, others for another seed."""
    mark: Callable[[int], Any]
    """What prompts of this number begin with, or go on with after what they share."""

    def choices(self, n: int) -> Callable[[int], Body]:
        def body(number: int) -> Body:
            prompt = self.some(440, 3)
            return GREEDY | {"prompt": prompt, "n": n, "max_tokens": 8, "ignore_eos": True}

        return body

    def burst(self, number: int) -> Body:
        prompt = self.some(1500, 5) + self.mark(number) + self.some(30, number)
        return GREEDY | STREAM | {"prompt": prompt, "max_tokens": 8, "ignore_eos": True}

    def conversation(self, number: int) -> Body:
        """Turns of six conversations, in turn; each turn adds 40 tokens."""
        turn, which = divmod(number, 6)
        prompt = self.mark(which) + self.some(900 + 40 * turn, which)
        return GREEDY | STREAM | {"prompt": prompt, "max_tokens": 4, "ignore_eos": True}

    def agent(self, number: int) -> Body:
        """The steps of one agent; each adds 60 tokens."""
        prompt = self.some(1200 + 60 * number, 9)
        return GREEDY | STREAM | {"prompt": prompt, "max_tokens": 4, "ignore_eos": True}

    def workloads(self) -> tuple[Workload, ...]:
        """What counts is how many of their tokens are computed."""
        return (
            _cold("cold-n-1", "a new prompt of 440 tokens, n = 1", 1, self.choices(1)),
            _cold("cold-n-4", "the same with n = 4", 1, self.choices(4)),
            _cold("burst-4", "4 at once share 1,500 new tokens", 4, self.burst, clients=4),
            _cold("burst-16", "16 at once share 1,500 new tokens", 16, self.burst, clients=16),
            _cold("six", "3 turns of 6 conversations in turn", 18, self.conversation),
            _cold("agent-20", "an agent's 20 steps", 20, self.agent),
        )


def _cold(
    name: str, what: str, requests: int, body: Callable[[int], Body], clients: int = 1
) -> Workload:
    return Workload(name, what, clients, requests, body, cold=True)


_WORDS = _Prompts(words, lambda number: f" {number}:")
_TOKENS = _Prompts(tokens, lambda number: [IDS[number % len(IDS)]])


def _hello(number: int) -> Body:
    messages = [{"role": "user", "content": "Say hello to the world."}]
    return GREEDY | {"messages": messages, "max_tokens": 16}


EMBEDDED: tuple[Workload, ...] = (
    Workload("streams-1", "128 tokens streamed, 1 client", 1, 12, _stream(128)),
    Workload("streams-4", "128 tokens streamed, 4 clients", 4, 24, _stream(128)),
    Workload("streams-16", "128 tokens streamed, 16 clients", 16, 32, _stream(128)),
    Workload("streams-64", "128 tokens streamed, 64 clients", 64, 64, _stream(128), standard=False),
    Workload("short-1", "max_tokens 1, 1 client", 1, 200, _one),
    Workload("short-16", "max_tokens 1, 16 clients", 16, 400, _one),
    Workload("prompt-2000", "a prompt of 2,000 tokens, 1 client", 1, 4, _long_prompt),
    Workload("prefix-1500", "16 prompts that share 1,500 tokens, 4 clients", 4, 16, _prefix),
    Workload("tools", "chat with tools, 4 clients", 4, 24, _tools, CHAT, standard=False),
    Workload("n-4", "n = 4, 4 clients", 4, 12, _several, standard=False),
    Workload("schema", "a JSON schema, 4 clients", 4, 24, _schema, CHAT, standard=False),
    Workload("long-4000", "one stream of 4,000 tokens", 1, 1, _stream(4000), standard=False),
    *_WORDS.workloads(),
)
RANDOM: tuple[Workload, ...] = (
    Workload("streams-1", "128 tokens streamed, 1 client", 1, 2, _stream(128)),
    Workload("streams-4", "128 tokens streamed, 4 clients", 4, 4, _stream(128)),
    Workload("streams-16", "128 tokens streamed, 16 clients", 16, 16, _stream(128)),
    Workload("streams-64", "128 tokens streamed, 64 clients", 64, 64, _stream(128)),
    *_TOKENS.workloads(),
)
STORED: tuple[Workload, ...] = (
    Workload("stored-1", "short chats, 1 client", 1, 400, _hello, CHAT),
    Workload("stored-8", "short chats, 8 clients", 8, 600, _hello, CHAT),
)
"""Each is asked with the store and without."""
