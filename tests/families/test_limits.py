"""Answers that end at a limit or a stop string, and what is reported of their tokens, in each family."""

from __future__ import annotations

from typing import Any

import pytest

from tests.families.choosing import families_that, thinking
from tests.families.conftest import Speak
from tests.families.served import Answer, Served
from tests.families.tools import TOOLS
from tests.support.families import Call, Family

OSLO: Call = ("get_weather", {"city": "Oslo"})
ANSWER = "The answer is 4, and so on."
LIMITS = range(1, 13)


def scripts(family: Family) -> dict[str, str]:
    return {
        "answer": family.says(ANSWER),
        "thought": family.says(ANSWER, thought="Let me see."),
        "call": family.says("I look.", OSLO, thought="Shall I?"),
        "replaced": family.says("a\ufffdb"),
    }


@pytest.fixture(scope="module")
def server(family: Family, speak: Speak) -> Served:
    return speak(family, scripts(family))


@pytest.mark.parametrize("script", ["answer", "thought", "call"])
def test_an_answer_cut_anywhere_is_the_beginning_of_the_whole_one(
    server: Served, family: Family, script: str
) -> None:
    more: dict[str, Any] = {"tools": TOOLS} if script == "call" else {}
    whole = server.whole(script, **more)
    # A call that is no call yet is text.
    raw = (family.preamble or "").format("I look.") + family.calls([OSLO])
    for limit in LIMITS:
        cut = server.ask(script, max_tokens=limit, **more)
        assert "\ufffd" not in cut.content + cut.reasoning, limit
        shown = cut.content.strip()
        assert any(text.strip().startswith(shown) for text in (whole.content, raw)), limit
        assert whole.reasoning.startswith(cut.reasoning.rstrip()), limit
        assert cut.tokens == min(limit, whole.tokens)
        assert cut.finish == ("length" if limit < whole.tokens else whole.finish)


def test_an_answer_ends_without_its_end_token(server: Served) -> None:
    answer = server.ask("answer")
    assert (answer.content, answer.finish) == (ANSWER, "stop")


def test_a_replacement_character_that_the_model_wrote_stays(server: Served) -> None:
    assert server.ask("replaced").content == "a\ufffdb"


@pytest.mark.parametrize("stop", ["4,", " is", "answer", ["x", "and so"], ["on."]])
def test_a_stop_string_ends_the_text_before_it(server: Served, stop: Any) -> None:
    stops = [stop] if isinstance(stop, str) else stop
    at = min(ANSWER.find(each) for each in stops if each in ANSWER)
    answer = server.ask("answer", stop=stop)
    assert (answer.content, answer.finish) == (ANSWER[:at], "stop")


def test_more_stop_strings_than_four_are_taken(server: Served) -> None:
    stops = ["\nA:", "\nB:", "\nC:", "###", "</s>", "and so"]
    assert server.ask("answer", stop=stops).content == "The answer is 4, "


@thinking
def test_a_stop_string_in_a_thought_does_not_end_it(server: Served, family: Family) -> None:
    answer = server.ask("thought", stop="see")
    assert (answer.content, answer.reasoning.strip()) == (ANSWER, "Let me see.")


@pytest.mark.parametrize("script", ["answer", "thought"])
def test_each_counted_token_has_its_probability(server: Served, script: str) -> None:
    whole = server.whole(script, logprobs=True, top_logprobs=2)
    streamed = server.streamed(script, logprobs=True, top_logprobs=2)
    plain = server.whole(script)
    assert texts(whole) == texts(streamed)
    assert whole.content == plain.content == "".join(texts(whole))
    assert whole.reasoning.strip() == plain.reasoning.strip()
    assert whole.tokens == plain.tokens
    if not whole.reasoning:
        assert len(whole.logprobs) == whole.tokens  # the end token has an entry without text
    for entry in whole.logprobs:
        assert -0.1 < entry["logprob"] <= 0
        assert len(entry["top_logprobs"]) == 2


def texts(answer: Answer) -> list[str]:
    return [str(entry["token"]) for entry in answer.logprobs]


@families_that(lambda family: not family.opens and family.final == "{}")
def test_one_token_at_a_time_is_the_same_answer(speak: Speak, family: Family) -> None:
    text = "Grüße 😀!"
    served = speak(family, {"bytes": text}, in_bytes=True)
    assert served.ask("bytes").content == text
    for limit in range(1, len(text.encode())):
        cut = served.ask("bytes", max_tokens=limit)
        shown = text.encode()[:limit].decode(errors="ignore")
        assert cut.content.rstrip("\ufffd") == shown, limit
        assert ("\ufffd" in cut.content) == (len(shown.encode()) < limit), limit
