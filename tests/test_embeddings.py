"""Create embeddings: over HTTP, with a model whose vectors NumPy computes, too."""

from __future__ import annotations

import base64
import logging
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from flask.testing import FlaskClient

from extensions.openai.engines.encoders import VectorBatches, Vectors
from extensions.openai.engines.llamacpp.embeddings import LlamaCppEmbedder
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.conftest import sdk_on
from tests.support.api import Api
from tests.support.keys import headers_of
from tests.support.paced import PacedEngine
from tests.support.random_bert import NumpyBert, tokens_of, write_bert
from tests.support.reference import assert_envelope

URL = "/v1/embeddings"
WIDTH, CONTEXT = 48, 128
TEXTS = ["the cat sat on the mat", "how to reset my password?", "sun"]
ROUNDING = 5e-5


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("bert") / "bert.gguf", width=WIDTH, context=CONTEXT)


@pytest.fixture(scope="module")
def embedder(path: Path) -> Iterator[LlamaCppEmbedder]:
    engine = LlamaCppEmbedder(path, name="bert", threads=1, shortening="any")
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def api(embedder: LlamaCppEmbedder) -> Api:
    """A chat model, and an embedding model beside it."""
    api = Api(PacedEngine())
    api.app.extensions["openai"].models.add("bert", embedder)
    return api


def post(client: FlaskClient, body: dict[str, Any], status: int = 200, path: str = URL) -> Any:
    answer = client.post(path, json={"model": "bert", **body})
    assert answer.status_code == status, answer.get_data(as_text=True)
    answer.close()
    return answer.json


def vectors(whole: Any) -> Any:
    return np.array([each["embedding"] for each in whole["data"]])


