"""What an engine is: the protocol, and the frozen values that go in and come out.

An engine adapts one generator (llama.cpp, a webui's loaders, an upstream server) to the pages. It knows
nothing of HTTP. Every engine passes `tests/engines/test_protocol.py`.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Finish = Literal["stop", "length", "tool_calls"]
"""Why an answer ended: the model (or a stop string) ended it, a limit on tokens did, or the model has
called tools and waits for their results."""

Native = Mapping[str, Any]
"""Sampler parameters under the engine's own names, ready to be sent (see generation/profiles.py)."""

CUT = "\N{REPLACEMENT CHARACTER}"
"""What an answer ends with when its limit of tokens cuts a character."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine serves right now; read anew for each request, as a host may switch models."""

    model: str
    """The name clients see."""
    created: int
    """When the model was made, in unix seconds."""
    owned_by: str
    """Who runs it: the back end's name."""
    context_length: int
    """Tokens that one request may use, prompt and answer together."""
    sampler: str
    """Which column of the sampler table the engine speaks (`llama.cpp`, ...)."""
    fingerprint: str
    """Changes when the model or a setting that changes answers does."""
    vocabulary_size: int
    """Token ids are below this."""
    longest_token: int = 0
    """Bytes of a text that one token can stand for, at most; 0: nobody knows."""
    parallel: int = 1
    """How many requests the engine runs at once."""
    description: str = ""
    """What the model says of itself, in a line."""
    capabilities: tuple[str, ...] = ("completion", "chat")
    """What it can do, in words for the model list."""
    thinks_aloud: bool = False
    """The template opens a thought, and `chat` does not tell it from the answer."""
    chat_counts_prompt: bool = False
    """A presence penalty of `chat` counts the prompt; that of `generate` does not, and thoughts are told
    apart from what it says as well."""
    end_tokens: frozenset[int] = frozenset()
    """Those that end an answer, as far as the engine tells."""
    honours: frozenset[str] | None = None
    """The sampler's names for the parameters that the loaded model honours; None: all in its column."""


@dataclass(frozen=True, slots=True)
class Media:
    """A picture or a sound that stands in a conversation."""

    kind: Literal["image", "audio"]
    format: Literal["png", "wav"]
    data: bytes = field(repr=False)
    """A whole file, made by this server from what it was sent: it can be decoded, and its size is sane."""


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """Continue one prompt."""

    prompt: str | tuple[int, ...]
    """Text (special tokens are recognised) or token ids."""
    media: tuple[Media, ...] = field(default=(), kw_only=True)
    """What stands at the marks that `render` has put into the prompt, in their order."""
    marks: tuple[str, ...] = field(default=(), kw_only=True)
    """Tokens that are told by their names, although they say nothing."""
    max_tokens: int | None = None
    """Tokens to sample at most, at least 1; None: as many as the context holds."""
    sampling: Native = field(default_factory=dict)
    seed: int | None = None
    grammar: str | None = None
    """What the answer must match: Lark in llguidance's dialect, checked. Capability `grammar`."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Pairs of token id and what is added to its logit; -100 bans the token. Capability `logprobs`."""
    logprobs: int | None = None
    """How many alternatives to tell for each token, 0 to 20; None: no log-probabilities."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the assistant made earlier in the conversation."""

    id: str
    name: str
    arguments: str
    """JSON text."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation, made plain, with a role that chat templates know."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None
    """Its text, without anything between where media stood."""
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    parts: tuple[str | Media, ...] = ()
    """Text and media in their order, where there are media. Capabilities `vision` and `audio`."""
    reasoning: str | None = None
    """What the assistant thought before it said this."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call."""

    name: str
    description: str | None
    parameters: Mapping[str, Any]
    """A JSON schema of an object."""


