"""Health for everybody, and in detail for admins."""

from __future__ import annotations

import os
from typing import Any

import pytest

from extensions.openai import __version__
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.swappable import SwappableEngine
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.reference import assert_envelope

DETAILS = "/v1/internal/health"


def test_brief_and_open() -> None:
    client = create_app(Settings(api_key="k"), EchoEngine()).test_client()
    assert client.get("/health").json == {"status": "ok"}


def test_details() -> None:
    answer: Any = create_app(Settings(queue_limit=7), EchoEngine()).test_client().get(DETAILS).json
    assert answer["status"] == "ok" and answer["version"] == __version__
    assert answer["model"]["id"] == "echo" and answer["model"]["context_length"] > 0
    assert answer["queue"] == {"running": 0, "waiting": 0, "limit": 7}
    assert answer["process"]["pid"] == os.getpid()
    assert answer["process"]["memory_bytes"] > 1 << 20
    assert answer["uptime_seconds"] >= 0
    assert {"flask", "waitress"} <= set(answer["packages"])


def test_details_while_the_model_loads() -> None:
    client = create_app(Settings(), SwappableEngine()).test_client()
    assert client.get("/health").status_code == 503
    answer: Any = client.get(DETAILS).json
    assert (answer["status"], answer["model"]) == ("loading", None)


@pytest.mark.parametrize(("key", "status"), [(None, 401), ("user", 403), ("boss", 200)])
def test_details_are_for_admins(key: str | None, status: int) -> None:
    client = create_app(Settings(api_key="user", admin_key="boss"), EchoEngine()).test_client()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    answer = client.get(DETAILS, headers=headers)
    assert answer.status_code == status
    if status != 200:
        assert_envelope(answer.json, status=status)
