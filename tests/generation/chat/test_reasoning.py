"""Whether and how much to think, in every form in which clients ask for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.configuration.sources import load
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.protocol import Capability, EngineInfo, ThinkingTraits
from extensions.openai.generation.chat.reasoning import ThinkingBudget, ThinkingPlan
from extensions.openai.generation.chat.request import ChatCompletionRequest
from extensions.openai.generation.sampling.policy import read_policy
from extensions.openai.schemas.validation import check
from extensions.openai.settings import SettingsError
from tests.generation.chat.test_answer import thinking
from tests.support.api import Api

CHAT = "chat/completions"
Spell = Callable[[Any], dict[str, Any]]
ECHO = EchoEngine().info
REASONING = (*ECHO.capabilities, Capability.REASONING)
THINKER = replace(ECHO, capabilities=REASONING, thinking=ThinkingTraits(switch="enable_thinking"))
BUDGETS = {"low": 10, "medium": 20, "high": 30, "xhigh": 40, "default": -1}
ON, OFF = {"enable_thinking": True}, {"enable_thinking": False}


@pytest.mark.parametrize(
    ("asked", "variables"),
    [
        ({}, {}),
        ({"reasoning_effort": "high"}, {"reasoning_effort": "high", **ON}),
        ({"reasoning_effort": "none"}, {"reasoning_effort": "none", **OFF}),
        ({"reasoning": {"effort": "low"}}, {"reasoning_effort": "low", **ON}),
        ({"reasoning": {"enabled": True}}, ON),
        ({"reasoning": {"enabled": False, "exclude": True}}, OFF),
        ({"reasoning": {}}, {}),
        ({"thinking": {"type": "enabled"}}, ON),
        ({"thinking": {"type": "disabled"}}, OFF),
        ({"enable_thinking": False}, OFF),
        ({"think": True}, ON),
        ({"think": True, "thinking": {"type": "enabled"}, "reasoning": {"enabled": True}}, ON),
        (
            {"reasoning_effort": "high", "enable_thinking": False},
            {"reasoning_effort": "high", **OFF},
        ),
        ({"reasoning_effort": "low", "reasoning": {"effort": "low"}}, {"reasoning_effort": "low", **ON}),
        ({"chat_template_kwargs": {"x": 1}, "think": False}, {"x": 1, **OFF}),
        ({"reasoning_effort": "minimal"}, {"reasoning_effort": "minimal", **OFF}),
        ({"think": "low"}, {"reasoning_effort": "low", **ON}),
        ({"thinking": {"type": "adaptive"}}, {}),
        ({"thinking": {"type": "auto"}, "reasoning": {"max_tokens": -1}}, {"thinking_budget": -1}),
        ({"thinking": {"type": "enabled", "budget_tokens": 9}}, {"thinking_budget": 9, **ON}),
        ({"thinking_budget": 0}, {"thinking_budget": 0, **OFF}),
        ({"thinking_config": {"thinkingLevel": "low"}}, {"reasoning_effort": "low", **ON}),
        ({"chat_template_kwargs": {"enable_thinking": False}, "think": False}, OFF),
        ({"chat_template_kwargs": {"thinking": True}}, {"thinking": True, **ON}),
        ({"chat_template_kwargs": {"thinking": "maybe"}}, {"thinking": "maybe"}),
        ({"chat_template_kwargs": {"reasoning_effort": "low"}}, {"reasoning_effort": "low", **ON}),
        ({"chat_template_kwargs": {"reasoning_effort": "so so"}}, {"reasoning_effort": "so so"}),
    ],
)  # fmt: skip
def test_what_the_template_is_told(asked: dict[str, Any], variables: dict[str, Any]) -> None:
    assert planned(asked).variables == variables


def planned(asked: dict[str, Any], info: EngineInfo = THINKER) -> ThinkingPlan:
    body = {"messages": [{"role": "user", "content": "x"}], **asked}
    return check(ChatCompletionRequest, body).plan_thinking(info, BUDGETS)


SPELLINGS = [
    lambda n: {"thinking_token_budget": n},
    lambda n: {"thinking_budget_tokens": n},
    lambda n: {"thinking_budget": n},
    lambda n: {"reasoning_budget": n},
    lambda n: {"max_thinking_tokens": n},
    lambda n: {"max_reasoning_tokens": n},
    lambda n: {"thinking": {"type": "auto", "budget_tokens": n}},
    lambda n: {"reasoning": {"max_tokens": n}},
    lambda n: {"thinking_config": {"thinking_budget": n}},
    lambda n: {"extra_body": {"google": {"thinking_config": {"thinkingBudget": n}}}},
    lambda n: {"chat_template_kwargs": {"thinking_budget": n}},
    lambda n: {"chat_template_kwargs": {"thinking_token_budget": n}},
]
spelled = pytest.mark.parametrize("spell", SPELLINGS)


@spelled
def test_a_budget_in_every_spelling(spell: Spell) -> None:
    plan = planned(spell(7))
    assert (plan.enabled, plan.budget) == (True, ThinkingBudget(7))
    assert planned(spell(0)).enabled is False
    assert planned(spell(0)).budget == ThinkingBudget(0)
    unlimited = planned(spell(-1))
    assert (unlimited.enabled, unlimited.budget) == (None, None)
    assert planned(spell(-1) | {"reasoning_effort": "low"}).budget is None
    assert planned(spell(7) | {"reasoning_effort": "low"}).budget == ThinkingBudget(7)
    assert planned(spell(7) | {"enable_thinking": False}).budget == ThinkingBudget(0)


@spelled
def test_budgets_that_contradict_each_other(tiny: Api, spell: Spell) -> None:
    """The message names both fields."""
    names = [name for name in leaves(spell(7)) if "type" not in name]
    others: list[tuple[dict[str, Any], str]] = [
        ({"reasoning_budget": 8}, "reasoning_budget"),
        ({"thinking_budget": 8}, "thinking_budget"),
    ]
    for other, name in others:
        if name in spell(7):
            continue
        error = tiny.refused(CHAT, **spell(7), **other)
        assert error["code"] == "invalid_parameter_combination"
        assert all(f"'{each}'" in error["message"] for each in (name, *names))
    for wish in ({"enable_thinking": True}, {"reasoning_effort": "low"}, {"think": "high"}):
        error = tiny.refused(CHAT, **spell(0), **wish)
        if error["param"] not in wish:  # an effort that this model does not have
            assert all(f"'{each}'" in error["message"] for each in (next(iter(wish)), *names))
    for wrong in (-2, 2**31, "7", 1.5, True):
        if wrong == -2 or "chat_template_kwargs" not in spell(0):
            assert str(tiny.refused(CHAT, **spell(wrong))["param"]).startswith(
                names[0].split(".")[0]
            )


def leaves(value: dict[str, Any], path: str = "") -> list[str]:
    """Places in a body, as errors name them."""
    found: list[str] = []
    for name, each in value.items():
        name = {"thinkingBudget": "thinking_budget"}.get(name, name)
        place = f"{path}.{name}" if path else name
        found += leaves(each, place) if isinstance(each, dict) else [place]
    return found


@pytest.mark.parametrize(
    ("effort", "tokens", "share"),
    [("low", 10, 0.2), ("medium", 20, 0.5), ("high", 30, 0.8), ("xhigh", 40, 0.95)],
)
def test_efforts_are_budgets_where_the_template_knows_none(
    effort: str, tokens: int, share: float
) -> None:
    budget = planned({"reasoning_effort": effort}).budget
    assert budget == ThinkingBudget(tokens, share)
    assert budget.within(None) == tokens == budget.within(1000)
    assert budget.within(10) == int(10 * share)
    knows = replace(THINKER, thinking=ThinkingTraits(effort=True))
    assert planned({"reasoning_effort": effort}, knows).budget is None
    assert planned({"reasoning_effort": "max"}).budget is None
    for off in ("none", "minimal"):
        assert planned({"reasoning_effort": off}, knows).budget == ThinkingBudget(0)


def test_the_operators_budget_for_requests_that_ask_for_nothing() -> None:
    rules = read_policy(load({}, {"thinking_budgets": "default=9,low=3"}))
    body = check(ChatCompletionRequest, {"messages": [{"role": "user", "content": "x"}]})
    assert body.plan_thinking(THINKER, rules.thinking_budgets).budget == ThinkingBudget(9)
    low = body.model_copy(update={"reasoning_effort": "low"})
    assert low.plan_thinking(THINKER, rules.thinking_budgets).budget == ThinkingBudget(3, 0.2)
    medium = body.model_copy(update={"reasoning_effort": "medium"})
    assert medium.plan_thinking(THINKER, rules.thinking_budgets).budget == ThinkingBudget(8192, 0.5)
    for wrong in ("much=3", "low=-2", "low=x", "low=1.5"):
        with pytest.raises(SettingsError, match="thinking_budgets"):
            load({}, {"thinking_budgets": wrong})


def test_the_three_efforts_of_gpt_oss() -> None:
    traits = ThinkingTraits("<|channel|>analysis<|message|>", "<|end|>", "<|end|>", effort=True)
    info = replace(THINKER, thinking=traits)
    for asked, reported in (
        ("none", "low"),
        ("minimal", "low"),
        ("medium", "medium"),
        ("max", "high"),
    ):
        assert planned({"reasoning_effort": asked}, info).variables["reasoning_effort"] == reported


def test_the_templates_own_switch() -> None:
    info = replace(THINKER, thinking=ThinkingTraits(switch="thinking"))
    assert planned({"think": False}, info).variables == {"thinking": False, **OFF}


@pytest.mark.parametrize(
    ("asked", "param", "code"),
    [
        (
            {"reasoning_effort": "low", "reasoning": {"effort": "none"}},
            "reasoning.effort",
            "invalid_parameter_combination",
        ),
        (
            {"enable_thinking": True, "thinking": {"type": "disabled"}},
            "thinking",
            "invalid_parameter_combination",
        ),
        (
            {"thinking": {"type": "enabled"}, "reasoning": {"enabled": False}},
            "reasoning.enabled",
            "invalid_parameter_combination",
        ),
        ({"reasoning": {"effort": "high"}}, "reasoning.effort", "unsupported_parameter"),
        ({"reasoning_effort": "max"}, "reasoning_effort", "unsupported_parameter"),
        ({"reasoning": {"effort": "much"}}, "reasoning.effort", "invalid_value"),
        ({"reasoning": "high"}, "reasoning", "invalid_type"),
        ({"thinking": {}}, "thinking.type", "missing_required_parameter"),
        ({"thinking": {"type": "much"}}, "thinking.type", "invalid_value"),
        ({"thinking": True}, "thinking", "invalid_type"),
    ],
)
def test_what_contradicts_itself_or_cannot_be_done(
    tiny: Api, asked: dict[str, Any], param: str, code: str
) -> None:
    error = tiny.refused(CHAT, **asked)
    assert (error["param"], error["code"]) == (param, code)


def test_completions_know_nothing_of_thoughts(tiny: Api) -> None:
    for asked in ({"thinking": {"type": "enabled"}}, {"reasoning": {"effort": "low"}}):
        assert tiny.refused("completions", **asked)["param"] == next(iter(asked))


def test_a_model_whose_template_opens_a_thought(tmp_path: Path) -> None:
    """A real engine, in each of the forms: without a thought, with one, with one that is not shown."""
    with thinking(tmp_path) as api:

        def ask(**asked: Any) -> tuple[str | None, str, int]:
            whole = api.chat("Hello", max_tokens=6, seed=1, ignore_eos=True, **asked)
            message = whole["choices"][0]["message"]
            details = whole["usage"]["completion_tokens_details"]
            return message.get("reasoning_content"), message["content"], details["reasoning_tokens"]

        thought, content, count = ask()
        assert thought and not content and count
        for off in ({"thinking": {"type": "disabled"}}, {"reasoning": {"enabled": False}}):
            assert ask(**off)[0] is None and ask(**off)[1]
        assert ask(reasoning={"exclude": True}) == (None, "", count)
        assert ask(include_reasoning=False) == (None, "", count)
