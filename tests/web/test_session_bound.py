"""Sessions that grow beyond the context: the model's summary in the place of the oldest turns."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from extensions.openai.generation.compaction import SUMMARY
from extensions.openai.settings import Settings
from extensions.openai.state.operations.consistency import check
from extensions.openai.web.app import create_app
from tests.support.summarizing import SummarizingEngine
from tests.web.test_session_in_dialect import MESSAGES, PATHS, RESPONSES, asked, say
from tests.web.test_session_turn import CHATS, KEY, kept, user

WORDS = "word " * 160


def client_of(engine: SummarizingEngine, **options: Any) -> FlaskClient:
    return create_app(Settings(store="memory", **options), engine).test_client()


def grow(client: FlaskClient, path: str, turns: int, **more: Any) -> list[Any]:
    """Say long things until the context has no place for all of them."""
    answers = []
    for at in range(turns):
        if path == CHATS:
            body = {"model": "echo", "messages": [user(f"{at} {WORDS}")], "max_tokens": 4, **more}
            answers.append(client.post(path, json=body, headers={KEY: "s"}))
        else:
            limit = "max_tokens" if path == MESSAGES else "max_output_tokens"
            answers.append(say(client, path, f"{at} {WORDS}", **{limit: 4, **more}))
        assert answers[-1].status_code == 200 and answers[-1].get_data()
    return answers


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", [CHATS, *PATHS])
def test_the_oldest_turns_become_a_summary(path: str, stream: bool) -> None:
    engine = SummarizingEngine()
    client = client_of(engine)
    grow(client, path, 9, stream=stream)
    assert len(engine.prompts) == 1
    assert "0 word" in engine.prompts[0] and "8 word" not in engine.prompts[0]
    (messages,) = kept(client)
    assert messages[0] == {"role": "user", "content": SUMMARY + "summary 1"}
    assert messages[-2]["content"].startswith("8 ") and "0 word" not in str(messages)
    assert SUMMARY + "summary 1" in engine.others[-1] and "0 word" not in engine.others[-1]
    grow(client, path, 12, stream=stream)
    assert len(engine.prompts) > 1 and "summary 1" in engine.prompts[1]
    assert str(kept(client)).count("Summary of") == 1
    database = client.application.extensions["openai"].store.database
    assert not [fault for fault in check(database).faults if "totals" in fault]


def test_its_tokens_are_counted_with_those_of_the_answer() -> None:
    engine = SummarizingEngine()
    answers = grow(client_of(engine), CHATS, 9)
    usage = next(
        answer.json["usage"] for answer in answers if answer.json["usage"]["completion_tokens"] > 4
    )
    assert usage["completion_tokens"] == 8 + 4
    assert usage["prompt_tokens"] > len(engine.prompts[0])


def test_all_choices_follow_one_summary() -> None:
    engine = SummarizingEngine()
    answers = grow(client_of(engine), CHATS, 9, n=2)
    assert len(engine.prompts) == 1
    assert [choice["index"] for choice in answers[-1].json["choices"]] == [0, 1]


def test_an_operator_may_have_them_deleted() -> None:
    engine = SummarizingEngine()
    client = client_of(engine, session_bound="drop")
    grow(client, CHATS, 9)
    assert engine.prompts == [] and "Summary of" not in str(kept(client))


def test_without_a_summary_they_are_deleted() -> None:
    engine = SummarizingEngine(text="")
    client = client_of(engine)
    grow(client, CHATS, 9)
    assert engine.prompts and "Summary of" not in str(kept(client))


def test_it_is_erased_with_the_one_whose_words_are_in_it() -> None:
    engine = SummarizingEngine()
    client = client_of(engine)
    grow(client, CHATS, 9, user="ann")
    assert "Summary of" in str(kept(client))
    client.delete("/v1/internal/users/ann")
    assert "Summary of" not in str(kept(client))


def test_the_words_of_several_are_not_kept_in_one() -> None:
    engine = SummarizingEngine()
    client = client_of(engine)
    for at in range(9):
        grow(client, CHATS, 1, user=f"user {at % 2}")
    assert engine.prompts and "Summary of" not in str(kept(client))


def test_what_responses_have_of_their_own_has_no_effect_in_one() -> None:
    more = {"context_management": [{"type": "compaction"}], "truncation": "auto"}
    answer = client_of(SummarizingEngine()).post(
        RESPONSES, json=asked(RESPONSES, "one", **more), headers={KEY: "s"}
    )
    ignored = answer.headers["x-openedai-ignored"]
    assert "context_management" in ignored and "truncation" in ignored
