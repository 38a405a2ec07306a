"""Compaction items: what stands in the place of all items before it.

That is what users and instructions have said, as far as there is place for it, a summary of all, and the
items that came last. A client has it sealed, and gives it back as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from ...errors import ContextLengthExceeded, EngineFailed
from ...generation.compaction import SUMMARY, Bounds, summarised
from ...generation.events import Event
from ...generation.plan import ChatPlan, Generation, Served
from ...generation.usage import UsageCount
from ...schemas import bad_request
from ..parts import BETWEEN
from .items import AnyItem, CompactionItem, InputText, MessageItem
from .output import Seal, new_id
from .response import CompactedConversation, now, usage_of
from .stored_items import from_store, to_store
from .truncation import Placed
from .writer import ResponseEvents, ResponseWriter, response_events

SPOKEN_SHARE = 0.25
"""Of the tokens that a conversation is to have, for what its users have said."""
PlanOf = Callable[[Sequence[Placed]], ChatPlan]
"""The plan of a response to some of the items."""
LAST_SHARE = 0.5
"""Of them, for what is being worked on: the last message of a user's, and what follows it."""


NO_SUMMARY = "The model wrote no summary of the conversation."


class SummaryItem(MessageItem):
    """A summary that an item held; models read it as a message of the user's."""


@dataclass(frozen=True, slots=True)
class Compacted:
    """What stands in the place of a conversation."""

    spoken: Sequence[AnyItem]
    """Messages from before the summary, as they were."""
    summary: str
    last: Sequence[AnyItem] = ()
    """Items that the summary is not about."""

    @property
    def items(self) -> list[AnyItem]:
        said = SummaryItem(role="user", content=SUMMARY + self.summary)
        return [*self.spoken, said, *self.last]

    def text(self) -> str:
        """What is sealed."""
        parts = {
            "spoken": to_store(self.spoken),
            "summary": self.summary,
            "last": to_store(self.last),
        }
        return orjson.dumps(parts).decode()

    @classmethod
    def from_text(cls, text: str) -> Compacted:
        """What `text` has made."""
        parts: dict[str, Any] = orjson.loads(text)
        return cls(from_store(parts["spoken"]), parts["summary"], from_store(parts["last"]))


def opened(items: Sequence[Placed], open: Callable[[str, str], str]) -> list[Placed]:
    """The items with the last compaction item opened, which stands for those before it. `open` takes what is
    sealed, and the field that has it."""
    for at in range(len(items) - 1, -1, -1):
        where, item = items[at]
        if isinstance(item, CompactionItem):
            compacted = Compacted.from_text(open(item.encrypted_content, where))
            return [*((where, each) for each in compacted.items), *items[at + 1 :]]
    return list(items)


@dataclass(frozen=True, slots=True)
class Compaction:
    """A conversation that is to be made shorter."""

    summarised: ChatPlan
    """The answer to what the summary is about."""
    before: Sequence[Placed]
    """Items of which only what users have said is kept."""
    last: Sequence[Placed]
    """Items that are kept."""
    served: Served
    bounds: Bounds

    @classmethod
    def of_all(cls, plan_of: PlanOf, items: Sequence[Placed], served: Served) -> Compaction:
        """Raises InvalidRequest where there is no item."""
        if not items:
            raise bad_request.missing("input")
        return cls(plan_of(items), items, (), served, Bounds.of(served))

    @classmethod
    def of_long(
        cls, plan_of: PlanOf, items: Sequence[Placed], served: Served, threshold: int | None
    ) -> Compaction | None:
        """None for one that has fewer tokens than the threshold, or would not be shorter. The last message of
        a user's stays. Raises InvalidRequest."""
        bounds = Bounds.of(served, threshold)
        whole = _tokens(plan_of(items), served)
        users = [at for at, (_, item) in enumerate(items) if _is_users(item)]
        if whole < bounds.conversation or not users:
            return None
        asked = users[-1]
        # What is there without any item: instructions and tools.
        least = _tokens(plan_of([("input", MessageItem(role="user", content=""))]), served)
        question = _tokens(plan_of(items[asked : asked + 1]), served)
        now = _tokens(plan_of(items[asked:]), served)
        earlier = whole - now
        if earlier > bounds.summary and now - least <= bounds.conversation * LAST_SHARE:
            return cls(plan_of(items[:asked]), items[:asked], items[asked:], served, bounds)
        if earlier + now - question > bounds.summary:
            question_only = items[asked : asked + 1]
            return cls(plan_of(items), items[:asked], question_only, served, bounds)
        return None

    def run(self, usage: UsageCount) -> Generator[None, None, Compacted | None]:
        """What the conversation becomes; its tokens are added to `usage`. None where the model writes no
        summary."""
        summary = yield from summarised(self.summarised, self.served, self.bounds, usage)
        if not summary:
            return None
        spoken = _spoken([item for _, item in self.before], self.served, self.bounds)
        return Compacted(spoken, summary, [item for _, item in self.last])


