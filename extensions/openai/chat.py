"""Chat: answer a conversation. Reference: "Chat completions"."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

from typing_extensions import NotRequired, TypedDict

from . import models
from .engines.protocol import ChatRequest, Engine, EngineInfo, Page, Pieces, TokenLogprob
from .generation.answer_head import AnswerHead, answer_head
from .generation.answer_size import AnswerSize, Names
from .generation.chat.answer import Answer, Wanted, answer_chat
from .generation.chat.messages import split_continued, to_engine
from .generation.chat.request import ChatCompletionRequest
from .generation.hooks.apply import hooked_chat
from .generation.hooks.extensions import Hooks
from .generation.logprobs import ChatLogprobs, chat_logprobs
from .generation.media.reader import media_reader
from .generation.request import needs
from .generation.run import Event, Events, run
from .generation.sampling.profiles import to_native
from .generation.tools.calls import CallDelta, CallFinish, CallFold, MessageCalls, ToolCallWriter
from .generation.tools.plan import ToolPlan
from .generation.usage import Usage, UsageCount
from .schemas import bad_request
from .web.response import Reply
from .web.routes import Call, PathPrefixes, Route, endpoint
from .web.streaming import check_wanted, respond


class Delta(CallDelta, total=False):
    """What a chunk adds to the message; the first one of a choice carries the role."""

    role: Literal["assistant"]
    content: str | None
    reasoning_content: str
    refusal: None


class ChunkChoice(TypedDict):
    """A part of one answer."""

    index: int
    delta: Delta
    logprobs: ChatLogprobs | None
    finish_reason: CallFinish | None


class ChatCompletionChunk(AnswerHead):
    """The data of one event; `usage` is there when it was asked for, and null on all but the last."""

    object: Literal["chat.completion.chunk"]
    choices: list[ChunkChoice]
    service_tier: NotRequired[Literal["default", "flex"]]
    usage: NotRequired[Usage | None]


class AssistantAnswer(MessageCalls):
    """The message of one answer; content is null where there are only calls."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    reasoning_content: NotRequired[str]


class ChatChoice(TypedDict):
    """One answer."""

    index: int
    message: AssistantAnswer
    logprobs: ChatLogprobs | None
    finish_reason: CallFinish | None


