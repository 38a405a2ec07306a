"""`truncation: auto`: the oldest items of a prompt that does not fit are left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .items import AnyItem, CallOutputItem, CustomCallItem, FunctionCallItem, MessageItem

Placed = tuple[str, AnyItem]
"""An item and the field of the request that it comes from."""


def fitting(items: Sequence[Placed], fits: Callable[[Sequence[Placed]], bool]) -> list[Placed]:
    """As many of the latest items as fit, and all instructions; at the least what follows the last message of
    the user's. A call and its output stay together.

    `fits` is asked a few times only.
    """
    if fits(items):
        return list(items)
    ends = _ends(items)
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        if fits(_without(items, ends[middle])):
            high = middle
        else:
            low = middle + 1
    return _without(items, ends[low]) if ends else list(items)


def _ends(items: Sequence[Placed]) -> list[int]:
    """Places in the list up to which items may be left out: no later than the last message of the user's, and
    not between a call and its output."""
    last = max((at for at, (_, item) in enumerate(items) if _is_users(item)), default=len(items))
    called: dict[str, int] = {}
    bound: set[int] = set()
    for at, (_, item) in enumerate(items):
        if isinstance(item, (FunctionCallItem, CustomCallItem)):
            called[item.call_id] = at
        elif isinstance(item, CallOutputItem) and item.call_id in called:
            bound.update(range(called.pop(item.call_id) + 1, at + 1))
    return [at for at in range(1, last + 1) if at == last or at not in bound]


def _without(items: Sequence[Placed], end: int) -> list[Placed]:
    return [each for at, each in enumerate(items) if at >= end or _is_instruction(each[1])]


def _is_users(item: AnyItem) -> bool:
    return isinstance(item, MessageItem) and item.role == "user"


def _is_instruction(item: AnyItem) -> bool:
    return isinstance(item, MessageItem) and item.role in ("system", "developer")
