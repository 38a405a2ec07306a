"""The items of a response while they are written: each yields the events that begin, continue and end it."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Literal

from ...engines.protocol import ServerCall
from ...generation.logprobs import ChatTokenLogprob
from ...generation.tools.calls import custom_input
from ...generation.tools.plan import new_call_id
from .response import (
    ItemStatus,
    McpCallEvent,
    OutputItem,
    OutputReasoning,
    OutputTextPart,
    ReasoningTextPart,
    ResponseEvent,
)

Number = Callable[[], int]
"""The number of the next event."""
Seal = Callable[[str], str]


def new_id(prefix: str) -> str:
    return prefix + secrets.token_hex(16)


class OpenItem(ABC):
    """An item that is being written."""

    def __init__(self, id: str, index: int, number: Number) -> None:
        self.id = id
        self.index = index
        self.number = number
        self._texts: list[str] = []

    @property
    def text(self) -> str:
        """All that was written so far."""
        return "".join(self._texts)

    @abstractmethod
    def item(self, status: ItemStatus) -> OutputItem:
        """What there is of it."""

    def begin(self) -> Iterator[ResponseEvent]:
        yield {
            "type": "response.output_item.added",
            "sequence_number": self.number(),
            "output_index": self.index,
            "item": self.item("in_progress"),
        }

    def end(self, status: ItemStatus) -> Iterator[ResponseEvent]:
        yield {
            "type": "response.output_item.done",
            "sequence_number": self.number(),
            "output_index": self.index,
            "item": self.item(status),
        }


class OpenMessage(OpenItem):
    """What the model says."""

    def __init__(self, index: int, number: Number) -> None:
        super().__init__(new_id("msg_"), index, number)
        self._logprobs: list[ChatTokenLogprob] = []
        self._begun = False

    def item(self, status: ItemStatus) -> OutputItem:
        return {
            "id": self.id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": [self._part()] if self._begun else [],
        }

    def begin(self) -> Iterator[ResponseEvent]:
        yield from super().begin()
        self._begun = True
        yield {
            "type": "response.content_part.added",
            "sequence_number": self.number(),
            "item_id": self.id,
            "output_index": self.index,
            "content_index": 0,
            "part": self._part(),
        }

    def add(self, text: str, logprobs: list[ChatTokenLogprob]) -> ResponseEvent:
        self._texts.append(text)
        self._logprobs += logprobs
        return {
            "type": "response.output_text.delta",
            "sequence_number": self.number(),
            "item_id": self.id,
            "output_index": self.index,
            "content_index": 0,
            "delta": text,
            "logprobs": logprobs,
        }

    def end(self, status: ItemStatus) -> Iterator[ResponseEvent]:
        yield {
            "type": "response.output_text.done",
            "sequence_number": self.number(),
            "item_id": self.id,
            "output_index": self.index,
            "content_index": 0,
            "text": self.text,
            "logprobs": list(self._logprobs),
        }
        yield {
            "type": "response.content_part.done",
            "sequence_number": self.number(),
            "item_id": self.id,
            "output_index": self.index,
            "content_index": 0,
            "part": self._part(),
        }
        yield from super().end(status)

    def _part(self) -> OutputTextPart:
        return {
            "type": "output_text",
            "text": self.text,
            "annotations": [],
            "logprobs": list(self._logprobs),
        }


class OpenReasoning(OpenItem):
    """What the model thinks."""

    def __init__(self, index: int, number: Number, seal: Seal | None = None) -> None:
        """`seal` makes the `encrypted_content`, where that is wanted."""
        super().__init__(new_id("rs_"), index, number)
        self._begun = False
        self._seal = seal

    def item(self, status: ItemStatus) -> OutputItem:
        item: OutputReasoning = {
            "id": self.id,
            "type": "reasoning",
            "status": status,
            "summary": [],
            "content": [self._part()] if self._begun else [],
        }
        if self._seal is not None and status != "in_progress":
            item["encrypted_content"] = self._sealed
        return item

    @cached_property
    def _sealed(self) -> str:
        """Of the whole thought, once: each time it would be another text."""
        assert self._seal is not None
        return self._seal(self.text)

    def begin(self) -> Iterator[ResponseEvent]:
        yield from super().begin()
        self._begun = True
        yield {
            "type": "response.content_part.added",
            "sequence_number": self.number(),
            "item_id": self.id,
            "output_index": self.index,
            "content_index": 0,
            "part": self._part(),
        }

    def add(self, text: str) -> ResponseEvent:
        self._texts.append(text)
        return {
            "type": "response.reasoning_text.delta",
            "sequence_number": self.number(),
            "item_id": self.id,
            "output_index": self.index,
            "content_index": 0,
            "delta": text,
        }

    def end(self, status: ItemStatus) -> Iterator[ResponseEvent]:
        yield {
            "type": "response.reasoning_text.done",
            "sequence_number": self.number(),
            "item_id": self.id,
            "output_index": self.index,
            "content_index": 0,
            "text": self.text,
        }
        yield {
            "type": "response.content_part.done",
            "sequence_number": self.number(),
            "item_id": self.id,
            "output_index": self.index,
            "content_index": 0,
            "part": self._part(),
        }
        yield from super().end(status)

    def _part(self) -> ReasoningTextPart:
        return {"type": "reasoning_text", "text": self.text}


class OpenCall(OpenItem):
    """A call that the model makes. A custom tool's input is text inside of JSON, so it comes whole."""

    def __init__(
        self, index: int, number: Number, name: str, namespace: str | None, *, is_custom: bool
    ) -> None:
        super().__init__(new_id("ctc_" if is_custom else "fc_"), index, number)
        self._name = name
        self._namespace = namespace
        self._is_custom = is_custom
        self._call_id = new_call_id()

    def item(self, status: ItemStatus) -> OutputItem:
        item: OutputItem
        if self._is_custom:
            item = {
                "id": self.id,
                "type": "custom_tool_call",
                "status": status,
                "call_id": self._call_id,
                "name": self._name,
                "input": custom_input(self.text) if self._texts else "",
            }
        else:
            item = {
                "id": self.id,
                "type": "function_call",
                "status": status,
                "call_id": self._call_id,
                "name": self._name,
                "arguments": self.text,
            }
        if self._namespace is not None:
            item["namespace"] = self._namespace
        return item

    def add(self, arguments: str) -> Iterator[ResponseEvent]:
        if not arguments:
            return
        self._texts.append(arguments)
        if not self._is_custom:
            yield {
                "type": "response.function_call_arguments.delta",
                "sequence_number": self.number(),
                "item_id": self.id,
                "output_index": self.index,
                "delta": arguments,
            }

    def end(self, status: ItemStatus) -> Iterator[ResponseEvent]:
        if self._is_custom:
            yield from self._end_input(custom_input(self.text) if self._texts else "")
        else:
            yield {
                "type": "response.function_call_arguments.done",
                "sequence_number": self.number(),
                "item_id": self.id,
                "output_index": self.index,
                "name": self._name,
                "arguments": self.text,
            }
        yield from super().end(status)

    def _end_input(self, text: str) -> Iterator[ResponseEvent]:
        if text:
            yield {
                "type": "response.custom_tool_call_input.delta",
                "sequence_number": self.number(),
                "item_id": self.id,
                "output_index": self.index,
                "delta": text,
            }
        yield {
            "type": "response.custom_tool_call_input.done",
            "sequence_number": self.number(),
            "item_id": self.id,
            "output_index": self.index,
            "input": text,
        }


