"""Texts that hooks modify, sent while they are written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from extensions.openai.engines.protocol import Piece, Pieces, TokenLogprob
from extensions.openai.errors import EngineFailed
from extensions.openai.generation.hooks.extension_hooks import Hooks
from extensions.openai.generation.hooks.stream import MAX_TRY_TIME_SHARE, modified
from tests.generation.hooks.test_apply import api_with, extension
from tests.support.api import Api

WORDS = ("The", " capital", " of", " France", " is", " Par", "is", ".", " It", " lies", " on",
         " the", " Se", "ine", ".")  # fmt: skip
TEXT = "".join(WORDS)


def spoken(words: tuple[str, ...] = WORDS, finish: Any = "stop") -> Pieces:
    """A token each, with its log-probability, then the end token."""
    for at, word in enumerate(words):
        yield Piece(word, tokens=1, logprobs=(TokenLogprob(word.encode(), -float(at)),))
    yield Piece("", tokens=1, finish=finish)


def read(pieces: Pieces) -> list[Piece]:
    return [piece for piece in pieces if piece is not None]


def live(modify: Callable[[str], str], **options: Any) -> list[Piece]:
    return read(modified(spoken(), modify, attempt=modify, **options))


def texts(pieces: list[Piece]) -> list[str]:
    return [piece.text for piece in pieces if piece.text]


def test_a_hook_that_returns_its_argument_leaves_the_stream_as_it_is() -> None:
    pieces = live(lambda text: text)
    assert texts(pieces) == list(WORDS)
    reported = [(piece.text, piece.logprobs) for piece in pieces if piece.text]
    assert reported == [(piece.text, piece.logprobs) for piece in read(spoken()) if piece.text]
    assert sum(piece.tokens for piece in pieces) == len(WORDS) + 1


def test_words_come_one_word_late_at_most() -> None:
    """What comes with each token."""
    sent, came = "", list[str]()
    for piece in modified(spoken(), str, attempt=str):
        if piece is not None:
            sent += piece.text
        if piece is not None and piece.tokens:
            came.append(sent)
    assert came[:4] == ["", "The", "The capital", "The capital of"]


def test_usage_is_told_when_tokens_come_and_not_when_they_are_shown() -> None:
    for number, piece in enumerate(read(modified(spoken(), str.upper))[: len(WORDS)]):
        assert (piece.tokens, piece.text) == (1, ""), number


@pytest.mark.parametrize(
    ("modify", "early"),
    [
        (
            lambda text: re.sub(r"\bParis\b", "**Paris**", text),
            "The capital of France is **Paris**. It",
        ),
        (str.upper, "THE CAPITAL OF FRANCE"),
        (str.strip, "The capital of France is Paris. It lies"),
        (lambda text: text + " (Source: nobody)", "The capital of France is Paris. It lies"),
        (lambda text: "Answer: " + text, "Answer: The capital of"),
    ],
)
def test_what_a_hook_changes_is_streamed_as_well(modify: Callable[[str], str], early: str) -> None:
    pieces = live(modify, on_rewrite=lambda: pytest.fail("it does not"))
    sent = texts(pieces)
    assert "".join(sent) == modify(TEXT)
    before = "".join(piece.text for piece in pieces[: pieces.index(pieces[-1]) - 2])
    assert before.startswith(early) and len(sent) > 3
    tokens = [token for piece in pieces for token in piece.logprobs]
    assert b"".join(token.bytes for token in tokens).decode() == TEXT, "each is reported once"


def test_a_text_that_changes_from_its_beginning_is_waited_for() -> None:
    calls: list[str] = []

    def backwards(text: str) -> str:
        calls.append(text)
        return text[::-1]

    assert texts(live(backwards)) == [TEXT[::-1]]
    assert len(calls) <= 4, "it is not tried again and again"


def test_a_hook_may_fail_at_a_text_that_is_not_whole() -> None:
    words = tuple(re.findall(r".{1,3}", '{"city": "Rome", "size": "L"}'))

    def only_whole(text: str) -> str:
        try:
            return json.dumps(json.loads(text), indent=1)
        except ValueError:
            raise EngineFailed("a hook failed") from None

    pieces = read(modified(spoken(words), only_whole, attempt=only_whole))
    assert json.loads("".join(texts(pieces))) == {"city": "Rome", "size": "L"}


def test_what_only_fits_again_later_is_sent_at_the_end() -> None:
    def closed(text: str) -> str:
        """An even number of words is put in brackets."""
        return text if len(text.split()) % 2 else f"({text})"

    reported: list[bool] = []
    pieces = live(closed, on_rewrite=lambda: reported.append(True))
    assert "".join(texts(pieces)) == TEXT and not reported


def test_a_slow_hook_takes_a_bounded_share() -> None:
    """A token takes 10 ms and a call of the hook 200 ms, by a clock of our own."""
    now, calls = 0.0, 0

    def slow(text: str) -> str:
        nonlocal now, calls
        now, calls = now + 0.2, calls + 1
        return text

    def paced() -> Iterator[Piece | None]:
        nonlocal now
        for piece in spoken(tuple(f" w{n}" for n in range(1000))):
            now += 0.01
            yield piece

    pieces = read(modified(paced(), slow, attempt=slow, clock=lambda: now))  # type: ignore[arg-type]
    generating = 1001 * 0.01
    assert 2 < calls <= MAX_TRY_TIME_SHARE * (generating + 0.2 * calls) / 0.2 + 2
    assert len(texts(pieces)) == 1000


def test_what_has_no_blanks_is_not_held_up_to_its_end() -> None:
    words = tuple(
        "巴黎是法国的首都，也是该国最大的城市，位于塞纳河畔，人口超过两百万，是欧洲重要的文化中心之一。"
    )
    pieces = read(modified(spoken(words), str, attempt=str))
    first = next(at for at, piece in enumerate(pieces) if piece.text)
    assert sum(piece.tokens for piece in pieces[:first]) < 27


@pytest.mark.parametrize("attempt", [None, str])
@pytest.mark.parametrize(
    ("stop", "shown", "tokens"),
    [
        ("Paris", "The capital of France is ", 7),
        (".", "The capital of France is Paris", 8),
        ("nowhere", TEXT, 15),
    ],
)
def test_tokens_before_a_stop_string_are_told_where_they_stand(
    attempt: Any, stop: str, shown: str, tokens: int
) -> None:
    pieces = read(modified(spoken(), str, stops=(stop,), attempt=attempt))
    assert "".join(texts(pieces)) == shown
    at = 0
    for piece in pieces:
        for token in piece.logprobs:
            assert TEXT[at:].startswith(token.bytes.decode())
            at += len(token.bytes)
    assert sum(len(piece.logprobs) for piece in pieces) == tokens
    assert pieces[-1].finish == "stop"


@pytest.mark.parametrize(
    ("made", "sent"),
    [
        ("Note: " + TEXT, TEXT),
        (TEXT[:20], None),
        ("Something else.", None),
        ("", None),
    ],
)
def test_a_hook_that_changes_what_was_sent_is_told_of_and_not_said_twice(
    made: str, sent: str | None
) -> None:
    reported: list[bool] = []

    def attempt(text: str) -> str:
        return text

    pieces = read(
        modified(
            spoken(), lambda text: made, attempt=attempt, on_rewrite=lambda: reported.append(True)
        )
    )
    shown = "".join(texts(pieces))
    assert reported == [True]
    assert shown.startswith("The capital of France is Paris. It lies on the")
    if sent is not None:
        assert shown == sent


# Through the server


def chunks_of(api: Api, **fields: Any) -> list[str]:
    chunks = api.chunks(
        "chat/completions", messages=[{"role": "user", "content": "one two three four"}], **fields
    )
    found = [choice["delta"].get("content") for chunk in chunks for choice in chunk["choices"]]
    return [text for text in found if text]


def test_the_operator_may_have_answers_wait() -> None:
    same = extension(output_modifier=lambda text: text)
    assert len(chunks_of(api_with(same))) > 4
    assert chunks_of(api_with(same, output_hooks="whole")) == ["one two three four"]


def test_an_extension_that_contradicts_itself_is_waited_for_from_then_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def late(text: str) -> str:
        return f"Numbers: {text}" if "four" in text else text

    api = api_with(extension(output_modifier=late))
    assert "".join(chunks_of(api)) == "one two three four"
    assert "extension0" in caplog.text and "output_hooks" in caplog.text
    assert chunks_of(api) == ["Numbers: one two three four"]
    assert api.chat("four")["choices"][0]["message"]["content"] == "Numbers: four"


def test_a_whole_answer_is_never_a_contradiction() -> None:
    api = api_with(extension(output_modifier=lambda t: f"Numbers: {t}" if "four" in t else t))
    answer = api.chat("one two three four")
    assert answer["choices"][0]["message"]["content"] == "Numbers: one two three four"
    hooks: Hooks = api.app.extensions["openai"].hooks
    assert not hooks.rewriting


def test_what_a_hook_notes_while_it_is_tried_is_not_kept() -> None:
    def output_modifier(text: str, state: dict[str, Any]) -> str:
        sources: str = state.pop("sources", "")
        return text + sources

    def state_modifier(state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "sources": " (Source: a book)"}

    api = api_with(extension(output_modifier=output_modifier, state_modifier=state_modifier))
    assert "".join(chunks_of(api)) == "one two three four (Source: a book)"


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_are_as_without_the_hook(tiny: Api, stream: bool) -> None:
    """A real model, on both endpoints; offsets too."""
    hooked = api_with(extension(output_modifier=lambda text: text), engine=tiny.engine)
    asked: dict[str, Any] = {"temperature": 0, "max_tokens": 24}
    output = [{"role": "user", "content": "What is the capital of France?"}]
    for path, fields in (
        ("chat/completions", {"messages": output, "logprobs": True, "top_logprobs": 2}),
        ("completions", {"prompt": "Once upon a time", "logprobs": 2, "stop": [" a", "e t"]}),
    ):
        answers = []
        for api in (tiny, hooked):
            if stream:
                answer = api.folded(path, **fields, **asked)
            else:
                ask = api.chat if path == "chat/completions" else api.complete
                first, *_ = fields.values()
                rest = dict(list(fields.items())[1:])
                answer = ask(first, **rest, **asked)
            answers.append((answer["choices"], answer["usage"]["completion_tokens"]))
        assert answers[0] == answers[1]
