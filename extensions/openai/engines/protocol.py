"""What an engine is: its protocols, and the frozen values that go in and come out.

An engine adapts one generator (llama.cpp, a webui's loaders) to the endpoints. It knows nothing of HTTP.
Every engine passes `tests/engines/test_protocol.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from ..errors import EngineFailed
from .template_traits import TemplateTraits as TemplateTraits
from .template_traits import ThinkingTraits as ThinkingTraits

T = TypeVar("T")
A = TypeVar("A")

Finish = Literal["stop", "length", "tool_calls"]
"""Why an answer ended: by the model (or a stop string), by a token limit, or because the model called tools
and waits for their results."""

Native = Mapping[str, Any]
"""Sampler parameters under the engine's own names, ready to send (see generation/sampling/profiles.py)."""


class Capability(str, Enum):
    """What an engine can do, as the model list names it. A request that needs a missing one gets a 400 that
    names the field."""

    COMPLETION = "completion"
    CHAT = "chat"
    TOOLS = "tools"
    REASONING = "reasoning"
    GRAMMAR = "grammar"
    LOGPROBS = "logprobs"
    INFILL = "infill"
    VISION = "vision"
    AUDIO = "audio"
    EMBEDDINGS = "embeddings"
    RERANK = "rerank"
    TRANSCRIPTION = "transcription"
    SPEECH = "speech"
    IMAGES = "images"
    MODERATION = "moderation"
    MODES = "modes"
    """A webui renders conversations as its UI would (see ChatMode)."""

    def __str__(self) -> str:
        return self.value


TASK_CAPABILITIES = frozenset(
    {
        Capability.EMBEDDINGS,
        Capability.RERANK,
        Capability.TRANSCRIPTION,
        Capability.SPEECH,
        Capability.IMAGES,
        Capability.MODERATION,
    }
)
"""What models do that write no text."""

CUT = "\N{REPLACEMENT CHARACTER}"
"""The end of an answer whose token limit cuts a character."""
BAN = -100.0
"""A bias at or below this bans the token."""


@dataclass(frozen=True, slots=True)
class VectorTraits:
    """What a model's embeddings are. Capability `embeddings`."""

    dimensions: int
    """The numbers of a vector."""
    shorter: frozenset[int] | None = frozenset()
    """How many of them may be asked for: the model was trained so that the first ones are a vector, too.
    None: any number."""


@dataclass(frozen=True, slots=True)
class Residence:
    """How a model that comes and goes is, now."""

    state: Literal["not_loaded", "loading", "loaded", "unloading"]
    bytes: int
    """What it takes when it is loaded."""
    pinned: bool
    """Whether it never goes to make room."""
    progress: float | None = None
    """How much of its files is read while it loads, from 0 to 1; None: not known."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine serves now; read for each request, as a host may switch models."""

    model: str
    """The name clients see."""
    created: int
    """When the model was made, in unix seconds."""
    owned_by: str
    """The back end's name."""
    context_length: int
    """Tokens that one request may use, prompt and answer together."""
    sampler: str
    """The engine's column in the sampler table (`llama.cpp`, ...)."""
    fingerprint: str
    """Changes with the model and with settings that change answers."""
    vocabulary_size: int
    """Token ids are below this."""
    longest_token: int = 0
    """The most bytes of text that one token stands for; 0: unknown."""
    parallel: int = 1
    """How many requests the engine runs at once."""
    description: str = ""
    """The model file's description, one line."""
    capabilities: tuple[Capability, ...] = (Capability.COMPLETION, Capability.CHAT)
    end_tokens: frozenset[int] = frozenset()
    """The known tokens that end an answer."""
    token_bytes: Sequence[bytes] | None = field(default=None, repr=False, compare=False)
    """The text of each token, where grammars are followed token by token; None: unknown."""
    grammar_end: str = ""
    """The text of the token with which the engine ends an answer when its grammar is complete, if not one of
    `end_tokens`: the model would go on after it."""
    thinking: ThinkingTraits | None = None
    """None: the template does not show that the model thinks."""
    honours: frozenset[str] | None = None
    """The sampler's names for the parameters that the loaded model honours; None: all in its column."""
    template: TemplateTraits | None = None
    """What the model's chat template accepts; None where the engine does not render one."""
    vectors: VectorTraits | None = None
    """Of its embeddings; None where it makes none."""
    is_remote: bool = False
    """Whether another server has the model, its chat template and its tokens: the engine is a ChatAnswerer,
    and no Tokenizer. The context length and the counts of tokens may be estimates."""
    sampling: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """The defaults that its files have for sampling, by the sampler table's names, unchecked."""
    residence: Residence | None = None
    """None: it is loaded, and stays."""


