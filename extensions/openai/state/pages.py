"""A part of a list: what is asked for, and what is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

T = TypeVar("T")
U = TypeVar("U")
Order = Literal["asc", "desc"]


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Which part of a list."""

    after: str | None = None
    """The id that the page begins behind."""
    limit: int = 20
    order: Order = "asc"


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    items: tuple[T, ...]
    has_more: bool

    def map(self, make: Callable[[T], U]) -> Page[U]:
        """The page with what is made of each item."""
        return Page(tuple(make(item) for item in self.items), self.has_more)
