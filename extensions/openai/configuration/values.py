"""The types of settings: how a text becomes a value, and which values there may be.

A wrong value raises ValueError, whose text becomes a part of one line for the operator: it never shows a key.
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
                f"{name!r} is no host name (without http:// and port), *.name, address or network"
            )
    return names


def _origins(value: tuple[str, ...]) -> tuple[str, ...]:
    for origin in value:
        if origin not in ("*", "null") and not ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin!r} is no origin; one looks like https://app.example")
    return value


def _count(value: object) -> object:
    return (str(value),) if type(value) is int else value


def _proxies(value: tuple[str, ...]) -> tuple[str, ...]:
    for entry in value:
        if not (PROXY_COUNT.fullmatch(entry) or is_network(entry)):
            raise ValueError(f"{entry!r} is no address, network (10.0.0.0/8) or count (1 to 9)")
    return value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""A list; in the environment and on the command line its parts are parted by commas."""
LowerNames = Annotated[Names, AfterValidator(_lower)]
HostNames = Annotated[LowerNames, AfterValidator(_hosts)]
"""Names, *.names, addresses and networks; * is anything."""
Origins = Annotated[LowerNames, AfterValidator(_origins)]
"""Web origins; * is any."""
Proxies = Annotated[Names, BeforeValidator(_count), AfterValidator(_proxies)]
"""Addresses and networks, or a number of proxies."""


def added_to(default: tuple[str, ...]) -> AfterValidator:
    """Names beside those that there are by default; among them `none` leaves these out."""

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
"""Names and values; in the environment and on the command line as `name=value,name=value`."""


def numbers_for(
    default: Mapping[str, int], unknown: str, *, least: int, most: float = math.inf
) -> AfterValidator:
    """Whole numbers for some of the names in `default`, which stands for the others. `unknown`: what another
    name is not."""

    def check(value: Mapping[str, Any]) -> Mapping[str, Any]:
        check_numbers(value, default, unknown, least=least, most=most)
        return {**default, **value}

    return AfterValidator(check)


def check_numbers(
    value: Mapping[str, Any],
    known: Collection[str],
    unknown: str,
    *,
    least: int,
    most: float = math.inf,
) -> None:
    """Raises ValueError for a name that is not known (then it is no `unknown`), and for what is no whole
    number."""
    for name, number in value.items():
        if name not in known:
            raise ValueError(f"{name[:40]} is no {unknown}: {', '.join(known)} are")
        whole = isinstance(number, int) and not isinstance(number, bool)
        if not whole or not least <= number <= most:
            raise ValueError(f"{name} needs a whole number, {least} or more")


# Secrets


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


def _printable(value: SecretStr | None) -> SecretStr | None:
    if value is not None and not value.get_secret_value().isprintable():
        raise ValueError("must hold printable characters only")
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
"""What no log shows; an empty text is none."""
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


PathPrefix = Annotated[str, AfterValidator(_prefix)]
ValidationStatus = Annotated[Literal[400, 422], BeforeValidator(_number)]
