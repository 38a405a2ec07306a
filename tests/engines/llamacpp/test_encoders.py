"""Embedding and rerank models in llama.cpp, beside the same models computed with NumPy."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extensions.openai.engines.encoders import Input
from extensions.openai.engines.llamacpp import factory
from extensions.openai.engines.llamacpp.embeddings import LlamaCppEmbedder
from extensions.openai.engines.llamacpp.encoder import calls_of, step_tokens
from extensions.openai.engines.llamacpp.loading.outline import PROCESS_BYTES
from extensions.openai.engines.llamacpp.loading.params import Cache
from extensions.openai.engines.llamacpp.reranker import LlamaCppReranker
from extensions.openai.engines.llamacpp.step_share import SHARED_TOKENS
from extensions.openai.engines.model_spec import ModelLoadError, Task
from extensions.openai.engines.protocol import (
    Capability,
    ChatRequest,
    GenerateRequest,
    Message,
    VectorTraits,
)
from extensions.openai.errors import ModelChanged, NotSupported
from extensions.openai.settings import Settings
from host.models.model_files import model_spec
from host.models.spec import ModelSpec
from host.options import HostOptions
from tests.support.random_bert import NumpyBert, pair_of, tokens_of, write_bert

TEXTS = [
    "How to reset my password?",
    "the cat sat on the mat",
    "sun",
    "Recover account 12, forgot password!",
    "dog dog dog dog " * 20,
]
TABLE_ERROR = 2e-3
"""llama.cpp looks GELU up in a table of 16-bit floats."""
ROUNDING = 5e-5
"""The same table turns a last digit, which what else is computed changes, into this."""


@pytest.fixture(scope="module", params=["mean", "cls"])
def bert(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LlamaCppEmbedder, NumpyBert, str]]:
    pooling = request.param
    path = tmp_path_factory.mktemp("bert") / f"{pooling}.gguf"
    write_bert(path, pooling=pooling)
    engine = LlamaCppEmbedder(path, name="bert", threads=1)
    yield engine, NumpyBert.read(path), pooling
    engine.close()


def spec(path: Path, task: Task = "auto") -> ModelSpec:
    options = HostOptions(model=str(path), task=task, ctx_size=0)
    return model_spec(options)


def test_what_a_file_is_for(tmp_path: Path, embedded_model: Path) -> None:
    vectors, scores = tmp_path / "vectors.gguf", tmp_path / "scores.gguf"
    write_bert(vectors)
    write_bert(scores, scores=True)
    found = factory.outline(spec(vectors))
    assert found.info.capabilities == (Capability.EMBEDDINGS,) and found.info.is_remote
    assert found.info.context_length == 128 and found.info.vectors == VectorTraits(48, None)
    assert vectors.stat().st_size < found.bytes < vectors.stat().st_size + PROCESS_BYTES + 2**20
    assert factory.outline(spec(scores)).info.capabilities == (Capability.RERANK,)
    assert Capability.CHAT in factory.outline(spec(embedded_model)).info.capabilities
    chosen = factory.outline(spec(embedded_model, "embeddings"))
    assert chosen.info.capabilities == (Capability.EMBEDDINGS,)
    assert factory.explain(spec(scores))[0] == "for rerank: its file says so (--task)"


def test_the_model_of_a_server_may_be_one(tmp_path: Path) -> None:
    path = write_bert(tmp_path / "bert.gguf")
    engine = factory.make(spec(path), Settings())
    assert isinstance(engine, LlamaCppEmbedder)
    with closing(engine):
        assert engine.info.model == "bert"
        wanted = NumpyBert.read(path).embedding(tokens_of(TEXTS[1]))
        assert np.abs(vectors(engine, TEXTS[1:2])[0] - wanted).max() < TABLE_ERROR


def vectors(engine: LlamaCppEmbedder, inputs: Sequence[Input]) -> np.ndarray:
    batches = [batch for batch in engine.embed(inputs) if batch is not None]
    return np.array([vector for batch in batches for vector in batch.vectors])


def test_vectors_are_those_of_the_model(bert: tuple[LlamaCppEmbedder, NumpyBert, str]) -> None:
    engine, model, pooling = bert
    found = vectors(engine, TEXTS)
    wanted = np.array([model.embedding(tokens_of(text), pooling) for text in TEXTS])
    assert np.abs(found - wanted).max() < TABLE_ERROR
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-6
    # They differ much more from each other than from what they should be.
    assert np.abs(found[0] - found[1]).max() > 50 * TABLE_ERROR


@pytest.mark.parametrize("context_length", [101, 127])
def test_a_context_that_slots_do_not_divide(tmp_path: Path, context_length: int) -> None:
    """llama.cpp divides a step's tokens among the slots, and aborts the process where that leaves a rest."""
    engine = LlamaCppEmbedder(
        write_bert(tmp_path / "bert.gguf"), name="x", threads=1, context_length=context_length
    )
    with closing(engine):
        assert engine.info.context_length == context_length
        alone = [vectors(engine, [text])[0] for text in TEXTS[:4]]
        assert np.abs(vectors(engine, TEXTS[:4]) - alone).max() < ROUNDING


