"""Events of a stream come out of their record as they went in."""

from __future__ import annotations

from typing import Any

import pytest

from extensions.openai.dialects.responses.event_record import EventRecord, recorded_events
from extensions.openai.engines.protocol import TokenLogprob
from extensions.openai.generation.events import Event
from tests.dialects.responses.test_writer import call, writer_of

A = TokenLogprob(b"a", -0.5)
SAID = {
    "texts": [Event(0, text=f"{at} ") for at in range(1_500)],
    "text with lines and other letters": [Event(0, text=text) for text in ("a\n", "\r\n", "\x85é", "")],
    "log-probabilities of some": [
        *(Event(0, text="b", logprobs=(A,)), Event(0, text="c"), Event(0, text="d")),
        *(Event(0, text="e", logprobs=(A,)), Event(0, text="f")),
    ],
    "thoughts, then a text": [
        *(Event(0, reasoning=text) for text in "abc"),
        *(Event(0, text=text) for text in "abc"),
    ],
    "two calls": [
        call(index, name, part)
        for index in (0, 1)
        for name, part in (("f", '{"a'), (None, '": '), (None, "1}"))
    ],
}  # fmt: skip


@pytest.mark.parametrize("said", SAID)
def test_events_come_again(said: str) -> None:
    """After each one: a client may ask for what there is so far."""
    _, writer = writer_of()
    record, events = EventRecord(), list[Any]()
    step = max(1, len(SAID[said]) // 6)
    for at, each in enumerate([*SAID[said], Event(0, finish="stop")]):
        if at == len(SAID[said]) // 2:
            events += record.of(writer.silence())
        events += record.of(writer.write(each))
        if at % step == 0:
            assert recorded_events(record.whole()) == events
    assert recorded_events(record.whole()) == events
    last: Any = {"type": "error", "sequence_number": len(events)}
    assert recorded_events(record.whole(last)) == [*events, last]
    assert recorded_events(record.whole()) == events
