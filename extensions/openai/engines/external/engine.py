"""A chat API that does not speak OpenAI's as an engine: it answers chats with text, and counts no tokens."""

from __future__ import annotations

import codecs
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
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
from ..remote.estimates import CHARACTERS_PER_TOKEN, chat_estimate
from ..remote.event_stream import json_lines, sse_events
from ..remote.failures import failures_told, refusal_of
from ..remote.http_client import HttpClient, ReaderLeft, Reply
from .rows import External

SAMPLER = "external"
HEADERS = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream, */*"}
CHATS_ONLY = "This model answers chats only."


class ExternalEngine:
    """One chat API. Thread-safe."""

    def __init__(self, row: External, client: HttpClient) -> None:
        self._row, self._client = row, client
        words = f"{row.name} {row.body!r}"
        self._info = EngineInfo(
            model=row.name,
            created=int(time.time()),
            owned_by="external",
            context_length=row.context_length,
            sampler=SAMPLER,
            fingerprint="fp_" + hashlib.sha256(words.encode()).hexdigest()[:10],
            vocabulary_size=1,
            parallel=row.concurrent,
            description="A chat API.",
            capabilities=(Capability.CHAT,),
            honours=row.body.names | row.ignores,
            is_remote=True,
        )

    @property
    def info(self) -> EngineInfo:
        return self._info

    def answer(self, chat: RemoteChat) -> Pieces:
        """As in ChatAnswerer. The limit on tokens is kept by estimate."""
        if chat.continued is not None:
            raise NotSupported("This model cannot continue a message of the assistant.")
        body = self._row.body.make(chat.request)
        estimate, limit = chat_estimate(chat.request), chat.request.max_tokens

        def produce(emit: Emit[Piece | None]) -> None:
            try:
                self._stream(body, _Cut(limit, estimate, emit), lambda: emit(None))
            except ReaderLeft:
                return

        return iterate_callback(produce)

    def _stream(self, body: bytes, cut: _Cut, left: Callable[[], bool]) -> None:
        row = self._row
        with (
            failures_told(row.name),
            self._client.request(row.method, "", body, left=left, headers=HEADERS) as reply,
        ):
            if not 200 <= reply.status < 300:
                raise refusal_of(row.name, reply, as_json_api=True)
            for text in self._texts(reply):
                if cut.emit(text):
                    return
            cut.end()
            reply.finish()

    def _texts(self, reply: Reply) -> Iterator[str]:
        """The texts of an answer, one after the other. Raises UpstreamFailed."""
        kind = reply.headers.get("content-type", "")
        if "event-stream" in kind or reply.is_ndjson:
            yield from self._of_events(reply)
        elif reply.is_json:
            document = self._checked(_parsed(b"".join(reply.body)))
            text = self._row.text.find(document)
            if not isinstance(text, str):
                raise UpstreamFailed(
                    f"{self._row.name}, which has the model, answered without a text where one was expected."
                )
            yield text
        elif self._row.text.steps:
            raise UpstreamFailed(f"{self._row.name}, which has the model, did not answer JSON.")
        else:
            yield from _decoded(reply.body)

    def _of_events(self, reply: Reply) -> Iterator[str]:
        path, shown, count = self._row.event_text, "", 0
        read = json_lines if reply.is_ndjson else sse_events
        for event in read(reply.body):
            count += 1
            if event.data == b"[DONE]":
                break
            if not path.steps:
                text: Any = event.data.decode(errors="replace")
            else:
                document = self._checked(_parsed(event.data))
                text = path.find(document)
            if not isinstance(text, str):
                continue
            if self._row.whole_events:
                text, shown = text.removeprefix(shown), text
            yield text
        if not count:
            raise UpstreamFailed(f"{self._row.name}, which has the model, answered nothing.")

    def _checked(self, document: Any) -> Any:
        """The document, if it does not say that it failed."""
        error = self._row.error
        if error is not None and error.find(document):
            raise UpstreamFailed(f"{self._row.name}, which has the model, says that it failed.")
        return document

    def generate(self, request: GenerateRequest) -> Pieces:
        """Raises NotSupported."""
        raise NotSupported(CHATS_ONLY)

    def render(self, request: ChatRequest) -> str:
        """Raises NotSupported: the API makes its prompt itself."""
        raise NotSupported(CHATS_ONLY)

    def turn_ends(self, request: ChatRequest) -> tuple[str, ...]:
        return ()

    def tokenize(self, text: str) -> tuple[int, ...]:
        """Raises NotSupported."""
        raise NotSupported("This model's tokens are not known.")

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Raises NotSupported."""
        raise NotSupported("This model's tokens are not known.")

    def close(self) -> None:
        self._client.close()


class _Cut:
    """Passes texts on up to a limit of tokens, which are estimated."""

    def __init__(
        self, limit: int | None, estimate: PromptUsage, emit: Callable[[Piece | None], bool]
    ) -> None:
        self._room = None if limit is None else limit * CHARACTERS_PER_TOKEN
        self._prompt: PromptUsage | None = estimate
        self._emit = emit
        self._characters = self._tokens = 0

    def emit(self, text: str) -> bool:
        """Whether this was the end. Raises ReaderLeft."""
        is_over = self._room is not None and self._characters + len(text) > self._room
        if is_over and self._room is not None:
            text = text[: self._room - self._characters]
        self._characters += len(text)
        tokens = -(-self._characters // CHARACTERS_PER_TOKEN) - self._tokens
        self._tokens += tokens
        piece = Piece(text, tokens=tokens, prompt=self._prompt)
        piece.finish = "length" if is_over else None
        self._prompt = None
        if self._emit(piece):
            raise ReaderLeft
        return is_over

    def end(self) -> None:
        self._emit(Piece(finish="stop", prompt=self._prompt))


def _decoded(body: Iterator[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for part in body:
        yield decoder.decode(part)
    yield decoder.decode(b"", final=True)


def _parsed(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        raise UpstreamFailed(
            "The server that has the model answered something that cannot be read."
        ) from None
