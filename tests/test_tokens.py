"""The tokenizer and the template over HTTP, beside llama.cpp's own server, which is asked the same."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.protocol import Capability
from extensions.openai.observability.record import RequestRecord
from tests.support.api import Api
from tests.support.paced import PacedEngine
from tests.support.reference import assert_envelope

TEXT = "Hello, wörld <|im_end|> \N{GRINNING FACE}he"
MESSAGES = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hello!"}]


@pytest.fixture(scope="module")
def random(llamacpp: LlamaCppEngine) -> Api:
    return Api(llamacpp)


def post(client: FlaskClient, path: str, body: dict[str, Any], status: int = 200) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == status, answer.get_data(as_text=True)
    answer.close()  # which ends the request
    return answer.json


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"add_special": True},
        {"parse_special": False},
        {"with_pieces": True},
        {"with_pieces": True, "parse_special": False, "add_special": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("text", [TEXT, "", "<|endoftext|>x", "\n\n"])
def test_tokenize_is_llama_servers(
    random: Api, llamacpp: LlamaCppEngine, text: str, options: dict[str, bool]
) -> None:
    body = {"content": text, **options}
    assert post(random.client, "/tokenize", body) == llamacpp.model.listener.ask("/tokenize", body)


def test_detokenize_is_llama_servers_and_vllms(random: Api, llamacpp: LlamaCppEngine) -> None:
    tokens = post(random.client, "/tokenize", {"content": TEXT})["tokens"]
    mine = post(random.client, "/detokenize", {"tokens": tokens})
    theirs = llamacpp.model.listener.ask("/detokenize", {"tokens": tokens})
    assert mine == {"content": theirs["content"], "prompt": theirs["content"]}
    assert mine["prompt"] == TEXT
    assert post(random.client, "/v1/internal/decode", {"tokens": tokens}) == {"text": TEXT}


def test_tokenize_is_vllms_by_its_fields(random: Api) -> None:
    tokens = post(random.client, "/tokenize", {"content": "he!"})["tokens"]
    answer = post(random.client, "/tokenize", {"model": "m", "prompt": "he!"})
    assert answer == {"count": 2, "max_model_len": 2048, "tokens": tokens}
    named = post(random.client, "/tokenize", {"prompt": "heö", "return_token_strs": True})
    assert named["token_strs"] == ["he", "\N{REPLACEMENT CHARACTER}", "\N{REPLACEMENT CHARACTER}"]
    bare = {"prompt": "he!", "add_special_tokens": False}
    assert post(random.client, "/tokenize", bare)["tokens"] == tokens


def test_a_start_token_is_added_where_it_is_wanted(tiny: Api) -> None:
    """The model that comes along has none, the one with SentencePiece's vocabulary does."""
    whole = post(tiny.client, "/tokenize", {"prompt": "Hello"})["tokens"]
    bare = post(tiny.client, "/tokenize", {"content": "Hello"})["tokens"]
    special = post(tiny.client, "/tokenize", {"content": "Hello", "add_special": True})["tokens"]
    assert whole == special and whole[len(whole) - len(bare) :] == bare


def test_a_webuis_encode_and_token_count(random: Api) -> None:
    encoded = post(random.client, "/v1/internal/encode", {"text": TEXT})
    assert encoded == {
        "tokens": list(random.engine.tokenize(TEXT)),
        "length": len(TEXT.encode()) - 10,
    }
    assert post(random.client, "/v1/internal/token-count", {"text": TEXT}) == {
        "length": encoded["length"]
    }


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    "more", [{}, {"tools": [TOOL]}, {"chat_template_kwargs": {"x": 1}}], ids=str
)
def test_a_chat_is_counted_as_it_is_answered(tiny: Api, more: dict[str, Any]) -> None:
    answered = tiny.chat(MESSAGES, max_tokens=1, **more)["usage"]["prompt_tokens"]
    body = {"messages": MESSAGES, **more}
    assert post(tiny.client, "/v1/internal/token-count", body) == {"length": answered}
    assert post(tiny.client, "/tokenize", body)["count"] == answered


def test_the_prompt_of_a_chat_is_what_the_model_reads(tiny: Api) -> None:
    body = {"messages": MESSAGES}
    prompt = post(tiny.client, "/v1/internal/chat-prompt", body)["prompt"]
    assert post(tiny.client, "/apply-template", body) == {"prompt": prompt}
    same: dict[str, Any] = {"max_tokens": 12, "temperature": 0}
    chat = tiny.chat(MESSAGES, **same)["choices"][0]["message"]["content"]
    assert tiny.complete(prompt, **same)["choices"][0]["text"].strip() == chat.strip()


def test_the_prompt_of_a_chat_that_is_continued(random: Api) -> None:
    begun = [*MESSAGES, {"role": "assistant", "content": "I am"}]
    body = {"messages": begun, "continue_final_message": True, "add_generation_prompt": False}
    assert post(random.client, "/v1/internal/chat-prompt", body)["prompt"].endswith(
        "assistant\nI am"
    )


