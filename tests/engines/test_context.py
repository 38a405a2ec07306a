"""Whether prompt and answer fit: exact, and without tokenizing where there is no doubt."""

from __future__ import annotations

import pytest

from extensions.openai.engines.context import check_fits
from extensions.openai.errors import ContextLengthExceeded

CONTEXT = 100


def letters(text: str) -> tuple[int, ...]:
    return tuple(text.encode())


def never(text: str) -> tuple[int, ...]:
    raise AssertionError("it need not be tokenized")


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "fits"),
    [
        (99, None, True),
        (100, None, False),
        (100, 0, True),
        (101, 0, False),
        (60, 40, True),
        (60, 41, False),
        (1, 99, True),
        (1, 100, False),
        (0, 100, True),
        (1, 10**30, False),
    ],
)
@pytest.mark.parametrize("as_text", [True, False])
def test_all_of_the_context_may_be_used(
    prompt: int, max_tokens: int | None, fits: bool, as_text: bool
) -> None:
    asked: str | tuple[int, ...] = "x" * prompt if as_text else (1,) * prompt
    if fits:
        assert check_fits(asked, max_tokens, CONTEXT, letters) >= prompt
        return
    with pytest.raises(ContextLengthExceeded) as caught:
        check_fits(asked, max_tokens, CONTEXT, letters)
    assert caught.value.param == "prompt"
    assert str(CONTEXT) in caught.value.message
    assert str(prompt + (max_tokens or 0)) in caught.value.message


def test_what_is_short_in_bytes_is_not_tokenized() -> None:
    assert check_fits("x" * 50, 48, CONTEXT, never) >= 50
    with pytest.raises(AssertionError):
        check_fits("x" * 51, 48, CONTEXT, never)


def test_bytes_count_and_not_characters() -> None:
    """The tokens of a text may be more than its characters."""
    with pytest.raises(ContextLengthExceeded):
        check_fits("🙂" * 30, 1, CONTEXT, letters)


def test_a_long_text_of_few_tokens_fits() -> None:
    assert check_fits("x" * 1000, 10, CONTEXT, lambda text: tuple(range(90))) == 90
