"""A row of the sampler table is all that a new parameter needs: field, validation, docs and mapping."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from extensions.openai.completions import CompletionRequest
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.errors import InvalidRequest
from extensions.openai.generation.chat.request import ChatCompletionRequest
from extensions.openai.generation.sampling import profiles
from extensions.openai.generation.sampling.profiles import to_native
from extensions.openai.generation.sampling.table import (
    PARAMETERS,
    Column,
    Parameter,
    native_sampling,
)
from extensions.openai.schemas.validation import RequestModel, check
from scripts import generate_docs

LLAMA_CPP = EchoEngine().info


def row(default: Any, **more: Any) -> Parameter:
    """A parameter that no sampler has."""
    given = {"kind": type(default), "low": None, "high": None, **more}
    return Parameter(
        name="sparkle",
        meaning="How much it sparkles.",
        default=default,
        native={"llama.cpp": Column("native_sparkle")},
        aliases=("glitter",),
        **given,
    )


@pytest.fixture(name="with_row")
def with_row_in_the_table(monkeypatch: pytest.MonkeyPatch) -> Any:
    def add(new: Parameter) -> type[RequestModel]:
        rows = (*PARAMETERS, new)
        for module in (profiles, generate_docs):
            monkeypatch.setattr(module, "PARAMETERS", rows)
        monkeypatch.setattr(profiles, "ROWS", {each.name: each for each in rows})
        monkeypatch.setattr(profiles, "SHAPING", profiles.SHAPING | {new.name})
        profiles.cached_native.cache_clear()
        return type("Body", (RequestModel, native_sampling(rows)), {"__module__": __name__})

    yield add
    profiles.cached_native.cache_clear()


NUMBER = {"low": 0, "high": 2}


@pytest.mark.parametrize(
    ("new", "good", "wrong", "code"),
    [
        (row(0.5, **NUMBER), 1.5, 99, "decimal_above_max_value"),
        (row(0.5, **NUMBER), 0, -1, "decimal_below_min_value"),
        (row(0.5, **NUMBER), 1.5, "abc", "invalid_type"),
        (row(0.5, **NUMBER), 1.5, {"x": 1}, "invalid_type"),
        (row(1, **NUMBER), 2, 3, "integer_above_max_value"),
        (row(1, **NUMBER), 2, 1.5, "invalid_type"),
        (row(1, **NUMBER), 2, True, "invalid_type"),
        (row(False), True, 1, "invalid_type"),
        (row("", kind=str), "much", 1, "invalid_type"),
        (row(["a"], kind=list[str]), ["b", "c"], [], "empty_array"),
        (row(["a"], kind=list[str]), ["b", "c"], [5], "invalid_type"),
        (row(None, kind=list[str]), ["b"], ["b"] * 65, "array_above_max_length"),
    ],
)
def test_a_row_is_a_validated_field_that_reaches_the_sampler(
    with_row: Any, new: Parameter, good: Any, wrong: Any, code: str
) -> None:
    body = with_row(new)
    for name in ("sparkle", "glitter"):
        native = to_native(check(body, {name: good}, strict=True), LLAMA_CPP)
        assert native["native_sparkle"] == good
    for absent in ({}, {"sparkle": None}):
        native = to_native(check(body, absent, strict=True), LLAMA_CPP)
        assert native.get("native_sparkle") == new.default
    with pytest.raises(InvalidRequest) as caught:
        check(body, {"sparkle": wrong})
    assert caught.value.param in ("sparkle", "sparkle[0]")
    assert caught.value.code == code


def test_a_row_can_read_what_clients_write_otherwise(with_row: Any) -> None:
    body = with_row(row(1, **NUMBER, read=lambda value: 2 if value == "very" else value))
    assert to_native(check(body, {"sparkle": "very"}), LLAMA_CPP)["native_sparkle"] == 2
    with pytest.raises(InvalidRequest) as caught:
        check(body, {"sparkle": "hardly"})
    assert caught.value.code == "invalid_type"


def test_a_row_is_documented(with_row: Any) -> None:
    body = with_row(row(0.5, **NUMBER))
    field = body.model_json_schema(by_alias=False)["properties"]["sparkle"]
    assert field["description"] == "How much it sparkles. Default 0.5."
    number = {"maximum": 2, "minimum": 0, "type": "number"}
    assert field["anyOf"] == [number, {"type": "null"}]
    assert "| `sparkle` or `glitter` | 0 to 2 | `0.5` | How much it sparkles. |" in (
        generate_docs.sampling()
    )


@pytest.mark.parametrize("kind", [CompletionRequest, ChatCompletionRequest])
def test_requests_have_the_fields_of_all_rows_and_of_no_others(kind: type[RequestModel]) -> None:
    made = native_sampling(PARAMETERS).model_fields
    assert list(made) == [each.name for each in PARAMETERS]
    for name, field in made.items():
        assert repr(kind.model_fields[name]) == repr(field), name


def test_types_come_of_defaults_and_of_rows() -> None:
    kinds = {each.name: each.kind for each in PARAMETERS}
    assert (kinds["top_k"], kinds["min_p"]) == (int, float)
    assert (kinds["ignore_eos"], kinds["negative_prompt"]) == (bool, str)
    assert type(None) not in kinds.values()


def test_a_sampler_without_it_refuses_it_by_name(with_row: Any) -> None:
    body = check(with_row(row(0.5, **NUMBER)), {"sparkle": 1.0})
    with pytest.raises(InvalidRequest) as caught:
        to_native(body, replace(LLAMA_CPP, sampler="another sampler"))
    assert caught.value.param == "sparkle"
