"""Batches side by side: keys share slots by their weights, the batches of a key share its part equally."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from extensions.openai.access.key_files import KeyFiles
from extensions.openai.access.signed_keys import Grant
from extensions.openai.engines.protocol import GenerateRequest, Piece, Pieces, PromptUsage
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from extensions.openai.web.services import Services
from tests.support.batches import PATIENCE_S, batch_of, chat_line, settled
from tests.support.keys import BOTH
from tests.support.paced import TICK_S, PacedEngine

SLOTS = 4
"""That batches may have: the last slot of the engine is not for them."""
OPEN_LINES = 2 * SLOTS


class TurnEngine(PacedEngine):
    """Its answers end one after the other, in the order in which they began, when the test says so."""

    def __init__(self) -> None:
        super().__init__(parallel=SLOTS + 1)
        self.begun: list[str] = []
        """The prompts, in the order in which their answers began."""
        self._changed = threading.Condition()
        self._ended = 0.0

    def generate(self, request: GenerateRequest) -> Pieces:
        with self._changed:
            self.begun.append(str(request.prompt))
            return self._answer(len(self.begun))

    def end(self, number: float) -> None:
        """So many answers may end."""
        with self._changed:
            self._ended = number
            self._changed.notify_all()

    def _answer(self, number: int) -> Pieces:
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: number <= self._ended, TICK_S):
                    break
            yield None
        yield Piece("x", tokens=1, prompt=PromptUsage(1), finish="stop")


class Here:
    """A server with keys of two clients, of which ann's has three times the weight of bob's."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(data_folder=str(folder), rpm=0, batch_lines=0)
        files = KeyFiles.of(self.settings)
        self.keys: dict[str, dict[str, str]] = {}
        for name, weight in (("ann", 3), ("bob", 1)):
            key = files.create(Grant("", name, BOTH, weight=weight))
            self.keys[name] = {"Authorization": f"Bearer {key}"}
        self.engine = TurnEngine()
        self.client = create_app(self.settings, self.engine).test_client()
        self.services: Services = self.client.application.extensions["openai"]

    def begin(self, lines: int, **batches: str) -> None:
        """A batch of so many lines for each text, of the key that is named; they begin at the same time."""
        active = self.services.store.batches.active
        for text, key in batches.items():
            content = b"".join(chat_line(f"{n}", text) for n in range(lines))
            batch_of(self.client, content, headers=self.keys[key])
        wait(lambda: [each.status for each in active()] == ["in_progress"] * len(batches))
        self.services.reload(self.settings.model_copy(update={"batch_lines": OPEN_LINES}))
        self.services.batches.wake()

    def answers(self, count: int) -> Counter[str]:
        """The prompts of the next answers, each of which ends while all slots are taken and lines wait."""
        queue = self.services.models.queue
        for number in range(1, count + 1):
            begun = number - 1 + SLOTS
            wait(lambda begun=begun: len(self.engine.begun) == begun)  # type: ignore[misc]
            wait(lambda: queue().waiting == OPEN_LINES - SLOTS)
            self.engine.end(number)
        return Counter(self.engine.begun[:count])

    def end(self) -> None:
        self.engine.end(float("inf"))
        settled(self.client.application)
        self.services.store.close()


def wait(seen: Callable[[], bool]) -> None:
    pause, ends = threading.Event(), time.monotonic() + PATIENCE_S
    while not seen():
        assert time.monotonic() < ends, "it does not come"
        pause.wait(0.002)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    made = Here(tmp_path)
    yield made
    made.end()


def test_keys_share_by_their_weights(here: Here) -> None:
    here.begin(60, ann="ann", bob="bob")
    done = here.answers(60)
    assert done.total() == 60 and abs(done["ann"] - 45) <= 3


def test_batches_of_a_key_share_its_part_equally(here: Here) -> None:
    here.begin(60, one="ann", two="ann", bob="bob")
    done = here.answers(60)
    assert abs(done["bob"] - 15) <= 3 and abs(done["one"] - done["two"]) <= 4


def test_short_lines_of_keys_take_turns(here: Here) -> None:
    """They take no slot for long, so that there is nothing to share by weight; no key waits for another."""
    here.engine.end(float("inf"))
    here.begin(100, ann="ann", bob="bob")
    settled(here.client.application)
    done = Counter(here.engine.begun[:100])
    assert min(done["ann"], done["bob"]) >= 25
