"""`openedai replay`: a request that `--debug` wrote is sent again, to another server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from openedai.commands.replay import main
from tests.conftest import Serve


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A request for a completion, as it is written."""
    settings = Settings(debug=True, debug_folder=str(tmp_path))
    client = create_app(settings, EchoEngine()).test_client()
    answer = client.post("/v1/completions?stream=x", json={"model": "x", "prompt": "Grüße 🙂"})
    assert answer.status_code == 200 and answer.data
    answer.close()
    (file,) = tmp_path.glob("*.json")
    return file


def altered(file: Path, **request: Any) -> Path:
    """Another recording, with some of its request changed."""
    content = json.loads(file.read_bytes())
    content["request"] |= request
    other = file.with_name("other.json")
    other.write_text(json.dumps(content), encoding="utf-8")
    return other


def test_it_gets_the_same_answer(
    recorded: Path, serve: Serve, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{serve(EchoEngine(), api_key='right').port}"
    monkeypatch.setenv("OPENAI_API_KEY", "right")
    assert main([str(recorded), "--url", url], "replay") == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["choices"][0]["text"] == "Grüße 🙂"
    assert err == f"{recorded}: POST /v1/completions?stream=x 200, recorded 200\n"
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    assert main([str(recorded), "--url", url], "replay") == 1
    assert "401, recorded 200" in capfd.readouterr().err


def test_what_cannot_be_sent_again(
    recorded: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "no.json").write_text("[]")
    for path, why in (
        (altered(recorded, body={"api_key": "[redacted]"}), "something was removed"),
        (tmp_path / "no.json", "is no request"),
        (tmp_path / "missing.json", "No such file"),
        (recorded, "does not answer"),
    ):
        assert main([str(path), "--url", "http://127.0.0.1:1"], "replay") == 1
        assert why in capfd.readouterr().err
    assert main([str(altered(recorded, body="[9 bytes of x]"))], "replay") == 1
    assert "not JSON" in capfd.readouterr().err
