"""Conversations that are made shorter: on their own, before an answer, and what clients give back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from extensions.openai.generation.compaction import SUMMARY
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.reference import assert_envelope, fold_response, response_events
from tests.support.summarizing import SummarizingEngine

RESPONSES, COMPACT, CONVERSATIONS = "/v1/responses", "/v1/responses/compact", "/v1/conversations"
TRIGGER = {"type": "compaction_trigger"}


def said(role: str, text: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": text}


def turn(number: int, letters: int = 300) -> list[dict[str, Any]]:
    call = {"call_id": f"c{number}", "id": f"fc_{number}"}
    return [
        said("user", f"question {number}"),
        {"type": "function_call", "name": "f", "arguments": "{}", **call},
        {"type": "function_call_output", "call_id": f"c{number}", "output": "x" * letters},
        said("assistant", f"answer {number}"),
    ]


LONG = [said("developer", "Be brief."), *turn(1), *turn(2), *turn(3)]
MANAGED: dict[str, Any] = {
    "context_management": [{"type": "compaction", "compact_threshold": 1000}]
}


@pytest.fixture
def engine() -> SummarizingEngine:
    return SummarizingEngine()


@pytest.fixture
def client(engine: SummarizingEngine, tmp_path: Path) -> Iterator[FlaskClient]:
    made = client_of(engine, tmp_path)
    yield made
    made.application.extensions["openai"].store.close()


def client_of(engine: SummarizingEngine, folder: Path, **options: Any) -> FlaskClient:
    settings = Settings(store="memory", data_folder=str(folder), **options)
    return create_app(settings, engine).test_client()


def made(client: FlaskClient, path: str = RESPONSES, **body: Any) -> Any:
    answer = client.post(path, json={"model": "echo", **body})
    assert answer.status_code == 200, answer.text
    if body.get("stream"):
        return fold_response(response_events(answer.data))
    return answer.json


def refused(client: FlaskClient, path: str = RESPONSES, status: int = 400, **body: Any) -> Any:
    answer = client.post(path, json={"model": "echo", **body})
    return assert_envelope(answer.json, status=status)


def texts(items: list[Any]) -> list[tuple[str, str]]:
    return [(item["role"], item["content"][0]["text"]) for item in items]


def prompt(*messages: tuple[str, str]) -> str:
    return "".join(f"<|{role}|>{text}<|end|>" for role, text in messages) + "<|assistant|>"


# POST /responses/compact


def test_a_conversation_becomes_what_was_asked_and_a_summary(
    client: FlaskClient, engine: SummarizingEngine
) -> None:
    compacted = made(client, COMPACT, input=LONG)
    assert set(compacted) == {"id", "object", "created_at", "output", "usage"}
    assert compacted["object"] == "response.compaction" and compacted["id"].startswith("resp_")
    *spoken, item = compacted["output"]
    asked = [("user", f"question {at}") for at in (1, 2, 3)]
    assert texts(spoken) == [("developer", "Be brief."), *asked]
    assert set(item) == {"id", "type", "encrypted_content"} and item["type"] == "compaction"
    assert item["id"].startswith("cmp_") and "summary" not in item["encrypted_content"]
    tokens = len(engine.prompts[0])
    assert (compacted["usage"]["input_tokens"], compacted["usage"]["output_tokens"]) == (tokens, 8)
    # The next request goes on from it.
    made(client, input=[*compacted["output"], said("user", "And now?")])
    assert engine.others == [
        prompt(
            ("system", "Be brief."), *asked, ("user", SUMMARY + "summary 1"), ("user", "And now?")
        )
    ]


@pytest.mark.parametrize("beside", [[], [said("user", "question 1"), said("assistant", "gone")]])
def test_the_item_stands_for_all_before_it(
    client: FlaskClient, engine: SummarizingEngine, beside: list[Any]
) -> None:
    item = made(client, COMPACT, input=[said("user", "A"), said("assistant", "B")])["output"][-1]
    made(client, input=[*beside, item, said("user", "C")])
    expected = prompt(("user", "A"), ("user", SUMMARY + "summary 1"), ("user", "C"))
    assert engine.others == [expected]


def test_a_summary_goes_into_the_next_one(client: FlaskClient, engine: SummarizingEngine) -> None:
    first = made(client, COMPACT, input=LONG)["output"]
    second = made(client, COMPACT, input=[*first, *turn(4)])["output"]
    assert SUMMARY + "summary 1" in engine.prompts[1]
    made(client, input=[*second, said("user", "C")])
    assert "summary 2" in engine.others[0] and "summary 1" not in engine.others[0]
    assert engine.others[0].count("question") == 4


def test_stored_conversations_are_compacted(client: FlaskClient, engine: SummarizingEngine) -> None:
    first = made(client, input="My name is Ann.")
    made(client, COMPACT, previous_response_id=first["id"])
    assert "<|assistant|>My name is Ann.<|end|>" in engine.prompts[0]
    assert refused(client, COMPACT, previous_response_id="resp_none")["param"] == (
        "previous_response_id"
    )


def test_what_users_said_has_a_bound(client: FlaskClient) -> None:
    """A quarter of three quarters of the context, the latest first; a picture is not kept."""
    picture = {"type": "input_image", "image_url": "data:image/png;base64,AA=="}
    parts = {"role": "user", "content": [{"type": "input_text", "text": "See"}, picture]}
    items = [said("user", "a" * 1000), said("user", "b" * 1000), said("user", "c" * 400)]
    output = made(client, COMPACT, input=[*items, said("assistant", "ok")])["output"]
    assert [text for _, text in texts(output[:-1])] == ["b" * 1000, "c" * 400]
    answer = client.post(COMPACT, json={"model": "echo", "input": [parts]})
    assert answer.status_code == 400  # the model cannot see


def test_a_model_that_writes_nothing(tmp_path: Path) -> None:
    client = client_of(SummarizingEngine(text=""), tmp_path)
    assert refused(client, COMPACT, 500, input=LONG)["code"] == "engine_failed"
    assert refused(client, RESPONSES, 500, input=[*LONG, TRIGGER])["code"] == "engine_failed"
    # An answer does without it.
    answered = made(client, input=[*LONG, said("user", "Hi")], **MANAGED)
    assert [item["type"] for item in answered["output"]] == ["message"]


def test_nothing_to_compact(client: FlaskClient) -> None:
    assert refused(client, COMPACT)["param"] == "input"
    assert refused(client, COMPACT, instructions="Be brief.", input=[])["param"] == "input"


def test_only_the_same_key_opens_it(engine: SummarizingEngine, tmp_path: Path) -> None:
    client = client_of(engine, tmp_path, api_key="a", admin_key="b")
    mine, other = ({"Authorization": f"Bearer {key}"} for key in "ab")
    body = {"model": "echo", "input": LONG}
    item = client.post(COMPACT, json=body, headers=mine).json["output"][-1]
    changed = {**item, "encrypted_content": item["encrypted_content"][:-8] + "AAAAAAA="}
    for headers, sent in ((other, item), (mine, changed)):
        body = {"model": "echo", "input": ["Hi", sent][1:]}
        error = assert_envelope(client.post(RESPONSES, json=body, headers=headers).json)
        assert error["param"] == "input[0].encrypted_content"
        assert error["code"] == "invalid_encrypted_content"
        kept = {"items": [sent]}
        error = assert_envelope(client.post(CONVERSATIONS, json=kept, headers=headers).json)
        assert error["param"] == "items[0].encrypted_content"
    body = {"model": "echo", "input": [item]}
    assert client.post(RESPONSES, json=body, headers=mine).status_code == 200


def test_a_conversation_keeps_the_item(client: FlaskClient, engine: SummarizingEngine) -> None:
    item = made(client, COMPACT, input=[said("user", "A"), said("assistant", "B")])["output"][-1]
    id = client.post(CONVERSATIONS, json={"items": [item]}).json["id"]
    listed = client.get(f"{CONVERSATIONS}/{id}/items").json["data"]
    assert listed == [item]
    made(client, input="C", conversation=id)
    assert engine.others == [prompt(("user", "A"), ("user", SUMMARY + "summary 1"), ("user", "C"))]


# context_management, and the trigger


@pytest.mark.parametrize("stream", [False, True])
def test_a_long_conversation_is_compacted_before_it_is_answered(
    client: FlaskClient, engine: SummarizingEngine, stream: bool
) -> None:
    response = made(client, input=[*LONG, said("user", "And now?")], stream=stream, **MANAGED)
    item, message = response["output"]
    assert item["type"] == "compaction" and message["content"][0]["text"] == "And now?"
    asked = [("system", "Be brief."), *(("user", f"question {at}") for at in (1, 2, 3))]
    last = ("user", SUMMARY + "summary 1"), ("user", "And now?")
    assert engine.others == [prompt(*asked, *last)]
    assert "And now?" not in engine.prompts[0]
    tokens = len(engine.prompts[0]) + len(engine.others[0])
    assert response["usage"]["input_tokens"] == tokens
    assert response["usage"]["output_tokens"] == 8 + len("And now?") + 1
    # What follows goes on from the item, with what it was not about.
    for body in (
        {"previous_response_id": response["id"], "input": "Then?"},
        {"input": [*LONG, *response["output"], said("user", "Then?")]},
        {"input": [*response["output"], said("user", "Then?")]},
    ):
        made(client, **body)
        rest = ("assistant", "And now?"), ("user", "Then?")
        assert engine.others[-1] == prompt(*asked, *last, *rest)
    assert len(engine.prompts) == 1


def test_what_is_being_worked_on_is_summarised_where_it_is_long(
    client: FlaskClient, engine: SummarizingEngine
) -> None:
    *work, _ = turn(1, letters=3000)
    made(client, input=work, **MANAGED)
    assert "x" * 3000 in engine.prompts[0]
    assert engine.others == [prompt(("user", SUMMARY + "summary 1"), ("user", "question 1"))]


@pytest.mark.parametrize(
    "body",
    [
        {"input": LONG[:5]},
        {"input": [said("user", "a" * 3000)], "instructions": "b"},
        {"input": "Hi", "instructions": "b" * 3000},
    ],
)
def test_what_is_short_or_cannot_be_shorter_stays(
    client: FlaskClient, engine: SummarizingEngine, body: Any
) -> None:
    response = made(client, **body, **MANAGED)
    assert [item["type"] for item in response["output"]] == ["message"]
    assert engine.prompts == []


def test_it_is_stored_and_streamed_again(client: FlaskClient) -> None:
    events = response_events(
        client.post(
            RESPONSES, json={"model": "echo", "input": LONG, "stream": True, **MANAGED}
        ).data
    )
    kinds = [event["type"] for event in events[:5]]
    item = ["response.output_item.added", "response.output_item.done"]
    assert kinds[:4] == ["response.created", "response.in_progress", *item]
    assert events[2]["item"] == events[3]["item"] == events[-1]["response"]["output"][0]
    id = events[0]["response"]["id"]
    again = client.get(f"{RESPONSES}/{id}?stream=true", buffered=True)
    assert response_events(again.data) == events


def test_in_the_background(client: FlaskClient) -> None:
    body = {"model": "echo", "input": LONG, "stream": True, "background": True, **MANAGED}
    response = fold_response(response_events(client.post(RESPONSES, json=body).data))
    assert [item["type"] for item in response["output"]] == ["compaction", "message"]


@pytest.mark.parametrize("stream", [False, True])
def test_the_trigger_gets_the_item_only(
    client: FlaskClient, engine: SummarizingEngine, stream: bool
) -> None:
    response = made(client, input=[*LONG, TRIGGER], stream=stream)
    assert response["status"] == "completed"
    assert [item["type"] for item in response["output"]] == ["compaction"]
    made(client, previous_response_id=response["id"], input="C")
    assert engine.others[0].endswith(f"{SUMMARY}summary 1<|end|><|user|>C<|end|><|assistant|>")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": [TRIGGER, said("user", "Hi")]}, "input[0]"),
        ({"input": [TRIGGER]}, "input"),
        ({"context_management": [{"type": "other"}]}, "context_management[0].type"),
        (
            {"context_management": [{"type": "compaction", "compact_threshold": 0}]},
            "context_management[0].compact_threshold",
        ),
    ],
)
def test_what_is_refused(client: FlaskClient, body: Any, param: str) -> None:
    assert refused(client, **{"input": "Hi", **body})["param"] == param


def test_the_least_threshold_of_the_reference(engine: SummarizingEngine, tmp_path: Path) -> None:
    client = client_of(engine, tmp_path, strict_parameters=True)
    managed = [{"type": "compaction", "compact_threshold": 999}]
    error = refused(client, input="Hi", context_management=managed)
    assert error["param"] == "context_management[0].compact_threshold"
    managed = [{"type": "compaction", "compact_threshold": 1000}]
    made(client, input="Hi", context_management=managed)
