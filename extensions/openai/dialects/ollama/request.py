"""What requests of Ollama's clients hold.

Source: ollama/ollama, docs/api.md; the types of its Python client.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ...engines.protocol import EngineInfo
from ...generation.chat.reasoning import ReasoningEffort, ThinkingPlan, plan_thinking
from ...generation.chat.request import MAX_MESSAGES
from ...generation.grammar.constraints import json_constraint, object_constraint
from ...generation.request import NO_LIMIT, GenerationRequest, MoreStops
from ...generation.sampling.table import NativeSampling
from ...generation.tools.plan import Offered, ToolPlan
from ...generation.tools.request import FunctionTool, plan_chat_tools
from ...schemas import bad_request
from ...schemas.validation import RequestModel, RequestPart, Unsupported

MAX_TOOLS = 128
MAX_PICTURES = 64
"""Of one message; how many the server takes in all is a setting."""
OF_THE_OPERATOR = frozenset(
    (
        *("num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "num_keep", "numa"),
        *("use_mmap", "use_mlock", "low_vram", "f16_kv", "logits_all", "vocab_only"),
        *("embedding_only", "penalize_newline"),
    )
)
"""Options that say how a model is loaded, which is the operator's choice here; a prompt is never cut,
whatever `num_ctx` says."""

Pictures = Annotated[list[str], Field(max_length=MAX_PICTURES)]
JSONFormat = Literal["json", ""] | dict[str, Any]


class OllamaOptions(RequestModel, NativeSampling):
    """Sampling, under Ollama's names and all others of the sampler table."""

    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    num_predict: int | None = Field(
        None, ge=-2, description="Tokens to generate at most; 0 or less: as many as fit."
    )
    stop: MoreStops | None = Field(None, description="Texts before which the answer ends.")
    num_ctx: int | None = None
    num_batch: int | None = None
    num_gpu: int | None = None
    main_gpu: int | None = None
    num_thread: int | None = None
    num_keep: int | None = None
    numa: bool | None = None
    use_mmap: bool | None = None
    use_mlock: bool | None = None
    low_vram: bool | None = None
    f16_kv: bool | None = None
    logits_all: bool | None = None
    vocab_only: bool | None = None
    embedding_only: bool | None = None
    penalize_newline: bool | None = None


