"""A server with scripted models, and what a client sees of its answers."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.families import Family
from tests.support.process import ServerProcess
from tests.support.reference import assert_chunks, assert_envelope, fold_chat, sse_chunks
from tests.support.scripted_model import Script

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client sees of an answer."""

    content: str
    reasoning: str
    calls: list[tuple[str, Any]]
    """Names and arguments: what their JSON says, or their text where it is no JSON."""
    finish: str
    raw: Body

    @property
    def message(self) -> Body:
        message: Body = self.raw["choices"][0]["message"]
        return message

    @property
    def tokens(self) -> int:
        return int(self.raw["usage"]["completion_tokens"])

    @property
    def logprobs(self) -> list[Body]:
        entries: list[Body] = self.raw["choices"][0]["logprobs"]["content"]
        return entries


class Served:
    """The server process."""

    def __init__(self, folder: Path, first: str, *options: str) -> None:
        self.folder = folder
        self.process = ServerProcess(
            *("--model-dir", str(folder), "--model", first, "--model-aliases", "*"),
            *("--threads", "1", *options),
        )
        self.process.wait_until_ready()
        self.client = httpx.Client(base_url=self.process.url, timeout=50)
        self.loaded: tuple[str, tuple[Script, ...]] | None = None

    def stop(self) -> None:
        self.client.close()
        self.process.stop()

    def load(self, family: Family, scripts: Sequence[Script]) -> None:
        """Load a model with these scripts, if it is not loaded."""
        wanted = (family.name, tuple(scripts))
        if self.loaded != wanted:
            family.write(self.folder, scripts)
            self.load_by_name(family.name)
            self.loaded = wanted

    def load_by_name(self, name: str) -> None:
        self.loaded = None
        answer = self.client.post("/v1/internal/model/load", json={"model_name": name})
        assert answer.status_code == 200, answer.text

    def ask(self, script: str, **body: Any) -> Answer:
        """The answer that this script gives, the same streamed and not. `messages` may be the user's text."""
        whole = self.whole(script, **body)
        streamed = self.streamed(script, **body)
        seen, wanted = (
            (each.content, each.reasoning, each.calls, each.finish, each.tokens)
            for each in (streamed, whole)
        )
        assert seen == wanted, f"streamed {seen}, whole {wanted}"
        return whole

    def whole(self, script: str, **body: Any) -> Answer:
        answer = self.post(script, **body)
        assert answer.status_code == 200, answer.text
        return _answer(answer.json())

    def streamed(self, script: str, **body: Any) -> Answer:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        answer = self.post(script, **body)
        assert answer.status_code == 200, answer.text
        chunks = sse_chunks(answer.content)
        errors = [chunk["error"] for chunk in chunks if "error" in chunk]
        assert not errors, errors
        assert_chunks(chunks, usage=True)
        return _answer(fold_chat(chunks))

    def refused(self, script: str, *, status: int = 400, **body: Any) -> Body:
        """The error of a request that is refused, the same streamed and not."""
        found = []
        for stream in (False, True):
            answer = self.post(script, **body, stream=stream)
            assert answer.status_code == status, answer.text
            found.append(assert_envelope(answer.json(), status=status))
        assert found[0] == found[1]
        return found[0]

    def post(self, script: str, **body: Any) -> httpx.Response:
        body["messages"] = marked(body.get("messages", "Hello."), script)
        return self.post_as_it_is(**body)

    def post_as_it_is(self, path: str = "chat/completions", **body: Any) -> httpx.Response:
        return self.client.post(f"/v1/{path}", json={"model": "any", "max_tokens": 400, **body})


def marked(messages: Any, script: str) -> list[Body]:
    """Messages that make the model say a script: its mark stands in the first message that has text."""
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    copied: list[Body] = copy.deepcopy(list(messages))
    for message in copied:
        if message["role"] == "user" and isinstance(message.get("content"), str):
            message["content"] += f" say:{script}"
            return copied
    raise AssertionError("no text of a user to put the mark into")


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _answer(whole: Body) -> Answer:
    (choice,) = whole["choices"]
    message = choice["message"]
    calls = [
        (call["function"]["name"], _json_or_text(call["function"]["arguments"]))
        for call in message.get("tool_calls", ())
    ]
    return Answer(
        message["content"] or "",
        message.get("reasoning_content") or "",
        calls,
        choice["finish_reason"],
        whole,
    )
