"""Texts are scored as evaluation harnesses score them: by the log-probabilities of an echoed prompt.

Source: EleutherAI's lm-evaluation-harness, `local-completions` (lm_eval/models/openai_completions.py): a
request has prompts of token ids, `echo`, `max_tokens` 1 and `logprobs` 1. The score of a continuation is the
sum of `token_logprobs` from the context's length to the last but one, for the last token is the sampled one;
it is greedy where each of these is the largest of its `top_logprobs`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from extensions.openai.engines.webui.engine import WebuiEngine
from tests.support.abilities import score
from tests.support.api import Api
from tests.support.process import ROOT
from tests.webui_host import install

SLACK = 2e-2  # nats over a whole continuation; what runs beside a prompt rounds the last digits
TEXTS = [
    "1 + 1 = 2",
    "Once upon a time",
    "Grüße 🙂 日本",
    "Hello!",
    " there was a cat.",
    "\n\n",
    "!",
    "é",
    "The",
]

Pair = tuple[list[int], list[int]]


@pytest.fixture(scope="module", params=["tiny", "Transformers", "llama.cpp"])
def api(request: pytest.FixtureRequest) -> Iterator[Api]:
    if request.param == "tiny":
        yield request.getfixturevalue("tiny")
        return
    with install("2026", ROOT / "models" / "openedai-tiny") as host:
        host.load(loader=request.param)
        yield Api(WebuiEngine())


def pairs_for(api: Api, count: int) -> list[Pair]:
    """Contexts and continuations, among them some that an end token is likely to follow."""
    chance = random.Random(7)
    found: list[Pair] = []
    (end,) = api.engine.tokenize("<|im_end|>")
    while len(found) < count:
        context, rest = (list(api.engine.tokenize(chance.choice(TEXTS))) for _ in range(2))
        if chance.random() < 0.2:
            rest.append(end)
        found.append((context, rest))
    return found


def scored(api: Api, pair: Pair) -> float:
    """How likely the engine itself finds the continuation."""
    tokens = [token for token in score(api.engine, [*pair[0], *pair[1]], 0) if token is not None]
    return sum(token.logprob or 0.0 for token in tokens[len(pair[0]) :])


def evaluated(api: Api, pairs: Sequence[Pair], **more: Any) -> list[tuple[float, bool]]:
    """Score and greediness of each pair, read out of one request as a harness does."""
    prompts = [[*context, *rest] for context, rest in pairs]
    body = {"temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": True, **more}
    whole = api.complete(prompts, **body)
    sampled = body["max_tokens"]
    assert whole["usage"]["completion_tokens"] == sampled * len(pairs)
    found = []
    for choice, (context, rest) in zip(whole["choices"], pairs, strict=True):
        reported = choice["logprobs"]
        assert len(reported["tokens"]) == len(context) + len(rest) + sampled
        last = -1 if sampled else None
        logprobs = reported["token_logprobs"][len(context) : last]
        tops = reported["top_logprobs"][len(context) : last]
        greedy = all(one == max(top.values()) for one, top in zip(logprobs, tops, strict=True))
        found.append((sum(logprobs), greedy))
    return found


def test_a_harness_scores_as_the_engine_does(api: Api) -> None:
    pairs = pairs_for(api, 50 if api.engine.info.owned_by == "llama.cpp" else 12)
    found = [each for at in range(0, len(pairs), 5) for each in evaluated(api, pairs[at : at + 5])]
    assert [score for score, _ in found] == pytest.approx(
        [scored(api, p) for p in pairs], abs=SLACK
    )


@pytest.mark.parametrize("ending", [0, 100])
def test_the_sampled_token_is_the_last_entry_whatever_it_is(api: Api, ending: int) -> None:
    """Also an end token, without which a harness would leave out the last token of the continuation."""
    pair = (list(api.engine.tokenize("1 + 1 = 2")), list(api.engine.tokenize("!")))
    (end,) = api.engine.tokenize("<|im_end|>")
    ((score, _),) = evaluated(api, [pair], logit_bias={str(end): ending})
    assert score == pytest.approx(scored(api, pair), abs=SLACK)
    assert score < -1


def test_nothing_need_be_sampled(api: Api) -> None:
    pairs = pairs_for(api, 3)
    found = [score for score, _ in evaluated(api, pairs, max_tokens=0)]
    assert found == pytest.approx([scored(api, pair) for pair in pairs], abs=SLACK)


def test_what_the_model_itself_would_write_is_greedy(api: Api) -> None:
    context = list(api.engine.tokenize("Once upon"))
    free = api.complete(context, temperature=0, max_tokens=6)["choices"][0]["text"]
    written = list(api.engine.tokenize("Once upon" + free))[len(context) :]
    other = list(api.engine.tokenize("!" + free))
    ((_, greedy), (_, not_greedy)) = evaluated(api, [(context, written), (context, other)])
    assert greedy and not not_greedy
