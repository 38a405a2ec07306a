"""Asks servers for their health, in a thread of its own while there are requests."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from ..remote.http_client import HttpClient, ReaderLeft, Silent, Unreachable
from .targets import Targets

log = logging.getLogger("openedai")

EVERY_S = 5.0
IDLE_S = 60.0
"""Without requests, after which nothing is asked."""
NO_SUCH_ENDPOINT = (401, 403, 404, 405, 501)


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """Where a server says how it is."""

    client: HttpClient
    path: str

    def is_healthy(self) -> bool | None:
        """None: the server does not say."""
        try:
            with self.client.request("GET", self.path) as reply:
                reply.finish()
                status = reply.status
        except (Unreachable, Silent, ReaderLeft):
            return False
        return None if status in NO_SUCH_ENDPOINT else status < 500


class HealthWatch:
    """Asks each server that has a check. Thread-safe."""

    def __init__(self, checks: Mapping[str, HealthCheck], every: float = EVERY_S) -> None:
        """`checks`: by the names of targets."""
        self._checks = dict(checks)
        self._every = every
        self._lock = threading.Lock()
        self._wanted_at = 0.0
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    def wake(self, targets: Targets) -> None:
        """There is a request: watch for a while."""
        self._wanted_at = time.monotonic()
        if self._thread is not None or not self._checks or self._closing.is_set():
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, args=(targets,), name="openai-health", daemon=True
                )
                self._thread.start()

    def _run(self, targets: Targets) -> None:
        while not self._closing.is_set():
            for target in targets.all:
                check = self._checks.get(target.name)
                healthy = None if check is None else check.is_healthy()
                if healthy is not None and healthy != target.is_healthy:
                    log.warning("%s is %s", target.name, "up again" if healthy else "down")
                if healthy is not None:
                    targets.set_health(target, is_healthy=healthy)
            self._closing.wait(self._every)
            with self._lock:
                if time.monotonic() - self._wanted_at > IDLE_S:
                    self._thread = None
                    return

    def close(self) -> None:
        self._closing.set()
        for check in self._checks.values():
            check.client.retire()  # the thread may be asking
