"""A SentencePiece vocabulary, as Llama 2 and the first Mistral have: grammars are matched in this process."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.protocol import GenerateRequest
from tests.support.api import Api
from tests.support.random_model import write_sentencepiece_model

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"enum": ["Oslo", "Rome"]}},
                "required": ["city"],
            },
        },
    }
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaCppEngine]:
    path = tmp_path_factory.mktemp("spaced") / "model.gguf"
    made = LlamaCppEngine(write_sentencepiece_model(path), name="spaced", threads=1, parallel=2)
    yield made
    made.close()


@pytest.fixture(scope="module")
def api(engine: LlamaCppEngine) -> Api:
    return Api(engine)


def text_of(answer: dict[str, Any]) -> str:
    return str(answer["choices"][0]["text"])


def test_it_has_grammars(engine: LlamaCppEngine) -> None:
    assert engine.info.grammar_end == "" and "grammar" in engine.info.capabilities
    assert engine.matched is not None


@pytest.mark.parametrize("seed", range(4))
def test_choices_with_spaces_come_as_they_are(api: Api, seed: int) -> None:
    choices = ["the heat", " the heater", "say: a b, [c d]", "früh"]
    for streamed in (False, True):
        asked = {"prompt": "he", "guided_choice": choices, "seed": seed, "max_tokens": 60}
        answer = api.folded("completions", **asked) if streamed else api.complete(**asked)
        assert text_of(answer) in choices
        assert answer["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("seed", range(3))
def test_json_that_a_schema_describes(api: Api, seed: int) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 9}, "age": {"type": "integer", "maximum": 99}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }  # fmt: skip
    answer = api.chat(
        [{"role": "user", "content": "hi"}],
        response_format={"type": "json_schema", "json_schema": {"name": "it", "schema": schema}},
        seed=seed,
        max_tokens=200,
    )
    found = json.loads(answer["choices"][0]["message"]["content"])
    assert set(found) == {"name", "age"} and len(found["name"]) <= 9 and found["age"] <= 99


def test_a_demanded_call(api: Api) -> None:
    messages = [{"role": "user", "content": "hi"}]
    answer = api.chat(messages, tools=TOOLS, tool_choice="required", max_tokens=300)
    calls = answer["choices"][0]["message"]["tool_calls"]
    assert {call["function"]["name"] for call in calls} == {"weather"}
    for call in calls:
        assert json.loads(call["function"]["arguments"])["city"] in ("Oslo", "Rome")


def test_a_regular_expression_and_several_choices(api: Api) -> None:
    answer = api.complete("t", guided_regex="[eta]{3}( the){2}", n=3, max_tokens=40)
    assert all(re.fullmatch("[eta]{3}( the){2}", each["text"]) for each in answer["choices"])


def test_what_the_grammar_forces_is_counted_and_has_log_probabilities(
    api: Api, engine: LlamaCppEngine
) -> None:
    answer = api.complete("he", guided_choice=["tea the"], max_tokens=60, logprobs=2)
    given = answer["choices"][0]["logprobs"]
    assert "".join(given["tokens"]) == "tea the"
    assert answer["usage"]["completion_tokens"] == len(given["tokens"])
    request = GenerateRequest(
        "he", 60, {"temperature": 1.0}, grammar='start: "tea the"', logprobs=0
    )
    sampled = [token for piece in engine.generate(request) if piece for token in piece.logprobs]
    prompt = engine.tokenize("he")
    tokens = (*prompt, *(token.id or 0 for token in sampled))
    scores = [each for each in engine.score(tokens, 0) if each is not None][len(prompt) :]
    for one, other, reported in zip(sampled, scores, given["token_logprobs"], strict=True):
        assert one.id == other.id
        assert one.logprob == pytest.approx(other.logprob, abs=0.02)
        assert reported == pytest.approx(other.logprob, abs=0.02)


def test_a_limit_cuts_it(api: Api) -> None:
    answer = api.complete("he", guided_choice=["a the the the"], max_tokens=3)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 3
    assert "a the the the".startswith(text_of(answer))


def test_a_seed_gives_the_same_answer(api: Api) -> None:
    body = {
        "prompt": "he",
        "guided_regex": "[a-z ]{30}",
        "seed": 7,
        "max_tokens": 60,
        "temperature": 1,
    }
    assert text_of(api.complete(**body)) == text_of(api.complete(**body))


def test_without_a_seed_chance_decides(api: Api) -> None:
    body = {"guided_regex": "[a-z ]{30}", "max_tokens": 60, "temperature": 1, "n": 3}
    choices = api.complete("he", **body)["choices"] + api.complete("he", seed=-1, **body)["choices"]
    assert len({each["text"] for each in choices}) > 1


def test_a_grammar_that_is_wrong_is_refused(api: Api) -> None:
    assert api.refused("completions", grammar='root ::= "a')["param"] == "grammar"


def test_leaving_ends_the_work(engine: LlamaCppEngine) -> None:
    pieces = engine.generate(GenerateRequest("he", 200, grammar="start: /[a-z ]{150}/"))
    while next(pieces) is None:
        pass
    pieces.close()
    assert engine.cache.slots.wait_until_empty(5)
