"""The plan under all dialects: what a request wants becomes events, without a wire type of any endpoint."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.protocol import Message
from extensions.openai.errors import InvalidRequest
from extensions.openai.generation.answer_size import Names
from extensions.openai.generation.events import Event
from extensions.openai.generation.hooks.extension_hooks import Hooks
from extensions.openai.generation.plan import (
    Asked,
    ChatPlan,
    Generation,
    PromptPlan,
    Served,
    asked_of,
)
from extensions.openai.generation.request import NO_LIMIT, ChoicesRequest, GenerationRequest
from extensions.openai.generation.sampling.policy import Policy
from extensions.openai.limits.active_requests import ActiveRequest
from extensions.openai.limits.scheduler import Scheduler
from extensions.openai.settings import Settings

NAMES = Names("how_many", "how_long", "how_likely")


class Louder:
    """An extension that changes what is said."""

    @staticmethod
    def output_modifier(text: str, state: dict[str, Any], is_chat: bool = False) -> str:
        return text.upper()


def served(policy: Policy | None = None, hooks: Hooks | None = None) -> Served:
    engine = EchoEngine()
    return Served(
        engine,
        engine.info,
        policy or Policy(),
        Settings(),
        Scheduler(queue_limit=1),
        ActiveRequest(),
        hooks,
    )


def asked(**wanted: Any) -> Asked:
    return Asked(GenerationRequest(), NAMES, **wanted)


def texts(generation: Generation) -> dict[int, str]:
    """The text of each choice; its usage is counted."""
    found: dict[int, str] = {}
    for event in generation.events:
        if isinstance(event, Event):
            generation.usage.add(event)
            found[event.index] = found.get(event.index, "") + event.text
    return found


def answer_of(plan: PromptPlan | ChatPlan, on: Served | None = None) -> str:
    return texts(plan.start(on or served()))[0]


def prompt(text: str, **wanted: Any) -> PromptPlan:
    return PromptPlan(asked(**wanted), (text,), 1)


def test_a_prompt_is_continued_and_counted() -> None:
    generation = prompt("one two three four five").start(served())
    assert texts(generation) == {0: answer_of(prompt("one two three four five"))}
    usage = generation.usage.total()
    assert usage["prompt_tokens"] > 0 and usage["completion_tokens"] > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_a_conversation_is_answered() -> None:
    output = (Message("user", "one two three"),)
    assert "one two three" in answer_of(ChatPlan(asked(), lambda media: output))


@pytest.mark.parametrize("chat", [False, True])
def test_stop_strings_end_every_plan(chat: bool) -> None:
    output = (Message("user", "one two three"),)
    wanted = asked(stops=("two",))
    plan = (
        ChatPlan(wanted, lambda media: output)
        if chat
        else PromptPlan(wanted, ("one two three",), 1)
    )
    answer = answer_of(plan)
    assert "one" in answer and "two" not in answer and "three" not in answer


def test_stop_strings_are_looked_for_before_hooks_change_the_text() -> None:
    hooks = Hooks(lambda: [("louder", Louder)])
    plan = prompt("one two three", stops=("two",))
    assert "ONE" in answer_of(plan, served(hooks=hooks))
    assert "TWO" not in answer_of(plan, served(hooks=hooks))
    without = replace(plan, asked=replace(plan.asked, hooks=False))
    assert "one" in answer_of(without, served(hooks=hooks))


def test_a_limit_is_refused_by_the_dialects_own_name() -> None:
    with pytest.raises(InvalidRequest) as refused:
        prompt("a", limit=9).start(served(Policy(max_tokens_limit=8)))
    assert refused.value.param == "how_long"


def test_the_operators_limit_stands_where_a_request_has_none() -> None:
    for limit in (None, NO_LIMIT):
        generation = prompt("one two three four", limit=limit).start(
            served(Policy(max_tokens_limit=2))
        )
        texts(generation)
        assert generation.usage.total()["completion_tokens"] == 2


def test_a_grammar_is_refused_by_the_field_it_came_from() -> None:
    with pytest.raises(InvalidRequest) as refused:
        prompt("a", grammar='start: "a"', grammar_param="text.format").start(served())
    assert refused.value.param == "text.format"


def test_choices_of_a_seed_differ_from_each_other() -> None:
    assert list(asked(seed=7).seeds(3)) == [7, 8, 9]
    assert list(asked(seed=None).seeds(2)) == list(asked(seed=-1).seeds(2)) == [None, None]


def test_several_prompts_have_their_choices_in_order() -> None:
    plan = PromptPlan(asked(n=2), ("one", "two"), 2)
    found = texts(plan.start(served()))
    assert sorted(found) == [0, 1, 2, 3]
    assert found[0] == found[1] == answer_of(prompt("one"))
    assert found[2] == found[3] == answer_of(prompt("two"))


def test_the_media_of_a_conversation_are_read_last() -> None:
    def read(media: object) -> tuple[Message, ...]:
        raise AssertionError("the request is refused before")

    plan = ChatPlan(asked(limit=9), read)
    with pytest.raises(InvalidRequest):
        plan.start(served(Policy(max_tokens_limit=8)))


def test_a_wire_type_says_what_it_asks_for() -> None:
    body = ChoicesRequest(n=3, seed=5, stop=["x", ""], n_predict=7, grammar='root ::= "a"')
    found = asked_of(body, n=3, alternatives="n_probs", logprobs="n_probs")
    assert (found.n, found.seed, found.stops) == (3, 5, ("x",))
    assert (found.limit, found.names.tokens, found.grammar_param) == (7, "n_predict", "grammar")
    assert found.grammar is not None and not found.streamed


def test_a_request_has_the_priority_that_it_asks_for() -> None:
    on = served()
    answer_of(prompt("Hello", priority=-3), on)
    assert on.request.order == -3
    assert (
        asked_of(ChoicesRequest(priority=7), alternatives="n_probs", logprobs="n_probs").priority
        == 7
    )
