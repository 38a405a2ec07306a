"""Typed questions, answered with the model's own probabilities."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import openai
import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.webui.engine import WebuiEngine
from extensions.openai.generation.deciding import confidence, letters
from extensions.openai.generation.hooks.extension_hooks import Hooks
from tests.conftest import sdk_on
from tests.support.abilities import score
from tests.support.api import Api
from tests.support.media import data_url, picture
from tests.support.process import ROOT
from tests.support.reference import assert_envelope
from tests.webui_host import install

INPUT = "I was charged twice, and nobody answers!"
PREDICATE = {"type": "predicate", "name": "angry", "instructions": "The customer is angry."}
CHOICE = {
    "type": "choice",
    "instructions": "What is it about?",
    "choices": [{"value": "billing", "description": "money"}, {"value": True}, {"value": "true"}],
}
SCORE = {
    "type": "score",
    "instructions": "How urgent is it?",
    "levels": [{"label": "not"}, {"label": "soon", "description": "days"}, {"label": "now"}],
}
ASKED = (
    f"{INPUT}\n\nIs this statement about the above true?\n\nThe customer is angry.\n\n"
    "Answer with Yes or No only.",
    f"{INPUT}\n\nChoose one option for the above.\n\nWhat is it about?\n\n"
    "A: billing (money)\nB: true\nC: true\n\nAnswer with the letter of the option that fits only.",
    f"{INPUT}\n\nRate the above on a scale of levels.\n\nHow urgent is it?\n\n"
    "0: not\n1: soon (days)\n2: now\n\nAnswer with the number of the level that fits only.",
)
LABELS = (("Yes", "No"), ("A", "B", "C"), ("0", "1", "2"))
ROUNDING = 2e-2  # of a probability: what is read beside others rounds its last digits


@pytest.fixture(scope="module", params=["tiny", "Transformers", "llama.cpp"])
def able(request: pytest.FixtureRequest) -> Iterator[Api]:
    if request.param == "tiny":
        yield request.getfixturevalue("tiny")
        return
    with install("2026", ROOT / "models" / "openedai-tiny") as host:
        host.load(loader=request.param)
        yield Api(WebuiEngine())


def decide(api: Api, given: Any, *questions: Any, status: int = 200, **body: Any) -> Any:
    sent = {"model": api.engine.info.model, "input": given, "questions": questions, **body}
    answer = api.client.post("/v1/decisions", json=sent, buffered=True)
    assert answer.status_code == status, answer.get_data(as_text=True)
    return answer.json


def expected(api: Api, text: str, labels: tuple[str, ...]) -> list[float]:
    """The shares of the labels by the engine's own scores of prompt and label together."""
    chat = {"messages": [{"role": "user", "content": text}], "enable_thinking": False}
    prompt = api.client.post("/v1/apply-template", json=chat).json["prompt"]
    begin = len(api.engine.tokenize(prompt))
    weights = []
    for label in labels:
        spelled = {api.engine.tokenize(prompt + space + label) for space in ("", " ")}
        weights.append(sum(math.exp(scored(api, tokens, begin)) for tokens in spelled))
    return [weight / sum(weights) for weight in weights]


def scored(api: Api, tokens: tuple[int, ...], begin: int) -> float:
    found = [each for each in score(api.engine, tokens, 0) if each is not None]
    return sum(each.logprob or 0.0 for each in found[begin:])


