"""The whole program with embedding and rerank models beside its chat model."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest

from tests.support.process import ServerProcess
from tests.support.random_bert import NumpyBert, pair_of, tokens_of, write_bert

TEXTS = ["the cat sat on the mat", "how to reset my password?"]


def test_models_beside_the_chat_model(tmp_path: Path) -> None:
    bert = write_bert(tmp_path / "bert.gguf")
    rank = write_bert(tmp_path / "rank.gguf", scores=True)
    options = ("--threads", "1", "--model-dir", str(tmp_path))
    server = ServerProcess(*options, "--embedding-model", "bert", "--rerank-model", str(rank))
    try:
        server.wait_until_ready()
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as sdk:
            made = sdk.embeddings.create(model="text-embedding-3-small", input=TEXTS)
            model = NumpyBert.read(bert)
            for text, each in zip(TEXTS, made.data, strict=True):
                assert np.abs(model.embedding(tokens_of(text)) - each.embedding).max() < 2e-3
            assert made.model == "bert"
            names = [each.id for each in sdk.models.list()]
            assert {"bert", "rank"} <= set(names) and names[0] == server.model
            chat = sdk.chat.completions.create(
                model="gpt-4", messages=[{"role": "user", "content": "Hi"}], max_tokens=2
            )
            assert chat.model == server.model
        asked = {"model": "any", "query": "password", "documents": TEXTS, "raw_scores": True}
        results = httpx.post(f"{server.url}/v2/rerank", json=asked, timeout=60).json()["results"]
        scores = {each["index"]: each["relevance_score"] for each in results}
        model = NumpyBert.read(rank)
        wanted = [model.score(pair_of("password", text)) for text in TEXTS]
        assert [scores[0], scores[1]] == pytest.approx(wanted, abs=1e-2)
        server.signal(signal.SIGTERM)
        assert server.wait(20) == 0
    finally:
        server.stop()


def test_the_chat_models_own_states(embedded_model: Path | None) -> None:
    if embedded_model is None:
        pytest.skip("this tree has no embedded model")
    server = ServerProcess("--threads", "1", "--embedding-model", "self")
    try:
        server.wait_until_ready()
        asked = {"model": f"{server.model}-embeddings", "input": TEXTS}
        together = httpx.post(f"{server.url}/v1/embeddings", json=asked, timeout=60).json()
        assert together["model"] == f"{server.model}-embeddings"
        for at, text in enumerate(TEXTS):
            alone = httpx.post(
                f"{server.url}/v1/embeddings", json={**asked, "input": text}, timeout=60
            ).json()
            one, other = (np.array(each["embedding"]) for each in
                          (alone["data"][0], together["data"][at]))  # fmt: skip
            assert np.abs(one - other).max() < 1e-4 and abs(one @ one - 1) < 1e-5
    finally:
        server.stop()


def test_a_name_that_is_none_stops_the_start(tmp_path: Path) -> None:
    server = ServerProcess("--embedding-model", "nothing", "--model-dir", str(tmp_path))
    try:
        assert server.wait(60) == 2
        assert "no model 'nothing'" in server.output and "Traceback" not in server.output
    finally:
        server.stop()
