"""Text that is kept, text that is dropped, and the tokens of both."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from extensions.openai.engines.protocol import Piece, TokenLogprob
from extensions.openai.generation.token_splitter import (
    Kept,
    StoppedText,
    TokenSplitter,
    aligned,
    character_sizes,
)

WORDS = ["a", "bc", " ", "é", "日本", "🙂", "x🙂y", "\n\n", "</", "think", ">", ""]


def tokens_of(data: bytes, cuts: Sequence[int]) -> list[TokenLogprob]:
    """A text in tokens that end at these bytes; each has a logprob of its own."""
    ends = [*cuts, len(data)]
    return [
        TokenLogprob(data[start:end], -float(at))
        for at, (start, end) in enumerate(zip([0, *ends], ends, strict=False))
    ]


def pieces_of(tokens: Sequence[TokenLogprob]) -> list[Piece]:
    """As engines have them: the tokens of a character come together."""
    pieces, waiting = list[Piece](), list[TokenLogprob]()
    for token in tokens:
        waiting.append(token)
        data = b"".join(each.bytes for each in waiting)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            continue
        pieces.append(Piece(text, tokens=len(waiting), logprobs=tuple(waiting)))
        waiting = []
    assert not waiting
    return pieces


def output(logprobs: Sequence[TokenLogprob]) -> str:
    return b"".join(token.bytes for token in logprobs).decode(errors="replace")


@pytest.mark.parametrize("seed", range(40))
def test_what_is_kept_and_its_tokens_are_the_same_text(seed: int) -> None:
    """Any text, in any tokens, of which any parts are kept: after each step the tokens that came out are the
    text that came out, and in the end each token came out once, in order."""
    chance = random.Random(seed)
    text = "".join(chance.choices(WORDS, k=chance.randint(1, 12)))
    data = text.encode()
    tokens = tokens_of(data, sorted(chance.choices(range(len(data) + 1), k=chance.randint(0, 9))))
    splitter, wanted = TokenSplitter(), list[str]()
    found: list[TokenLogprob] = []
    shown = ""

    def check(kept: Kept) -> None:
        nonlocal shown
        assert output(kept.logprobs) == kept.text
        found.extend(kept.logprobs)
        shown += kept.text

    left = text
    for piece in pieces_of(tokens):
        splitter.push(piece)
        count = chance.randint(0, min(len(left), len(piece.text)))
        keep = chance.random() < 0.6
        (splitter.keep if keep else splitter.drop)(count)
        wanted.append(left[:count] if keep else "")
        left = left[count:]
        check(splitter.take())
    splitter.keep(len(left))
    wanted.append(left)
    check(splitter.take())
    assert splitter.idle
    assert shown == "".join(wanted)
    assert [token.logprob for token in found] == [token.logprob for token in tokens]


def test_a_token_that_is_kept_in_part_is_cut() -> None:
    splitter = TokenSplitter()
    tokens = (TokenLogprob(b"</think>", -1.0), TokenLogprob("\n\nThé".encode(), -2.0, id=7))
    splitter.push(Piece("</think>\n\nThé", tokens=2, logprobs=tokens))
    splitter.drop(len("</think>\n\n"))
    assert splitter.take() == Kept("", (TokenLogprob(b"", -1.0),))
    assert splitter.take_dropped() == 1
    splitter.keep(3)
    assert splitter.take() == Kept("Thé", (TokenLogprob("Thé".encode(), -2.0, id=7),))
    assert splitter.take_dropped() == 0


def test_text_without_log_probabilities_comes_at_once() -> None:
    splitter = TokenSplitter()
    splitter.push(Piece("abc", tokens=1))
    splitter.keep(1)
    assert splitter.take() == Kept("a")
    splitter.drop(1)
    splitter.keep(1)
    assert splitter.take() == Kept("c")
    assert splitter.take_dropped() == 0


def test_tokens_without_text_belong_to_what_is_around_them() -> None:
    splitter = TokenSplitter()
    splitter.push(Piece("a", tokens=1, logprobs=(TokenLogprob(b"a", -1.0),)))
    splitter.keep(1)
    splitter.push(Piece("", tokens=1, finish="stop", logprobs=(TokenLogprob(b"", -2.0),)))
    splitter.keep(0)
    assert splitter.take() == Kept("a", (TokenLogprob(b"a", -1.0), TokenLogprob(b"", -2.0)))


@pytest.mark.parametrize(
    ("data", "sizes"),
    [
        ("aé日🙂".encode(), [1, 2, 3, 4]),
        (b"\xf0\x9fa\x80", [2, 1, 1]),
        (b"a\xe6\x97", [1, 2]),
        (b"\xff\xfe", [1, 1]),
        (b"", []),
    ],
)
def test_the_bytes_of_characters(data: bytes, sizes: list[int]) -> None:
    assert character_sizes(data) == sizes
    text, at = data.decode(errors="replace"), 0
    for character, size in zip(text, sizes, strict=True):
        assert data[at : at + size].decode(errors="replace") == character
        at += size


@pytest.mark.parametrize("stop", ["é", "🙂!", "日", "ab", "b🙂", "本\n"])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_stop_string_in_any_tokens(stop: str, size: int) -> None:
    """Also one with characters of several bytes, which tokens end inside of."""
    text = "xab🙂!é日本\nend"
    data = text.encode()
    tokens = tokens_of(data, range(size, len(data), size))
    stopped, shown, found = StoppedText([stop]), "", list[TokenLogprob]()
    count = 0
    for piece in pieces_of(tokens):
        kept = stopped.push(piece)
        assert output(kept.logprobs) == kept.text
        shown += kept.text
        found += kept.logprobs
        count += piece.tokens
        if stopped.matched:
            break
    assert stopped.matched and shown == text[: text.index(stop)]
    assert [token.logprob for token in found] == [token.logprob for token in tokens[:count]]


def test_text_before_the_first_log_probability_is_not_lost() -> None:
    stopped = StoppedText(["end"])
    assert stopped.push(Piece("ae")) == Kept("a")
    token = TokenLogprob(b"x", -1.0)
    assert stopped.push(Piece("x", tokens=1, logprobs=(token,))) == Kept("ex", (token,))
    assert stopped.push(Piece("en", tokens=1, logprobs=(TokenLogprob(b"en", -2.0),))) == Kept("")
    assert stopped.end() == Kept("en", (TokenLogprob(b"en", -2.0),))


@pytest.mark.parametrize(
    ("tokens", "text", "shares"),
    [
        # a start token and a space that the tokenizer put there
        ([b"<s>", b" Hel", b"lo"], "Hello", [b"", b"Hel", b"lo"]),
        ([b"<s>", b"<s>", b"x"], "<s>x", [b"<s>", b"", b"x"]),
        ([b"<|im_start|>", b"user"], "<|im_start|>user", [b"<|im_start|>", b"user"]),
        ([b" \xf0\x9f", b"\x99\x82"], "🙂", [b"\xf0\x9f", b"\x99\x82"]),
        ([b"a\xf0"], "a\N{REPLACEMENT CHARACTER}", [b"a\xf0"]),
        # another text than the one that was read: nothing is known
        ([b"<s>", b"abc"], "xyz", [b"<s>", b"abc"]),
    ],
)
def test_the_tokens_of_a_prompt_make_its_text(
    tokens: list[bytes], text: str, shares: list[bytes]
) -> None:
    found = aligned([TokenLogprob(token, -1.0) for token in tokens], text)
    assert [token.bytes for token in found] == shares