@pytest.mark.parametrize(("context", "slots"), [(512, 3), (512, 4), (500, 8), (1, 4)])
def test_a_step_holds_a_text_and_as_many_tokens_for_each_slot(context: int, slots: int) -> None:
    tokens = step_tokens(Cache(context, slots, slots))
    assert context <= tokens < context + slots and tokens % slots == 0


def test_tokens_are_counted_with_the_special_ones(
    bert: tuple[LlamaCppEmbedder, NumpyBert, str],
) -> None:
    engine, _, _ = bert
    batches = [batch for batch in engine.embed(TEXTS) if batch is not None]
    assert sum(batch.tokens for batch in batches) == sum(len(tokens_of(text)) for text in TEXTS)
    assert list(engine.tokenize(TEXTS[0])) == tokens_of(TEXTS[0])


def test_token_ids_are_taken_as_they_are(bert: tuple[LlamaCppEmbedder, NumpyBert, str]) -> None:
    engine, _, _ = bert
    ids = [tuple(tokens_of(text)) for text in TEXTS]
    assert np.abs(vectors(engine, ids) - vectors(engine, TEXTS)).max() < ROUNDING


def test_a_vector_is_the_same_alone_in_a_list_and_among_others(
    bert: tuple[LlamaCppEmbedder, NumpyBert, str],
) -> None:
    engine, _, _ = bert
    alone = np.array([vectors(engine, [text])[0] for text in TEXTS])
    assert np.abs(vectors(engine, TEXTS) - alone).max() < ROUNDING
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda at: vectors(engine, TEXTS[at % 3 :]), range(24)):
            assert np.abs(found - alone[-len(found) :]).max() < ROUNDING


LONG = "dog " * 60