class SchemaGrammar(str):
    """A grammar that was made of a JSON schema, and the schema that the client sent, for other servers."""

    schema: Mapping[str, Any]
    strict: bool
    """Whether objects must not have properties that the schema does not name."""

    def __new__(cls, text: str, schema: Mapping[str, Any], *, strict: bool) -> SchemaGrammar:
        made = super().__new__(cls, text)
        made.schema, made.strict = schema, strict
        return made


@dataclass(frozen=True, slots=True)
class Media:
    """A picture or a sound in a conversation."""

    kind: Literal["image", "audio"]
    format: Literal["png", "wav"]
    data: bytes = field(repr=False)
    """A complete file, re-encoded by this server: it can be decoded, and its size is sane."""


@dataclass(frozen=True, slots=True)
class CacheUse:
    """What an engine that keeps prompts may use of them."""

    space: str = ""
    """Prompts of different spaces share nothing, not even by time."""
    choices: int = 1
    """How many choices of the request continue the same prompt."""
    group: int = 0
    """The same number for those choices, and for no others."""
    on_progress: Callable[[Mapping[str, int]], None] | None = field(default=None, compare=False)
    """Called while a long prompt is read, with llama.cpp's `total`, `cache`, `processed` and `time_ms`; from
    any thread."""


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """Continue one prompt."""

    prompt: str | tuple[int, ...]
    """Text (special tokens are recognised) or token ids."""
    media: tuple[Media, ...] = field(default=(), kw_only=True)
    """For the media marks that `render` put into the prompt, in order."""
    marks: tuple[str, ...] = field(default=(), kw_only=True)
    """The names of special tokens to report as text. End tokens never are."""
    answer_prefix_length: int = field(default=0, kw_only=True)
    """How many characters at the end of `prompt` are the beginning of this answer, generated by an earlier
    call: penalties count them, and they may be read from the cache even with a seed."""
    max_tokens: int | None = None
    """At least 1; None: as many as the context holds."""
    sampling: Native = field(default_factory=dict)
    seed: int | None = None
    grammar: str | None = None
    """What the answer must match: Lark in llguidance's dialect, checked. Capability `grammar`."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Pairs of token id and what to add to its logit; BAN bans the token. Capability `logprobs`."""
    logprobs: int | None = None
    """How many alternatives to report for each token, 0 to 20; None: no log-probabilities."""
    chat_mode: ChatMode | None = field(default=None, kw_only=True)
    """Of the chat that the prompt was rendered from, for extensions of the host."""
    unstreamed: bool = field(default=False, kw_only=True)
    """The client gets only the complete answer: no text needs to be emitted early."""
    cache: CacheUse = field(default=CacheUse(), kw_only=True)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the assistant made earlier in the conversation."""

    id: str
    name: str
    arguments: str
    """JSON text."""


@dataclass(frozen=True, slots=True)
class Message:
    """One normalized message of a conversation, with a role that chat templates know."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None
    """Its text parts, joined without a mark for media."""
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    parts: tuple[str | Media, ...] = ()
    """Text and media in order; empty without media. Capabilities `vision` and `audio`."""
    reasoning: str | None = None
    """The assistant's reasoning before this message."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call."""

    name: str
    description: str | None
    parameters: Mapping[str, Any]
    """A JSON schema of an object."""


@dataclass(frozen=True, slots=True)
class ChatMode:
    """How a webui's UI would render a conversation. Capability `modes`."""

    mode: Literal["instruct", "chat", "chat-instruct"] = "instruct"
    """`instruct`: by a template; `chat`: as a dialogue of two characters; the third: the dialogue inside the
    template."""
    character: str | None = None
    """The host's name for it; None: the one selected in the UI."""
    instruction_template: str | None = None
    """The host's name for it; None: the model's own."""
    values: Mapping[str, str] = field(default_factory=dict)
    """Values of the UI's state that the request sets (`name1`, `name2`, `context`, ...)."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """Answer a conversation through the model's own chat template."""

    messages: tuple[Message, ...]
    max_tokens: int | None = None
    sampling: Native = field(default_factory=dict)
    seed: int | None = None
    grammar: str | None = None
    """As in GenerateRequest; does not apply to reasoning."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    tools: tuple[Tool, ...] = ()
    """What the model may call. Capability `tools`."""
    parallel_tool_calls: bool = True
    template_variables: Mapping[str, Any] = field(default_factory=dict)
    """Further variables for the chat template, such as `enable_thinking`."""
    chat_mode: ChatMode | None = None
    """None: the model's own template."""
    unstreamed: bool = field(default=False, kw_only=True)
    """As in GenerateRequest."""
    cache: CacheUse = field(default=CacheUse(), kw_only=True)


