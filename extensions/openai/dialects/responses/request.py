"""What requests for a response hold.

Source: OpenAI API reference, "Create a model response" and "Get input token counts".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AliasChoices, Field

from ...engines.protocol import EngineInfo
from ...generation.chat.reasoning import ReasoningEffort, ThinkingPlan, plan_thinking
from ...generation.chat.request import Metadata
from ...generation.grammar.constraints import ConstraintFields, json_constraint, object_constraint
from ...generation.request import GenerationRequest
from ...generation.tools.plan import Offered, ToolPlan
from ...schemas import bad_request
from ...schemas.validation import RequestModel, Unsupported
from ...state.pages import Order, PageQuery
from .items import CompactionTrigger, HostedItem, InputItem, MessageItem
from .tools import (
    MAX_TOOLS,
    Name,
    ToolChoiceParam,
    ToolNames,
    ToolParam,
    is_left_out,
    plan_response_tools,
)

MAX_ITEMS = 16_384
DEFAULT_PAGE, MAX_PAGE = 20, 100
REFERENCE_MIN_TOKENS, REFERENCE_MIN_THRESHOLD = 16, 1000
AS_SENT: tuple[Any, ...] = (
    {},
    {"context_compression": "auto"},
    {"context_compression": "disabled"},
)
"""Options of pictures that want none to be made smaller."""
ServiceTier = Literal["auto", "default", "flex", "scale", "priority", "fast"]
Include = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
]


class TextOutput(RequestModel):
    """Free text."""

    type: Literal["text"]


class ObjectOutput(RequestModel):
    """Any JSON object."""

    type: Literal["json_object"]


class SchemaOutput(RequestModel):
    """JSON that a schema describes; it is enforced whether or not `strict` is set."""

    type: Literal["json_schema"]
    name: Name
    schema_: dict[str, Any] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class TextParam(RequestModel):
    """The form of what the model says."""

    format: (
        Annotated[TextOutput | ObjectOutput | SchemaOutput, Field(discriminator="type")] | None
    ) = None
    verbosity: Literal["low", "medium", "high"] | None = None
    """Taken and without effect."""


class ReasoningParam(RequestModel):
    """How much to think."""

    effort: ReasoningEffort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    """Without effect: thoughts come as they are, and without a summary."""
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    context: Literal["auto", "current_turn", "all_turns"] | None = None
    """Without effect: what is shown of earlier thoughts is the template's affair."""
    mode: str | None = None


class StreamOptions(RequestModel):
    """Options of a stream."""

    include_obfuscation: bool | None = None


class ContextManagement(RequestModel):
    """What is to be done to a conversation that grows."""

    type: Literal["compaction"]
    compact_threshold: int | None = Field(None, ge=1)


class ConversationParam(RequestModel):
    """A conversation that is kept."""

    id: str


