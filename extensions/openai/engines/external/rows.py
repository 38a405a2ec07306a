"""The rows of chat APIs in the operator's file of upstreams.

external:
  helper:
    address: http://127.0.0.1:1865/chat
    body: '{"messages": {{ messages | tojson }}}'
    text: reply
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ...settings import SettingsError
from ..remote.address import Address
from ..remote.http_client import Timeouts
from ..upstream.rows import HeaderName, HeaderValue, TimeoutsEntry, address_of, key_headers
from .answer_path import AnswerPath
from .body_template import BadBody, BodyTemplate

DEFAULT_BODY = '{"messages": {{ messages | tojson }}}'
DEFAULT_CONTEXT = 131_072


@dataclass(frozen=True, slots=True)
class External:
    """One chat API."""

    name: str
    address: Address
    body: BodyTemplate
    text: AnswerPath
    event_text: AnswerPath
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """With the key."""
    whole_events: bool = False
    """Whether each event has the whole text so far, not only what is new."""
    error: AnswerPath | None = None
    """Where an answer with status 200 says that it failed."""
    aliases: tuple[str, ...] = ()
    ignores: frozenset[str] = frozenset()
    """Parameters of requests that are taken although they have no effect."""
    context_length: int = DEFAULT_CONTEXT
    concurrent: int = 4
    timeouts: Timeouts = field(default_factory=Timeouts)
    ca_file: str | None = None


class ExternalEntry(BaseModel):
    """A chat API in the file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    address: str
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    key_env: str | None = None
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    body: str = DEFAULT_BODY
    text: str
    event_text: str | None = None
    whole_events: bool = False
    error: str | None = None
    aliases: list[str] = Field(default_factory=list)
    ignores: list[str] = Field(default_factory=list)
    context_length: int = Field(DEFAULT_CONTEXT, ge=1)
    concurrent: int = Field(4, ge=1, le=4096)
    timeouts: TimeoutsEntry = TimeoutsEntry()
    ca_file: str | None = None


def external_of(name: str, entry: ExternalEntry, where: str) -> External:
    """A row. Raises SettingsError with one clear line."""
    try:
        body = BodyTemplate(entry.body)
    except BadBody as error:
        raise SettingsError(f"{where}: body: {error}") from None
    try:
        text = AnswerPath.parse(entry.text)
        event_text = text if entry.event_text is None else AnswerPath.parse(entry.event_text)
        failure = None if entry.error is None else AnswerPath.parse(entry.error)
    except ValueError as problem:
        raise SettingsError(f"{where}: {problem}") from None
    return External(
        name,
        address_of(entry.address, where),
        body,
        text,
        event_text,
        entry.method,
        key_headers(entry.headers, entry.key_env, where),
        entry.whole_events,
        failure,
        tuple(entry.aliases),
        frozenset(entry.ignores),
        entry.context_length,
        entry.concurrent,
        entry.timeouts.value,
        entry.ca_file,
    )
