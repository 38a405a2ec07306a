"""When an answer is gone on with in a new call, and what that call is asked."""

from __future__ import annotations

from typing import Any

import pytest

from extensions.openai.completions import CompletionRequest
from extensions.openai.engines.llamacpp.penalty_restart import MAX_REREAD_TOKENS, PenaltyRestart
from extensions.openai.engines.llamacpp.request_values import continuation_seed, seed_of
from extensions.openai.engines.llamacpp.stream_reader import Spelling, TokenReader
from extensions.openai.engines.penalties import PromptCounts
from extensions.openai.engines.protocol import GenerateRequest
from extensions.openai.engines.tokens.vocabulary import Vocabulary
from extensions.openai.generation.sampling.profiles import to_native
from extensions.openai.schemas.validation import check
from tests.support.api import Api

VOCABULARY = Vocabulary((b"a", b"b", b"c"), ("a", "b", "c"), {b"a": 0, b"b": 1, b"c": 2}, {})
BODY = {
    "prompt": [0, 1, 1],
    "n_predict": 13,
    "logit_bias": [[2, 5.0]],
    "frequency_penalty": 0.5,
    "presence_penalty": 2.0,
    "seed": 7,
    "cache_prompt": False,
}


def chunk(id: int, *, predicted: int, read_anew: int) -> dict[str, Any]:
    """What llama.cpp sends for a token."""
    entry = {"id": id, "bytes": list(VOCABULARY.tokens[id])}
    return {
        "choices": [{"text": "abc"[id], "finish_reason": None, "logprobs": {"content": [entry]}}],
        "timings": {"predicted_n": predicted, "prompt_n": read_anew, "cache_n": 0},
    }


@pytest.fixture
def reader() -> TokenReader:
    return TokenReader((0, 1, 1), Spelling(VOCABULARY, frozenset()), 10)


def test_a_token_of_the_prompt_asks_for_a_new_call(reader: TokenReader) -> None:
    recount = PenaltyRestart(PromptCounts((0, 1, 1), BODY), BODY, reader)
    # 0.5 for each time, and 2 for being there at all
    assert recount.body() == BODY | {"logit_bias": [[2, 5.0], (0, 2.5), (1, 3.0)]}
    reader.read(chunk(2, predicted=1, read_anew=3))
    assert not recount.watch() and not recount.due
    reader.read(chunk(1, predicted=2, read_anew=3))
    assert recount.watch() and recount.due
    assert recount.body() == BODY | {
        "prompt": [0, 1, 1, 2, 1],
        "n_predict": 8 + TokenReader.TAIL,
        "logit_bias": [[2, 5.0], (0, 2.5), (1, 1.0)],
        "seed": 9,
        "cache_prompt": True,
    }
    assert not recount.due
    assert reader.read(chunk(1, predicted=1, read_anew=1)).tokens == 1
    assert not recount.watch()
    assert (reader.total, reader.context) == (3, [0, 1, 1, 2, 1, 1])


@pytest.mark.parametrize(
    ("read_anew", "goes_on"), [(MAX_REREAD_TOKENS, True), (MAX_REREAD_TOKENS + 1, False)]
)
def test_calls_that_cost_too_much_are_not_repeated(
    reader: TokenReader, read_anew: int, goes_on: bool
) -> None:
    """A model whose cache cannot be used again would read the whole prompt for each of them."""
    recount = PenaltyRestart(PromptCounts((0, 1, 1), BODY), BODY, reader)
    recount.body()
    reader.read(chunk(1, predicted=1, read_anew=5000))
    assert recount.watch()
    recount.body()
    reader.read(chunk(0, predicted=1, read_anew=read_anew))
    assert recount.watch() is goes_on


def test_no_call_follows_the_end(reader: TokenReader) -> None:
    recount = PenaltyRestart(PromptCounts((0, 1, 1), BODY), BODY, reader)
    recount.body()
    reader.read(chunk(1, predicted=10, read_anew=3))
    assert reader.finished and not recount.watch()


# Beside a grammar tokens of the prompt get no presence penalty.
@pytest.mark.parametrize(
    ("penalty", "grammar"),
    [
        ("presence_penalty", None),
        ("frequency_penalty", None),
        ("frequency_penalty", "start: /(.|\\n)*/"),
    ],
)
def test_an_answer_that_goes_on_in_a_further_call_is_penalised_as_one(
    tiny: Api, penalty: str, grammar: str | None
) -> None:
    """What it said before counts, and what was asked does not."""
    engine, prompt = tiny.engine, "Once upon a time there was a"
    asked = check(CompletionRequest, {"prompt": prompt, "temperature": 0, penalty: 2})
    sampling = {**to_native(asked, engine.info), penalty: 6.0}

    def output(request: GenerateRequest) -> str:
        return "".join(piece.text for piece in engine.generate(request) if piece is not None)

    whole = output(GenerateRequest(prompt, 40, sampling, grammar=grammar))
    plain = output(GenerateRequest(prompt, 40, {**sampling, penalty: 0.0}, grammar=grammar))
    assert whole != plain
    for tokens in (5, 12, 25):
        begun = output(GenerateRequest(prompt, tokens, sampling, grammar=grammar))
        rest = GenerateRequest(
            prompt + begun, 40 - tokens, sampling, grammar=grammar, answer_prefix_length=len(begun)
        )
        assert begun + output(rest) == whole


@pytest.mark.parametrize(
    ("asked", "sent", "behind"),
    [
        (0, 0, 3),
        (7, 7, 10),
        (2**31 - 1, 2**31 - 1, 2**31 + 2),
        (2**32 - 2, 2**32 - 2, 2),
        (2**32 - 1, 0, 3),  # llama.cpp would take it for none
        (-1, 2**32 - 2, 2),
    ],
)
def test_seeds_stay_what_they_are_in_further_calls(asked: int, sent: int, behind: int) -> None:
    """LLAMA_DEFAULT_SEED is 0xFFFFFFFF: chance decides."""
    assert seed_of(asked) == sent
    assert continuation_seed(sent, 0) == sent
    assert continuation_seed(sent, 3) == behind
    assert continuation_seed(-1, 3) == -1
    assert continuation_seed(0xFFFFFFFF, 3) == 0xFFFFFFFF
