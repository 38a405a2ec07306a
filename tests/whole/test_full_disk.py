"""A full file system with the data folder on it: what clients get, what stays, and how it goes on."""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from extensions.openai.errors import StoredObjectNotFound, StoreUnavailable
from extensions.openai.settings import Settings
from extensions.openai.state.files import NewFile, StoredFile
from extensions.openai.state.store import Store, StoreTimes
from tests.support.batches import PATIENCE_S, chat_line, read_lines
from tests.support.process import ServerProcess
from tests.support.reference import assert_envelope

MEGABYTES = 64
"""More than the store's log may have."""
LINES = 300


class Disk:
    """A small file system in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        with self._ballast.open("wb", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    continue  # there may be room for less
        assert shutil.disk_usage(self.folder).free == 0

    def free(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here: that needs Linux and root")
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def wait_for(seen: Callable[[], bool]) -> None:
    pause, ends = threading.Event(), time.monotonic() + PATIENCE_S
    while not seen():
        assert time.monotonic() < ends, "it does not come"
        pause.wait(0.02)


class Server:
    """A server process with its data on the disk."""

    def __init__(self, disk: Disk) -> None:
        environment = {"OPENEDAI_DATA_FOLDER": str(disk.folder / "data")}
        self.process = ServerProcess("--loader", "echo", environment=environment)
        self.process.wait_until_ready()
        self.client = httpx.Client(base_url=f"{self.process.url}/v1", timeout=PATIENCE_S)

    def upload(self, content: bytes) -> httpx.Response:
        form: Any = {"data": {"purpose": "batch"}, "files": {"file": ("in.jsonl", content)}}
        return self.client.post("/files", **form)

    def chat(self, **more: Any) -> httpx.Response:
        messages = [{"role": "user", "content": "Hi there"}]
        return self.client.post(
            "/chat/completions", json={"model": "echo", "messages": messages, **more}
        )

    def batch(self, id: str) -> Any:
        return self.client.get(f"/batches/{id}").json()

    def health(self) -> Any:
        return httpx.get(f"{self.process.url}/health").json()["status"]

    def end(self) -> None:
        self.client.close()
        self.process.stop()


@pytest.fixture
def start(disk: Disk) -> Iterator[Callable[[], Server]]:
    begun: list[Server] = []

    def make() -> Server:
        begun.append(Server(disk))
        return begun[-1]

    yield make
    for each in begun:
        each.end()


@pytest.mark.timeout(240)
def test_a_batch_and_its_clients(disk: Disk, start: Callable[[], Server]) -> None:
    server = start()
    content = b"".join(chat_line(f"{n}", f"Question {n}") for n in range(LINES))
    file, kept = server.upload(content).json()["id"], server.chat(store=True).json()
    new = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    id = server.client.post("/batches", json=new).json()["id"]
    wait_for(lambda: server.batch(id)["request_counts"]["completed"] > 10)
    disk.fill()
    wait_for(lambda: bool(server.health() == "degraded"))
    refused = [server.upload(b"x" * size) for size in (100, 100_000, 3 << 20)]
    refused.append(server.client.post("/batches", json=new))
    part = {"filename": "a", "purpose": "batch", "bytes": 9, "mime_type": "text/plain"}
    refused.append(server.client.post("/uploads", json=part))
    codes = [assert_envelope(each.json(), status=503)["code"] for each in refused]
    assert [each.status_code for each in refused] == [503] * 5
    assert codes == ["request_memory_full"] * 3 + ["store_unavailable"] * 2
    assert all(int(each.headers["Retry-After"]) > 0 for each in refused)
    answered = server.chat(store=True).json()
    assert answered["choices"][0]["message"]["content"] and answered["store"] is False
    before = server.batch(id)
    assert before["status"] == "in_progress" and before["request_counts"]["completed"] < LINES
    disk.free()
    wait_for(lambda: server.batch(id)["status"] == "completed")
    wait_for(lambda: bool(server.health() == "ok"))
    late = server.upload(content).json()["id"]

    disk.fill()
    server.process.signal(signal.SIGKILL)
    server.process.wait(PATIENCE_S)
    server = start()  # while it is full, so SQLite may not even be able to read
    assert server.chat().status_code == 200
    answer = server.client.get(f"/batches/{id}")
    assert answer.status_code == 200 or assert_envelope(answer.json(), status=503)
    disk.free()
    wait_for(lambda: server.client.get(f"/batches/{id}").status_code == 200)
    done = server.batch(id)
    assert done["request_counts"] == {"total": LINES, "completed": LINES, "failed": 0}
    lines = read_lines(server.client.get(f"/files/{done['output_file_id']}/content").content)
    assert sorted(int(line["custom_id"]) for line in lines) == list(range(LINES))
    for each in (file, late):
        assert server.client.get(f"/files/{each}/content").content == content
    assert server.client.get(f"/chat/completions/{kept['id']}").status_code == 200


def test_what_may_not_be_kept_is_deleted_when_there_is_space_again(
    disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    times = StoreTimes(before_first_sweep=0.02, between_sweeps=0.02)
    store = Store(Settings(data_folder=str(disk.folder)), times)

    def add(size: int, expires: int | None = None) -> StoredFile:
        new = NewFile("a", "b", "user_data", size, expires)
        return store.files.add("me", new, [b"x" * size])

    def is_there(file: StoredFile) -> bool:
        with store.database.read() as connection:
            found = connection.exec_driver_sql(f"SELECT 1 FROM files WHERE id = '{file.id}'")
            return found.first() is not None

    kept = add(8 << 20)
    disk.fill()
    with pytest.raises(StoreUnavailable):
        store.database.tidy()
    store.start()
    failed = len(caplog.records)
    wait_for(lambda: len(caplog.records) > failed + 1)  # the sweeper has failed and tries again
    with pytest.raises(StoreUnavailable):
        add(1 << 20)
    disk.free()
    over = add(1 << 20, int(time.time()) - 1)
    wait_for(lambda: not is_there(over))
    with pytest.raises(StoredObjectNotFound):
        store.files.get("me", over.id)
    assert b"".join(store.files.read("me", kept.id)) == b"x" * (8 << 20)
    store.close()
