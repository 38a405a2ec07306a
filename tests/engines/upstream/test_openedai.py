"""A second OpenedAI as the upstream: whatever is asked in whatever dialect, the answer is the one that it
gives itself."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from extensions.openai.engines.protocol import Capability
from extensions.openai.engines.upstreams_file import engines_of
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.process import ServerProcess

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}},
    "required": ["city"],
    "additionalProperties": False,
}
FUNCTION = {"name": "weather", "description": "The weather of a city.", "parameters": CITY}
TOOL = {"type": "function", "function": FUNCTION}
HI = [{"role": "user", "content": "What is the weather in Rome?"}]
CALLED = [
    *HI,
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "It is sunny."},
]
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": CITY, "strict": True}}
CHATS: dict[str, dict[str, Any]] = {
    "plain": {},
    "system": {"messages": [{"role": "system", "content": "Be brief."}, *HI]},
    "stop": {"stop": ["e"]},
    "several": {"n": 2, "temperature": 1.0, "seed": 7},
    "samplers": {"top_k": 20, "min_p": 0.1, "repetition_penalty": 1.2, "seed": 3},
    "log-probabilities": {"logprobs": True, "top_logprobs": 2},
    "length": {"max_tokens": 3},
    "tools": {"tools": [TOOL]},
    "required": {"tools": [TOOL], "tool_choice": "required"},
    "named": {
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
    },
    "strict": {"tools": [{"type": "function", "function": {**FUNCTION, "strict": True}}]},
    "result": {"messages": CALLED, "tools": [TOOL]},
    "schema": {"response_format": FORMAT},
    "object": {"response_format": {"type": "json_object"}},
    "regex": {"guided_regex": "[a-c]{3,5}"},
    "choice": {"guided_choice": ["yes", "no"]},
    "grammar": {"grammar": 'start: "a" | "b"'},
    "bias": {"logit_bias": {"300": 50}},
    "functions": {"functions": [FUNCTION], "function_call": {"name": "weather"}},
    "custom": {"tools": [{"type": "custom", "custom": {"name": "run"}}], "tool_choice": "required"},
    "continued": {
        "messages": [*HI, {"role": "assistant", "content": "The weather is"}],
        "continue_final_message": True,
        "add_generation_prompt": False,
    },
    "no thought": {"enable_thinking": False},
}
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "completion": ("/v1/completions", {"prompt": "Once upon a time"}),
    "completion with stop": ("/v1/completions", {"prompt": "Once upon a time", "stop": "e"}),
    "completion of a schema": (
        "/v1/completions",
        {"prompt": "A city: ", "response_format": FORMAT},
    ),
    "several prompts": ("/v1/completions", {"prompt": ["One", "Two"], "echo": True}),
    "response": ("/v1/responses", {"input": "Hello", "store": False}),
    "response with a tool": (
        "/v1/responses",
        {
            "input": "What is the weather in Rome?",
            "store": False,
            "tools": [{"type": "function", **FUNCTION}],
            "tool_choice": "required",
        },
    ),
    "response of a schema": (
        "/v1/responses",
        {
            "input": "A city",
            "store": False,
            "text": {"format": {"type": "json_schema", "name": "n", "schema": CITY}},
        },
    ),
    "message": ("/v1/messages", {"messages": HI, "max_tokens": 24}),
    "message with a tool": (
        "/v1/messages",
        {
            "messages": HI,
            "max_tokens": 60,
            "tools": [{"name": "weather", "description": "x", "input_schema": CITY}],
            "tool_choice": {"type": "any"},
        },
    ),
    "message with a stop": (
        "/v1/messages",
        {"messages": HI, "max_tokens": 24, "stop_sequences": ["e"]},
    ),
}
REQUESTS = {
    **{
        f"chat: {name}": (
            "/v1/chat/completions",
            {"messages": HI, "max_tokens": 24, "temperature": 0, **body},
        )
        for name, body in CHATS.items()
    },
    **{name: (path, {"temperature": 0, **body}) for name, (path, body) in OTHERS.items()},
}


@pytest.fixture(scope="module")
def second() -> Iterator[ServerProcess]:
    server = ServerProcess("--threads", "1", "--parallel", "2")
    server.wait_until_ready()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def first(second: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    """This server, with the second one as its upstream, as its list describes it."""
    file = tmp_path_factory.mktemp("upstreams") / "upstreams.yaml"
    file.write_text(f"upstreams: {{second: {{address: '{second.url}'}}}}", encoding="utf-8")
    (named,) = engines_of(Settings(upstreams=str(file)))
    yield create_app(Settings(), named.engine).test_client()
    named.engine.close()


def test_its_list_is_read(first: FlaskClient, second: ServerProcess) -> None:
    with urllib.request.urlopen(f"{second.url}/v1/models/{second.model}") as answer:
        there = json.load(answer)
    here = first.get(f"/v1/models/{second.model}").json
    assert here["context_length"] == there["context_length"]
    assert here["created"] == there["created"]
    left_out = {str(Capability.INFILL), str(Capability.MODES)}
    assert set(here["capabilities"]) == set(there["capabilities"]) - left_out


INTERLEAVED = ("chat: several", "several prompts")
"""Their choices run side by side, and the parts of a stream come in any order."""
CASES = [(name, stream) for name in REQUESTS for stream in (False, True)]


@pytest.mark.parametrize(
    ("name", "stream"), [case for case in CASES if not (case[1] and case[0] in INTERLEAVED)]
)
def test_answers_are_the_same(
    first: FlaskClient, second: ServerProcess, name: str, stream: bool
) -> None:
    path, body = REQUESTS[name]
    body = {"model": second.model, **body, "stream": stream}
    if stream and "messages" not in path and "responses" not in path:
        body["stream_options"] = {"include_usage": True}
    direct = _post(f"{second.url}{path}", body)
    through = first.post(path, data=json.dumps(body), content_type="application/json")
    assert (through.status_code, direct[0]) == (200, 200)
    found, expected = (
        content_of(text, stream) for text in (through.get_data(as_text=True), direct[1])
    )
    if "stop" in name:
        # It ends before the other server has told its count, so this one estimates.
        for each in (found, expected):
            (each[1] if stream else each).pop("usage", None)
    assert found == expected


def _post(url: str, body: dict[str, Any]) -> tuple[int, str]:
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


CHANCE = {
    *("id", "item_id", "call_id", "system_fingerprint", "created", "created_at", "completed_at"),
    # What a prompt's cache happens to hold.
    # The last digits of probabilities differ from run to run, and with them the order of unlikely tokens.
    "top_logprobs",
    *("cached_tokens", "cache_read_input_tokens", "input_tokens"),
}


def content_of(answer: str, stream: bool) -> Any:
    """What an answer says, without what is of chance. Of a stream: its texts put together, as it may be cut
    at other places, and the last of its events."""
    if not stream:
        return _certain(json.loads(answer))
    events = [json.loads(line[6:]) for line in answer.split("\n") if line.startswith("data: {")]
    return "".join(_strings(event) for event in events), _certain(events[-1])


def _certain(value: Any) -> Any:
    if isinstance(value, list):
        return [_certain(each) for each in value]
    if isinstance(value, float):
        return None
    if not isinstance(value, dict):
        return value
    return {name: _certain(each) for name, each in value.items() if name not in CHANCE}


def _strings(event: Any) -> str:
    """The texts that an event adds."""
    if isinstance(event, list):
        return "".join(map(_strings, event))
    if not isinstance(event, dict):
        return ""
    found = ""
    for name, value in event.items():
        if name in ("content", "text", "delta", "arguments", "partial_json", "thinking") and (
            isinstance(value, str)
        ):
            found += value
        else:
            found += _strings(value)
    return found