def test_the_shape_of_the_reference(api: Api) -> None:
    whole = post(api.client, {"input": TEXTS[0]})
    tokens = len(tokens_of(TEXTS[0]))
    assert whole["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert (whole["object"], whole["model"], len(whole["data"])) == ("list", "bert", 1)
    (one,) = whole["data"]
    assert (one["object"], one["index"], len(one["embedding"])) == ("embedding", 0, WIDTH)


def test_vectors_are_the_models(api: Api, path: Path) -> None:
    model = NumpyBert.read(path)
    whole = post(api.client, {"input": TEXTS})
    wanted = np.array([model.embedding(tokens_of(text)) for text in TEXTS])
    assert np.abs(vectors(whole) - wanted).max() < 2e-3
    assert [each["index"] for each in whole["data"]] == [0, 1, 2]
    assert whole["usage"]["prompt_tokens"] == sum(len(tokens_of(text)) for text in TEXTS)


def test_all_forms_of_an_input_are_the_same(api: Api) -> None:
    ids = [tokens_of(text) for text in TEXTS]
    alone = np.array([vectors(post(api.client, {"input": text}))[0] for text in TEXTS])
    for form in (TEXTS, ids):
        assert np.abs(vectors(post(api.client, {"input": form})) - alone).max() < ROUNDING
    assert np.abs(vectors(post(api.client, {"input": ids[0]})) - alone[:1]).max() < ROUNDING


def test_a_vector_is_the_same_among_other_requests(api: Api) -> None:
    alone = vectors(post(api.client, {"input": TEXTS}))
    found: list[Any] = []

    def ask(at: int) -> None:
        client = api.app.test_client()
        found.append((at, vectors(post(client, {"input": [TEXTS[at], "dog " * (3 * at + 1)]}))[0]))

    threads = [threading.Thread(target=ask, args=[at % 3]) for at in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12
    assert all(np.abs(vector - alone[at]).max() < ROUNDING for at, vector in found)


def test_base64_are_the_same_numbers(api: Api) -> None:
    plain = post(api.client, {"input": TEXTS, "encoding_format": "float"})
    coded = post(api.client, {"input": TEXTS, "encoding_format": "base64"})
    for one, other in zip(plain["data"], coded["data"], strict=True):
        numbers = struct.unpack(f"<{WIDTH}f", base64.b64decode(other["embedding"]))
        assert np.abs(np.array(numbers) - one["embedding"]).max() < ROUNDING


def test_fewer_dimensions_are_the_first_ones_of_length_one(api: Api) -> None:
    whole = vectors(post(api.client, {"input": TEXTS}))
    cut = vectors(post(api.client, {"input": TEXTS, "dimensions": 16}))
    wanted = whole[:, :16] / np.linalg.norm(whole[:, :16], axis=1, keepdims=True)
    assert cut.shape == (3, 16) and np.abs(cut - wanted).max() < ROUNDING
    assert vectors(post(api.client, {"input": "sun", "dimensions": WIDTH})).shape == (1, WIDTH)
    error = post(api.client, {"input": "sun", "dimensions": WIDTH + 1}, 400)["error"]
    assert (error["param"], error["code"]) == ("dimensions", "integer_above_max_value")


def test_a_model_that_was_not_made_for_fewer_refuses_them(path: Path) -> None:
    engine = LlamaCppEmbedder(path, name="bert", threads=1)
    try:
        api = Api(PacedEngine())
        api.app.extensions["openai"].models.add("bert", engine)
        error = post(api.client, {"input": "sun", "dimensions": 16}, 400)["error"]
        assert (error["param"], error["code"]) == ("dimensions", "unsupported_parameter")
        assert f"must be {WIDTH}" in error["message"]
        assert "--embedding-dimensions any" in error["message"]
    finally:
        engine.close()


LONG = "cat " * 200


def test_a_long_input_is_refused_with_both_numbers(api: Api) -> None:
    for given, param, tokens in (
        (LONG, "input", 202),
        (["sun", LONG], "input[1]", 202),
        ([tokens_of("sun"), [5] * 150], "input[1]", 150),
    ):
        error = assert_envelope(post(api.client, {"input": given}, 400), status=400)
        assert (error["param"], error["code"]) == (param, "context_length_exceeded")
        assert f"{CONTEXT} tokens" in error["message"] and f"{tokens} tokens" in error["message"]


def test_a_long_input_is_cut_when_asked(api: Api, path: Path) -> None:
    model, ids = NumpyBert.read(path), tokens_of(LONG)
    cases: list[tuple[dict[str, Any], int]] = [
        ({"truncate_prompt_tokens": -1}, CONTEXT),
        ({"truncate_prompt_tokens": 500}, CONTEXT),
        ({"truncate": True}, CONTEXT),
        ({"truncate": "END"}, CONTEXT),
        ({"truncate_prompt_tokens": 10}, 10),
    ]
    for options, most in cases:
        whole = post(api.client, {"input": LONG, **options})
        assert whole["usage"]["prompt_tokens"] == most, options
        wanted = model.embedding([*ids[: most - 1], ids[-1]])  # the [SEP] at the end stays
        assert np.abs(vectors(whole)[0] - wanted).max() < 2e-3
    short = post(api.client, {"input": "sun", "truncate_prompt_tokens": 50})
    assert short["usage"]["prompt_tokens"] == len(tokens_of("sun"))


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "input", "missing_required_parameter"),
        ({"input": ""}, "input", "empty_string"),
        ({"input": []}, "input", "empty_array"),
        ({"input": ["a", ""]}, "input[1]", "empty_string"),
        ({"input": [[]]}, "input[0]", "empty_array"),
        ({"input": 5}, "input", "invalid_type"),
        ({"input": ["a", 5]}, "input[1]", "invalid_type"),
        ({"input": [99999]}, "input", "invalid_value"),
        ({"input": [[5], [-1]]}, "input[1]", "invalid_value"),
        ({"input": ["a"] * 2049}, "input", "array_above_max_length"),
        ({"input": "a", "dimensions": 0}, "dimensions", "integer_below_min_value"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format", "invalid_value"),
        ({"input": "a", "truncate": "START"}, "truncate", "invalid_value"),
        ({"input": "a", "truncate_prompt_tokens": 0}, "truncate_prompt_tokens", None),
        (
            {"input": "a", "truncate": False, "truncate_prompt_tokens": 5},
            "truncate",
            "invalid_parameter_combination",
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_cannot_be_is_refused_by_name(
    api: Api, body: dict[str, Any], param: str, code: str | None
) -> None:
    error = assert_envelope(post(api.client, body, 400), status=400)
    assert error["param"] == param
    assert code is None or error["code"] == code


def test_two_thousand_inputs(api: Api) -> None:
    texts = [f"cat {at}" for at in range(2048)]
    whole = post(api.client, {"input": texts, "encoding_format": "base64"})
    assert [each["index"] for each in whole["data"]] == list(range(2048))
    some = [0, 700, 2047]
    alone = [post(api.client, {"input": texts[at]})["data"][0]["embedding"] for at in some]
    for at, vector in zip(some, alone, strict=True):
        found = np.frombuffer(base64.b64decode(whole["data"][at]["embedding"]), "<f4")
        assert np.abs(found - np.array(vector)).max() < ROUNDING


def test_any_address_and_name_while_there_is_one_model(api: Api) -> None:
    for path in (
        *("/embeddings", "/openai/v1/embeddings", "/v1/engines/bert/embeddings"),
        "/openai/deployments/text-embedding-3-small/embeddings?api-version=2024-10-21",
    ):
        assert post(api.client, {"input": "sun"}, path=path)["model"] == "bert"
    assert post(api.client, {"input": "sun", "model": "text-embedding-ada-002"})["model"] == "bert"


def test_several_are_chosen_by_name(embedder: LlamaCppEmbedder) -> None:
    api = Api(PacedEngine())
    for name in ("one", "two"):
        api.app.extensions["openai"].models.add(name, embedder)
    assert post(api.client, {"input": "sun", "model": "two"})["usage"]["prompt_tokens"] == 3
    error = post(api.client, {"input": "sun", "model": "three"}, 404)["error"]
    assert error["code"] == "model_not_found" and "`two`" in error["message"]


def test_the_list_of_models_says_what_each_can(api: Api) -> None:
    models = {each["id"]: each for each in api.client.get("/v1/models").json["data"]}
    assert models["bert"]["capabilities"] == ["embeddings"]
    assert models["bert"]["dimensions"] == WIDTH and models["bert"]["context_length"] == CONTEXT
    assert "dimensions" not in models["paced"]


def test_an_embedding_model_writes_no_text(api: Api) -> None:
    for path, body in (
        ("/v1/completions", {"prompt": "x"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
    ):
        error = post(api.client, body, 400, path)["error"]
        assert (error["param"], error["code"]) == ("model", "unsupported_parameter")


def test_without_a_model_it_says_how_to_get_one() -> None:
    answer = Api(PacedEngine()).client.post(URL, json={"model": "paced", "input": "x"})
    error = assert_envelope(answer.json, status=501)
    assert answer.status_code == 501 and error["code"] == "not_configured"
    assert "--embedding-model hf:OWNER/REPO" in error["message"].replace(
        "(OPENEDAI_EMBEDDING_MODEL): ", ""
    )
    assert answer.headers["x-should-retry"] == "false"


class Held(PacedEngine):
    """An embedder that waits for its gate before each vector."""

    def __init__(self, embedder: LlamaCppEmbedder) -> None:
        super().__init__()
        self.info = embedder.info
        self.made = 0

    def embed(self, inputs: Any) -> VectorBatches:
        for _ in inputs:
            while not self.gate.wait(0.02):
                yield None
            self.made += 1
            yield Vectors(([1.0] * WIDTH,), 3)


def test_stopping_a_request_ends_it(embedder: LlamaCppEmbedder) -> None:
    held, api = Held(embedder), Api(PacedEngine())
    held.gate.clear()
    api.app.extensions["openai"].models.add("bert", held)
    answers: list[Any] = []
    thread = threading.Thread(
        target=lambda: answers.append(post(api.app.test_client(), {"input": ["a", "b"]}, 409))
    )
    thread.start()
    stopped: list[str] = []
    while not stopped and thread.is_alive():
        stopped = api.client.post("/v1/internal/stop-generation", json={}).json["ids"]
    held.gate.set()
    thread.join(10)
    assert answers[0]["error"]["code"] == "request_stopped" and held.made < 2


def test_usage_limits_and_metrics(embedder: LlamaCppEmbedder, tmp_path: Path) -> None:
    options: dict[str, Any] = {"data_folder": str(tmp_path), "rpm": 0, "tpm": 100}
    headers = headers_of(Settings(**options), "ann")["ann"]
    api = Api(PacedEngine(), **options)
    api.app.extensions["openai"].models.add("bert", embedder)
    sent = {"model": "bert", "input": TEXTS[0], "user": "u"}
    answer = api.client.post(URL, json=sent, headers=headers)
    tokens = answer.json["usage"]["total_tokens"]
    assert answer.headers["x-ratelimit-remaining-tokens"] == str(100 - tokens)
    answer.close()
    too_much = api.client.post(URL, json={**sent, "input": ["cat " * 40] * 9}, headers=headers)
    assert too_much.status_code == 429
    page = f"/v1/organization/usage/embeddings?start_time={int(time.time()) - 3600}&group_by=model"
    (bucket,) = [
        each
        for each in api.client.get(page, headers=headers).json["data"]
        if each["results"]
    ]  # fmt: skip
    result = bucket["results"][0]
    assert result["object"] == "organization.usage.embeddings.result"
    assert (result["input_tokens"], result["model"]) == (tokens, "bert")
    metrics = api.client.get("/metrics", headers=headers).text
    assert f'openedai_prompt_tokens_total{{model="bert"}} {float(tokens)}' in metrics


def test_the_log_has_no_text(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="openedai"):
        post(api.client, {"input": "secretword"})
        post(api.client, {"input": "secretword " * 300}, 400)
    assert caplog.records and "secretword" not in caplog.text


def test_the_official_client(api: Api) -> None:
    with sdk_on(api.app) as sdk:
        plain = sdk.embeddings.create(model="bert", input=TEXTS, encoding_format="float")
        # Its own type has no base64, which it asks for and decodes.
        sdk._strict_response_validation = False
        made = sdk.embeddings.create(model="bert", input=TEXTS, user="u")  # asks for base64
        for one, other in zip(plain.data, made.data, strict=True):
            assert np.abs(np.array(one.embedding) - np.array(other.embedding)).max() < ROUNDING
        with pytest.raises(openai.BadRequestError) as caught:
            sdk.embeddings.create(model="bert", input="a" * 3 + " cat" * 500)
        assert caught.value.code == "context_length_exceeded"


def test_mock_mode_has_vectors_without_a_model(client: FlaskClient) -> None:
    whole = post(client, {"input": ["ab", "ab", "zz"], "model": "echo"})
    one, same, other = vectors(whole)
    assert (one == same).all() and abs(one @ other) < 1e-6 and abs(one @ one - 1) < 1e-6
    assert whole["usage"]["prompt_tokens"] == 6


def test_everything_is_off_where_the_endpoint_is() -> None:
    client = create_app(Settings(disabled_endpoints=("embeddings",)), PacedEngine()).test_client()
    assert post(client, {"input": "x"}, 404)["error"]["code"] == "endpoint_disabled"
