"""The key that a request must bring, and whose it is."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from pydantic import SecretStr

from ..errors import Unauthorized
from ..settings import Settings
from .caller import LOCAL, Caller, Scope

USE: frozenset[Scope] = frozenset({"read", "write"})


def identify(settings: Settings, headers: Mapping[str, str | None]) -> Caller:
    """Whose key the request brings, compared with ours in constant time. Raises Unauthorized.

    `headers` holds `authorization` (Bearer), `x-api-key` and `api-key` (Azure clients), None if absent.
    """
    api_key, admin_key = settings.api_key, settings.admin_key
    if api_key is None and admin_key is None:
        return LOCAL
    given = _given(headers)
    if given is None and api_key is None:
        return Caller(LOCAL.name, USE)
    if given is None:
        raise Unauthorized(
            "You didn't provide an API key. Send it in the Authorization header, as: Bearer YOUR_KEY."
        )
    # Both are compared, so that the time says nothing about which one came close.
    is_admin = admin_key is not None and _same(given, admin_key)
    is_user = api_key is not None and _same(given, api_key)
    if is_admin or (is_user and admin_key is None):
        return Caller("admin" if is_admin else "api-key", USE | {"admin"})
    if is_user or api_key is None:
        return Caller("api-key" if is_user else LOCAL.name, USE)
    raise Unauthorized("The API key that was sent is not one of this server's.")


def _given(headers: Mapping[str, str | None]) -> str | None:
    scheme, _, key = (headers.get("authorization") or "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return headers.get("x-api-key") or headers.get("api-key")


def _same(given: str, key: SecretStr) -> bool:
    # Header bytes reach us as latin-1; a key of the settings is UTF-8.
    return hmac.compare_digest(given.encode("latin-1", "replace"), key.get_secret_value().encode())