class PromptFields(ConstraintFields):
    """What a response and the count of its prompt's tokens have in common."""

    input: str | Annotated[list[InputItem], Field(max_length=MAX_ITEMS)] | None = Field(
        None, description="A text of the user, or items: messages, calls, their outputs, thoughts."
    )
    instructions: str | None = Field(None, description="Instructions, before all items.")
    tools: list[ToolParam] | None = Field(
        None,
        max_length=MAX_TOOLS,
        description="What the model may call: functions, custom tools (with a Lark grammar or a pattern), "
        "namespaces of both. Tools that a provider would run are left out, and named in the header "
        "`x-openedai-ignored`.",
    )
    tool_choice: ToolChoiceParam | None = Field(
        None,
        description="`none`, `auto`, `required`, one tool by name, or `allowed_tools`; calls that are "
        "demanded are enforced while they are written.",
    )
    parallel_tool_calls: bool | None = Field(
        None, description="Whether one answer may hold several calls. Default: it may."
    )
    text: TextParam | None = Field(
        None,
        description="`format`: `text`, `json_object`, or `json_schema` with a schema that is enforced. "
        "`verbosity` has no effect.",
    )
    reasoning: ReasoningParam | None = Field(
        None,
        description="`effort`, as `reasoning_effort` in chats. There are no summaries, only thoughts.",
    )
    truncation: Literal["auto", "disabled"] | None = Field(
        None,
        description="`auto`: where the prompt does not fit, the oldest items are left out, and named in the "
        "header `x-openedai-ignored`.",
    )
    previous_response_id: str | None = Field(
        None,
        max_length=512,
        description="Go on from this stored response, whose instructions are not taken over.",
    )
    conversation: str | ConversationParam | None = Field(
        None,
        description='Go on from the items of this conversation, by its id or `{"id": ...}`. What is said '
        "and answered is added to it.",
    )

    @property
    def conversation_id(self) -> str | None:
        given = self.conversation
        return given.id if isinstance(given, ConversationParam) else given

    @property
    def left_out(self) -> list[str]:
        found = [
            f"tools[{at}].{tool.type}"
            for at, tool in enumerate(self.tools or ())
            if is_left_out(tool)
        ]
        for at, item in enumerate(self.items):
            if isinstance(item, HostedItem):
                found.append(f"input[{at}].{item.type}")
        return found

    @property
    def items(self) -> list[Any]:
        """The items; a text is a message of the user's."""
        if isinstance(self.input, str):
            return [MessageItem(role="user", content=self.input)]
        return self.input or []

    @property
    def asks_for_compaction(self) -> bool:
        """Whether the answer is to be a compaction item, and nothing else."""
        return bool(self.items) and isinstance(self.items[-1], CompactionTrigger)

    @property
    def tool_names(self) -> ToolNames:
        """The names of the tools as the model sees them."""
        return ToolNames.of(self.tools)

    def tool_plan(self, agents: Sequence[Offered] = ()) -> ToolPlan:
        """What to do about tools, with those of an agent. Raises InvalidRequest for what cannot be done."""
        parallel = self.parallel_tool_calls is not False
        return plan_response_tools(self.tools, self.tool_choice, parallel=parallel, agents=agents)

    def thinking_plan(self, info: EngineInfo, budgets: Mapping[str, int]) -> ThinkingPlan:
        """Whether and how much to think. Raises InvalidRequest for more than the model can."""
        effort = None if self.reasoning is None else self.reasoning.effort
        return plan_thinking({"reasoning.effort": effort}, {}, {}, info, budgets)

    def check_input(self) -> None:
        """Raises InvalidRequest where there is nothing to answer."""
        goes_on = self.previous_response_id is not None or self.conversation is not None
        if self.previous_response_id is not None and self.conversation is not None:
            raise bad_request.conflicting("previous_response_id", "conversation")
        if not self.items and not self.instructions and not goes_on:
            raise bad_request.missing("input")
        for at, item in enumerate(self.items[:-1]):
            if isinstance(item, CompactionTrigger):
                raise bad_request.unsupported(f"input[{at}]", "must be the last item.")

    def _constraints(self) -> Iterator[tuple[str, str]]:
        wanted = None if self.text is None else self.text.format
        if isinstance(wanted, ObjectOutput):
            yield object_constraint("text.format")
        elif isinstance(wanted, SchemaOutput):
            yield json_constraint(wanted.schema_, "text.format.schema", strict=bool(wanted.strict))
        yield from super()._constraints()


