"""The little of a model hub's HTTP that a download needs, as a real server on 127.0.0.1."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repository:
    files: dict[str, bytes] = field(default_factory=dict)
    claimed_sizes: dict[str, int] = field(default_factory=dict)
    """Sizes the listing claims, where they differ from the truth."""
    refusal: tuple[int, str] | None = None
    """Status and X-Error-Code that every request gets."""
    cut: list[int] = field(default_factory=list)
    """After how many bytes each of the next downloads breaks off."""
    stall_after: int | None = None
    """After how many bytes a download stops moving, until the hub is closed."""


class FakeHub:
    """`repositories` by name; `requests` is what was asked: (method, path, Range header)."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.closing = threading.Event()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def add(self, name: str, **files: int) -> Repository:
        """A repository with GGUF files of the given sizes, their contents all different."""
        repository = Repository(
            {f"{file}.gguf": content(f"{name}/{file}", size) for file, size in files.items()}
        )
        self.repositories[name] = repository
        return repository

    def ranges(self) -> list[str | None]:
        """The Range headers of the downloads so far, in order."""
        return [
            ranged
            for method, path, ranged in self.requests
            if method == "GET" and "/resolve/" in path
        ]

    def __enter__(self) -> FakeHub:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def content(seed: str, size: int) -> bytes:
    """`size` bytes that begin as a GGUF file does and repeat nowhere within 32 bytes."""
    block = hashlib.sha256(seed.encode()).digest()
    return (b"GGUF" + block * (size // 32 + 1))[:size]


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.hub.requests.append((self.command, self.path, self.headers.get("Range")))
        path = self.path.split("?")[0]
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)", path):
            self._list(match[1])
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
            self._file(match[1], match[2])
        else:
            self._refuse(404, "EntryNotFound")

    do_HEAD = do_GET

    def _list(self, name: str) -> None:
        repository = self._repository(name)
        if repository is None:
            return
        files = [
            {"rfilename": file, "size": repository.claimed_sizes.get(file, len(body))}
            for file, body in repository.files.items()
        ]
        self._json({"id": name, "sha": COMMIT, "private": False, "siblings": files})

    def _file(self, name: str, file: str) -> None:
        repository = self._repository(name)
        if repository is None:
            return
        body = repository.files.get(file)
        if body is None:
            self._refuse(404, "EntryNotFound")
            return
        begin = int((re.match(r"bytes=(\d+)-", self.headers.get("Range") or "") or [0, 0])[1])
        self.send_response(206 if begin else 200)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - begin))
        self.end_headers()
        if self.command == "HEAD":
            return
        if repository.stall_after is not None:
            self.wfile.write(body[begin : repository.stall_after])
            self.wfile.flush()
            self.hub.closing.wait()
            self.close_connection = True
        elif repository.cut:
            self.wfile.write(body[begin : begin + repository.cut.pop(0)])
            self.close_connection = True
        else:
            self.wfile.write(body[begin:])

    def _repository(self, name: str) -> Repository | None:
        """The repository when it may be read; else the refusal is sent."""
        repository = self.hub.repositories.get(name)
        if repository is None:
            self._refuse(404, "RepoNotFound")
        elif repository.refusal:
            self._refuse(*repository.refusal)
        else:
            return repository
        return None

    def _refuse(self, status: int, code: str) -> None:
        self._json({"error": code}, status, {"X-Error-Code": code})

    def _json(self, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet; `hub.requests` is the record."""
