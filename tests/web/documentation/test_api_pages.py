"""Swagger UI and Redoc: served from here, and nothing of them from anywhere else."""

from __future__ import annotations

import re
import signal
import time
import urllib.request

import pytest
from flask.testing import FlaskClient

from tests.support.process import ServerProcess

ASSETS = ("/docs/assets/images/swagger.svg", "/redoc/assets/js/redoc.standalone.js")


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_a_page_asks_nothing_of_other_sites(client: FlaskClient, page: str) -> None:
    answer = client.get(page)
    html = answer.get_data(as_text=True)
    assert not re.search(r"(?:src|href|url)\S*//", html)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self';") and "http" not in policy and "*" not in policy
    for path in re.findall(r'(?:src|href)="([^"]+)"', html):
        with client.get(path) as found:
            assert found.status_code == 200, path
    assert "prefers-color-scheme: dark" in html


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_browsers_keep_assets(client: FlaskClient, page: str) -> None:
    path = next(path for path in ASSETS if path.startswith(page))
    with client.get(path) as first:
        etag = first.headers["ETag"]
    with client.get(path, headers={"If-None-Match": etag}) as again:
        assert (first.status_code, again.status_code, again.data) == (200, 304, b"")


def test_an_asset_is_a_request_that_ends() -> None:
    """Of a file that the server takes over, it would never be said that it is sent: a stop would wait."""
    server = ServerProcess("--loader", "echo", "--drain-timeout", "20")
    try:
        server.wait_until_ready()
        for path in ASSETS:
            with urllib.request.urlopen(server.url + path) as answer:
                assert len(answer.read()) == int(answer.headers["Content-Length"])
        begin = time.monotonic()
        server.signal(signal.SIGINT)
        assert server.wait(30) == 0
        assert time.monotonic() - begin < 10
        assert "in time" not in server.output
    finally:
        server.stop()
