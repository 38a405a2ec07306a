"""The events of a response, and what they add up to.

response.created, response.in_progress, then for each item response.output_item.added, its parts, deltas and
whole texts, response.output_item.done, then response.completed, .incomplete, or error and .failed. In the
background response.queued comes before response.in_progress.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import count

from ...engines.protocol import EngineInfo, ServerCall, TokenLogprob, ToolCallDelta
from ...errors import (
    APIError,
    ContextLengthExceeded,
    InvalidRequest,
    QuotaExceeded,
    RateLimited,
    ShareExceeded,
)
from ...generation.events import Event
from ...generation.logprobs import ChatTokenLogprob, chat_logprobs
from ...generation.plan import Generation
from ...generation.usage import UsageCount
from .errors import param_of
from .event_record import EventRecord
from .output import OpenCall, OpenItem, OpenMcpCall, OpenMessage, OpenReasoning, Seal, new_id
from .request import ResponsesRequest
from .response import (
    ItemStatus,
    OutputCompaction,
    OutputItem,
    Response,
    ResponseEvent,
    begun,
    now,
    usage_of,
)

ResponseEvents = Generator[ResponseEvent | None, None, None]
"""The events of a response; None as among those of a generation."""


def response_events(generation: Generation, writer: ResponseWriter) -> ResponseEvents:
    """The events of an answer under way."""
    events = generation.events
    try:
        for event in events:
            if event is None:
                yield None
            else:
                yield from writer.write(event)
    finally:
        events.close()


class ResponseWriter:
    """Writes one response."""

    def __init__(
        self,
        usage: UsageCount,
        info: EngineInfo,
        body: ResponsesRequest,
        custom: frozenset[str] = frozenset(),
        *,
        store: bool = False,
        record: EventRecord | None = None,
        seal: Seal | None = None,
    ) -> None:
        """`usage` counts the events of the answer, by `info`'s model. `custom`: the tools whose input is
        text; `store`: the response is to be stored; `record` gets all events but those of a failure; `seal`
        makes the `encrypted_content` of thoughts, where that is wanted."""
        self._usage = usage
        self._response = begun(body, info, store=store)
        self._usage.record.answer = self._response["id"]
        self._custom = custom
        self._record = record
        self._names = body.tool_names
        self._seal = seal
        self._numbers = count()
        self._output: list[OutputItem] = []
        self._open: OpenItem | None = None
        self._call = -1
        """The number of the call that is being written."""
        self._has_begun = False
        self._is_queued = False
        # Log-probabilities of tokens that say nothing come with the next text.
        self._waiting: tuple[TokenLogprob, ...] = ()

    def write(self, event: Event) -> Iterator[ResponseEvent]:
        """What an event of the generation adds to the response."""
        return self._recorded(self._write(event))

    def compaction(self, sealed: str) -> Iterator[ResponseEvent]:
        """An item that stands for all that the response goes on from."""
        return self._recorded(self._compaction(sealed))

    def queued(self) -> Iterator[ResponseEvent]:
        """The first events of a response in the background."""
        self._is_queued = True
        yield self._lifecycle("response.created", self._response)
        yield self._lifecycle("response.queued", self._response)

    def cancelled(self) -> Iterator[ResponseEvent]:
        """The last event of one that was cancelled: the reference has none of its own for that."""
        yield self._lifecycle("response.failed", {**self._whole(), "status": "cancelled"})

    def silence(self) -> Iterator[ResponseEvent]:
        """Clients that give up after a while without an event do not count comments."""
        return self._recorded(self._silence())

    def _recorded(self, events: Iterator[ResponseEvent]) -> Iterator[ResponseEvent]:
        return events if self._record is None else self._record.of(events)

    def _write(self, event: Event) -> Iterator[ResponseEvent]:
        self._usage.add(event)
        yield from self._begin()
        self._waiting += event.logprobs
        if event.reasoning:
            yield from self._think(event.reasoning)
        if event.text:
            yield from self._say(event.text)
        for part in event.tool_calls:
            yield from self._add_call(part)
        for call in event.server_calls:
            yield from self._add_server_call(call)
        if event.finish is not None:
            yield from self._end(event)

    def _compaction(self, sealed: str) -> Iterator[ResponseEvent]:
        yield from self._begin()
        item: OutputCompaction = {
            "id": new_id("cmp_"),
            "type": "compaction",
            "encrypted_content": sealed,
        }
        for kind in ("added", "done"):
            yield {
                "type": f"response.output_item.{kind}",  # type: ignore[typeddict-item]  # both are
                "sequence_number": self._number(),
                "output_index": len(self._output),
                "item": item,
            }
        self._output.append(item)

    def _silence(self) -> Iterator[ResponseEvent]:
        if self._is_queued and self._usage.record.admitted is None:
            yield self._lifecycle("response.queued", self._response)
        elif not self._has_begun:
            yield from self._begin()
        else:
            yield self._lifecycle("response.in_progress", self._response)

    def failure(self, error: APIError) -> Iterator[ResponseEvent]:
        yield from self._begin()
        code = _code(error)
        yield {
            "type": "error",
            "sequence_number": next(self._numbers),
            "code": code,
            "message": error.message,
            "param": param_of(error),
        }
        failed: Response = {
            **self._whole(),
            "status": "failed",
            # Only what is complete is stored, or what its client has to find.
            "store": self._response["background"],
            "error": {"code": code, "message": error.message},
        }
        yield self._lifecycle("response.failed", failed)

    def _begin(self) -> Iterator[ResponseEvent]:
        if self._has_begun:
            return
        self._has_begun = True
        if not self._is_queued:
            yield self._lifecycle("response.created", self._response)
        self._response = {**self._response, "status": "in_progress"}
        yield self._lifecycle("response.in_progress", self._response)

    def _think(self, text: str) -> Iterator[ResponseEvent]:
        if not isinstance(self._open, OpenReasoning):
            yield from self._enter(OpenReasoning(self._next_index(), self._number, self._seal))
        assert isinstance(self._open, OpenReasoning)
        yield self._open.add(text)

    def _say(self, text: str) -> Iterator[ResponseEvent]:
        if not isinstance(self._open, OpenMessage):
            yield from self._enter(OpenMessage(self._next_index(), self._number))
        assert isinstance(self._open, OpenMessage)
        yield self._open.add(text, self._logprobs())

    def _add_call(self, part: ToolCallDelta) -> Iterator[ResponseEvent]:
        if not isinstance(self._open, OpenCall) or self._call != part.index:
            self._call = part.index
            known = part.name or ""
            name, namespace = self._names.from_model(known)
            opened = OpenCall(
                self._next_index(),
                self._number,
                name,
                namespace,
                is_custom=known in self._custom,
            )
            yield from self._enter(opened)
        assert isinstance(self._open, OpenCall)
        yield from self._open.add(part.arguments)

    def _add_server_call(self, call: ServerCall) -> Iterator[ResponseEvent]:
        if call.result is None:
            yield from self._enter(OpenMcpCall(self._next_index(), self._number, call))
            return
        assert isinstance(self._open, OpenMcpCall)
        self._open.has_ended(call)
        yield from self._leave("completed")

    def _next_index(self) -> int:
        return len(self._output) + (self._open is not None)

    def _enter(self, item: OpenItem) -> Iterator[ResponseEvent]:
        yield from self._leave("completed")
        self._open = item
        yield from item.begin()

    def _leave(self, status: ItemStatus) -> Iterator[ResponseEvent]:
        """End the item that is being written."""
        item, self._open = self._open, None
        if item is not None:
            yield from item.end(status)
            self._output.append(item.item(status))

    def _end(self, event: Event) -> Iterator[ResponseEvent]:
        cut = event.finish == "length"
        if self._open is None and not self._output:
            yield from self._enter(OpenMessage(0, self._number))
        if isinstance(self._open, OpenMessage) and self._waiting:
            # The end token and its kind belong to the text that they end.
            yield self._open.add("", self._logprobs())
        yield from self._leave("incomplete" if cut else "completed")
        whole = self._whole()
        if cut:
            whole["status"] = "incomplete"
            whole["incomplete_details"] = {"reason": "max_output_tokens"}
            yield self._lifecycle("response.incomplete", whole)
            return
        whole["status"], whole["completed_at"] = "completed", now()
        yield self._lifecycle("response.completed", whole)

    def _whole(self) -> Response:
        """The response with all that there is of it."""
        output = list(self._output)
        if self._open is not None:
            output.append(self._open.item("incomplete"))
        return {**self._response, "output": output, "usage": usage_of(self._usage)}

    def _lifecycle(self, kind: str, response: Response) -> ResponseEvent:
        return {"type": kind, "sequence_number": next(self._numbers), "response": response}  # type: ignore[typeddict-item]  # one of its kinds

    def _number(self) -> int:
        return next(self._numbers)

    def _logprobs(self) -> list[ChatTokenLogprob]:
        entries, self._waiting = self._waiting, ()
        return chat_logprobs(entries)["content"] if entries else []


def _code(error: APIError) -> str:
    if isinstance(error, ContextLengthExceeded):
        return "context_length_exceeded"
    if isinstance(error, QuotaExceeded):
        return "insufficient_quota"
    if isinstance(error, (RateLimited, ShareExceeded)):
        return "rate_limit_exceeded"
    return "invalid_prompt" if isinstance(error, InvalidRequest) else "server_error"


class ResponseFold:
    """The response that its events add up to: that of the last one."""

    has_ended = False
    """The last event itself tells that."""

    def __init__(self) -> None:
        self._whole: Response

    def add(self, event: ResponseEvent) -> None:
        if (
            event["type"] == "response.completed"
            or event["type"] == "response.incomplete"
            or event["type"] == "response.failed"
        ):
            self._whole = event["response"]

    def whole(self) -> Response:
        return self._whole
