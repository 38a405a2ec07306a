"""A small engine that speaks when the test lets it, and tells how many answers it works on."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from extensions.openai.engines.protocol import (
    ChatRequest,
    EngineInfo,
    GenerateRequest,
    Piece,
    Pieces,
    PromptUsage,
)

TICK_S = 0.02  # seconds of silence after which None is yielded
LONG = 1_000_000  # tokens


class PacedEngine:
    """Says `words`, each after the gate has been opened; with `endless` the words come round again.

    A token is a word; the prompt counts one token for each character. What is endless ends with the context:
    `LONG` of it is more than a test waits for.
    """

    def __init__(
        self,
        words: Sequence[str] = ("one", " two", " three"),
        *,
        parallel: int = 1,
        endless: bool = False,
        pace: float = 0.0,
        fail_after: int | None = None,
        context_length: int = 1000,
    ) -> None:
        self._words = tuple(words)
        self._endless = endless
        self._pace = pace
        self._fail_after = fail_after
        self._condition = threading.Condition()
        self._active = 0
        self.most_active = 0
        self.started = 0
        self.gate = threading.Event()
        self.gate.set()
        self.info = EngineInfo(
            model="paced",
            created=1,
            owned_by="tests",
            context_length=context_length,
            sampler="llama.cpp",
            fingerprint="fp_paced",
            vocabulary_size=0x110000,
            parallel=parallel,
        )

    def wait_for_active(self, count: int, timeout: float = 50.0) -> bool:
        """Whether the number of answers under way becomes `count` within the time."""
        with self._condition:
            return self._condition.wait_for(lambda: self._active == count, timeout)

    def generate(self, request: GenerateRequest) -> Pieces:
        return self._say(len(request.prompt), request.max_tokens)

    def render(self, request: ChatRequest) -> str:
        return "".join(message.content or "" for message in request.messages)

    def turn_ends(self, request: ChatRequest) -> tuple[str, ...]:
        return ()

    def tokenize(self, text: str) -> tuple[int, ...]:
        return tuple(map(ord, text))

    def detokenize(self, tokens: Sequence[int]) -> str:
        return "".join(map(chr, tokens))

    def close(self) -> None:
        """Nothing to free."""

    def _say(self, prompt_tokens: int, max_tokens: int | None) -> Pieces:
        with self._working():
            output = 0
            prompt: PromptUsage | None = PromptUsage(prompt_tokens)
            while self._endless or output < len(self._words):
                while not self.gate.wait(TICK_S):
                    yield None
                if self._pace:
                    threading.Event().wait(self._pace)
                if output == self._fail_after:
                    raise RuntimeError("the secret reason")
                word = self._words[output % len(self._words)]
                output += 1
                finish: Literal["length"] | None = "length" if output == max_tokens else None
                yield Piece(word, tokens=1, prompt=prompt, finish=finish)
                prompt = None
                if finish:
                    return
            yield Piece(tokens=1, prompt=prompt, finish="stop")

    @contextmanager
    def _working(self) -> Iterator[None]:
        with self._condition:
            self._active += 1
            self.started += 1
            self.most_active = max(self.most_active, self._active)
            self._condition.notify_all()
        try:
            yield
        finally:
            with self._condition:
                self._active -= 1
                self._condition.notify_all()
