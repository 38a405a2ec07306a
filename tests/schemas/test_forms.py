"""Texts and files become typed values; what cannot be read is refused by its name."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from werkzeug.datastructures import MultiDict

from extensions.openai.errors import InvalidRequest
from extensions.openai.schemas.forms import Upload, parse_form, parse_query
from extensions.openai.schemas.validation import RequestModel


class Filter(RequestModel):
    name: str | None = None
    limit: int | None = None
    share: float | None = None
    exact: bool | None = None
    tags: list[str] | None = None
    file: Upload | None = None


FILE = Upload("a.txt", "text/plain", BytesIO(b"x"), 1)
READ = [
    ("name", "7", "7"),
    ("limit", "-7", -7),
    ("share", "0.25", 0.25),
    ("share", "1", 1.0),
    ("exact", "true", True),
    ("exact", "false", False),
]


@pytest.mark.parametrize(("name", "text", "value"), READ)
def test_a_text_is_read_as_its_field_wants_it(name: str, text: str, value: object) -> None:
    for body in (
        parse_query(Filter, MultiDict([(name, text)])),
        parse_form(Filter, [(name, text)]),
    ):
        found = getattr(body, name)
        assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("limit", text) for text in ("1.5", "9" * 19, "")),
        *(("share", text) for text in ("1e3", "nan")),
        *(("exact", text) for text in ("True", "1")),
    ],
)
def test_a_text_that_cannot_be_read_is_refused(name: str, text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_query(Filter, MultiDict([(name, text)]))
    assert (caught.value.param, caught.value.code) == (name, "invalid_type")


def test_lists_of_a_query_may_have_commas() -> None:
    for given in (
        [("tags", "a,b")],
        [("tags", "a"), ("tags", "b")],
        [("tags[]", "a"), ("tags[]", "b")],
    ):
        assert parse_query(Filter, MultiDict(given)).tags == ["a", "b"]


def test_lists_of_a_form_have_a_part_for_each() -> None:
    parts: list[tuple[str, Any]] = [("tags[]", "a,b"), ("tags[]", "c"), ("file", FILE)]
    body = parse_form(Filter, parts)
    assert body.tags == ["a,b", "c"] and body.file is FILE


def test_a_form_may_be_strict() -> None:
    assert parse_form(Filter, [("elsewhere", "x")]).model_extra == {"elsewhere": "x"}
    with pytest.raises(InvalidRequest):
        parse_form(Filter, [("elsewhere", "x")], strict=True)


def test_a_list_of_files_is_no_json_that_is_nested_too_deeply() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_form(Filter, [("tags", FILE)])
    assert (caught.value.param, caught.value.code) == ("tags[0]", "invalid_type")
