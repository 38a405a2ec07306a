"""What chunks of llama.cpp are read as: end tokens that it reports as text, characters that it cuts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from extensions.openai.engines.llamacpp.stream_reader import (
    AnswerReader,
    LogprobReader,
    Place,
    Spelling,
    TokenReader,
)
from extensions.openai.engines.llamacpp.token_scoring import hidden_text, score_token
from extensions.openai.engines.protocol import CUT, Piece
from extensions.openai.engines.tokens.vocabulary import Vocabulary
from extensions.openai.errors import EngineFailed

END, MARK = "<|END_OF_TURN_TOKEN|>", "<tool_call>"
TOKENS = (b"", b"", b"a", b" \xf0\x9f", b"\x99\x82", END.encode())
NAMES = (END, MARK, "a", "x", "y", "quoted")
VOCABULARY = Vocabulary(
    TOKENS, NAMES, {output: at for at, output in enumerate(TOKENS) if output}, {}
)
ENDS = frozenset({0})
Chunk = dict[str, Any]


def chunk(text: str, predicted: int, finish: str | None = None, id: int | None = None) -> Chunk:
    """As llama.cpp sends it, with log-probabilities where the token is given."""
    found: dict[str, Any] = {"text": text, "finish_reason": finish, "logprobs": None}
    if id is not None:
        entry = {"id": id, "bytes": list(text.encode()), "logprob": -1.0, "top_logprobs": []}
        found["logprobs"] = {"content": [entry]}
    timings = {"predicted_n": predicted, "prompt_n": 1, "cache_n": 0}
    return {"choices": [found], "timings": timings}


def read(reader: AnswerReader, *chunks: Chunk) -> list[Piece]:
    pieces = []
    for each in chunks:
        pieces.append(reader.read(each))
        if reader.should_stop:
            break
    assert [piece.finish is not None for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    return pieces


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


@pytest.mark.parametrize("limit", [None, 2, 3, 9])
def test_an_end_token_that_is_reported_is_no_text(limit: int | None) -> None:
    """Command-R's format makes llama.cpp report it; the answer had two tokens."""
    reader = AnswerReader(limit, [END])
    pieces = read(reader, chunk("a", 1), chunk(END, 2), chunk("", 2, "stop"))
    assert (text_of(pieces), pieces[-1].finish) == ("a", "stop")
    assert sum(piece.tokens for piece in pieces) == 2


def test_a_text_that_quotes_an_end_token_stays_whole() -> None:
    """Said in ordinary tokens, it is not the end: another token comes behind, or the limit."""
    reader = AnswerReader(None, [END])
    assert (
        text_of(read(reader, chunk(END, 1), chunk(" is", 2), chunk("", 2, "length"))) == END + " is"
    )
    reader = AnswerReader(1, [END])
    assert text_of(read(reader, chunk(END, 1), chunk("", 1, "length"))) == END
    reader = AnswerReader(None, [END])
    last = (chunk(END, 1), chunk(END, 2), chunk("", 2, "stop"))
    assert text_of(read(reader, *last)) == END
    reader = AnswerReader(None, [END])  # the end itself says nothing here
    assert text_of(read(reader, chunk(END, 1), chunk("", 2), chunk("", 2, "stop"))) == END


@pytest.mark.parametrize("kind", [TokenReader, LogprobReader])
def test_an_end_token_is_told_from_its_quotation_by_its_id(kind: type[TokenReader]) -> None:
    spelling = Spelling(VOCABULARY, ENDS, frozenset({MARK}), frozenset({END}))
    more: tuple[Any, ...] = (1, None) if kind is LogprobReader else ()
    reader = kind((2,), spelling, 9, *more)
    pieces = read(
        reader, chunk(END, 1, id=5), chunk(MARK, 2, id=1), chunk(END, 3, id=0), chunk("", 3, "stop")
    )
    assert text_of(pieces) == END + MARK
    assert reader.context == [2, 5, 1, 0]
    if kind is LogprobReader:
        reported = [token.bytes for piece in pieces for token in piece.logprobs]
        assert reported == [END.encode(), MARK.encode(), b""]


@pytest.mark.parametrize("tokens", [1, 2, 3])
def test_nothing_is_cut_where_the_last_token_has_no_text(tokens: int) -> None:
    """Such as <think> or a channel's mark: it has a chunk of its own, and the last chunk counts no more."""
    output = ["a", "", ""][:tokens]
    chunks = [chunk(text, at) for at, text in enumerate(output, 1)]
    for limit in (None, tokens):
        pieces = read(AnswerReader(limit), *chunks, chunk("", tokens, "length"))
        assert (text_of(pieces), pieces[-1].finish) == ("a", "length")
        assert sum(piece.tokens for piece in pieces) == tokens


@pytest.mark.parametrize(
    ("last", "hidden"),
    [(chunk("", 2, "length"), 1), (chunk("", 3, "stop"), 1), (chunk("", 3, "length"), 2)],
)
def test_a_character_that_is_cut(last: Chunk, hidden: int) -> None:
    """llama.cpp drops its tokens; an end token behind it is one of those that it counts."""
    assert text_of(read(AnswerReader(), chunk("a", 1), last)) == "a" + CUT
    asked = []

    def hidden_text(output: str, tokens: int, place: Place) -> str:
        asked.append((output, tokens))
        return " " + CUT

    reader = AnswerReader(None, (), hidden_text)
    assert not reader.needs_scoring(chunk("a", 1))
    pieces = [reader.read(chunk("a", 1))]
    assert reader.needs_scoring(last)
    pieces.append(reader.read(last))
    assert text_of(pieces) == "a " + CUT
    assert asked == [("a", hidden)]


def test_the_end_alone_cuts_nothing() -> None:
    """Some versions count the end token in the last chunk."""
    assert text_of(read(AnswerReader(), chunk("a", 1), chunk("", 2, "stop"))) == "a"


def test_tokens_that_share_a_character_are_found_by_their_bytes() -> None:
    reader = TokenReader((2,), Spelling(VOCABULARY, ENDS), 5)
    pieces = read(
        reader, chunk("a", 1, id=2), chunk(" 🙂", 3, id=4), chunk("", 4, id=0), chunk("", 4, "stop")
    )
    assert text_of(pieces) == "a 🙂"
    assert reader.context == [2, 2, 3, 4, 0] and reader.complete


def test_a_limit_inside_of_a_character_keeps_what_stands_before_it() -> None:
    reader = TokenReader((2,), Spelling(VOCABULARY, ENDS), 2)
    pieces = read(reader, chunk("a", 1, id=2), chunk(" 🙂", 3, id=4))
    assert (text_of(pieces), pieces[-1].finish) == ("a " + CUT, "length")
    assert sum(piece.tokens for piece in pieces) == 2


def test_a_token_of_which_nothing_is_said_is_one_clear_error() -> None:
    """llama.cpp ends without log-probabilities, or with those of other tokens."""
    for text in ((), (chunk("a", 1, "length"),), (chunk("a", 1, "length", id=2),)):

        def complete(body: bytes, receive: Callable[[bytes], bool], text: Any = text) -> None:
            for each in text:
                receive(orjson.dumps(each))

        with pytest.raises(EngineFailed, match=r"llama.cpp did not report .* operator can reload"):
            score_token(complete, VOCABULARY, [2], 3, 0)
    with pytest.raises(EngineFailed, match=r"llama.cpp did not report .* operator can reload"):
        hidden_text(lambda body, receive: None, VOCABULARY, [2], 1)
