"""What the API reference says of answers, written down once more, independent of our own code.

Sources: the OpenAI API reference ("Completions", "Chat", "Errors") and the WHATWG description of
server-sent events.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel

Chunk = dict[str, Any]


@cache
def _event_types() -> Mapping[str, type[BaseModel]]:
    """The official clients' types of events, which are made of the documents. Only those who check events
    import them."""
    from anthropic.types import RawMessageStreamEvent
    from openai.types.responses import ResponseStreamEvent

    unions = (get_args(each)[0] for each in (RawMessageStreamEvent, ResponseStreamEvent))
    known = [each for union in unions for each in get_args(union)]
    return {get_args(each.model_fields["type"].annotation)[0]: each for each in known}


def assert_event(event: Chunk) -> None:
    """Its type is one of the reference's, and so are its fields."""
    _event_types()[event["type"]].model_validate(event)


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


ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


def assert_anthropic_error(body: Any, *, status: int | None = None) -> dict[str, Any]:
    """The error inside Anthropic's envelope. Source: Anthropic API reference, "Errors"."""
    assert set(body) == {"type", "error", "request_id"} and body["type"] == "error", body
    error = body["error"]
    assert set(error) == {"type", "message"} and error["message"], error
    if status in ANTHROPIC_TYPES:
        assert error["type"] == ANTHROPIC_TYPES[status], error
    assert body["request_id"], body
    return dict(error)


def is_anthropic(path: str) -> bool:
    """Whether an address is one of Anthropic's API; those of the messages of a stored chat are not."""
    ends = ("/messages", "/messages/count_tokens")
    return path.rstrip("/").endswith(ends) and "/chat/completions/" not in path


def is_ollama(path: str) -> bool:
    """Whether an address is one of Ollama's own API."""
    return path.startswith("/api/") and not is_kobold(path)


def is_kobold(path: str) -> bool:
    """Whether an address is one of KoboldCpp's own API."""
    return path.startswith(("/api/v1/", "/api/latest/", "/api/extra/"))


def assert_kobold_error(body: Any) -> dict[str, Any]:
    """The text of an error of Kobold's. Source: LostRuins/koboldcpp, its OpenAPI document."""
    assert set(body) == {"detail"} and set(body["detail"]) == {"msg", "type"}, body
    assert body["detail"]["msg"] and body["detail"]["type"], body
    return {"message": body["detail"]["msg"]}


def kobold_events(data: bytes) -> list[Chunk]:
    """The data of a stream whose events are all called `message`."""
    assert data.endswith(b"\n\n"), data[-80:]
    blocks = data.decode("utf-8").removesuffix("\n\n").split("\n\n")
    assert all(block.startswith("event: message\ndata: ") for block in blocks)
    return [json.loads(block.partition("data: ")[2]) for block in blocks]


def assert_ollama_error(body: Any) -> dict[str, Any]:
    """The text of an error of Ollama's. Source: ollama/ollama, docs/errors.md."""
    assert set(body) == {"error"} and isinstance(body["error"], str) and body["error"], body
    return {"message": body["error"]}


def assert_error_of(path: str, body: Any, *, status: int) -> dict[str, Any]:
    """The error inside the envelope of the dialect that an address speaks."""
    if is_ollama(path):
        return assert_ollama_error(body)
    if is_kobold(path):
        return assert_kobold_error(body)
    if is_anthropic(path):
        return assert_anthropic_error(body, status=status)
    return assert_envelope(body, status=status)


def named_events(data: bytes) -> list[Chunk]:
    """The data of a stream whose events have names, each of which is the type of its data."""
    assert data.endswith(b"\n\n"), data[-80:]
    found = []
    for block in data.decode("utf-8").removesuffix("\n\n").split("\n\n"):
        name, text = block.split("\n")
        event = json.loads(text.removeprefix("data: "))
        assert name == f"event: {event['type']}", block
        found.append(event)
    return found


def response_events(data: bytes) -> list[Chunk]:
    """The events of a whole response."""
    done = b"data: [DONE]\n\n"
    assert data.endswith(done), data[-80:]
    return named_events(data.removesuffix(done))


def json_lines(data: bytes) -> list[Chunk]:
    """The objects of a stream that has one a line."""
    assert data.endswith(b"\n"), data[-80:]
    return [json.loads(line) for line in data.decode("utf-8").removesuffix("\n").split("\n")]


def events_of(path: str, data: bytes) -> list[Chunk]:
    """The data of a whole stream in the dialect that an address speaks."""
    if path.endswith("/responses"):
        return response_events(data)
    if is_ollama(path):
        return json_lines(data)
    if is_kobold(path):
        return kobold_events(data)
    return named_events(data) if is_anthropic(path) else sse_chunks(data)


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


