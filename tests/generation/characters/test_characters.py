"""Characters of the operator's folder, chosen as with a webui's API."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.generation.characters.files import (
    BadCharacter,
    Character,
    character_of,
    names_in,
    read_character,
)
from tests.support.api import Api

JACK = """name: Jack
greeting: Ahoy, {{user}}!
context: |-
  {{char}} is a pirate.
example_dialogue: |-
  {{user}}: Who are you?
  {{char}}: A pirate.
"""
CARD = {
    "spec": "chara_card_v2",
    "data": {"name": "Eva", "description": "A robot.", "personality": "calm", "scenario": "Mars",
             "first_mes": "Hello.", "mes_example": "<START>\n{{char}}: Beep."},
}  # fmt: skip


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def card(content: Any, keyword: bytes = b"chara") -> bytes:
    text = base64.b64encode(json.dumps(content).encode())
    return b"\x89PNG\r\n\x1a\n" + chunk(b"tEXt", keyword + b"\0" + text) + chunk(b"IEND", b"")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Jack.yaml").write_text(JACK, encoding="utf-8")
    (tmp_path / "Eva.png").write_bytes(card(CARD))
    (tmp_path / "old.json").write_text(
        json.dumps(
            {"char_name": "Bo", "char_persona": "A bear.", "world_scenario": "A wood."}, indent="\t"
        ),
        encoding="utf-8",
    )
    (tmp_path / "broken.yaml").write_text("- a list", encoding="utf-8")
    return tmp_path


@pytest.fixture
def api(folder: Path) -> Api:
    return Api(EchoEngine(), character_folder=str(folder))


DIALOGUE = (
    "Jack is a pirate.\n\nYou: Who are you?\nJack: A pirate.\n\nJack: Ahoy, You!\nYou: Hi\nJack:"
)


def said(api: Api, messages: Any = "Hi", **body: Any) -> str:
    """What the echo engine was given: a completion repeats its prompt."""
    return str(api.chat(messages, **body)["choices"][0]["message"]["content"])


@pytest.mark.parametrize("how", [{"character": "Jack"}, {"character": "Jack", "mode": "chat"}])
def test_the_dialogue_is_the_prompt(api: Api, how: dict[str, str]) -> None:
    # The answer, which is the prompt again, ends where the user's words would begin.
    assert said(api, **how) == DIALOGUE.partition("\nYou:")[0]
    assert api.chat("Hi", **how)["usage"]["prompt_tokens"] == len(DIALOGUE)


def test_what_a_request_says_counts_instead_of_the_file(api: Api) -> None:
    body = {
        "character": "Jack", "user_name": "Ann", "bot_name": "Joe", "context": "{{char}} knows {{user}}.",
        "greeting": "Yes?", "user_bio": "She cooks.",
    }  # fmt: skip
    expected = (
        "Joe knows Ann.\n\nAbout Ann: She cooks.\n\nBe brief.\n\n"
        "Joe: Yes?\nAnn: Hi\nJoe: Oh\nAnn: So\nJoe:"
    )
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Oh"},
        {"role": "user", "content": "So"},
    ]
    assert api.chat(messages, **body)["usage"]["prompt_tokens"] == len(expected)
    assert said(api, messages, **body) == expected.partition("\nJoe:")[0].partition("\nAnn:")[0]


def test_a_card_and_an_older_file(api: Api, folder: Path) -> None:
    eva = (
        "Eva's persona: A robot.\nEva's personality: calm\nScenario: Mars\n\nEva: Beep.\n\n"
        "Eva: Hello.\nYou: Hi\nEva:"
    )
    assert api.chat("Hi", character="Eva")["usage"]["prompt_tokens"] == len(eva)
    assert said(api, character="Eva") == eva.partition("\nEva:")[0]
    assert read_character(folder, "old") == Character(
        "Bo", "{{char}}'s persona: A bear.\nScenario: A wood."
    )
    assert names_in(folder) == ["Eva", "Jack", "broken", "old"]


def test_chat_instruct_asks_the_model_to_go_on(api: Api) -> None:
    body = {
        "mode": "chat-instruct",
        "character": "Jack",
        "chat_instruct_command": "As <|character|>: <|prompt|>",
    }
    before = DIALOGUE.removesuffix("\nJack:")
    prompt = f"<|user|>As Jack: {before}<|end|><|assistant|>Jack:"
    assert api.chat("Hi", **body)["usage"]["prompt_tokens"] == len(prompt)


def test_a_message_is_continued(api: Api) -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Arr, I"}]
    whole = api.chat(messages, character="Jack", continue_final_message=True)
    assert whole["usage"]["prompt_tokens"] == len(DIALOGUE + " Arr, I")


def test_a_real_model_answers(tiny: Api, folder: Path) -> None:
    api = Api(tiny.engine, character_folder=str(folder))
    body = {"character": "Jack", "temperature": 0, "max_tokens": 12}
    whole = api.chat("Hi", **body)
    raw = tiny.complete(DIALOGUE, temperature=0, max_tokens=12, stop=["\nYou:", "\nJack:"])
    assert whole["choices"][0]["message"]["content"] == raw["choices"][0]["text"].lstrip(" ")
    assert whole["usage"]["prompt_tokens"] == raw["usage"]["prompt_tokens"]
    folded = api.folded("chat/completions", messages=[{"role": "user", "content": "Hi"}], **body)
    assert folded["choices"] == whole["choices"]


@pytest.mark.parametrize("name", ["Nobody", "../Jack", "..", "broken", "", "a/b", "Jack.yaml"])
def test_names_that_are_none(api: Api, name: str) -> None:
    error = api.refused("chat/completions", character=name)
    assert error["param"] == "character"


def test_what_a_dialogue_cannot_have(api: Api) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert api.refused("chat/completions", character="Jack", instruction_template="x")
    error = Api(EchoEngine()).refused("chat/completions", character="Jack")
    assert error["param"] == "character"
    assert api.refused("chat/completions", character="Jack", tools=tools)


@pytest.mark.parametrize(
    ("param", "body"),
    [
        ("context", {"context": "{{char}}" * 100_000, "bot_name": "x" * 256}),
        ("greeting", {"greeting": "<USER>" * 100_000, "user_name": "x" * 256}),
        (
            "chat_instruct_command",
            {"mode": "chat-instruct", "chat_instruct_command": "<|prompt|>" * 5000, "context": "x" * 5000},
        ),
        ("bot_name", {"bot_name": "x" * 257}),
        ("user_name", {"user_name": "x" * 257}),
    ],
)  # fmt: skip
def test_a_short_request_makes_no_endless_dialogue(
    api: Api, param: str, body: dict[str, str]
) -> None:
    error = api.refused("chat/completions", **{"mode": "chat", **body})
    assert (error["param"], error["code"]) == (param, "string_above_max_length")


def test_instruct_is_as_without_characters(api: Api) -> None:
    assert said(api, mode="instruct") == "Hi"


@pytest.mark.parametrize(
    "content",
    [
        b"no picture",
        card(CARD, b"other"),
        b"\x89PNG\r\n\x1a\n" + chunk(b"tEXt", b"chara\0no base 64!"),
    ],
)
def test_cards_that_are_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(BadCharacter):
        read_character(tmp_path, "x")


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"a: " + b"x" * (1 << 20))
    with pytest.raises(BadCharacter):
        read_character(tmp_path, "x")
    with pytest.raises(BadCharacter):
        character_of([], "x")


@pytest.mark.parametrize("suffix", ["json", "png"])
def test_characters_beyond_16_bits_are_whole(tmp_path: Path, suffix: str) -> None:
    # Most programs write them to JSON as two escapes.
    content = {"name": "Zoë 😀", "description": "a\tb"}
    data = card(content) if suffix == "png" else json.dumps(content).encode()
    (tmp_path / f"x.{suffix}").write_bytes(data)
    assert read_character(tmp_path, "x") == Character("Zoë 😀", "{{char}}'s persona: a\tb")
    assert said(Api(EchoEngine(), character_folder=str(tmp_path)), character="x")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.yaml", "name: A\nmade: 2001-99-99\n"),
        ("x.yaml", f"name: A\nsize: {'9' * 5000}\n"),
        ("x.yaml", "name: !!timestamp 5\n"),
        ("x.yaml", 'name: "\\ud83d"\n'),
        ("x.json", '{"name": "\\ud83d"}'),
        ("x.json", "{"),
        ("x.json", "[" * 100_000),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(BadCharacter):
        read_character(tmp_path, "x")
    error = Api(EchoEngine(), character_folder=str(tmp_path)).refused(
        "chat/completions", character="x"
    )
    assert error["param"] == "character"
