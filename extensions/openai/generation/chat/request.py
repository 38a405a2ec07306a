"""What a request for a chat holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AliasChoices, Field

from ...engines.protocol import Capability, ChatMode, EngineInfo
from ...schemas import bad_request
from ...schemas.validation import RequestModel, Unsupported
from ..request import MAX_TOKENS_ALIASES, NO_LIMIT, ChoicesRequest, needs
from ..sampling.unsupported_fields import IN_CHAT, NeutralValues
from ..tools.hosted_tools import HostedTool
from ..tools.plan import Offered, ToolPlan
from ..tools.request import (
    AnyTool,
    ChatToolChoice,
    FunctionCallChoice,
    FunctionDefinition,
    FunctionTool,
    plan_chat_tools,
)
from .messages import ChatMessage, TextPart
from .reasoning import DEFAULT_BUDGET, THINKING_FIELDS, ThinkingFields, ThinkingPlan

if TYPE_CHECKING:
    from ..plan import ChatPlan, Served

Metadata = Annotated[
    dict[
        Annotated[str, Field(max_length=64)],
        Annotated[str, Field(max_length=512)],
    ],
    Field(max_length=16),
]
MAX_MESSAGES = 8192
TOOL_FIELDS = {"tools", "tool_choice", "functions", "function_call"}
NO_TOOLS = ToolPlan()
NO_THINKING_PLAN = ThinkingPlan()
ALL_THAT_FITS = -1
"""Of `truncate_prompt_tokens`."""
TEMPLATE_OWN = {"messages", "tools", "add_generation_prompt", "bos_token", "eos_token"}


class Prediction(RequestModel):
    """What much of the answer is likely to be."""

    type: Literal["content"]
    content: str | Annotated[list[TextPart], Field(min_length=1)]


MAX_NAME_CHARACTERS = 256
"""Of the names in a dialogue: they stand before each message."""


class ChatCompletionRequest(ThinkingFields, ChoicesRequest):
    """Create chat completion. Names beyond the reference's are the native sampler's, or say so."""

    refused: ClassVar[NeutralValues] = IN_CHAT

    messages: list[ChatMessage] = Field(
        min_length=1, max_length=MAX_MESSAGES, description="The conversation so far."
    )
    max_completion_tokens: int | None = Field(
        None,
        ge=-1,
        description="Tokens to generate at most, reasoning among them; an upper bound, which may be more "
        "than fits. Default: what the context holds. -1 is no limit with `--lenient-limits`.",
    )
    max_tokens: int | None = Field(
        None,
        validation_alias=AliasChoices(*MAX_TOKENS_ALIASES),
        ge=-1,
        description="The older name of `max_completion_tokens`.",
    )
    logprobs: bool | None = Field(
        None, description="Report the log-probability of each counted token."
    )
    top_logprobs: int | None = Field(
        None,
        ge=0,
        le=20,
        description="How many alternatives to report for each token. Needs `logprobs`.",
    )
    tools: list[AnyTool] | None = Field(
        None,
        max_length=128,
        description="What the model may call. Of a `namespace` its members; tools that a provider would run "
        "(`web_search`, `mcp`, ...) are left out, and named in the header `x-openedai-ignored`.",
    )
    tool_choice: ChatToolChoice | None = Field(
        None,
        description="`none`, `auto`, `required`, one tool by name, or `allowed_tools`; calls that are "
        "demanded are enforced while they are written.",
    )
    parallel_tool_calls: bool | None = Field(
        None, description="Whether one answer may hold several calls. Default: it may."
    )
    functions: list[FunctionDefinition] | None = Field(
        None, min_length=1, max_length=128, description="The older form of `tools`."
    )
    function_call: FunctionCallChoice | None = Field(
        None, description="The older form of `tool_choice`."
    )
    chat_template_kwargs: dict[str, Any] | None = Field(
        None,
        validation_alias=AliasChoices("chat_template_kwargs", "template_vars"),
        description="Variables for the model's chat template. Not OpenAI's.",
    )
    mode: Literal["instruct", "chat", "chat-instruct"] | None = Field(
        None,
        description="As in a web UI: by the model's template, as a dialogue of two characters, or "
        "both. Default `instruct`, or `chat` where a character is given. Not OpenAI's.",
    )
    character: str | None = Field(
        None,
        description="A character of the webui, or of `--character-folder`, by its name. Not OpenAI's.",
    )
    instruction_template: str | None = Field(
        None,
        description="A template of the webui, by its name; default: the model's own. Not OpenAI's.",
    )
    user_name: str | None = Field(
        None,
        max_length=MAX_NAME_CHARACTERS,
        validation_alias=AliasChoices("user_name", "name1"),
        description="The user's name in a web UI. Not OpenAI's.",
    )
    bot_name: str | None = Field(
        None,
        max_length=MAX_NAME_CHARACTERS,
        validation_alias=AliasChoices("bot_name", "name2"),
        description="The character's name there, in place of its own. Not OpenAI's.",
    )
    context: str | None = Field(
        None,
        description="The description of the character, in place of its own. Not OpenAI's.",
    )
    greeting: str | None = Field(
        None, description="What the character says first, in place of its own. Not OpenAI's."
    )
    user_bio: str | None = Field(
        None, description="What the character knows of the user. Not OpenAI's."
    )
    chat_instruct_command: str | None = Field(
        None, description="The instruction of the mode `chat-instruct`. Not OpenAI's."
    )
    continue_final_message: bool | None = Field(
        None,
        validation_alias=AliasChoices("continue_final_message", "continue_"),
        description="Continue the last message, which must be the assistant's, instead of answering. "
        "Not OpenAI's.",
    )
    add_generation_prompt: bool | None = Field(
        None,
        description="False only with `continue_final_message`, as vLLM's clients send it. Not OpenAI's.",
    )
    truncation: Literal["auto", "disabled"] | None = Field(
        None,
        description="`auto`: `truncate_prompt_tokens` of -1, under the name that it has in Responses. Not "
        "OpenAI's.",
    )
    modalities: list[Literal["text", "audio"]] | None = Field(
        None, min_length=1, description="Text only; `audio` is refused."
    )
    metadata: Metadata | None = Field(
        None,
        description="Repeated in the answer, if it is not streamed; stored chats are found by it.",
    )
    store: bool | None = Field(
        None,
        description="Keep the messages and the answer, to be read again (docs/store.md). Default: no.",
    )
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = Field(
        None,
        description="`flex`: batch work, which gets what other requests leave over. All others are "
        "the one tier `default`.",
    )
    verbosity: Literal["low", "medium", "high"] | None = Field(
        None, description="Taken and without effect."
    )
    prediction: Prediction | None = Field(None, description="Taken and without effect.")
    safety_identifier: str | None = Field(
        None,
        max_length=64,
        description="Who asks, as `user`; by either of them stored chats are found to be erased.",
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
    moderation: Annotated[dict[str, Any] | None, Unsupported()] = Field(
        None, description="Refused."
    )
    audio: Annotated[dict[str, Any] | None, Unsupported()] = Field(None, description="Refused.")
    web_search_options: Annotated[dict[str, Any] | None, Unsupported()] = Field(
        None, description="Refused."
    )

    @property
    def prompt_length(self) -> int | None:
        """The most tokens of the prompt, older messages being left out; None: it is taken as it is."""
        if self.truncation != "auto":
            return self.truncate_prompt_tokens
        if self.truncate_prompt_tokens is not None:
            raise bad_request.conflicting("truncation", "truncate_prompt_tokens")
        return ALL_THAT_FITS

    @property
    def limit(self) -> tuple[int | None, str]:
        if self.max_tokens is None:
            return self.agreed_limit(self.max_completion_tokens, "max_completion_tokens")
        if self.max_completion_tokens is not None:
            raise bad_request.conflicting("max_tokens", "max_completion_tokens")
        return self.agreed_limit(self.max_tokens, "max_tokens")

    @property
    def alternatives(self) -> int | None:
        if self.logprobs:
            return self.top_logprobs or 0
        if self.n_probs:
            return self.n_probs
        if self.top_logprobs is not None:
            raise bad_request.unsupported(
                "top_logprobs", "is only allowed when 'logprobs' is true."
            )
        return None

    def in_character(self, plan: ChatPlan, served: Served) -> ChatPlan:
        """The plan, as a dialogue with a character of the operator's folder if the request asks for one.
        Raises InvalidRequest."""
        folder, mode = self._own_characters(served), self._mode
        if folder is None or mode == "instruct":
            return plan
        from ..characters.dialogue import as_dialogue, cast_of  # for few chats

        cast = cast_of(Path(folder), self.character, self._mode_values)
        return as_dialogue(plan, cast, mode, self.chat_instruct_command)

    def _own_characters(self, served: Served) -> str | None:
        """The operator's folder, where the engine's host has no characters."""
        info, folder = served.info, served.settings.character_folder
        has_others = Capability.MODES in info.capabilities or info.is_remote
        return None if has_others or self.instruction_template is not None else folder

    @property
    def _mode(self) -> Literal["instruct", "chat", "chat-instruct"]:
        return self.mode or ("chat" if self.character is not None else "instruct")

    def chat_mode_for(self, served: Served) -> ChatMode | None:
        """As in the host's UI, if the request asks for that."""
        if self._mode != "instruct" and self._own_characters(served) is not None:
            return None
        info = served.info
        wanted = {
            "mode": self.mode if self.mode != "instruct" else None,
            "character": self.character,
            "instruction_template": self.instruction_template,
        }
        given = [name for name, value in wanted.items() if value is not None]
        values = self._mode_values
        if not given and not (values and Capability.MODES in info.capabilities):
            return None
        needs(info, Capability.MODES, next(iter(given), ""))
        return ChatMode(self._mode, self.character, self.instruction_template, values)

    @property
    def _mode_values(self) -> dict[str, str]:
        """What it sets of the UI's state, by the UI's names."""
        given = {
            "name1": self.user_name,
            "name2": self.bot_name,
            "context": self.context,
            "greeting": self.greeting,
            "user_bio": self.user_bio,
            "chat-instruct_command": self.chat_instruct_command,
        }
        return {name: value for name, value in given.items() if value}

    @property
    def left_out(self) -> list[str]:
        hosted = enumerate(self.tools or ())
        return [
            f"tools[{at}].{t.type}"
            for at, t in hosted
            if isinstance(t, HostedTool) and t.is_left_out
        ]

    def tool_plan(self, agents: Sequence[Offered] = ()) -> ToolPlan:
        """What to do about tools, with those of an agent. Raises InvalidRequest for what cannot be done."""
        if not agents and TOOL_FIELDS.isdisjoint(self.model_fields_set):
            return NO_TOOLS
        parallel = self.parallel_tool_calls is not False
        if self.functions is None and self.function_call in (None, "none", "auto"):
            return plan_chat_tools(self.tools, self.tool_choice, parallel=parallel, agents=agents)
        if self.tools is not None or self.tool_choice is not None:
            raise bad_request.conflicting("functions", "tools")
        tools = [FunctionTool(type="function", function=each) for each in self.functions or ()]
        return plan_chat_tools(
            tools, self.function_call, parallel=False, legacy=True, agents=agents
        )

    def plan_thinking(self, info: EngineInfo, budgets: Mapping[str, int]) -> ThinkingPlan:
        """Whether and how much to think, and all that the chat template is given besides the messages.

        Raises InvalidRequest for what is the server's own, contradicts itself, or cannot be done.
        """
        given = self.chat_template_kwargs or {}
        bounded = budgets.get(DEFAULT_BUDGET, NO_LIMIT) != NO_LIMIT
        if not (given or bounded) and THINKING_FIELDS.isdisjoint(self.model_fields_set):
            return NO_THINKING_PLAN
        for name in TEMPLATE_OWN & given.keys():
            raise bad_request.unsupported(
                f"chat_template_kwargs.{name}", "is set by the server itself."
            )
        plan = self.thinking_plan(info, given, budgets)
        return replace(plan, variables={**given, **plan.variables})
