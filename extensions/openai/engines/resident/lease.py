"""The right of one answer to use a model: the model stays loaded while it is held."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from ...errors import APIError
from ..callback_bridge import TICK_S
from .model import Child


class Lease:
    """Waits for the model, then holds it. Leaving the `with` block gives it back."""

    def __init__(self, since: float, release: Callable[[Lease], None]) -> None:
        """`since`: when it was asked for; `release` is called at the end."""
        self.since = since
        self.is_revoked = False
        """Whether the model is unloaded without waiting for this answer any longer."""
        self._release = release
        self._child: Child | None = None
        self._refusal: APIError | None = None
        self._settled = threading.Event()

    def wait(self, seconds: float = TICK_S) -> Child | None:
        """Wait at most so long for the model; None: it is not there yet. Raises what it was refused with."""
        self._settled.wait(seconds)
        if self._refusal is not None:
            raise self._refusal
        return self._child

    def grant(self, child: Child) -> None:
        self._child = child
        self._settled.set()

    def refuse(self, refusal: APIError) -> None:
        self._refusal = refusal
        self._settled.set()

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give it back. Safe to call twice."""
        self._release(self)
