"""One connection of waitress: which thread reads and writes, and its state for the reaper."""

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

from ..web.head_check import BodyDecision, HeadCheck
from .bodies import BodyMemory
from .limits import DEFAULT_LIMITS
from .parser import FileBodies, StrictParser
from .socket_state import is_readable_within, peer_has_closed
from .task import AnswerTask, EnvelopeErrorTask, TooSlow

MIN_BYTES_PER_S = 1000  # in both directions; slower clients are disconnected
NEXT_REQUEST_WAIT_S = 0.01  # how long a thread waits for the next request of the same client
UNCOPIED_BYTES = 256 << 10  # larger data is not copied into a buffer
DISCONNECT_POLL_S = 0.05  # between two checks whether the client of a waiting thread has left


class _HeadCheckTask:
    """A slow check of a request's head, in a worker thread."""

    def __init__(self, channel: Channel, request: Any, environ: dict[str, Any]) -> None:
        self._channel = channel
        self._request = request
        self._environ = environ

    def service(self) -> None:
        decision = self._channel.head_check.decide(self._environ)
        self._channel.apply_decision(self._request, decision)

    def cancel(self) -> None:
        """Do nothing: the server stops, and closes the connection."""


class _QuietServer:
    """The server as a channel sees it. waitress wakes its loop after every request, which costs a thread
    switch each time. This wakes it only when there is work for it."""

    def __init__(self, server: Any, channel: Channel) -> None:
        self._server = server
        self._channel = channel

    def pull_trigger(self) -> None:
        if self._channel.needs_loop:
            self._server.pull_trigger()

    def add_task(self, channel: Channel) -> None:
        """Handle a complete request: the thread that works on the connection answers it itself."""
        if channel.worker == threading.get_ident():
            channel.next_request_ready = True
        else:
            self._server.add_task(channel)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)


