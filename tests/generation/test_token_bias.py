"""`allowed_token_ids`: no other token is chosen, whatever the model would say."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.api import Api

PATHS: dict[str, dict[str, Any]] = {
    "completions": {"prompt": "one two three"},
    "chat/completions": {"messages": [{"role": "user", "content": "one two three"}]},
}


def post(api: Api, path: str, **body: Any) -> dict[str, Any]:
    answer = api.client.post(f"/v1/{path}", json={"model": "x", **PATHS[path], **body})
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert answer.json is not None
    return dict(answer.json)


@pytest.mark.parametrize("path", PATHS)
def test_only_these_tokens_come(path: str, tiny: Api) -> None:
    (one,) = tiny.engine.tokenize(" one")
    (two,) = tiny.engine.tokenize(" two")
    choice = post(tiny, path, allowed_token_ids=[one, two], max_tokens=12, temperature=5)[
        "choices"
    ][0]
    text = choice["text"] if "text" in choice else choice["message"]["content"]
    assert choice["finish_reason"] == "length"
    assert len(text.split()) == 12 and set(text.split()) <= {"one", "two"}


def test_an_end_token_among_them_and_a_bias_apply(tiny: Api) -> None:
    (one,) = tiny.engine.tokenize(" one")
    end = min(tiny.engine.info.end_tokens)
    body = {"allowed_tokens": [one, end], "max_tokens": 12, "temperature": 0}
    ended = post(tiny, "completions", logit_bias={str(end): 90}, **body)["choices"][0]
    assert (ended["text"], ended["finish_reason"]) == ("", "stop")
    banned = post(tiny, "completions", logit_bias={str(end): -100}, **body)["choices"][0]
    assert (banned["text"], banned["finish_reason"]) == (" one" * 12, "length")
    assert post(tiny, "completions", allowed_token_ids=[], max_tokens=2)["choices"]


@pytest.mark.parametrize("path", PATHS)
def test_what_leaves_nothing_or_contradicts_itself_is_refused(path: str, tiny: Api) -> None:
    size, end = tiny.engine.info.vocabulary_size, min(tiny.engine.info.end_tokens)
    for body, param in (
        ({"allowed_token_ids": [size]}, "allowed_token_ids"),
        ({"allowed_token_ids": [-1]}, "allowed_token_ids[0]"),
        ({"allowed_token_ids": [7], "custom_token_bans": "7"}, "allowed_token_ids"),
        ({"allowed_token_ids": [end], "ignore_eos": True}, "allowed_token_ids"),
        ({"allowed_token_ids": [7], "guided_choice": ["a"]}, "allowed_token_ids"),
    ):
        assert tiny.refused(path, **body)["param"] == param
