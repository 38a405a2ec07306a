"""Arguments of calls that are mended while they come in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extensions.openai.generation.tools.reading.streamed_arguments import StreamedArguments

PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\\"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | PRINTABLE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PRINTABLE, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(PRINTABLE, VALUES, max_size=4)


def read(text: str, size: int = 1) -> tuple[StreamedArguments, str]:
    """What has read the text, in pieces of so many characters, and the JSON."""
    arguments, written = StreamedArguments(), ""
    for at in range(0, len(text), size):
        taken, more = arguments.push(text[at : at + size])
        written += more
        if taken < len(text[at : at + size]):
            break
    return arguments, written


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ('{"a": 1, "b": [2, 3]}', '{"a": 1, "b": [2, 3]}'),
        ("{'a': 'x'}", '{"a": "x"}'),
        ("""{'a': 'say "hi"'}""", '{"a": "say \\"hi\\""}'),
        (r"{'a': 'it\'s'}", r'{"a": "it\u0027s"}'),
        ('{"a": "x", \'b\': 2}', '{"a": "x", "b": 2}'),
        ('{"a": True, "b": [False, None]}', '{"a": true, "b": [false, null]}'),
        ('{"a": 1,}', '{"a": 1}'),
        ('{"a": [1, 2, ], }', '{"a": [1, 2]}'),
        ('{"a": 1 "b": 2}', '{"a": 1 ,"b": 2}'),
        ('{"a": ["x" "y"]}', '{"a": ["x" ,"y"]}'),
        ('{"a": [1, 2}', '{"a": [1, 2]}'),
        ('{"a": [{"b": 1]}', '{"a": [{"b": 1}]}'),
        ('{"a": "two\nlines"}', '{"a": "two\\nlines"}'),
        ('{"a": "C:\\dir"}', '{"a": "C:\\\\dir"}'),
    ],
)
def test_what_models_write_becomes_json(text: str, mended: str, size: int) -> None:
    arguments, written = read(text, size)
    assert arguments.over and written == mended
    assert isinstance(json.loads(written), dict)


@pytest.mark.parametrize(
    ("text", "closing"),
    [
        ('{"a": 1', "}"),
        ('{"a": [1, {"b": null', "}]}"),
        ('{"a": 1, ', "}"),
        ('{"a": [', "]}"),
        ("{", "}"),
        # Inside of a value, or before one.
        ('{"a": "x', ""),
        ('{"a": tru', ""),
        ('{"a": Non', ""),
        ('{"a": -', ""),
        ('{"a": ', ""),
        ('{"a"', ""),
        ("", ""),
    ],
)
def test_brackets_that_are_missing_at_the_end(text: str, closing: str) -> None:
    arguments, written = read(text)
    assert arguments.missing() == closing
    if closing:
        assert arguments.over and isinstance(json.loads(written + closing), dict)
    else:
        assert written + arguments.rest() == text


@pytest.mark.parametrize(
    "text", ['{"a": NaN}', '{"a": Nope}', "{a: 1}", '{"a": 01}', '{"a": +1}', '{"a": tru}', '{"a": -}',
             '{"a": }', '{"a", }', '{"a": 1]', '{"a": 1,, "b": 2}', "{,}", '{"a": 1e}', "[1]",
             # Words, quotes and inches that are part of a text.
             '{"a": Tokyo}', '{"a": Never}', '{"a": ["say ""hi"""]}', '{"a": """x"""}', '{"a": 5", "b": 1}',
             # It is not clear whether the last member is part of the inner object.
             '{"a": {"b": [1, 2}, "c": 3}}', '{"a": [{"b": [1}, {"b": [2]}]}', '{"a": [[{"b": 1]], 2]}']
)  # fmt: skip
def test_what_cannot_be_mended_is_as_it_was(text: str) -> None:
    arguments, written = read(text)
    assert not arguments.valid and not arguments.over
    assert text.startswith(written + arguments.rest())


@pytest.mark.parametrize(
    ("text", "closing"),
    [('{"a": 1', "}"), ('{"a": [1, ', "]}"), ('{"a": [{"b": 1] ', "}] }"), ('{"a": 1, "b": ', "")],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_brackets_that_are_missing_before_another_text(text: str, closing: str, size: int) -> None:
    arguments, written = read(text + "</tool_call>", size)
    assert not arguments.valid and arguments.missing() == closing
    if closing:
        assert isinstance(json.loads(written + closing), dict)


def test_an_end_with_the_wrong_bracket_may_be_no_end() -> None:
    arguments, _ = read('{"a": [{"b": 1}}')
    assert arguments.over and not arguments.ends_clearly
    arguments, _ = read('{"a": [{"b": 1}]}')
    assert arguments.over and arguments.ends_clearly and not arguments.has_slips


@settings(deadline=None)
@given(OBJECTS, st.sampled_from([None, 1]), st.integers(1, 5))
def test_json_is_not_changed(value: dict[str, Any], indent: int | None, size: int) -> None:
    text = json.dumps(value, indent=indent)
    arguments, written = read(text, size)
    assert arguments.over and written == text


@settings(deadline=None)
@given(OBJECTS, st.integers(1, 5))
def test_a_dictionary_of_python_is_read(value: dict[str, Any], size: int) -> None:
    arguments, written = read(repr(value), size)
    assert arguments.over and json.loads(written) == value


@settings(deadline=None)
@given(OBJECTS.filter(bool))
def test_a_text_without_its_last_brackets_is_closed(value: dict[str, Any]) -> None:
    text = json.dumps(value)
    arguments, written = read(text[:-1])
    assert json.loads(written + arguments.missing()) == value


@settings(deadline=None)
@given(OBJECTS, st.integers(0, 200), st.text(max_size=2), st.integers(0, 2), st.integers(1, 4))
def test_what_is_complete_is_json(
    value: dict[str, Any], at: int, put: str, gone: int, size: int
) -> None:
    """Whatever is changed of it, and however it is cut."""
    text = json.dumps(value)
    at %= len(text)
    text = text[:at] + put + text[at + gone :]
    one, written = read(text, size)
    other, whole = read(text, 1000)
    assert (written, one.valid, one.over) == (whole, other.valid, other.over)
    if one.over:
        assert isinstance(json.loads(written), dict)
    elif closing := one.missing():
        assert isinstance(json.loads(written + closing), dict)
