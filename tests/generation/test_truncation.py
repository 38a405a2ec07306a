"""Prompts are made shorter where a request wants it, and the answer says what was left out."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from extensions.openai.engines.echo import CONTEXT_LENGTH
from tests.support.reference import assert_envelope

IGNORED = "x-openedai-ignored"
LONG = "x" * CONTEXT_LENGTH
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "first"},
    {"role": "assistant", "content": "one"},
    {"role": "user", "content": "call"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c", "content": LONG},
    {"role": "assistant", "content": "done"},
    {"role": "user", "content": "last"},
]


def chat(client: FlaskClient, **body: Any) -> Any:
    sent = {"model": "echo", "messages": TALK, **body}
    return client.post("/v1/chat/completions", json=sent)


def complete(client: FlaskClient, **body: Any) -> Any:
    return client.post("/v1/completions", json={"model": "echo", "max_tokens": 16, **body})


@pytest.mark.parametrize("prompt", ["0123456789", list(b"0123456789")])
def test_the_last_tokens_of_a_prompt(client: FlaskClient, prompt: object) -> None:
    """As vLLM: the prompt is cut on its left."""
    answer = complete(client, prompt=prompt, truncate_prompt_tokens=4)
    assert answer.json["choices"][0]["text"] == "6789"
    assert answer.json["usage"]["prompt_tokens"] == 4
    assert answer.headers[IGNORED] == "prompt"
    assert IGNORED not in complete(client, prompt=prompt, truncate_prompt_tokens=10).headers


def test_each_of_several_prompts(client: FlaskClient) -> None:
    answer = complete(client, prompt=["abc", "abcdef"], truncate_prompt_tokens=3)
    assert [choice["text"] for choice in answer.json["choices"]] == ["abc", "def"]
    assert answer.headers[IGNORED] == "prompt[1]"


@pytest.mark.parametrize("stream", [False, True])
def test_as_much_as_fits(client: FlaskClient, stream: bool) -> None:
    prompt = LONG + "y" * 9
    assert complete(client, prompt=prompt).status_code == 400
    answer = complete(client, prompt=prompt, truncate_prompt_tokens=-1, stream=stream)
    assert answer.status_code == 200
    assert answer.headers[IGNORED] == "prompt"  # 9 more than the context, and 16 for the answer
    if not stream:
        assert answer.json["usage"]["total_tokens"] == CONTEXT_LENGTH


@pytest.mark.parametrize("body", [{"truncation": "auto"}, {"truncate_prompt_tokens": -1}])
@pytest.mark.parametrize("stream", [False, True])
def test_the_oldest_messages_go_first(
    client: FlaskClient, body: dict[str, Any], stream: bool
) -> None:
    assert assert_envelope(chat(client).json, status=400)["code"] == "context_length_exceeded"
    answer = chat(client, stream=stream, **body)
    assert answer.status_code == 200
    # The result is too long, so that it goes and the call before it, but no instruction does.
    assert answer.headers[IGNORED] == ", ".join(f"messages[{at}]" for at in range(1, 6))
    if not stream:
        assert answer.json["choices"][0]["message"]["content"] == "last"
        kept = "<|system|>Be brief.<|end|><|assistant|>done<|end|><|user|>last<|end|><|assistant|>"
        assert answer.json["usage"]["prompt_tokens"] == len(kept)


def test_a_number_of_tokens_and_the_least_that_is_left(client: FlaskClient) -> None:
    short = [*TALK[:3], TALK[-1]]
    least = "<|system|>Be brief.<|end|><|user|>last<|end|><|assistant|>"
    for length in (len(least), 1):
        answer = chat(client, messages=short, truncate_prompt_tokens=length)
        assert answer.headers[IGNORED] == "messages[1], messages[2]"
        assert answer.json["usage"]["prompt_tokens"] == len(least)
    assert IGNORED not in chat(client, messages=short, truncate_prompt_tokens=999).headers
    assert IGNORED not in chat(client, messages=short, truncation="disabled").headers


def test_what_is_refused(client: FlaskClient) -> None:
    both = chat(client, truncation="auto", truncate_prompt_tokens=5)
    for answer, param in (
        (complete(client, prompt="x", truncate_prompt_tokens=0), "truncate_prompt_tokens"),
        (complete(client, prompt="x", truncate_prompt_tokens=-2), "truncate_prompt_tokens"),
        (chat(client, truncation="auto", messages=[{"role": "user", "content": LONG}]), "messages"),
        (both, "truncation"),
    ):
        assert assert_envelope(answer.json, status=400)["param"] == param