def test_logits_are_llama_cpps_probabilities(random: Api, llamacpp: LlamaCppEngine) -> None:
    body = {"prompt": "he", "top_logits": 40}
    found = post(random.client, "/v1/internal/logits", body)["logits"]
    asked = {"prompt": "he", "n_predict": 1, "n_probs": 40, "temperature": 0}
    theirs = llamacpp.model.listener.ask("/completion", asked)["completion_probabilities"][0]
    best = theirs["top_logprobs"][0]
    assert len(found) == 40 and list(found.values()) == sorted(found.values(), reverse=True)
    assert 2.718281828 ** best["logprob"] == pytest.approx(max(found.values()), rel=1e-3)
    assert len(post(random.client, "/v1/internal/logits", {"prompt": "he"})["logits"]) == 50


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("tokenize", {}, "content"),
        ("tokenize", {"content": "a", "prompt": "b"}, "prompt"),
        ("tokenize", {"messages": []}, "messages"),
        ("tokenize", {"content": 5}, "content"),
        ("tokenize", {"content": "x" * 3_000_000}, "content"),
        ("detokenize", {"tokens": [99999]}, "tokens"),
        ("detokenize", {"tokens": [-1]}, "tokens"),
        ("detokenize", {"tokens": ["a"]}, "tokens[0]"),
        ("internal/decode", {}, "tokens"),
        ("internal/encode", {"text": "x" * 3_000_000}, "text"),
        ("internal/token-count", {}, "text"),
        ("internal/chat-prompt", {"messages": "Hi"}, "messages"),
        ("internal/logits", {"prompt": "x", "use_samplers": True, "top_p": 2}, "top_p"),
        ("internal/logits", {"prompt": "x" * 5000, "use_samplers": True}, "prompt"),
        (
            "internal/logits",
            {"prompt": "x", "use_samplers": True, "guided_regex": "a"},
            "guided_regex",
        ),
        ("internal/logits", {"prompt": "x", "top_logits": 5000}, "top_logits"),
        ("internal/logits", {"prompt": ""}, "prompt"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    random: Api, path: str, body: dict[str, Any], param: str
) -> None:
    error = assert_envelope(post(random.client, f"/v1/{path}", body, 400), status=400)
    assert error["param"] == param


def test_samplers_do_not_change_logits(random: Api) -> None:
    body = {"prompt": "he", "temperature": 2, "max_tokens": 512, "top_k": 1}
    found = post(random.client, "/v1/internal/logits", body)
    assert found == post(random.client, "/v1/internal/logits", {"prompt": "he"})


OFF = {"min_p": 0, "top_k": 0, "top_p": 1}
"""Samplers that the model's file may switch on."""


@pytest.mark.parametrize(
    ("samplers", "kept", "temperature"),
    [
        ({"top_k": 5, "temperature": 2}, 5, 2.0),
        ({"top_k": 1}, 1, 1.0),
        ({"temperature": 0}, 1, 1.0),
        ({"temperature": 0.5}, 256, 0.5),
        ({"top_k": 3, "frequency_penalty": 2, "presence_penalty": 2}, 3, 1.0),
        ({"top_k": 4, "seed": 3}, 4, 1.0),
    ],
    ids=str,
)
def test_samplers_leave_what_they_compute(
    random: Api, samplers: dict[str, Any], kept: int, temperature: float
) -> None:
    """Beside the same computed from the model's own probabilities. Penalties count an answer, of which there
    is nothing yet."""
    plain = post(random.client, "/v1/internal/logits", {"prompt": "hehe", "top_logits": 300})
    body = {"prompt": "hehe", "top_logits": 300, "use_samplers": True, **OFF, **samplers}
    found = post(random.client, "/v1/internal/logits", body)["logits"]
    likeliest = list(plain["logits"].items())[:kept]
    weights = {name: share ** (1 / temperature) for name, share in likeliest}
    whole = sum(weights.values())
    expected = {name: weight / whole for name, weight in weights.items()}
    common = expected.keys() & found.keys()
    assert len(common) >= 0.9 * len(expected), "tokens with the same text share a key"
    for name in common:
        assert found[name] == pytest.approx(expected[name], rel=0.05, abs=1e-4)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_samplers_default_to_the_operators(llamacpp: LlamaCppEngine) -> None:
    body = {"prompt": "he", "use_samplers": True, **OFF}
    own = Api(llamacpp, sampling_defaults={"top_k": 2})
    del body["top_k"]
    assert len(post(own.client, "/v1/internal/logits", body)["logits"]) == 2
    assert len(post(own.client, "/v1/internal/logits", {**body, "top_k": 3})["logits"]) == 3


def test_a_bias_counts_as_a_sampler(random: Api) -> None:
    (letter,) = random.engine.tokenize("q")
    body = {"prompt": "he", "use_samplers": True, "logit_bias": {str(letter): 100}, **OFF}
    found = post(random.client, "/v1/internal/logits", body)["logits"]
    assert found["q"] == pytest.approx(1.0, abs=1e-3)


