"""One neutral plan for all dialects: a handler translates its wire type into a plan, which becomes a running
generation, and translates the events of that into its own shapes:

    body = served.settled(body)
    asked = asked_of(body, n=body.n or 1, alternatives="logprobs", logprobs="logprobs")
    generation = PromptPlan(asked, ("Once upon a time",), candidates=1).start(served)

Policy, limits, stop strings, grammars, hooks, seeds and the count of tokens are here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from ..engines.protocol import (
    CacheUse,
    Capability,
    ChatMode,
    ChatRequest,
    Engine,
    EngineInfo,
    GenerateRequest,
    Message,
    Pieces,
    RepositoryFile,
)
from ..limits.active_requests import ActiveRequest
from ..limits.scheduler import Scheduler
from ..schemas import bad_request
from ..settings import Settings
from .agents.agent import Agent
from .agents.memory import MEMORY_TOOL, UserMemory
from .answer_size import MAX_ANSWER_TOKENS, AnswerSize, Names
from .best_of import best_of
from .cache_use import cache_use
from .chat.answer import Answer, answer_chat, prompt_of, prompt_tokens
from .chat.answer_shape import Wanted
from .chat.messages import split_continued
from .chat.reasoning import ThinkingPlan
from .continue_prompt import Echo, Prompt, check_prompt, continue_prompt, longest_of
from .events import Events
from .grammar.constraints import ConstraintFields
from .hooks.apply import hooked_chat, hooked_completion
from .hooks.extension_hooks import Hooks
from .media.reader import NO_SOURCES, MediaReader, MediaSources, media_reader
from .request import GenerationRequest, needs
from .run import run
from .sampling.policy import Body, Policy
from .sampling.profiles import to_native
from .sampling.table import NativeSampling
from .stop_report import end_token_logprobs
from .token_bias import Bias, only_these, token_biases
from .tools.hosted_tools import tools_of_servers
from .tools.plan import Offered, ToolPlan
from .tools.running_here import ROUNDS, at_once, running_here
from .usage import UsageCount

if TYPE_CHECKING:
    from .tools.servers.tool_servers import ToolServers  # with what reads their file

RANDOM_SEED = -1


@dataclass(frozen=True, slots=True)
class Served:
    """What serves one request; a snapshot that stays the same until the answer ends."""

    engine: Engine
    info: EngineInfo
    policy: Policy
    settings: Settings
    scheduler: Scheduler
    request: ActiveRequest
    """The request that is answered; it says when the answer must end."""
    hooks: Hooks | None
    """Of the host's other extensions; None if there are none."""
    agent: Agent | None = None
    """The agent that answers; its parameters are in the policy."""
    memory: UserMemory | None = None
    """What the agent remembers of the user."""
    sources: MediaSources = NO_SOURCES
    """Where media come from besides the body."""
    tool_servers: ToolServers | None = None
    """None: there are none."""

    def media_reader(self) -> MediaReader:
        """Reads the media of the request."""
        takes, check_wanted = self.info.capabilities, self.request.check_wanted
        return media_reader(self.settings, takes, check_wanted, self.sources)

    @property
    def thinking_budgets(self) -> Mapping[str, int]:
        """The operator's thinking budgets in tokens, by effort."""
        return self.policy.thinking_budgets

    @property
    def tools(self) -> tuple[Offered, ...]:
        """The agent's, which the model may call besides those of the request."""
        if self.agent is None:
            return ()
        if self.memory is None or Capability.TOOLS not in self.info.capabilities:
            return self.agent.tools
        return (replace(MEMORY_TOOL, runner=at_once(self.memory.run)), *self.agent.tools)

    def tools_for(self, tools: Iterable[object] | None) -> tuple[Offered, ...]:
        """The same, and those of the tool servers that the request names among its `tools`.

        Raises InvalidRequest, ToolServerUnavailable."""
        asked = tools_of_servers(tools) if tools else []
        if self.tool_servers is None:
            self.request.record.ignored += [f"{where}.mcp" for where, _ in asked]
            return self.tools
        return (*self.tools, *self.tool_servers.offered(asked, self.request))

    @property
    def system(self) -> str:
        """What the agent puts before the conversation; an empty text: nothing."""
        if self.agent is None:
            return ""
        remembered = "" if self.memory is None else self.memory.text
        return "\n\n".join(filter(None, (self.agent.system, remembered)))

    def hooks_for(self, wanted: bool | None) -> Hooks | None:
        """The hooks to apply to a request with this value of its field `hooks`; None: no hooks."""
        hooks = self.extensions_for(wanted)
        if hooks is None or not hooks.any:
            return None
        return replace(hooks, live=self.settings.output_hooks == "live")

    def extensions_for(self, wanted: bool | None) -> Hooks | None:
        """The same, whatever hooks they have."""
        if not self.settings.hooks or wanted is False:
            return None
        return self.hooks if self.agent is None else self.agent.hooks_of(self.hooks)

    def settled(self, body: Body) -> Body:
        """The request with the operator's policy applied. Raises InvalidRequest for what it forbids."""
        return self.policy.apply(body).with_min_tokens(self.info)


