"""JSON that is checked while it comes in, against the parser that reads it whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from extensions.openai.generation.tools.reading.json_scanner import JSONScanner

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(max_size=5), VALUES, max_size=4)


@settings(deadline=None)
@given(OBJECTS, st.sampled_from([None, 1]), st.booleans(), st.text(max_size=3))
def test_an_object_is_read_up_to_its_end(
    value: dict[str, Any], indent: int | None, ascii: bool, behind: str
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii)
    scanner = JSONScanner()
    assert scanner.push(text + behind) == len(text)
    assert scanner.over and scanner.valid
    parts = JSONScanner()
    assert sum(parts.push(character) for character in text) == len(text)
    assert parts.over
    for at in range(len(text)):
        begun = JSONScanner()
        assert begun.push(text[:at]) == at
        assert begun.valid and not begun.over


@settings(deadline=None)
@example({}, 1, "]")
@given(OBJECTS, st.integers(0, 200), st.characters(codec="utf-8"))
def test_what_is_read_whole_is_what_a_parser_takes(
    value: dict[str, Any], at: int, character: str
) -> None:
    """One character is changed: the scanner and the parser agree on whether that is JSON."""
    text = json.dumps(value)
    at %= len(text)
    text = text[:at] + character + text[at + 1 :]
    scanner = JSONScanner()
    read = scanner.push(text)
    try:
        parsed, end = json.JSONDecoder().raw_decode(text)
    except ValueError:
        assert not scanner.over
    else:
        assert isinstance(parsed, dict) == scanner.over
        assert not scanner.over or read == end


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ('{"city": Oslo', '{"city": '),
        ("{'city'", "{"),
        ('{"a": 01', '{"a": 0'),
        ('{"a": "\\x', '{"a": "\\'),
        ('{"a": 1,}', '{"a": 1,'),
        ('{"a": [1}', '{"a": [1'),
        ('{"a": tru}', '{"a": tru'),
        ("[1]", ""),
        ('"text"', ""),
    ],
)
def test_it_ends_at_the_first_character_that_cannot_be(text: str, valid: str) -> None:
    scanner = JSONScanner()
    assert text[: scanner.push(text)] == valid
    assert not scanner.valid


def test_values_are_counted_when_they_begin() -> None:
    scanner = JSONScanner()
    for text, values in (("{", 0), ('"a": ', 0), ("1", 1), (', "b": [', 2), ("true", 3), ("]}", 3)):
        scanner.push(text)
        assert scanner.values == values


def test_depth_is_bounded() -> None:
    scanner = JSONScanner()
    scanner.push('{"a": ' + "[" * 10_000)
    assert not scanner.valid
