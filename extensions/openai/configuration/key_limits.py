"""Limits of keys: how many of a unit are allowed in a period.

The limits are the rows of `settings.Settings` that are annotated with a KeyLimit. Such a row defines the
setting, the option of `keys create`, the value in a key, the count, its headers, and what GET /v1/usage
shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from annotated_types import BaseMetadata, Ge, GroupedMetadata, Le
from pydantic.fields import FieldInfo

Period = Literal["at once", "minute", "day", "month"]
DAY_S = 86400
MAX_LIMIT = 10**12
PERIOD_SECONDS: Mapping[Period, int] = {
    "at once": 0,
    "minute": 60,
    "day": DAY_S,
    "month": 31 * DAY_S,
}
"""Of a month, at most."""


@dataclass(frozen=True, slots=True)
class KeyLimit(GroupedMetadata):
    """A limit's unit and period, and the range of its setting. 0 is no limit."""

    unit: str
    """`requests`, or what else is counted: a row of `limits.units.UNITS`."""
    period: Period
    """`month`: a calendar month (UTC), for tokens only, whose past use is known (state/usage.py).
    `at once`: running at the same time, for requests only."""
    at_most: int = MAX_LIMIT
    """The maximum of the setting."""
    of_named_keys: int = 0
    """The default of named keys, if neither the key nor the setting has a value."""

    def __post_init__(self) -> None:
        """Raises ValueError for a unit that is not counted in this period."""
        only = {"month": "tokens", "at once": "requests"}.get(self.period, self.unit)
        if self.unit != only:
            raise ValueError(f"{self.unit} {self.period}: only {only} are counted like that")

    def __iter__(self) -> Iterator[BaseMetadata]:
        yield Ge(0)
        yield Le(self.at_most)

    @property
    def seconds(self) -> int:
        return PERIOD_SECONDS[self.period]

    @property
    def has_headers(self) -> bool:
        """Whether responses have `x-ratelimit-*` headers for it, as OpenAI's."""
        return self.period not in ("at once", "month")

    @property
    def words(self) -> str:
        """`requests a minute`."""
        period = self.period if self.period == "at once" else f"a {self.period}"
        return f"{self.unit} {period}"

    @property
    def field(self) -> str:
        """Its name in responses: `requests_per_minute`."""
        at_once = self.period == "at once"
        return f"concurrent_{self.unit}" if at_once else f"{self.unit}_per_{self.period}"


def key_limits(fields: Mapping[str, FieldInfo]) -> dict[str, KeyLimit]:
    """The limits among the settings, by name."""
    return {
        name: each
        for name, field in fields.items()
        for each in field.metadata
        if isinstance(each, KeyLimit)
    }
