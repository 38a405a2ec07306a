"""The image model that a webui's user has loaded."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from extensions.openai.engines.webui.images import NAME, has_image_models
from extensions.openai.hosts.images import load_webui_images
from tests.engines.images.test_pipeline import Generator, Painter
from tests.support.api import Api
from tests.support.paced import PacedEngine


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A webui of a version with image models."""
    parts = {"modules": ModuleType("modules"), "modules.image_models": ModuleType("image_models")}
    shared = parts["modules.shared"] = ModuleType("shared")
    parts["torch"] = ModuleType("torch")
    vars(parts["torch"])["Generator"] = Generator
    vars(shared).update(image_model=None)
    for name, module in parts.items():
        monkeypatch.setitem(sys.modules, name, module)
    return shared


def test_what_is_loaded_when_a_request_comes(shared: Any) -> None:
    api = Api(PacedEngine())
    load_webui_images(api.app.extensions["openai"])

    def ask() -> Any:
        return api.client.post("/v1/images/generations", json={"prompt": "x", "size": "16x16"})

    refused = ask()
    assert refused.status_code == 501 and "web UI" in refused.json["error"]["message"]
    shared.image_model = Painter()
    answer = ask()
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert answer.json["size"] == "16x16" and len(shared.image_model.asked) == 1
    listed = {
        each["id"]: each["capabilities"] for each in api.client.get("/v1/models").json["data"]
    }
    assert listed[NAME] == ["images"]
    shared.image_model = None
    assert ask().status_code == 501


def test_an_older_webui_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "modules", ModuleType("modules"))
    vars(sys.modules["modules"])["__path__"] = []
    monkeypatch.delitem(sys.modules, "modules.image_models", raising=False)
    assert not has_image_models()