def test_probabilities_are_the_engines_own(able: Api) -> None:
    whole = decide(able, INPUT, PREDICATE, CHOICE, SCORE)
    predicate, choice, rated = whole["answers"]
    yes_no, options, levels = (
        expected(able, text, labels) for text, labels in zip(ASKED, LABELS, strict=True)
    )
    assert predicate == {
        "type": "predicate",
        "name": "angry",
        "probability": pytest.approx(yes_no[0], abs=ROUNDING),
    }
    assert [each["value"] for each in choice["probabilities"]] == ["billing", True, "true"]
    found = [each["probability"] for each in choice["probabilities"]]
    assert found == pytest.approx(options, abs=ROUNDING) and sum(found) == pytest.approx(1)
    best = found.index(max(found))
    values = ["billing", True, "true"]
    assert (choice["choice"], type(choice["choice"])) == (values[best], type(values[best]))
    assert choice["confidence"] == pytest.approx((max(found) - 1 / 3) / (2 / 3))
    found = [each["probability"] for each in rated["probabilities"]]
    assert found == pytest.approx(levels, abs=ROUNDING)
    assert [(each["value"], each["label"]) for each in rated["probabilities"]] == [
        *((0, "not"), (1, "soon"), (2, "now"))
    ]
    assert rated["score"] == pytest.approx(found[1] + 2 * found[2])
    assert choice["name"] is rated["name"] is None
    assert max(options) - min(options) > 2 * ROUNDING, "the model has an opinion"


def test_usage_counts_each_prompt_and_what_they_share(tiny: Api) -> None:
    given = "A sentence that both questions are about. " * 30
    whole = decide(tiny, given, PREDICATE, SCORE, cache_salt="of its own")
    usage = whole["usage"]
    chats = [text.replace(INPUT, given) for text in (ASKED[0], ASKED[2])]
    lengths = []
    for text in chats:
        chat = {"messages": [{"role": "user", "content": text}], "enable_thinking": False}
        counted = tiny.client.post("/v1/internal/token-count", json=chat)
        lengths.append(counted.json["length"])
    assert usage["input_tokens"] == usage["total_tokens"] == sum(lengths)
    shared = len(tiny.engine.tokenize(given))
    assert shared - 8 <= usage["input_tokens_details"]["cached_tokens"] <= lengths[1]
    assert usage["output_tokens"] == 0


def test_the_official_client(tiny: Api) -> None:
    with sdk_on(tiny.app) as client:
        decision = client.decisions.create(
            model=tiny.engine.info.model,
            input=cast(Any, [
                {"role": "developer", "content": "You are strict."},
                {"role": "user", "content": [{"type": "input_text", "text": INPUT},
                                             {"type": "input_json", "data": {"order": 7}}]},
                {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "paid twice"},
            ]),
            questions=cast(Any, [PREDICATE, CHOICE, SCORE]),
            safety_identifier="ann",
            prompt_cache_key="k",
        )  # fmt: skip
    assert [each.type for each in decision.answers] == ["predicate", "choice", "score"]
    assert decision.model == tiny.engine.info.model and decision.usage.input_tokens > 50


def test_many_choices(tiny: Api) -> None:
    choices = [{"value": f"option {at}"} for at in range(60)]
    whole = decide(tiny, "x", {"type": "choice", "instructions": "Which?", "choices": choices})
    shares = [each["probability"] for each in whole["answers"][0]["probabilities"]]
    assert len(shares) == 60 and math.fsum(shares) == pytest.approx(1) and min(shares) > 0


def test_labels_and_confidence() -> None:
    assert letters(3) == ("A", "B", "C") and len(set(letters(255))) == 255
    assert set(map(len, letters(255))) == {2} and letters(255)[:2] == ("AA", "AB")
    assert confidence([0.5, 0.5]) == 0 and confidence([1.0, 0.0, 0.0]) == 1
    assert confidence([0.8, 0.2]) == pytest.approx(0.6)


def test_a_model_without_log_probabilities() -> None:
    error = decide(Api(EchoEngine()), INPUT, PREDICATE, status=400)
    assert assert_envelope(error, status=400)["param"] == "questions"


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"questions": []}, "questions"),
        ({"questions": [PREDICATE] * 401}, "questions"),
        ({"questions": [{"type": "predicate", "instructions": ""}]}, "questions[0].instructions"),
        ({"questions": [{**CHOICE, "choices": [{"value": "a"}]}]}, "questions[0].choices"),
        (
            {"questions": [{**CHOICE, "choices": [{"value": "a"}, {"value": "a"}]}]},
            "questions[0].choices[1].value",
        ),
        ({"questions": [{**SCORE, "levels": [{"label": "x"}] * 11}]}, "questions[0].levels"),
        ({"questions": [{"type": "essay", "instructions": "x"}]}, "questions[0].type"),
        ({"input": [{"role": "nobody", "content": "x"}]}, "input[0].role"),
        ({"input": [{"type": "reasoning"}]}, "input[0]"),
    ],
)
def test_what_is_refused(tiny: Api, changed: dict[str, Any], param: str) -> None:
    body = {"model": tiny.engine.info.model, "input": INPUT, "questions": [PREDICATE], **changed}
    answer = tiny.client.post("/v1/decisions", json=body)
    assert assert_envelope(answer.json, status=400)["param"] == param, answer.json


