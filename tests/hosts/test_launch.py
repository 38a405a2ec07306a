"""Settings that change while the server runs."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from extensions.openai.configuration.sources import is_reloadable, reloaded
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.swappable import SwappableEngine
from extensions.openai.hosts.launch import Launcher
from extensions.openai.hosts.running_server import RunningServer
from extensions.openai.settings import Settings, SettingsError
from extensions.openai.web.app import create_app
from tests.support.process import ServerProcess
from tests.support.wire import ask


def test_only_rows_that_say_so_change() -> None:
    old = Settings(api_key="old", api_port=1, keep_alive=3)
    new = Settings(api_key="new", api_port=2, keep_alive=3)
    result = reloaded(old, new)
    assert result.changed == ("api_key",) and result.kept == ("api_port",)
    assert result.settings.api_port == 1
    assert result.settings.api_key == new.api_key
    assert is_reloadable("api_key") and not is_reloadable("api_port")


def test_a_policy_that_is_wrong_changes_nothing() -> None:
    services = create_app(Settings(), EchoEngine()).extensions["openai"]
    before, policy = services.settings, services.policy
    reported: list[Settings] = []
    services.reloaders.append(reported.append)
    with pytest.raises(SettingsError):
        services.reload(Settings(sampling_limits={"nonsense": 1}))
    assert services.settings is before and services.policy is policy and not reported
    after = Settings(sampling_limits={"temperature": 1})
    services.reload(after)
    assert services.settings is after and reported == [after]
    assert services.policy.limits == {"temperature": 1}


class Running:
    """A server process with a settings file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.write(api_key="first")
        self.process = ServerProcess("--loader", "echo", "--settings", str(file))
        self.process.wait_until_ready()

    def write(self, **settings: object) -> None:
        lines = [f"openai-{name}: {json.dumps(value)}\n" for name, value in settings.items()]
        self.file.write_text("".join(lines))

    def reload(self, says: str) -> str:
        """Send SIGHUP; the new part of the log, once it holds `says`."""
        before = len(self.process.output)
        self.process.signal(signal.SIGHUP)
        for _ in range(400):
            if says in (new := self.process.output[before:]):
                return new
            threading.Event().wait(0.05)
        raise AssertionError(f"{says!r} is not in {new!r}")

    def status(self, key: str) -> int:
        headers = {"Authorization": f"Bearer {key}"}
        return ask(self.process.port, "GET", "/v1/models", **headers).status


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path / "settings.yaml")
    yield running
    running.process.stop()


def test_a_key_changes_on_sighup_and_broken_files_change_nothing(running: Running) -> None:
    assert (running.status("first"), running.status("second")) == (200, 401)
    fixed = {"cors_origins": ["https://a.example"], "http_threads": 8, "metrics": "open"}
    running.write(api_key="second", validation_status=422, log_format="json", **fixed)
    reply = running.reload("need a restart")
    assert "changed: api_key, validation_status" in reply
    assert "need a restart to change: cors_origins, http_threads, log_format, metrics" in reply
    assert "second" not in reply
    assert (running.status("first"), running.status("second")) == (401, 200)
    answer = ask(
        *(running.process.port, "POST", "/v1/completions", {}), Authorization="Bearer second"
    )
    assert answer.status == 422

    running.write(api_key="third", keep_alive="soon")
    reply = running.reload("stay as they are")
    assert "keep_alive" in reply and "third" not in reply
    running.file.write_text("openai-api_key: [")
    running.reload("stay as they are")
    assert (running.status("second"), running.status("third")) == (200, 401)

    running.write(api_key="fourth")
    running.reload("settings read again")
    assert running.status("fourth") == 200
    running.process.signal(signal.SIGTERM)
    assert running.process.wait(20) == 0


def test_the_key_of_an_open_server_cannot_be_taken_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    services = create_app(Settings(listen=True, api_key="k"), EchoEngine()).extensions["openai"]
    running = RunningServer({}, services, SwappableEngine(), cast(Any, None))
    Launcher(running).reload({"listen": True})
    assert "needs a key" in caplog.text
    assert services.settings.api_key is not None
