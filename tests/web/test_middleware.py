"""The operator's middleware, by import path: around every request, or the start is refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.settings import Settings, SettingsError
from extensions.openai.web.app import create_app

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HERE = "tests.web.test_middleware"
NO_MIDDLEWARE = 7


class Outer:
    """Notes that a request came, and adds a header to what is answered."""

    seen: ClassVar[list[str]] = []

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self.seen.append(f"outer {environ['PATH_INFO']} {environ['REMOTE_ADDR']}")

        def start(status: str, headers: list[tuple[str, str]], info: object = None) -> object:
            return start_response(status, [*headers, ("x-outer", "yes")])

        return self._app(environ, start)  # type: ignore[arg-type]


def inner(app: WSGIApplication) -> WSGIApplication:
    """The same as a function."""

    def around(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        Outer.seen.append("inner")
        return app(environ, start_response)

    return around


def failing(app: WSGIApplication) -> WSGIApplication:
    raise OSError("no file")


@pytest.mark.parametrize("stream", [False, True])
def test_every_request_goes_through_it(stream: bool) -> None:
    settings = Settings(middleware=(f"{HERE}:Outer", f"{HERE}:inner"), trusted_proxies=("1",))
    client = create_app(settings, EchoEngine()).test_client()
    Outer.seen.clear()
    body = {"model": "x", "prompt": "Hello", "stream": stream}
    forwarded = {"X-Forwarded-For": "9.9.9.9"}  # the address that a trusted proxy reports
    answer = client.post("/v1/completions", json=body, headers=forwarded)
    assert answer.status_code == 200 and b"H" in answer.data
    assert answer.headers["x-outer"] == "yes"
    assert client.get("/v1/nothing").headers["x-outer"] == "yes"
    first, *rest = Outer.seen
    assert first == "outer /v1/completions 9.9.9.9"
    assert rest[0] == "inner" and rest[1].startswith("outer /v1/nothing")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("nothing", "MODULE:NAME"),
        ("no.such.module:x", "ModuleNotFoundError"),
        (f"{HERE}:missing", "has no function or class missing"),
        (f"{HERE}:NO_MIDDLEWARE", "has no function or class"),
        (f"{HERE}:failing", "OSError: no file"),
    ],
)
def test_what_cannot_be_had_stops_the_start(path: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        create_app(Settings(middleware=(path,)), EchoEngine())
