"""What is said once."""

from __future__ import annotations

from extensions.openai.system.once import Once


def test_each_name_is_first_once_and_not_more_are_remembered_than_may_be() -> None:
    once = Once(limit=2)
    assert [once.first(name) for name in ("a", "a", "b", "c", "c", "a")] == [
        *(True, False, True),
        *(False, False, False),
    ]