def test_an_input_that_does_not_fit(tiny: Api) -> None:
    long = "word " * 2 * tiny.engine.info.context_length
    for given in (long, "word " * (tiny.engine.info.context_length - 40)):
        error = assert_envelope(decide(tiny, given, PREDICATE, status=400), status=400)
        assert (error["code"], error["param"]) == ("context_length_exceeded", "input")


def test_a_picture_for_a_model_that_sees_none(tiny: Api) -> None:
    seen = {"type": "input_image", "image_url": data_url(picture())}
    error = decide(tiny, [{"role": "user", "content": [seen]}], PREDICATE, status=400)
    assert error["error"]["param"] == "input[0].content[0]"


def test_a_key_pays_for_what_is_read(tiny: Api) -> None:
    limited = Api(tiny.engine, tpm=60)
    first = decide(limited, INPUT, PREDICATE)
    assert first["usage"]["input_tokens"] > 30
    error = decide(limited, INPUT, PREDICATE, status=429)["error"]
    assert (error["code"], error["type"]) == ("rate_limit_exceeded", "tokens")


def test_the_error_of_the_official_client(tiny: Api) -> None:
    strict = Api(tiny.engine, strict_models=True)
    with sdk_on(strict.app) as client, pytest.raises(openai.NotFoundError):
        client.decisions.create(model="another", input="x", questions=cast(Any, [PREDICATE]))


def test_the_shape_of_system_one(tiny: Api) -> None:
    asked = {
        "angry": {"type": "noul", "instructions": "Is the customer angry?"},
        "topic": {
            "type": "choice",
            "instructions": "What is it about?",
            "criteria": {"billing": "money", "delivery": None},
        },
        "urgency": {"type": "score", "instructions": "How urgent?", "criteria": ["not", "now"]},
    }
    body = {"state": {"text": INPUT}, "questions": asked, "model": "jev-latest"}
    whole = tiny.client.post("/v1/systemone", json=body).json
    same = decide(
        tiny,
        json.dumps(body["state"], separators=(",", ":")),
        {"type": "predicate", "instructions": "Is the customer angry?"},
        {
            **CHOICE,
            "choices": [{"value": "billing", "description": "money"}, {"value": "delivery"}],
        },
        {
            "type": "score",
            "instructions": "How urgent?",
            "levels": [{"label": "not"}, {"label": "now"}],
        },
    )
    angry, topic, urgency = same["answers"]
    shares = [[each["probability"] for each in kind["probabilities"]] for kind in (topic, urgency)]
    near = partial(pytest.approx, abs=ROUNDING)
    assert whole["model"] == tiny.engine.info.model
    assert whole["usage"] == {"input_tokens": same["usage"]["input_tokens"], "output_tokens": 0}
    assert whole["answers"] == {
        "angry": {"type": "noul", "noul": near(angry["probability"])},
        "topic": {
            "type": "choice",
            "choice": topic["choice"],
            "probabilities": near(dict(zip(("billing", "delivery"), shares[0], strict=True))),
            "confidence": near(topic["confidence"]),
        },
        "urgency": {
            "type": "score",
            "score": near(urgency["score"]),
            "legend": {"0": "not", "1": "now"},
            "probabilities": near(dict(zip(("0", "1"), shares[1], strict=True))),
            "confidence": near(urgency["confidence"]),
        },
    }


