"""One connection of waitress: who reads and writes, and what the reaper has to know of it."""

from __future__ import annotations

import io
import socket
import threading
import time
from contextlib import suppress
from functools import partial
from typing import Any

from waitress.buffers import ReadOnlyFileBasedBuffer
from waitress.channel import HTTPChannel

from ..web.head_check import HeadCheck, Judgement
from .bodies import HeldBytes
from .limits import DEFAULT_LIMITS
from .parser import StrictParser
from .socket_state import is_readable_within, peer_has_closed
from .task import AnswerTask, EnvelopeErrorTask, Slow

RATE = 1000  # bytes a second: slower than that is too slow, in both directions
NEXT_REQUEST_WAIT_S = 0.01  # that a thread waits for the next request of the same client
LARGE = 256 << 10  # bytes of an answer that are not copied into a buffer
DISCONNECT_POLL_S = 0.05  # between two looks whether the client of a waiting thread has left


class _Judging:
    """A look at a head that takes time, in a thread."""

    def __init__(self, channel: Channel, request: Any, environ: dict[str, Any]) -> None:
        self._channel = channel
        self._request = request
        self._environ = environ

    def service(self) -> None:
        self._channel.judged(self._request, self._channel.head_check.judge(self._environ))

    def cancel(self) -> None:
        """The server stops, and closes the connection."""


class _QuietServer:
    """The server as a channel sees it: waitress wakes its loop after every request, and each time that costs
    a change of threads. It is woken only when there is something for it to do."""

    def __init__(self, server: Any, channel: Channel) -> None:
        self._server = server
        self._channel = channel

    def pull_trigger(self) -> None:
        if self._channel.needs_loop:
            self._server.pull_trigger()

    def add_task(self, channel: Channel) -> None:
        """A request is complete. The thread that is at work on the connection answers it itself."""
        if channel.worker == threading.get_ident():
            channel.next_is_here = True
        else:
            self._server.add_task(channel)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)


