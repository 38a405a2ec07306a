"""A very small client for an OpenAI-compatible endpoint, on the standard library."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any


class Client:
    """Sends chat and completion requests to one base URL (which ends with /v1)."""

    def __init__(self, base_url: str, model: str, key: str = "", timeout: float = 120.0) -> None:
        self.base_url = base_url.rstrip("/")
        self.model = model
        self.key = key
        self.timeout = timeout

    def _open(self, path: str, body: dict[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        data = json.dumps({"model": self.model, **body}).encode()
        request = urllib.request.Request(f"{self.base_url}/{path}", data, headers)
        return urllib.request.urlopen(request, timeout=self.timeout)

    def reply(self, **body: Any) -> dict[str, Any]:
        """One chat completion, whole."""
        with self._open("chat/completions", body) as reply:
            whole: dict[str, Any] = json.load(reply)
        return whole

    def chat(self, **body: Any) -> dict[str, Any]:
        """One chat completion; the first choice (message and finish_reason)."""
        choice: dict[str, Any] = self.reply(**body)["choices"][0]
        return choice

    def complete(self, **body: Any) -> dict[str, Any]:
        """One plain completion; the first choice (text and finish_reason)."""
        with self._open("completions", body) as reply:
            choice: dict[str, Any] = json.load(reply)["choices"][0]
        return choice

    def chat_stream(self, **body: Any) -> Iterator[dict[str, Any]]:
        """The events of a streamed chat completion."""
        with self._open("chat/completions", {**body, "stream": True}) as reply:
            for line in reply:
                text = line.decode().strip()
                if text.startswith("data: ") and text != "data: [DONE]":
                    event: dict[str, Any] = json.loads(text[6:])
                    yield event
