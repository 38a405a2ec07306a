"""Whether prompt and answer fit: exact, and without tokenizing where there is no doubt."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.tokens.context_length import (
    NORMALIZATION_GROWTH,
    check_can_fit,
    check_fits,
)
from extensions.openai.errors import ContextLengthExceeded
from tests.support.api import Api
from tests.support.reference import assert_envelope

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


@pytest.mark.parametrize("prompt", ["x" * 1010, "🙂" * 253, "x" * 10**6])
def test_what_no_tokens_could_make_short_enough_is_not_tokenized(prompt: str) -> None:
    with pytest.raises(ContextLengthExceeded, match="at least") as caught:
        check_fits(prompt, 10, CONTEXT, never, longest_token=10)
    assert f"at least {len(prompt.encode()) // 10 + 10} tokens" in caught.value.message


def test_what_might_fit_is_tokenized() -> None:
    few = tuple(range(90))
    assert check_fits("x" * 1009, 10, CONTEXT, lambda text: few, longest_token=10) == 90
    # Blanks around a text are not counted: a tokenizer may leave them out.
    assert check_fits(" " * 10**4 + "x", 10, CONTEXT, lambda text: few, longest_token=10) == 90


def test_many_texts_are_many_tokens() -> None:
    check_can_fit(["x"] * 100, None, CONTEXT, 0, param="messages")
    with pytest.raises(ContextLengthExceeded) as caught:
        check_can_fit(["x"] * 101, None, CONTEXT, 0, param="messages")
    assert caught.value.param == "messages"


@pytest.mark.parametrize("stream", [True, False])
def test_megabytes_are_refused_before_llama_cpp_sees_them(
    tiny: Api, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    """It would read them for seconds, and hear nothing of a client that leaves."""
    engine = tiny.engine
    assert isinstance(engine, LlamaCppEngine)
    asked: list[str] = []
    monkeypatch.setattr(engine.model, "complete", lambda *_: asked.append("complete"))
    monkeypatch.setattr(engine, "tokenize", lambda _: asked.append("tokenize"))
    long = "a b " * 500_000
    for page, body in (
        ("chat/completions", {"messages": [{"role": "user", "content": long}]}),
        ("chat/completions", {"messages": [{"role": "user", "content": "a"}] * 5000}),
        ("completions", {"prompt": long}),
        ("completions", {"prompt": ["short", long]}),
    ):
        answer = tiny.client.post(f"/v1/{page}", json={"model": "tiny", "stream": stream, **body})
        error = assert_envelope(answer.json, status=400)
        assert error["code"] == "context_length_exceeded" and "at least" in error["message"]
    assert not asked


def test_a_prompt_that_is_a_little_too_long_is_counted(tiny: Api) -> None:
    error = tiny.refused("completions", prompt="word " * 5000)
    assert error["code"] == "context_length_exceeded" and "at least" not in error["message"]


@given(st.lists(st.text(max_size=30), max_size=20))
@hypothesis_settings(max_examples=50, deadline=None, derandomize=True)
def test_no_token_stands_for_more_than_the_longest(tiny: Api, words: list[str]) -> None:
    text = " ".join(words).strip()
    longest = tiny.engine.info.longest_token
    assert longest > 1
    assert len(text.encode()) <= longest * len(tiny.engine.tokenize(text))


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_a_text_in_another_form_of_unicode_is_not_longer_than_that(form: Any) -> None:
    characters = (chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    grown = (
        len(unicodedata.normalize(form, each).encode()) / len(each.encode()) for each in characters
    )
    assert 1 < max(grown) <= NORMALIZATION_GROWTH


def test_blanks_of_megabytes_are_not_tokenized() -> None:
    """Only where a template may cut them off do they not count."""

    def never(_: str) -> tuple[int, ...]:
        raise AssertionError("it was tokenized")

    for blanks in (" " * 5_000_000, "\n" * 5_000_000, "a" + "\t" * 5_000_000):
        with pytest.raises(ContextLengthExceeded):
            check_fits(blanks, 1, 4096, never, 20)
        with pytest.raises(ContextLengthExceeded):
            check_can_fit((blanks,), None, 4096, 20, param="messages")
        check_can_fit((blanks,), None, 4096, 20, param="messages", trimmed=True)
