"""What was asked lately."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from extensions.openai.access.key_files import KeyFiles
from extensions.openai.access.signed_keys import Grant
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.observability.record import RECENT, RecentRecords, RequestRecord
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app

PATH = "/v1/internal/requests"
SECRET = "the prompt that nobody may see"
CHAT = {"model": "echo", "messages": [{"role": "user", "content": SECRET}], "user": "ann"}


def ended(client: FlaskClient, method: str, path: str, **sent: Any) -> TestResponse:
    """The answer to a request that has ended."""
    return client.open(path, method=method, buffered=True, **sent)


def test_it_says_what_was_asked_but_not_the_words(client: FlaskClient) -> None:
    ended(client, "POST", "/v1/chat/completions", json=CHAT, headers={"x-request-id": "one"})
    ended(client, "POST", "/v1/chat/completions", json={**CHAT, "temperature": -1})
    ended(client, "GET", "/v1/nothing")
    answer = ended(client, "GET", PATH)
    wrong, refused, chat = answer.json["data"]
    assert SECRET not in answer.get_data(as_text=True)
    assert (chat["id"], chat["route"], chat["status"]) == ("one", "POST /v1/chat/completions", 200)
    assert (chat["model"], chat["caller"], chat["user"], chat["error"]) == (
        "echo",
        "local",
        "ann",
        None,
    )
    assert chat["completion_tokens"] == len(SECRET) + 1 and chat["prompt_tokens"] > len(SECRET)
    assert 0 <= chat["first_token_ms"] <= chat["duration_ms"] and chat["tokens_per_second"] > 0
    assert abs(chat["ended_at"] - time.time()) < 30
    assert (refused["status"], refused["error"]) == (400, "decimal_below_min_value")
    assert (wrong["route"], wrong["status"]) == ("GET /v1/nothing", 404)


def test_a_page_asks_for_what_is_new(client: FlaskClient) -> None:
    for _ in range(3):
        ended(client, "POST", "/v1/chat/completions", json=CHAT)
    assert len(ended(client, "GET", f"{PATH}?limit=2").json["data"]) == 2
    number = ended(client, "GET", PATH).json["data"][1]["number"]
    later = ended(client, "GET", f"{PATH}?after={number}").json
    assert [each["number"] for each in later["data"]] == [number + 1] and later[
        "restarted"
    ] is False
    assert ended(client, "GET", f"{PATH}?after={number + 1}").json["data"] == []


def test_a_server_that_was_started_again_says_so(client: FlaskClient) -> None:
    ended(client, "POST", "/v1/chat/completions", json=CHAT)
    answer = ended(client, "GET", f"{PATH}?after=900").json
    assert answer["restarted"] is True and len(answer["data"]) == 1


def test_reading_leaves_no_trace(client: FlaskClient) -> None:
    for path in (PATH, "/v1/models", "/health", "/"):
        assert ended(client, "GET", path).status_code == 200
    assert ended(client, "GET", PATH).json["data"] == []


def test_a_key_sees_its_own_and_an_admin_all(tmp_path: Path) -> None:
    files = KeyFiles(tmp_path)
    scopes = {"ann": {"read", "write"}, "bob": {"read", "write"}, "root": {"admin"}}
    keys = {name: files.create(Grant("", name, frozenset(some))) for name, some in scopes.items()}  # type: ignore[arg-type]
    client = create_app(Settings(data_folder=str(tmp_path)), EchoEngine()).test_client()

    def seen_by(name: str) -> set[str]:
        answer = ended(client, "GET", PATH, headers={"Authorization": f"Bearer {keys[name]}"})
        return {each["caller"] for each in answer.json["data"]}

    for name in ("ann", "bob"):
        ended(
            client,
            "POST",
            "/v1/chat/completions",
            json=CHAT,
            headers={"Authorization": f"Bearer {keys[name]}"},
        )
    assert (seen_by("ann"), seen_by("bob"), seen_by("root")) == ({"ann"}, {"bob"}, {"ann", "bob"})


def test_a_probe_that_fails_leaves_no_trace() -> None:
    recent = RecentRecords()
    recent.observe(RequestRecord("1", "GET /health", error="model_loading"))
    recent.observe(RequestRecord("2", "GET /v1/models", error="model_loading"))
    recent.observe(RequestRecord("3", "GET /v1/internal/model/list", error="not_supported"))
    assert [record.id for _, record in recent.since(0)] == ["2"]


def test_only_so_many_are_kept() -> None:
    recent = RecentRecords()
    for number in range(RECENT + 5):
        recent.observe(RequestRecord(str(number), "POST /v1/completions"))
    kept = recent.since(0)
    assert len(kept) == RECENT and kept[0][0] == recent.ended == RECENT + 5
    assert kept[-1][1].id == "5"


def test_what_was_said_is_kept_with_debug_only(tmp_path: Path) -> None:
    settings = Settings(debug=True, debug_folder=str(tmp_path))
    client = create_app(settings, EchoEngine()).test_client()
    for id, text in (("one", "first"), ("two", "second")):
        chat = {**CHAT, "messages": [{"role": "user", "content": text}]}
        ended(client, "POST", "/v1/chat/completions", json=chat, headers={"x-request-id": id})
    assert ended(client, "GET", PATH).json["with_content"] is True
    found = ended(client, "GET", f"{PATH}/one").json
    assert found["request"]["body"]["messages"][0]["content"] == "first"
    assert found["answer"]["body"]["choices"][0]["message"]["content"] == "first"
    assert ended(client, "GET", f"{PATH}/three").status_code == 404
    for file in tmp_path.iterdir():
        file.unlink()
    assert ended(client, "GET", f"{PATH}/two").status_code == 404


def test_what_was_said_is_not_kept_otherwise(client: FlaskClient) -> None:
    ended(client, "POST", "/v1/chat/completions", json=CHAT, headers={"x-request-id": "one"})
    assert ended(client, "GET", PATH).json["with_content"] is False
    assert ended(client, "GET", f"{PATH}/one").json["error"]["code"] == "not_supported"
