"""The sampler table: every row can be asked for, is mapped, and is refused where it cannot be."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from extensions.openai.chat import ChatCompletionRequest
from extensions.openai.completions import CompletionRequest
from extensions.openai.errors import InvalidRequest
from extensions.openai.generation.sampling import PARAMETERS, Parameter, to_native

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
        native = to_native(request(kind, **{name: value}), "llama.cpp")
        assert native[row.native["llama.cpp"]] == value, name


@pytest.mark.parametrize("kind", REQUESTS)
def test_absent_and_null_mean_the_default(kind: type[BaseModel]) -> None:
    defaults = {(row.native or {})["llama.cpp"]: row.default for row in PARAMETERS}
    assert to_native(request(kind), "llama.cpp") == defaults
    nulls = {row.name: None for row in PARAMETERS}
    assert to_native(request(kind, **nulls), "llama.cpp") == defaults


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
    native = to_native(request(CompletionRequest), "llama.cpp")
    assert {name: native[name] for name in neutral} == neutral
    assert native["top_n_sigma"] < 0


@ROWS
def test_a_sampler_that_lacks_a_parameter_refuses_it_by_name(row: Parameter) -> None:
    assert to_native(request(CompletionRequest), "another sampler") == {}
    assert to_native(request(CompletionRequest, **{row.name: row.default}), "another sampler") == {}
    with pytest.raises(InvalidRequest) as caught:
        to_native(request(CompletionRequest, **{row.name: other_value(row)}), "another sampler")
    assert caught.value.param == row.name
