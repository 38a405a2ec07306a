"""Text that is held back until what it waits for has come."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from extensions.openai.generation.chat.held_text import HeldText


@given(
    st.lists(st.text("ab<>", max_size=3)),
    st.lists(st.sampled_from(["<a>", "<ab>", ">"]), max_size=2),
)
def test_nothing_is_read_before_a_mark_has_come(parts: list[str], marks: list[str]) -> None:
    held = HeldText()
    held.add("b<a", last=False)
    held.wait_for(marks)
    came = held.text
    for part in parts:
        came += part
        has_mark = any(came.find(mark, max(0, 3 - len(mark) + 1)) >= 0 for mark in marks)
        if held.add(part, last=False):
            assert has_mark and held.text == came
            return
        assert not has_mark and held.text == "b<a"
    assert held.add("", last=True) and held.text == came


def test_spaces_behind_spaces_are_not_read() -> None:
    held = HeldText()
    assert held.add("\n", last=False)
    assert not held.add(" \n", last=False)
    assert held.add("x", last=False) and held.text == "\n \nx"