class OpenMcpCall(OpenItem):
    """A call of a tool server's tool, while this server makes it."""

    def __init__(self, index: int, number: Number, call: ServerCall) -> None:
        super().__init__(new_id("mcp_"), index, number)
        self._call = call

    def item(self, status: ItemStatus) -> OutputItem:
        call = self._call
        return {
            "id": self.id,
            "type": "mcp_call",
            "status": "failed" if call.failed else status,
            "server_label": call.server,
            "name": call.name,
            "arguments": call.arguments,
            "output": None if call.failed else call.result,
            "error": call.result if call.failed else None,
        }

    def begin(self) -> Iterator[ResponseEvent]:
        yield from super().begin()
        yield self._event("in_progress")
        yield {
            "type": "response.mcp_call_arguments.delta",
            "sequence_number": self.number(),
            "item_id": self.id,
            "output_index": self.index,
            "delta": self._call.arguments,
        }
        yield {
            "type": "response.mcp_call_arguments.done",
            "sequence_number": self.number(),
            "item_id": self.id,
            "output_index": self.index,
            "arguments": self._call.arguments,
        }

    def has_ended(self, call: ServerCall) -> None:
        """What came of it."""
        self._call = call

    def end(self, status: ItemStatus) -> Iterator[ResponseEvent]:
        if self._call.result is not None:
            yield self._event("failed" if self._call.failed else "completed")
        yield from super().end(status)

    def _event(self, kind: Literal["in_progress", "completed", "failed"]) -> ResponseEvent:
        event: McpCallEvent = {
            "type": f"response.mcp_call.{kind}",  # type: ignore[typeddict-item]  # all are
            "sequence_number": self.number(),
            "item_id": self.id,
            "output_index": self.index,
        }
        return event
