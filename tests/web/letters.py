"""An endpoint of the tests in a dialect of its own: named events, and errors like those of Anthropic."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Literal

from typing_extensions import TypedDict

from extensions.openai.errors import APIError
from extensions.openai.generation.events import Event
from extensions.openai.generation.plan import Generation, PromptPlan, asked_of
from extensions.openai.generation.request import GenerationRequest
from extensions.openai.generation.usage import UsageCount
from extensions.openai.web.context import RequestContext
from extensions.openai.web.responses.dialects import Dialect
from extensions.openai.web.responses.response import Response
from extensions.openai.web.responses.sse import NamedEvents
from extensions.openai.web.responses.streaming import respond
from extensions.openai.web.routing.routes import PathPrefixes, Route, endpoint


class LetterErrorBody(TypedDict):
    type: str
    message: str


class LetterError(TypedDict):
    """`{"type": "error", "error": {"type": "not_found_error", "message": "..."}}`"""

    type: Literal["error"]
    error: LetterErrorBody


TYPES = {400: "invalid_request_error", 401: "authentication_error", 405: "invalid_request_error"}


def letter_error(error: APIError, request_id: str) -> LetterError:
    kind = TYPES.get(error.status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": error.message}}


LETTERS = Dialect(NamedEvents(frozenset({"letter_stop"})), letter_error, LetterError)


class LetterRequest(GenerationRequest):
    """How a letter begins."""

    prompt: str


class LetterStart(TypedDict):
    type: Literal["letter_start"]
    model: str


class LetterDelta(TypedDict):
    type: Literal["letter_delta"]
    text: str


class LetterStop(TypedDict):
    type: Literal["letter_stop"]
    output_tokens: int


class Letter(TypedDict):
    """A whole letter."""

    type: Literal["letter"]
    model: str
    text: str
    output_tokens: int


LetterChunk = LetterStart | LetterDelta | LetterStop


class Letters:
    """Those that were completed, and the route that writes them."""

    def __init__(self) -> None:
        self.kept: list[Letter] = []

    def write_letter(self, context: RequestContext, body: LetterRequest) -> Response:
        """Write a letter to its end."""
        served = context.serve(body.model, body.timeout)
        body = served.settled(body)
        asked = asked_of(body, alternatives="n_probs", logprobs="n_probs")
        generation = PromptPlan(asked, (body.prompt,), candidates=1).start(served)
        return respond(
            context,
            _chunks(generation),
            stream=bool(body.stream),
            fold=Fold(generation.usage),
            on_complete=self.kept.append,
        )

    @property
    def routes(self) -> tuple[Route, ...]:
        return endpoint(
            "letters",
            Route(
                *(
                    "POST",
                    "/letters",
                    self.write_letter,
                    "Write a letter",
                    PathPrefixes.API,
                    Letter,
                ),
                body=LetterRequest,
                chunk=LetterChunk,
                scope="write",
            ),
            dialect=LETTERS,
        )


def _chunks(generation: Generation) -> Generator[LetterChunk | None, None, None]:
    count, begun = generation.usage, False
    try:
        for event in generation.events:
            if not isinstance(event, Event):
                yield None
                continue
            count.add(event)
            if not begun:
                begun = True
                yield {"type": "letter_start", "model": generation.info.model}
            if event.text:
                yield {"type": "letter_delta", "text": event.text}
        yield {"type": "letter_stop", "output_tokens": count.total()["completion_tokens"]}
    finally:
        generation.events.close()


class Fold:
    """The letter that its chunks add up to."""

    def __init__(self, usage: UsageCount) -> None:
        self._usage = usage
        self._model = ""
        self._texts: list[str] = []

    @property
    def has_ended(self) -> bool:
        return False  # its last event says so by its type

    def add(self, chunk: Any) -> None:
        if chunk["type"] == "letter_start":
            self._model = chunk["model"]
        elif chunk["type"] == "letter_delta":
            self._texts.append(chunk["text"])

    def whole(self) -> Letter:
        tokens = self._usage.total()["completion_tokens"]
        text = "".join(self._texts)
        return {"type": "letter", "model": self._model, "text": text, "output_tokens": tokens}
