"""How an endpoint declares its routes: a row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

from ..responses.dialects import OPENAI, Dialect
from ..responses.response import Response

if TYPE_CHECKING:
    from ...access.caller import Scope
    from ...schemas.validation import RequestModel
    from ...settings import Settings


MODEL = "MODEL"
"""Placeholder in examples for the loaded model's name."""


class PathPrefixes(Enum):
    """The prefixes of a route's paths; `<model>` stands for a model's name."""

    ROOT = ("",)
    KOBOLD = ("/api/v1", "/api/latest")
    API = ("/v1", "", "/openai", "/openai/v1")
    MODEL = ("/v1", "", "/openai/v1", "/v1/engines/<path:model>", "/engines/<path:model>",
             "/openai/deployments/<path:model>")  # fmt: skip


UsageKind = Literal[
    "completions",
    "embeddings",
    "rerank",
    "moderations",
    "audio_transcriptions",
    "audio_speeches",
    "images",
]

BodyFormat = Literal["json", "form", "bytes"]
"""`form` is multipart/form-data, whose files are fields of the type `Upload`."""


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the API reference. The document shows it at its first path."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    handler: Callable[..., Response]
    """Called with the RequestContext, then `body` if there is one, then the path's parameters by name."""
    summary: str
    addresses: PathPrefixes
    answer: Any = None
    """The type of the JSON response; None: it is not JSON."""
    body: type[RequestModel] | None = None
    """The type of the request's body; None: it has none, or the handler reads the bytes."""
    body_format: BodyFormat = "json"
    """The encoding of the body; `bytes`: the handler gets it as a file."""
    takes_files: bool = False
    """Whether its body may have `max_file_mb` instead of `max_body_mb`. It is on disk while it arrives."""
    query: type[RequestModel] | None = None
    """The query parameters; the handler gets them as `query`."""
    body_optional: bool = False
    """Whether a missing body counts as an empty object."""
    chunk: Any = None
    """The type of an event's data; None: the route cannot stream."""
    scope: Scope | None = "read"
    """The scope that the key needs; None: no key is needed."""
    open_by: Callable[[Settings], bool] = lambda settings: False
    """Whether the settings make it public, without a key."""
    media: str = "text/html"
    """The media type of a response that is not JSON."""
    media_types: tuple[str, ...] = ()
    """Further media types of a response that is not JSON."""
    example: Mapping[str, Any] | None = field(default=None, hash=False)
    """A valid body; its values may be MODEL."""
    once: bool = False
    """Whether a request that comes again with its `Idempotency-Key` is done once; the handler sees to that,
    with `web/idempotent_request.py`."""
    beside: bool = False
    """Whether it follows or ends other requests of its key, and is not counted among those at once."""
    cached: bool = False
    """Whether `--answer-cache` keeps its answers; they are made of the body alone."""
    usage: UsageKind | None = "completions"
    """How usage counts its requests if a model answers them; None: it does not, as they only count tokens."""
    endpoint: str = ""
    """Its public name, for `--endpoints` and `--disabled-endpoints`; several routes may share one."""
    dialect: Dialect = OPENAI
    """The shape of its errors and streams."""
    name: str = field(init=False)
    """As the reference writes it: `POST /v1/chat/completions`."""
    has_body: bool = field(init=False)
    generates: bool = field(init=False)
    """Whether the chat model answers; what is stored may be streamed without it."""

    def __post_init__(self) -> None:
        # As a frozen dataclass's own __init__ does.
        object.__setattr__(self, "name", f"{self.method} {self.addresses.value[0]}{self.path}")
        object.__setattr__(self, "has_body", self.body is not None or self.body_format == "bytes")
        writes = self.method == "POST" and self.chunk is not None and self.scope != "admin"
        object.__setattr__(self, "generates", writes and self.usage == "completions")


def endpoint(name: str, *routes: Route, dialect: Dialect = OPENAI) -> tuple[Route, ...]:
    """The routes of an endpoint, with its public name and its dialect."""
    return tuple(replace(route, endpoint=name, dialect=dialect) for route in routes)
