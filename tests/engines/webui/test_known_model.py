"""In a webui a request looks up what is loaded once, and its prompt is tokenized once beside the host's own
time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from extensions.openai.engines.protocol import (
    ChatRequest,
    GenerateRequest,
    Message,
    snapshot_of,
)
from extensions.openai.engines.swappable import SwappableEngine
from extensions.openai.engines.webui import known_model, ui_state
from extensions.openai.engines.webui.engine import WebuiEngine
from extensions.openai.engines.webui.loaders.registry import adapter_of
from extensions.openai.errors import ModelLoading
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.process import ROOT
from tests.webui_host import MiniHost, install

TINY = ROOT / "models" / "openedai-tiny"
LONG = "What is the capital of France? " * 20  # only counting tells that it fits


LOADERS = [
    *(("2026", each) for each in ("Transformers", "llama.cpp", "ExLlamav3", "TensorRT-LLM")),
    ("2026", "ExLlamav3, one after the other"),
    *(("2023", each) for each in ("Transformers", "llama-cpp-python")),
]
"""All that the host in small has, in the versions that have them."""


@pytest.fixture(params=LOADERS, ids="-".join)
def host(request: pytest.FixtureRequest) -> Iterator[MiniHost]:
    age, loader = request.param
    with install(age, TINY) as host:
        host.load(loader=loader)
        yield host


@pytest.fixture
def calls(host: MiniHost, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each of what costs something is called."""
    counted: Counter[str] = Counter()

    def count(target: Any, name: str, key: Callable[..., str]) -> None:
        original = getattr(target, name)

        def counting(*args: Any, **options: Any) -> Any:
            counted[key(*args)] += 1
            return original(*args, **options)

        monkeypatch.setattr(target, name, counting)

    count(known_model, "host_model", lambda: "look-ups")
    count(ui_state, "host_model", lambda: "look-ups")
    count(known_model, "template_source", lambda loaded: "templates")
    count(ui_state, "template_source", lambda loaded: "templates")
    count(known_model, "adapter_of", lambda model: "adapters")
    count(
        type(adapter_of(host.shared.model)),
        "encode",
        lambda adapter, loaded, text: "prompts" if LONG.strip() in text else "short texts",
    )
    count(
        host.modules["text_generation"],
        "encode",
        lambda text, *rest: "host's prompts" if LONG.strip() in text else "short texts",
    )
    return counted


CHAT = {"messages": [{"role": "user", "content": LONG}]}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat/completions", CHAT),
        ("chat/completions", {**CHAT, "stream": True}),
        ("completions", {"prompt": LONG}),
        ("completions", {"prompt": LONG, "stream": True}),
    ],
)
def test_a_request_looks_once(
    host: MiniHost, calls: Counter[str], path: str, body: dict[str, Any]
) -> None:
    client = create_app(Settings(), served()).test_client()
    answer = client.post(f"/v1/{path}", json={"model": "tiny", "max_tokens": 4, **body})
    assert answer.status_code == 200 and answer.data
    assert (calls["look-ups"], calls["templates"], calls["adapters"]) == (1, 1, 1)
    # Ours asks the host's function, which the host itself asks once more where it generates with tokens.
    assert calls["prompts"] == 1
    assert calls["host's prompts"] <= 2


def served() -> SwappableEngine:
    """As `hosts/launch.py` has it."""
    engine = SwappableEngine()
    engine.set(WebuiEngine())
    return engine


def test_a_snapshot_follows_the_host_and_keeps_no_model(host: MiniHost) -> None:
    engine = snapshot_of(served())
    assert engine.info.model == "tiny"
    loaded = known_model.ModelLookup().pin()
    before, known = loaded.now()
    assert loaded.now() == (before, known)
    host.load("other", loader=host.shared.args.loader)
    assert known.loaded() is None
    assert loaded.now()[0].name == "other"
    request = ChatRequest((Message("user", "Hi"),))
    assert engine.render(request) and engine.tokenize("Hi")
    pieces = engine.generate(GenerateRequest("Hi", 3, {"do_sample": False, "temperature": 0.0}, 7))
    assert sum(piece.tokens for piece in pieces if piece) > 0
    host.unload()
    with pytest.raises(ModelLoading):
        engine.tokenize("Hi")
