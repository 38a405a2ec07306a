"""Whether and how much a chat is to think before it answers, in the forms in which clients ask for it.

Sources: OpenAI API reference, "reasoning_effort"; the documents of vLLM, SGLang, llama.cpp's server, Ollama,
DeepSeek, Qwen, OpenRouter, Anthropic, and Google (OpenAI compatibility, which also maps efforts to tokens).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

from pydantic import AliasChoices, Field

from ...engines.chat_template.reasoning_probe import HARMONY, SWITCHES
from ...engines.protocol import Capability, EngineInfo, ThinkingTraits
from ...schemas import bad_request
from ...schemas.validation import RequestModel
from ..request import needs
from ..sampling.unsupported_fields import BUDGETS

ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
EFFORTS = get_args(ReasoningEffort)
WITHOUT_THOUGHT = ("none", "minimal")
# Above the default; up to it, a model that cannot think does what is asked by not thinking.
MORE_EFFORT = ("high", "xhigh", "max")
NO_LIMIT = -1

ANSWER_SHARE_BY_EFFORT: Mapping[str, float] = {
    "low": 0.2,
    "medium": 0.5,
    "high": 0.8,
    "xhigh": 0.95,
}
"""The most that the budget of an effort may take of `max_tokens`, so that some is left for the answer."""
TEMPLATE_FIELD = "chat_template_kwargs"
DEFAULT_BUDGET = "default"
"""The name that the setting `thinking_budgets` has for requests that ask for nothing."""

Budget = Annotated[int, Field(ge=NO_LIMIT, le=2**31 - 1)]


@dataclass(frozen=True, slots=True)
class ThinkingBudget:
    """How many tokens a thought may have."""

    tokens: int
    share: float = 1.0
    """Of the tokens that the whole answer may have, if it has a limit."""

    def within(self, limit: int | None) -> int:
        """The tokens of a thought in an answer of at most `limit`."""
        return self.tokens if limit is None else min(self.tokens, int(limit * self.share))


@dataclass(frozen=True, slots=True)
class ThinkingPlan:
    """What a request wants of a model's thinking."""

    enabled: bool | None = None
    """None: as the template has it."""
    budget: ThinkingBudget | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    """What the chat template is given for it."""
    shown: bool = True
    """Whether the client wants to read it."""


class Thinking(RequestModel):
    """As clients of DeepSeek and Anthropic send it."""

    type: Literal["enabled", "disabled", "auto", "adaptive"]
    budget_tokens: Budget | None = None


class Reasoning(RequestModel):
    """As OpenRouter's clients send it."""

    effort: ReasoningEffort | None = None
    enabled: bool | None = None
    exclude: bool | None = None
    max_tokens: Budget | None = None


class ThinkingConfig(RequestModel):
    """As Gemini's clients send it."""

    thinking_budget: Budget | None = Field(
        None, validation_alias=AliasChoices("thinking_budget", "thinkingBudget")
    )
    thinking_level: ReasoningEffort | None = Field(
        None, validation_alias=AliasChoices("thinking_level", "thinkingLevel")
    )
    include_thoughts: bool | None = Field(
        None, validation_alias=AliasChoices("include_thoughts", "includeThoughts")
    )


class GoogleExtras(RequestModel):
    """What Gemini's clients put beside the fields of the reference."""

    thinking_config: ThinkingConfig | None = Field(
        None, validation_alias=AliasChoices("thinking_config", "thinkingConfig")
    )


class ExtraBody(RequestModel):
    """The field in which Gemini's clients send it."""

    google: GoogleExtras | None = None


def _budget(of: str) -> Any:
    return Field(
        None,
        description=f"Tokens that the model may think, under the name of {of}; then its thought is closed "
        "and it answers. 0: no thought; -1: no limit. Not OpenAI's.",
    )


