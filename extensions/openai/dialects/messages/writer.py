"""The events of a message, and what they add up to.

message_start, then for each block content_block_start, content_block_delta ..., content_block_stop,
then message_delta, message_stop
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

from ...engines.protocol import ToolCallDelta
from ...generation.answer_head import answer_head
from ...generation.events import Event
from ...generation.plan import Generation
from ...generation.tools.calls import arguments_object
from ...generation.tools.plan import new_call_id
from .message import (
    AnthropicMessage,
    BlockDelta,
    ContentBlock,
    MessageEvent,
    MessageUsage,
    StopReason,
    usage_of,
)
from .signatures import ThoughtSigner


def message_events(
    generation: Generation, writer: MessageWriter
) -> Generator[MessageEvent | None, None, None]:
    """The events of an answer under way; None as among those of a generation."""
    events = generation.events
    try:
        for event in events:
            if event is None:
                yield None
            else:
                yield from writer.write(event)
    finally:
        events.close()


class MessageWriter:
    """Writes one message."""

    def __init__(
        self,
        generation: Generation,
        signer: ThoughtSigner,
        *,
        max_tokens: int,
        stops: Sequence[str] = (),
        hides_thoughts: bool = False,
    ) -> None:
        """`stops`: the request's own stop strings; `hides_thoughts`: they come as signatures alone."""
        self._count = generation.usage
        self._head = answer_head("msg_", generation.info)
        self._count.record.answer = self._head["id"]
        self._signer = signer
        self._max_tokens = max_tokens
        self._stops = frozenset(stops)
        self._hides_thoughts = hides_thoughts
        self._begun = False
        self._index = -1
        self._open: str | int | None = None
        """The block that is being written: `text`, `thinking`, or the number of a call."""
        self._thought: list[str] = []
        self._called = False

    def write(self, event: Event) -> Iterator[MessageEvent]:
        """What an event of the generation adds to the message."""
        self._count.add(event)
        if not self._begun:
            self._begun = True
            yield {"type": "message_start", "message": self._message()}
        if event.reasoning:
            yield from self._think(event.reasoning)
        if event.text:
            yield from self._enter("text", {"type": "text", "text": "", "citations": None})
            yield self._delta({"type": "text_delta", "text": event.text})
        for part in event.tool_calls:
            yield from self._call(part)
        if event.finish is not None:
            yield from self._leave()
            yield from self._end(event)

    def _think(self, text: str) -> Iterator[MessageEvent]:
        yield from self._enter("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        self._thought.append(text)
        if not self._hides_thoughts:
            yield self._delta({"type": "thinking_delta", "thinking": text})

    def _call(self, part: ToolCallDelta) -> Iterator[MessageEvent]:
        if self._open != part.index:
            self._called = True
            name, id = part.name or "", "toolu_" + new_call_id().removeprefix("call_")
            block: ContentBlock = {"type": "tool_use", "id": id, "name": name, "input": {}}
            yield from self._enter(part.index, block)
        if part.arguments:
            yield self._delta({"type": "input_json_delta", "partial_json": part.arguments})

    def _enter(self, kind: str | int, block: ContentBlock) -> Iterator[MessageEvent]:
        """Begin a block, unless it is being written."""
        if self._open == kind:
            return
        yield from self._leave()
        self._open = kind
        self._index += 1
        yield {"type": "content_block_start", "index": self._index, "content_block": block}
        if self._index == 0:
            yield {"type": "ping"}

    def _leave(self) -> Iterator[MessageEvent]:
        """End the block that is being written."""
        if self._open is None:
            return
        if self._open == "thinking":
            thought = "".join(self._thought)
            self._thought.clear()
            sign = self._signer.carry if self._hides_thoughts else self._signer.sign
            yield self._delta({"type": "signature_delta", "signature": sign(thought)})
        self._open = None
        yield {"type": "content_block_stop", "index": self._index}

    def _delta(self, delta: BlockDelta) -> MessageEvent:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}

    def _end(self, event: Event) -> Iterator[MessageEvent]:
        usage = usage_of(self._count)
        reason = self._stop_reason(event, usage)
        stop = event.stop_string if reason == "stop_sequence" else None
        yield {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": stop},
            "usage": usage,
        }
        yield {"type": "message_stop"}

    def _stop_reason(self, event: Event, usage: MessageUsage) -> StopReason:
        if event.finish == "length":
            full = usage["output_tokens"] < self._max_tokens
            return "model_context_window_exceeded" if full else "max_tokens"
        if event.stop_string in self._stops:
            return "stop_sequence"
        return "tool_use" if self._called else "end_turn"

    def _message(self) -> AnthropicMessage:
        return {
            "id": self._head["id"],
            "type": "message",
            "role": "assistant",
            "model": self._head["model"],
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_of(self._count),
        }


class MessageFold:
    """The message that its events add up to."""

    def __init__(self) -> None:
        self._message: AnthropicMessage
        self._texts: list[list[str]] = []

    def add(self, event: MessageEvent) -> None:
        if event["type"] == "message_start":
            # Its list of blocks is filled here; the client may have been sent the event already.
            self._message = {**event["message"], "content": []}
        elif event["type"] == "content_block_start":
            block = event["content_block"]
            self._message["content"].append(block.copy())
            self._texts.append([])
        elif event["type"] == "content_block_delta":
            self._add_delta(event["index"], event["delta"])
        elif event["type"] == "content_block_stop":
            self._close(self._message["content"][event["index"]], event["index"])
        elif event["type"] == "message_delta":
            self._message["stop_reason"] = event["delta"]["stop_reason"]
            self._message["stop_sequence"] = event["delta"]["stop_sequence"]
            self._message["usage"] = event["usage"]

    @property
    def has_ended(self) -> bool:
        return self._message["stop_reason"] is not None

    def whole(self) -> AnthropicMessage:
        return self._message

    def _add_delta(self, index: int, delta: BlockDelta) -> None:
        block, texts = self._message["content"][index], self._texts[index]
        if delta["type"] == "text_delta":
            texts.append(delta["text"])
        elif delta["type"] == "thinking_delta":
            texts.append(delta["thinking"])
        elif delta["type"] == "input_json_delta":
            texts.append(delta["partial_json"])
        elif block["type"] == "thinking":
            block["signature"] = delta["signature"]

    def _close(self, block: ContentBlock, index: int) -> None:
        text = "".join(self._texts[index])
        if block["type"] == "text":
            block["text"] = text
        elif block["type"] == "thinking":
            block["thinking"] = text
        else:
            block["input"] = arguments_object(text)