@dataclass(frozen=True, slots=True)
class Generation:
    """A running answer."""

    events: Events
    info: EngineInfo
    """The model that answers."""
    usage: UsageCount
    """Its reader adds the events to it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Options that all dialects share."""

    sampling: NativeSampling
    """Parameters by the names of the sampler table."""
    names: Names
    """The dialect's names of fields, for errors."""
    limit: int | None = None
    """The most tokens of one choice; NO_LIMIT for as many as fit, None if the request sets none."""
    stops: tuple[str, ...] = ()
    grammar: str | None = None
    grammar_param: str = ""
    biases: tuple[Bias, ...] = ()
    seed: int | None = None
    n: int = 1
    """Choices for each prompt."""
    alternatives: int | None = None
    """How many to report for each token; None: no log-probabilities."""
    logprobs_param: str = "logprobs"
    hooks: bool | None = None
    """Whether other extensions act on it; None: if the operator allows it."""
    streamed: bool = False
    cache_salt: str = ""
    """Only requests with the same one share what the engine keeps of prompts."""
    stop_tokens: frozenset[int] = frozenset()
    """End tokens that the client wants to be told apart."""
    allowed_tokens: tuple[int, ...] = ()
    """The only tokens that may be chosen; empty: all."""
    repeats: int | None = None
    """How often an answer may repeat itself before it is ended; 0: for ever; None: as the operator says."""
    priority: int = 0
    """The lowest one is first, of the same client's."""

    @property
    def several(self) -> bool:
        """Whether the answer holds more than the tokens of one choice."""
        return self.n > 1 or self.alternatives is not None

    def engine_logprobs(self, info: EngineInfo, alternatives: int | None) -> int | None:
        """What the engine reports; the client gets so many alternatives, or no log-probabilities."""
        wants_more = alternatives is None and self.stop_tokens
        return end_token_logprobs(info) if wants_more else alternatives

    def unstreamed(self, settings: Settings) -> bool:
        """Whether the client gets only the complete answer."""
        return not self.streamed or settings.output_hooks == "whole"

    def cache_use(self, served: Served, choices: int) -> CacheUse:
        """What so many choices of a prompt may use of earlier ones."""
        return cache_use(served.request.record, served.settings, self.cache_salt, choices)

    def seeds(self, choices: int) -> Sequence[int | None]:
        """A seed for each choice: different ones, but the same in every run."""
        if self.seed is None or self.seed == RANDOM_SEED:
            return [None] * choices
        return [self.seed + at for at in range(choices)]


def asked_of(
    body: GenerationRequest, *, n: int = 1, choices: str = "n", alternatives: str, logprobs: str
) -> Asked:
    """Read the shared fields of a wire type. `choices`, `alternatives`, `logprobs`: the names of the fields
    for the number of choices and alternatives, and for log-probabilities.

    Raises InvalidRequest for fields that contradict each other.
    """
    limit, limit_param = body.limit
    constrained = not body.constraining.isdisjoint(body.model_fields_set)
    grammar, grammar_param = (constrained and body.constraint) or (None, "")
    return Asked(
        body,
        Names(choices, limit_param, alternatives),
        limit,
        body.stops,
        grammar,
        grammar_param,
        tuple(body.biases),
        body.seed,
        n,
        body.alternatives,
        logprobs,
        body.hooks,
        bool(body.stream),
        body.cache_salt or "",
        body.reported_stop_tokens,
        tuple(body.allowed_token_ids or ()),
        body.loop_detection,
        body.priority or 0,
    )


