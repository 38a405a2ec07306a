"""Every field of the reference, by the official client's own types: another type is a 400 that names it."""

from __future__ import annotations

import collections.abc
import typing
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from flask.testing import FlaskClient
from openai.types import completion_create_params as completion_params
from openai.types.chat import completion_create_params as chat_params
from openai.types.responses import response_create_params as response_params
from typing_extensions import get_type_hints, is_typeddict

from extensions.openai.engines.echo import EchoEngine
from tests.support.api import Api
from tests.support.reference import assert_envelope

OF_EACH_TYPE: dict[str, Any] = {
    "string": "zz",
    "integer": 3,
    "decimal": 0.5,
    "boolean": True,
    "array": [[]],
    "object": {"zz": 1},
}
GOOD: dict[str, dict[str, Any]] = {
    "completions": {"model": "echo", "prompt": "x"},
    "chat/completions": {"model": "echo", "messages": [{"role": "user", "content": "x"}]},
    "responses": {"model": "echo", "input": "x"},
}
FIELDS = {
    "completions": completion_params.CompletionCreateParamsBase,
    "chat/completions": chat_params.CompletionCreateParamsBase,
    "responses": response_params.ResponseCreateParamsBase,
}
NEEDED = {
    "completions": ("model",),
    "chat/completions": ("model", "messages"),
    "responses": ("model", "input"),
}
STREAMING = {"stream": bool}  # declared apart, as the client's answer depends on it


def types_of(hint: Any) -> set[str]:
    """The JSON types that a type of the client stands for."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return set().union(*map(types_of, get_args(hint)))
    if origin is Literal:
        return {"string"}
    if hint is NoneType:
        return {"null"}
    for kind, names in (
        (bool, {"boolean"}),
        (int, {"integer"}),
        (float, {"integer", "decimal"}),
        (str, {"string"}),
    ):
        if hint is kind:
            return names
    if is_typeddict(hint) or origin in (dict, collections.abc.Mapping):
        return {"object"}
    if origin is not None and origin is not typing.Annotated:
        return {"array"}  # whatever kind of sequence it is
    raise AssertionError(hint)


def wrong_values() -> list[Any]:
    cases = []
    for path, params in FIELDS.items():
        hints = get_type_hints(params) | STREAMING
        assert len(hints) > 15
        for field, hint in hints.items():
            allowed = types_of(hint)
            cases += [
                pytest.param(path, field, value, id=f"{path} {field} {kind}")
                for kind, value in OF_EACH_TYPE.items()
                if kind not in allowed
            ]
    return cases


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    return Api(EchoEngine()).client


@pytest.mark.parametrize(("path", "field", "value"), wrong_values())
def test_another_type_is_refused_by_name(
    client: FlaskClient, path: str, field: str, value: Any
) -> None:
    for stream in (False, True):
        body = {"stream": stream, **GOOD[path], field: value}
        answer = client.post(f"/v1/{path}", json=body)
        assert answer.status_code == 400, answer.get_data(as_text=True)
        error = assert_envelope(answer.json, status=400)
        assert (error["param"], error["code"]) == (field, "invalid_type")


@pytest.mark.parametrize("path", FIELDS)
def test_null_is_as_if_it_were_not_there(client: FlaskClient, path: str) -> None:
    """The client sends none, but others do; only what must be there must not be null."""
    for field in get_type_hints(FIELDS[path]) | STREAMING:
        answer = client.post(f"/v1/{path}", json={**GOOD[path], field: None})
        needed = field in NEEDED[path]
        assert answer.status_code == (400 if needed else 200), field
        if needed:
            assert answer.json["error"]["param"] == field