class ChatCompletion(AnswerHead):
    """The whole answer."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    service_tier: NotRequired[Literal["default", "flex"]]
    usage: Usage
    metadata: NotRequired[dict[str, str]]


def create_chat_completion(call: Call, body: ChatCompletionRequest) -> Reply:
    """Answer the conversation `n` times."""
    engine, info = call.services.engine, models.serving(call, body.model)
    call.begin(body)
    if body.service_tier == "flex":
        call.job.priority = "batch"
    policy = call.services.policy
    body, info = policy.apply(body), policy.marked(info)
    n, plan, alternatives = body.n or 1, body.plan, body.alternatives
    asked, param = body.limit
    body = body.with_min_tokens(asked, info)
    limit = policy.max_tokens(asked, None, param)
    stops, usage = policy.stops(body, info), body.wants_usage
    if body.modalities and "audio" in body.modalities:
        raise bad_request.not_one_of("modalities", "audio", ["text"])
    if alternatives is not None:
        needs(info, "logprobs", "logprobs" if body.logprobs else "n_probs")
    names = Names("n", param, "top_logprobs" if body.logprobs else "n_probs")
    size = AnswerSize(n, limit, alternatives, info.context_length)
    limit = size.bounded(names, call.services.settings.max_logprobs)
    thinking = body.plan_thinking(info, policy.thinking_budgets)
    if plan.shown:
        enforced_calls = bool(plan.demanded or plan.inputs)
        needs(
            info,
            "grammar" if enforced_calls else "tools",
            "functions" if plan.legacy else "tools",
        )
    grammar, grammar_param = body.grammar_for(info)
    if plan.demanded and grammar_param.startswith("response_format"):
        grammar = None  # it is about text, and there will be calls
    if grammar is not None and (plan.demanded or (plan.shown and "\n" in grammar)):
        raise bad_request.conflicting(grammar_param.partition(".")[0], "tools")
    reader = media_reader(call.services.settings, info.capabilities, partial(check_wanted, call))
    messages, continued = to_engine(body.messages, reader), None
    if body.add_generation_prompt is False and not body.continue_final_message:
        raise bad_request.unsupported(
            "add_generation_prompt", "may be false only where 'continue_final_message' is true."
        )
    if body.continue_final_message:
        messages, continued = split_continued(messages)
    request = ChatRequest(
        messages,
        limit,
        to_native(body, info, stops),
        grammar=grammar,
        logit_bias=body.bias_for(info, engine.tokenize),
        tools=plan.shown,
        parallel_tool_calls=plan.most > 1,
        template_variables=thinking.variables,
        page=_page(body, info),
        whole=not body.stream or call.services.settings.output_hooks == "whole",
    )
    wanted = Wanted(
        alternatives,
        plan,
        continued,
        grammar_param,
        thinking.enabled,
        thinking.budget,
        call.services.settings.bare_calls,
    )
    answer = partial(answer_chat, wanted=wanted)
    hooks = call.services.hooks_for(body.hooks)
    start = partial(answer, engine)
    if hooks is not None:
        # A text that hooks may change ends before they see it.
        early, stops = (stops, ()) if hooks.change_output else ((), stops)
        start = partial(
            _hooked, hooks, engine, answer, stops=early, continues=continued is not None
        )

    events = run(
        [partial(start, replace(request, seed=seed)) for seed in body.seeds(n)],
        scheduler=call.services.scheduler,
        job=call.job,
        slots=info.parallel,
        stops=stops,
    )
    count = UsageCount(n, call.record)
    chunks = _chunks(events, info, body, plan, count, usage=usage)
    return respond(call, chunks, stream=bool(body.stream), fold=Fold(body.metadata))


def _page(body: ChatCompletionRequest, info: EngineInfo) -> Page | None:
    """How the host's page would put it, if the request asks for that."""
    wanted = {
        "mode": body.mode if body.mode != "instruct" else None,
        "character": body.character,
        "instruction_template": body.instruction_template,
    }
    given = [name for name, value in wanted.items() if value is not None]
    values = body.page_values
    if not given and not (values and "modes" in info.capabilities):
        return None
    needs(info, "modes", next(iter(given), ""))
    mode = body.mode or ("chat" if body.character is not None else "instruct")
    return Page(mode, body.character, body.instruction_template, values)


def _hooked(
    hooks: Hooks,
    engine: Engine,
    answer: Answer,
    request: ChatRequest,
    *,
    stops: Sequence[str],
    continues: bool,
) -> Pieces:
    return hooked_chat(hooks, engine, request, answer, stops=stops, continues=continues)


