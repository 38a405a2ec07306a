"""What two prompts share."""

from __future__ import annotations

import random

from extensions.openai.engines.llamacpp.prompt_cache.prompt import Prompt, shared_length


def test_the_common_beginning_is_found_by_slices() -> None:
    drawn = random.Random(1)
    for _ in range(3000):
        one = [drawn.randrange(2) for _ in range(drawn.randrange(200))]
        other = one[: drawn.randrange(len(one) + 1)]
        other += [drawn.randrange(2) for _ in range(drawn.randrange(100))]
        assert shared_length(tuple(one), tuple(other)) == next(
            (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
            min(len(one), len(other)),
        )


def test_tokens_count_where_they_are_known_and_letters_where_not() -> None:
    known = Prompt(text="abcdefgh", ids=(1, 2, 3, 4))
    assert known.shared_with(Prompt(ids=(1, 2, 9))) == 2
    assert known.shared_with(Prompt(text="abcdxxxx")) == 2, "two letters a token"
    answered = Prompt(text="abcdefgh", ids=(1, 2))
    assert known.shared_with(answered) == 4, "the answer's tokens are not known, its text is"


def test_spaces_share_nothing() -> None:
    assert Prompt("a", "text" * 9).shared_with(Prompt("b", "text" * 9)) == 0
    assert not Prompt("a", "text").begins(Prompt("b", "text"))


def test_what_begins_another() -> None:
    assert Prompt(text="ab").begins(Prompt(text="abc"))
    assert Prompt(ids=(1, 2)).begins(Prompt(text="abc", ids=(1, 2, 3)))
    assert not Prompt(text="abx").begins(Prompt(text="abc"))
    assert not Prompt().begins(Prompt(ids=(1,)))
