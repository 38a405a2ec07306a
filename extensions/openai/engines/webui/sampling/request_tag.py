"""Recognises our requests in the calls that a host makes for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class RequestTag:
    """Carries our payload through the copies that a host makes of its state, so that we recognise the call in
    any thread. If the host copies only numbers, two numbers carry it, as an extension may overwrite one."""

    payload: Any

    def __deepcopy__(self, memo: dict[int, Any]) -> RequestTag:
        return self


class TaggedInt(RequestTag, int):
    """The `max_new_tokens` of a request."""


class TaggedFloat(RequestTag, float):
    """The `typical_p` of a request."""


def tagged(options: Mapping[str, Any]) -> Any:
    """The payload in a call's options; None: the call is not for one of our requests."""
    return next((each.payload for each in options.values() if isinstance(each, RequestTag)), None)
