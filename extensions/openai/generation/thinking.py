"""Whether and how much a chat is to think before it answers, in the forms in which clients ask for it.

Sources: OpenAI API reference, "reasoning_effort"; the documents of vLLM, DeepSeek and OpenRouter.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field

from .. import refusals
from ..engines.base import EngineInfo
from ..validation import NotYet, RequestModel
from .request import needs

ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
# Above the default; up to it, a model that cannot think does what is asked by not thinking.
MORE_EFFORT = ("high", "xhigh", "max")


class Thinking(RequestModel):
    """As DeepSeek's clients send it."""

    type: Literal["enabled", "disabled"]
    budget_tokens: Annotated[int | None, NotYet()] = None


class Reasoning(RequestModel):
    """As OpenRouter's clients send it."""

    effort: ReasoningEffort | None = None
    enabled: bool | None = None
    exclude: bool | None = None
    max_tokens: Annotated[int | None, NotYet()] = None


class ThinkingFields(RequestModel):
    """The fields that say it. Where two of them say different things, the request is refused."""

    reasoning_effort: ReasoningEffort | None = Field(
        None,
        description="How much to think, for models whose template knows of it; `none`: not at all. More than "
        "`medium`, the default, is refused where the model cannot think.",
    )
    enable_thinking: bool | None = Field(
        None,
        validation_alias=AliasChoices("enable_thinking", "think"),
        description="Whether to think, for models whose template knows of it. Not OpenAI's.",
    )
    thinking: Thinking | None = Field(
        None, description="The same: its `type` is `enabled` or `disabled`. Not OpenAI's."
    )
    include_reasoning: bool | None = Field(
        None, description="False leaves `reasoning_content` out of the answer. Not OpenAI's."
    )
    reasoning: Reasoning | None = Field(
        None, description="All of them at once: `effort`, `enabled`, `exclude`. Not OpenAI's."
    )

    def thinking_variables(self, info: EngineInfo) -> dict[str, Any]:
        """What the chat template is told. Raises InvalidRequest for what the model cannot do."""
        nested = self.reasoning or Reasoning()
        effort = _agreed(
            {"reasoning_effort": self.reasoning_effort, "reasoning.effort": nested.effort}
        )
        switch = _agreed(
            {
                "enable_thinking": self.enable_thinking,
                "thinking": None if self.thinking is None else self.thinking.type == "enabled",
                "reasoning.enabled": nested.enabled,
            }
        )
        variables: dict[str, Any] = {}
        if effort is not None:
            name, value = effort
            if value in MORE_EFFORT:
                needs(info, "reasoning", name)
            variables = {"reasoning_effort": value, "enable_thinking": value != "none"}
        if switch is not None:
            variables["enable_thinking"] = switch[1]
        return variables

    @property
    def shows_thoughts(self) -> bool:
        excluded = self.reasoning is not None and self.reasoning.exclude
        return self.include_reasoning is not False and not excluded


def _agreed(said: dict[str, Any]) -> tuple[str, Any] | None:
    """The first of the fields that are given, and what it says. Raises InvalidRequest when they differ."""
    given = [(name, value) for name, value in said.items() if value is not None]
    for name, value in given[1:]:
        if value != given[0][1]:
            raise refusals.exclusive(name, given[0][0])
    return given[0] if given else None
