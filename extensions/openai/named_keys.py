"""Named keys: list, make, rotate and revoke them, as `openedai keys` does. The server's own, for admins."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from .access.caller import RESERVED, Priority, Scope
from .access.key_files import Entry, KeyExists, KeyFiles, KeysError, NoSuchKey
from .access.signed_keys import NAME, Grant
from .errors import InvalidRequest, KeysUnreadable, NotFound
from .schemas import bad_request
from .schemas.validation import RequestModel
from .settings import KEY_LIMITS
from .web.responses.response import Response, json_response
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .web.context import RequestContext

log = logging.getLogger("openedai")
ORDER: tuple[Scope, ...] = ("read", "write", "admin")
USE: tuple[Scope, ...] = ("read", "write")
LATEST = 253_402_300_799  # the last second of the year 9999
MOST_GRACE_S = 30 * 86400
Limits = dict[str, Annotated[int, Field(ge=0)]]


class NewKey(RequestModel):
    """What the key is to allow."""

    name: str = Field(min_length=1, max_length=40, description="Stands in logs and usage.")
    scopes: list[Scope] = Field(
        list(USE), min_length=1, max_length=3, description="What it allows."
    )
    expires_at: int | None = Field(
        None, ge=1, le=LATEST, description="Unix seconds. Default: never."
    )
    limits: Limits = Field(
        {}, description="By the names of docs/keys.md; 0 is no limit. Default: the settings'."
    )
    user_limits: Limits = Field({}, description="The same for each `user` of its requests.")
    weight: int = Field(1, ge=1, le=100, description="Its share of the engine.")
    priority: Priority = Field("interactive", description="`batch` gets what others leave.")
    stores: bool = Field(True, description="Whether its requests may store objects.")


class Rotation(RequestModel):
    """How the old key ends."""

    grace_seconds: int = Field(
        0, ge=0, le=MOST_GRACE_S, description="How long it stays valid beside the new one."
    )


class KeyObject(TypedDict):
    """A key, without its text."""

    object: Literal["key"]
    id: str
    name: str
    valid: bool
    scopes: list[Scope]
    created_at: int
    ends_at: int | None
    """When it ends or has ended; 0: it was revoked; null: never."""
    limits: dict[str, int]
    user_limits: dict[str, int]
    weight: int
    priority: Priority
    stores: bool


class KeyWithText(KeyObject):
    """A key that was made just now."""

    key: str
    """Its text, which no other answer has."""


class KeyList(TypedDict):
    """All keys, the latest first."""

    object: Literal["list"]
    data: list[KeyObject]


class RevokedKeys(TypedDict):
    """All keys with the name have ended."""

    object: Literal["key.revoked"]
    name: str
    count: int


def list_keys(context: RequestContext) -> Response:
    """All named keys, those that have ended among them."""
    with _refusing():
        entries = _files(context).entries()
    answer: KeyList = {"object": "list", "data": [_shown(entry) for entry in reversed(entries)]}
    return json_response(answer)


def create_key(context: RequestContext, body: NewKey) -> Response:
    """Make a key. From the first one on, the server answers only requests with a key."""
    if not re.fullmatch(NAME, body.name):
        raise bad_request.no_match("name", f"^{NAME}$")
    if body.name.lower() in RESERVED:
        raise InvalidRequest(
            f"The name {body.name} is reserved.", param="name", code="invalid_value"
        )
    for field in ("limits", "user_limits"):
        _check_limits(field, getattr(body, field))
    grant = Grant(
        *("", body.name, frozenset(body.scopes), body.expires_at, body.limits, body.user_limits),
        *(body.weight, body.priority, body.stores),
    )
    with _refusing():
        text = _files(context).create(grant)
    log.info("the key %s was made by %s", body.name, context.record.caller.name)
    return json_response(_with_text(context, body.name, text))


def rotate_key(context: RequestContext, body: Rotation, name: str) -> Response:
    """Make a new key with this name and what the old one allows; the old one ends."""

    def change(old: Entry) -> Grant:
        grant = replace(old.grant, id="")
        if grant.expires is None:
            return grant
        # The same lifetime as the old key's.
        return replace(grant, expires=int(time.time()) + grant.expires - old.created)

    with _refusing():
        text, _ = _files(context).rotate(name, change, body.grace_seconds)
    log.info("the key %s was replaced by %s", name, context.record.caller.name)
    return json_response(_with_text(context, name, text))


def revoke_key(context: RequestContext, name: str) -> Response:
    """End all keys with this name, at once and for good."""
    with _refusing():
        count = _files(context).revoke(name)
    log.info("the key %s was revoked by %s", name, context.record.caller.name)
    answer: RevokedKeys = {"object": "key.revoked", "name": name, "count": count}
    return json_response(answer)


def _files(context: RequestContext) -> KeyFiles:
    return KeyFiles.of(context.services.settings)


@contextmanager
def _refusing() -> Iterator[None]:
    """What goes wrong with the files is for the log, since it may name a folder."""
    try:
        yield
    except NoSuchKey as error:
        raise NotFound(
            f"T{str(error)[1:]}.", param="name", code="stored_object_not_found"
        ) from None
    except KeyExists as error:
        raise InvalidRequest(f"T{str(error)[1:]}.", param="name", code="invalid_value") from None
    except KeysError as error:
        log.error("named keys cannot be read or written: %s", error)
        raise KeysUnreadable(
            "Named keys cannot be read or written at the moment; the operator can find details in the log."
        ) from None


def _check_limits(field: str, limits: Limits) -> None:
    """Raises InvalidRequest for a limit that is unknown or too large."""
    for name, most in limits.items():
        limit = KEY_LIMITS.get(name)
        if limit is None:
            raise bad_request.unsupported(
                f"{field}.{name}", f"is no limit; there are {', '.join(KEY_LIMITS)}."
            )
        if most > limit.at_most:
            raise bad_request.out_of_range(f"{field}.{name}", most, low=0, high=limit.at_most)


def _with_text(context: RequestContext, name: str, text: str) -> KeyWithText:
    entries = _files(context).entries()
    made = next(entry for entry in reversed(entries) if entry.grant.name == name)
    return {**_shown(made), "key": text}


def _shown(entry: Entry) -> KeyObject:
    grant = entry.grant
    ends = [end for end in (entry.ends, grant.expires) if end is not None]
    return {
        "object": "key",
        "id": grant.id,
        "name": grant.name,
        "valid": entry.valid(time.time()),
        "scopes": [scope for scope in ORDER if scope in grant.scopes],
        "created_at": entry.created,
        "ends_at": min(ends, default=None),
        "limits": dict(grant.limits),
        "user_limits": dict(grant.user_limits),
        "weight": grant.weight,
        "priority": grant.priority,
        "stores": grant.stores,
    }


ALL, ONE = "/internal/keys", "/internal/keys/<name>"
ROUTES = endpoint(
    "named_keys",
    Route(*("GET", ALL, list_keys, "List keys"), PathPrefixes.API, answer=KeyList, scope="admin"),
    Route(
        *("POST", ALL, create_key, "Make a key"),
        PathPrefixes.API,
        answer=KeyWithText,
        body=NewKey,
        scope="admin",
        example={"name": "alice", "scopes": ["read", "write"], "limits": {"rpm": 60}},
    ),
    Route(
        *("POST", f"{ONE}/rotate", rotate_key, "Rotate a key"),
        PathPrefixes.API,
        answer=KeyWithText,
        body=Rotation,
        body_optional=True,
        scope="admin",
        example={"grace_seconds": 3600},
    ),
    Route(
        *("DELETE", ONE, revoke_key, "Revoke a key"),
        PathPrefixes.API,
        answer=RevokedKeys,
        scope="admin",
    ),
)
