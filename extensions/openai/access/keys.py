"""The key that a request must bring."""

from __future__ import annotations

import hmac

from pydantic import SecretStr

from ..errors import Unauthorized
from ..settings import Settings


def check_key(settings: Settings, headers: dict[str, str | None]) -> None:
    """Compare the request's key with ours, in constant time. Raises Unauthorized.

    `headers` holds `authorization` (Bearer), `x-api-key` and `api-key` (Azure clients), None if absent.
    """
    keys = [key for key in (settings.api_key, settings.admin_key) if key is not None]
    if settings.api_key is None:
        return
    given = _given(headers)
    if given is None:
        raise Unauthorized(
            "You didn't provide an API key. Send it in the Authorization header, as: Bearer YOUR_KEY."
        )
    # Every key is compared, so that the time says nothing about which one came close.
    if sum(_same(given, key) for key in keys) == 0:
        raise Unauthorized("The API key that was sent is not one of this server's.")


def _given(headers: dict[str, str | None]) -> str | None:
    scheme, _, key = (headers.get("authorization") or "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return headers.get("x-api-key") or headers.get("api-key")


def _same(given: str, key: SecretStr) -> bool:
    # Header bytes reach us as latin-1; a key of the settings is UTF-8.
    return hmac.compare_digest(given.encode("latin-1", "replace"), key.get_secret_value().encode())
