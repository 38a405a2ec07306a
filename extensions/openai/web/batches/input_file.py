"""The input file of a batch: a request on each line.

    {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": ..., ...}}

Source: the reference, "The request input object"; its guide to batches for the codes of errors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from ...errors import InvalidRequest
from ...schemas.json_bounds import UNCHECKED_BYTES, check_bounds

BOM = b"\xef\xbb\xbf"
MAX_CUSTOM_ID = 512
MAX_NUMBER = 1_000_000
"""Lines, also empty ones, of which a file might have nothing else."""
PREFIX_CHARACTERS = (64, 256, 1024, 4096, 16384)
"""Prompts whose first so many characters are the same are answered one after the other."""
PREFIX_BYTES = 4
"""Of the hash for each of these."""
REQUIRED: Mapping[str, Sequence[str]] = {
    "/v1/chat/completions": ("messages",),
    "/v1/messages": ("messages", "max_tokens"),
    "/v1/embeddings": ("input",),
}
"""Fields of a body without which there is no answer."""
PROMPT_FIELDS = ("model", "instructions", "system", "tools", "messages", "input", "prompt")
"""What the prompt is made of, about in the order in which a template writes it."""


@dataclass(frozen=True, slots=True)
class RawLine:
    """A line that is not empty."""

    number: int
    """From 1; empty ones count."""
    at: int
    """Where in the file it begins."""
    length: int
    data: bytes | None
    """None: it is too long to be read."""


@dataclass(frozen=True, slots=True)
class RequestLine:
    """A line that was understood."""

    custom_id: str
    body: Mapping[str, Any]


class LineProblem(Exception):
    """What is wrong with a line; the message is for its client."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param


def raw_lines(parts: Iterable[bytes], most: int) -> Iterator[RawLine]:
    """The lines of a file that comes in parts, of which at most one of `most` bytes is kept. Raises
    LineProblem."""
    number, begins, held, length = 1, 0, bytearray(), 0
    for part in parts:
        *ended, rest = part.split(b"\n")
        if number > MAX_NUMBER:
            message = f"The file has more than {MAX_NUMBER} lines, empty ones among them."
            raise LineProblem("too_many_tasks", message, "input_file_id")
        for piece in ended:
            length += len(piece)
            if length <= most:
                held += piece
            yield from _line(number, begins, held, length, most)
            number, begins, length = number + 1, begins + length + 1, 0
            held.clear()
        length += len(rest)
        if length <= most:
            held += rest
    yield from _line(number, begins, held, length, most)


def _line(number: int, at: int, held: bytearray, length: int, most: int) -> Iterator[RawLine]:
    if length > most:
        yield RawLine(number, at, length, None)
        return
    data = bytes(held)
    if number == 1:
        data = data.removeprefix(BOM)
    if data.strip():
        yield RawLine(number, at, length, data)


def parse_line(data: bytes | None, endpoint: str) -> RequestLine:
    """Raises LineProblem."""
    if data is None:
        raise LineProblem("invalid_json_line", "This line is longer than a request may be.")
    try:
        if len(data) > UNCHECKED_BYTES:
            check_bounds(data)
        line = orjson.loads(data.removeprefix(BOM))
    except InvalidRequest as error:
        raise LineProblem("invalid_json_line", error.message) from None
    except orjson.JSONDecodeError:
        raise LineProblem(
            "invalid_json_line", "This line is not parseable as valid JSON."
        ) from None
    if not isinstance(line, dict):
        raise LineProblem("invalid_json_line", "This line is not a JSON object.")
    custom_id = _field(line, "custom_id", str)
    if not 0 < len(custom_id) <= MAX_CUSTOM_ID:
        message = f"'custom_id' must have 1 to {MAX_CUSTOM_ID} characters."
        raise LineProblem("invalid_value", message, "custom_id")
    if _field(line, "method", str) != "POST":
        raise LineProblem("invalid_method", "'method' must be 'POST'.", "method")
    if _field(line, "url", str) != endpoint:
        message = f"'url' does not match the endpoint of the batch, '{endpoint}'."
        raise LineProblem("invalid_url", message, "url")
    body = _field(line, "body", dict)
    try:
        orjson.dumps(body)
    except orjson.JSONEncodeError:  # which goes less deep than reading
        raise LineProblem("invalid_value", "'body' is nested too deeply.", "body") from None
    _check_body(body, endpoint)
    return RequestLine(custom_id, body)


def _check_body(body: Mapping[str, Any], endpoint: str) -> None:
    """Find what makes an answer impossible, whatever else the body says. Raises LineProblem."""
    if body.get("stream"):
        message = "Streaming is not supported in batches."
        raise LineProblem("streaming_unsupported", message, "body.stream")
    if body.get("background"):
        message = "Answers in the background are not supported in batches."
        raise LineProblem("invalid_request", message, "body.background")
    for name in REQUIRED.get(endpoint, ()):
        if name not in body:
            raise LineProblem("invalid_request", f"'body.{name}' is missing.", f"body.{name}")


def _field(line: Mapping[str, Any], name: str, kind: type) -> Any:
    if name not in line:
        message = f"'{name}' is missing."
        raise LineProblem("missing_required_parameter", message, name)
    if not isinstance(line[name], kind):
        expected = "a string" if kind is str else "an object"
        raise LineProblem("invalid_type", f"'{name}' must be {expected}.", name)
    return line[name]


def name_of(custom_id: str, key: bytes) -> str:
    """Stands for a `custom_id`, and says nothing of it without the key."""
    return hashlib.blake2b(custom_id.encode(), key=key, digest_size=16).hexdigest()


def prefix_of(body: Mapping[str, Any], key: bytes) -> str:
    """Stands for what a prompt begins with: those that begin alike for longer are nearer to each other in the
    order of these texts. It says nothing of the prompt without the key."""
    said = orjson.dumps([body.get(name) for name in PROMPT_FIELDS]).decode()
    digest = hashlib.blake2b(key=key, digest_size=PREFIX_BYTES)
    digest.update(str(body.get("model")).encode())
    found, at = [digest.hexdigest()], 0
    for end in PREFIX_CHARACTERS:
        digest.update(said[at:end].encode())
        at = end
        found.append(digest.hexdigest())
    return "".join(found)