class ThinkingFields(RequestModel):
    """The fields for it. Where two of them contradict each other, the request is refused."""

    reasoning_effort: ReasoningEffort | None = Field(
        None,
        description="How much to think; where the template does not know of it, a budget: see below. `none` "
        "and `minimal`: not at all. More than `medium`, the default, is refused where the model cannot.",
    )
    enable_thinking: bool | None = Field(None, description="Whether to think. Not OpenAI's.")
    think: bool | ReasoningEffort | None = Field(
        None, description="The same, or an effort, as Ollama's clients send it. Not OpenAI's."
    )
    thinking: Thinking | None = Field(
        None,
        description="The same: its `type` is `enabled`, `disabled`, or `auto` (also `adaptive`) for what the "
        "template does by itself; `budget_tokens` is a budget. Not OpenAI's.",
    )
    thinking_token_budget: Budget | None = _budget("vLLM")
    thinking_budget_tokens: Budget | None = _budget("llama.cpp's server")
    thinking_budget: Budget | None = _budget("Qwen and SGLang")
    reasoning_budget: Budget | None = _budget("llama.cpp")
    max_thinking_tokens: Budget | None = _budget("agents")
    max_reasoning_tokens: Budget | None = _budget("agents")
    thinking_config: ThinkingConfig | None = Field(
        None,
        description="Gemini's form: `thinking_budget`, `thinking_level` (an effort), `include_thoughts`. Not "
        "OpenAI's.",
    )
    extra_body: ExtraBody | None = Field(
        None, description="Gemini's form of it: `google.thinking_config`. Not OpenAI's."
    )
    include_reasoning: bool | None = Field(
        None, description="False leaves `reasoning_content` out of the answer. Not OpenAI's."
    )
    reasoning: Reasoning | None = Field(
        None,
        description="All of them at once: `effort`, `enabled`, `exclude`, `max_tokens` (a budget). Not "
        "OpenAI's.",
    )

    def thinking_plan(
        self,
        info: EngineInfo,
        given: Mapping[str, Any],
        budgets: Mapping[str, int],
    ) -> ThinkingPlan:
        """What is wanted. `given` are the request's own variables for the template; `budgets` are those of
        efforts, in tokens.

        Raises InvalidRequest for what contradicts itself, and for what the model cannot do.
        """
        wishes = (self._efforts(given), self._switches(given), self._budgets(given))
        return plan_thinking(*wishes, info, budgets, shown=self._shown)

    @property
    def _shown(self) -> bool:
        configs = [each for _, each in self._configs()]
        hidden = (
            self.include_reasoning is False,
            self.reasoning is not None and self.reasoning.exclude,
            any(each.include_thoughts is False for each in configs),
        )
        return not any(hidden)

    def _configs(self) -> list[tuple[str, ThinkingConfig]]:
        google = None if self.extra_body is None else self.extra_body.google
        found = {
            "thinking_config": self.thinking_config,
            "extra_body.google.thinking_config": None if google is None else google.thinking_config,
        }
        return [(name, each) for name, each in found.items() if each is not None]

    def _efforts(self, given: Mapping[str, Any]) -> dict[str, Any]:
        found = {
            "reasoning_effort": self.reasoning_effort,
            "reasoning.effort": self.reasoning and self.reasoning.effort,
            "think": self.think if isinstance(self.think, str) else None,
        }
        for name, config in self._configs():
            found[f"{name}.thinking_level"] = config.thinking_level
        in_template = _of_template(given, ("reasoning_effort",), str)
        return found | {name: value for name, value in in_template.items() if value in EFFORTS}

    def _switches(self, given: Mapping[str, Any]) -> dict[str, Any]:
        kind = None if self.thinking is None else self.thinking.type
        found = {
            "enable_thinking": self.enable_thinking,
            "think": self.think if isinstance(self.think, bool) else None,
            "thinking": {"enabled": True, "disabled": False}.get(kind or ""),
            "reasoning.enabled": self.reasoning and self.reasoning.enabled,
        }
        return found | _of_template(given, SWITCHES, bool)

    def _budgets(self, given: Mapping[str, Any]) -> dict[str, Any]:
        found = {name: getattr(self, name) for name in BUDGETS}
        found["thinking.budget_tokens"] = self.thinking and self.thinking.budget_tokens
        found["reasoning.max_tokens"] = self.reasoning and self.reasoning.max_tokens
        for name, config in self._configs():
            found[f"{name}.thinking_budget"] = config.thinking_budget
        for name, value in _of_template(given, BUDGETS, int).items():
            if value < NO_LIMIT:
                raise bad_request.out_of_range(name, value, low=NO_LIMIT, high=None)
            found[name] = value
        return found


