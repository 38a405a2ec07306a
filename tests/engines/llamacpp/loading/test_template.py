"""Chat templates in GGUF files."""

from __future__ import annotations

from pathlib import Path

import pytest

from extensions.openai.engines.chat_template import CHATML, ChatTemplate
from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.model_spec import ModelLoadError
from extensions.openai.engines.protocol import ChatRequest, Message
from extensions.openai.errors import InvalidRequest
from tests.engines.chat_template.families import source_of
from tests.support.random_model import write_model

TWO_USERS = ChatRequest((Message("user", "a"), Message("user", "b")))


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "it calls itself too often"),
        (
            "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
            "it takes too many steps",
        ),
        (
            "{% set ns = namespace(s='abcdefgh') %}{% for i in range(60) %}"
            "{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
            "it makes too much text",
        ),
    ],
)
def test_a_hostile_template_is_a_file_that_cannot_be_loaded(
    tmp_path: Path, source: str, why: str
) -> None:
    model = write_model(tmp_path / "hostile.gguf", template=source)
    with pytest.raises(
        ModelLoadError, match=f"chat template in hostile.gguf cannot be used: {why}"
    ):
        LlamaCppEngine(model, name="hostile", threads=1, parallel=1)


def test_what_is_no_template_is_left_for_chatml(tmp_path: Path) -> None:
    model = write_model(tmp_path / "broken.gguf", template="{% for m in messages %}")
    engine = LlamaCppEngine(model, name="broken", threads=1, parallel=1)
    try:
        assert engine.render(TWO_USERS) == ChatTemplate(CHATML).render(TWO_USERS)
    finally:
        engine.close()


def test_the_operators_own_takes_its_place(random_model: Path) -> None:
    own = "{% for m in messages %}[{{ m.content }}]{% endfor %}"
    engine = LlamaCppEngine(random_model, name="own", threads=1, parallel=1, chat_template=own)
    try:
        assert engine.render(ChatRequest((Message("user", "a"),))) == "[a]"
    finally:
        engine.close()


def test_one_that_is_none_stops_the_load(random_model: Path) -> None:
    with pytest.raises(ModelLoadError, match="template in --chat-template-file cannot be used"):
        LlamaCppEngine(random_model, name="own", chat_template="{% for m in messages %}")


@pytest.mark.parametrize("repair", [True, False])
def test_messages_are_mended_where_the_operator_lets_them(tmp_path: Path, repair: bool) -> None:
    model = write_model(tmp_path / "strict.gguf", template=source_of("gemma3"))
    engine = LlamaCppEngine(model, name="strict", threads=1, parallel=1, message_repair=repair)
    try:
        if repair:
            assert "user\na\n\nb<end_of_turn>" in engine.render(TWO_USERS)
            return
        with pytest.raises(InvalidRequest, match="Conversation roles must alternate") as caught:
            engine.render(TWO_USERS)
        assert caught.value.param == "messages[1]"
    finally:
        engine.close()