class ResponsesRequest(PromptFields, GenerationRequest):
    """Create a model response. Names beyond the reference's are the native sampler's, or say so."""

    refused: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        **GenerationRequest.refused,
        "n": (1,),
    }
    elsewhere: ClassVar[Mapping[str, str]] = {
        "response_format": "POST /v1/chat/completions; here it is text.format"
    }

    max_output_tokens: int | None = Field(
        None,
        validation_alias=AliasChoices("max_output_tokens", "max_tokens", "max_completion_tokens"),
        ge=1,
        description="Tokens to generate at most, thoughts among them; an upper bound, which may be more than "
        "fits. Default: what the context holds. At least 16 with `--strict-parameters`.",
    )
    top_logprobs: int | None = Field(
        None,
        ge=0,
        le=20,
        description="How many alternatives to report for each token; also without `include`.",
    )
    include: list[Include] | None = Field(
        None,
        description="`message.output_text.logprobs`: the log-probability of each token. "
        "`reasoning.encrypted_content`: each thought also sealed, for clients that let nothing be stored. "
        "All others have no effect: there is nothing of the kind.",
    )
    store: bool | None = Field(
        None,
        description="Whether the response is stored. Default: it is. Where that cannot be, the response says "
        "`store: false`, and the header `x-openedai-ignored` names a `true`.",
    )
    background: bool | None = Field(
        None,
        description="True: the request is answered at once, and the response made without its client; only "
        "for what is stored.",
    )
    background_options: dict[str, Any] | None = Field(None, description="Taken and without effect.")
    stream_options: StreamOptions | None = Field(
        None, description="Taken and without effect: nothing is padded."
    )
    metadata: Metadata | None = Field(None, description="Told again in the response.")
    max_tool_calls: int | None = Field(
        None, ge=0, description="Without effect: it is about tools that a provider runs."
    )
    service_tier: ServiceTier | None = Field(
        None,
        description="`flex`: batch work, which gets what other requests leave over. All others are the one "
        "tier `default`.",
    )
    safety_identifier: str | None = Field(
        None,
        max_length=64,
        description="Where there is no `user`: takes turns in the queue as one.",
    )
    prompt_cache_key: str | None = Field(
        None, description="Taken and without effect: what prompts share is found without it."
    )
    prompt_cache_retention: Literal["in_memory", "24h"] | None = Field(
        None, description="Taken and without effect."
    )
    prompt_cache_options: dict[str, Any] | None = Field(
        None, description="Taken and without effect."
    )
    context_management: list[ContextManagement] | None = Field(
        None,
        description="`compaction`: a prompt of `compact_threshold` tokens is made shorter before it is "
        "answered, and the response begins with a compaction item. The least threshold is 1000 with "
        "`--strict-parameters`; without one, it is three quarters of the context.",
    )
    client_metadata: dict[str, Any] | None = Field(
        None, description="Taken and without effect; codex sends it."
    )
    prompt: Annotated[dict[str, Any] | None, Unsupported()] = Field(None, description="Refused.")
    moderation: Annotated[dict[str, Any] | None, Unsupported()] = Field(
        None, description="Refused."
    )
    access_programs: Annotated[dict[str, Any] | None, Unsupported()] = Field(
        None, description="Refused."
    )
    image: Annotated[dict[str, Any] | None, Unsupported(AS_SENT)] = Field(
        None,
        description="Pictures go to the model as they are; `context_compression: enabled` is refused.",
    )

    @property
    def limit(self) -> tuple[int | None, str]:
        return self.agreed_limit(self.max_output_tokens, "max_output_tokens")

    @property
    def alternatives(self) -> int | None:
        if "message.output_text.logprobs" in (self.include or ()):
            return self.top_logprobs or 0
        return self.top_logprobs or self.n_probs or None

    @property
    def end_user(self) -> str | None:
        return self.user or self.safety_identifier

    def check_reference(self) -> None:
        super().check_reference()
        least = self.max_output_tokens
        if least is not None and least < REFERENCE_MIN_TOKENS:
            raise bad_request.out_of_range(
                "max_output_tokens", least, low=REFERENCE_MIN_TOKENS, high=None
            )
        for at, each in enumerate(self.context_management or ()):
            threshold = each.compact_threshold
            if threshold is not None and threshold < REFERENCE_MIN_THRESHOLD:
                raise bad_request.out_of_range(
                    f"context_management[{at}].compact_threshold",
                    threshold,
                    low=REFERENCE_MIN_THRESHOLD,
                    high=None,
                )


class ListQuery(RequestModel):
    """Which part of a list to answer."""

    after: str | None = Field(None, description="The `id` that the page begins behind.")
    limit: int | None = Field(None, ge=1, le=MAX_PAGE, description="How many. Default 20.")
    order: Order | None = Field(
        None, description="`asc`: the oldest first; or `desc` (default): the latest first."
    )

    @property
    def page(self) -> PageQuery:
        return PageQuery(self.after, self.limit or DEFAULT_PAGE, self.order or "desc")


class InputItemsQuery(ListQuery):
    """Which part of the list of a response's input to answer."""

    include: list[Include] | None = Field(None, description="Taken and without effect.")


class ResponseQuery(RequestModel):
    """How a stored response is to be answered."""

    include: list[Include] | None = Field(None, description="Taken and without effect.")
    include_obfuscation: bool | None = Field(None, description="Taken and without effect.")
    stream: bool | None = Field(
        None,
        description="True: the events that it is or was streamed in; refused where there are none.",
    )
    starting_after: int | None = Field(
        None,
        ge=0,
        description="With `stream`: only the events behind the one with this number. Without effect and "
        "named in `x-openedai-ignored` without it.",
    )


class CompactRequest(PromptFields):
    """Compact a conversation: what a response's request holds, but for how it is to be answered."""

    model: str | None = Field(None, description="A name that GET /v1/models lists.")
    service_tier: ServiceTier | None = Field(None, description="As in a response.")
    prompt_cache_key: str | None = Field(None, description="Taken and without effect.")
    prompt_cache_retention: Literal["in_memory", "24h"] | None = Field(
        None, description="Taken and without effect."
    )
    prompt_cache_options: dict[str, Any] | None = Field(
        None, description="Taken and without effect."
    )


class InputTokensRequest(PromptFields):
    """Get input token counts: what a response's request holds, but for how it is to be answered."""

    model: str | None = Field(None, description="A name that GET /v1/models lists.")
    personality: str | None = Field(None, description="Taken and without effect.")


PromptFields.constraining = ConstraintFields.constraining | {"text"}
