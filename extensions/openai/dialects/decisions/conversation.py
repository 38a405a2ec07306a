"""A question as the end of the conversation that it is about, as engines take it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from ...engines.protocol import Message
from ...generation.media.reader import MediaReader
from ...schemas import bad_request
from ..parts import joined, seen_of, text_of
from ..responses.conversation import to_messages
from ..responses.items import InputText, MessageItem
from .request import (
    ChoiceQuestion,
    DecisionRequest,
    InputJson,
    InputMessage,
    PredicateQuestion,
    Question,
    labels_of,
)

MAX_JSON_BYTES = 256 << 10


@dataclass(slots=True)
class Conversation:
    """The input, and each question as the end of it."""

    body: DecisionRequest
    _input: tuple[Message, ...] | None = field(default=None, init=False)
    """Read once: pictures may come from the web."""

    def asking(self, at: int, reader: Callable[[], MediaReader]) -> tuple[Message, ...]:
        """The conversation with the question at that place."""
        if self._input is None:
            self._input = self._read(reader)
        before, behind = _task(self.body.questions[at])
        given = self.body.questions[at].instructions
        question = to_messages(
            None,
            [
                (
                    f"questions[{at}].instructions",
                    MessageItem(
                        role="user",
                        content=[
                            InputText(type="input_text", text=before),
                            *_parts(given, f"questions[{at}].instructions"),
                            InputText(type="input_text", text=behind),
                        ],
                    ),
                )
            ],
            reader,
        )[0]
        last = self._input[-1]
        if last.role != "user":
            return (*self._input, question)
        # Templates want turns, so the question belongs to the last one of the user.
        parts = joined([*(last.parts or [last.content or ""]), *_seen(question)])
        merged = replace(last, content=text_of(parts), parts=seen_of(parts))
        return (*self._input[:-1], merged)

    def _read(self, reader: Callable[[], MediaReader]) -> tuple[Message, ...]:
        given = self.body.input
        if isinstance(given, str):
            return (Message("user", given),)
        items = [
            (
                f"input[{at}]",
                MessageItem(role=item.role, content=_content(item.content, f"input[{at}].content"))
                if isinstance(item, InputMessage)
                else item,
            )
            for at, item in enumerate(given)
        ]
        return to_messages(None, items, reader)


def _seen(message: Message) -> Sequence[Any]:
    return message.parts or [message.content or ""]


def _content(content: str | Sequence[Any], where: str) -> Any:
    return content if isinstance(content, str) else _parts(content, where)


def _parts(parts: str | Sequence[Any], where: str) -> list[Any]:
    """Parts, with JSON as text."""
    if isinstance(parts, str):
        return [InputText(type="input_text", text=parts)]
    return [
        InputText(type="input_text", text=_written(part, f"{where}[{at}].data"))
        if isinstance(part, InputJson)
        else part
        for at, part in enumerate(parts)
    ]


def _written(part: InputJson, where: str) -> str:
    text = orjson.dumps(part.data)
    if len(text) > MAX_JSON_BYTES:
        raise bad_request.wrong_length(where, "string", len(text), high=MAX_JSON_BYTES)
    return text.decode()


def _task(question: Question) -> tuple[str, str]:
    """What is said to the model before the question's instructions, and behind them."""
    if isinstance(question, PredicateQuestion):
        return (
            "Is this statement about the above true?",
            "Answer with Yes or No only.",
        )
    options: Sequence[tuple[str, str | None]]
    if isinstance(question, ChoiceQuestion):
        options = [(_shown(each.value), each.description) for each in question.choices]
        what, before = "letter of the option that fits", "Choose one option for the above."
    else:
        options = [(each.label, each.description) for each in question.levels]
        what, before = "number of the level that fits", "Rate the above on a scale of levels."
    lines = [
        f"{label}: {text}" + (f" ({more})" if more else "")
        for label, (text, more) in zip(labels_of(question), options, strict=True)
    ]
    return before, "\n".join([*lines, "", f"Answer with the {what} only."])


def _shown(value: str | bool) -> str:
    return value if isinstance(value, str) else str(value).lower()
