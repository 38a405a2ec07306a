"""The application in process, asked in few words; answers are checked for what holds of all of them."""

from __future__ import annotations

import json
from typing import Any

from extensions.openai.engines.protocol import Engine
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.reference import (
    assert_chunks,
    assert_envelope,
    fold_chat,
    fold_completion,
    sse_chunks,
)

Body = dict[str, Any]


class Api:
    """One application with one engine."""

    def __init__(self, engine: Engine, **options: Any) -> None:
        self.engine = engine
        self.app = create_app(Settings(**options), engine)
        self.client = self.app.test_client()

    def complete(self, prompt: Any, **body: Any) -> Body:
        """The whole object of /v1/completions."""
        return self._whole("completions", {"prompt": prompt, **body})

    def chat(self, messages: Any, **body: Any) -> Body:
        """The whole object of /v1/chat/completions; a string is the user's only message."""
        return self._whole("chat/completions", {"messages": as_messages(messages), **body})

    def chunks(self, path: str, **body: Any) -> list[Body]:
        """The chunks of a stream, usage included."""
        options = {"stream": True, "stream_options": {"include_usage": True}}
        answer = self._post(path, body | options)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        chunks = sse_chunks(answer.data)
        assert_chunks(chunks, usage=True)
        return chunks

    def folded(self, path: str, **body: Any) -> Body:
        """What the stream adds up to, by the rules of the reference."""
        chunks = self.chunks(path, **body)
        return fold_chat(chunks) if "chat" in path else fold_completion(chunks)

    def refused(self, path: str, **body: Any) -> Body:
        """The error of a request that is not valid, which is the same in a stream."""
        if "chat" in path:
            body.setdefault("messages", as_messages("Hello"))
        else:
            body.setdefault("prompt", "Hello")
        errors = []
        for stream in (False, True):
            answer = self._post(path, {**body, "stream": stream})
            assert answer.status_code == 400, answer.get_data(as_text=True)
            errors.append(assert_envelope(answer.json, status=400))
        assert errors[0] == errors[1]
        return errors[0]

    def _whole(self, path: str, body: Body) -> Body:
        answer = self._post(path, body)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        whole: Body = answer.json
        assert all(choice["finish_reason"] for choice in whole["choices"])
        return whole

    def _post(self, path: str, body: Body) -> Any:
        # Flask's own client sorts the keys of what it sends.
        data = json.dumps({"model": self.engine.info.model, **body})
        return self.client.post(f"/v1/{path}", data=data, content_type="application/json")


def as_messages(messages: Any) -> Any:
    """Messages; a string is the user's only one."""
    return [{"role": "user", "content": messages}] if isinstance(messages, str) else messages


JITTER = 0.1  # nats; tokens that are judged beside an answer share its batches, and round with them


def assert_alike(one: Any, other: Any) -> None:
    """Two answers (or parts of them) that are equal but for chance and the last digits of numbers."""
    if isinstance(one, dict) and "usage" in one:
        one, other = without_chance(one), without_chance(other)
    if isinstance(one, dict):
        assert sorted(one) == sorted(other)
        for name in one:
            assert_alike(one[name], other[name])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            assert_alike(mine, theirs)
    elif isinstance(one, float):
        assert abs(one - other) <= JITTER
    else:
        assert one == other


def without_chance(whole: Body) -> Body:
    """An answer without its id, its time, the ids of its calls, and what the cache happened to hold."""
    usage = {k: v for k, v in whole["usage"].items() if k != "prompt_tokens_details"}
    choices = []
    for choice in whole["choices"]:
        message = choice.get("message")
        if message and "tool_calls" in message:
            calls = [{**call, "id": None} for call in message["tool_calls"]]
            choice = {**choice, "message": {**message, "tool_calls": calls}}
        choices.append(choice)
    return {**whole, "id": None, "created": None, "usage": usage, "choices": choices}