@dataclass(frozen=True, slots=True)
class RemoteChat:
    """A conversation, and all that is asked of its answer, for an engine that answers it by itself."""

    request: ChatRequest
    demanded: tuple[str, ...] = ()
    """The names of tools of which one must be called; empty: the model may choose."""
    strict: frozenset[str] = frozenset()
    """Functions whose arguments must match their schema."""
    logprobs: int | None = None
    """As in GenerateRequest."""
    continued: Message | None = None
    """The assistant's message that the answer continues; it is not among the request's."""
    grammar_param: str = ""
    """The field that the request's grammar came from."""
    thought_tokens: int | None = None
    """The most tokens of a thought; None: no limit."""


@dataclass(frozen=True, slots=True)
class PromptUsage:
    """The size of a prompt."""

    tokens: int
    cached: int = 0
    """How many of them were cached by an earlier request."""
    is_estimate: bool = False
    """Whether this and the tokens of the answer were estimated from texts."""


@dataclass(frozen=True, slots=True)
class LikelyToken:
    """A token that might have been sampled."""

    bytes: bytes
    """What it adds to a text; empty for a special token."""
    logprob: float
    """Natural logarithm of its probability, before samplers change it."""
    id: int | None = None
    name: str = ""
    """Its name in the model file."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token that was sampled, or is part of the prompt."""

    bytes: bytes
    """What it adds to the text; may be only part of a character; empty for an end token."""
    logprob: float | None
    """As in LikelyToken; None for the first token of a prompt."""
    top: tuple[LikelyToken, ...] = ()
    """The likeliest tokens at this position, best first, as many as requested."""
    id: int | None = None


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """Part of a call that the model makes; `id` and `name` are set on the first part only."""

    index: int
    arguments: str = ""
    """The next part of the JSON text."""
    id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class ServerCall:
    """A call of a tool that this server makes itself."""

    server: str
    name: str
    arguments: str
    """The JSON text."""
    result: str | None = None
    """None: it is under way."""
    failed: bool = False


@dataclass(slots=True)
class Piece:
    """Part of an answer, as soon as it is generated. Never modified; not frozen, because constructing a
    frozen object with this many fields would take a tenth of our time for a token."""

    text: str = ""
    """Whole characters only; may be empty while a character is incomplete."""
    reasoning: str = ""
    """What a reasoning model thinks before it answers."""
    tokens: int = 0
    """Tokens sampled since the previous piece, including an end token."""
    prompt: PromptUsage | None = None
    """Set on one piece of each answer, at the latest on the last. A remote engine may set an estimate first,
    and later the count."""
    finish: Finish | None = None
    """Set on the last piece only."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """If requested: the tokens of `text`, and counted tokens without text, such as the end token. A complete
    answer has one for each of `tokens`."""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    echo: bool = False
    """This is the prompt, not an answer: stop strings do not apply to it."""
    thought_tokens: int = 0
    """Tokens of reasoning; each is also counted in `tokens` of this or an earlier piece."""
    server_calls: tuple[ServerCall, ...] = ()
    """Calls that this server makes itself: each once when it begins and once when it has ended."""


Pieces = Generator["Piece | None", None, None]
"""A running answer. None means "nothing yet" and comes at least every `callback_bridge.TICK_S` seconds while
the engine is silent, so that the reader can check whether the client is still connected. Closing it ends the
work within one decode step."""


Scores = Generator["TokenLogprob | None", None, None]
"""One for each token, in order; None as in Pieces."""


class TextEngine(Protocol):
    """Continues prompts. All methods of engines are thread-safe."""

    @property
    def info(self) -> EngineInfo:
        """What is served now. Raises ModelLoading while no model is loaded."""

    def generate(self, request: GenerateRequest) -> Pieces:
        """Continue one prompt; the last piece has `finish` set.

        Raises ContextLengthExceeded before the first piece when prompt (and max_tokens) do not fit,
        InvalidRequest for unknown token ids, EngineFailed at any piece.
        """

    def close(self) -> None:
        """End all work and free the model. Safe to call twice."""


class ChatEngine(Protocol):
    """Turns conversations into prompts."""

    def render(self, request: ChatRequest) -> str:
        """The chat template's prompt for messages and tools, up to where the answer begins, with a mark for
        each picture or sound.

        Raises InvalidRequest when the template refuses the messages.
        """

    def turn_ends(self, request: ChatRequest) -> tuple[str, ...]:
        """The texts that end an answer, where the template writes them as plain text."""


@runtime_checkable
class ChatAnswerer(Protocol):
    """Answers conversations by itself, with a chat template and tools of its own (`EngineInfo.is_remote`)."""

    def answer(self, chat: RemoteChat) -> Pieces:
        """The answer, taken apart into text, thought and calls.

        Raises, at any piece, EngineFailed and what the other server says of the request.
        """


@runtime_checkable
class Tokenizer(Protocol):
    """Converts between text and tokens."""

    def tokenize(self, text: str) -> tuple[int, ...]:
        """The token ids of a prompt, with the start token if the model wants one."""

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of token ids; incomplete characters become U+FFFD."""


