"""An engine for the console: it repeats the message, or shows what the message names."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from dataclasses import replace

from extensions.openai.engines.protocol import (
    Capability,
    EngineInfo,
    GenerateRequest,
    LikelyToken,
    Piece,
    Pieces,
    PromptUsage,
    TokenLogprob,
)
from extensions.openai.engines.template_traits import TemplateTraits, ThinkingTraits
from tests.support.calling_engine import CallingEngine

PACE_S = 0.01
LONG_KIB = 200
PARAGRAPH = "Some **words** and `code`, as an answer has them, until it is long enough. " * 4
LONG = [f"{PARAGRAPH}\n\n" for _ in range(LONG_KIB * 1024 // len(PARAGRAPH))]
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>'
THOUGHT = "<think>\nFirst I **think**.\n</think>\n\nThen I answer."
SAID = {"call": CALL, "think": THOUGHT}


class TalkingEngine(CallingEngine):
    """`count` counts without end, `long` is 200 KiB of Markdown, `call` calls a tool, `think` thinks first,
    `unlikely` has log-probabilities; all else is repeated."""

    def __init__(self, name: str = "talker", *more: Capability) -> None:
        super().__init__()
        self.name, self.more = name, more

    @property
    def info(self) -> EngineInfo:
        info = super().info
        thinking = ThinkingTraits("<think>", "</think>", opens=False, switch="enable_thinking")
        return replace(
            info,
            model=self.name,
            context_length=10**6,
            capabilities=(
                *info.capabilities,
                Capability.REASONING,
                Capability.LOGPROBS,
                *self.more,
            ),
            template=TemplateTraits(tools=True, calls=True, results=True, thinking=thinking),
        )

    def generate(self, request: GenerateRequest) -> Pieces:
        last = self._last(request)
        if last == "count":
            return self._words((f"{number} " for number in range(10**9)), PACE_S)
        if last == "long":
            return self._words(LONG, 0.0)
        if last == "unlikely":
            return self._unlikely()
        return self._words([SAID.get(last, last)], 0.0)

    def _last(self, request: GenerateRequest) -> str:
        prompt = (
            request.prompt if isinstance(request.prompt, str) else self.detokenize(request.prompt)
        )
        return prompt.rpartition("<|user|>")[2].partition("<|end|>")[0]

    @staticmethod
    def _words(words: Iterable[str], pace: float) -> Pieces:
        prompt: PromptUsage | None = PromptUsage(7, cached=3)
        for word in words:
            if pace:
                threading.Event().wait(pace)
            yield Piece(word, tokens=1, prompt=prompt)
            prompt = None
        yield Piece(tokens=1, prompt=prompt, finish="stop")

    @staticmethod
    def _unlikely() -> Pieces:
        prompt: PromptUsage | None = PromptUsage(7)
        for text, p in (("sure", 0.95), (" perhaps", 0.4), (" odd", 0.02)):
            top = (LikelyToken(text.encode(), math.log(p)), LikelyToken(b" else", math.log(0.01)))
            logprob = TokenLogprob(text.encode(), math.log(p), top)
            yield Piece(text, tokens=1, prompt=prompt, logprobs=(logprob,))
            prompt = None
        yield Piece(tokens=1, finish="stop", logprobs=(TokenLogprob(b"", math.log(0.9)),))
