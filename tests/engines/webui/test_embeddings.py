"""A webui's embedding model: sentence-transformers, played by a stand-in with its interface."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from extensions.openai.engines.model_spec import ModelLoadError
from extensions.openai.engines.webui.embeddings import SentenceTransformersEmbedder
from extensions.openai.hosts.encoders import load_webui_embedder
from tests.support.api import Api
from tests.support.paced import PacedEngine


class Tokenizer:
    """Each letter is a token, between two special ones."""

    def __len__(self) -> int:
        return 258

    def encode(self, text: str) -> list[int]:
        return [256, *text.encode(), 257]

    def decode(self, tokens: Sequence[int], skip_special_tokens: bool) -> str:
        assert skip_special_tokens
        return bytes(token for token in tokens if token < 256).decode()


class SentenceTransformer:
    """Of the real one: the constructor, `encode`, and what says how large it is."""

    max_seq_length = 20

    def __init__(self, name: str, device: str | None) -> None:
        if "missing" in name:
            raise OSError(f"{name} is not a local folder")
        self.device, self.tokenizer = device, Tokenizer()

    def get_sentence_embedding_dimension(self) -> int:
        return 4

    def encode(
        self, texts: list[str], *, normalize_embeddings: bool, convert_to_numpy: bool
    ) -> Any:
        assert normalize_embeddings and convert_to_numpy
        made = np.array([[len(text), text.count("a"), 1, 0] for text in texts], np.float32)
        return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.fixture(autouse=True)
def _library(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = SentenceTransformer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)


def served(**options: Any) -> Api:
    api = Api(PacedEngine(), **options)
    load_webui_embedder(api.app.extensions["openai"])
    return api


def test_it_answers_under_its_name() -> None:
    api = served(embedding_model="sentence-transformers/all-mpnet-base-v2")
    body = {"model": "any", "input": ["aab", "b" * 40], "truncate": True}
    whole = api.client.post("/v1/embeddings", json=body).json
    assert whole["model"] == "all-mpnet-base-v2"
    wanted = np.array([3, 2, 1, 0]) / np.sqrt(14)
    assert whole["data"][0]["embedding"] == pytest.approx(wanted, abs=1e-6)
    assert whole["usage"]["prompt_tokens"] == 5 + 20
    ids = api.client.post("/v1/embeddings", json={"model": "m", "input": list(b"aab")}).json
    assert ids["data"] == whole["data"][:1]


def test_a_long_text_is_refused_with_both_numbers() -> None:
    api = served(embedding_model="m")
    error = api.client.post("/v1/embeddings", json={"model": "m", "input": "b" * 40}).json["error"]
    assert "20 tokens" in error["message"] and "42 tokens" in error["message"]


def test_the_device_is_the_one_that_is_named() -> None:
    assert SentenceTransformersEmbedder("m", device="cuda:1").device == "cuda:1"
    assert SentenceTransformersEmbedder("m", device="auto").device is None


def test_one_that_cannot_be_loaded_is_said_in_a_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caplog.at_level("ERROR", logger="openedai"):
        api = served(embedding_model="missing/model")
    assert "cannot be loaded (OSError)" in caplog.text and "Traceback" not in caplog.text
    assert api.client.post("/v1/embeddings", json={"model": "m", "input": "x"}).status_code == 501
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ModelLoadError, match="pip install sentence-transformers"):
        SentenceTransformersEmbedder("m", device="cpu")
