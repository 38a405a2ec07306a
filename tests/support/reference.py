"""What the API reference says of answers, written down once more, independent of our own code.

Sources: the OpenAI API reference ("Completions", "Chat", "Errors") and the WHATWG description of
server-sent events.
"""

from __future__ import annotations

import json
from typing import Any

Chunk = dict[str, Any]


def assert_envelope(body: Any, *, status: int | None = None) -> dict[str, Any]:
    """The error inside an envelope that holds all four fields and nothing else."""
    assert isinstance(body, dict), body
    assert set(body) == {"error"}, body
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code"}, error
    assert isinstance(error["message"], str) and error["message"], error
    assert isinstance(error["type"], str) and error["type"], error
    assert error["param"] is None or isinstance(error["param"], str), error
    assert error["code"] is None or isinstance(error["code"], str), error
    if status is not None and status < 500:
        assert error["type"] == "invalid_request_error", error
    return dict(error)


def sse_payloads(data: bytes) -> list[str]:
    """The payloads of a whole stream, whose framing must be exact; comments are left out."""
    assert data.endswith(b"\n\n"), data[-80:]
    payloads = []
    for block in data.decode("utf-8").removesuffix("\n\n").split("\n\n"):
        assert "\n" not in block and "\r" not in block, block
        if block.startswith(":"):
            continue
        assert block.startswith("data: "), block
        payloads.append(block.removeprefix("data: "))
    return payloads


def sse_chunks(data: bytes) -> list[Chunk]:
    """The chunks of a stream that ends as it should: with one [DONE], and that last."""
    payloads = sse_payloads(data)
    assert payloads and payloads[-1] == "[DONE]", payloads[-1:]
    assert payloads.count("[DONE]") == 1
    return [json.loads(payload) for payload in payloads[:-1]]


def assert_chunks(chunks: list[Chunk], *, usage: bool) -> None:
    """What holds for every stream: one head, one finish per choice, usage only as asked."""
    heads = {(c["id"], c["object"], c["created"], c["model"]) for c in chunks}
    assert len(heads) == 1, heads
    finished: set[int] = set()
    for chunk in chunks:
        for choice in chunk["choices"]:
            assert choice["index"] not in finished, "a chunk after the choice's finish_reason"
            if choice["finish_reason"] is not None:
                finished.add(choice["index"])
    seen = {choice["index"] for chunk in chunks for choice in chunk["choices"]}
    assert finished == seen == set(range(len(seen)))
    if usage:
        assert chunks[-1]["choices"] == []
        assert chunks[-1]["usage"] is not None
        assert all(chunk["choices"] for chunk in chunks[:-1])
        assert all("usage" in chunk and chunk["usage"] is None for chunk in chunks[:-1])
    else:
        assert all("usage" not in chunk for chunk in chunks)
        assert all(chunk["choices"] for chunk in chunks)


LISTS = ("tokens", "token_logprobs", "top_logprobs", "text_offset")


def fold_completion(chunks: list[Chunk]) -> dict[str, Any]:
    """A completion object out of the chunks of a stream with usage."""
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for part in chunk["choices"]:
            choice = choices.setdefault(
                part["index"],
                {"text": "", "index": part["index"], "logprobs": None, "finish_reason": None},
            )
            if part["logprobs"] is not None:
                whole = choice["logprobs"] = choice["logprobs"] or {name: [] for name in LISTS}
                assert set(part["logprobs"]) == set(LISTS)
                for name in LISTS:
                    whole[name] += part["logprobs"][name]
            choice["text"] += part["text"]
            choice["finish_reason"] = part["finish_reason"] or choice["finish_reason"]
    return _whole(chunks, "text_completion", choices)


def fold_chat(chunks: list[Chunk]) -> dict[str, Any]:
    """A chat completion object out of the chunks of a stream with usage."""
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        assert chunk["object"] == "chat.completion.chunk"
        for part in chunk["choices"]:
            delta = part["delta"]
            choice = choices.get(part["index"])
            if choice is None:
                assert delta["role"] == "assistant", "the first delta of a choice has the role"
                choice = choices[part["index"]] = {
                    "index": part["index"],
                    "message": {"role": "assistant", "content": "", "refusal": None},
                    "logprobs": None,
                    "finish_reason": None,
                }
            else:
                assert "role" not in delta, "only the first delta of a choice has the role"
            message = choice["message"]
            message["content"] += delta.get("content") or ""
            if "reasoning_content" in delta:
                message.setdefault("reasoning_content", "")
                message["reasoning_content"] += delta["reasoning_content"]
            for call in delta.get("tool_calls", ()):
                _add_call(message.setdefault("tool_calls", []), call)
            if "function_call" in delta:
                called = message.setdefault("function_call", {"name": "", "arguments": ""})
                called["name"] += delta["function_call"].get("name", "")
                called["arguments"] += delta["function_call"].get("arguments", "")
            if part["logprobs"] is not None:
                choice["logprobs"] = choice["logprobs"] or {"content": [], "refusal": None}
                choice["logprobs"]["content"] += part["logprobs"]["content"]
            choice["finish_reason"] = part["finish_reason"] or choice["finish_reason"]
    for choice in choices.values():
        message = choice["message"]
        if not message["content"] and {"tool_calls", "function_call"} & set(message):
            message["content"] = None
    return _whole(chunks, "chat.completion", choices)


def _add_call(calls: list[dict[str, Any]], part: dict[str, Any]) -> None:
    """A part of a call: id, type and name come with the first part of it, and only there."""
    index = part["index"]
    if index == len(calls):
        assert part["id"] and part["type"] in ("function", "custom")
        kind = part["type"]
        assert part[kind]["name"]
        calls.append({"id": part["id"], "type": kind, kind: dict(part[kind])})
        return
    assert index == len(calls) - 1, "a call is complete before the next one begins"
    assert "id" not in part and "name" not in part["function"]
    calls[index]["function"]["arguments"] += part["function"]["arguments"]


def _whole(chunks: list[Chunk], kind: str, choices: dict[int, dict[str, Any]]) -> dict[str, Any]:
    first = chunks[0]
    tier = {"service_tier": first["service_tier"]} if "service_tier" in first else {}
    return {
        "id": first["id"],
        "object": kind,
        "created": first["created"],
        "model": first["model"],
        "system_fingerprint": first["system_fingerprint"],
        "choices": [choices[index] for index in sorted(choices)],
        "usage": chunks[-1]["usage"],
        **tier,
    }
