"""Pages of lists that are whole in memory, and the reference's envelope of any page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ..errors import StoredObjectNotFound
from ..state.pages import Page, PageQuery

T = TypeVar("T", bound=Mapping[str, Any])


def page_of(items: Sequence[T], query: PageQuery) -> Page[T]:
    """Raises StoredObjectNotFound for an `after` that is none of them."""
    ordered = list(items) if query.order == "asc" else list(reversed(items))
    if query.after is not None:
        ids = [item["id"] for item in ordered]
        if query.after not in ids:
            raise StoredObjectNotFound(query.after, param="after")
        ordered = ordered[ids.index(query.after) + 1 :]
    return Page(tuple(ordered[: query.limit]), len(ordered) > query.limit)


def list_of(page: Page[T]) -> dict[str, Any]:
    """The page in its envelope; the ids are empty texts where nothing is on it."""
    ids = [item["id"] for item in page.items] or [""]
    return {
        "object": "list",
        "data": page.items,
        "first_id": ids[0],
        "last_id": ids[-1],
        "has_more": page.has_more,
    }
