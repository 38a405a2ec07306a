"""Running choices: slots, interleaving, stop strings, errors, leaving."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pytest

from extensions.openai.engines.protocol import GenerateRequest, Piece, Pieces, PromptUsage
from extensions.openai.errors import InvalidRequest, ShareExceeded
from extensions.openai.generation.events import Event, Events
from extensions.openai.generation.run import run
from extensions.openai.limits.active_requests import ActiveRequest
from extensions.openai.limits.scheduler import Scheduler
from tests.support.paced import PacedEngine


def start(
    choices: Sequence[Callable[[], Pieces]],
    *,
    slots: int = 2,
    queue_limit: int = 8,
    stops: Sequence[str] = (),
    scheduler: Scheduler | None = None,
    request: ActiveRequest | None = None,
) -> Events:
    scheduler = scheduler or Scheduler(queue_limit=queue_limit)
    return run(
        choices, scheduler=scheduler, request=request or ActiveRequest(), slots=slots, stops=stops
    )


def pieces(*texts: str, finish: str = "length") -> Callable[[], Pieces]:
    def say() -> Pieces:
        for at, text in enumerate(texts):
            yield Piece(text, tokens=1, prompt=PromptUsage(3) if at == 0 else None)
        yield Piece(tokens=0, finish=finish)  # type: ignore[arg-type]

    return say


def answering(engine: PacedEngine) -> Callable[[], Pieces]:
    return partial(engine.generate, GenerateRequest("abc"))


def texts(events: list[Event], index: int = 0) -> str:
    return "".join(event.text for event in events if event.index == index)


def real(events: Events) -> list[Event]:
    return [event for event in events if event is not None]


def test_one_choice_is_its_pieces() -> None:
    events = real(start([pieces("a", "", "b")]))
    assert texts(events) == "ab"
    assert sum(event.tokens for event in events) == 3
    assert [event.prompt for event in events if event.prompt] == [PromptUsage(3)]
    assert [event.finish for event in events if event.finish] == ["length"]
    assert events[-1].finish == "length"


@pytest.mark.parametrize("count", [2, 5])
def test_choices_are_interleaved_and_each_ends_once(count: int) -> None:
    engine = PacedEngine(["a", "b", "c"], parallel=2)
    events = real(start([answering(engine)] * count))
    for index in range(count):
        mine = [event for event in events if event.index == index]
        assert texts(events, index) == "abc"
        assert [event.finish for event in mine] == [None, None, None, "stop"]
    assert engine.most_active <= 2
    assert engine.wait_for_active(0)


@pytest.mark.parametrize("count", [1, 3])
def test_a_stop_string_ends_the_choice_and_its_work(count: int) -> None:
    engine = PacedEngine(["x", " ST", "OP", " never"], endless=True, parallel=2)
    events = real(start([answering(engine)] * count, stops=["STOP"]))
    for index in range(count):
        assert texts(events, index) == "x "
        assert [e.finish for e in events if e.index == index and e.finish] == ["stop"]
    assert engine.wait_for_active(0)


def test_a_stop_string_on_the_last_piece_makes_the_reason_stop() -> None:
    def say() -> Pieces:
        yield Piece("abc", tokens=1, prompt=PromptUsage(1), finish="length")

    assert [event.finish for event in real(start([say], stops=["c"]))] == ["stop"]


def test_text_held_for_a_stop_string_comes_out_when_the_answer_ends_by_length() -> None:
    events = real(start([pieces("a", "ST", "O")], stops=["STOP"]))
    assert texts(events) == "aSTO"
    assert events[-1].finish == "length"


@pytest.mark.parametrize("count", [1, 3])
def test_closing_ends_all_choices(count: int) -> None:
    engine = PacedEngine(endless=True, pace=0.001, parallel=3)
    events = start([answering(engine)] * count, slots=3)
    next(events)
    events.close()
    assert engine.wait_for_active(0)


def test_closing_while_nothing_is_said_ends_the_work() -> None:
    engine = PacedEngine(parallel=2)
    engine.gate.clear()
    scheduler = Scheduler(queue_limit=8)
    events = start([answering(engine)] * 2, scheduler=scheduler)
    assert next(events) is None
    assert engine.wait_for_active(2)
    events.close()
    assert engine.wait_for_active(0)
    again = start([pieces("free")], slots=2, scheduler=scheduler)
    assert texts(real(again)) == "free"


def test_the_first_error_ends_all_choices() -> None:
    engine = PacedEngine(endless=True, pace=0.001, parallel=2)

    def refuse() -> Pieces:
        raise InvalidRequest("no", param="prompt")
        yield None

    with pytest.raises(InvalidRequest):
        real(start([answering(engine), refuse]))
    assert engine.wait_for_active(0)


def test_a_request_waits_for_its_slot_and_yields_none_meanwhile() -> None:
    engine = PacedEngine(endless=True, pace=0.001)
    scheduler = Scheduler(queue_limit=1)
    first = start([answering(engine)], slots=1, scheduler=scheduler)
    assert next(first) is not None
    second = start([pieces("later")], slots=1, scheduler=scheduler)
    assert next(second) is None
    with pytest.raises(ShareExceeded):
        next(start([pieces("refused")], slots=1, scheduler=scheduler))
    first.close()
    assert texts(real(second)) == "later"


def test_a_request_in_the_queue_that_leaves_makes_room() -> None:
    engine = PacedEngine(endless=True, pace=0.001)
    scheduler = Scheduler(queue_limit=1)
    first = start([answering(engine)], slots=1, scheduler=scheduler)
    next(first)
    waiting = start([pieces("gone")], slots=1, scheduler=scheduler)
    assert next(waiting) is None
    waiting.close()
    following = start([pieces("here")], slots=1, scheduler=scheduler)
    assert next(following) is None
    first.close()
    assert texts(real(following)) == "here"


def test_many_choices_are_let_in_as_one_request() -> None:
    """Only the first choice has to find room in the queue."""
    engine = PacedEngine(["a"])
    events = real(start([answering(engine)] * 6, slots=1, queue_limit=0))
    assert {event.index for event in events if event.finish} == set(range(6))


@pytest.mark.parametrize("count", [1, 3])
def test_a_stopped_request_ends_every_choice_where_it_is(count: int) -> None:
    engine = PacedEngine(["a"], endless=True, pace=0.001, parallel=2)
    request = ActiveRequest()
    events = start([answering(engine)] * count, request=request, stops=["never"])
    seen = [event for event in (next(events) for _ in range(20)) if event is not None]
    request.stopped = True
    seen += real(events)
    assert [e.finish for e in seen if e.finish] == ["stop"] * count
    assert {e.index for e in seen if e.finish} == set(range(count))
    assert "a" in texts(seen, 0)
    assert engine.wait_for_active(0)


def test_a_request_that_is_stopped_while_it_waits_never_runs() -> None:
    scheduler = Scheduler(queue_limit=1)
    engine = PacedEngine(endless=True, pace=0.001)
    first = start([answering(engine)], slots=1, scheduler=scheduler)
    assert next(first) is not None
    request = ActiveRequest()
    waiting = start([pieces("never")], slots=1, scheduler=scheduler, request=request)
    assert next(waiting) is None
    request.stopped = True
    assert [event.finish for event in real(waiting)] == ["stop"]
    first.close()
    assert scheduler.state().running == 0


def test_held_text_is_not_lost_when_a_request_is_stopped() -> None:
    request = ActiveRequest()

    def say() -> Pieces:
        yield Piece("abST", tokens=1, prompt=PromptUsage(3))
        request.stopped = True
        yield Piece("never", tokens=1)

    assert texts(real(start([say], request=request, stops=["STOP"]))) == "abST"
