"""Open WebUI in a process of its own, with this server behind both of its sides."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.agents.relay import Exchange, Relay
from tests.support.process import free_port

SERVE = Path(__file__).with_name("serve_open_webui.py")
START_SECONDS = 500.0
"""The first start downloads it, and makes its database."""
WAIT_SECONDS = 60.0
CONNECTIONS = {
    "0": {"prefix_id": "chats"},
    "1": {"prefix_id": "responses", "api_type": "responses"},
    "2": {"prefix_id": "llama", "provider": "llama.cpp"},
}
"""Three of its OpenAI side; without a prefix its Ollama side's models of the same name take their place."""
ALONE = {
    "USE_SLIM_DOCKER": "true",
    "OFFLINE_MODE": "true",
    "HF_HUB_OFFLINE": "1",
    "ANONYMIZED_TELEMETRY": "false",
    "BYPASS_MODEL_ACCESS_CONTROL": "true",
    "ENABLE_FORWARD_USER_INFO_HEADERS": "true",
    "GLOBAL_LOG_LEVEL": "WARNING",
}
"""Nothing is asked but the server; all users see all models; the server is told whose request it is."""


class OpenWebUI:
    """Its first user is its admin; requests are that one's unless `as_user` was called."""

    def __init__(self, folder: Path, relay: Relay, key: str, uv_run: list[str], cache: Path):
        self.port = free_port()
        self.relay = relay
        self._log = folder / "open-webui.log"
        sides = {
            "OLLAMA_BASE_URL": relay.url,
            "OLLAMA_API_CONFIGS": json.dumps({"0": {"key": key}}),
            "OPENAI_API_BASE_URLS": ";".join([f"{relay.url}/v1"] * len(CONNECTIONS)),
            "OPENAI_API_KEYS": ";".join([key] * len(CONNECTIONS)),
            "OPENAI_API_CONFIGS": json.dumps(CONNECTIONS),
            "RAG_EMBEDDING_ENGINE": "ollama",
            "RAG_EMBEDDING_MODEL": "openedai-tiny-embeddings",
            "RAG_OLLAMA_BASE_URL": relay.url,
            "RAG_OLLAMA_API_KEY": key,
        }
        inherited = {
            k: v for k, v in os.environ.items() if not k.startswith(("OPENEDAI_", "OPENAI_"))
        }
        own = {
            "DATA_DIR": str(folder),
            "HOME": str(folder),
            "WEBUI_SECRET_KEY": secrets.token_hex(32),
            "UV_CACHE_DIR": str(cache),
        }
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [*uv_run, str(SERVE), str(self.port)],
                cwd=folder,
                env=inherited | ALONE | sides | own,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=120)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_until_ready(self) -> None:
        """Wait until it answers, then register its first user. Fails with its log."""
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.2)
        account = {"name": "Ann", "email": "ann@example.com", "password": "Only-for-Tests-1"}
        self._enter(self.post("/api/v1/auths/signup", account))

    def add_user(self, email: str) -> None:
        account = {"name": "Bob", "email": email, "password": "Only-for-Tests-2", "role": "user"}
        self._enter(self.post("/api/v1/auths/add", account))

    def post(self, path: str, body: Mapping[str, Any]) -> httpx.Response:
        return self.client.post(path, json=body)

    def get(self, path: str) -> Any:
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def sent(self, path: str) -> Exchange:
        """The last request that the server got at a path."""
        return next(each for each in reversed(self.relay.exchanges) if each.path == path)

    def ask_on_the_page(self, model: str, text: str, **more: Any) -> tuple[str, dict[str, Any]]:
        """Do what its page does: a chat that is kept, whose answer is written behind the page's back.

        Returns the chat's id, and the message as it is kept once it is complete.
        """
        chat = {"models": [model], "history": {"messages": {}, "currentId": None}}
        chat_id = str(self.post("/api/v1/chats/new", {"chat": chat}).json()["id"])
        answer = str(uuid.uuid4())
        question = {
            "id": str(uuid.uuid4()),
            "parentId": None,
            "childrenIds": [],
            "role": "user",
            "content": text,
            "timestamp": int(time.time()),
            "models": [model],
        }
        body = {
            "messages": [{"role": "user", "content": text}],
            "parent_id": None,
            "user_message": question,
        }
        self._start(chat_id, model, answer, {**body, **more})
        return chat_id, self._complete(chat_id, answer)

    def continue_on_the_page(
        self, chat_id: str, kept: Mapping[str, Any], **more: Any
    ) -> dict[str, Any]:
        """Press *Continue* under an answer; returns it as it is kept then."""
        body = {"messages": [], "assistant_message_id": kept["id"]}
        self._start(chat_id, kept["model"], kept["id"], {**body, **more})
        return self._complete(chat_id, kept["id"], beyond=kept["content"])

    def stop(self) -> None:
        """End it and what it started."""
        self.client.close()
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait(20)

    def _enter(self, answer: httpx.Response) -> None:
        assert answer.status_code == 200, f"{answer.text}\n{self.log}"
        self.client.headers["Authorization"] = f"Bearer {answer.json()['token']}"

    def _start(self, chat_id: str, model: str, answer: str, more: Mapping[str, Any]) -> None:
        body = {
            "model": model,
            "stream": True,
            "stream_options": {"include_usage": True},
            "chat_id": chat_id,
            "session_id": "a-page",
            "id": answer,
            "message_ids": [{"model_id": model, "message_id": answer}],
        }
        started = self.post("/api/chat/completions", {**body, **more})
        assert started.status_code == 200 and started.json()["status"] is True, started.text

    def _complete(self, chat_id: str, answer: str, beyond: str | None = None) -> dict[str, Any]:
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            messages = self.get(f"/api/v1/chats/{chat_id}")["chat"]["history"]["messages"]
            kept = messages.get(answer) or {}
            if kept.get("done") and (kept["content"] != beyond or "error" in kept):
                return dict(kept)
            assert time.monotonic() < deadline, f"{kept}\n{self.log}"
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            return self.client.get("/health").status_code == 200
        except httpx.TransportError:
            return False


def is_for_this_python() -> bool:
    """Whether it can be installed for the Python that runs the tests."""
    return (3, 11) <= sys.version_info[:2] < (3, 13)
