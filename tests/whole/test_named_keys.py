"""Keys on a real server, with the official client: each mode, each refusal, and what is logged of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.support.process import ROOT, ServerProcess
from tests.support.wire import ask

PASSWORD = "correct horse battery"
MESSAGES = [{"role": "user", "content": "one two three"}]


class Locked:
    """A server with a data folder of its own, and the commands that go with it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.environment = {"OPENEDAI_DATA_FOLDER": str(folder)}
        self.server = ServerProcess(
            *("--loader", "echo", "--debug", "--debug-folder", str(folder / "seen"), *arguments),
            environment=self.environment,
        )
        self.server.wait_until_ready()
        self.sent: set[str] = set()
        self.clients: list[openai.OpenAI] = []

    def keys(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "extensions.openai", "keys", *arguments]
        command += ["--data-folder", str(self.folder)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def client(self, key: str) -> openai.OpenAI:
        self.sent.add(key)
        client = openai.OpenAI(base_url=f"{self.server.url}/v1", api_key=key, max_retries=0)
        self.clients.append(client)
        return client

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        self.server.stop()

    def chat(self, key: str) -> str | None:
        answer = self.client(key).chat.completions.create(model="echo", messages=MESSAGES)  # type: ignore[arg-type]
        return answer.choices[0].message.content


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    folder = tmp_path_factory.mktemp("locked")
    command = [sys.executable, "-m", "extensions.openai", "password"]
    hashed = subprocess.run(
        command, cwd=ROOT, input=PASSWORD + "\n", capture_output=True, text=True, check=True
    ).stdout.strip()
    running = Locked(folder, "--password", hashed, "--api-key", "sk-shared-1234")
    yield running
    running.stop()


def test_a_named_key_lives_and_ends_while_the_server_runs(locked: Locked) -> None:
    key = locked.keys("create", "--name", "alice")
    assert locked.chat(key)
    other = locked.keys("rotate", "alice")
    assert locked.chat(other)
    with pytest.raises(openai.AuthenticationError) as caught:
        locked.chat(key)
    assert caught.value.code == "invalid_api_key"
    locked.keys("revoke", "alice")
    with pytest.raises(openai.AuthenticationError):
        locked.chat(other)
    assert locked.chat(locked.keys("create", "--name", "alice"))


def test_scopes(locked: Locked) -> None:
    reader = locked.keys("create", "--name", "reader", "--scopes", "read")
    assert locked.client(reader).models.list().data
    with pytest.raises(openai.PermissionDeniedError) as caught:
        locked.chat(reader)
    assert caught.value.code == "insufficient_permissions"


def test_the_password_and_the_shared_key(locked: Locked) -> None:
    assert locked.chat(PASSWORD) == locked.chat("sk-shared-1234")
    for wrong in (PASSWORD + "!", "sk-shared-123", "sk-alice-mfrgg.xyz", "none"):
        with pytest.raises(openai.AuthenticationError):
            locked.chat(wrong)


def test_azure_clients(locked: Locked) -> None:
    key = locked.keys("create", "--name", "azure")
    locked.sent.add(key)
    client = openai.AzureOpenAI(
        azure_endpoint=locked.server.url, api_key=key, api_version="2024-10-21", max_retries=0
    )
    with client:
        answer = client.chat.completions.create(model="echo", messages=MESSAGES)  # type: ignore[arg-type]
    assert answer.choices[0].message.content


def test_a_stream_outlives_its_key(locked: Locked) -> None:
    key = locked.keys("create", "--name", "short")
    stream = locked.client(key).chat.completions.create(
        model="echo", messages=[{"role": "user", "content": "word " * 50}], stream=True
    )
    first = next(stream)
    locked.keys("revoke", "short")
    assert first.choices and list(stream)[-1].choices[0].finish_reason


@pytest.mark.parametrize(
    "key", ["ä", "sk-alice-\xff", "x" * 8000, "a b", "sk-alice-" + "m" * 3000 + "." + "x" * 43]
)
def test_odd_keys_are_refused_cleanly(locked: Locked, key: str) -> None:
    raw = key.encode().decode("latin-1")
    for headers in ({"Authorization": f"Bearer {raw}"}, {"x-api-key": raw}, {"api-key": raw}):
        answer = ask(locked.server.port, "GET", "/v1/models", **headers)
        assert answer.status == 401 and answer.json()["error"]["code"] == "invalid_api_key"
        assert answer.headers["content-type"] == "application/json"


def test_no_key_is_in_any_log_or_captured_request(locked: Locked) -> None:
    """Runs last: all keys of the tests above have been sent by now, with `--debug` on."""
    key = locked.keys("create", "--name", "logged")
    locked.chat(key)
    with pytest.raises(openai.AuthenticationError):
        locked.chat(key + "x")
    seen = locked.server.output + "".join(
        path.read_text(errors="replace")
        for path in (locked.folder / "seen").rglob("*")
        if path.is_file()
    )
    assert "logged" in seen  # the name is
    for sent in {*locked.sent, PASSWORD}:
        if len(sent) > 8:
            assert sent not in seen and sent[-20:] not in seen


def test_a_server_with_named_keys_alone_may_listen_to_others(tmp_path: Path) -> None:
    refused = ServerProcess("--loader", "echo", "--listen-host", "0.0.0.0")
    try:
        assert refused.wait(40) == 2 and "needs a key" in refused.output
    finally:
        refused.stop()
