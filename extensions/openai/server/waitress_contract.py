"""The internals of waitress that this folder uses, and a check that they exist.

A version that renames one of these would fail at some request, or silently do less. So the version is pinned
in requirements.txt, and the names are checked when the server starts. Nothing outside this folder imports
waitress.
"""

from __future__ import annotations

import inspect
import socket
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module, metadata
from types import SimpleNamespace
from typing import Any

import waitress

REQUIRED = ">=3.0.1,<3.1"

PARAMETERS: Mapping[str, str] = {"server.create_server": "application map _dispatcher"}
"""Parameters of functions, by module and name."""
NAMES: Mapping[str, str] = {
    "adjustments.Adjustments": "recv_bytes channel_request_lookahead max_request_body_size",
    "buffers.ReadOnlyFileBasedBuffer": "prepare",
    "channel.HTTPChannel": "task_class error_task_class parser_class request last_activity will_close "
    "close_when_flushed sent_continue total_outbufs_len check_client_disconnected received send_continue "
    "service cancel write_soon _flush_some send recv readable writable handle_read handle_write handle_close",
    "parser.HTTPRequestParser": "completed error header_plus headers_finished body_rcv chunked "
    "content_length expect_continue version received parse_header get_body_stream close",
    "parser.ParsingError": "",
    "server.MultiSocketServer": "run close",
    "server.TcpWSGIServer": "channel_class readable handle_accept accept set_socket_options fix_addr "
    "add_task pull_trigger run close",
    "task.ErrorTask": "execute set_close_on_finish write status content_length",
    "task.WSGITask": "get_environment build_response_header has_body write status start_time wrote_header "
    "content_length close_on_finish chunked_response",
    "utilities.BadRequest": "code reason",
    "utilities.Error": "code reason",
    "utilities.RequestEntityTooLarge": "code reason",
    "utilities.build_http_date": "",
}
"""Functions and classes, with the attributes of classes, by module and name."""
INSTANCE_ATTRIBUTES: Mapping[str, str] = {
    "TcpWSGIServer": "adj application accepting socket task_dispatcher trigger _map",
    "HTTPChannel": "server adj addr connected socket requests requests_lock outbuf_lock",
    "HTTPRequestParser": "adj headers command path proxy_scheme proxy_netloc",
    "WSGITask": "channel request response_headers version",
    "Error": "body",
}
"""Attributes that only instances have."""
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class IncompatibleWaitress(ImportError):
    """The installed waitress lacks what this server uses; the message is one clear line."""

    def __init__(self, missing: Iterable[str]) -> None:
        try:
            version = metadata.version("waitress")
        except metadata.PackageNotFoundError:
            version = "of an unknown version"
        super().__init__(
            f"the installed waitress {version} lacks what this server uses ({', '.join(missing)}): "
            f"pip install 'waitress{REQUIRED}'",
            name="waitress",
        )


def check_names() -> None:
    """Check functions, classes and their attributes. Raises IncompatibleWaitress."""
    missing: list[str] = []
    for name, attributes in NAMES.items():
        found = _found(name)
        missing += [name] if found is None else _missing(name, found, attributes)
    for name, parameters in PARAMETERS.items():
        found = _found(name)
        existing = () if found is None else inspect.signature(found).parameters
        missing += [f"{name}({each})" for each in parameters.split() if each not in existing]
    if missing:
        raise IncompatibleWaitress(missing)


def check_instances(listener: Any) -> None:
    """Check the attributes of instances; `listener` is a server's own. Raises IncompatibleWaitress."""
    missing: list[str] = []

    def check(kind: str, make: Callable[[], Any]) -> Any:
        try:
            instance = make()
        except (AttributeError, TypeError) as error:  # its constructor has changed
            missing.append(f"{kind} ({error})")
            return None
        missing.extend(_missing(kind, instance, INSTANCE_ATTRIBUTES[kind]))
        return instance

    check("TcpWSGIServer", lambda: listener)
    near, far = socket.socketpair()
    with near, far:
        adj = listener.adj
        owner = SimpleNamespace(active_channels={})  # the listener would count it as a connection
        channel = check(
            "HTTPChannel", lambda: _found("channel.HTTPChannel")(owner, near, "", adj, map={})
        )
        parser = check("HTTPRequestParser", lambda: _parsed(adj))
        check("WSGITask", lambda: _found("task.WSGITask")(channel, parser))
    check("Error", lambda: _found("utilities.Error")(""))
    if missing:
        raise IncompatibleWaitress(missing)


def _parsed(adj: Any) -> Any:
    parser = _found("parser.HTTPRequestParser")(adj)
    parser.received(REQUEST)
    return parser


def _found(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(import_module(f"{waitress.__name__}.{module}"), attribute, None)
    except ModuleNotFoundError:
        return None


def _missing(name: str, found: object, attributes: str) -> list[str]:
    return [f"{name}.{each}" for each in attributes.split() if not hasattr(found, each)]