def fold_message(events: list[Chunk]) -> dict[str, Any]:
    """A message out of its events, in the order that Anthropic's reference tells ("Streaming Messages")."""
    assert events[0]["type"] == "message_start" and events[-1] == {"type": "message_stop"}
    message: dict[str, Any] = {**events[0]["message"], "content": []}
    assert message["stop_reason"] is None and events[0]["message"]["content"] == []
    texts: list[str] = []
    is_open = False
    for event in events[1:-1]:
        kind = event["type"]
        if kind == "content_block_start":
            assert not is_open and event["index"] == len(message["content"])
            message["content"].append(dict(event["content_block"]))
            texts, is_open = [], True
        elif kind == "content_block_delta":
            assert is_open and event["index"] == len(message["content"]) - 1
            block, delta = message["content"][-1], event["delta"]
            wanted = {"text": ["text_delta"], "tool_use": ["input_json_delta"]}
            assert delta["type"] in wanted.get(block["type"], ["thinking_delta", "signature_delta"])
            if delta["type"] == "signature_delta":
                block["signature"] = delta["signature"]
            else:
                texts.append(delta.get("text") or delta.get("thinking") or delta["partial_json"])
        elif kind == "content_block_stop":
            assert is_open and event["index"] == len(message["content"]) - 1
            _close_block(message["content"][-1], "".join(texts))
            is_open = False
        elif kind == "message_delta":
            assert not is_open and event is events[-2]
            message |= {**event["delta"], "usage": event["usage"]}
        else:
            assert kind == "ping", kind
    return message


def _close_block(block: dict[str, Any], text: str) -> None:
    if block["type"] == "tool_use":
        try:
            block["input"] = json.loads(text or "{}")
        except ValueError:  # cut by a limit; then what it adds up to is the client's affair
            block["input"] = None
    else:
        block[block["type"]] = text


def fold_response(events: list[Chunk]) -> dict[str, Any]:
    """A response out of its items' events, in the order that the reference tells ("Streaming events"); it is
    the very one that the last event holds."""
    events = [event for event in events if event is not None]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[0]["type"] == "response.created"
    last = events[-1]["response"]
    assert events[-1]["type"] == f"response.{last['status']}"
    assert last["status"] in ("completed", "incomplete")
    lives = [event["response"] for event in events if "response" in event]
    assert {response["id"] for response in lives} == {last["id"]}
    assert all(set(response) == set(last) for response in lives)
    assert all(response["output"] == [] and response["usage"] is None for response in lives[:-1])
    output: list[dict[str, Any]] = []
    is_open = False
    for event in events[1:-1]:
        kind = event["type"].removeprefix("response.")
        if kind in ("queued", "in_progress"):
            continue
        if kind == "output_item.added":
            assert not is_open and event["output_index"] == len(output)
            # The reference gives a compaction item no status.
            assert event["item"].get("status") == (
                None if event["item"]["type"] == "compaction" else "in_progress"
            )
            output.append(json.loads(json.dumps(event["item"])))
            is_open = True
            continue
        assert is_open and event["output_index"] == len(output) - 1, kind
        item = output[-1]
        if kind == "output_item.done":
            if "status" in item:
                assert event["item"]["status"] in ("completed", "incomplete")
                item["status"] = event["item"]["status"]
            item |= {k: v for k, v in event["item"].items() if k == "encrypted_content"}
            assert event["item"] == item
            is_open = False
        else:
            assert event["item_id"] == item["id"]
            _add_to_item(item, kind, event)
    assert not is_open
    response = {**events[0]["response"], "output": output}
    ends = ("status", "completed_at", "incomplete_details", "usage")
    assert response | {name: last[name] for name in ends} == last
    assert all(item.get("status", "completed") == "completed" for item in output[:-1])
    return dict(last)


DELTAS = {"output_text.delta": "text", "reasoning_text.delta": "text",
          "function_call_arguments.delta": "arguments", "custom_tool_call_input.delta": "input"}  # fmt: skip


def _add_to_item(item: dict[str, Any], kind: str, event: Chunk) -> None:
    """What an event between an item's first and last one adds to it, or repeats of it."""
    if "content_index" in event and kind == "content_part.added":
        assert event["content_index"] == len(item["content"])
        item["content"].append(dict(event["part"]))
        return
    part = item["content"][event["content_index"]] if "content_index" in event else item
    if kind in DELTAS:
        part[DELTAS[kind]] += event["delta"]
        if kind == "output_text.delta":
            part["logprobs"] = part["logprobs"] + event["logprobs"]
    elif kind == "content_part.done":
        assert event["part"] == part
    else:
        repeated = {"output_text.done": ("text", "logprobs"), "reasoning_text.done": ("text",),
                    "function_call_arguments.done": ("name", "arguments"),
                    "custom_tool_call_input.done": ("input",)}[kind]  # fmt: skip
        assert {name: event[name] for name in repeated} == {name: part[name] for name in repeated}
