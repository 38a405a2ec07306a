"""The lines of an answer, and what they add up to."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import Any, cast

import orjson

from ...engines.protocol import Message, ToolCall, ToolCallDelta
from ...errors import APIError
from ...generation.answer_head import answer_head
from ...generation.events import Event
from ...generation.logprobs import chat_logprobs
from ...generation.plan import Generation
from ...generation.tools.calls import arguments_object
from ...generation.tools.plan import new_call_id
from .answer import Call, ChatLine, ChatMessage, DoneReason, GenerateLine, figures_of, now
from .conversation import answered
from .errors import OllamaError, envelope_of

Line = ChatLine | GenerateLine | OllamaError


class LineWriter:
    """Writes one answer, of a chat or of a prompt."""

    def __init__(self, generation: Generation, *, chat: bool, logprobs: bool = False) -> None:
        self._generation, self._count = generation, generation.usage
        head = answer_head("ollama-", generation.info)
        self._count.record.answer = head["id"]
        self._model, self._chat = head["model"], chat
        self._logprobs = logprobs
        self._call: tuple[int, str, str, list[str]] | None = None
        """The call that is being written: index, id, name, and the parts of its arguments."""

    def lines(self) -> Generator[Line | None, None, None]:
        """The lines of the answer; None as among the events of a generation."""
        events = self._generation.events
        try:
            for event in events:
                if event is None:
                    yield None
                else:
                    self._count.add(event)
                    yield from self._write(event)
        finally:
            events.close()

    def silence(self) -> Iterator[Line]:
        """A line without text, as JSON lines have no comments."""
        yield self._line("")

    def failure(self, error: APIError) -> Iterator[Line]:
        """The last line of an answer that failed after it had begun."""
        yield envelope_of(error, "")

    def _write(self, event: Event) -> Iterator[Line]:
        for part in event.tool_calls:
            yield from self._add_call(part)
        thought = event.reasoning
        if event.text or thought or (self._logprobs and event.logprobs):
            line = self._line(event.text, thought)
            if self._logprobs and event.logprobs:
                line["logprobs"] = chat_logprobs(event.logprobs)["content"]
            yield line
        if event.finish is not None:
            yield from self._end_call()
            line = self._line("")
            line["done"] = True
            reason: DoneReason = "length" if event.finish == "length" else "stop"
            line.update(figures_of(self._count.record, reason))  # type: ignore[typeddict-item]
            yield line

    def _add_call(self, part: ToolCallDelta) -> Iterator[Line]:
        """A call is sent once it is whole: its arguments are an object."""
        if self._call is None or self._call[0] != part.index:
            yield from self._end_call()
            self._call = part.index, part.id or new_call_id(), part.name or "", []
        self._call[3].append(part.arguments)

    def _end_call(self) -> Iterator[Line]:
        if self._call is None:
            return
        index, id, name, parts = self._call
        self._call = None
        arguments = arguments_object("".join(parts))
        call: Call = {"id": id, "function": {"index": index, "name": name, "arguments": arguments}}
        yield self._line("", calls=[call])

    def _line(
        self, text: str, thought: str = "", calls: list[Call] | None = None
    ) -> ChatLine | GenerateLine:
        if not self._chat:
            part: GenerateLine = {
                "model": self._model,
                "created_at": now(),
                "response": text,
                "done": False,
            }
            if thought:
                part["thinking"] = thought
            return part
        message: ChatMessage = {"role": "assistant", "content": text}
        if thought:
            message["thinking"] = thought
        if calls:
            message["tool_calls"] = calls
        return {"model": self._model, "created_at": now(), "message": message, "done": False}


class LineFold:
    """The whole that the lines of an answer add up to."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[Call] = []
        self._logprobs: list[Any] = []
        self._last: Mapping[str, Any] = {}

    def add(self, line: Line) -> None:
        self._last = any_line = cast(Mapping[str, Any], line)
        said = any_line.get("message") or any_line
        self._texts.append(said.get("content") or said.get("response") or "")
        self._thoughts.append(said.get("thinking") or "")
        self._calls += said.get("tool_calls") or ()
        self._logprobs += any_line.get("logprobs") or ()

    @property
    def has_ended(self) -> bool:
        return bool(self._last.get("done"))

    def whole(self) -> Mapping[str, Any]:
        """The last line with all that came before it."""
        text, more = "".join(self._texts), dict[str, Any]()
        if thought := "".join(self._thoughts):
            more["thinking"] = thought
        if self._calls:
            more["tool_calls"] = self._calls
        whole = {**self._last}
        if self._logprobs:
            whole["logprobs"] = self._logprobs
        if "message" not in whole:
            return {**whole, "response": text, **more}
        return {**whole, "message": {"role": "assistant", "content": text, **more}}

    def said(self) -> Message:
        """The answer as a message of the conversation that goes on from it."""
        calls = [
            ToolCall(
                each["id"],
                each["function"]["name"],
                orjson.dumps(each["function"]["arguments"]).decode(),
            )
            for each in self._calls
        ]
        return answered("".join(self._texts), "".join(self._thoughts), calls)
