"""The types of settings: how text is converted to values, and which values are allowed.

A wrong value raises ValueError; its text becomes part of one line for the operator, and never contains a key.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import NoDecode

HOST_NAME = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*")
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9._:*\[\]-]+")
HEADER_NAME = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")
PROXY_COUNT = re.compile(r"[1-9]")

MIN_PASSWORD_CHARACTERS = 8
MIN_SECRET_CHARACTERS = 16


def is_network(text: str) -> bool:
    """Whether a text is an IP address, or a network such as 10.0.0.0/8."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


# Lists


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _lower(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.rstrip("/").lower() for name in value)


def _hosts(value: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(name.strip("[]").removesuffix(".") for name in value)
    for name in names:
        if name != "*" and not (HOST_NAME.fullmatch(name) or is_network(name)):
            raise ValueError(
                f"{name!r} is not a host name (without http:// and port), *.name, address or network"
            )
    return names


def _origins(value: tuple[str, ...]) -> tuple[str, ...]:
    for origin in value:
        if origin not in ("*", "null") and not ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin!r} is not an origin; one looks like https://app.example")
    return value


def _count(value: object) -> object:
    return (str(value),) if type(value) is int else value


def _proxies(value: tuple[str, ...]) -> tuple[str, ...]:
    for entry in value:
        if not (PROXY_COUNT.fullmatch(entry) or is_network(entry)):
            raise ValueError(f"{entry!r} is not an address, network (10.0.0.0/8) or count (1 to 9)")
    return value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""A list; separated by commas in the environment and on the command line."""
LowerNames = Annotated[Names, AfterValidator(_lower)]
HostNames = Annotated[LowerNames, AfterValidator(_hosts)]
"""Names, *.names, addresses and networks; * is any."""
Origins = Annotated[LowerNames, AfterValidator(_origins)]
"""Web origins; * is any."""
Proxies = Annotated[Names, BeforeValidator(_count), AfterValidator(_proxies)]
"""Addresses and networks, or a number of proxies."""


def added_to(default: tuple[str, ...]) -> AfterValidator:
    """Names in addition to the default ones; `none` among them removes the default ones."""

    def add(value: tuple[str, ...]) -> tuple[str, ...]:
        if "none" in value:
            return tuple(name for name in value if name != "none")
        return tuple(dict.fromkeys((*default, *value)))

    return AfterValidator(add)


# Names with values


def _pairs(value: object) -> object:
    if not isinstance(value, str):
        return value
    pairs = dict(part.partition("=")[::2] for part in value.split(",") if part.strip())
    return {name.strip(): _json(text.strip()) for name, text in pairs.items()}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


Pairs = Annotated[Mapping[str, Any], NoDecode, BeforeValidator(_pairs)]
"""Names and values; `name=value,name=value` in the environment and on the command line."""


def numbers_for(
    default: Mapping[str, int], what: str, *, low: int, high: float = math.inf
) -> AfterValidator:
    """Integers for names in `default`, which supplies missing ones. `what`: what the names are, for
    messages."""

    def check(value: Mapping[str, Any]) -> Mapping[str, Any]:
        check_numbers(value, default, what, low=low, high=high)
        return {**default, **value}

    return AfterValidator(check)


def check_numbers(
    value: Mapping[str, Any],
    known: Collection[str],
    what: str,
    *,
    low: int,
    high: float = math.inf,
) -> None:
    """Raise ValueError for an unknown name, and for a value that is not an integer in the range. `what`: what
    the names are, for messages."""
    for name, number in value.items():
        if name not in known:
            raise ValueError(f"unknown {what} {name[:40]}; known: {', '.join(known)}")
        is_integer = isinstance(number, int) and not isinstance(number, bool)
        if not is_integer or not low <= number <= high:
            raise ValueError(f"{name} needs a whole number, {low} or more")


# Secrets


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


def _printable(value: SecretStr | None) -> SecretStr | None:
    if value is not None and not value.get_secret_value().isprintable():
        raise ValueError("must have printable characters only")
    return value and SecretStr(value.get_secret_value().strip())


def _at_least(characters: int) -> AfterValidator:
    def check(value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < characters:
            raise ValueError(f"must have at least {characters} characters")
        return value

    return AfterValidator(check)


def _store_address(value: SecretStr | None) -> SecretStr | None:
    text = "" if value is None else value.get_secret_value()
    is_url = text.startswith(("postgresql://", "postgres://"))
    if value is not None and not is_url and text not in ("sqlite", "memory", "off"):
        raise ValueError("must be sqlite, memory, off or postgresql://...")
    return value


Secret = Annotated[SecretStr | None, BeforeValidator(_none_if_empty)]
"""Never shown in logs; an empty text is None."""
Key = Annotated[Secret, AfterValidator(_printable)]
PasswordText = Annotated[Secret, _at_least(MIN_PASSWORD_CHARACTERS), AfterValidator(_printable)]
SigningSecret = Annotated[Secret, _at_least(MIN_SECRET_CHARACTERS), AfterValidator(_printable)]
StoreAddress = Annotated[Secret, AfterValidator(_store_address)]


# Others


def _number(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _prefix(value: str) -> str:
    value = value.rstrip("/")
    if value and (not value.startswith("/") or not value.replace("/", "").strip(".-_").isalnum()):
        raise ValueError("must look like /custom")
    return value


def _http_address(value: str | None) -> str | None:
    if value is not None and not value.startswith(("http://", "https://")):
        raise ValueError("must look like http://127.0.0.1:4318")
    return value


def _header_name(value: str | None) -> str | None:
    if value is not None and not HEADER_NAME.fullmatch(value):
        raise ValueError("must be the name of a header, such as X-Forwarded-User")
    return value


HeaderName = Annotated[str | None, AfterValidator(_header_name)]
HTTPAddress = Annotated[str | None, AfterValidator(_http_address)]
PathPrefix = Annotated[str, AfterValidator(_prefix)]
ValidationStatus = Annotated[Literal[400, 422], BeforeValidator(_number)]
