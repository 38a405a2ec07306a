"""Residents without processes: who is loaded, who waits, who goes. The clock is the test's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.encoders import ScoreBatches, Scores
from extensions.openai.engines.model_spec import ModelLoadError
from extensions.openai.engines.protocol import Engine, GenerateRequest
from extensions.openai.engines.resident.engine import ResidentEncoder, ResidentEngine
from extensions.openai.engines.resident.lease import Lease
from extensions.openai.engines.resident.model import Look, Report, ResidentModel
from extensions.openai.engines.resident.residents import RETRY_S, Residents, Rules
from extensions.openai.engines.resident.room import Room
from extensions.openai.errors import (
    APIError,
    EngineUnreachable,
    ModelChanged,
    ModelLoadFailed,
    NoRoomForModel,
    NotSupported,
    ShuttingDown,
    UpstreamUnreachable,
)
from tests.support.paced import PacedEngine

SOON_S = 50.0
ONE = Rules(Room(models=1))


@dataclass(eq=False)
class FakeChild:
    """A loaded model without a process."""

    engine: Engine
    ended: bool = False

    def has_ended(self, within: float = 0.0) -> bool:
        return self.ended

    def close(self) -> None:
        self.ended = True


@dataclass
class Stage:
    """What was loaded, and a clock that the test moves."""

    events: list[str] = field(default_factory=list)
    children: dict[str, FakeChild] = field(default_factory=dict)
    now: float = 0.0
    load_s: float = 0.0
    may_load: threading.Event = field(default_factory=threading.Event)
    fault: Exception | None = None
    report: Report = lambda share: None
    engine: Callable[[str], Any] = lambda name: EchoEngine(name=name)

    def start(self, model: ResidentModel, report: Report) -> FakeChild:
        self.report = report
        assert self.may_load.wait(SOON_S)
        if self.fault is not None:
            raise self.fault
        self.events.append(model.name)
        self.now += self.load_s
        child = self.children[model.name] = FakeChild(self.engine(model.name))
        return child

    def clock(self) -> float:
        return self.now

    def residents(
        self, *names: str, rules: Rules = ONE, look: Look = lambda model: model, **fields: Any
    ) -> Residents:
        models = [ResidentModel(name, EchoEngine(name=name).info, 10, **fields) for name in names]
        return Residents(models, self.start, rules, self.clock, look)


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.may_load.set()
    return stage


@pytest.fixture
def made(stage: Stage) -> Iterator[Callable[..., Residents]]:
    every: list[Residents] = []

    def make(*names: str, **more: Any) -> Residents:
        every.append(stage.residents(*names, **more))
        return every[-1]

    yield make
    stage.may_load.set()
    for each in every:
        each.close()


def settled(lease: Lease) -> bool:
    return lease.wait(SOON_S) is not None


def is_waiting(lease: Lease) -> bool:
    return lease.wait(0.05) is None


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def states(residents: Residents) -> dict[str, str]:
    return {each.model.name: each.state for each in residents.statuses()}


def test_all_that_ask_for_a_model_wait_for_one_load(stage: Stage, made: Any) -> None:
    residents = made("a", "b")
    stage.may_load.clear()
    leases = [residents.lease("a") for _ in range(8)]
    until(lambda: states(residents)["a"] == "loading")
    assert all(map(is_waiting, leases[:1]))
    stage.may_load.set()
    assert all(map(settled, leases))
    assert stage.events == ["a"]
    assert states(residents) == {"a": "loaded", "b": "not_loaded"}


def test_the_model_that_answers_is_not_unloaded(stage: Stage, made: Any) -> None:
    residents = made("a", "b")
    with residents.lease("a") as first:
        assert settled(first)
        second = residents.lease("b")
        assert is_waiting(second)
        assert not stage.children["a"].ended
    assert settled(second)
    assert stage.children["a"].ended and stage.events == ["a", "b"]


def test_requests_for_the_same_model_go_together(stage: Stage, made: Any) -> None:
    """Sixteen requests for two models in turn are two loads."""
    residents = made("a", "b")
    first, second = [residents.lease("a")], list[Lease]()
    assert settled(first[0])
    for _ in range(7):
        second.append(residents.lease("b"))
        first.append(residents.lease("a"))
        assert settled(first[-1]), "it goes on with all that ask for it"
    second.append(residents.lease("b"))
    for each in first:
        assert stage.events == ["a"]
        each.close()
    assert all(map(settled, second))
    assert stage.events == ["a", "b"]


def test_the_wait_has_a_bound(stage: Stage, made: Any) -> None:
    residents = made("a", "b")
    first = residents.lease("a")
    assert settled(first)
    waiting = residents.lease("b")
    second = residents.lease("a")
    assert settled(second)  # it is loaded, and goes on with all that ask for it
    stage.now = ONE.wait_s
    with residents.lease("b"):

        def is_held_back() -> bool:
            with residents.lease("a") as lease:
                return lease.wait(0.0) is None

        until(is_held_back)  # the other one comes first
    with first, second:
        pass
    assert settled(waiting)


def test_an_idle_model_lingers_for_a_tenth_of_a_load(stage: Stage, made: Any) -> None:
    residents = made("a", "b")
    stage.load_s = 5.0
    with residents.lease("a") as lease:
        assert settled(lease)
    waiting = residents.lease("b")
    stage.now += 0.4
    assert is_waiting(waiting)
    with residents.lease("a") as again:
        assert settled(again)
    assert stage.events == ["a"]
    stage.now += 0.6
    assert settled(waiting)


def test_refuse_instead_of_swap(stage: Stage, made: Any) -> None:
    residents = made("a", "b", rules=Rules(Room(models=1), swaps=False))
    with residents.lease("a") as lease:
        assert settled(lease)
    with pytest.raises(NoRoomForModel) as caught:
        settled(residents.lease("b"))
    assert caught.value.status == 503 and "Retry-After" in caught.value.headers
    residents.unload("a", 0.0)
    assert settled(residents.lease("b"))


def test_more_than_there_is(made: Any) -> None:
    residents = made("a", rules=Rules(Room(bytes=9)))
    with pytest.raises(NoRoomForModel, match="no room for it"):
        settled(residents.lease("a"))


def test_pinned_ones_stay(stage: Stage, made: Any) -> None:
    residents = made("a", "b", "c", rules=Rules(Room(models=2)))
    residents.load("a")
    residents.pin("a", pinned=True)
    for name in ("b", "c", "b"):
        residents.load(name)
    assert states(residents) == {"a": "loaded", "b": "loaded", "c": "not_loaded"}
    residents.pin("a", pinned=False)
    residents.load("c")
    assert states(residents)["a"] == "not_loaded"


def test_pinned_ones_are_loaded_at_the_start(stage: Stage, made: Any) -> None:
    residents = made("a", pinned=True)
    residents.preload()
    until(lambda: states(residents) == {"a": "loaded"})


def test_idle_ones_go_after_their_time(stage: Stage, made: Any) -> None:
    residents = made("a", rules=Rules(), idle_s=60.0)
    with residents.lease("a") as lease:
        assert settled(lease)
        stage.now = 100.0  # while it answers, it is not idle
        time.sleep(0.05)
        assert states(residents) == {"a": "loaded"}
    stage.now = 159.0
    with residents.lease("a") as lease:
        assert settled(lease)
    stage.now = 220.0
    until(lambda: states(residents) == {"a": "not_loaded"})
    assert stage.children["a"].ended


def test_a_load_that_fails_is_told_to_all_and_tried_again_later(stage: Stage, made: Any) -> None:
    residents = made("a")
    stage.fault = ModelLoadError("no such file /secret/path")
    stage.may_load.clear()
    leases = [residents.lease("a") for _ in range(3)]
    stage.may_load.set()
    for lease in leases:
        with pytest.raises(ModelLoadFailed) as caught:
            settled(lease)
        assert "/secret" not in caught.value.message
    stage.fault = None
    with pytest.raises(ModelLoadFailed):
        residents.load("a")
    stage.now += RETRY_S
    residents.load("a")
    assert states(residents) == {"a": "loaded"}


def test_loads_are_counted(stage: Stage, made: Any) -> None:
    residents = made("a", "b", rules=Rules())
    stage.load_s = 2.0
    residents.load("a")
    residents.unload("a", 0.0)
    residents.load("a")
    stage.fault = ModelLoadError("no")
    with pytest.raises(ModelLoadFailed):
        residents.load("b")
    loads = residents.status("a").loads
    assert (loads.count, loads.failures, loads.seconds, loads.last_s) == (2, 0, 4.0, 2.0)
    assert (residents.status("b").loads.count, residents.status("b").loads.failures) == (0, 1)


def test_a_file_that_has_grown_needs_more_room(stage: Stage, made: Any) -> None:
    sizes = {"a": 10, "b": 10}
    residents = made(
        "a",
        "b",
        rules=Rules(Room(bytes=20)),
        look=lambda model: replace(model, bytes=sizes[model.name]),
    )
    residents.load("a")
    residents.load("b")
    assert states(residents) == {"a": "loaded", "b": "loaded"}
    residents.unload("a", 0.0)
    sizes["a"] = 11
    residents.load("a")
    assert states(residents) == {"a": "loaded", "b": "not_loaded"}
    residents.unload("a", 0.0)
    sizes["a"] = 21
    with pytest.raises(NoRoomForModel):
        residents.load("a")


def test_how_far_a_load_is(stage: Stage, made: Any) -> None:
    residents = made("a")
    stage.may_load.clear()
    lease = residents.lease("a")
    until(lambda: states(residents)["a"] == "loading")
    assert residents.status("a").progress is None
    until(lambda: stage.report is not Stage.report)
    stage.report(0.25)
    assert residents.status("a").progress == residents.info("a").residence.progress == 0.25
    stage.may_load.set()
    assert settled(lease) and residents.status("a").progress is None
    stage.report(1.0)  # it comes late
    assert residents.status("a").progress is None


def test_a_process_that_ended_is_started_again(stage: Stage, made: Any) -> None:
    residents = made("a")
    residents.load("a")
    stage.children["a"].ended = True
    assert settled(residents.lease("a"))
    assert stage.events == ["a", "a"]


def test_a_pinned_one_is_started_again_at_once(stage: Stage, made: Any) -> None:
    residents = made("a", pinned=True)
    residents.load("a")
    stage.now = RETRY_S
    stage.children["a"].ended = True
    residents.pin("a", pinned=True)  # it looks now, and not within a second
    until(lambda: stage.events == ["a", "a"])
    until(lambda: states(residents) == {"a": "loaded"})
    stage.children["a"].ended = True  # it ended at once: not before the next request
    residents.pin("a", pinned=True)
    until(lambda: states(residents) == {"a": "not_loaded"})
    assert stage.events == ["a", "a"]


def test_a_client_that_leaves_takes_its_place_with_it(stage: Stage, made: Any) -> None:
    residents = made("a", "b")
    with residents.lease("a") as lease:
        assert settled(lease)
        with residents.lease("b") as gone:
            assert is_waiting(gone)
    residents.load("a")
    assert stage.events == ["a"]


def test_after_the_end_nothing_is_loaded(stage: Stage, made: Any) -> None:
    residents = made("a")
    residents.load("a")
    residents.close()
    assert stage.children["a"].ended
    with pytest.raises(ShuttingDown):
        settled(residents.lease("a"))


class Breaking(EchoEngine):
    """Its process ends in the middle of an answer."""

    child: FakeChild

    def generate(self, request: GenerateRequest) -> Any:
        yield from [next(iter(super().generate(request)))]
        self.child.ended = True
        raise UpstreamUnreachable("gone")


class Ranking(EchoEngine):
    def score_documents(self, query: str, documents: Sequence[str]) -> ScoreBatches:
        yield Scores(tuple(float(len(each)) for each in documents), 7)

    def pair_tokens(self, query: str, document: str) -> int:
        raise AssertionError("the model need not be loaded for that")


def test_a_rerank_model_is_one_of_them(stage: Stage, made: Any) -> None:
    stage.engine = lambda name: Ranking(name=name)
    encoder = ResidentEncoder(made("a"), "a")
    assert encoder.pair_tokens("ab", "abcdef") > 0 and stage.events == []
    batches = [each for each in encoder.score_documents("q", ["a", "abc"]) if each is not None]
    assert batches == [Scores((1.0, 3.0), 7)] and stage.events == ["a"]
    with pytest.raises(NotSupported):
        encoder.generate(GenerateRequest("Hello"))


def test_a_crash_is_told_as_one(stage: Stage, made: Any) -> None:
    stage.engine = lambda name: Breaking(name=name)
    residents = made("a")
    residents.load("a")
    engine = stage.children["a"].engine
    assert isinstance(engine, Breaking)
    engine.child = stage.children["a"]
    with pytest.raises(EngineUnreachable) as caught:
        list(ResidentEngine(residents, "a").generate(GenerateRequest("Hello")))
    assert caught.value.status == 503 and caught.value.headers["Retry-After"]


def test_unloading_gives_answers_their_time_and_then_ends_them(stage: Stage, made: Any) -> None:
    stage.engine = lambda name: PacedEngine(endless=True, pace=0.01)
    residents = made("a")
    errors: list[APIError] = []

    def answer() -> None:
        try:
            for _ in ResidentEngine(residents, "a").generate(GenerateRequest("x")):
                pass
        except APIError as error:
            errors.append(error)

    thread = threading.Thread(target=answer)
    thread.start()
    until(lambda: residents.statuses()[0].running == 1)
    residents.unload("a", 0.05)
    thread.join(SOON_S)
    assert [type(error) for error in errors] == [ModelChanged]
    assert states(residents) == {"a": "not_loaded"}
