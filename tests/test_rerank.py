"""Rerank: over HTTP, with a model whose scores NumPy computes, too."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from extensions.openai.engines.llamacpp.reranker import LlamaCppReranker
from tests.support.api import Api
from tests.support.paced import PacedEngine
from tests.support.random_bert import NumpyBert, pair_of, write_bert
from tests.support.reference import assert_envelope

QUERY = "forgot password"
DOCUMENTS = ["the cat sat on the mat", "recover account", "how to reset my password?", "sun"]
CONTEXT = 128


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("rank") / "rank.gguf", scores=True, context=CONTEXT)


@pytest.fixture(scope="module")
def api(path: Path) -> Iterator[Api]:
    engine = LlamaCppReranker(path, name="rank", threads=1)
    api = Api(PacedEngine())
    api.app.extensions["openai"].models.add("rank", engine)
    yield api
    engine.close()


def post(
    client: FlaskClient, body: dict[str, Any], status: int = 200, path: str = "/v1/rerank"
) -> Any:
    sent = {"model": "rank", "query": QUERY, "documents": DOCUMENTS, **body}
    answer = client.post(path, json=sent)
    assert answer.status_code == status, answer.get_data(as_text=True)
    return answer.json


def test_scores_are_the_models(api: Api, path: Path) -> None:
    model = NumpyBert.read(path)
    logits = [model.score(pair_of(QUERY, document)) for document in DOCUMENTS]
    order = sorted(range(len(logits)), key=lambda at: -logits[at])
    whole = post(api.client, {})
    assert [each["index"] for each in whole["results"]] == order
    wanted = [1 / (1 + math.exp(-logits[at])) for at in order]
    assert [each["relevance_score"] for each in whole["results"]] == pytest.approx(wanted, abs=3e-3)
    raw = post(api.client, {"raw_scores": True})["results"]
    assert [each["relevance_score"] for each in raw] == pytest.approx(
        sorted(logits)[::-1], abs=1e-2
    )


def test_what_jinas_and_coheres_clients_read(api: Api) -> None:
    whole = post(api.client, {"top_n": 2, "return_documents": True})
    assert (whole["object"], whole["model"]) == ("list", "rank")
    tokens = sum(len(pair_of(QUERY, document)) for document in DOCUMENTS)
    assert whole["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert whole["id"] and whole["meta"]["api_version"] and len(whole["results"]) == 2
    for each in whole["results"]:
        assert each["document"] == {"text": DOCUMENTS[each["index"]]}
    assert "document" not in post(api.client, {})["results"][0]
    for path in ("/rerank", "/v2/rerank", "/openai/v1/rerank"):
        assert post(api.client, {}, path=path)["results"] == post(api.client, {})["results"]


def test_documents_as_objects(api: Api) -> None:
    objects = [{"text": text, "title": "x"} for text in DOCUMENTS]
    assert post(api.client, {"documents": objects})["results"] == post(api.client, {})["results"]


def test_a_score_is_the_same_alone_and_in_a_list(api: Api) -> None:
    together = {each["index"]: each for each in post(api.client, {})["results"]}
    for at, document in enumerate(DOCUMENTS):
        (alone,) = post(api.client, {"documents": [document]})["results"]
        difference = alone["relevance_score"] - together[at]["relevance_score"]
        assert abs(difference) < 1e-4


def test_a_long_document_is_refused_with_both_numbers(api: Api) -> None:
    error = post(api.client, {"documents": ["sun", "cat " * 200]}, 400)["error"]
    assert (error["param"], error["code"]) == ("documents[1]", "context_length_exceeded")
    assert f"{CONTEXT} tokens" in error["message"] and "20" in error["message"]
    near = "cat " * 115
    assert len(post(api.client, {"documents": [near, "sun"]})["results"]) == 2


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"query": ""}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": ["a", ""]}, "documents[1]"),
        ({"documents": [{"title": "x"}]}, "documents[0].text"),
        ({"documents": ["a"] * 2049}, "documents"),
        ({"top_n": 0}, "top_n"),
    ],
)
def test_what_cannot_be_is_refused_by_name(api: Api, body: dict[str, Any], param: str) -> None:
    error = assert_envelope(post(api.client, body, 400), status=400)
    assert error["param"] == param


def test_without_a_model_it_says_how_to_get_one() -> None:
    error = post(Api(PacedEngine()).client, {}, 501)["error"]
    assert error["code"] == "not_configured" and "--rerank-model" in error["message"]


def test_the_list_of_models_says_so(api: Api) -> None:
    assert api.client.get("/v1/models/rank").json["capabilities"] == ["rerank"]