class OllamaFields(GenerationRequest):
    """What a request asks for, under the names that the policy and the plan know."""

    format: JSONFormat | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None

    @property
    def limit(self) -> tuple[int | None, str]:
        return self.agreed_limit(None, "options.num_predict")

    @property
    def alternatives(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None

    def _constraints(self) -> Iterator[tuple[str, str]]:
        if self.format == "json":
            yield object_constraint("format")
        elif isinstance(self.format, dict):
            yield json_constraint(self.format, "format", strict=False)
        yield from super()._constraints()


OllamaFields.constraining = GenerationRequest.constraining | {"format"}


class _ModelFields(RequestModel):
    """What all requests that name a model share."""

    model: str = Field(min_length=1, description="A name that GET /api/tags lists.")
    options: OllamaOptions | None = Field(
        None,
        description="Parameters of the sampler, `num_predict`, `seed` and `stop`. Those that say how a model "
        "is loaded (`num_ctx`, `num_gpu`, ...) are the operator's here: they have no effect, and are named "
        "in the header `x-openedai-ignored`.",
    )
    keep_alive: float | str | None = Field(
        None,
        description="Taken and without effect: how long a model stays is the operator's choice.",
    )

    @property
    def left_out(self) -> list[str]:
        given = set() if self.options is None else self.options.model_fields_set & OF_THE_OPERATOR
        found = [f"options.{name}" for name in sorted(given)]
        return found if self.keep_alive is None else [*found, "keep_alive"]

    @property
    def is_unload(self) -> bool:
        """Whether a request that says nothing else wants the model to go."""
        return self.keep_alive in (0, "0", "0s", "0m")


class _AnswerFields(_ModelFields):
    """What all requests that want an answer share."""

    stream: bool | None = Field(
        None,
        description="Send the answer as it is made, a line of JSON for each part. Default: yes.",
    )
    format: JSONFormat | None = Field(
        None, description="`json`, or a JSON schema, which is enforced."
    )
    think: bool | ReasoningEffort | None = Field(
        None, description="Whether to think, or how much. Default: what the model does by itself."
    )
    logprobs: bool | None = Field(None, description="Report the log-probability of each token.")
    top_logprobs: int | None = Field(
        None, ge=0, le=20, description="How many alternatives to report. Needs `logprobs`."
    )

    @property
    def streams(self) -> bool:
        return self.stream is not False

    @property
    def n_predict(self) -> int | None:
        """The most tokens of the answer, for limits of tokens."""
        given = None if self.options is None else self.options.num_predict
        return NO_LIMIT if given == 0 else given

    @property
    def fields(self) -> OllamaFields:
        """What it asks for, under the names that the policy and the plan know."""
        given = {} if self.options is None else dict(self.options)
        found = {
            name: value
            for name, value in given.items()
            if value is not None and name not in (*OF_THE_OPERATOR, "num_predict")
        }
        found |= {
            "model": self.model,
            "stream": self.streams,
            "n_predict": self.n_predict,
            "stopping_strings": found.pop("stop", None),
        }
        if self.format:
            found["format"] = self.format
        if self.logprobs:
            found |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        return OllamaFields.model_validate(found)

    def thinking_plan(self, info: EngineInfo, budgets: Mapping[str, int]) -> ThinkingPlan:
        """Whether and how much to think. Raises InvalidRequest for what the model cannot do."""
        effort = self.think if isinstance(self.think, str) else None
        switch = self.think if isinstance(self.think, bool) else None
        return plan_thinking({"think": effort}, {"think": switch}, {}, info, budgets)


class OllamaFunction(RequestPart):
    """A function and the arguments of its call."""

    name: str = Field(min_length=1)
    arguments: dict[str, Any] = Field(default_factory=dict)


class OllamaCall(RequestPart):
    """A call that the model made earlier."""

    id: str | None = None
    function: OllamaFunction


class OllamaMessage(RequestPart):
    """A message of the conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    thinking: str | None = None
    images: Pictures | None = None
    """In base64."""
    tool_calls: Annotated[list[OllamaCall], Field(max_length=1024)] | None = None
    tool_name: str | None = None
    """Of a result: whose."""
    tool_call_id: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        """Clients send null for what is not there."""
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if value is not None}


class OllamaChatRequest(_AnswerFields):
    """Chat with a model."""

    messages: Annotated[list[OllamaMessage], Field(max_length=MAX_MESSAGES)] | None = Field(
        None, description="The conversation so far. Without any, the model is only looked for."
    )
    tools: list[FunctionTool] | None = Field(
        None, max_length=MAX_TOOLS, description="Functions that the model may call."
    )

    def tool_plan(self, agents: Sequence[Offered] = ()) -> ToolPlan:
        """What to do about tools, with those of an agent. Raises InvalidRequest."""
        return plan_chat_tools(self.tools, None, parallel=True, agents=agents)


class OllamaGenerateRequest(_AnswerFields):
    """Answer a prompt, or continue it (`raw`, `suffix`)."""

    prompt: str | None = Field(
        None, description="What to answer. Without one, the model is only looked for."
    )
    suffix: str | None = Field(
        None, description="The text after the answer, for models that can fill in between two."
    )
    system: str | None = Field(None, description="Instructions that go before the prompt.")
    images: Pictures | None = Field(None, description="Pictures in base64.")
    raw: bool | None = Field(
        None, description="Continue the prompt as it stands, without a chat template."
    )
    template: Annotated[str | None, Unsupported(("",))] = Field(
        None, description="Refused: the chat template is the model's own."
    )
    context: Annotated[list[int] | None, Unsupported(([],))] = Field(
        None, description="Refused: no answer here has one. Use POST /api/chat."
    )

    @property
    def continues_text(self) -> bool:
        """Whether the prompt is continued instead of being answered."""
        return bool(self.raw or self.suffix)

    def check_continued(self) -> None:
        """Raises InvalidRequest for what a prompt that is continued cannot have."""
        beside = "raw" if self.raw else "suffix"
        for name in ("system", "images"):
            if getattr(self, name):
                raise bad_request.conflicting(name, beside)


class OllamaShowRequest(RequestModel):
    """Tell of a model."""

    model: str | None = Field(None, description="A name that GET /api/tags lists.")
    name: str | None = Field(None, description="The older name of `model`.")
    verbose: bool | None = Field(None, description="Taken and without effect.")
    system: str | None = Field(None, description="Taken and without effect.")
    template: str | None = Field(None, description="Taken and without effect.")
    options: dict[str, Any] | None = Field(None, description="Taken and without effect.")


Inputs = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=2048)]


class OllamaEmbedRequest(_ModelFields):
    """Texts into vectors."""

    input: Annotated[str, Field(min_length=1)] | Inputs = Field(
        description="A text, or up to 2048 of them."
    )
    truncate: bool | None = Field(
        None, description="Cut a text that is too long; false: refuse it. Default: cut."
    )
    dimensions: int | None = Field(None, ge=1, description="The numbers of a vector.")


class OllamaEmbeddingsRequest(_ModelFields):
    """A text into a vector, in the older form."""

    prompt: str = Field(min_length=1, description="The text.")