class Channel(HTTPChannel):
    """A connection. Its times are of `time.monotonic()`."""

    task_class = AnswerTask
    error_task_class = EnvelopeErrorTask

    held: HeldBytes
    """Of all connections; the server sets it on a class of its own."""
    head_check: HeadCheck
    """Likewise."""
    limits = DEFAULT_LIMITS
    """Likewise."""
    deaf = False
    """No other request is taken after one that was refused, as its body may still come."""
    judging = False
    """A thread looks whether the body is wanted; none of it is read meanwhile."""

    lingers = False
    """A client may still be sending what was refused. Were the connection closed at once, the system would
    answer that with a reset, and the client would lose the refusal."""

    # A client that asks again at once will do so once more. Each time its request would change threads twice,
    # to the loop and back. So the thread that answers stays and reads from the connection itself, and the
    # loop does not, until it is given back. Only the loop's thread hands it over, so two never read at once.
    kept = False
    """Whether the thread at work stays with it, and the loop does not read."""
    worker: int | None = None
    """The thread at work on its answers."""
    next_is_here = False
    """The next request, for the thread at work."""

    def __init__(self, server: Any, *args: Any, **kwargs: Any) -> None:
        self._first_parts: list[bytes] | None = None
        self.quiet_since = time.monotonic()
        """Since it was opened, or its last answer was complete."""
        self._answered = False
        self._is_quick = False
        self._glanced = 0.0
        self._left = False
        self.arriving: tuple[float, int] | None = None
        """Since when its request is watched, and `came` then; the reaper's own note."""
        self.came = 0
        """Bytes of a request that has begun and is not complete."""
        self.begun = 0.0
        """When that request began."""
        self.sent = 0
        """Bytes to the client so far."""
        self.lingering_until: float | None = None
        self._lingering_at_most = 0.0
        self.watched: tuple[float, int] | None = None
        """Since when it has bytes to send, and `sent` then; the reaper's own note."""
        self._loop = server
        self.parser_class: Any = partial(StrictParser, held=self.held)
        super().__init__(_QuietServer(server, self), *args, **kwargs)  # type: ignore[arg-type]

    @property
    def is_idle(self) -> bool:
        """Nothing is being answered or sent."""
        return not self.requests and not self.total_outbufs_len

    @property
    def needs_loop(self) -> bool:
        """Whether the loop has to write, to close, or to read again after it had stopped reading."""
        return bool(
            self.total_outbufs_len
            or self.will_close
            or self.close_when_flushed
            or len(self.requests) >= self.adj.channel_request_lookahead
        )

    def hold(self) -> None:
        """Keep what is written, until `release`."""
        self._first_parts = []

    def release(self) -> None:
        parts, self._first_parts = self._first_parts, None
        if parts:
            self.write_soon(b"".join(parts))

    def write_soon(self, data: Any) -> int:
        """Send at once, from the thread that writes, what goes out without waiting; the rest later."""
        if self._first_parts is not None:
            if len(data) <= LARGE:
                self._first_parts.append(data)
                return len(data)
            self.release()
        if isinstance(data, bytes) and len(data) > LARGE:
            # As it is, in memory: it is sent from there in parts, and the thread is free for others.
            data = ReadOnlyFileBasedBuffer(io.BytesIO(data))
            data.prepare()
        if isinstance(data, bytes) and data and self.connected:
            with self.outbuf_lock:
                if not self.total_outbufs_len and self.connected:
                    sent = self.send(data, do_close=False)
                    if sent == len(data):
                        self.last_activity = time.time()
                        return sent
                    return sent + super().write_soon(data[sent:])
        return super().write_soon(data)

    def received(self, data: bytes) -> bool:
        if self.deaf:
            return False
        if self.request is None:
            self.came, self.begun = 0, time.monotonic()
            last = time.monotonic() if self.requests else self.quiet_since
            self._is_quick = self._answered and self.begun - last < NEXT_REQUEST_WAIT_S
        self.came += len(data)
        taken = super().received(data)
        if self.request is None:
            self.came = 0
            if self._is_quick:
                with self.requests_lock:  # type: ignore[attr-defined]  # the stubs leave it out
                    # Where it is answered already, its thread may have left.
                    self.kept = bool(self.requests)
        self._look_at_head()
        return taken

    def _look_at_head(self) -> None:
        """Ask whether the body of a request is wanted whose head has come."""
        with self.requests_lock:  # type: ignore[attr-defined]
            request: Any = self.request
            if request is None or not request.headers_finished or request.judged:
                return
            request.judged = True
        environ = AnswerTask(self, request).get_environment()
        judgement = self.head_check.judge_at_once(environ)
        if judgement is None and self.worker == threading.get_ident():
            judgement = self.head_check.judge(environ)
        if judgement is None:
            self.judging = True
            self._loop.task_dispatcher.add_task(_Judging(self, request, environ))
        else:
            self.judged(request, judgement)

    def judged(self, request: Any, judgement: Judgement) -> None:
        """Let the body come, or answer without it. From any thread."""
        with self.requests_lock:  # type: ignore[attr-defined]
            self.judging = False
            is_there = self.request is request and self.connected
            if is_there and not (self.will_close or self.close_when_flushed):
                if judgement.wanted:
                    request.let_in()
                else:
                    request.refuse_body(judgement.refusal)
                if request.unread or request.error:
                    self._answer_head(request)
                elif request.waits:
                    request.expect_continue = True
                    if not self.requests and not self.sent_continue:
                        self.send_continue()
        if self.worker != threading.get_ident():
            self._loop.pull_trigger()

    def _answer_head(self, request: Any) -> None:
        """The request is complete as it is. With the lock on requests."""
        request.completed = self.deaf = True
        self.request = None
        self.came = 0
        waiting: list[Any] = self.requests  # type: ignore[assignment]  # the stubs say a sequence
        waiting.append(request)
        if len(self.requests) == 1:
            self.server.add_task(self)  # type: ignore[arg-type]  # as waitress itself does

    def service(self) -> None:
        """Answer a request, and those that follow it at once. waitress calls it in a thread of the pool."""
        me = threading.get_ident()
        with self.requests_lock:  # type: ignore[attr-defined]
            self.worker = me
        try:
            self._answer()
            while self._next_comes():
                self._answer()
        finally:
            with self.requests_lock:  # type: ignore[attr-defined]
                given_back = follows = False
                if self.worker == me:  # and not another one, for a request that has come meanwhile
                    given_back, follows = self.kept, self.next_is_here
                    self.worker, self.kept, self.next_is_here = None, False, False
            if given_back:  # the loop does not know yet
                self._loop.pull_trigger()
            if follows:
                self._loop.add_task(self)

    def _answer(self) -> None:
        self.next_is_here = False
        super().service()
        self.quiet_since = time.monotonic()
        self._answered = True

    def _next_comes(self) -> bool:
        """Whether there is a next request, for which one that stays waits a moment."""
        deadline = self.quiet_since + NEXT_REQUEST_WAIT_S
        while not self.next_is_here:
            if not self.kept:
                return False
            sock, left = self.socket, deadline - time.monotonic()
            closing = self.will_close or self.close_when_flushed
            if sock is None or closing or self.total_outbufs_len or left <= 0:
                return False
            try:
                if not is_readable_within(sock, left):
                    return False
                data = sock.recv(self.adj.recv_bytes)
            except (OSError, ValueError):
                return False
            if not data:  # its end, which the loop will find as well
                return False
            self.last_activity = time.time()
            self.received(data)
        return not self._loop.task_dispatcher.is_pressed

    def check_client_disconnected(self) -> bool:  # type: ignore[override]  # the stubs are wrong
        """Whether the client has hung up. Of one that a thread stays with the loop does not know."""
        if self.kept and self.connected and not self._left:
            now = time.monotonic()
            if now - self._glanced > DISCONNECT_POLL_S and self.socket is not None:
                self._glanced = now
                self._left = peer_has_closed(self.socket)
        return self._left or not self.connected

    def send(self, data: bytes, do_close: bool = True) -> int:
        count = super().send(data, do_close)
        self.sent += count
        return count

    def _flush_some(self, do_close: bool = True) -> bool:
        # While no request is complete the loop takes no lock, though a thread may send "100 Continue" then.
        with self.outbuf_lock:
            return bool(super()._flush_some(do_close))  # type: ignore[misc]  # the stubs leave it out

    def readable(self) -> bool:
        if self.lingering_until is not None:
            return True
        return not (self.kept or self.judging or self.deaf) and super().readable()

    def writable(self) -> bool:
        return self.will_close or (self.lingering_until is None and super().writable())

    def handle_read(self) -> None:
        if self.lingering_until is None:
            super().handle_read()
        elif self.recv(self.adj.recv_bytes):  # it closes the channel at the end
            self.lingering_until = min(
                time.monotonic() + self.limits.lingering, self._lingering_at_most
            )

    def handle_write(self) -> None:
        if self.lingers and self.close_when_flushed and not self.total_outbufs_len:
            self.lingers = self.close_when_flushed = False
            now = time.monotonic()
            self.lingering_until = now + self.limits.lingering
            self._lingering_at_most = now + self.limits.lingering_at_most
            if self.socket is not None:
                with suppress(OSError):
                    self.socket.shutdown(socket.SHUT_WR)
            return
        super().handle_write()

    def refuse_slow(self) -> None:
        """Answer a request that does not come to its end, and close. From any thread."""
        with self.requests_lock:  # type: ignore[attr-defined]  # the stubs leave it out
            request = self.request
            if request is None or self.requests or self.will_close or self.close_when_flushed:
                return
            request.error = Slow("")
            self._answer_head(request)

    def handle_close(self) -> None:
        request = self.request
        if request is not None:
            request.close()  # what has come of its body
        super().handle_close()

    def hang_up(self) -> None:
        """Close it, whatever it does; who works on an answer for it notices. From any thread."""
        self.will_close = True
        self.server.pull_trigger()
        sock = self.socket
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def is_too_slow(self, now: float, patience: float) -> bool:
        """Whether a request has begun, and in `patience` seconds less than 1,000 bytes a second have come.

        What came fast before buys no time: a client that sends megabytes and stops would hold them for hours.
        """
        if not self.came or not self.is_idle:
            self.arriving = None
            return False
        begun = max(self.begun, self.quiet_since)
        if self.arriving is None or self.arriving[0] < begun:
            self.arriving = begun, 0
        if self.came - self.arriving[1] >= RATE * patience:
            self.arriving = now, self.came
        return now - self.arriving[0] > patience

    def is_stalled(self, now: float, patience: float) -> bool:
        """Whether in `patience` seconds less than 1,000 bytes a second have been read of what waits."""
        if not self.total_outbufs_len:
            self.watched = None
            return False
        if self.watched is None or self.sent - self.watched[1] >= RATE * patience:
            self.watched = now, self.sent
        return now - self.watched[0] >= patience
