"""The engine without a model (mock mode): repeats its prompt, the same every time.

A token is one byte of UTF-8, so characters span tokens as with real models, and every answer ends with one
end token, which counts. Sampler parameters are accepted and ignored.
"""

from __future__ import annotations

import codecs
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ..schemas import bad_request
from ..settings import Settings
from .encoders import Input, ScoreBatches, Scores, VectorBatches, Vectors
from .model_spec import ModelOutline, ModelSpec
from .protocol import (
    Capability,
    ChatRequest,
    EngineInfo,
    GenerateRequest,
    Piece,
    Pieces,
    PromptUsage,
    VectorTraits,
)
from .tokens.context_length import check_fits

CONTEXT_LENGTH = 8192  # bytes
VOCABULARY_SIZE = 256  # one token for each byte
PARALLEL = 4
CREATED = 1677610602  # a fixed date, as the whole engine is
DIMENSIONS = 64
CAPABILITIES = (
    *(Capability.COMPLETION, Capability.CHAT),
    *(Capability.EMBEDDINGS, Capability.RERANK),
)
USER, ASSISTANT, END = (
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
)  # its chat template: <|user|>Hi<|end|><|assistant|>


class EchoEngine:
    """Completions repeat their prompt; chats repeat the last user message. Stateless."""

    def __init__(self, *, name: str = "echo") -> None:
        self._info = EngineInfo(
            model=name,
            created=CREATED,
            owned_by="openedai",
            context_length=CONTEXT_LENGTH,
            sampler="llama.cpp",
            fingerprint="fp_echo",
            vocabulary_size=VOCABULARY_SIZE,
            parallel=PARALLEL,
            capabilities=CAPABILITIES,
            vectors=VectorTraits(DIMENSIONS, None),
        )

    @property
    def info(self) -> EngineInfo:
        return self._info

    def generate(self, request: GenerateRequest) -> Pieces:
        prompt = request.prompt
        check_fits(prompt, request.max_tokens, CONTEXT_LENGTH, self.tokenize)
        data = prompt.encode() if isinstance(prompt, str) else _bytes(prompt)
        yield from self._stream(_answer(data), len(data), request.max_tokens)

    def _stream(self, answer: bytes, prompt_tokens: int, max_tokens: int | None) -> Pieces:
        left = CONTEXT_LENGTH - prompt_tokens
        limit = left if max_tokens is None else min(left, max_tokens)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        prompt: PromptUsage | None = PromptUsage(prompt_tokens)
        for byte in answer[:limit]:
            yield Piece(decoder.decode(bytes([byte])), tokens=1, prompt=prompt)
            prompt = None
        if len(answer) < limit:
            yield Piece(tokens=1, prompt=prompt, finish="stop")
        else:
            yield Piece(decoder.decode(b"", final=True), prompt=prompt, finish="length")

    def render(self, request: ChatRequest) -> str:
        turns = (f"<|{m.role}|>{m.content or ''}{END}" for m in request.messages)
        return "".join(turns) + ASSISTANT

    def turn_ends(self, request: ChatRequest) -> tuple[str, ...]:
        return ()

    def tokenize(self, text: str) -> tuple[int, ...]:
        return tuple(text.encode())

    def detokenize(self, tokens: Sequence[int]) -> str:
        return _bytes(tokens).decode(errors="replace")

    def embed(self, inputs: Sequence[Input]) -> VectorBatches:
        """A vector says how often each byte is in the text, bytes that are DIMENSIONS apart together."""
        for text in inputs:
            data = text.encode() if isinstance(text, str) else _bytes(text)
            yield Vectors((_counts(data),), len(data))

    def score_documents(self, query: str, documents: Sequence[str]) -> ScoreBatches:
        """How alike two texts are by their vectors."""
        wanted = _counts(query.encode())
        for text in documents:
            pairs = zip(wanted, _counts(text.encode()), strict=True)
            score = math.fsum(one * other for one, other in pairs)
            yield Scores((score,), self.pair_tokens(query, text))

    def pair_tokens(self, query: str, document: str) -> int:
        return len(query.encode()) + len(document.encode())

    def close(self) -> None:
        """Nothing to free."""


def make(spec: ModelSpec, settings: Settings) -> EchoEngine:
    """As in `registry.EngineModule`."""
    return EchoEngine(name=spec.name)


def explain(spec: ModelSpec) -> Sequence[str]:
    """Nothing is chosen for it."""
    return ("no model: the echo engine answers",)


def check(spec: ModelSpec) -> None:
    """There is no file to check."""


def outline(spec: ModelSpec) -> ModelOutline:
    """There is no file that takes memory."""
    info = EchoEngine(name=spec.name).info
    capabilities = (Capability.COMPLETION, Capability.CHAT)
    info = replace(
        info, sampler="openedai", capabilities=capabilities, vectors=None, is_remote=True
    )
    return ModelOutline(info, 0)


def _answer(prompt: bytes) -> bytes:
    """The answer to a prompt: in a chat, the last user message."""
    if not prompt.endswith(ASSISTANT.encode()):
        return prompt
    return (
        prompt.rpartition(USER.encode())[2].partition(END.encode())[0]
        if USER.encode() in prompt
        else b""
    )


def _counts(data: bytes) -> list[float]:
    counts = Counter(byte % DIMENSIONS for byte in data)
    length = math.sqrt(sum(count**2 for count in counts.values())) or 1.0
    return [counts[at] / length for at in range(DIMENSIONS)]


def _bytes(tokens: Sequence[int]) -> bytes:
    if not all(0 <= token < VOCABULARY_SIZE for token in tokens):
        raise bad_request.token_id_out_of_range("prompt", VOCABULARY_SIZE)
    return bytes(tokens)
