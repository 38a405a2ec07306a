"""Stop strings, against a reference that looks at the whole text at once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from extensions.openai.generation.stop_strings import StopMatcher


def expected(text: str, stops: Sequence[str]) -> tuple[str, str | None]:
    """What may be shown of `text`, and the stop string that ended it.

    Generation ends at the first character that completes a stop string; of several that end there,
    the longest counts.
    """
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            longest = max(complete, key=len)
            return text[: end - len(longest)], longest
    return text, None


def shown(pieces: Sequence[str], stops: Sequence[str]) -> tuple[list[str], str | None]:
    """What the matcher lets through piece by piece (flushed at the end), and what it matched."""
    matcher = StopMatcher(stops)
    out = []
    for piece in pieces:
        out.append(matcher.push(piece))
        if matcher.matched is not None:
            return out, matcher.matched
    out.append(matcher.flush())
    return out, None


letters = st.text("ab\n€", max_size=12)
stop_lists = st.lists(st.text("ab\n€", min_size=1, max_size=4), max_size=4)


@given(st.lists(letters, max_size=8), stop_lists)
@example(["a", "b", "c"], ["abcd"])
@example(["abcd"], ["abcd", "bc"])
@example(["aab"], ["ab"])
@example(["a", "a", "b"], ["aab", "ab"])
def test_the_text_before_the_first_stop_string_is_shown_whatever_the_splits(
    pieces: list[str], stops: list[str]
) -> None:
    text, stop = expected("".join(pieces), stops)
    out, matched = shown(pieces, stops)
    assert "".join(out) == text
    assert (matched is None) == (stop is None)


@given(letters, stop_lists)
def test_the_split_makes_no_difference(text: str, stops: list[str]) -> None:
    whole, _ = shown([text], stops)
    single, _ = shown(list(text), stops)
    assert "".join(whole) == "".join(single)


@given(st.lists(letters, max_size=8), stop_lists)
def test_what_was_shown_is_never_the_beginning_of_the_stop_string_that_follows(
    pieces: list[str], stops: list[str]
) -> None:
    """Shown text only grows, so each part must be a prefix of the final one."""
    text, _ = expected("".join(pieces), stops)
    out, _ = shown(pieces, stops)
    so_far = ""
    for part in out:
        so_far += part
        assert text.startswith(so_far)


@given(st.lists(letters, max_size=8), stop_lists)
def test_only_what_may_still_become_a_stop_string_is_held(
    pieces: list[str], stops: list[str]
) -> None:
    matcher = StopMatcher(stops)
    given_text = released = ""
    for piece in pieces:
        given_text += piece
        released += matcher.push(piece)
        if matcher.matched is not None:
            break
        held = given_text.removeprefix(released)
        assert not held or any(stop.startswith(held) for stop in stops)
    assert given_text.startswith(released)


@pytest.mark.parametrize("stops", [[], ["x"]])
def test_empty_pieces_change_nothing(stops: list[str]) -> None:
    matcher = StopMatcher(stops)
    assert matcher.push("") == ""
    assert matcher.push("a") == "a"
    assert matcher.matched is None


def test_held_text_is_flushed_once() -> None:
    matcher = StopMatcher(["STOP"])
    assert matcher.push("a ST") == "a "
    assert matcher.flush() == "ST"
    assert matcher.flush() == ""


def test_the_cost_of_a_piece_does_not_grow_with_the_answer() -> None:
    """The held text stays shorter than the longest stop string."""
    matcher = StopMatcher(["a" * 50 + "b"])
    for _ in range(5_000):
        matcher.push("a")
    assert len(matcher.flush()) <= 50
