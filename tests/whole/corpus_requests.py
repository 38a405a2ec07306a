"""The requests of the corpus: bodies from the tables of corpus_requests.yaml, and what is no body."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

Body = dict[str, Any]
COMPLETIONS_PATH, CHAT_PATH = "/v1/completions", "/v1/chat/completions"
STAND_INS = {"LONG": "word " * 9000, "LARGE": "x" * (2 << 20)}


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent. A body that is bytes is sent as it is; `raw` is all that is sent, head and body."""

    name: str
    method: str = "GET"
    path: str = "/"
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes = b""


def _grown(value: Any) -> Any:
    """With the long texts that stand-ins stand for."""
    if isinstance(value, dict):
        return {name: _grown(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_grown(each) for each in value]
    return STAND_INS.get(value, value) if isinstance(value, str) else value


TABLES: dict[str, Any] = _grown(
    yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
)
DEFINED = TABLES["defined"]
CHATS: dict[str, Body] = {
    **TABLES["chats"],
    **TABLES["tool_chats"],
    **TABLES["format_chats"],
    **TABLES["thinking"],
    **{f"messages, {name}": {"messages": each} for name, each in TABLES["repaired"].items()},
}

CHAT_BYTES = (
    b'{"model":"MODEL","messages":[{"role":"user","content":"Hi"}],"max_tokens":3,"temperature":0}'
)
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
WIRE: dict[str, Request] = {
    name: Request(f"wire {name}", *sent)
    for name, sent in dict[str, Any]({
        **{f"body {body[:24]!r}": ("POST", CHAT_PATH, body) for body in (
            b"", b"{", b"[]", b"null", b"5", b'"x"', b"\xff\xfe", b'{"a": NaN}', b'{"model": "a", "model": "b"}', b"[" * 3000,
            b'{"n": 1e999}', b'{"model":"\\ud800","messages":[]}', CHAT_BYTES + b" x", CHAT_BYTES,
        )},
        **{f"type {kind}": ("POST", CHAT_PATH, CHAT_BYTES, {"Content-Type": kind}) for kind in
           ("text/plain", "application/json; charset=latin-1", "multipart/form-data", "")},
        **{f"{method} {path}": (method, path) for method in ("OPTIONS", "HEAD", "PUT", "DELETE", "PATCH") for path in
           ("/v1/models", CHAT_PATH, "/health", "/v1/nowhere")},
        **{f"origin {origin}": ("GET", "/v1/models", None, {"Origin": origin}) for origin in
           ("http://localhost:3000", "https://evil.example", "https://app.example", "null")},
        **{f"preflight {origin}": ("OPTIONS", CHAT_PATH, None, {"Origin": origin, "Access-Control-Request-Method": "POST",
           "Access-Control-Request-Headers": "authorization,x-own"}) for origin in
           ("http://localhost:3000", "https://evil.example", "https://app.example")},
        **{f"{name}: {value}": ("GET", "/v1/models", None, {name: value}) for name, value in (
            ("Host", "evil.example"), ("Host", "localhost"), ("X-Request-Id", "mine"), ("X-Request-Id", "x" * 600), ("Authorization", "Basic eDp5"),
            ("X-Forwarded-For", "9.9.9.9"), ("Accept", "text/html"), ("Accept-Encoding", "gzip"), ("Expect", "200-ok"))},
        "openmetrics": ("GET", "/metrics", None, {"Accept": "application/openmetrics-text"}),
        "encoded body": ("POST", CHAT_PATH, CHAT_BYTES, {"Content-Encoding": "gzip"}),
        **{f"raw {at}": ("", "", None, {}, data) for at, data in enumerate((
            b"NONSENSE\r\n\r\n", b"GET /health HTTP/1.0\r\n\r\n", b"GET /health HTTP/1.1\r\n\r\n", b"GET /health HTTP/9.9\r\nHost: a\r\n\r\n",
            HEAD + b"Content-Length: x\r\n\r\n", HEAD + b"Content-Length: 999999999\r\n\r\n", HEAD + b"Bad Header: 1\r\nContent-Length: 0\r\n\r\n",
            HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", HEAD + b"Transfer-Encoding: gzip\r\n\r\n", HEAD + b"X: " + b"a" * 300000 + b"\r\n\r\n",
            HEAD + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
            HEAD.replace(b"/v1", b"http://127.0.0.1/v1") + b"Content-Length: 2\r\n\r\n{}", b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"))},
    }).items()
}  # fmt: skip


def filled(path: str, body: Body, model: str, **also: Any) -> Body:
    """With all that a request needs and that makes its answer short and the same each time."""
    own = {"prompt": "Hello"} if path == COMPLETIONS_PATH else {"messages": [DEFINED["user"]]}
    limit = {} if "n_predict" in body else {"max_tokens": 24}
    return {"model": model, **own, "temperature": 0, **limit, **body, **also}


def both_ways(kind: str, path: str, table: Mapping[str, Body], model: str) -> Iterator[Request]:
    """Each row whole and streamed."""
    for name, body in table.items():
        sent = filled(path, body, model)
        yield Request(f"{kind} {name}", "POST", path, sent)
        if "stream" not in body:
            sent = sent | {"stream": True, "stream_options": {"include_usage": True}}
            yield Request(f"{kind} {name}, streamed", "POST", path, sent)


def generations(model: str) -> Iterator[Request]:
    """All that engines answer."""
    yield from both_ways("completion", COMPLETIONS_PATH, TABLES["completions"], model)
    yield from both_ways("chat", CHAT_PATH, CHATS, model)


def refusals(model: str) -> Iterator[Request]:
    """What is wrong with bodies, one thing each; the first ones also with `stream`."""
    for path, table in ((COMPLETIONS_PATH, "bad_completions"), (CHAT_PATH, "bad_chats")):
        for name, body in (TABLES["bad_on_both"] | TABLES[table]).items():
            yield Request(f"bad {path} {name}", "POST", path, filled(path, body, model))
    for name in ("temprature: 0.5", "n: 0", "grammar: 'root ::= ('"):
        sent = filled(CHAT_PATH, TABLES["bad_on_both"][name], model, stream=True)
        yield Request(f"bad chat {name}, streamed", "POST", CHAT_PATH, sent)


def pages(model: str, prefix: str = "") -> Iterator[Request]:
    """Everything that is no generation."""
    for path in TABLES["gets"]:
        yield Request(f"GET {path}", "GET", prefix + path.replace("MODEL", model))
    for path, body in TABLES["posts"].items():
        sent = prefix + path.partition("#")[0].replace("MODEL", model)
        yield Request(f"POST {path}", "POST", sent, body)


def wire(model: str) -> Iterator[Request]:
    """Bytes, methods and headers that are out of the ordinary."""
    for each in WIRE.values():
        named = isinstance(each.body, bytes)
        yield replace(each, body=each.body.replace(b"MODEL", model.encode())) if named else each