def asked_of_prompt(body: ConstraintFields) -> Asked:
    """Options of a request whose prompt is only counted: a grammar may change the prompt."""
    grammar, grammar_param = body.constraint or (None, "")
    names = Names("n", "max_tokens", "n_probs")
    return Asked(NativeSampling(), names, grammar=grammar, grammar_param=grammar_param)


@dataclass(frozen=True, slots=True)
class PromptPlan:
    """Continue prompts; choice `i` belongs to prompt `i // n`."""

    asked: Asked
    prompts: tuple[Prompt, ...]
    candidates: int
    """How many to generate for each prompt; the `n` likeliest of them are the answer."""
    default_limit: int | None = None
    """If the request sets no limit; None: as many tokens as fit."""
    suffix: str | None = None
    """The text after the answer; None: the prompt is continued."""
    echo: bool = False
    """Whether the answer begins with the prompt."""
    files: tuple[RepositoryFile, ...] = ()
    """Of the repository, with a suffix."""

    def start(self, served: Served) -> Generation:
        """Start the generation. Raises InvalidRequest, ContextLengthExceeded."""
        asked, engine, info = self.asked, served.engine, served.info
        if served.agent is not None and served.agent.only_for_chats:
            raise bad_request.unsupported("model", "is an agent, which answers chats only.")
        self._check_capabilities(info)
        size = self._size(served)
        limit = size.bounded(asked.names, served.settings.max_logprobs)
        if asked.grammar is not None:
            needs(info, Capability.GRAMMAR, asked.grammar_param)
        stops = served.policy.stops(asked, info)
        request = GenerateRequest(
            "",
            limit,
            to_native(asked.sampling, info, stops),
            grammar=asked.grammar,
            logit_bias=biases_of(asked, engine, info),
            logprobs=asked.engine_logprobs(info, size.alternatives),
            unstreamed=asked.unstreamed(served.settings),
        )
        hooked = _Hooked.of(served, asked, stops)
        answers = [(prompt, self._answer(served, hooked, prompt)) for prompt in self.prompts]
        starts = [
            partial(answer, replace(request, prompt=prompt, seed=seed, cache=cache))
            for prompt, answer in answers
            for cache in (self.asked.cache_use(served, self.candidates),)
            for seed in asked.seeds(self.candidates)
        ]
        return _run(served, asked, starts, hooked.stops, self.candidates)

    def _check_capabilities(self, info: EngineInfo) -> None:
        asked = self.asked
        if asked.alternatives is not None:
            needs(info, Capability.LOGPROBS, asked.logprobs_param)
        if self.candidates > asked.n:
            needs(info, Capability.LOGPROBS, "best_of")
        if self.suffix is not None:
            needs(info, Capability.INFILL, "suffix")

    def _size(self, served: Served) -> AnswerSize:
        asked, context = self.asked, served.info.context_length
        limit = self._limit(served)
        for prompt in self.prompts:
            check_prompt(served.engine, served.info, prompt, limit)
        ranked = asked.alternatives is None and self.candidates > asked.n
        return AnswerSize(
            len(self.prompts) * self.candidates,
            limit,
            0 if ranked else asked.alternatives,
            context,
            longest_of(served.engine, self.prompts) if self.echo else 0,
        )

    def _limit(self, served: Served) -> int | None:
        asked, default = self.asked, self.default_limit
        limit = served.policy.max_tokens(asked.limit, default, asked.names.tokens)
        if asked.limit is None and limit is not None and limit > (default or 0):
            # The operator's default is cut to the context; a request's own limit is not.
            room = served.info.context_length - longest_of(served.engine, self.prompts)
            return max(1, min(limit, room))
        return limit

    def _answer(
        self, served: Served, hooked: _Hooked, prompt: Prompt
    ) -> Callable[[GenerateRequest], Pieces]:
        engine, asked = served.engine, self.asked
        answer = partial(
            continue_prompt,
            engine,
            suffix=self.suffix,
            files=self.files,
            echo=Echo(engine, prompt, asked.alternatives) if self.echo else None,
            grammar_param=asked.grammar_param,
        )
        if hooked.hooks is None:
            return answer
        return partial(hooked_completion, hooked.hooks, engine, answer=answer, stops=hooked.early)


