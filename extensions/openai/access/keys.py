"""Checks the key of a request, and identifies its caller."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from ..errors import KeysUnreadable, Unauthorized
from ..settings import KEY_LIMITS, Settings
from .caller import LOCAL, USER_PREFIX, Caller, Limits, Scope
from .failed_attempts import AttemptLimiter
from .key_files import KeyFiles, KeysError, named_keys_exist
from .password import Password
from .signed_keys import Grant, verify

log = logging.getLogger("openedai")

HEADERS = ("authorization", "x-api-key", "api-key")
USE: frozenset[Scope] = frozenset({"read", "write"})
ALL: frozenset[Scope] = USE | {"admin"}
ADMIN = Caller("admin", ALL)
"""The holder of the admin key."""
IN_ENVIRON = {name: "HTTP_" + name.upper().replace("-", "_") for name in HEADERS}
UNREADABLE = "Named keys cannot be checked at the moment; the operator can find details in the log."
MAX_KEY_BYTES = 4096  # a named key has about 150


def has_keys(settings: Settings) -> bool:
    """Whether requests need a key: a shared key, a password, or a named key; or a user of a proxy's."""
    return (
        settings.api_key is not None
        or settings.password is not None
        or settings.trusted_user_header is not None
        or named_keys_exist(settings)
    )


