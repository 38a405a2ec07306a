"""The page at the server's address."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.swappable import SwappableEngine
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app


def page(engine: Any = None, **options: Any) -> str:
    client = create_app(Settings(**options), engine or EchoEngine()).test_client()
    return client.get("/").get_data(as_text=True)


def test_it_says_what_to_copy() -> None:
    html = page()
    assert "<pre>http://localhost/v1</pre>" in html and "<code>echo</code>" in html
    assert html.count(">Copy</button>") == 2 and '"model": "echo"' in html
    assert "Authorization" not in html and 'href="http://localhost/v1/models"' in html
    assert "prefers-color-scheme: dark" in html and "width=device-width" in html


def test_with_a_key_nothing_leads_to_a_401() -> None:
    html = page(api_key="k")
    assert "Authorization: Bearer $OPENAI_API_KEY" in html and "a key is needed" in html
    assert "/v1/models" not in html


def test_while_the_model_loads() -> None:
    html = page(SwappableEngine())
    assert "still being loaded" in html and '"model": "MODEL"' in html


def test_names_are_escaped() -> None:
    assert "<script>x" not in page(EchoEngine(name="<script>x"))


@pytest.mark.parametrize("path", ["/favicon.ico"])
def test_the_icon(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200 and answer.mimetype == "image/svg+xml"
    assert answer.data.startswith(b"<svg ")