def test_a_long_text_is_a_call_of_its_own(
    bert: tuple[LlamaCppEmbedder, NumpyBert, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not so many short ones, and not where long ones cost the same side by side."""
    engine, sent = bert[0], list[list[Input]]()
    call = engine.call

    def recording(ask: Any, body: dict[str, Any]) -> dict[str, Any]:
        sent.append(list(body["input"]))
        return call(ask, body)

    monkeypatch.setattr(engine, "call", recording)
    texts = [TEXTS[0], TEXTS[1], LONG, TEXTS[2], LONG]
    apart = vectors(engine, texts)
    ids = engine.tokenize(LONG)
    assert sent == [[TEXTS[0], TEXTS[1]], [ids], [TEXTS[2]], [ids]]
    monkeypatch.setattr(engine, "share", None)
    together = vectors(engine, texts)
    assert sent[4:] == [texts]
    assert np.abs(apart - together).max() < ROUNDING


def test_a_long_text_whose_client_leaves_while_it_waits_is_not_computed(
    bert: tuple[LlamaCppEmbedder, NumpyBert, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, sent, share = bert[0], list[list[Input]](), bert[0].share
    assert share is not None
    call = engine.call

    def recording(ask: Any, body: dict[str, Any]) -> dict[str, Any]:
        sent.append(list(body["input"]))
        return call(ask, body)

    monkeypatch.setattr(engine, "call", recording)
    with share.of(SHARED_TOKENS):
        leaving = engine.embed([LONG])
        assert next(leaving) is None, "it has begun, and waits"
        leaving.close()
    assert len(vectors(engine, [LONG + "dog"])) == 1, "the next one has its turn"
    with share.of(SHARED_TOKENS):
        pass  # nobody is inside
    assert sent == [[engine.tokenize(LONG + "dog")]]


def test_who_shares_steps(
    bert: tuple[LlamaCppEmbedder, NumpyBert, str], random_model: Path, tmp_path: Path
) -> None:
    """Models that look both ways, without flash attention: it is on for long contexts."""
    assert bert[0].share is not None
    causal = LlamaCppEmbedder(random_model, name="c", threads=1)
    causal.close()
    path = write_bert(tmp_path / "long.gguf", context=4096)
    long = LlamaCppEmbedder(path, name="l", threads=1, context_length=4096)
    long.close()
    assert causal.share is None and long.share is None


def test_so_is_that_of_a_causal_model(random_model: Path) -> None:
    """llama.cpp pools wrongly for those as soon as it has several slots."""
    engine = LlamaCppEmbedder(random_model, name="self", threads=1)
    try:
        texts = ["Hello", "How do I reset it?", "x" * 40, "The end."]
        alone = np.array([vectors(engine, [text])[0] for text in texts])
        assert np.abs(vectors(engine, texts) - alone).max() < 1e-4
        with ThreadPoolExecutor(4) as pool:
            for found in pool.map(lambda _: vectors(engine, texts), range(8)):
                assert np.abs(found - alone).max() < 1e-4
    finally:
        engine.close()


def test_scores_are_those_of_the_model(tmp_path: Path) -> None:
    path = write_bert(tmp_path / "rank.gguf", scores=True)
    model, engine = NumpyBert.read(path), LlamaCppReranker(path, name="rank", threads=1)
    try:
        query, documents = "forgot password", [*TEXTS, "the mat"]
        found = [
            score
            for batch in engine.score_documents(query, documents)
            if batch is not None
            for score in batch.scores
        ]
        wanted = [model.score(pair_of(query, document)) for document in documents]
        assert found == pytest.approx(wanted, abs=5 * TABLE_ERROR)
        assert max(wanted) - min(wanted) > 50 * TABLE_ERROR
        for document in documents:
            pair = len(pair_of(query, document))
            assert pair <= engine.pair_tokens(query, document) <= pair + 4
        assert engine.info.capabilities == (Capability.RERANK,)
    finally:
        engine.close()


def test_closing_ends_the_work_after_a_call(bert: tuple[LlamaCppEmbedder, NumpyBert, str]) -> None:
    engine, _, _ = bert
    batches = engine.embed(["cat dog"] * 2048)
    assert next(batch for batch in batches if batch is not None)
    batches.close()
    computed = [batch for batch in engine.embed(["cat"] * 200) if batch is not None]
    assert [len(batch.vectors) for batch in computed] == [64, 64, 64, 8]


def test_calls_are_bounded() -> None:
    assert [list(part) for part in calls_of([900, 900, 900, 5000, 1], int)] == [
        [900, 900],
        [900],
        [5000],
        [1],
    ]
    assert list(calls_of([], int)) == []


def test_it_continues_no_prompt(bert: tuple[LlamaCppEmbedder, NumpyBert, str]) -> None:
    engine, _, _ = bert
    with pytest.raises(NotSupported):
        engine.generate(GenerateRequest("x"))
    with pytest.raises(NotSupported):
        engine.render(ChatRequest((Message("user", "x"),)))


def test_a_closed_one_says_so(tmp_path: Path) -> None:
    engine = LlamaCppEmbedder(write_bert(tmp_path / "b.gguf"), name="b", threads=1)
    busy = threading.Thread(target=lambda: vectors(engine, TEXTS * 4))
    busy.start()
    busy.join()
    engine.close()
    engine.close()
    with pytest.raises(ModelChanged):
        vectors(engine, ["cat"])


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    file.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ModelLoadError, match=r"x\.gguf"):
        LlamaCppEmbedder(file, name="x")
