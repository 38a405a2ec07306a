"""The one object of a request: what it knows, and what it releases when it ends."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.errors import ShuttingDown
from extensions.openai.observability.record import RequestRecord
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from extensions.openai.web.context import ClientGone, RequestContext
from extensions.openai.web.services import Services


def context(environ: dict[str, Any] | None = None, **options: Any) -> RequestContext:
    services: Services = create_app(Settings(**options), EchoEngine()).extensions["openai"]
    return RequestContext.of(services, environ or {})


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abc-1", True), ("a" * 128, True), ("a" * 129, False), ("a b", False), ("", False)],
)
def test_a_clients_id_is_kept_where_it_is_sane(given: str, kept: bool) -> None:
    asked = context({"HTTP_X_REQUEST_ID": given})
    assert (asked.record.id == given) is kept
    assert kept or asked.record.id.startswith("req_")


def test_the_base_url_is_how_the_client_reached_us() -> None:
    environ = {"wsgi.url_scheme": "https", "HTTP_HOST": "here:1", "SCRIPT_NAME": "/below/"}
    assert context(environ, api_prefix="/api").base_url == "https://here:1/below/api"


def test_it_ends_once_and_releases_all() -> None:
    asked, file = context(), BytesIO()
    ended: list[RequestRecord] = []
    asked.services.observers.append(ended.append)
    asked.begin()
    asked.close_at_end(file)
    for _ in range(2):
        asked.end()
    assert ended == [asked.record] and asked.record.ended is not None
    assert file.closed
    assert asked.services.active_requests.drain(0, 0)  # nothing is under way


def test_it_says_when_an_answer_must_end() -> None:
    left = False
    asked = context({"waitress.client_disconnected": lambda: left})
    asked.begin()
    asked.check_wanted()
    left = True
    with pytest.raises(ClientGone):
        asked.check_wanted()
    left = False
    assert not asked.services.active_requests.drain(0, 0)
    with pytest.raises(ShuttingDown):
        asked.check_wanted()