@dataclass(frozen=True, slots=True)
class Page:
    """How the page of a webui would put a conversation. Capability `modes`."""

    mode: Literal["instruct", "chat", "chat-instruct"] = "instruct"
    """`instruct`: by a template; `chat`: as a talk of two characters; the third: one inside the other."""
    character: str | None = None
    """By the name that the host has it under; None: the one that is set in the page."""
    instruction_template: str | None = None
    """By the name that the host has it under; None: the model's own."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """Answer a conversation through the model's own chat template."""

    messages: tuple[Message, ...]
    max_tokens: int | None = None
    sampling: Native = field(default_factory=dict)
    seed: int | None = None
    grammar: str | None = None
    """As in GenerateRequest; reasoning, if any, is left out."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    tools: tuple[Tool, ...] = ()
    """What the model may call, if it wants to. Capability `tools`."""
    parallel_tool_calls: bool = True
    template_variables: Mapping[str, Any] = field(default_factory=dict)
    """What the chat template is given besides the messages, such as `enable_thinking`."""
    page: Page | None = None
    """None: the model's own template."""


@dataclass(frozen=True, slots=True)
class PromptUsage:
    """What reading the prompt took, in tokens."""

    tokens: int
    cached: int = 0
    """How many of them were remembered from an earlier request."""


@dataclass(frozen=True, slots=True)
class LikelyToken:
    """A token that might have been sampled."""

    bytes: bytes
    logprob: float
    """Natural logarithm of its probability before any sampler has changed it."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token that was sampled, or stood in the prompt."""

    bytes: bytes
    """What it adds to the text; maybe only a part of a character."""
    logprob: float | None
    """As in LikelyToken; None for the first token of a prompt."""
    top: tuple[LikelyToken, ...] = ()
    """The likeliest tokens at this place, best first, as many as were asked for."""


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A part of a call that the model makes; `id` and `name` are on the first part only."""

    index: int
    arguments: str = ""
    """More of the JSON text."""
    id: str | None = None
    name: str | None = None


@dataclass(slots=True)
class Piece:
    """A part of an answer, as soon as it is there. Never changed; not frozen, because making a frozen
    object with this many fields takes a tenth of all the time that a token takes here."""

    text: str = ""
    """Whole characters only; may be empty while a character is incomplete."""
    reasoning: str = ""
    """What a reasoning model thinks before it answers."""
    tokens: int = 0
    """Tokens sampled since the piece before, an end token among them."""
    prompt: PromptUsage | None = None
    """On one piece of each answer, at the latest on the last."""
    finish: Finish | None = None
    """Set on the last piece, and only there."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """The tokens of `text`, if they were asked for; the end token is not among them."""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    echo: bool = False
    """This is the prompt, not an answer: stop strings are not looked for in it."""


Pieces = Generator["Piece | None", None, None]
"""An answer under way. None means "nothing yet" and comes at least every `pump.TICK` seconds while the
engine is silent, so that whoever reads can look whether the client is still there. Closing it ends the
work within one decode step."""


Scores = Generator["TokenLogprob | None", None, None]
"""One for each token, in order; None as in Pieces."""


class Engine(Protocol):
    """A generator of text. All methods may be called from any thread, at the same time."""

    @property
    def info(self) -> EngineInfo:
        """What is served now. Raises ModelLoading while there is nothing."""

    def generate(self, request: GenerateRequest) -> Pieces:
        """Continue one prompt; the last piece has `finish` set.

        Raises ContextLengthExceeded before the first piece when prompt (and max_tokens) do not fit,
        InvalidRequest for token ids the model does not have, EngineFailed at any piece.
        """

    def chat(self, request: ChatRequest) -> Pieces:
        """Answer messages. As `generate`, but max_tokens is an upper bound only: the answer ends with
        `length` where the context does."""

    def render(self, request: ChatRequest) -> str:
        """The prompt that the chat template makes of messages and tools, up to where the answer begins,
        with a mark for each of their media.

        Raises InvalidRequest when the template refuses the messages.
        """

    def score(self, tokens: Sequence[int], alternatives: int) -> Scores:
        """How likely each token of a prompt is after those before it; the first one's is None.

        Capability `logprobs`; needs as many steps as there are tokens.
        """

    def infill(self, before: str | tuple[int, ...], after: str) -> tuple[int, ...]:
        """The prompt that asks for what stands between two texts. Capability `infill`."""

    def tokenize(self, text: str) -> tuple[int, ...]:
        """The token ids of a text as a prompt: with the start token if the model wants one."""

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of token ids; incomplete characters become U+FFFD."""

    def close(self) -> None:
        """End all work and free the model. Safe to call twice."""
