"""One neutral plan for all dialects: a handler translates its wire type into a plan, which becomes a running
generation, and translates the events of that into its own shapes:

    body = served.settled(body)
    asked = asked_of(body, n=body.n or 1, alternatives="logprobs", logprobs="logprobs")
    generation = PromptPlan(asked, ("Once upon a time",), candidates=1).start(served)

Policy, limits, stop strings, grammars, hooks, seeds and the count of tokens are here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from ..engines.protocol import (
    Capability,
    ChatMode,
    ChatRequest,
    Engine,
    EngineInfo,
    GenerateRequest,
    Message,
    Pieces,
)
from ..limits.active_requests import ActiveRequest
from ..limits.scheduler import Scheduler
from ..schemas import bad_request
from ..settings import Settings
from .agents import Agent
from .answer_size import MAX_ANSWER_TOKENS, AnswerSize, Names
from .best_of import best_of
from .chat.answer import answer_chat, prompt_tokens
from .chat.answer_shape import Wanted
from .chat.messages import split_continued
from .chat.reasoning import ThinkingPlan
from .continue_prompt import Echo, Prompt, check_prompt, continue_prompt, longest_of
from .events import Events
from .grammar.constraints import ConstraintFields
from .hooks.apply import hooked_chat, hooked_completion
from .hooks.extension_hooks import Hooks
from .media.reader import MediaReader, media_reader
from .request import GenerationRequest, needs
from .run import run
from .sampling.policy import Body, Policy
from .sampling.profiles import to_native
from .sampling.table import NativeSampling
from .token_bias import Bias, token_biases
from .tools.plan import ToolPlan
from .usage import UsageCount

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

    @property
    def thinking_budgets(self) -> Mapping[str, int]:
        """The operator's thinking budgets in tokens, by effort."""
        return self.policy.thinking_budgets

    def hooks_for(self, wanted: bool | None) -> Hooks | None:
        """The hooks to apply to a request with this value of its field `hooks`; None: no hooks."""
        hooks = self.extensions_for(wanted)
        if hooks is None or not hooks.any:
            return None
        return replace(hooks, live=self.settings.output_hooks == "live")

    def extensions_for(self, wanted: bool | None) -> Hooks | None:
        """The same, whatever hooks they have."""
        return self.hooks if self.settings.hooks and wanted is not False else None

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

    @property
    def several(self) -> bool:
        """Whether the answer holds more than the tokens of one choice."""
        return self.n > 1 or self.alternatives is not None

    def unstreamed(self, settings: Settings) -> bool:
        """Whether the client gets only the complete answer."""
        return not self.streamed or settings.output_hooks == "whole"

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
    """The text after the answer."""
    echo: bool = False
    """Whether the answer begins with the prompt."""

    def start(self, served: Served) -> Generation:
        """Start the generation. Raises InvalidRequest, ContextLengthExceeded."""
        asked, engine, info = self.asked, served.engine, served.info
        if served.agent is not None and served.agent.system:
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
            logit_bias=_biases(asked, engine, info),
            logprobs=size.alternatives,
            unstreamed=asked.unstreamed(served.settings),
        )
        hooked = _Hooked.of(served, asked, stops)
        answers = [(prompt, self._answer(served, hooked, prompt)) for prompt in self.prompts]
        starts = [
            partial(answer, replace(request, prompt=prompt, seed=seed))
            for prompt, answer in answers
            for seed in asked.seeds(self.candidates)
        ]
        return _run(served, asked, starts, hooked.stops, self.candidates)

    def _check_capabilities(self, info: EngineInfo) -> None:
        asked = self.asked
        if asked.alternatives is not None:
            needs(info, Capability.LOGPROBS, asked.logprobs_param)
        if self.candidates > asked.n:
            needs(info, Capability.LOGPROBS, "best_of")
        if self.suffix:
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

    def count_prompt(self, served: Served) -> int:
        """The tokens of the prompt that would be read, media not counted. Raises InvalidRequest."""
        request, continued = self._request(served, served.policy.stops(self.asked, served.info))
        return prompt_tokens(served.engine, request, self._wanted(served, continued))

    def start(self, served: Served) -> Generation:
        """Start the generation. Raises InvalidRequest."""
        asked = self.asked
        stops = served.policy.stops(asked, served.info)
        request, continued = self._request(served, stops)
        hooked = _Hooked.of(served, asked, stops)
        answer = self._answer(served, hooked, continued)
        starts = [partial(answer, replace(request, seed=seed)) for seed in asked.seeds(asked.n)]
        return _run(served, asked, starts, hooked.stops, asked.n)

    def _request(
        self, served: Served, stops: tuple[str, ...]
    ) -> tuple[ChatRequest, Message | None]:
        """What the engine gets, and the message that is to be continued."""
        asked, engine, info = self.asked, served.engine, served.info
        limit, grammar = self._limit(served), self._grammar(info)
        media = partial(
            media_reader, served.settings, info.capabilities, served.request.check_wanted
        )
        messages, continued = self.messages(media), None
        if served.agent is not None and served.agent.system:
            messages = (Message("system", served.agent.system), *messages)
        if self.continues:
            messages, continued = split_continued(messages)
        request = ChatRequest(
            messages,
            limit,
            to_native(asked.sampling, info, stops),
            grammar=grammar,
            logit_bias=_biases(asked, engine, info),
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
        if grammar is None:
            return None
        needs(info, Capability.GRAMMAR, self.asked.grammar_param)
        if tools.demanded and self.about_text:
            return None
        if tools.demanded or (tools.shown and "\n" in grammar):
            raise bad_request.conflicting(self.asked.grammar_param.partition(".")[0], "tools")
        return grammar

    def _answer(
        self, served: Served, hooked: _Hooked, continued: Message | None
    ) -> Callable[[ChatRequest], Pieces]:
        engine = served.engine
        answer = partial(answer_chat, wanted=self._wanted(served, continued))
        if hooked.hooks is None:
            return partial(answer, engine)
        return partial(
            hooked_chat,
            hooked.hooks,
            engine,
            answer=answer,
            stops=hooked.early,
            continues=self.continues,
        )

    def _wanted(self, served: Served, continued: Message | None) -> Wanted:
        return Wanted(
            self.asked.alternatives,
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


def _biases(asked: Asked, engine: Engine, info: EngineInfo) -> tuple[tuple[int, float], ...]:
    """The biases by token id. Raises InvalidRequest for a key that is no token of the model."""
    return token_biases(asked.biases, info, engine.tokenize) if asked.biases else ()


def _run(
    served: Served,
    asked: Asked,
    starts: Sequence[Callable[[], Pieces]],
    stops: tuple[str, ...],
    candidates: int,
) -> Generation:
    request, info = served.request, served.info
    events = run(
        starts, scheduler=served.scheduler, request=request, slots=info.parallel, stops=stops
    )
    if candidates > asked.n:
        events = best_of(events, n=asked.n, candidates=candidates)
    return Generation(events, info, UsageCount(asked.n, request.record))