class Keys:
    """All keys of the server. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._password_setting: SecretStr | None = None
        self._password: Password | None = None
        self._attempts = AttemptLimiter()
        self._files = KeyFiles.of(settings)
        self._settings = settings
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Use these settings from now on."""
        if settings.keys_secret != self._settings.keys_secret:
            self._files = KeyFiles.of(settings)
        named = {name: limit.of_named_keys for name, limit in KEY_LIMITS.items()}
        given = {name: getattr(settings, name) for name in KEY_LIMITS}
        self._limits: Limits = {name: most for name, most in given.items() if most is not None}
        self._user_limits: Limits = settings.user_limits
        self._limits_of_named: Limits = {**named, **self._limits}
        scopes = ALL if settings.admin_key is None else USE
        self._local = self._limited(LOCAL)
        self._local_user = self._limited(Caller(LOCAL.name, USE))
        self._key_holder = self._limited(Caller("api-key", scopes))
        self._password_holder = self._limited(Caller("password", scopes))
        self._settings = settings
        if settings.password != self._password_setting:
            self._password_setting = settings.password
            password = settings.password
            self._password = Password(password.get_secret_value()) if password else None

    def identify(
        self, headers: Mapping[str, str | None], address: str = "", user: str | None = None
    ) -> Caller:
        """The caller that the request's key belongs to. Raises Unauthorized, TooManyWrongKeys,
        KeysUnreadable.

        `user`: whom a trusted proxy has logged in; then keys are not looked at.
        `headers`: `authorization` (Bearer), `x-api-key` and `api-key` (Azure clients), None if absent;
        `address` is the client's. The time it takes does not reveal how close a wrong key is to any of the
        server's.
        """
        if user is not None:
            return self._user(user)
        locked = has_keys(self._settings)
        if not locked and self._settings.admin_key is None:
            return self._local
        given = _given(headers)
        if given is None and locked:
            missing = "You didn't provide an API key."
            if headers.get("authorization"):
                missing = "The Authorization header has no Bearer key."
            raise Unauthorized(f"{missing} Send it as: Authorization: Bearer YOUR_KEY")
        found = None
        if given is not None:
            self._attempts.check(address, given, self._settings.wrong_keys)
            found = self._whose(given)
        if found is None and locked:
            self._attempts.add_wrong(address)
            raise Unauthorized("The API key that was sent is not one of this server's.")
        if found is None or given is None:
            return self._local_user
        self._attempts.add_valid(address, given)
        return found

    def identify_again(self, caller: Caller) -> Caller:
        """A caller that was identified before, as its key is now: for work that outlives its request.

        Raises Unauthorized where its key is not valid any more, KeysUnreadable."""
        if caller.identity.startswith(USER_PREFIX):
            if self._settings.trusted_user_header is None:
                raise Unauthorized("There are no users of a proxy any more.")
            now_is = self._user(caller.identity.removeprefix(USER_PREFIX))
            return replace(now_is, scopes=now_is.scopes & caller.scopes)
        shared = (self._local, self._local_user, ADMIN, self._key_holder, self._password_holder)
        if not caller.identity:
            found = next((each for each in shared if each.name == caller.name), caller)
            return replace(found, scopes=found.scopes & caller.scopes)
        try:
            entries = self._files.entries()
        except KeysError as error:
            raise _unreadable(error) from None
        now = time.time()
        mine = [each for each in entries if each.grant.identity == caller.identity]
        valid = [each.grant for each in mine if each.valid(now)]
        if valid:
            return self._holder(valid[-1])
        if entries:
            raise Unauthorized("The API key of this work was revoked, or has expired.")
        return caller

    def is_shared(self, headers: Mapping[str, str | None]) -> bool:
        """Whether the request has the API key or the admin key. Never blocks, and counts no wrong key."""
        try:
            given = _given(headers)
        except Unauthorized:
            return False
        shared = (self._settings.api_key, self._settings.admin_key)
        # Always compare both, for constant time.
        matches = [key is not None and given is not None and _same(given, key) for key in shared]
        return any(matches)

    def _whose(self, given: bytes) -> Caller | None:
        """The key's caller; None for a wrong key. Raises Unauthorized for one that is no longer valid."""
        api_key, admin_key = self._settings.api_key, self._settings.admin_key
        # Always compare both, for constant time; only a valid key reveals that no file is read.
        is_admin = admin_key is not None and _same(given, admin_key)
        is_user = api_key is not None and _same(given, api_key)
        if is_admin:
            return ADMIN
        if is_user:
            return self._key_holder
        grant, fault = self._named(given)
        if grant is not None:
            return self._holder(grant)
        if self._password is not None and self._password.matches(given):
            return self._password_holder
        if fault is not None:
            raise KeysUnreadable(fault)
        return None

    def _named(self, given: bytes) -> tuple[Grant | None, str | None]:
        """A named key's grant, or why it cannot be checked."""
        try:
            secret = self._files.secret()
            return (None if secret is None else verify(given, secret)), None
        except KeysError as error:
            log.error("named keys cannot be checked: %s", error)
            return None, UNREADABLE

    def _holder(self, grant: Grant) -> Caller:
        """The caller of a named key. Raises Unauthorized if it is no longer valid."""
        try:
            ends = self._files.ends(grant.id)
        except KeysError as error:
            raise _unreadable(error) from None
        now = time.time()
        if ends is not None and now >= ends:
            raise Unauthorized(
                "This API key was revoked or replaced by another one, or it is not on this server's list."
            )
        if grant.expires is not None and now >= grant.expires:
            day = time.strftime("%Y-%m-%d %H:%M", time.gmtime(grant.expires))
            raise Unauthorized(f"This API key expired on {day} UTC.")
        return Caller(
            grant.name,
            ALL if "admin" in grant.scopes else grant.scopes,
            grant.weight,
            grant.priority,
            {**self._limits_of_named, **grant.limits},
            {**self._user_limits, **grant.user_limits},
            grant.identity,
            grant.stores,
        )

    def _user(self, name: str) -> Caller:
        """A user whom a trusted proxy has logged in. No named key has such a name or identity."""
        called = USER_PREFIX + name
        return Caller(
            called,
            ALL if name in self._settings.trusted_user_admins else USE,
            limits=self._limits_of_named,
            user_limits=self._user_limits,
            identity=called,
        )

    def _limited(self, caller: Caller) -> Caller:
        """With the limits of the settings."""
        return replace(caller, limits=self._limits, user_limits=self._user_limits)


def _unreadable(error: KeysError) -> KeysUnreadable:
    log.error("named keys cannot be checked: %s", error)
    return KeysUnreadable(UNREADABLE)


def sent_keys(environ: Mapping[str, Any]) -> dict[str, str | None]:
    """The request's headers that may have keys, for `Keys.identify`; `environ` is WSGI's."""
    return {name: environ.get(key) for name, key in IN_ENVIRON.items()}


def _given(headers: Mapping[str, str | None]) -> bytes | None:
    """The request's key; None: it has none. Raises Unauthorized for two different ones."""
    scheme, _, bearer = (headers.get("authorization") or "").partition(" ")
    keys = [bearer.strip()] if scheme.lower() == "bearer" else []
    keys += [(headers.get(name) or "").strip() for name in HEADERS[1:]]
    found = {key for key in keys if key}
    if len(found) > 1:
        raise Unauthorized("Two different API keys were sent, in different headers. Send one.")
    # WSGI decodes headers as latin-1. A key that is too long is simply wrong.
    return found.pop().encode("latin-1", "replace")[:MAX_KEY_BYTES] if found else None


def _same(given: bytes, key: SecretStr) -> bool:
    return hmac.compare_digest(given, key.get_secret_value().encode())
