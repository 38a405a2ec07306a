"""Chat: answer a conversation. Reference: "Chat completions"."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from .dialects.chat_shapes import (
    AssistantAnswer,
    ChatChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChunkChoice,
    Delta,
    ServiceTier,
)
from .engines.protocol import TokenLogprob
from .generation.answer_head import AnswerHead, answer_head
from .generation.chat.messages import ChatMessage, to_engine
from .generation.chat.request import ChatCompletionRequest
from .generation.events import Event
from .generation.logprobs import ChatLogprobs, chat_logprobs
from .generation.plan import ChatPlan, Generation, Served, asked_of
from .generation.prompt_progress import ProgressReporter, PromptProgress
from .generation.stop_report import LOOP, StopReport, StopReporter
from .generation.timings import timings_of
from .generation.tools.calls import (
    CallFinish,
    CallFold,
    ToolCallWriter,
    as_delta,
)
from .generation.usage import Usage, UsageCount
from .observability.record import RequestRecord
from .schemas import bad_request
from .web.idempotent_request import sent_again
from .web.responses.response import Response
from .web.responses.streaming import OnComplete, respond
from .web.routing.routes import MODEL, PathPrefixes, Route, endpoint
from .web.session_turn import SessionTurn
from .web.storing import Storing, answer_of

if TYPE_CHECKING:
    from .web.context import RequestContext


SILENCE_S = 30.0
"""After so long a chunk without text is sent: there are clients that give up, and do not count comments."""


def create_chat_completion(context: RequestContext, body: ChatCompletionRequest) -> Response:
    """Answer a conversation, in one piece or as a stream (`stream`).

    `messages` is the whole conversation: the server keeps nothing between requests, unless a header asks
    for a session. The answer is a
    message, in `choices[0].message`; with `tools` it may contain calls of functions. Your program makes
    these calls and sends the results back as messages with the role `tool`. `response_format` makes the
    answer JSON of a schema.
    """
    storing = Storing(context, body) if body.store else None
    if storing is not None and storing.earlier is not None:
        return _repeat(context, body, cast(ChatCompletion, answer_of(storing.earlier, body)))
    served = context.serve(body.model, body.timeout)
    if body.service_tier == "flex":
        context.priority = "batch"
    body = served.settled(body)
    turn = SessionTurn.of_chat(context, body, served) if context.asks_for_session else None
    chunks, fold = start_chat(body, served, turn)
    return respond(
        context,
        chunks,
        stream=bool(body.stream),
        fold=fold,
        on_complete=_keeping(storing, turn, body, served),
    )


def start_chat(
    body: ChatCompletionRequest, served: Served, turn: SessionTurn | None
) -> tuple[Generator[ChatCompletionChunk | None, None, None], Fold]:
    """The chunks of an answer, and what combines them. `turn`: of the session that the request belongs to.

    Raises InvalidRequest.
    """
    if turn is None:
        plan = plan_chat(body, served)
        if body.prompt_length is not None:
            from .generation.truncation import fitting  # loaded by requests that ask for it

            plan = fitting(plan, body, served)
    else:
        if body.prompt_length is not None:  # the session leaves out its oldest turns
            served.request.record.ignored.append("truncate_prompt_tokens")
        plan = turn.fitting(partial(plan_chat, body, served), served)
    generation = plan.start(served) if turn is None else turn.start(plan, served)
    chunks = _chunks(generation, body, plan, usage=body.shows_usage)
    return chunks, Fold(generation.usage, body.metadata)


def _keeping(
    storing: Storing | None,
    turn: SessionTurn | None,
    body: ChatCompletionRequest,
    served: Served,
) -> OnComplete[Mapping[str, Any]] | None:
    """What is to be done with the whole answer; None: nothing."""
    if storing is None:
        return None if turn is None else partial(_each_of, [turn.keep_chat])
    store = storing.when_complete(body, served)
    return store if turn is None else partial(_each_of, [store, turn.keep_chat])


def _each_of(
    keeping: Sequence[OnComplete[Mapping[str, Any]]], completion: Mapping[str, Any]
) -> Mapping[str, object] | None:
    """Do all of it."""
    return {name: value for keep in keeping for name, value in (keep(completion) or {}).items()}


def _repeat(
    context: RequestContext, body: ChatCompletionRequest, answer: ChatCompletion
) -> Response:
    """Send again what an earlier request with the same `Idempotency-Key` got."""
    context.record.answer = answer["id"]
    return sent_again(
        respond(
            context,
            _chunks_of(answer, usage=body.shows_usage),
            stream=bool(body.stream),
            fold=_Finished(answer),
        )
    )


def plan_chat(
    body: ChatCompletionRequest, served: Served, earlier: Sequence[ChatMessage] = ()
) -> ChatPlan:
    """Make a neutral plan of the request; `earlier` is what its session had before.

    Raises InvalidRequest for contradictions and the impossible.
    """
    if body.modalities and "audio" in body.modalities:
        raise bad_request.not_one_of("modalities", "audio", ["text"])
    if body.add_generation_prompt is False and not body.continue_final_message:
        raise bad_request.unsupported(
            "add_generation_prompt", "may be false only where 'continue_final_message' is true."
        )
    asked = asked_of(
        body,
        n=body.n or 1,
        alternatives="top_logprobs" if body.logprobs else "n_probs",
        logprobs="logprobs" if body.logprobs else "n_probs",
    )
    plan = ChatPlan(
        asked,
        partial(to_engine, body.messages, earlier=earlier),
        bool(body.continue_final_message),
        body.tool_plan(served.tools_for(body.tools)),
        body.plan_thinking(served.info, served.thinking_budgets),
        body.chat_mode_for(served),
        about_text=asked.grammar_param.startswith("response_format"),
    )
    return body.in_character(plan, served)


def _chunks(
    generation: Generation, body: ChatCompletionRequest, plan: ChatPlan, *, usage: bool
) -> Generator[ChatCompletionChunk | None, None, None]:
    """Write events as chunks of the reference."""
    events, count = generation.events, generation.usage
    head = answer_head("chatcmpl-", generation.info)
    count.record.answer = head["id"]
    tier: ServiceTier | None = None
    if body.service_tier is not None:
        tier = "flex" if body.service_tier == "flex" else "default"
    timed = count.record if body.timings_per_token else None
    chunks, writer = (
        _Chunks(head, tier, usage=usage, timed=timed),
        _ChoiceWriter(plan, reports_stops=bool(body.return_stop_reason)),
    )
    wants_progress = body.return_progress and body.stream
    reporter = ProgressReporter(count.record) if wants_progress else None
    silent_since = 0.0
    try:
        for event in events:
            if event is None:
                if reporter is not None and (progress := reporter.new()):
                    yield chunks.reading(writer.silence(), progress)
                now = time.monotonic()
                silent_since = silent_since or now
                is_due = now - silent_since >= SILENCE_S
                if body.stream and is_due and not writer.has_ended:
                    silent_since = now
                    yield chunks.of(writer.silence())
                else:
                    yield None
                continue
            silent_since = 0.0
            count.add(event)
            if reporter is not None and (progress := reporter.end()):
                yield chunks.reading(writer.silence(), progress)
            for choice in writer.write(event):
                yield chunks.of(choice)
        if usage:
            yield chunks.last(count.total())
    finally:
        events.close()


def _chunks_of(
    answer: ChatCompletion, *, usage: bool
) -> Generator[ChatCompletionChunk, None, None]:
    """Chunks that add up to a finished answer: two for each choice."""
    chunks = _Chunks(answer, answer.get("service_tier"), usage=usage)
    for choice in answer["choices"]:
        index, message = choice["index"], choice["message"]
        delta: Delta = {"role": "assistant", "content": message["content"], "refusal": None}
        if "reasoning_content" in message:
            delta["reasoning_content"] = message["reasoning_content"]
        delta.update(as_delta(message))  # type: ignore[typeddict-item]  # a part of its keys
        logprobs, finish = choice["logprobs"], choice["finish_reason"]
        yield chunks.of(
            {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}
        )
        last: ChunkChoice = {
            "index": index,
            "delta": {},
            "logprobs": None,
            "finish_reason": finish,
        }
        last.update(_report_in(choice))  # type: ignore[typeddict-item]  # a part of its keys
        yield chunks.of(last)
    if usage:
        yield chunks.last(answer["usage"])


class _Chunks:
    """Makes the chunks of one answer."""

    def __init__(
        self,
        head: AnswerHead,
        tier: ServiceTier | None,
        *,
        usage: bool,
        timed: RequestRecord | None = None,
    ) -> None:
        """`usage`: the client asked for it, so all chunks have the field. `timed`: its times are reported."""
        self._head, self._tier, self._usage, self._timed = head, tier, usage, timed

    def of(self, *choices: ChunkChoice) -> ChatCompletionChunk:
        """A chunk with these choices."""
        head = self._head
        chunk: ChatCompletionChunk = {
            "id": head["id"],
            "created": head["created"],
            "model": head["model"],
            "system_fingerprint": head["system_fingerprint"],
            "object": "chat.completion.chunk",
            "choices": list(choices),
        }
        if self._tier is not None:
            chunk["service_tier"] = self._tier
        if self._usage:
            chunk["usage"] = None
        if self._timed is not None:
            chunk["timings"] = timings_of(self._timed)
        return chunk

    def reading(self, choice: ChunkChoice, progress: PromptProgress) -> ChatCompletionChunk:
        """A chunk that says how far the prompt is read."""
        chunk = self.of(choice)
        chunk["prompt_progress"] = progress
        return chunk

    def last(self, usage: Usage) -> ChatCompletionChunk:
        """The last chunk, with the usage and no choices."""
        chunk = self.of()
        chunk["usage"] = usage
        return chunk


class _ChoiceWriter:
    """Writes events as choices of chunks."""

    def __init__(self, plan: ChatPlan, *, reports_stops: bool) -> None:
        self._reporter = StopReporter(plan.asked.stop_tokens) if reports_stops else None
        self._calls = ToolCallWriter(plan.tools) if plan.tools.shown else None
        self._shows_thoughts = plan.thinking.shown
        self._has_logprobs = plan.asked.alternatives is not None
        self._count = plan.asked.n
        self._begun: set[int] = set()
        self._ended: set[int] = set()
        self._waiting: dict[int, tuple[TokenLogprob, ...]] = {}
        """Log-probabilities of tokens without text: they go into the next chunk that has some."""

    @property
    def has_ended(self) -> bool:
        return len(self._ended) == self._count

    def silence(self) -> ChunkChoice:
        """A choice that goes on and says nothing."""
        index = next(each for each in range(self._count) if each not in self._ended)
        role: Delta = {"role": "assistant", "content": "", "refusal": None}
        delta: Delta = {} if index in self._begun else role
        self._begun.add(index)
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}

    def write(self, event: Event) -> Iterator[ChunkChoice]:
        """Yield the choices that an event becomes, one for each chunk."""
        parts = [] if self._calls is None else self._calls.write(event)
        if event.index not in self._begun and (
            event.text or event.reasoning or parts or event.finish
        ):
            self._begun.add(event.index)
            content = None if parts and not event.text else ""
            yield self._choice(event, {"role": "assistant", "content": content, "refusal": None})
        if event.logprobs and self._has_logprobs:
            self._waiting[event.index] = self._waiting.get(event.index, ()) + event.logprobs
        if event.reasoning and self._shows_thoughts:
            yield self._choice(event, {"reasoning_content": event.reasoning})
        if event.text:
            yield self._choice(event, {"content": event.text})
        for part in parts:
            delta: Delta = {}
            delta.update(part)  # type: ignore[typeddict-item]  # a part of its keys
            yield self._choice(event, delta)
        report: StopReport = LOOP if event.loop else {}
        if self._reporter is not None:
            report = self._reporter.add(event)
        if event.finish:
            finish = event.finish if self._calls is None else self._calls.finish(event)
            last = self._choice(event, {}, finish)
            last.update(report)  # type: ignore[typeddict-item]  # a part of its keys
            self._ended.add(event.index)
            yield last

    def _choice(self, event: Event, delta: Delta, finish: CallFinish | None = None) -> ChunkChoice:
        logprobs = None
        if self._has_logprobs:
            entries = self._waiting.pop(event.index, ())
            if entries or "content" in delta:
                logprobs = chat_logprobs(entries)
        return {
            "index": event.index,
            "delta": delta,
            "logprobs": logprobs,
            "finish_reason": finish,
        }


class _Finished:
    """The fold of the chunks of a finished answer."""

    has_ended = False  # so that nothing is stored again

    def __init__(self, answer: ChatCompletion) -> None:
        self._answer = answer

    def add(self, chunk: ChatCompletionChunk) -> None:
        """Ignore it: the answer is complete already."""

    def whole(self) -> ChatCompletion:
        return self._answer


class Fold:
    """Combines chunks into the whole object, with the usage, and with `metadata`, which no chunk has."""

    def __init__(self, usage: UsageCount, metadata: dict[str, str] | None = None) -> None:
        self._usage = usage
        self._metadata = metadata
        self._choices: dict[int, _ChoiceFold] = {}
        self._ended = 0
        self._last: ChatCompletionChunk

    def add(self, chunk: ChatCompletionChunk) -> None:
        self._last = chunk
        for part in chunk["choices"]:
            index = part["index"]
            self._choices.setdefault(index, _ChoiceFold(index)).add(part)
            self._ended += part["finish_reason"] is not None

    @property
    def has_ended(self) -> bool:
        return self._ended == self._usage.n

    def whole(self) -> ChatCompletion:
        last = self._last
        completion: ChatCompletion = {
            "id": last["id"],
            "created": last["created"],
            "model": last["model"],
            "system_fingerprint": last["system_fingerprint"],
            "object": "chat.completion",
            "choices": [self._choices[index].choice() for index in sorted(self._choices)],
            "usage": self._usage.total(),
        }
        if "service_tier" in last:
            completion["service_tier"] = last["service_tier"]
        if "timings" in last:
            completion["timings"] = last["timings"]
        if self._metadata is not None:
            completion["metadata"] = self._metadata
        return completion


class _ChoiceFold:
    """Combines the parts of one choice."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._calls: CallFold | None = None
        self._logprobs: ChatLogprobs | None = None
        self._finish: CallFinish | None = None
        self._report: StopReport = {}

    def add(self, part: ChunkChoice) -> None:
        delta = part["delta"]
        self._content.append(delta.get("content") or "")
        if "reasoning_content" in delta:
            self._reasoning.append(delta["reasoning_content"])
        if "tool_calls" in delta or "function_call" in delta:
            self._calls = self._calls or CallFold()
            self._calls.add(delta)
        if part["logprobs"] is not None:
            if self._logprobs is None:
                self._logprobs = {"content": [], "refusal": None}
            self._logprobs["content"] += part["logprobs"]["content"]
        self._finish = part["finish_reason"]
        self._report = _report_in(part)

    def choice(self) -> ChatChoice:
        calls = self._calls.whole() if self._calls else None
        message: AssistantAnswer = {
            "role": "assistant",
            "content": "".join(self._content) or (None if calls else ""),
            "refusal": None,
        }
        if self._reasoning:
            message["reasoning_content"] = "".join(self._reasoning)
        if calls:
            message.update(calls)  # type: ignore[typeddict-item]  # a part of its keys
        choice: ChatChoice = {
            "index": self._index,
            "message": message,
            "logprobs": self._logprobs,
            "finish_reason": self._finish,
        }
        choice.update(self._report)  # type: ignore[typeddict-item]  # a part of its keys
        return choice


def _report_in(choice: StopReport) -> StopReport:
    """The part of a choice that says what ended it, if it has one."""
    if "stop_reason" not in choice:
        return {}
    return {"stop_reason": choice["stop_reason"], "stopping_word": choice["stopping_word"]}


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
        once=True,
        example={"model": MODEL, "messages": [{"role": "user", "content": "What can you do?"}]},
        chunk=ChatCompletionChunk,
        cached=True,
        scope="write",
    ),
)