@runtime_checkable
class BareTokenizer(Protocol):
    """Tokenizes texts that are no prompts."""

    def bare_tokens(self, text: str, *, special: bool) -> tuple[int, ...]:
        """The token ids of a text alone, without a start or end token. `special`: whether names of special
        tokens in it become those tokens."""


@runtime_checkable
class Scorer(Protocol):
    """Capability `logprobs`."""

    def score(self, tokens: Sequence[int], alternatives: int) -> Scores:
        """The log-probability of each token of a prompt, given those before it; the first one's is None.

        Takes one decode step for each token.
        """


@dataclass(frozen=True, slots=True)
class RepositoryFile:
    """A file, or a part of one, beside the one that is written."""

    name: str
    text: str


@runtime_checkable
class Infill(Protocol):
    """Capability `infill`."""

    def infill(self, before: str | tuple[int, ...], after: str) -> tuple[int, ...]:
        """The prompt that asks for the text between two others."""

    def repository(self, files: Sequence[RepositoryFile]) -> tuple[int, ...]:
        """What goes before it: other files of the repository."""


@dataclass(frozen=True, slots=True)
class CacheCounts:
    """What an engine keeps of prompts beside its slots, and what that has saved."""

    bytes: int = 0
    limit: int = 0
    """How many bytes it may have."""
    prompts: int = 0
    hits: int = 0
    """How often a prompt was continued from there."""
    tokens: int = 0
    """How many tokens were not computed again thanks to it."""


@runtime_checkable
class KeepsPrompts(Protocol):
    """An engine that keeps prompts whose slot went to another request."""

    @property
    def cache_counts(self) -> CacheCounts: ...


class Engine(TextEngine, ChatEngine, Tokenizer, Protocol):
    """What endpoints need of every engine. What only some engines can do goes through `run_on` and `ask`,
    after a check of `info.capabilities`."""


class HasSnapshots(Protocol):
    """An engine whose model may change between calls, or whose `info` is expensive."""

    def snapshot(self) -> Engine:
        """This engine as one request sees it: the loaded model is looked up once, here. Once that model is
        unloaded, the snapshot forwards to this engine. Raises ModelLoading."""


def snapshot_of(engine: Engine) -> Engine:
    """The engine as one request sees it; the engine itself if it has no snapshots."""
    # Called for each request, and `isinstance` of a protocol takes 10 microseconds.
    take: Callable[[], Engine] | None = getattr(engine, "snapshot", None)
    return engine if take is None else take()


class Forwarding(Protocol):
    """An engine in front of another one."""

    def run(self, begin: Callable[[Engine], Generator[T, None, None]]) -> Generator[T, None, None]:
        """Long-running work that `begin` starts on the inner engine; closing the generator ends it."""

    def ask(self, question: Callable[[Engine], T]) -> T:
        """A quick answer of the inner engine."""


def run_on(
    engine: TextEngine, ability: type[A], begin: Callable[[A], Generator[T, None, None]]
) -> Generator[T, None, None]:
    """Long-running work that `begin` starts on an engine with an ability such as Scorer.

    Raises EngineFailed if the engine does not have it; check `info.capabilities` first.
    """
    run: Any = getattr(engine, "run", None)
    if run is not None:
        return run(lambda inner: run_on(inner, ability, begin))  # type: ignore[no-any-return]
    return begin(_require(engine, ability))


def ask(engine: TextEngine, ability: type[A], question: Callable[[A], T]) -> T:
    """The same for what an engine answers at once."""
    inner: Any = getattr(engine, "ask", None)
    if inner is not None:
        return inner(lambda each: ask(each, ability, question))  # type: ignore[no-any-return]
    return question(_require(engine, ability))


def _require(engine: TextEngine, ability: type[A]) -> A:
    if not isinstance(engine, ability):
        raise EngineFailed(f"This engine does not support {ability.__name__}.")
    return engine