class Channel(HTTPChannel):
    """A connection. Times are from `time.monotonic()`."""

    task_class = AnswerTask
    error_task_class = EnvelopeErrorTask

    body_memory: BodyMemory
    """Shared by all connections; each server sets it on its own subclass."""
    file_bodies: FileBodies
    """Likewise."""
    head_check: HeadCheck
    """Likewise."""
    limits = DEFAULT_LIMITS
    """Likewise."""
    ignores_input = False
    """No further request is read after a refused one, as its body may still arrive."""
    checking_head = False
    """A thread checks whether the body is wanted; it is not read meanwhile."""

    lingers = False
    """Keep reading for a while after a refusal. If the connection were closed while the client still sends,
    the system would reset it, and the client would lose the refusal."""

    # A client that sends its next request at once will do so again. Each request would switch threads twice,
    # to the loop and back. So the answering thread pins the connection and reads it itself, and the loop does
    # not, until it is released. Only the loop's thread pins it, so two threads never read at once.
    pinned = False
    """Whether the answering thread reads the connection, and the loop does not."""
    worker: int | None = None
    """The thread that answers its requests."""
    next_request_ready = False
    """Whether the next request is complete, for the answering thread."""

    def __init__(self, server: Any, *args: Any, **kwargs: Any) -> None:
        self._held_parts: list[bytes] | None = None
        self.quiet_since = time.monotonic()
        """When it was opened, or its last answer was complete."""
        self._answered = False
        self._is_quick = False
        self._polled_at = 0.0
        self._client_left = False
        self.receive_mark: tuple[float, int] | None = None
        """A time and `bytes_received` then, from which the reaper measures the client's speed."""
        self.bytes_received = 0
        """Bytes of an incomplete request."""
        self.request_started = 0.0
        """When that request began."""
        self.bytes_sent = 0
        """Bytes sent to the client so far."""
        self.lingering_until: float | None = None
        self._linger_deadline = 0.0
        self.send_mark: tuple[float, int] | None = None
        """A time and `bytes_sent` then, from which the reaper measures the client's speed."""
        self._loop = server
        self.parser_class: Any = partial(
            StrictParser, memory=self.body_memory, files=self.file_bodies
        )
        super().__init__(_QuietServer(server, self), *args, **kwargs)  # type: ignore[arg-type]

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being answered or sent."""
        return not self.requests and not self.total_outbufs_len

    @property
    def needs_loop(self) -> bool:
        """Whether the loop must write, close, or resume reading."""
        return bool(
            self.total_outbufs_len
            or self.will_close
            or self.close_when_flushed
            or len(self.requests) >= self.adj.channel_request_lookahead
        )

    def hold(self) -> None:
        """Buffer what is written, until `release`."""
        self._held_parts = []

    def release(self) -> None:
        parts, self._held_parts = self._held_parts, None
        if parts:
            self.write_soon(b"".join(parts))

    def write_soon(self, data: Any) -> int:
        """Send as much as possible at once, in this thread and without blocking; the loop sends the rest."""
        if self._held_parts is not None:
            if len(data) <= UNCOPIED_BYTES:
                self._held_parts.append(data)
                return len(data)
            self.release()
        if isinstance(data, bytes) and len(data) > UNCOPIED_BYTES:
            # The loop sends it in parts, without a copy, and this thread is free.
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
        if self.ignores_input:
            return False
        if self.request is None:
            self.bytes_received, self.request_started = 0, time.monotonic()
            last = time.monotonic() if self.requests else self.quiet_since
            self._is_quick = self._answered and self.request_started - last < NEXT_REQUEST_WAIT_S
        self.bytes_received += len(data)
        is_complete = super().received(data)
        if self.request is None:
            self.bytes_received = 0
            if self._is_quick:
                with self.requests_lock:  # type: ignore[attr-defined]  # the stubs leave it out
                    # If it is already answered, its thread may have left.
                    self.pinned = bool(self.requests)
        self._check_head()
        return is_complete

    def _check_head(self) -> None:
        """Once a request's head is complete, decide whether its body is wanted."""
        with self.requests_lock:  # type: ignore[attr-defined]
            request: Any = self.request
            if request is None or not request.headers_finished or request.head_checked:
                return
            request.head_checked = True
        environ = AnswerTask(self, request).get_environment()
        decision = self.head_check.decide_fast(environ)
        if decision is None and self.worker == threading.get_ident():
            decision = self.head_check.decide(environ)
        if decision is None:
            self.checking_head = True
            self._loop.task_dispatcher.add_task(_HeadCheckTask(self, request, environ))
        else:
            self.apply_decision(request, decision)

    def apply_decision(self, request: Any, decision: BodyDecision) -> None:
        """Receive the body, or answer without it. Thread-safe."""
        with self.requests_lock:  # type: ignore[attr-defined]
            self.checking_head = False
            is_current = self.request is request and self.connected
            if is_current and not (self.will_close or self.close_when_flushed):
                if decision.wanted:
                    request.admit_body()
                else:
                    request.refuse_body(decision.refusal)
                if request.body_refused or request.error:
                    self._answer_head(request)
                elif request.waits:
                    request.expect_continue = True
                    if not self.requests and not self.sent_continue:
                        self.send_continue()
        if self.worker != threading.get_ident():
            self._loop.pull_trigger()

    def _answer_head(self, request: Any) -> None:
        """Answer the request without the rest of it. The caller holds `requests_lock`."""
        request.completed = self.ignores_input = True
        self.request = None
        self.bytes_received = 0
        waiting: list[Any] = self.requests  # type: ignore[assignment]  # the stubs say a sequence
        waiting.append(request)
        if len(self.requests) == 1:
            self.server.add_task(self)  # type: ignore[arg-type]  # as waitress does

    def service(self) -> None:
        """Answer a request, and those that follow at once. waitress calls it in a worker thread."""
        me = threading.get_ident()
        with self.requests_lock:  # type: ignore[attr-defined]
            self.worker = me
        try:
            self._answer()
            while self._wait_for_next():
                self._answer()
        finally:
            with self.requests_lock:  # type: ignore[attr-defined]
                was_pinned = has_next = False
                if (
                    self.worker == me
                ):  # else another thread answers a request that arrived meanwhile
                    was_pinned, has_next = self.pinned, self.next_request_ready
                    self.worker, self.pinned, self.next_request_ready = None, False, False
            if was_pinned:  # the loop must read it again
                self._loop.pull_trigger()
            if has_next:
                self._loop.add_task(self)

    def _answer(self) -> None:
        self.next_request_ready = False
        super().service()
        self.quiet_since = time.monotonic()
        self._answered = True

    def _wait_for_next(self) -> bool:
        """Whether there is a next request; waits a moment for it if the connection is pinned."""
        deadline = self.quiet_since + NEXT_REQUEST_WAIT_S
        while not self.next_request_ready:
            if not self.pinned:
                return False
            sock, remaining = self.socket, deadline - time.monotonic()
            closing = self.will_close or self.close_when_flushed
            if sock is None or closing or self.total_outbufs_len or remaining <= 0:
                return False
            try:
                if not is_readable_within(sock, remaining):
                    return False
                data = sock.recv(self.adj.recv_bytes)
            except (OSError, ValueError):
                return False
            if not data:  # end of file, which the loop will handle
                return False
            self.last_activity = time.time()
            self.received(data)
        return not self._loop.task_dispatcher.has_other_work

    def check_client_disconnected(self) -> bool:  # type: ignore[override]  # the stubs are wrong
        """Whether the client has disconnected. The loop does not notice that on a pinned connection."""
        if self.pinned and self.connected and not self._client_left:
            now = time.monotonic()
            if now - self._polled_at > DISCONNECT_POLL_S and self.socket is not None:
                self._polled_at = now
                self._client_left = peer_has_closed(self.socket)
        return self._client_left or not self.connected

    def send(self, data: bytes, do_close: bool = True) -> int:
        count = super().send(data, do_close)
        self.bytes_sent += count
        return count

    def _flush_some(self, do_close: bool = True) -> bool:
        # While no request is complete the loop takes no lock, though a thread may send "100 Continue" then.
        with self.outbuf_lock:
            return bool(super()._flush_some(do_close))  # type: ignore[misc]  # the stubs leave it out

    def readable(self) -> bool:
        if self.lingering_until is not None:
            return True
        busy = self.pinned or self.checking_head or self.ignores_input
        return not busy and super().readable()

    def writable(self) -> bool:
        return self.will_close or (self.lingering_until is None and super().writable())

    def handle_read(self) -> None:
        if self.lingering_until is None:
            super().handle_read()
        elif self.recv(self.adj.recv_bytes):  # closes the channel at end of file
            self.lingering_until = min(
                time.monotonic() + self.limits.linger_silence, self._linger_deadline
            )

    def handle_write(self) -> None:
        if self.lingers and self.close_when_flushed and not self.total_outbufs_len:
            self.lingers = self.close_when_flushed = False
            now = time.monotonic()
            self.lingering_until = now + self.limits.linger_silence
            self._linger_deadline = now + self.limits.linger_total
            if self.socket is not None:
                with suppress(OSError):
                    self.socket.shutdown(socket.SHUT_WR)
            return
        super().handle_write()

    def refuse_slow(self) -> None:
        """Refuse a request that arrives too slowly, and close. Thread-safe."""
        with self.requests_lock:  # type: ignore[attr-defined]  # the stubs leave it out
            request = self.request
            if request is None or self.requests or self.will_close or self.close_when_flushed:
                return
            request.error = TooSlow("")
            self._answer_head(request)

    def handle_close(self) -> None:
        request = self.request
        if request is not None:
            request.close()  # frees what was received of its body
        super().handle_close()

    def hang_up(self) -> None:
        """Close it in any state; a thread that answers on it notices. Thread-safe."""
        self.will_close = True
        self.server.pull_trigger()
        sock = self.socket
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def is_too_slow(self, now: float, timeout: float) -> bool:
        """Whether a request is arriving at less than MIN_BYTES_PER_S in the last `timeout` seconds.

        Earlier speed does not count: else a client that sends megabytes and stops would hold them for hours.
        """
        if not self.bytes_received or not self.is_idle:
            self.receive_mark = None
            return False
        started = max(self.request_started, self.quiet_since)
        if self.receive_mark is None or self.receive_mark[0] < started:
            self.receive_mark = started, 0
        if self.bytes_received - self.receive_mark[1] >= MIN_BYTES_PER_S * timeout:
            self.receive_mark = now, self.bytes_received
        return now - self.receive_mark[0] > timeout

    def is_stalled(self, now: float, timeout: float) -> bool:
        """Whether the client read waiting data at less than MIN_BYTES_PER_S in the last `timeout` seconds."""
        if not self.total_outbufs_len:
            self.send_mark = None
            return False
        mark = self.send_mark
        if mark is None or self.bytes_sent - mark[1] >= MIN_BYTES_PER_S * timeout:
            self.send_mark = mark = now, self.bytes_sent
        return now - mark[0] >= timeout
