"""The answers that are made in the background: bounded for each owner, and known to be under way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar

from ..errors import RateLimited, StoreUnavailable

RENEWAL_SECONDS = 1.0
"""Within this time others see how far an answer is, and one that another server has ended stops here."""
RETRY_AFTER_S = 5.0


class BackgroundAnswer(Protocol):
    """One answer under way."""

    @property
    def is_stored(self) -> bool:
        """Whether others can know of it."""

    def news(self) -> bytes | None:
        """What others may read of it so far, if that is more than the last time."""

    def stop(self) -> None:
        """Another has ended it."""


Answer = TypeVar("Answer", bound=BackgroundAnswer)


class BackgroundAnswers(Generic[Answer]):
    """Those of one server. Thread-safe."""

    def __init__(
        self,
        renew: Callable[[Mapping[str, bytes | None]], set[str]],
        *,
        renewal: float = RENEWAL_SECONDS,
    ) -> None:
        """`renew` notes every `renewal` seconds that the answers with these ids are under way here, and what
        is new of each; it returns which of them still are. It may raise StoreUnavailable."""
        self._renew, self._renewal = renew, renewal
        self._lock = threading.Lock()
        self._answers: dict[tuple[str, str], Answer] = {}
        self._renewing = False

    def add(self, owner: str, id: str, answer: Answer, most: int) -> None:
        """Raises RateLimited if the owner has `most` already."""
        with self._lock:
            mine = sum(each == owner for each, _ in self._answers)
            if mine >= most:
                raise RateLimited(
                    f"{mine} answers of this key are made in the background; more are not allowed at the "
                    "same time.",
                    retry_after=RETRY_AFTER_S,
                )
            self._answers[owner, id] = answer
            if not self._renewing:
                self._renewing = True
                threading.Thread(
                    target=self._keep_renewing, name="openai-background-leases", daemon=True
                ).start()

    def find(self, owner: str, id: str) -> Answer | None:
        return self._answers.get((owner, id))

    def remove(self, owner: str, id: str) -> None:
        with self._lock:
            self._answers.pop((owner, id), None)

    def _keep_renewing(self) -> None:
        """As long as anything is under way."""
        pause = threading.Event()
        while not pause.wait(self._renewal):
            with self._lock:
                answers = dict(self._answers)
                if not answers:
                    self._renewing = False
                    return
            stored = {id: answer for (_, id), answer in answers.items() if answer.is_stored}
            try:
                there = self._renew({id: answer.news() for id, answer in stored.items()})
            except StoreUnavailable:
                continue  # it is in the log; the next time may work
            for id, answer in stored.items():
                if id not in there:
                    answer.stop()
