"""Whether and how much to think, in every form in which clients ask for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.chat_request import ChatCompletionRequest
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.validation import check
from tests.generation.test_prompted import thinking
from tests.support.api import Api

CHAT = "chat/completions"
ECHO = EchoEngine().info
THINKER = replace(ECHO, capabilities=(*ECHO.capabilities, "reasoning"))
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
    ],
)  # fmt: skip
def test_what_the_template_is_told(asked: dict[str, Any], variables: dict[str, Any]) -> None:
    body = {"messages": [{"role": "user", "content": "x"}], **asked}
    assert check(ChatCompletionRequest, body).template_variables(THINKER) == variables


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
        ({"reasoning": {"max_tokens": 100}}, "reasoning.max_tokens", "unsupported_parameter"),
        ({"reasoning": "high"}, "reasoning", "invalid_type"),
        ({"thinking": {}}, "thinking.type", "missing_required_parameter"),
        ({"thinking": {"type": "auto"}}, "thinking.type", "invalid_value"),
        ({"thinking": True}, "thinking", "invalid_type"),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            "thinking.budget_tokens",
            "unsupported_parameter",
        ),
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
