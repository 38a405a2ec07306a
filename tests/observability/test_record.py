"""What observers are told of each request."""

from __future__ import annotations

from dataclasses import replace

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.observability.record import RequestRecord
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app

BODY = {"model": "echo", "messages": [{"role": "user", "content": "one two three"}], "user": "u1"}


@pytest.fixture
def seen() -> list[RequestRecord]:
    return []


@pytest.fixture
def client(seen: list[RequestRecord]):  # type: ignore[no-untyped-def]
    app = create_app(Settings(strict_models=True), EchoEngine())
    app.extensions["openai"].observers.append(seen.append)
    return app.test_client()


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_and_times(client, seen, stream) -> None:  # type: ignore[no-untyped-def]
    body = {**BODY, "stream": stream, "n": 2}
    if stream:
        body["stream_options"] = {"include_usage": True}
    answer = client.post("/v1/chat/completions", json=body, headers={"x-request-id": "mine"})
    text = answer.get_data(as_text=True)
    answer.close()
    (record,) = seen
    assert record.id == "mine" and record.route == "POST /v1/chat/completions"
    assert (record.user, record.model, record.streamed) == ("u1", "echo", stream)
    assert (record.status, record.error, record.cancelled) == (200, None, False)
    assert f'"prompt_tokens":{record.prompt_tokens},' in text
    assert f'"completion_tokens":{record.completion_tokens},' in text
    times = record.started, record.first_token, record.last_token, record.ended
    assert None not in times and list(times) == sorted(times)


def test_an_error(client, seen) -> None:  # type: ignore[no-untyped-def]
    client.post("/v1/chat/completions", json={**BODY, "model": "other"}).close()
    assert (seen[0].status, seen[0].error) == (404, "model_not_found")


def test_a_client_that_leaves(client, seen) -> None:  # type: ignore[no-untyped-def]
    answer = client.post("/v1/chat/completions", json={**BODY, "stream": True}, buffered=False)
    next(answer.response)
    answer.close()
    assert seen[0].cancelled and seen[0].status == 200


def test_it_stays_small_whatever_names_a_client_sends(client, seen) -> None:  # type: ignore[no-untyped-def]
    many = {f"unknown_{number}": 1 for number in range(500)}
    for user in ("u" * 100_000, "u" * 99_999, ""):
        body = {**BODY, **many, "x" * 100_000: 1, "user": user}
        answer = client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200
        assert answer.headers["x-openedai-ignored"].startswith("unknown_0, unknown_1, ")
        answer.close()
    assert [len(record.user) for record in seen] == [64, 64, 0]
    assert len({record.user for record in seen}) == 3
    assert all(len("".join(record.ignored)) < 2000 for record in seen)


def test_nothing_of_what_was_asked_is_in_it(client, seen) -> None:  # type: ignore[no-untyped-def]
    client.post("/v1/chat/completions", json=BODY).close()
    assert "one two" not in repr(replace(seen[0]))
