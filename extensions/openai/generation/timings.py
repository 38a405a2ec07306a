"""How long the parts of an answer took, as llama.cpp's server reports it: for `timings_per_token`."""

from __future__ import annotations

from typing_extensions import TypedDict

from ..observability.record import RequestRecord


class Timings(TypedDict):
    """Tokens and milliseconds so far, of all choices together; measured by this server."""

    cache_n: int
    """Tokens of the prompt that were in the cache."""
    prompt_n: int
    """Tokens of the prompt that were read."""
    prompt_ms: float
    """From the slot to the first token."""
    prompt_per_second: float | None
    predicted_n: int
    predicted_ms: float
    """From the first token to the last one."""
    predicted_per_second: float | None
    """Of the tokens behind the first one; null where there are none."""
    queue_ms: float
    """Until there was a slot."""


def timings_of(record: RequestRecord) -> Timings:
    """The times of a request that was admitted."""
    admitted = record.started if record.admitted is None else record.admitted
    first = admitted if record.first_token is None else record.first_token
    last = first if record.last_token is None else record.last_token
    read = record.prompt_tokens - record.cached_tokens
    return {
        "cache_n": record.cached_tokens,
        "prompt_n": read,
        "prompt_ms": _milliseconds(first - admitted),
        "prompt_per_second": _rate(read, first - admitted),
        "predicted_n": record.completion_tokens,
        "predicted_ms": _milliseconds(last - first),
        "predicted_per_second": _rate(record.completion_tokens - 1, last - first),
        "queue_ms": _milliseconds(admitted - record.started),
    }


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _rate(tokens: int, seconds: float) -> float | None:
    return round(tokens / seconds, 2) if tokens > 0 and seconds > 0 else None
