"""From the first signal to the exit status.

SIGINT (Ctrl-C), SIGTERM and SIGHUP (unless started under nohup) ask for a clean stop, and so end
with status 0, also while extensions start or a model is downloaded. A second Ctrl-C ends at once
with status 130. After `STOP_SECONDS` the process ends in any case.

Once there is something that can read its settings again, SIGHUP asks for that instead, unless it
came because the terminal that the process was started from is gone.

Only while a model is being loaded they end the process at once, the way the system does it (a shell
shows status 130 or 143): the native code may hold Python's lock for minutes, and then nothing
written in Python could answer. There is nothing to end gracefully yet. SIGHUP without a terminal is
not about the end then, and is ignored.

The signals are read by a thread of their own, because the main thread may be inside native code
for a long time (a download), where Python runs no signal handler.
"""

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

log = logging.getLogger(__name__)

STOP_SECONDS = 10.0
"""From the first signal to the end of the process, at most."""
HOOK_SECONDS = 8.5
"""The part of it that extensions get for their `stop`."""
ONE_KEYPRESS = 0.3
"""Seconds in which a second SIGINT is the same Ctrl-C, delivered by a wrapper as well."""
FORCED = 128 + signal.SIGINT


class Lifecycle:
    """Owns the signals of the process. Make one, in the main thread, and call `install` there."""

    def __init__(
        self, stop: Callable[[float], None], reload: Callable[[], bool] = lambda: False
    ) -> None:
        """`stop(seconds)` ends what is running; it is called once, from a thread of its own.

        `reload()` begins to read settings again and returns at once; False where nothing can.
        """
        self._stop = stop
        self._reload = reload
        self._had_terminal = _has_terminal()
        self._stopping_since: float | None = None
        self._serving = threading.Event()
        self._stopped = threading.Event()
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        threading.Thread(target=self._watch, name="signals", daemon=True).start()

    @property
    def stopping(self) -> bool:
        """Whether a stop was asked for."""
        return self._stopping_since is not None

    def install(self) -> None:
        """Take over the signals; again after anything that may have set handlers of its own."""
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for each in _stop_signals():
            signal.signal(each, _noticed)

    @contextmanager
    def native(self) -> Iterator[None]:
        """Leave the signals to the system while native code runs that may hold Python's lock."""
        stops = _stop_signals()
        if not self.stopping:
            for each in stops:
                waits = _is_hang_up(each) and not self._had_terminal
                signal.signal(each, signal.SIG_IGN if waits else signal.SIG_DFL)
        try:
            yield
        finally:
            # The native code may have set handlers of its own, too; and ignoring was for now only.
            for each in stops:
                signal.signal(each, _noticed)
            self.install()

    def begin_work(self) -> None:
        """From now on the main thread ends the process after a stop, by `wait`."""
        self._serving.set()

    def wait(self) -> int:
        """Block until a stop was asked for and is over; the exit status."""
        self.begin_work()
        self._stopped.wait()
        return 0

    def _watch(self) -> None:
        """Read the numbers of the signals that arrive, for as long as the process lives."""
        while True:
            for number in self._reader.recv(64):
                if number not in _stop_signals():
                    continue
                if self._stopping_since is None and _is_hang_up(number) and self._reloads():
                    continue
                if self._stopping_since is None:
                    self._stopping_since = time.monotonic()
                    log.info("stopping (%s)", signal.Signals(number).name)
                    threading.Thread(target=self._shut_down, name="stop", daemon=True).start()
                    threading.Thread(target=_end_later, name="deadline", daemon=True).start()
                elif (
                    number == signal.SIGINT
                    and time.monotonic() - self._stopping_since > ONE_KEYPRESS
                ):
                    os._exit(FORCED)

    def _reloads(self) -> bool:
        """Begin to read settings again, unless the terminal has gone, which means to stop."""
        return _has_terminal() >= self._had_terminal and self._reload()

    def _shut_down(self) -> None:
        self._stop(HOOK_SECONDS)
        if self._serving.is_set():
            # The main thread returns, and the interpreter ends as it should.
            self._stopped.set()
        else:
            # The main thread is somewhere in a download or a load and won't come back soon.
            _end(0)


def _noticed(signum: int, frame: FrameType | None) -> None:
    """Replaces the default action; the work is done by the reader of the wakeup socket."""


def _stop_signals() -> tuple[int, ...]:
    hang_up = getattr(signal, "SIGHUP", None)
    # nohup works by ignoring SIGHUP, and that wish is kept.
    if hang_up is None or signal.getsignal(hang_up) == signal.SIG_IGN:
        return (signal.SIGINT, signal.SIGTERM)
    return (signal.SIGINT, signal.SIGTERM, hang_up)


def _is_hang_up(number: int) -> bool:
    return number == getattr(signal, "SIGHUP", None)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except (OSError, AttributeError):
        return False
    return True


def _end_later() -> None:
    time.sleep(STOP_SECONDS - 0.5)
    log.warning("not everything stopped in time")
    os._exit(0)


def _end(status: int) -> None:
    # A reader that has gone away must not keep the process from ending.
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)