def test_what_system_one_refuses(tiny: Api) -> None:
    for asked, param in (
        ({}, "questions"),
        ({"a": {"type": "noul", "instructions": ""}}, "questions.a.instructions"),
        (
            {"a": {"type": "score", "instructions": "x", "criteria": ["one"]}},
            "questions.a.criteria",
        ),
    ):
        answer = tiny.client.post("/v1/systemone", json={"state": "x", "questions": asked})
        assert assert_envelope(answer.json, status=400)["param"] == param
    long = "word " * tiny.engine.info.context_length
    asked = {"a": {"type": "noul", "instructions": "x"}}
    answer = tiny.client.post("/v1/systemone", json={"state": long, "questions": asked})
    error = assert_envelope(answer.json, status=400)
    assert (error["code"], error["param"]) == ("context_length_exceeded", "state")


def hooked(tiny: Api, **functions: Any) -> Api:
    api = Api(tiny.engine)
    named = [("extension", SimpleNamespace(**functions))]
    api.app.extensions["openai"].hooks = Hooks(lambda: named, replies=True)
    return api


def test_input_hooks_act_on_each_question(tiny: Api) -> None:
    seen: list[str] = []

    def input_modifier(text: str, state: Any, is_chat: bool = False) -> str:
        seen.append(text)
        return text.replace(INPUT, "It is late.")

    api = hooked(tiny, input_modifier=input_modifier)
    changed = decide(api, INPUT, PREDICATE, SCORE)
    assert seen == [ASKED[0], ASKED[2]]
    plain = decide(tiny, "It is late.", PREDICATE, SCORE)
    assert changed["usage"]["input_tokens"] == plain["usage"]["input_tokens"]
    for mine, theirs in zip(shares(changed), shares(plain), strict=True):
        assert mine == pytest.approx(theirs, abs=ROUNDING)


def shares(whole: Any) -> list[list[float]]:
    return [
        [each["probability"] for each in answer.get("probabilities", [answer])]
        for answer in whole["answers"]
    ]


def test_no_extension_decides_in_the_models_place(tiny: Api) -> None:
    api = hooked(tiny, custom_generate_reply=lambda *_, **__: iter(["Yes"]))
    error = decide(api, INPUT, PREDICATE, status=400)
    assert "custom_generate_reply" in error["error"]["message"]


def test_one_that_is_stopped_between_its_questions(tiny: Api) -> None:
    asked: list[str] = []

    def input_modifier(text: str, state: Any, is_chat: bool = False) -> str:
        asked.append(text)
        if len(asked) == 2:
            stopped = api.client.post("/v1/internal/stop-generation", json={})
            assert stopped.status_code == 200
        return text

    api = hooked(tiny, input_modifier=input_modifier)
    error = decide(api, INPUT, PREDICATE, PREDICATE, PREDICATE, status=409)
    assert error["error"]["code"] == "request_stopped" and len(asked) == 2


def test_it_waits_for_its_turn_and_is_counted(tiny: Api) -> None:
    api = Api(tiny.engine)
    before = api.client.get("/v1/usage").json
    whole = decide(api, INPUT, PREDICATE, SCORE)
    assert before != api.client.get("/v1/usage").json
    record = api.client.get("/v1/internal/requests").json["data"][0]
    assert record["prompt_tokens"] == whole["usage"]["input_tokens"], record


def test_what_is_seen_is_decided_about(seeing: Api) -> None:
    def shown(colour: str) -> Any:
        part = {"type": "input_image", "image_url": data_url(picture(colour))}
        return decide(seeing, [{"role": "user", "content": [part]}], PREDICATE, SCORE)

    red, blue = shown("red"), shown("blue")
    assert shares(red) != shares(blue)
    assert red["usage"] == blue["usage"] | {
        "input_tokens_details": red["usage"]["input_tokens_details"]
    }
    text = decide(seeing, [{"role": "user", "content": "x"}], PREDICATE, SCORE)
    assert red["usage"]["input_tokens"] > text["usage"]["input_tokens"]
