"""Characters as webuis and their users keep them: YAML, JSON, and cards (JSON in a PNG).

YAML and JSON: `name`, `context`, `greeting`, `example_dialogue`, `user`; or the older `char_name`,
`char_persona`, `world_scenario`, `char_greeting`. Cards: `name`, `description`, `personality`, `scenario`,
`first_mes`, `mes_example`, at the top (version 1) or in `data` (versions 2 and 3).
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

log = logging.getLogger("openedai")

SUFFIXES = (".yaml", ".yml", ".json", ".png")
MAX_TEXT_BYTES = 1 << 20
MAX_CARD_BYTES = 32 << 20
NAME = re.compile(r"\w[\w .,'()-]{0,99}")
"""A file's name without its suffix: nothing that leads out of the folder."""
PNG = b"\x89PNG\r\n\x1a\n"
SURROGATE = re.compile(r"[\ud800-\udfff]")
KEYWORDS = (b"ccv3", b"chara")
"""Of the texts in a card; the first one counts."""


class BadCharacter(Exception):
    """A file that holds no character; the message says why."""


@dataclass(frozen=True, slots=True)
class Character:
    """What a model is to play."""

    name: str
    context: str = ""
    """Its description, with `{{char}}` and `{{user}}` for the names."""
    greeting: str = ""
    user: str | None = None
    """The user's name, if the file has one."""


def names_in(folder: Path) -> list[str]:
    """The characters of a folder."""
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted({file.stem for file in files if file.suffix.lower() in SUFFIXES})


def read_character(folder: Path, name: str) -> Character | None:
    """The character of that name; None: there is none. Raises BadCharacter."""
    if NAME.fullmatch(name) is None:
        return None
    for suffix in SUFFIXES:
        file = folder / f"{name}{suffix}"
        if file.is_file():
            return character_of(_content(file), name)
    return None


def _content(file: Path) -> Any:
    is_card = file.suffix == ".png"
    limit = MAX_CARD_BYTES if is_card else MAX_TEXT_BYTES
    with file.open("rb") as opened:
        data = opened.read(limit + 1)
    if len(data) > limit:
        raise BadCharacter(f"it has more than {limit} bytes")
    text = _card_text(data) if is_card else data
    try:
        if is_card or file.suffix == ".json":
            return json.loads(text.decode("utf-8-sig"))
        return yaml.safe_load(text.decode("utf-8").replace("\t", " "))
    # A number or a date that is none raises what Python's own types raise.
    except (ValueError, AttributeError, yaml.YAMLError, RecursionError) as error:
        raise BadCharacter(f"it cannot be read ({type(error).__name__})") from None


def _card_text(data: bytes) -> bytes:
    """The JSON in a PNG's text chunks."""
    if not data.startswith(PNG):
        raise BadCharacter("it is no PNG")
    found: dict[bytes, bytes] = {}
    at = len(PNG)
    while at + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        if kind == b"tEXt":
            keyword, _, text = data[at + 8 : at + 8 + length].partition(b"\0")
            found.setdefault(keyword, text)
        at += 12 + length
    for keyword in KEYWORDS:
        if keyword in found:
            try:
                return base64.b64decode(found[keyword], validate=True)
            except binascii.Error:
                raise BadCharacter("its text is not in base64") from None
    raise BadCharacter("it is a picture without a character")


def character_of(content: Any, name: str) -> Character:
    """What a file's content says; `name`: the file's, where it says none. Raises BadCharacter."""
    if not isinstance(content, Mapping):
        raise BadCharacter("it holds no names with values")
    inner = content.get("data")
    values = inner if isinstance(inner, Mapping) else content

    def text(*keys: str) -> str:
        found = (values.get(key) for key in keys)
        text = next((each.strip() for each in found if isinstance(each, str) and each.strip()), "")
        if SURROGATE.search(text):
            raise BadCharacter("it has half of a character")
        return text

    called = text("name", "char_name") or name
    user = text("user", "your_name") or None
    context = text("context")
    if not context:
        persona, more = text("char_persona", "description"), text("personality")
        scenario = text("world_scenario", "scenario")
        parts = [
            f"{{{{char}}}}'s persona: {persona}" if persona else "",
            f"{{{{char}}}}'s personality: {more}" if more else "",
            f"Scenario: {scenario}" if scenario else "",
        ]
        context = "\n".join(filter(None, parts))
    examples = text("example_dialogue", "mes_example").replace("<START>", "").strip()
    context = "\n\n".join(filter(None, (context, examples)))
    return Character(called, context, text("greeting", "char_greeting", "first_mes"), user)