def _chunks(
    events: Events,
    info: EngineInfo,
    body: ChatCompletionRequest,
    plan: ToolPlan,
    count: UsageCount,
    *,
    usage: bool,
) -> Generator[ChatCompletionChunk | None, None, None]:
    """Events in the shape of the reference."""
    head = answer_head("chatcmpl-", info)
    count.record.answer = head["id"]
    calls = ToolCallWriter(plan)
    begun: set[int] = set()
    # Log-probabilities of tokens that say nothing come with the next chunk that says something.
    waiting: dict[int, tuple[TokenLogprob, ...]] = {}
    told, shows_thoughts = body.alternatives is not None, body.shows_thoughts

    def chunk(*choices: ChunkChoice) -> ChatCompletionChunk:
        made: ChatCompletionChunk = {
            "id": head["id"],
            "created": head["created"],
            "model": head["model"],
            "system_fingerprint": head["system_fingerprint"],
            "object": "chat.completion.chunk",
            "choices": list(choices),
        }
        if body.service_tier is not None:
            made["service_tier"] = "flex" if body.service_tier == "flex" else "default"
        if usage:
            made["usage"] = None
        return made

    def choice(event: Event, delta: Delta, finish: CallFinish | None = None) -> ChunkChoice:
        entries = waiting.pop(event.index, ())
        return {
            "index": event.index,
            "delta": delta,
            "logprobs": chat_logprobs(entries)
            if entries or (told and "content" in delta)
            else None,
            "finish_reason": finish,
        }

    try:
        for event in events:
            if event is None:
                yield None
                continue
            count.add(event)
            parts = calls.write(event)
            if event.index not in begun and (
                event.text or event.reasoning or parts or event.finish
            ):
                begun.add(event.index)
                content = None if parts and not event.text else ""
                first: Delta = {"role": "assistant", "content": content, "refusal": None}
                yield chunk(choice(event, first))
            if event.logprobs:
                waiting[event.index] = waiting.get(event.index, ()) + event.logprobs
            if event.reasoning and shows_thoughts:
                yield chunk(choice(event, {"reasoning_content": event.reasoning}))
            if event.text:
                yield chunk(choice(event, {"content": event.text}))
            for part in parts:
                delta: Delta = {}
                delta.update(part)  # type: ignore[typeddict-item]  # a part of its keys
                yield chunk(choice(event, delta))
            if event.finish:
                yield chunk(choice(event, {}, calls.finish(event)))
        if usage:
            last = chunk()
            last["usage"] = count.total()
            yield last
    finally:
        events.close()


class Fold:
    """The whole object that the chunks of a stream (with usage) add up to; `metadata` is told in no chunk."""

    def __init__(self, metadata: dict[str, str] | None = None) -> None:
        self._metadata = metadata
        self._choices: dict[int, _ChoiceFold] = {}
        self._last: ChatCompletionChunk

    def add(self, chunk: ChatCompletionChunk) -> None:
        self._last = chunk
        for part in chunk["choices"]:
            index = part["index"]
            self._choices.setdefault(index, _ChoiceFold(index)).add(part)

    def whole(self) -> ChatCompletion:
        last, usage = self._last, self._last.get("usage")
        assert usage is not None  # `wants_usage` is true for a request that is folded
        completion: ChatCompletion = {
            "id": last["id"],
            "created": last["created"],
            "model": last["model"],
            "system_fingerprint": last["system_fingerprint"],
            "object": "chat.completion",
            "choices": [self._choices[index].choice() for index in sorted(self._choices)],
            "usage": usage,
        }
        if "service_tier" in last:
            completion["service_tier"] = last["service_tier"]
        if self._metadata is not None:
            completion["metadata"] = self._metadata
        return completion


class _ChoiceFold:
    """Adds up the parts of one choice."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._calls = CallFold()
        self._logprobs: ChatLogprobs | None = None
        self._finish: CallFinish | None = None

    def add(self, part: ChunkChoice) -> None:
        delta = part["delta"]
        self._content.append(delta.get("content") or "")
        if "reasoning_content" in delta:
            self._reasoning.append(delta["reasoning_content"])
        self._calls.add(delta)
        if part["logprobs"] is not None:
            if self._logprobs is None:
                self._logprobs = {"content": [], "refusal": None}
            self._logprobs["content"] += part["logprobs"]["content"]
        self._finish = part["finish_reason"]

    def choice(self) -> ChatChoice:
        calls = self._calls.whole()
        message: AssistantAnswer = {
            "role": "assistant",
            "content": "".join(self._content) or (None if calls else ""),
            "refusal": None,
        }
        if self._reasoning:
            message["reasoning_content"] = "".join(self._reasoning)
        message.update(calls)  # type: ignore[typeddict-item]  # a part of its keys
        return {
            "index": self._index,
            "message": message,
            "logprobs": self._logprobs,
            "finish_reason": self._finish,
        }


ROUTES = endpoint(
    "chat",
    Route(
        "POST",
        "/chat/completions",
        create_chat_completion,
        "Create chat completion",
        PathPrefixes.MODEL,
        answer=ChatCompletion,
        body=ChatCompletionRequest,
        chunk=ChatCompletionChunk,
        scope="write",
    ),
)