def compacted_events(
    compaction: Compaction,
    usage: UsageCount,
    seal: Seal,
    items: Sequence[Placed],
    start: Callable[[Sequence[Placed]], Generation] | None,
    writer: ResponseWriter,
) -> ResponseEvents:
    """The events of a response that begins with a compaction item. `start` begins the answer to what `items`
    have become; None: there is to be none. Raises EngineFailed where there is neither."""
    compacted = yield from compaction.run(usage)
    if compacted is not None:
        yield from writer.compaction(seal(compacted.text()))
        items = [("input", item) for item in compacted.items]
    elif start is None:
        raise EngineFailed(NO_SUMMARY)
    if start is None:
        yield from writer.write(Event(0, finish="stop"))
    else:
        yield from response_events(start(items), writer)


def compacted_conversation(
    compaction: Compaction, usage: UsageCount, seal: Seal
) -> Generator[CompactedConversation | None, None, None]:
    """What stands in the place of a conversation, once it is there. Raises EngineFailed."""
    id, created = new_id("resp_"), now()
    usage.record.answer = id
    compacted = yield from compaction.run(usage)
    if compacted is None:
        raise EngineFailed(NO_SUMMARY)
    item = CompactionItem(type="compaction", encrypted_content=seal(compacted.text()))
    yield {
        "id": id,
        "object": "response.compaction",
        "created_at": created,
        "output": to_store([*compacted.spoken, item]),
        "usage": usage_of(usage),
    }


def _tokens(plan: ChatPlan, served: Served) -> int:
    try:
        return plan.count_prompt(served)
    except ContextLengthExceeded as error:
        return error.prompt_tokens


def _spoken(items: Sequence[AnyItem], served: Served, bounds: Bounds) -> list[AnyItem]:
    """All instructions, and the latest messages of users, as far as there is place for these; both without
    pictures and files."""
    kept: list[AnyItem] = []
    left = bounds.conversation * SPOKEN_SHARE
    for item in reversed(items):
        if not isinstance(item, MessageItem) or not _is_spoken(item):
            continue
        text = _text_of(item)
        if item.role == "user":
            left -= len(served.engine.tokenize(text))
        if text and (left >= 0 or item.role != "user"):
            kept.append(item.model_copy(update={"content": text}))
    return kept[::-1]


def _is_spoken(item: MessageItem) -> bool:
    """By a user or an operator."""
    return item.role != "assistant" and not isinstance(item, SummaryItem)


def _is_users(item: AnyItem) -> bool:
    return isinstance(item, MessageItem) and item.role == "user" and _is_spoken(item)


def _text_of(item: MessageItem) -> str:
    if isinstance(item.content, str):
        return item.content
    return BETWEEN.join(part.text for part in item.content if isinstance(part, InputText))
