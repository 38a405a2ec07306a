"""A slot of the engine, for what a model does besides writing text."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

from ..errors import RequestStopped
from .plan import Served

T = TypeVar("T")


def run_in_slot(
    served: Served, begin: Callable[[], Generator[T | None, None, None]]
) -> Generator[T | None, None, None]:
    """Wait for a slot, then yield what `begin` does. Raises the errors of the scheduler and the engine, and
    RequestStopped."""
    request = served.request
    slots = served.info.parallel
    with request.request_slot(served.scheduler, slots, further=False) as ticket:
        while not ticket.granted and not ticket.wait():
            yield None
        # Lets the reader notice that the client hung up while it waited.
        yield None
        request.note_slot()
        work = begin()
        try:
            for each in work:
                if request.stopped:
                    raise RequestStopped
                yield each
        finally:
            work.close()
