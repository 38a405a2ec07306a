"""waitress in a daemon thread: start, drain, stop."""

from __future__ import annotations

import logging
import selectors
import socket
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from copy import copy
from functools import partial
from typing import Any

from flask import Flask
from waitress.server import BaseWSGIServer, MultiSocketServer, create_server

from ..access.allowed_hosts import bind_addresses
from ..settings import Settings
from ..system.data_folder import folder_for_temporary_files
from ..system.machine import memory_bytes, open_files, raise_file_limit
from ..web.head_check import HeadCheck
from ..web.services import Services
from .acceptor import Acceptor
from .bodies import BodyMemory
from .channel import Channel
from .limits import DEFAULT_LIMITS, ServerLimits
from .parser import FileBodies
from .reaper import Reaper
from .start_error import StartError
from .tcp_listeners import tcp_listeners
from .unix_socket import is_unix, local_peer, remove_socket, unix_listener
from .waitress_contract import IncompatibleWaitress, check_instances
from .worker_pool import WorkerPool

log = logging.getLogger("openedai")
# Its warnings (clients that left, waiting requests) are normal here.
logging.getLogger("waitress").setLevel(logging.ERROR)

MIN_CONNECTIONS = 8
OTHER_FILES = 32  # besides connections: models, keys, usage, llama.cpp's sockets
MAX_UNREAD_BYTES = 1 << 20  # of an answer
READ_BYTES = 64 << 10  # at once from a connection
ACCEPT_BACKLOG_S = 0.5  # at most, for connections that wait to be accepted


class APIServer:
    """One listening server. `start` and `stop` may be called from any thread, once each."""

    def __init__(
        self,
        app: Flask,
        settings: Settings,
        limits: ServerLimits = DEFAULT_LIMITS,
    ) -> None:
        """Bind the port. Raises StartError if it is not available, SettingsError if not allowed."""
        self._settings = settings
        self._limits = limits
        self._services: Services = app.extensions["openai"]
        self._workers = WorkerPool(self._max_threads, limits.idle_thread)
        hosts, path = bind_addresses(settings), settings.unix_socket
        self.host = hosts[0] if hosts else ""
        self.socket_path = None if hosts else path
        """The unix socket that it listens on; None: it has a port."""
        self._unix_path = path
        sockets = tcp_listeners(hosts, settings.api_port)
        self.port: int = sockets[0].getsockname()[1] if sockets else 0
        at_path = [] if path is None else [_unix_listener(path, sockets)]
        self._sockets: dict[int, Any] = {}
        connections = _connections(limits.connections)
        server = create_server(
            app,
            map=self._sockets,
            # waitress takes sockets of one kind.
            sockets=sockets or at_path,
            _dispatcher=self._workers,  # type: ignore[arg-type]  # it has the methods that are used
            connection_limit=connections,
            # Without lookahead, a client that leaves is noticed only when something is written.
            channel_request_lookahead=64,
            # The application's own limit is a little smaller and has a better message.
            max_request_body_size=(settings.max_body_mb + 1) << 20,
            # An answer is paused once this much of it is unread.
            outbuf_high_watermark=MAX_UNREAD_BYTES,
            # With waitress's 8 KiB a body of megabytes keeps the loop busy for seconds.
            recv_bytes=READ_BYTES,
            # Never use temporary files: a full disk would end connections.
            outbuf_overflow=1 << 40,
            # The reaper closes idle connections, with a monotonic clock; waitress would also cut off answers
            # that are still being read.
            channel_timeout=10**9,
            asyncore_use_poll=True,
            # access/proxies.py does that, for any number of proxies.
            clear_untrusted_proxy_headers=False,
            ident=None,
        )
        if sockets and at_path:
            server = _with_unix_socket(server, app, self._sockets, self._workers, at_path[0])
        self.listeners = list(_listeners(server, self._sockets))
        try:
            check_instances(self.listeners[0])
        except IncompatibleWaitress as error:
            for listening in sockets + at_path:
                listening.close()
            raise StartError(str(error)) from error
        listener: Any
        channel = _channel_class(settings, self.listeners[0].adj, app, limits)
        for listener in self.listeners:
            listener.channel_class = channel
            if is_unix(listener.socket):
                listener.fix_addr = local_peer
        self._server = server
        # Above seven ninths of the maximum, idle ones are closed early.
        self._reaper = Reaper(
            self._sockets, settings, evict_above=connections * 7 // 9, idle=limits.idle_connection
        )
        for listener in self.listeners:
            Acceptor(listener, self._reaper.close_idle)
        self._thread = threading.Thread(target=self._run, name="openai-server", daemon=True)
        self._stopped = False

    @property
    def url(self) -> str:
        """The API's URL on this machine, including the prefix."""
        if self.socket_path is not None:
            return f"http://localhost{self._settings.api_prefix}"
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        return f"http://{host}:{self.port}{self._settings.api_prefix}"

    @property
    def connections(self) -> list[Channel]:
        """Those that are open now."""
        return [each for each in list(self._sockets.values()) if isinstance(each, Channel)]

    @property
    def threads(self) -> int:
        """How many there are to answer requests, at work or idle."""
        return self._workers.threads

    @property
    def is_running(self) -> bool:
        """Whether its loop has not ended yet."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Answer requests, in a separate thread."""
        self._thread.start()
        self._reaper.start()

    def wait(self) -> None:
        """Block until the server is stopped."""
        self._thread.join()

    def stop(self, timeout: float) -> None:
        """Refuse new requests, let running answers finish or end them with an error event, and close.

        Answers get `drain_timeout` seconds, everything about `timeout` seconds. Safe to call again.
        """
        if self._stopped:
            return
        self._stopped = True
        self._services.models.refuse_new()
        limits = self._limits
        drain_timeout = max(
            0.0, min(self._settings.drain_timeout, timeout - limits.ending - limits.flushing)
        )
        if not self._services.active_requests.drain(drain_timeout, limits.ending):
            log.warning("some answers did not end in time and are cut off")
        self._stop_listening()
        self._flush()
        log.debug("closing the server")
        # Threads first: one that ends an answer wakes the loop, which must still exist.
        self._reaper.stop()
        self._workers.shutdown(cancel_pending=True, timeout=1)
        for channel in self.connections:
            channel.hang_up()
        if self.is_running:
            # Close in the loop's own thread and wake it.
            trigger: Any = self.listeners[0].trigger
            with suppress(OSError):  # it has just ended
                trigger.pull_trigger(self._server.close)
            self._thread.join(limits.flushing)
        self._server.close()  # if the loop has not done it
        if self._unix_path is not None:
            remove_socket(self._unix_path)

    def _stop_listening(self) -> None:
        """Accept no more connections; on open ones new requests get a 503."""
        if not self.is_running:
            return
        closed = [threading.Event() for _ in self.listeners]
        for listener, done in zip(self.listeners, closed, strict=True):
            # In the loop's own thread, like all socket operations.
            trigger: Any = listener.trigger
            with suppress(OSError):  # it has just ended
                trigger.pull_trigger(partial(_stop_accepting, listener, done))
        for done in closed:
            done.wait(2 * ACCEPT_BACKLOG_S)
        until = time.monotonic() + self._limits.final_request
        while time.monotonic() < until and self.connections:
            time.sleep(0.01)

    def _run(self) -> None:
        try:
            self._server.run()
        except OSError as error:
            # Raised when its sockets are closed.
            log.debug("the server's loop ended: %s", error)

    def _max_threads(self) -> int:
        """Enough for all running and waiting requests, and some for requests that never wait."""
        models = self._services.models
        waiting = models.count * self._services.settings.queue_limit
        return max(1, models.slots) + waiting + self._settings.http_threads

    def _flush(self) -> None:
        """Wait until everything that was written is sent."""
        deadline = time.monotonic() + self._limits.flushing
        while time.monotonic() < deadline and any(map(_is_busy, self.connections)):
            time.sleep(0.01)


