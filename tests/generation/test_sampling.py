"""The sampler table: every row can be asked for, is mapped, and is refused where it cannot be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import BaseModel, ValidationError

from extensions.openai.chat import ChatCompletionRequest
from extensions.openai.completions import CompletionRequest
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.errors import InvalidRequest
from extensions.openai.generation.sampling import PARAMETERS, Parameter, to_native
from tests.support.api import Api

LLAMA_CPP = EchoEngine().info
ANOTHER = replace(LLAMA_CPP, sampler="another sampler")
REQUESTS = (CompletionRequest, ChatCompletionRequest)
ROWS = pytest.mark.parametrize("row", PARAMETERS, ids=lambda row: row.name)


def request(kind: type[BaseModel], **fields: object) -> BaseModel:
    required = {} if kind is CompletionRequest else {"messages": [{"role": "user", "content": "x"}]}
    return kind.model_validate({**required, **fields})


def other_value(row: Parameter) -> object:
    """A value that is allowed and not the default."""
    if isinstance(row.default, bool):
        return not row.default
    if isinstance(row.default, list):
        return ["\n\n"]
    value = row.high if row.default != row.high else row.low
    assert value is not None
    return int(value) if isinstance(row.default, int) else float(value)


def test_names_and_aliases_are_all_different() -> None:
    names = [name for row in PARAMETERS for name in (row.name, *row.aliases)]
    assert len(names) == len(set(names))
    for sampler in ("llama.cpp",):
        native = [(row.native or {}).get(sampler) for row in PARAMETERS]
        assert len(native) == len(set(native))


@ROWS
def test_every_row_says_what_it_is(row: Parameter) -> None:
    assert row.meaning.endswith(".") and row.source
    assert row.native and all(row.native.values())
    if isinstance(row.default, (int, float)) and not isinstance(row.default, bool):
        assert row.low is None or row.low <= row.default
        assert row.high is None or row.default <= row.high


@pytest.mark.parametrize("kind", REQUESTS)
@ROWS
def test_every_row_is_a_field_that_reaches_the_sampler(
    kind: type[BaseModel], row: Parameter
) -> None:
    value = other_value(row)
    assert row.native is not None
    for name in (row.name, *row.aliases):
        native = to_native(request(kind, **{name: value}), LLAMA_CPP)
        assert native[row.native["llama.cpp"]] == value, name


@pytest.mark.parametrize("kind", REQUESTS)
def test_absent_and_null_mean_the_default(kind: type[BaseModel]) -> None:
    defaults = {(row.native or {})["llama.cpp"]: row.default for row in PARAMETERS}
    assert to_native(request(kind), LLAMA_CPP) == defaults
    nulls = {row.name: None for row in PARAMETERS}
    assert to_native(request(kind, **nulls), LLAMA_CPP) == defaults


@pytest.mark.parametrize("kind", REQUESTS)
@ROWS
def test_ranges_are_closed_and_nothing_beyond_them_passes(
    kind: type[BaseModel], row: Parameter
) -> None:
    for limit, step in ((row.low, -1), (row.high, 1)):
        if limit is not None:
            number = int if isinstance(row.default, int) else float
            request(kind, **{row.name: number(limit)})
            with pytest.raises(ValidationError):
                request(kind, **{row.name: number(limit) + step})
    if isinstance(row.default, float):
        for wild in (float("inf"), float("-inf"), float("nan")):
            with pytest.raises(ValidationError):
                request(kind, **{row.name: wild})


@pytest.mark.parametrize(
    ("name", "low", "high", "default"),
    [
        ("temperature", 0, 2, 1),
        ("top_p", 0, 1, 1),
        ("presence_penalty", -2, 2, 0),
        ("frequency_penalty", -2, 2, 0),
    ],
)
def test_the_ranges_of_the_reference(name: str, low: float, high: float, default: float) -> None:
    row = next(row for row in PARAMETERS if row.name == name)
    assert (row.low, row.high, row.default) == (low, high, default)


def test_defaults_leave_the_native_samplers_off() -> None:
    """The neutral values of llama.cpp's samplers, so that an answer is the model's own."""
    neutral = {
        "top_k": 0,
        "min_p": 0.0,
        "typical_p": 1.0,
        "repeat_penalty": 1.0,
        "xtc_probability": 0.0,
        "dynatemp_range": 0.0,
        "dry_multiplier": 0.0,
        "mirostat": 0,
        "ignore_eos": False,
    }
    native = to_native(request(CompletionRequest), LLAMA_CPP)
    assert {name: native[name] for name in neutral} == neutral
    assert native["top_n_sigma"] < 0


@ROWS
def test_a_sampler_that_lacks_a_parameter_refuses_it_by_name(row: Parameter) -> None:
    assert to_native(request(CompletionRequest), ANOTHER) == {}
    assert to_native(request(CompletionRequest, **{row.name: row.default}), ANOTHER) == {}
    with pytest.raises(InvalidRequest) as caught:
        to_native(request(CompletionRequest, **{row.name: other_value(row)}), ANOTHER)
    assert caught.value.param == row.name


@pytest.mark.parametrize("name", ["presence_penalty", "frequency_penalty"])
def test_the_references_penalties_look_at_the_whole_text(name: str) -> None:
    """ "The text so far" of the reference, and not llama.cpp's last 64 tokens."""
    native = to_native(request(CompletionRequest, **{name: 0.5}), LLAMA_CPP)
    assert native["repeat_last_n"] == LLAMA_CPP.context_length
    own = request(CompletionRequest, **{name: 0.5, "repetition_penalty_range": 7})
    assert to_native(own, LLAMA_CPP)["repeat_last_n"] == 7


@pytest.mark.parametrize(
    ("frequency", "presence"), [(0.0, 0.0), (1.5, 0.0), (0.0, 2.0), (0.7, 1.1), (2, 2), (-0.5, 0)]
)
@pytest.mark.parametrize("prompt", ["Once upon a time", "The"])
def test_penalties_by_the_formula_of_the_reference(
    tiny: Api, prompt: str, frequency: float, presence: float
) -> None:
    """mu[j] - c[j] * frequency - (c[j] > 0) * presence, recomputed from what is told of each place.

    Source: OpenAI guide, "Frequency and presence penalties".
    """
    whole = tiny.complete(
        prompt,
        logprobs=5,
        max_tokens=40,
        temperature=0,
        frequency_penalty=frequency,
        presence_penalty=presence,
    )
    told = whole["choices"][0]["logprobs"]
    seen = [tiny.engine.detokenize([id]) for id in tiny.engine.tokenize(prompt)]
    for token, top in zip(told["tokens"], told["top_logprobs"], strict=True):
        score = {
            text: logprob - seen.count(text) * frequency - (text in seen) * presence
            for text, logprob in top.items()
        }
        assert score[token] >= max(score.values()) - 0.02
        seen.append(token)
    assert len(told["tokens"]) > 3