def test_a_token_that_begins_a_character_is_drawn_again(random: Api) -> None:
    """llama.cpp reports nothing with it; the distribution is the same whatever is drawn."""
    (letter,) = random.engine.tokenize("q")
    begin = random.engine.tokenize("ö")[0]
    bias = {str(letter): 100, str(begin): 100}
    body = {"prompt": "he", "use_samplers": True, "logit_bias": bias, "temperature": 5, **OFF}
    for seed in range(6):
        found = post(random.client, "/v1/internal/logits", body | {"seed": seed, "top_logits": 2})
        assert found["logits"].keys() == {"q", "bytes:\\xc3"}
        assert sum(found["logits"].values()) == pytest.approx(1.0, abs=1e-3)


def test_what_llama_cpp_never_reports_is_one_clear_error(random: Api) -> None:
    begin = random.engine.tokenize("ö")[0]
    body = {"prompt": "he", "use_samplers": True, "logit_bias": {str(begin): 100}, **OFF}
    error = post(random.client, "/v1/internal/logits", body, 500)["error"]
    assert "beginnings of characters" in error["message"]
    assert post(random.client, "/v1/internal/logits", {"prompt": "he"})["logits"]


def test_samplers_are_usage_of_one_token(llamacpp: LlamaCppEngine) -> None:
    api, records = Api(llamacpp), list[RequestRecord]()
    api.app.extensions["openai"].observers.append(records.append)
    post(api.client, "/v1/internal/logits", {"prompt": "hehe", "use_samplers": True})
    (record,) = records
    tokens = len(api.engine.tokenize("hehe"))
    assert (record.prompt_tokens, record.completion_tokens) == (tokens, 1)


def test_a_chat_is_checked_as_a_chat(random: Api) -> None:
    """Its fields are those of the endpoint for chats, with their names in errors."""
    for body, param in (
        ({"messages": [{"role": "x", "content": "a"}]}, "messages[0].role"),
        ({"messages": MESSAGES, "tools": [{"type": "function"}]}, "tools[0].function"),
        ({"messages": MESSAGES, "temprature": 1}, "temprature"),
        ({"messages": MESSAGES, "max_tokens": 1, "max_completion_tokens": 1}, "max_tokens"),
    ):
        error = post(random.client, "/v1/internal/token-count", body, 400)["error"]
        assert error["param"] == param
    answer = random.client.post("/apply-template", json={"messages": MESSAGES, "zz": 1})
    assert answer.status_code == 200 and answer.headers["x-openedai-ignored"] == "zz"


def test_an_engine_without_probabilities_has_no_logits(client: FlaskClient) -> None:
    error = post(client, "/v1/internal/logits", {"prompt": "x"}, 400)["error"]
    assert (error["param"], error["code"]) == ("top_logits", "unsupported_parameter")


def test_an_engine_that_does_not_know_its_samplers_says_so() -> None:
    engine = PacedEngine()
    able = (Capability.COMPLETION, Capability.LOGPROBS)
    engine.info = replace(engine.info, capabilities=able)
    body = {"prompt": "x", "use_samplers": True}
    error = post(Api(engine).client, "/v1/internal/logits", body, 400)["error"]
    assert (error["param"], error["code"]) == ("use_samplers", "unsupported_parameter")


def test_an_engine_that_cannot_read_special_tokens_as_text_says_so() -> None:
    api = Api(PacedEngine())
    assert post(api.client, "/tokenize", {"content": "ab"})["tokens"] == list(b"ab")
    error = post(api.client, "/tokenize", {"content": "ab", "parse_special": False}, 400)["error"]
    assert error["param"] == "parse_special"


def test_names_of_models_count_as_elsewhere(client: FlaskClient) -> None:
    strict = Api(PacedEngine(), strict_models=True)
    body = {"text": "x", "model": "nope"}
    assert (
        post(strict.client, "/v1/internal/encode", body, 404)["error"]["code"] == "model_not_found"
    )
    assert post(client, "/v1/internal/encode", body) == {"tokens": [120], "length": 1}


def test_the_log_has_no_text(random: Api, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="openedai"):
        post(random.client, "/v1/internal/encode", {"text": "a secret text"})
        post(
            random.client, "/tokenize", {"messages": [{"role": "user", "content": "a secret text"}]}
        )
    assert caplog.records and "secret" not in caplog.text


def test_counting_uses_no_tokens_of_a_limit() -> None:
    api = Api(PacedEngine(), api_key="k", tpm=1000)
    headers = {"Authorization": "Bearer k"}
    for _ in range(3):
        answer = api.client.post("/tokenize", json={"prompt": "x" * 500}, headers=headers)
        assert answer.status_code == 200
    assert answer.headers["x-ratelimit-remaining-tokens"] == "1000"


@pytest.mark.parametrize("samplers", [True, False])
def test_fields_that_say_nothing_of_the_next_token_are_named(random: Api, samplers: bool) -> None:
    body = {"prompt": "he", "use_samplers": samplers, "stop": ["x"], "stream": True, "top_k": 3}
    answer = random.client.post("/v1/internal/logits", json=body)
    assert answer.status_code == 200 and answer.json["logits"]
    assert answer.headers["x-openedai-ignored"] == "stop, stream"