def _connections(wanted: int) -> int:
    """The maximum of connections: `wanted`, or as many as the limit on open files allows."""
    others = open_files() + OTHER_FILES
    files = raise_file_limit(others + wanted)
    found = max(MIN_CONNECTIONS, min(wanted, files - others))
    if found < wanted:
        log.warning(
            "only %d files may be open here, so at most %d connections (ulimit -n raises it)",
            files,
            found,
        )
    return found


def _channel_class(
    settings: Settings, adjustments: Any, app: Flask, limits: ServerLimits
) -> type[Channel]:
    """The class of this server's channels."""
    head_check: HeadCheck = app.extensions["openai_head_check"]
    longer = copy(adjustments)
    longer.max_request_body_size = (settings.max_file_mb + 2) << 20
    shared = {
        "body_memory": BodyMemory(_request_memory(settings)),
        "file_bodies": FileBodies(
            head_check.takes_files, longer, partial(folder_for_temporary_files, settings)
        ),
        "head_check": head_check,
        "limits": limits,
    }
    return type("ServerChannel", (Channel,), shared)


def _request_memory(settings: Settings) -> int:
    """The most bytes of all request bodies together."""
    if settings.request_memory_mb:
        return settings.request_memory_mb << 20
    default = min(max(memory_bytes() // 32, 64 << 20), 512 << 20)
    # A long body may use three quarters.
    return max(default, 4 * (settings.max_body_mb + 1) << 20)


def _stop_accepting(listener: Any, done: threading.Event) -> None:
    """Accept the waiting connections, which would be reset otherwise, and then no more."""
    until = time.monotonic() + ACCEPT_BACKLOG_S
    with suppress(OSError), selectors.DefaultSelector() as selector:
        selector.register(listener.socket, selectors.EVENT_READ)
        while time.monotonic() < until and selector.select(0):
            listener.handle_accept()
        listener.accepting = False
        listener.socket.shutdown(socket.SHUT_RDWR)
    done.set()


def _is_busy(channel: Channel) -> bool:
    """Whether it is answering, or has bytes to send."""
    return bool(channel.requests or channel.total_outbufs_len)


def _unix_listener(path: str, others: Iterable[socket.socket]) -> socket.socket:
    """As unix_listener; the `others` are closed if that fails."""
    try:
        return unix_listener(path)
    except StartError:
        for each in others:
            each.close()
        raise


def _with_unix_socket(
    server: Any, app: Flask, sockets: dict[int, Any], workers: Any, at_path: socket.socket
) -> MultiSocketServer:
    """The same server, on this socket as well."""
    from waitress.server import UnixWSGIServer  # not there on a system without such sockets

    UnixWSGIServer(
        app,
        sockets,
        True,
        at_path,
        dispatcher=workers,
        adj=server.adj,
        bind_socket=False,
        sockinfo=(at_path.family, at_path.type, at_path.proto, at_path.getsockname()),
    )
    return MultiSocketServer(sockets, server.adj, [], workers, server.log_info)


def _listeners(server: Any, sockets: dict[int, Any]) -> Iterable[BaseWSGIServer]:
    found = [entry for entry in sockets.values() if isinstance(entry, BaseWSGIServer)]
    return found or [server]