@dataclass(frozen=True, slots=True)
class ChatPlan:
    """Answer a conversation."""

    asked: Asked
    messages: Callable[[Callable[[], MediaReader]], tuple[Message, ...]]
    """Makes the conversation, given a factory for a reader of media; called once all else is valid."""
    continues: bool = False
    """Whether the answer continues the last message, which is the assistant's."""
    tools: ToolPlan = field(default_factory=ToolPlan)
    thinking: ThinkingPlan = field(default_factory=ThinkingPlan)
    chat_mode: ChatMode | None = None
    """How a webui's UI would render it; None: with the model's own template."""
    about_text: bool = False
    """The grammar applies to text only, not to demanded calls."""

    def __post_init__(self) -> None:
        if self.continues or self.asked.grammar is not None:
            # Such an answer is one piece of text, and no place for calls that its client did not ask for.
            object.__setattr__(self, "tools", self.tools.without_own)

    def count_prompt(self, served: Served) -> int:
        """The tokens of the prompt that would be read, media not counted. Raises InvalidRequest."""
        request, continued = self._request(served, served.policy.stops(self.asked, served.info))
        return prompt_tokens(served.engine, request, self._wanted(served, continued))

    def prompt(self, served: Served) -> str:
        """The prompt that would be read, with a mark for each picture or sound. Raises InvalidRequest."""
        request, continued = self._request(served, served.policy.stops(self.asked, served.info))
        return prompt_of(served.engine, request, self._wanted(served, continued))

    def start(self, served: Served, behind: UsageCount | None = None) -> Generation:
        """Start the generation. `behind`: of the other ones that the request needed before.

        Raises InvalidRequest."""
        asked = self.asked
        stops = served.policy.stops(asked, served.info)
        request, continued = self._request(served, stops)
        hooked = _Hooked.of(served, asked, stops)
        answer = self._answer(served, hooked, continued)
        cache = asked.cache_use(served, asked.n)
        starts = [
            partial(answer, replace(request, seed=seed, cache=cache))
            for seed in asked.seeds(asked.n)
        ]
        generation = _run(served, asked, starts, hooked.stops, asked.n, behind)
        return self._remembering(generation, request, served)

    def _remembering(
        self, generation: Generation, request: ChatRequest, served: Served
    ) -> Generation:
        """The same answer, of which extensions have the agent remember something."""
        memory = served.memory
        if memory is None:
            return generation
        from .hooks import memories  # most requests need none of it

        hooks = served.extensions_for(self.asked.hooks)
        if hooks is None or not hooks.having(memories.HOOK):
            return generation
        sent = request.messages[1:] if served.system else request.messages
        events = memories.remembering(generation.events, sent, hooks, memory)
        return replace(generation, events=events)

    def _request(
        self, served: Served, stops: tuple[str, ...]
    ) -> tuple[ChatRequest, Message | None]:
        """What the engine gets, and the message that is to be continued."""
        asked, engine, info = self.asked, served.engine, served.info
        limit, grammar = self._limit(served), self._grammar(info)
        messages, continued = self.messages(served.media_reader), None
        if system := served.system:
            messages = (Message("system", system), *messages)
        if self.continues:
            if self.tools.here:
                raise bad_request.conflicting("continue_final_message", self.tools.param)
            messages, continued = split_continued(messages)
        request = ChatRequest(
            messages,
            limit,
            to_native(asked.sampling, info, stops),
            grammar=grammar,
            logit_bias=biases_of(asked, engine, info),
            tools=self.tools.listed if self.tools.deferred else self.tools.shown,
            parallel_tool_calls=self.tools.max_calls > 1,
            template_variables=self.thinking.variables,
            chat_mode=self.chat_mode,
            unstreamed=asked.unstreamed(served.settings),
        )
        return request, continued

    def _limit(self, served: Served) -> int | None:
        asked, info = self.asked, served.info
        limit = served.policy.max_tokens(asked.limit, None, asked.names.tokens)
        if asked.alternatives is not None:
            needs(info, Capability.LOGPROBS, asked.logprobs_param)
        if not asked.several and info.context_length <= MAX_ANSWER_TOKENS:
            return limit
        size = AnswerSize(asked.n, limit, asked.alternatives, info.context_length)
        return size.bounded(asked.names, served.settings.max_logprobs)

    def _grammar(self, info: EngineInfo) -> str | None:
        tools, grammar = self.tools, self.asked.grammar
        if tools.shown:
            enforced_calls = bool(tools.demanded or tools.inputs)
            needs(info, Capability.GRAMMAR if enforced_calls else Capability.TOOLS, tools.param)
        if tools.demanded and self.asked.allowed_tokens:
            raise bad_request.conflicting("allowed_token_ids", tools.param)
        if grammar is None:
            return None
        needs(info, Capability.GRAMMAR, self.asked.grammar_param)
        if tools.demanded and self.about_text:
            return None
        if tools.demanded or (tools.shown and "\n" in grammar):
            raise bad_request.conflicting(self.asked.grammar_param.partition(".")[0], "tools")
        return grammar

    def answer_as(self, wanted: Wanted) -> Answer:
        """How the engine is asked."""
        return partial(answer_chat, wanted=wanted)

    def _answer(
        self, served: Served, hooked: _Hooked, continued: Message | None
    ) -> Callable[[ChatRequest], Pieces]:
        engine = served.engine
        answer = self.answer_as(self._wanted(served, continued))
        if self.tools.here:
            served.request.give_back = None  # else calls would be made again
            servers = served.tool_servers
            answer = running_here(
                answer, self.tools.here, ROUNDS if servers is None else servers.rounds
            )
        hooks, stops = hooked.hooks, hooked.early
        if hooks is None:
            return partial(answer, engine)
        asking = partial(hooked_chat, hooks, engine, answer=answer, stops=stops)
        return partial(
            asking, continues=self.continues, logprobs=self.asked.alternatives is not None
        )

    def _wanted(self, served: Served, continued: Message | None) -> Wanted:
        return Wanted(
            self.asked.engine_logprobs(served.info, self.asked.alternatives),
            self.tools,
            continued,
            self.asked.grammar_param,
            self.thinking.enabled,
            self.thinking.budget,
            served.settings.bare_calls,
        )


