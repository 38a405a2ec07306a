"""Lines of batches that are not answered at once: limits of keys, engines that fail, other servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import update

from extensions.openai.access.key_files import KeyFiles
from extensions.openai.engines.protocol import GenerateRequest, Pieces
from extensions.openai.errors import EngineOutOfMemory
from extensions.openai.observability.record import RequestRecord
from extensions.openai.settings import Settings
from extensions.openai.state.stored_batch import Batch
from extensions.openai.state.tables import batch_lines, batches
from extensions.openai.web.app import ROUTES, create_app
from extensions.openai.web.batches import line_requests, line_threads, runner
from extensions.openai.web.pipeline import RequestPipeline
from extensions.openai.web.services import Services
from tests.support.batches import PATIENCE_S, batch_of, chat_line, lines_in, read_lines, settled
from tests.support.keys import headers_of
from tests.support.paced import PacedEngine

ROUTE = "POST /v1/chat/completions"


class Engine(PacedEngine):
    """It has no memory for poison."""

    def __init__(self, parallel: int) -> None:
        super().__init__(parallel=parallel)
        self.asked: list[str] = []

    def generate(self, request: GenerateRequest) -> Pieces:
        self.asked.append(str(request.prompt))
        if "poison" in request.prompt:
            raise EngineOutOfMemory("The memory is full.")
        return super().generate(request)


class Here:
    """A server with keys of two clients; its engine says nothing before its gate is opened."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.settings = Settings(**{"data_folder": str(folder), "rpm": 0, **options})
        self.keys = headers_of(self.settings, "ann", "bob")
        self.engine = Engine(4)
        self.engine.gate.clear()
        self.client = create_app(self.settings, self.engine).test_client()
        self.services: Services = self.client.application.extensions["openai"]
        self.services.observers.append(self._observe)
        self.lines: list[RequestRecord] = []
        """That have ended."""
        self._changed = threading.Condition()

    def begin(self, *lines: bytes, key: str = "ann") -> Batch:
        id = batch_of(self.client, b"".join(lines), headers=self.keys[key])["id"]
        return next(each for each in self.services.store.batches.active() if each.id == id)

    def now(self, batch: Batch) -> Batch:
        """Not by a request, which would count for the key."""
        return self.services.store.batches.get(batch.owner, batch.id)

    def wait(self, seen: Callable[[], bool]) -> None:
        """Until it is so, of lines that have ended."""
        with self._changed:
            assert self._changed.wait_for(seen, PATIENCE_S)

    def end(self) -> None:
        self.engine.gate.set()
        self.services.batches.wake()
        settled(self.client.application)

    def _observe(self, record: RequestRecord) -> None:
        if record.route == ROUTE:
            with self._changed:
                self.lines.append(record)
                self._changed.notify_all()


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Here]]:
    monkeypatch.setattr(line_requests, "MAX_WAIT_S", 0.02)
    monkeypatch.setattr(line_requests, "MIN_WAIT_S", 0.02)
    begun: list[Here] = []

    def make(**options: Any) -> Here:
        begun.append(Here(tmp_path, **options))
        return begun[-1]

    yield make
    for each in begun:
        each.end()
        each.services.store.close()


def test_a_key_at_its_limit_waits(start: Callable[..., Here]) -> None:
    here = start(concurrent=1)
    made = here.begin(*(chat_line(f"{n}", f"{n}") for n in range(3)))
    here.wait(lambda: [each.status for each in here.lines].count(429) > 3)
    assert here.now(made).failed == 0
    here.end()
    assert (here.now(made).status, here.now(made).completed) == ("completed", 3)


