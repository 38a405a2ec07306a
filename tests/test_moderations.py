"""Moderation by a model of this server."""

from __future__ import annotations

import math
from typing import Any

import pytest

from extensions.openai.engines.moderators import CATEGORIES
from extensions.openai.errors import EngineFailed
from extensions.openai.generation.moderation import judgement_of
from tests.support.api import Api
from tests.support.paced import PacedEngine
from tests.support.reference import assert_envelope


@pytest.fixture(scope="module")
def api(tiny: Api) -> Api:
    return Api(tiny.engine, moderation_model="self")


def moderate(api: Api, given: Any, status: int = 200, **body: Any) -> Any:
    answer = api.client.post("/v1/moderations", json={"input": given, **body}, buffered=True)
    assert answer.status_code == status, answer.get_data(as_text=True)
    return answer.json


def test_a_judgement_of_each_text(api: Api) -> None:
    answer = moderate(api, ["one", "two"], model="omni-moderation-latest")
    assert answer["model"] == api.engine.info.model and answer["id"].startswith("modr-")
    assert len(answer["results"]) == 2
    for result in answer["results"]:
        assert list(result["categories"]) == list(result["category_scores"]) == list(CATEGORIES)
        assert result["flagged"] is any(result["categories"].values())
        for name, value in result["categories"].items():
            score = result["category_scores"][name]
            # The likelier of the two is what it says, as nothing is left to chance.
            assert 0 <= score <= 1 and (score >= 0.5) is value, (name, value, score)
        assert 0 < sum(result["category_scores"].values()) < len(CATEGORIES)


def test_parts_of_a_message(api: Api) -> None:
    text = {"type": "text", "text": "x"}
    assert len(moderate(api, [text, text])["results"]) == 1
    picture = {"type": "image_url", "image_url": {"url": "https://a.example/1.png"}}
    assert moderate(api, [text, picture], 400)["error"]["param"] == "input"


def test_a_model_that_cannot_be_held_to_the_categories() -> None:
    error = moderate(Api(PacedEngine(), moderation_model="self"), "x", 501)
    assert assert_envelope(error, status=501)["code"] == "not_configured"


def test_the_list_of_models_says_which_one_moderates(api: Api, tiny: Api) -> None:
    def able(api: Api) -> set[str]:
        models = api.client.get("/v1/models").json["data"]
        return {each["id"] for each in models if "moderation" in each["capabilities"]}

    own = api.engine.info.model
    assert own in able(api) and not able(tiny)
    assert own in able(Api(tiny.engine, moderation_model=own))
    assert not able(Api(tiny.engine, moderation_model="another"))
    assert not able(Api(PacedEngine(), moderation_model="self"))


def entry(text: str, **others: float) -> dict[str, Any]:
    top = [{"bytes": list(each.encode()), "logprob": math.log(p)} for each, p in others.items()]
    return {"bytes": list(text.encode()), "top_logprobs": top}


def test_scores_are_the_share_of_true() -> None:
    said = {name: name == "hate" for name in CATEGORIES}
    text = "{" + ",".join(f'"{name}":{str(value).lower()}' for name, value in said.items()) + "}"
    place = text.index('"hate":true') + len('"hate":')
    tokens = [
        entry(text[:place]),
        entry("tr", tr=0.6, true=0.1, f=0.2, x=0.1),
        entry(text[place + 2 :]),
    ]
    judged = judgement_of(text, tokens)
    assert judged.flagged and judged.scores["hate"] == pytest.approx(0.7 / 0.9)
    assert judged.scores["violence"] == 0.0, "where no alternatives are known"
    assert judgement_of(text, []).scores["hate"] == 1.0
    for broken in ("", "{}", text[:-5], text.replace("true", "1"), "[]"):
        with pytest.raises(EngineFailed):
            judgement_of(broken, [])