THINKING_FIELDS = frozenset(ThinkingFields.model_fields)

FieldValue = tuple[str, Any] | None
"""A field and its value."""


def plan_thinking(
    efforts: Mapping[str, Any],
    switches: Mapping[str, Any],
    token_budgets: Mapping[str, Any],
    info: EngineInfo,
    budgets: Mapping[str, int],
    *,
    shown: bool = True,
) -> ThinkingPlan:
    """What a request wants, by the fields of its dialect that say an effort, whether to think at all, and how
    many tokens; None where a field says nothing. `budgets` are those of efforts, in tokens.

    Raises InvalidRequest for what contradicts itself, and for what the model cannot do.
    """
    effort, switch, budget = map(_agreed, (efforts, switches, token_budgets))
    traits = info.thinking
    if effort is not None and effort[1] in MORE_EFFORT and not effort[0].startswith(TEMPLATE_FIELD):
        needs(info, Capability.REASONING, effort[0])
    enabled = _enabled(effort, switch, budget)
    return ThinkingPlan(
        enabled,
        _bound(effort, budget, enabled, traits, budgets),
        _variables(effort, budget, enabled, traits),
        shown,
    )


def _of_template(given: Mapping[str, Any], names: tuple[str, ...], kind: type) -> dict[str, Any]:
    """The template's variables of that type."""
    return {
        f"{TEMPLATE_FIELD}.{name}": given[name]
        for name in names
        if name in given and type(given[name]) is kind
    }


def _enabled(effort: FieldValue, switch: FieldValue, budget: FieldValue) -> bool | None:
    """Whether to think. Raises InvalidRequest where a budget of 0 stands beside a wish to think."""
    if budget is not None and budget[1] == 0:
        wish = switch if switch is not None else effort
        if wish is not None and wish[1] is not False and wish[1] not in WITHOUT_THOUGHT:
            raise bad_request.conflicting(budget[0], wish[0])
        return False
    if switch is not None:
        return bool(switch[1])
    if effort is not None:
        return effort[1] not in WITHOUT_THOUGHT
    return True if budget is not None and budget[1] > 0 else None


def _bound(
    effort: FieldValue,
    budget: FieldValue,
    enabled: bool | None,
    traits: ThinkingTraits | None,
    budgets: Mapping[str, int],
) -> ThinkingBudget | None:
    """The request's own budget, that of its effort, or that of the operator."""
    if enabled is False:
        return ThinkingBudget(0)
    if budget is not None:
        return None if budget[1] == NO_LIMIT else ThinkingBudget(budget[1])
    if effort is not None and traits is not None and traits.effort:
        return None
    name = DEFAULT_BUDGET if effort is None else effort[1]
    tokens = budgets.get(name, NO_LIMIT)
    return (
        None
        if tokens == NO_LIMIT
        else ThinkingBudget(tokens, ANSWER_SHARE_BY_EFFORT.get(name, 1.0))
    )


def _variables(
    effort: FieldValue, budget: FieldValue, enabled: bool | None, traits: ThinkingTraits | None
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if effort is not None:
        found["reasoning_effort"] = _effort_for(effort[1], traits)
    if enabled is not None:
        found["enable_thinking"] = enabled
        if traits is not None and traits.switch is not None:
            found[traits.switch] = enabled
    if budget is not None:
        found["thinking_budget"] = budget[1]  # Seed's templates put it into the prompt
    return found


def _effort_for(effort: str, traits: ThinkingTraits | None) -> str:
    """gpt-oss was taught three efforts, and takes any word into its prompt."""
    if traits is None or traits.opening != HARMONY[0]:
        return effort
    return {"none": "low", "minimal": "low", "xhigh": "high", "max": "high"}.get(effort, effort)


def _agreed(values: Mapping[str, Any]) -> FieldValue:
    """The first of the fields that are given, and its value. Raises InvalidRequest when they differ."""
    given = [(name, value) for name, value in values.items() if value is not None]
    for name, value in given[1:]:
        if value != given[0][1]:
            raise bad_request.conflicting(name, given[0][0])
    return given[0] if given else None
