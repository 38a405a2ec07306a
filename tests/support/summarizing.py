"""An engine that knows what to answer where a summary is asked for, and keeps the prompts it is given."""

from __future__ import annotations

from dataclasses import replace

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.protocol import (
    Capability,
    EngineInfo,
    GenerateRequest,
    Piece,
    Pieces,
    PromptUsage,
)
from extensions.openai.generation.compaction import ASK

ASKED = ASK.partition("{")[0]


class SummarizingEngine(EchoEngine):
    """Says "summary 1", "summary 2" and so on, or `text`, where it is asked for one; else it is an echo."""

    def __init__(self, *, context: int = 8000, text: str | None = None) -> None:
        super().__init__()
        self._length = context
        self._text = text
        self.prompts: list[str] = []
        """Those that asked for a summary."""
        self.others: list[str] = []

    @property
    def info(self) -> EngineInfo:
        info = super().info
        abilities = (*info.capabilities, Capability.TOOLS)
        return replace(info, context_length=self._length, capabilities=abilities)

    def generate(self, request: GenerateRequest) -> Pieces:
        prompt = request.prompt
        assert isinstance(prompt, str)
        if ASKED not in prompt:
            self.others.append(prompt)
            yield from super().generate(request)
            return
        self.prompts.append(prompt)
        text = f"summary {len(self.prompts)}" if self._text is None else self._text
        yield None
        yield Piece(text, tokens=7, prompt=PromptUsage(len(prompt)))
        yield Piece(tokens=1, finish="stop")
