"""A model of another server as an engine.

Chats go to its /chat/completions, which has the chat template, the tools and the readers of answers; prompts
go to its /completions. Stop strings, choices, hooks and usage are this server's own, as with every engine.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from ...errors import NotSupported, UpstreamFailed
from ..callback_bridge import Emit, iterate_callback
from ..protocol import (
    Capability,
    ChatRequest,
    EngineInfo,
    GenerateRequest,
    Piece,
    Pieces,
    PromptUsage,
    RemoteChat,
)
from ..remote.estimates import chat_estimate, prompt_estimate
from ..remote.event_stream import StreamEvent, json_lines, sse_events
from ..remote.failures import failures_told, refusal_of
from ..remote.http_client import HttpClient, ReaderLeft, Reply
from .answer_reader import AnswerReader
from .kinds import KINDS, named_task
from .listing import Listed
from .request_body import chat_body, completion_body
from .rows import Kind, Upstream, UpstreamModel

UNKNOWN_CONTEXT = 131_072
"""Tokens, where neither the server nor the operator says it."""
JSON_HEADERS = {"Content-Type": "application/json", "Accept": "text/event-stream, application/json"}
NO_TOKENIZER = "Only the server that has this model can turn text into its tokens."


class UpstreamEngine:
    """One model of one server. Thread-safe."""

    def __init__(
        self,
        upstream: Upstream,
        model: UpstreamModel,
        client: HttpClient,
        kind: Kind = "openai",
        listed: Listed | None = None,
    ) -> None:
        """`kind`: of the server; `listed`: what it says of the model."""
        self._upstream, self._model, self._client = upstream, model, client
        self._kind = KINDS[kind]
        self._info = upstream_info(upstream, model, kind, listed)

    @property
    def info(self) -> EngineInfo:
        return self._info

    def answer(self, chat: RemoteChat) -> Pieces:
        """As in ChatAnswerer."""
        body = chat_body(chat, self._model.there, self._kind)
        estimate = chat_estimate(chat.request)
        return self._ask("/chat/completions", body, estimate, logprobs=chat.logprobs is not None)

    def generate(self, request: GenerateRequest) -> Pieces:
        body = completion_body(request, self._model.there, self._kind)
        prompt = request.prompt
        if isinstance(prompt, str):
            estimate = prompt_estimate([prompt])
        else:
            estimate = PromptUsage(len(prompt), is_estimate=True)
        return self._ask("/completions", body, estimate, logprobs=request.logprobs is not None)

    def _ask(
        self, path: str, body: dict[str, Any], estimate: PromptUsage, *, logprobs: bool
    ) -> Pieces:
        if self._kind.exact_as_it_comes:
            body["stream_options"]["continuous_usage_stats"] = True
        data = orjson.dumps({**body, **self._upstream.fields})

        def produce(emit: Emit[Piece | None]) -> None:
            reader = AnswerReader(self._upstream.name, estimate, logprobs=logprobs)
            try:
                self._stream(path, data, reader, emit)
            except ReaderLeft:
                return

        return iterate_callback(produce)

    def _stream(
        self, path: str, data: bytes, reader: AnswerReader, emit: Emit[Piece | None]
    ) -> None:
        name = self._upstream.name
        with (
            failures_told(name),
            self._client.request(
                "POST", path, data, left=lambda: emit(None), headers=JSON_HEADERS
            ) as reply,
        ):
            if reply.status != 200:
                raise refusal_of(name, reply)
            is_complete = _read(reply, reader, emit)
            emit(reader.end(is_complete=is_complete))
            reply.finish()

    def render(self, request: ChatRequest) -> str:
        """Raises NotSupported: the other server has the chat template."""
        raise NotSupported("Only the server that has this model can make a prompt of messages.")

    def turn_ends(self, request: ChatRequest) -> tuple[str, ...]:
        return ()

    def tokenize(self, text: str) -> tuple[int, ...]:
        """Raises NotSupported."""
        raise NotSupported(NO_TOKENIZER)

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Raises NotSupported."""
        raise NotSupported(NO_TOKENIZER)

    def close(self) -> None:
        self._client.close()


def upstream_info(
    upstream: Upstream, model: UpstreamModel, kind: Kind, listed: Listed | None
) -> EngineInfo:
    """What is known of a model of another server."""
    listed = Listed(model.there) if listed is None else listed
    words = f"{upstream.name} {model.there} {kind}"
    return EngineInfo(
        model=model.name,
        created=listed.created or int(time.time()),
        owned_by=upstream.name,
        context_length=model.context_length or listed.context_length or UNKNOWN_CONTEXT,
        sampler=kind,
        fingerprint="fp_" + hashlib.sha256(words.encode()).hexdigest()[:10],
        vocabulary_size=2**31,
        parallel=upstream.concurrent,
        description=f"A model of {upstream.name}.",
        capabilities=capabilities_of(model, listed, kind),
        is_remote=True,
    )


def capabilities_of(model: UpstreamModel, listed: Listed, kind: Kind) -> tuple[Capability, ...]:
    """What the operator says, else its server's list, else its name, else its kind."""
    said = model.capabilities or listed.capabilities
    return said or named_task(model.there) or KINDS[kind].capabilities


def _read(reply: Reply, reader: AnswerReader, emit: Callable[[Piece | None], bool]) -> bool:
    """Pass on the pieces of an answer with status 200; whether the server has said that it is complete.
    Raises ReaderLeft."""
    body, read = reply.body, json_lines if reply.is_ndjson else sse_events
    if reply.is_json:
        data = b"".join(body)
        if not data.startswith(b"data:"):
            piece = reader.read(_parsed(data))
            if piece is not None and emit(piece):
                raise ReaderLeft
            return True
        body = iter((data,))  # events, whatever its head says
    for event in read(body):
        if event.data == b"[DONE]":
            return True
        for chunk in _chunks(event):
            piece = reader.read(chunk, is_error=event.name == "error")
            if piece is not None and emit(piece):
                raise ReaderLeft
    return False


def _chunks(event: StreamEvent) -> list[Any]:
    """The objects of an event: one, or one a line where the server leaves out the empty lines."""
    try:
        return [orjson.loads(event.data)]
    except orjson.JSONDecodeError:
        return [_parsed(line) for line in event.data.split(b"\n") if line and line != b"[DONE]"]


def _parsed(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        raise UpstreamFailed(
            "The server that has the model answered something that cannot be read."
        ) from None
