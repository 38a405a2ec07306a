"""How a request is recognised in the calls that a host makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class RequestTag:
    """Carries our part through the copies that a host makes of its state, so that the call is recognised in
    whatever thread the host makes it. Where the host copies numbers only, it is one of two numbers, as an
    extension may overwrite one of them."""

    part: Any

    def __deepcopy__(self, memo: dict[int, Any]) -> RequestTag:
        return self


class TaggedInt(RequestTag, int):
    """The `max_new_tokens` of a request."""


class TaggedFloat(RequestTag, float):
    """The `typical_p` of a request."""


def tagged(options: Mapping[str, Any]) -> Any:
    """Our part in a call with these options; None: the call is none of a request of this server."""
    return next((each.part for each in options.values() if isinstance(each, RequestTag)), None)
