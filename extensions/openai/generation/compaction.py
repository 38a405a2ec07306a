"""Compaction: the model writes a summary of a conversation, to go on from in its place.

The model gets the conversation as it always does, with the request for a summary behind it; so the engine's
cache has most of it. One that does not fit is summarised in parts, each with the summary of those before it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from ..engines.protocol import Message
from ..errors import ContextLengthExceeded
from .answer_size import Names
from .chat.reasoning import plan_thinking
from .plan import Asked, ChatPlan, Served
from .sampling.table import NativeSampling
from .usage import UsageCount

MAX_SUMMARY_TOKENS = 4096
CONTEXT_SHARE = 0.75
"""Of the context, for a conversation whose client says no number: the answer needs its place too."""
SUMMARY_SHARE = 0.25
"""Of the tokens that a conversation is to have."""
LEFT_OUT = "\n[...]\n"
SHORTEST = 100
"""Characters of a text that is not shortened any more."""
ASK = (
    "Summarise the conversation above for an assistant that goes on with it and sees nothing else of it. "
    "Keep what was asked for and what was decided, with reasons; names, numbers, paths, addresses and words "
    "that matter; what tools have found and changed; and what is still to be done. Call no tools. Write only "
    "the summary, in at most {words} words."
)
SUMMARY = "Summary of the conversation so far:\n\n"
"""What a model reads before a summary."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Tokens that a conversation is to have, and those of a summary in it."""

    conversation: int
    summary: int

    @classmethod
    def of(cls, served: Served, threshold: int | None = None) -> Bounds:
        """`threshold`: the client's number for the conversation."""
        context = int(served.info.context_length * CONTEXT_SHARE)
        conversation = context if threshold is None else min(threshold, context)
        most = served.policy.max_tokens_limit or MAX_SUMMARY_TOKENS
        share = int(conversation * SUMMARY_SHARE)
        return cls(conversation, max(1, min(MAX_SUMMARY_TOKENS, most, share)))


def summarised(
    chat: ChatPlan, served: Served, bounds: Bounds, usage: UsageCount
) -> Generator[None, None, str]:
    """The summary of the conversation that `chat` would answer; its tokens are added to `usage`. An empty
    text where the model writes none. Raises InvalidRequest, ContextLengthExceeded."""
    head, rest = _split(chat.messages(served.media_reader))
    asking, summary = _Asking(chat, served, bounds.summary), ""
    while rest:
        before = (*head, Message("user", SUMMARY + summary)) if summary else head
        part, rest = asking.part(before, rest)
        summary = yield from _written(asking.plan((*before, *part)), served, usage)
        if not summary:
            break
    return summary


def _written(plan: ChatPlan, served: Served, usage: UsageCount) -> Generator[None, None, str]:
    events = plan.start(served, behind=usage).events
    texts: list[str] = []
    try:
        for event in events:
            if event is not None:
                usage.add(event)
                texts.append(event.text)
            yield None
    finally:
        events.close()
    return "".join(texts).strip()


@dataclass(frozen=True, slots=True)
class _Asking:
    """Asks for summaries of at most `limit` tokens."""

    chat: ChatPlan
    served: Served
    limit: int

    def plan(self, messages: Sequence[Message]) -> ChatPlan:
        """The one that asks for the summary of these messages."""
        ask = Message("user", ASK.format(words=max(10, self.limit // 2)))
        return replace(
            self.chat,
            asked=Asked(
                NativeSampling(temperature=0),
                Names("n", "max_output_tokens", "top_logprobs"),
                self.limit,
                hooks=False,
            ),
            messages=lambda _: (*messages, ask),
            continues=False,
            tools=self.chat.tools.only_shown(),
            thinking=plan_thinking({}, {"": False}, {}, self.served.info, {}),
        )

    def part(
        self, before: Sequence[Message], rest: tuple[Message, ...]
    ) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
        """As many of the messages as fit behind those `before`, and what follows these. Results stay with
        their calls. Raises ContextLengthExceeded."""
        if self._fits(before, rest):
            return rest, ()
        ends = [at for at in range(1, len(rest)) if rest[at].role != "tool"]
        fitting, too_long = -1, len(ends)
        while too_long - fitting > 1:
            middle = (fitting + too_long) // 2
            if self._fits(before, rest[: ends[middle]]):
                fitting = middle
            else:
                too_long = middle
        if fitting >= 0:
            return rest[: ends[fitting]], rest[ends[fitting] :]
        end = ends[0] if ends else len(rest)
        return self._shortened(before, rest[:end]), rest[end:]

    def _shortened(self, before: Sequence[Message], part: Sequence[Message]) -> tuple[Message, ...]:
        """What is said in messages that do not fit, without its middle. Raises ContextLengthExceeded."""
        text = "\n".join(map(_transcript, part))
        while not self._fits(before, (short := Message("user", text),)):
            if len(text) <= SHORTEST:
                count = self.plan((*before, short)).count_prompt(self.served)
                raise ContextLengthExceeded(
                    prompt_tokens=count,
                    max_tokens=self.limit,
                    context_length=self.served.info.context_length,
                    param="messages",
                )
            kept = len(text) // 4
            text = text[:kept] + LEFT_OUT + text[-kept:]
        return (short,)

    def _fits(self, before: Sequence[Message], part: Sequence[Message]) -> bool:
        try:
            count = self.plan((*before, *part)).count_prompt(self.served)
        except ContextLengthExceeded:
            return False
        return count + self.limit <= self.served.info.context_length


def _split(messages: Sequence[Message]) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """The instructions at the beginning, and what follows them."""
    end = next((at for at, each in enumerate(messages) if each.role != "system"), len(messages))
    return tuple(messages[:end]), tuple(messages[end:])


def _transcript(message: Message) -> str:
    calls = [f"calls {call.name}({call.arguments})" for call in message.tool_calls]
    return f"{message.role}: " + "\n".join([message.content or "", *calls])
