"""What requests for a message hold.

Source: Anthropic API reference, "Create a Message" and "Count tokens in a Message".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AliasChoices, Field

from ...engines.protocol import Capability, EngineInfo
from ...generation.chat.reasoning import Budget, ThinkingPlan, plan_thinking
from ...generation.chat.request import MAX_MESSAGES
from ...generation.grammar.constraints import ConstraintFields, json_constraint
from ...generation.request import GenerationRequest, MoreStops
from ...generation.tools.plan import Offered, ToolPlan
from ...schemas.validation import RequestModel, Unsupported
from .content import (
    HostedBlock,
    MessageParam,
    RedactedThinkingBlock,
    TextBlock,
    ToolReferenceBlock,
    ToolResultBlock,
    blocks_of,
)
from .tools import MAX_TOOLS, HostedToolParam, ToolChoiceParam, ToolUnion, plan_message_tools

BILLING = "x-anthropic-billing-header:"
"""How the block begins in which claude-code tells Anthropic of itself. It differs from session to session,
and would keep all that follows it from being found in the cache."""


class Metadata(RequestModel):
    """Who asks."""

    user_id: str | None = Field(None, max_length=512)


class ThinkingParam(RequestModel):
    """Whether the model is to think, how long, and whether the client wants to read it."""

    type: Literal["enabled", "disabled", "adaptive", "between_tools", "auto"]
    budget_tokens: Budget | None = None
    display: Literal["summarized", "omitted"] | None = None


class JSONOutputFormat(RequestModel):
    """JSON that a schema describes."""

    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class OutputConfig(RequestModel):
    """How much effort an answer is worth, and its form."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: JSONOutputFormat | None = None


class ConversationFields(ConstraintFields):
    """What a message and the count of its prompt's tokens have in common."""

    messages: list[MessageParam] = Field(
        min_length=1, max_length=MAX_MESSAGES, description="The conversation so far."
    )
    system: str | Annotated[list[TextBlock], Field(max_length=MAX_MESSAGES)] | None = Field(
        None,
        description="Instructions, as a text or blocks of text. A block that begins with "
        f"`{BILLING}` is left out.",
    )
    tools: list[ToolUnion] | None = Field(
        None,
        max_length=MAX_TOOLS,
        description="What the model may call. Tools that Anthropic defines or runs are left out, and named "
        "in the header `x-openedai-ignored`. With `defer_loading` the model learns of a tool where a "
        "`tool_reference` names it.",
    )
    tool_choice: ToolChoiceParam | None = Field(
        None,
        description="`auto`, `any`, `tool` or `none`; `disable_parallel_tool_use`: one call at most. Calls "
        "that are demanded are enforced while they are written.",
    )
    thinking: ThinkingParam | None = Field(
        None,
        description="`enabled` (with `budget_tokens`, which may be more than `max_tokens`), `disabled`, or "
        "`adaptive` for what the model does by itself. `display: omitted` sends the signature alone. Without "
        "effect where the model cannot think.",
    )
    output_config: OutputConfig | None = Field(
        None,
        description="`effort`, without effect where the model cannot think; `format` with a JSON schema, "
        "which is enforced.",
    )
    output_format: JSONOutputFormat | None = Field(
        None, description="The older place of `output_config.format`."
    )
    cache_control: dict[str, Any] | None = Field(
        None,
        description="Taken and without effect here and in all blocks: the cache finds what prompts share.",
    )
    context_management: dict[str, Any] | None = Field(
        None, description="Taken and without effect: nothing is taken out of the conversation."
    )
    mcp_servers: Annotated[list[Any] | None, Unsupported(([],))] = Field(
        None, description="Refused."
    )
    speed: Literal["standard", "fast"] | None = Field(None, description="Taken and without effect.")

    @property
    def left_out(self) -> list[str]:
        found = [
            f"tools[{at}].{tool.type}"
            for at, tool in enumerate(self.tools or ())
            if isinstance(tool, HostedToolParam)
        ]
        for at, block in enumerate(self.system if isinstance(self.system, list) else ()):
            if is_billing(block):
                found.append(f"system[{at}]")
        for at, message in enumerate(self.messages):
            for index, part in enumerate(blocks_of(message)):
                if isinstance(part, (HostedBlock, RedactedThinkingBlock)):
                    found.append(f"messages[{at}].content[{index}].{part.type}")
        return found

    def tool_plan(self, agents: Sequence[Offered] = ()) -> ToolPlan:
        """What to do about tools, with those of an agent. Raises InvalidRequest for what cannot be done."""
        return plan_message_tools(self.tools, self.tool_choice, self._referenced, agents)

    @property
    def _referenced(self) -> frozenset[str]:
        return frozenset(
            part.tool_name
            for message in self.messages
            for block in blocks_of(message)
            if isinstance(block, ToolResultBlock) and isinstance(block.content, list)
            for part in block.content
            if isinstance(part, ToolReferenceBlock)
        )

    @property
    def hides_thoughts(self) -> bool:
        """Whether thoughts come as signatures alone."""
        return self.thinking is not None and self.thinking.display == "omitted"

    def thinking_plan(self, info: EngineInfo, budgets: Mapping[str, int]) -> ThinkingPlan:
        """Whether and how much to think. Agents ask for it with every request, so a model that cannot is no
        reason to refuse one."""
        if Capability.REASONING not in info.capabilities:
            return ThinkingPlan()
        effort = None if self.output_config is None else self.output_config.effort
        kind = None if self.thinking is None else self.thinking.type
        switch = {"enabled": True, "disabled": False}.get(kind or "")
        budget = self.thinking.budget_tokens if self.thinking and switch else None
        return plan_thinking(
            {"output_config.effort": effort},
            {"thinking.type": switch},
            {"thinking.budget_tokens": budget},
            info,
            budgets,
        )

    def _constraints(self) -> Iterator[tuple[str, str]]:
        config = self.output_config
        for where, wanted in (
            ("output_config.format", None if config is None else config.format),
            ("output_format", self.output_format),
        ):
            if wanted is not None:
                yield json_constraint(wanted.schema_, f"{where}.schema")
        yield from super()._constraints()


