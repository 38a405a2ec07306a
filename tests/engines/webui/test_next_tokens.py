"""What a webui's samplers leave, by its own function."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from extensions.openai.engines.webui.engine import WebuiEngine
from tests.support.api import Api
from tests.support.process import ROOT
from tests.webui_host import MiniHost, install

TINY = ROOT / "models" / "openedai-tiny"
SAMPLERS = {"top_k": 3, "top_p": 1, "min_p": 0, "temperature": 2}


@pytest.fixture
def host() -> Iterator[MiniHost]:
    with install("2026", TINY) as host:
        host.load()
        yield host


def logits(api: Api, status: int = 200, **body: Any) -> Any:
    answer = api.client.post("/v1/internal/logits", json={"prompt": "Once upon", **body})
    assert answer.status_code == status, answer.get_data(as_text=True)
    answer.close()
    return answer.json


@pytest.mark.parametrize("loader", ["Transformers", "llama.cpp"])
def test_samplers_are_the_hosts(host: MiniHost, loader: str) -> None:
    host.load(loader=loader)
    api = Api(WebuiEngine())
    plain = list(logits(api)["logits"].values())[:3]
    found = logits(api, use_samplers=True, **SAMPLERS)["logits"]
    weights = [share**0.5 for share in plain]
    expected = [weight / sum(weights) for weight in weights]
    assert list(found.values()) == pytest.approx(expected, abs=0.01)
    assert next(iter(found)) == " a" and len(found) == 3


def test_it_is_asked_for_as_many_as_the_request_asks_for(host: MiniHost) -> None:
    found = logits(Api(WebuiEngine()), use_samplers=True, top_logits=2, **SAMPLERS)
    assert len(found["logits"]) == 2


def test_a_model_that_fails_is_an_error_and_no_earlier_answer(host: MiniHost) -> None:
    api = Api(WebuiEngine())
    logits(api, use_samplers=True)

    def fail(*args: Any, **options: Any) -> Any:
        raise MemoryError

    host.shared.model.generate = fail
    error = logits(api, 500, use_samplers=True)["error"]
    assert "the web UI's log says why" in error["message"]


@pytest.mark.parametrize("loader", ["ExLlamav3", "TensorRT-LLM", "llama-cpp-python"])
def test_a_loader_whose_samplers_the_host_does_not_know(host: MiniHost, loader: str) -> None:
    host.load(loader=loader)
    error = logits(Api(WebuiEngine()), 400, use_samplers=True)["error"]
    assert error["code"] == "unsupported_parameter"


def test_an_extension_that_answers_itself_has_no_samplers(host: MiniHost) -> None:
    class Extension:
        @staticmethod
        def custom_generate_reply(*args: Any, **options: Any) -> Iterator[str]:
            yield "Never."

    host.extend(own=Extension)
    error = logits(Api(WebuiEngine()), 400, use_samplers=True)["error"]
    assert error["param"] == "use_samplers" and "'own'" in error["message"]


def test_a_version_without_the_function_says_so() -> None:
    with install("2023", TINY) as old:
        old.load()
        error = logits(Api(WebuiEngine()), 400, use_samplers=True)["error"]
    assert error["param"] == "use_samplers" and "this version" in error["message"]
