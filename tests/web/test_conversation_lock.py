"""Responses in the same conversation: one after the other, on all stores and over several servers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from extensions.openai.errors import StoreUnavailable
from extensions.openai.settings import Settings
from extensions.openai.state.idempotency import Idempotency
from extensions.openai.web.app import create_app
from tests.support.paced import PacedEngine
from tests.support.reference import assert_envelope

RESPONSES, CONVERSATIONS = "/v1/responses", "/v1/conversations"


class Conversation:
    """One, whose responses are made by an engine that is let go on word by word."""

    def __init__(self, client: FlaskClient, engine: PacedEngine) -> None:
        self.client, self.engine = client, engine
        self.id: str = client.post(CONVERSATIONS, json={}).json["id"]

    def post(self, text: str, **more: Any) -> Any:
        body = {"model": "paced", "input": text, "conversation": self.id, **more}
        return self.client.application.test_client().post(RESPONSES, json=body, buffered=True)

    def begin(self, text: str, answers: list[Any], **more: Any) -> threading.Thread:
        thread = threading.Thread(target=lambda: answers.append(self.post(text, **more)))
        thread.start()
        return thread

    def said(self) -> list[str]:
        listed = self.client.get(f"{CONVERSATIONS}/{self.id}/items?order=asc").json["data"]
        return [item["content"][0]["text"] for item in listed if item["role"] == "user"]


def talk(where: str, folder: Path, wait: float) -> tuple[Conversation, PacedEngine]:
    engine = PacedEngine(parallel=4)
    settings = Settings(store=where, data_folder=str(folder), conversation_wait=wait)
    return Conversation(create_app(settings, engine).test_client(), engine), engine


@pytest.fixture
def waiting(where: str, tmp_path: Path) -> Iterator[Conversation]:
    made, engine = talk(where, tmp_path, 20)
    yield made
    engine.gate.set()
    made.client.application.extensions["openai"].store.close()


@pytest.fixture
def refusing(where: str, tmp_path: Path) -> Iterator[Conversation]:
    made, engine = talk(where, tmp_path, 0)
    yield made
    engine.gate.set()
    made.client.application.extensions["openai"].store.close()


def test_the_next_response_waits_for_the_one_before_it(waiting: Conversation) -> None:
    engine, answers = waiting.engine, list[Any]()
    engine.gate.clear()
    first = waiting.begin("one", answers)
    assert engine.wait_for_active(1)
    second = waiting.begin("two", answers)
    # Another conversation does not wait, nor does what is in none.
    other = Conversation(waiting.client, engine)
    third = other.begin("three", [])
    fourth = threading.Thread(target=lambda: other.post("four", conversation=None))
    fourth.start()
    assert engine.wait_for_active(3)
    assert not engine.wait_for_active(4, timeout=0.3)
    engine.gate.set()
    for thread in (first, second, third, fourth):
        thread.join(20)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert waiting.said() == ["one", "two"]
    one, two = (answer.json["usage"]["input_tokens"] for answer in answers)
    assert two == one + len("one two three") + len("two")  # it goes on from all that was said


@pytest.mark.parametrize("background", [False, True])
def test_one_that_takes_too_long(refusing: Conversation, background: bool) -> None:
    engine, answers = refusing.engine, list[Any]()
    engine.gate.clear()
    thread = refusing.begin("one", answers, background=background)
    assert engine.wait_for_active(1)
    error = assert_envelope(refusing.post("two").json, status=400)
    assert (error["code"], error["param"]) == ("conversation_locked", "conversation")
    # What only reads or adds is not locked.
    assert refusing.said() == []
    path = f"{CONVERSATIONS}/{refusing.id}/items"
    assert (
        refusing.client.post(path, json={"items": [{"role": "user", "content": "x"}]}).status_code
        == 200
    )
    engine.gate.set()
    thread.join(20)
    assert engine.wait_for_active(0)
    for _ in range(100):  # a response in the background ends a moment later
        if (answer := refusing.post("two")).status_code == 200:
            break
    assert answer.status_code == 200 and refusing.said() == ["x", "one", "two"]


def test_one_that_fails_holds_it_no_longer(refusing: Conversation) -> None:
    reference = [{"type": "item_reference", "id": "msg_none"}]
    assert refusing.post("one", input=reference).status_code == 404
    assert refusing.post("one", max_output_tokens=10**9, top_logprobs=20).status_code == 400
    assert refusing.post("one", conversation="conv_none").status_code == 404
    assert refusing.post("one").status_code == 200


def test_a_store_that_cannot_be_written_locks_nothing(
    refusing: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is stored can still be read, and answered."""

    def fail(*given: Any) -> Any:
        raise StoreUnavailable("The disk is full.")

    monkeypatch.setattr(Idempotency, "begin", fail)
    answer = refusing.post("one")
    assert answer.status_code == 200, answer.text


def test_it_holds_for_all_servers_of_a_store(
    refusing: Conversation, where: str, tmp_path: Path
) -> None:
    if where == "memory":
        pytest.skip("each server has its own")
    engine, answers = refusing.engine, list[Any]()
    engine.gate.clear()
    thread = refusing.begin("one", answers)
    assert engine.wait_for_active(1)
    other, _ = talk(where, tmp_path, 0)
    body = {"model": "paced", "input": "two", "conversation": refusing.id}
    answer = other.client.post(RESPONSES, json=body)
    assert assert_envelope(answer.json, status=400)["code"] == "conversation_locked"
    engine.gate.set()
    thread.join(20)
    assert other.client.post(RESPONSES, json=body).status_code == 200
    other.client.application.extensions["openai"].store.close()
