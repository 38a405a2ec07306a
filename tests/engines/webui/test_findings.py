"""What is found out by looking at a web UI's source is one line in the log when a model is first used."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest

from extensions.openai.engines.webui.engine import WebuiEngine
from extensions.openai.engines.webui.findings import findings, source_of
from extensions.openai.engines.webui.host import host_model
from extensions.openai.engines.webui.known_model import parallel_of
from extensions.openai.engines.webui.loaders.registry import adapter_of
from tests.engines.webui.test_engine import TINY, greedy, text_of
from tests.support.process import ROOT
from tests.webui_host.host import MiniHost, install

ALONE = "one answer at a time, because "
OLD = ALONE + "this version of the web UI's generate_reply has no stop_event"
HOOKS = "this version itself calls extensions' state_modifier for chats"


@pytest.fixture
def modern() -> Iterator[MiniHost]:
    with install("2026", TINY) as host:
        yield host


@pytest.fixture
def old() -> Iterator[MiniHost]:
    with install("2023", TINY) as host:
        yield host


def found(host: MiniHost, loader: str) -> list[str]:
    host.load(loader=loader)
    return found_now()


def found_now() -> list[str]:
    loaded = host_model()
    adapter = adapter_of(loaded.model)
    return findings(parallel_of(loaded, adapter), adapter.findings(loaded)).split("; ")


def test_a_version_with_several_answers_at_once(modern: MiniHost) -> None:
    assert found(modern, "TensorRT-LLM") == ["up to 8 answers at once", "logit_bias is supported"]
    one = ["one answer at a time, because of this loader and its settings"]
    assert found(modern, "Transformers") == one


def test_a_version_without(old: MiniHost) -> None:
    assert found(old, "Transformers") == [OLD, HOOKS]


def test_a_source_that_cannot_be_read_is_told(
    modern: MiniHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of modules that are compiled."""
    modern.load(loader="TensorRT-LLM")
    source_of.cache_clear()

    def unreadable(of: Any) -> str:
        raise OSError

    monkeypatch.setattr("inspect.getsource", unreadable)
    answers, biases = found_now()
    source_of.cache_clear()
    assert answers == (ALONE + "the source code of the web UI's generate_reply cannot be read")
    assert biases == "logit_bias is refused, because the source of TensorRTLLMModel cannot be read"


def test_a_loader_that_does_not_know_biases(
    modern: MiniHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    modern.load(loader="TensorRT-LLM")
    read = inspect.getsource

    def without(of: Any) -> str:
        return str(read(of)).replace("logit_bias", "")

    source_of.cache_clear()
    monkeypatch.setattr("inspect.getsource", without)
    biases = found_now()[1]
    source_of.cache_clear()
    assert biases == "logit_bias is refused, because TensorRTLLMModel does not support it"


def test_an_extension_that_answers_itself_takes_no_biases(modern: MiniHost) -> None:
    def custom_generate_reply(*args: Any, **options: Any) -> Iterator[str]:
        yield "Hello"

    modern.load(loader="TensorRT-LLM")
    modern.extend(own=type("Own", (), {"custom_generate_reply": custom_generate_reply}))
    biases = found_now()[1]
    assert biases == "logit_bias is refused while an extension generates the answers"


def test_it_is_logged_once_for_each_model(
    modern: MiniHost, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "openedai")
    modern.load(loader="TensorRT-LLM")
    engine = WebuiEngine()
    for _ in range(2):
        assert engine.info.parallel == 8
        text_of(engine.generate(greedy(tokens=2)))
    line = (
        "the web UI's model tiny (TensorRT-LLM): up to 8 answers at once; logit_bias is supported"
    )
    assert [record.getMessage() for record in caplog.records].count(line) == 1
    modern.load(loader="Transformers")
    assert engine.info.parallel == 1
    lines = [each for each in caplog.messages if each.startswith("the web UI's model")]
    assert lines[0] == line and len(lines) == 2
    assert lines[1].startswith("the web UI's model tiny (Transformers): one answer at a time")


def test_nothing_else_reads_a_source() -> None:
    """What it finds would not be logged."""
    package = ROOT / "extensions" / "openai"
    readers = [
        file.relative_to(package).as_posix()
        for file in package.rglob("*.py")
        if re.search(r"\bgetsource|\b__code__|linecache", file.read_text(encoding="utf-8"))
    ]
    assert readers == ["engines/webui/findings.py"]
