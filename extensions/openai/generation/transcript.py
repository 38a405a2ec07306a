"""A transcript as a whole, and as subtitles.

1
00:00:00,000 --> 00:00:03,320
The beach was a popular spot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from typing_extensions import NotRequired, TypedDict

from ..engines.sounds import Segment, TokensUsed, TranscriptPart, Word


class TranscriptUsage(TypedDict):
    """The seconds of the sound, or tokens, where another server counts those."""

    type: Literal["duration", "tokens"]
    seconds: NotRequired[float]
    input_tokens: NotRequired[int]
    input_token_details: NotRequired[Mapping[str, Any]]
    output_tokens: NotRequired[int]
    total_tokens: NotRequired[int]


class TranscriptSum:
    """Adds up the parts of a transcript."""

    def __init__(self) -> None:
        self._text = ""
        self.segments: list[Segment] = []
        self.words: list[Word] = []
        self.logprobs: list[Mapping[str, Any]] = []
        self.language: str | None = None
        self.seconds: float | None = None
        self._tokens: TokensUsed | None = None

    def add(self, part: TranscriptPart) -> None:
        self._text += part.text
        self.words += part.words
        self.logprobs += part.logprobs
        if part.segment is not None:
            self.segments.append(part.segment)
        if part.language is not None:
            self.language = part.language
        if part.seconds is not None:
            self.seconds = part.seconds
        if part.tokens is not None:
            self._tokens = part.tokens

    @property
    def text(self) -> str:
        return self._text.strip()

    @property
    def usage(self) -> TranscriptUsage | None:
        """None: it is not known."""
        if self._tokens is not None:
            read, written = self._tokens.input, self._tokens.output
            usage: TranscriptUsage = {
                "type": "tokens",
                "input_tokens": read,
                "output_tokens": written,
                "total_tokens": read + written,
            }
            if self._tokens.details:
                usage["input_token_details"] = self._tokens.details
            return usage
        if self.seconds is not None:
            return {"type": "duration", "seconds": self.seconds}
        return None

    def as_text(self, format: str) -> str:
        """As `text`, `srt` or `vtt`."""
        if format == "srt":
            return "".join(
                f"{at}\n{_time(each.start, ',')} --> {_time(each.end, ',')}\n{_line(each)}\n\n"
                for at, each in enumerate(self.segments, 1)
            )
        if format == "vtt":
            return "WEBVTT\n\n" + "".join(
                f"{_time(each.start, '.')} --> {_time(each.end, '.')}\n{_line(each)}\n\n"
                for each in self.segments
            )
        return f"{self.text}\n"


def _line(segment: Segment) -> str:
    """Its text, which must not look like a line of times, nor end the entry."""
    return " ".join(segment.text.split()).replace("-->", "->")


def _time(seconds: float, point: str) -> str:
    milliseconds = max(0, round(seconds * 1000))
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"