@dataclass(frozen=True, slots=True)
class _Hooked:
    """The hooks of an answer, and where its stop strings are searched."""

    hooks: Hooks | None
    early: tuple[str, ...]
    """Stop strings that are searched in the model's own text."""
    stops: tuple[str, ...]
    """Stop strings that are searched in the text for clients."""

    @classmethod
    def of(cls, served: Served, asked: Asked, stops: tuple[str, ...]) -> _Hooked:
        hooks = served.hooks_for(asked.hooks)
        if hooks is not None and hooks.change_output:
            # If hooks may change the text, it is cut before they see it.
            return cls(hooks, stops, ())
        return cls(hooks, (), stops)


def biases_of(asked: Asked, engine: Engine, info: EngineInfo) -> tuple[tuple[int, float], ...]:
    """The biases by token id. Raises InvalidRequest for a key that is no token of the model."""
    biases = token_biases(asked.biases, info, engine.tokenize) if asked.biases else ()
    if not asked.allowed_tokens:
        return biases
    if asked.grammar is not None:
        raise bad_request.conflicting("allowed_token_ids", asked.grammar_param)
    ends_banned = bool(asked.sampling.ignore_eos)
    return only_these(asked.allowed_tokens, biases, info, ends_banned=ends_banned)


def _run(
    served: Served,
    asked: Asked,
    starts: Sequence[Callable[[], Pieces]],
    stops: tuple[str, ...],
    candidates: int,
    behind: UsageCount | None = None,
) -> Generation:
    request, info = served.request, served.info
    request.order = asked.priority
    usage = UsageCount(asked.n, request.record) if behind is None else behind
    events = run(
        starts,
        scheduler=served.scheduler,
        request=request,
        slots=info.parallel,
        stops=stops,
        first=usage.choices,
        repeats=served.settings.loop_detection if asked.repeats is None else asked.repeats,
    )
    if candidates > asked.n:
        events = best_of(events, n=asked.n, candidates=candidates)
    return Generation(events, info, usage)
