"""What an endpoint declares of its routes: a row each."""

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
"""In an example: the name of the model that is loaded."""


class PathPrefixes(Enum):
    """Below which paths a route is found; `<model>` in one stands for a model's name."""

    ROOT = ("",)
    API = ("/v1", "", "/openai", "/openai/v1")
    MODEL = ("/v1", "", "/openai/v1", "/v1/engines/<path:model>", "/engines/<path:model>",
             "/openai/deployments/<path:model>")  # fmt: skip


BodyFormat = Literal["json", "form", "bytes"]
"""`form` is multipart/form-data, whose files are fields of the type `Upload`."""


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the API reference. All paths of it are documented under the first address."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    handler: Callable[..., Response]
    """Called with the RequestContext, then `body` if there is one, then the path's own arguments by name."""
    summary: str
    addresses: PathPrefixes
    answer: Any = None
    """The type of the JSON answer; None for one that is no JSON."""
    body: type[RequestModel] | None = None
    """The fields of the request's body; None where it has none, or is read as it comes."""
    body_format: BodyFormat = "json"
    """How fields are sent, or that there are none: `bytes` are handed to the handler as a file."""
    query: type[RequestModel] | None = None
    """The parameters behind the `?`; the handler gets them as `query`."""
    body_optional: bool = False
    """Whether a request without a body is one with an empty object."""
    chunk: Any = None
    """The type of an event's data where the route can stream."""
    scope: Scope | None = "read"
    """What the caller's key must allow; None for a page that needs no key."""
    open_by: Callable[[Settings], bool] = lambda settings: False
    """Whether settings open it, so that it needs no key after all."""
    media: str = "text/html"
    """The type of an answer that is no JSON."""
    example: Mapping[str, Any] | None = field(default=None, hash=False)
    """A body that works as it stands; its values may be MODEL."""
    endpoint: str = ""
    """Its public name, for `--endpoints` and `--disabled-endpoints`; several routes may share one."""
    dialect: Dialect = OPENAI
    """How errors and streams look to its clients."""
    name: str = field(init=False)
    """As the reference writes it: `POST /v1/chat/completions`."""
    has_body: bool = field(init=False)

    def __post_init__(self) -> None:
        # As a frozen dataclass's own __init__ does.
        object.__setattr__(self, "name", f"{self.method} {self.addresses.value[0]}{self.path}")
        object.__setattr__(self, "has_body", self.body is not None or self.body_format == "bytes")


def endpoint(name: str, *routes: Route, dialect: Dialect = OPENAI) -> tuple[Route, ...]:
    """The routes of an endpoint, under its public name and in its dialect."""
    return tuple(replace(route, endpoint=name, dialect=dialect) for route in routes)