def test_a_limit_of_one_key_does_not_blind_the_server(
    start: Callable[..., Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MIN_WAIT_S", "MAX_WAIT_S"):
        monkeypatch.setattr(line_requests, name, 2 * PATIENCE_S)
    monkeypatch.setattr(runner, "SOON_S", 0.0)
    here = start(concurrent=1)
    here.begin(*(chat_line(f"{n}", f"{n}") for n in range(3)))
    other = here.begin(chat_line("a", "a"), key="bob")
    here.wait(lambda: 429 in [each.status for each in here.lines])
    assert here.engine.wait_for_active(2)
    # As another server would.
    here.services.store.batches.cancel(other.owner, other.id)
    assert here.engine.wait_for_active(1, PATIENCE_S)
    for each in here.services.store.batches.active():
        here.services.store.batches.cancel(each.owner, each.id)


def test_lines_of_a_revoked_key_are_a_401(start: Callable[..., Here]) -> None:
    here = start(batch_lines=1)
    made = here.begin(*(chat_line(f"{n}", "x") for n in range(3)))
    assert here.engine.wait_for_active(1, PATIENCE_S)
    KeyFiles.of(here.settings).revoke("ann")
    here.end()
    done = here.now(made)
    assert (done.status, done.completed, done.failed) == ("completed", 1, 2)
    written = b"".join(here.services.store.files.read(done.owner, str(done.error_file)))
    assert [line["response"]["status_code"] for line in read_lines(written)] == [401, 401]


def test_keys_take_turns(start: Callable[..., Here]) -> None:
    here = start(batch_lines=1)
    begun = [
        here.begin(*(chat_line(f"{n}", "x") for n in range(6)), key=key) for key in ("ann", "bob")
    ]
    ends, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while any(here.now(each).status != "in_progress" for each in begun):
        assert time.monotonic() < ends
        pause.wait(0.01)
    here.end()
    turns = [each.caller.name for each in here.lines]
    assert turns.count("bob") == 6 and turns[:6].count("bob") >= 2


def test_batches_of_a_key_take_turns(start: Callable[..., Here]) -> None:
    here = start(batch_lines=1)
    here.begin(*(chat_line(f"{n}", "one") for n in range(6)))
    assert here.engine.wait_for_active(1, PATIENCE_S)
    others = [here.begin(*(chat_line(f"{n}", text) for n in range(3))) for text in ("two", "three")]
    for other in others:
        while here.now(other).status != "in_progress":
            pass
    here.services.batches.wake()
    here.end()
    asked = here.engine.asked
    # The two that waited come first, then all three in turn while each has lines.
    assert asked[0] == "one" and sorted(asked[1:3]) == ["three", "two"]
    for turn in (asked[3:6], asked[6:9]):
        assert sorted(turn) == ["one", "three", "two"]
    assert asked[9:] == ["one"] * 3


def test_lines_that_begin_alike_are_answered_one_after_the_other(
    start: Callable[..., Here],
) -> None:
    here = start(batch_lines=1)
    begins = ("a" * 70, "b" * 70, "c" * 70)
    texts = [f"{each} {n}" for n in range(4) for each in begins]
    here.begin(*(chat_line(text, text) for text in texts))
    here.end()
    assert sorted(here.engine.asked) == sorted(texts)
    assert len([first for first, _ in groupby(here.engine.asked, itemgetter(0))]) == 3


def test_a_window_that_is_over(start: Callable[..., Here]) -> None:
    here = start(batch_lines=2)
    made = here.begin(
        chat_line("wrong", "x", temperature="hot"), *(chat_line(f"{n}", "x") for n in range(5))
    )
    assert here.engine.wait_for_active(2, PATIENCE_S)
    while not here.now(made).failed:
        pass
    database = here.services.store.database
    database.write(lambda connection: connection.execute(update(batches).values(ends=1)))
    here.services.batches.wake()
    settled(here.client.application)  # though the gate is closed
    assert here.engine.wait_for_active(0)
    more = {"headers": here.keys["ann"]}
    done = here.client.get(f"/v1/batches/{made.id}", **more).get_json()
    assert done["status"] == "expired" and done["expired_at"] >= done["created_at"]
    assert done["request_counts"] == {"total": 6, "completed": 0, "failed": 6}
    lines = lines_in(here.client, done["error_file_id"], **more)
    codes = {line["custom_id"]: line["error"] and line["error"]["code"] for line in lines}
    assert len(lines) == 6 and codes.pop("wrong") is None
    assert codes == dict.fromkeys(map(str, range(5)), "batch_expired")


def test_a_line_that_makes_the_engine_fail_is_tried_some_times(
    start: Callable[..., Here],
) -> None:
    here = start()
    made = here.begin(chat_line("bad", "poison"), chat_line("good", "x"))
    here.end()
    done = here.now(made)
    assert (done.status, done.completed, done.failed) == ("completed", 1, 1)
    assert [each.status for each in here.lines].count(503) == runner.MAX_FAILURES


def test_time_in_the_queue_is_not_that_of_a_line(start: Callable[..., Here]) -> None:
    here = start()
    made = here.begin(*(chat_line(f"{n}", "x") for n in range(3)))
    # The last slot of four is not for batches.
    assert here.engine.wait_for_active(3, PATIENCE_S)
    waits = here.begin(chat_line("a", "a", timeout=0.02), key="bob")
    here.wait(lambda: [each.status for each in here.lines].count(408) > 2)
    assert here.now(waits).failed == 0
    here.services.store.batches.cancel(waits.owner, waits.id)
    here.end()
    assert here.now(made).completed == 3 and here.now(waits).status == "cancelled"


def test_a_line_gives_its_slot_to_a_request_and_is_answered_again(
    start: Callable[..., Here],
) -> None:
    here = start()
    made = here.begin(*(chat_line(f"{n}", "x") for n in range(5)))
    assert here.engine.wait_for_active(3, PATIENCE_S)
    url, more = "/v1/chat/completions", {"headers": here.keys["bob"]}
    body = {"model": "paced", "messages": [{"role": "user", "content": "Hi"}]}
    with ThreadPoolExecutor(2) as pool:
        chats = [
            pool.submit(here.client.application.test_client().post, url, json=body, **more)
            for _ in range(2)
        ]
        # One of the three lines is ended for the second one, and goes on waiting for a slot.
        here.wait(lambda: any(each.cancelled for each in here.lines))
        assert here.engine.wait_for_active(4, PATIENCE_S)
        assert here.now(made).completed == 0
        here.engine.gate.set()
        assert [each.result().status_code for each in chats] == [200, 200]
    here.end()
    done = here.now(made)
    assert (done.status, done.completed, done.failed) == ("completed", 5, 0)
    assert here.engine.started == 5 + 2 + sum(each.cancelled for each in here.lines)


def test_a_line_gives_its_slot_up_so_often_only(
    start: Callable[..., Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "MAX_YIELDS", 0)
    here = start()
    made = here.begin(*(chat_line(f"{n}", "x") for n in range(3)))
    assert here.engine.wait_for_active(3, PATIENCE_S)
    body = {"model": "paced", "messages": [{"role": "user", "content": "Hi"}]}
    with ThreadPoolExecutor(2) as pool:
        chats = [
            pool.submit(
                here.client.application.test_client().post,
                "/v1/chat/completions",
                json=body,
                headers=here.keys["bob"],
            )
            for _ in range(2)
        ]
        queue = here.services.models.queue
        while queue().waiting < 1:
            pass
        here.engine.gate.set()
        assert [each.result().status_code for each in chats] == [200, 200]
    here.end()
    assert here.now(made).completed == 3 and not any(each.cancelled for each in here.lines)


@pytest.mark.parametrize("refused", ["openai-batch", "openai-batch-line"])
def test_it_goes_on_when_there_are_threads_again(
    start: Callable[..., Here], monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    left = [refused]

    class Thread(threading.Thread):
        def start(self) -> None:
            if self.name in left:
                left.remove(self.name)
                raise RuntimeError("can't start new thread")
            super().start()

    shim = SimpleNamespace(Thread=Thread, Condition=threading.Condition)
    monkeypatch.setattr(runner, "threading", shim)
    monkeypatch.setattr(line_threads, "threading", shim)
    monkeypatch.setattr(runner, "AGAIN_S", 0.02)
    here = start()
    made = here.begin(chat_line("a", "a"))
    here.end()
    assert left == [] and here.now(made).completed == 1


def test_a_server_sees_batches_of_a_store_that_another_made(
    start: Callable[..., Here], tmp_path: Path
) -> None:
    here = start(batch_lines=0)
    other = create_app(Settings(data_folder=str(tmp_path)), Engine(1)).extensions["openai"]
    assert not other.store.is_there
    pipeline = RequestPipeline(other, frozenset(each.endpoint for each in ROUTES))
    lines = line_requests.LineRequests(other, pipeline, ROUTES)
    helper = runner.BatchRunner(other, lines, runner.BatchTimes(look=0.05, look_idle=0.05))
    helper.start()
    try:
        made = here.begin(chat_line("a", "a"))
        here.end()
        assert here.now(made).completed == 1
    finally:
        helper.stop(PATIENCE_S)
        other.store.close()


def test_a_line_whose_claim_ran_out_here_does_not_begin_twice(start: Callable[..., Here]) -> None:
    here = start()
    here.begin(chat_line("a", "a"))
    assert here.engine.wait_for_active(1, PATIENCE_S)
    store = here.services.store
    store.database.write(lambda connection: connection.execute(update(batch_lines).values(until=1)))
    here.services.batches.wake()
    [batch] = store.batches.active()
    while store.batches.lines.left(batch, 1):
        pass
    here.end()
    assert here.engine.started == 1