class MessagesRequest(ConversationFields, GenerationRequest):
    """Create a message. Names beyond the reference's are the native sampler's, or say so."""

    refused: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        **GenerationRequest.refused,
        "n": (1,),
        "logprobs": (False,),
        "top_logprobs": (0,),
    }

    max_tokens: int = Field(
        ge=1,
        description="Tokens to generate at most, thoughts among them; an upper bound, which may be more than "
        "fits.",
    )
    stopping_strings: MoreStops | None = Field(
        None,
        validation_alias=AliasChoices("stop_sequences", "stopping_strings"),
        description="As `stop_sequences`: texts before which the answer ends, up to 64.",
    )
    metadata: Metadata | None = Field(
        None, description="`user_id`: the users of one key take turns in the queue."
    )
    n_probs: Annotated[int | None, Unsupported((0,))] = Field(
        None, description="Refused: a message has no log-probabilities."
    )
    container: Annotated[Any, Unsupported()] = Field(None, description="Refused.")
    service_tier: Literal["auto", "standard_only"] | None = Field(
        None, description="Taken; there is one tier."
    )
    inference_geo: str | None = Field(None, description="Taken and without effect.")
    diagnostics: dict[str, Any] | None = Field(None, description="Taken and without effect.")
    user_profile_id: str | None = Field(None, description="Taken and without effect.")
    workspace_id: str | None = Field(None, description="Taken and without effect.")

    @property
    def limit(self) -> tuple[int | None, str]:
        return self.agreed_limit(self.max_tokens, "max_tokens")

    @property
    def end_user(self) -> str | None:
        return self.user or (None if self.metadata is None else self.metadata.user_id)


class CountTokensRequest(ConversationFields):
    """Count tokens in a message: what a message's request holds, but for how it is to be answered."""

    model: str | None = Field(None, description="A name that GET /v1/models lists.")
    user_profile_id: str | None = Field(None, description="Taken and without effect.")
    workspace_id: str | None = Field(None, description="Taken and without effect.")


ConversationFields.constraining = ConstraintFields.constraining | {"output_config", "output_format"}


def is_billing(block: TextBlock) -> bool:
    """Whether a block of the system text is none of its words."""
    return block.text.startswith(BILLING)
