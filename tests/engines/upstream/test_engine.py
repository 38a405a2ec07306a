"""A model of another server: what real servers do differently, how they fail, and that nothing goes on that
nobody waits for. The server is small, real, and answers as each test says."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from extensions.openai.engines.protocol import Capability
from extensions.openai.engines.remote.address import parse_address
from extensions.openai.engines.remote.http_client import HttpClient, Timeouts
from extensions.openai.engines.upstream.engine import UpstreamEngine
from extensions.openai.engines.upstream.rows import Kind, Upstream, UpstreamModel
from extensions.openai.generation.hooks.extension_hooks import Hooks
from tests.support.api import Api
from tests.support.fake_upstream import (
    DONE,
    FakeUpstream,
    Part,
    Script,
    Scripted,
    chunk,
    event,
    streamed,
    usage,
    whole,
)
from tests.support.reference import assert_envelope

QUICK = Timeouts(connect=1.0, first=2.0, silence=2.0)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
    for name in ("weather", "time")
]


def engine_at(
    address: str,
    kind: Kind = "openai",
    timeouts: Timeouts = QUICK,
    capabilities: tuple[Capability, ...] | None = None,
    **fields: Any,
) -> UpstreamEngine:
    where = parse_address(address, default_path="/v1")
    upstream = Upstream("gpu", where, fields=fields)
    model = UpstreamModel("big", "there", capabilities=capabilities)
    client = HttpClient(where, {"Authorization": "Bearer of-this-server"}, timeouts)
    return UpstreamEngine(upstream, model, client, kind)


Serve = Callable[..., tuple[FakeUpstream, Api]]


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """`serve(script, kind=...)`: a fake upstream, and this server's API over it. Making one takes a while,
    so those with the same options are used again."""
    running: dict[str, tuple[FakeUpstream, Api]] = {}

    def start(script: Script | Scripted, **options: Any) -> tuple[FakeUpstream, Api]:
        known = repr(options)
        if known not in running:
            fake = FakeUpstream(script)
            running[known] = fake, Api(engine_at(fake.address, **options))
        fake, api = running[known]
        fake.script = script if callable(script) else lambda asked: script
        fake.asked.clear()
        fake.left.clear()
        fake.completed = 0
        return fake, api

    yield start
    for fake, api in running.values():
        api.engine.close()
        fake.kill()


def message(api: Api, **body: Any) -> dict[str, Any]:
    found: dict[str, Any] = api.chat("Hi", **body)["choices"][0]["message"]
    return found


def failed(api: Api, **body: Any) -> tuple[int, dict[str, Any]]:
    asked = {"model": "big", "messages": [{"role": "user", "content": "Hi"}], **body}
    answer = api.client.post("/v1/chat/completions", json=asked)
    error: dict[str, Any] = answer.json["error"]
    assert answer.status_code == 429 or error == assert_envelope(
        answer.json, status=answer.status_code
    )
    return answer.status_code, error


def test_a_request_is_told_in_the_terms_of_the_other_server(serve: Serve) -> None:
    fake, api = serve(streamed("Hello", "!"), reasoning_format="none")
    whole = api.chat(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        temperature=0.5,
        max_tokens=20,
        seed=3,
        logit_bias={"5": -100},
    )
    assert whole["model"] == "big"
    assert whole["choices"][0]["message"]["content"] == "Hello!"
    assert whole["usage"]["total_tokens"] == 7 and "estimated" not in whole["usage"]
    (asked,) = fake.posts
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == "Bearer of-this-server"
    assert asked.body == {
        "model": "there",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
        ],
        "temperature": 0.5,
        "max_tokens": 20,
        "seed": 3,
        "logit_bias": {"5": -100.0},
        "stream": True,
        "stream_options": {"include_usage": True},
        "reasoning_format": "none",
    }


def test_what_the_other_server_does_not_take_is_refused_by_name(serve: Serve) -> None:
    fake, api = serve(streamed("x"))
    for field, value in (
        ("top_k", 5),
        ("mirostat", 2),
        ("guided_regex", "a+"),
        ("logit_bias", {'"word"': 1}),
    ):
        status, error = failed(api, **{field: value})
        assert (status, error["param"]) == (400, field), error
    assert not fake.posts
    assert failed(serve(streamed("x"), capabilities=(Capability.CHAT,))[1], logprobs=True)[0] == 400
    fake, api = serve(streamed("aa"), kind="vllm")
    message(api, top_k=5, guided_regex="a+", reasoning_effort="high", enable_thinking=True)
    body = fake.posts[0].body
    assert body["top_k"] == 5 and "grammar" in body["structured_outputs"]
    assert body["reasoning_effort"] == "high"
    assert body["chat_template_kwargs"] == {"enable_thinking": True}


def text(*deltas: dict[str, Any], end: dict[str, Any] | None = None) -> list[bytes]:
    return [event(chunk(delta)) for delta in deltas] + [event(chunk(finish="stop", **(end or {})))]


HELLO = ({"content": "Hel"}, {"content": "lo"})
COUNTED = event({"choices": [], "usage": usage(5, 2)})
QUIRKS: dict[str, Scripted] = {
    "reference": Scripted([*text(*HELLO), COUNTED, DONE]),
    "no end mark": Scripted([*text(*HELLO), COUNTED]),
    "ends with the connection": Scripted([*text(*HELLO), COUNTED], framing="close"),
    "open after the end mark": Scripted([*text(*HELLO), COUNTED, DONE, 30.0]),
    "usage with the end": Scripted([*text(*HELLO, end={"usage": usage(5, 2)}), DONE]),
    "usage in every chunk": Scripted(
        [
            event(chunk({"content": "Hel"}, usage=usage(5, 1))),
            event(chunk({"content": "lo"}, usage=usage(5, 2))),
            event(chunk(finish="stop", usage=usage(5, 2))),
            DONE,
        ]
    ),
    "null usage in every chunk": Scripted(
        [event({**chunk({"content": "Hello"}), "usage": None}), *text(), COUNTED, DONE]
    ),
    "comments": Scripted([b": ping\n\n", *text(*HELLO), b":\n\n", COUNTED, DONE]),
    "CRLF": Scripted([part.replace(b"\n", b"\r\n") for part in [*text(*HELLO), COUNTED, DONE]]),
    "no blank": Scripted(
        [part.replace(b"data: ", b"data:") for part in [*text(*HELLO), COUNTED, DONE]]
    ),
    "trailing whitespace": Scripted(
        [part.replace(b"\n\n", b"  \t\n\n") for part in [*text(*HELLO), COUNTED, DONE]]
    ),
    "no empty lines": Scripted(
        [part.replace(b"\n\n", b"\n") for part in [*text(*HELLO), COUNTED, DONE]]
    ),
    "names and ids of events": Scripted(
        [b"id: 7\nevent: message\nretry: 10\n" + part for part in [*text(*HELLO), COUNTED, DONE]]
    ),
    "cut anywhere": Scripted([bytes([byte]) for byte in b"".join([*text(*HELLO), COUNTED, DONE])]),
    "all at once": Scripted([b"".join([*text(*HELLO), COUNTED, DONE])]),
    "lines of JSON": Scripted(
        [part[6:-1] for part in [*text(*HELLO), COUNTED]], kind="application/x-ndjson"
    ),
    "events that are said to be JSON": Scripted(
        [*text(*HELLO), COUNTED, DONE], kind="application/json"
    ),
    "not streamed": whole(
        {
            "choices": [{"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}],
            "usage": usage(5, 2),
        }
    ),
    "content in parts": Scripted(
        [*text({"content": [{"type": "text", "text": "Hello"}]}), COUNTED, DONE]
    ),
    "no reason for the end": Scripted([event(chunk({"content": "Hello"})), COUNTED, DONE]),
    "an unknown reason": Scripted(
        [event(chunk({"content": "Hello"})), event(chunk(finish="eos_token")), COUNTED, DONE]
    ),
    "empty choices first": Scripted(
        [event({"choices": [], "prompt_filter_results": []}), *text(*HELLO), COUNTED, DONE]
    ),
}


@pytest.mark.parametrize("quirk", QUIRKS)
def test_answers_are_read_whatever_their_form(serve: Serve, quirk: str) -> None:
    _, api = serve(QUIRKS[quirk])
    began = time.monotonic()
    answer = api.chat("Hi")
    assert answer["choices"][0]["message"]["content"] == "Hello"
    assert answer["choices"][0]["finish_reason"] == "stop"
    counts = {k: answer["usage"][k] for k in ("prompt_tokens", "completion_tokens")}
    assert counts == {"prompt_tokens": 5, "completion_tokens": 2}
    assert "estimated" not in answer["usage"]
    assert api.folded("chat/completions", messages=[{"role": "user", "content": "Hi"}])[
        "choices"
    ] == [{**answer["choices"][0]}]
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    "thought",
    [
        [{"reasoning_content": "Hm"}, {"reasoning_content": "m."}],
        [{"reasoning": "Hm"}, {"reasoning": "m."}],
        [{"thinking": "Hmm."}],
        [{"reasoning_details": [{"type": "reasoning.text", "text": "Hmm."}]}],
        [{"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hmm."}]}]}],
        [{"content": "<th"}, {"content": "ink>Hm"}, {"content": "m.</think>\n\n"}],
        [{"reasoning": "Hmm.", "reasoning_content": "Hmm."}],
    ],
)
def test_a_thought_has_many_spellings(serve: Serve, thought: list[dict[str, Any]]) -> None:
    _, api = serve(Scripted([*text(*thought, *HELLO), COUNTED, DONE]))
    found = message(api)
    assert (found["reasoning_content"], found["content"]) == ("Hmm.", "Hello")


def call(index: int | None, id: str | None, name: str | None, arguments: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"function": {"arguments": arguments}}
    if index is not None:
        found["index"] = index
    if id is not None:
        found |= {"id": id, "type": "function"}
    if name is not None:
        found["function"]["name"] = name
    return found


WEATHER, TIME = '{"city": "Rome"}', '{"city": "Oslo"}'
CALLS: dict[str, list[list[dict[str, Any]]]] = {
    "reference": [
        [call(0, "a", "weather", "")],
        [call(0, None, None, '{"city":')],
        [call(0, None, None, ' "Rome"}')],
        [call(1, "b", "time", "")],
        [call(1, None, None, TIME)],
    ],
    "without index": [
        [call(None, "a", "weather", '{"city":')],
        [call(None, None, None, ' "Rome"}')],
        [call(None, "b", "time", TIME)],
    ],
    "without index, whole": [
        [call(None, "a", "weather", WEATHER), call(None, "b", "time", TIME)],
    ],
    "one index for all": [
        [call(0, "a", "weather", WEATHER)],
        [call(0, "b", "time", TIME)],
    ],
    "the id again and again": [
        [call(0, "a", "weather", '{"city":')],
        [call(0, "a", None, ' "Rome"}')],
        [call(1, "b", "time", TIME)],
    ],
    "the name again and again": [
        [call(0, "a", "weather", '{"city":')],
        [call(0, "a", "weather", ' "Rome"}')],
        [call(1, "b", "time", TIME)],
    ],
    "without ids": [
        [call(0, None, "weather", WEATHER)],
        [call(1, None, "time", TIME)],
    ],
    "empty ids": [
        [call(0, "", "weather", '{"city":')],
        [call(0, "", None, ' "Rome"}')],
        [call(1, "", "time", TIME)],
    ],
    "objects": [
        [call(0, "a", "weather", {"city": "Rome"}), call(1, "b", "time", {"city": "Oslo"})],
    ],
    "index from 1": [
        [call(1, "a", "weather", WEATHER)],
        [call(2, "b", "time", TIME)],
    ],
}


@pytest.mark.parametrize("form", CALLS)
@pytest.mark.parametrize("finish", ["tool_calls", "stop"])
def test_calls_are_read_whatever_their_form(serve: Serve, form: str, finish: str) -> None:
    parts: list[Part] = [event(chunk({"tool_calls": each})) for each in CALLS[form]]
    script = Scripted([*parts, event(chunk(finish=finish)), COUNTED, DONE])
    fake, api = serve(script)
    answer = api.chat("Hi", tools=TOOLS)
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    calls = answer["choices"][0]["message"]["tool_calls"]
    found = [
        (each["function"]["name"], json.loads(each["function"]["arguments"])) for each in calls
    ]
    assert found == [("weather", {"city": "Rome"}), ("time", {"city": "Oslo"})]
    ids = [each["id"] for each in calls]
    assert len(set(ids)) == 2 and all(ids)
    if '"a"' in json.dumps(CALLS[form]):
        assert ids == ["a", "b"]
    assert fake.posts[0].body["tools"] == TOOLS


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("required", "required"),
        (
            {"type": "function", "function": {"name": "time"}},
            {"type": "function", "function": {"name": "time"}},
        ),
        ("auto", None),
    ],
)
def test_demanded_calls_are_demanded_there(serve: Serve, asked: Any, sent: Any) -> None:
    script = Scripted([event(chunk({"tool_calls": [call(0, "a", "time", TIME)]})), *text(), DONE])
    fake, api = serve(script)
    message(api, tools=TOOLS, tool_choice=asked, parallel_tool_calls=False)
    body = fake.posts[0].body
    assert body.get("tool_choice") == sent and body["parallel_tool_calls"] is False
    assert [tool["function"]["name"] for tool in body["tools"]] == ["weather", "time"]


def test_structured_output_is_passed_on(serve: Serve) -> None:
    fake, api = serve(streamed('{"a": 1}'))
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    format = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": schema}}
    assert message(api, response_format=format)["content"] == '{"a": 1}'
    message(api, response_format={"type": "json_object"})
    sent = [asked.body["response_format"] for asked in fake.posts]
    assert sent == [
        {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": schema},
        },
        {"type": "json_object"},
    ]


def test_log_probabilities_are_passed_on(serve: Serve) -> None:
    def told(text: str, logprob: float) -> dict[str, Any]:
        known = {"token": text, "logprob": logprob, "bytes": list(text.encode())}
        return {**known, "top_logprobs": [known]}

    def part(delta: str, *logprobs: dict[str, Any]) -> bytes:
        made = chunk({"content": delta})
        made["choices"][0]["logprobs"] = {"content": list(logprobs)}
        return event(made)

    script = Scripted([part("Hello", told("Hel", -0.5), told("lo", -1.5)), *text(), COUNTED, DONE])
    fake, api = serve(script)
    answer = api.chat("Hi", logprobs=True, top_logprobs=1)
    found = answer["choices"][0]["logprobs"]["content"]
    assert [(each["token"], each["logprob"]) for each in found] == [("Hel", -0.5), ("lo", -1.5)]
    assert found[0]["top_logprobs"][0]["token"] == "Hel"
    assert (fake.posts[0].body["logprobs"], fake.posts[0].body["top_logprobs"]) == (True, 1)
    _, api = serve(streamed("Hello"))
    status, error = failed(api, logprobs=True)
    assert (status, error["code"]) == (502, "upstream_failed")


def test_several_choices_are_several_requests(serve: Serve) -> None:
    _, api = serve(lambda asked: streamed(f"seed {asked.body['seed']}"))
    answer = api.chat("Hi", n=3, seed=5)
    texts = [choice["message"]["content"] for choice in answer["choices"]]
    assert texts == ["seed 5", "seed 6", "seed 7"]
    assert answer["usage"]["prompt_tokens"] == 5 and answer["usage"]["completion_tokens"] == 3


def test_stop_strings_end_the_work_there(serve: Serve) -> None:
    fake, api = serve(streamed("one ", "two ", "three ", *["more "] * 100, every=0.02))
    answer = api.chat("Hi", stop=["two"])
    assert answer["choices"][0]["message"]["content"] == "one "
    assert answer["usage"]["estimated"] is True
    assert answer["usage"]["completion_tokens"] == 2
    deadline = time.monotonic() + 2
    while not fake.left and time.monotonic() < deadline:
        time.sleep(0.01)
    assert fake.left and not fake.completed


def test_without_usage_tokens_are_estimated_and_said_to_be(serve: Serve) -> None:
    _, api = serve(Scripted([*text(*HELLO), DONE]))
    used = api.chat("x" * 400)["usage"]
    assert used["estimated"] is True
    assert used["completion_tokens"] == 2 and 100 <= used["prompt_tokens"] <= 110
    chunks = api.chunks("chat/completions", messages=[{"role": "user", "content": "Hi"}])
    assert chunks[-1]["usage"]["estimated"] is True


def test_completions_go_to_completions(serve: Serve) -> None:
    def answer(asked: Any) -> Scripted:
        text = "token ids" if isinstance(asked.body["prompt"], list) else "a text"
        choice = {"index": 0, "text": text, "finish_reason": "stop"}
        return Scripted([event({"choices": [choice], "usage": usage(3, 2)}), DONE])

    fake, api = serve(answer)
    assert api.complete("Once")["choices"][0]["text"] == "a text"
    assert api.complete([1, 2, 3])["choices"][0]["text"] == "token ids"
    assert {asked.path for asked in fake.posts} == {"/v1/completions"}
    assert fake.posts[0].body["max_tokens"] == 16


ERRORS: dict[str, tuple[Scripted, int, str | None, str | None]] = {
    "a field": (
        whole({"error": {"message": "top_p must be low", "param": "top_p", "code": "bad"}}, 400),
        400, "bad", "top_p",
    ),
    "the context": (
        whole({"error": {"message": "too long", "code": "context_length_exceeded"}}, 400),
        400, "context_length_exceeded", None,
    ),
    "FastAPI's": (
        whole({"detail": [{"loc": ["body", "seed"], "msg": "not a number"}]}, 422),
        400, None, "seed",
    ),
    "a text": (whole({"error": "no such role"}, 400), 400, None, None),
    "a wrong key": (
        whole({"error": {"message": "Incorrect API key: sk-of-this"}}, 401), 502,
        "upstream_failed", None,
    ),
    "an unknown model": (
        whole({"error": {"message": "no model", "code": "model_not_found"}}, 404), 502,
        "upstream_failed", None,
    ),
    "its own fault": (
        whole({"error": {"message": "boom of sk-of-this"}}, 500), 502, "upstream_failed", None,
    ),
    "not JSON": (Scripted([b"<html>"], 500, {}, "text/html"), 502, "upstream_failed", None),
    "a bad gateway": (Scripted([b"<html>"], 502, {}, "text/html"), 502, "upstream_failed", None),
    "a timeout": (whole({}, 504), 504, "upstream_timeout", None),
    "busy": (whole({}, 503, Retry_After="7"), 503, "upstream_busy", None),
    "limited": (whole({}, 429, Retry_After="7"), 429, "upstream_rate_limited", None),
    "an error in a 200": (
        Scripted([event({"error": {"message": "cuda", "code": 500}})]), 502,
        "upstream_failed", None,
    ),
    "a refusal in a 200": (
        Scripted([event({"error": {"message": "too long", "code": 400}})]), 400, None, None,
    ),
    "an error in a whole 200": (
        whole({"error": {"message": "cuda", "type": "server_error"}}), 502,
        "upstream_failed", None,
    ),
    "an event of that name": (
        Scripted([b'event: error\ndata: {"message": "x"}\n\n']), 502, "upstream_failed", None,
    ),
    "cut behind the head": (Scripted(is_cut=True), 502, "upstream_unreachable", None),
    "garbage": (Scripted([b"data: {nonsense\n\n"]), 502, "upstream_failed", None),
    "no choice": (Scripted([event({"choices": ["x"]})]), 502, "upstream_failed", None),
    "no calls": (
        Scripted([event(chunk({"tool_calls": [{"function": "x"}]}))]), 502, "upstream_failed", None,
    ),
    "choices that are no list": (
        Scripted([event({"choices": {"a": 1}})]), 502, "upstream_failed", None,
    ),
    "a list": (Scripted([b"data: [1]\n\n"]), 502, "upstream_failed", None),
    "nothing": (Scripted([]), 502, "upstream_failed", None),
    "a page": (Scripted([b"<html></html>"], 200, {}, "text/html"), 502, "upstream_failed", None),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_its_errors_are_errors_of_this_server(
    serve: Serve, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    script, status, code, param = ERRORS[case]
    _, api = serve(script)
    found, error = failed(api)
    assert (found, error["code"], error["param"]) == (status, code, param)
    assert "sk-of-this" not in error["message"] + caplog.text
    streamed, same = failed(api, stream=True)
    assert (streamed, same) == (status, error)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [({"Retry_After": "7"}, "7"), ({"retry_after_ms": "1500"}, "2"), ({}, "1")],
)
def test_its_limits_are_passed_on(serve: Serve, value: dict[str, str], seconds: str) -> None:
    _, api = serve(whole({"error": {"message": "slow down"}}, 429, **value))
    body = {"model": "big", "messages": [{"role": "user", "content": "Hi"}]}
    answer = api.client.post("/v1/chat/completions", json=body)
    assert answer.headers["Retry-After"] == seconds


@pytest.mark.parametrize("end", [{"is_cut": True}, {}])
def test_an_answer_that_breaks_off_is_an_error(serve: Serve, end: dict[str, Any]) -> None:
    _, api = serve(Scripted([event(chunk({"content": "Hel"}))], **end))
    assert failed(api)[0] == 502
    body = {"model": "big", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    data = api.client.post("/v1/chat/completions", json=body).get_data(as_text=True)
    assert "Hel" in data and '"error"' in data and "[DONE]" not in data


def test_silence_is_a_timeout(serve: Serve) -> None:
    quick = Timeouts(connect=0.5, first=0.3, silence=0.3)
    for script in (Scripted([1.5]), Scripted([event(chunk({"content": "Hel"})), 1.5])):
        _, api = serve(script, timeouts=quick)
        status, error = failed(api)
        assert (status, error["code"]) == (504, "upstream_timeout")


def test_a_server_that_is_not_there(serve: Serve) -> None:
    fake, api = serve(streamed("x"), timeouts=Timeouts(connect=1.1))
    fake.kill()
    status, error = failed(api)
    assert (status, error["code"]) == (502, "upstream_unreachable")
    assert str(fake.port) not in error["message"]


def test_connections_are_used_again(serve: Serve) -> None:
    fake, api = serve(lambda asked: streamed("Hello"))
    for _ in range(5):
        assert message(api)["content"] == "Hello"
    assert len({asked.connection for asked in fake.posts}) == 1


def test_a_connection_that_was_closed_meanwhile_is_no_error(serve: Serve) -> None:
    fake, api = serve(lambda asked: streamed("Hello"))
    assert message(api)["content"] == "Hello"
    fake.kill()
    fake.restart()
    assert message(api)["content"] == "Hello"
    assert len(fake.posts) == 2


def test_nothing_is_sent_twice(serve: Serve) -> None:
    fake, api = serve(Scripted([b""], is_cut=True))
    failed(api)
    assert len(fake.posts) == 1


def test_a_client_that_leaves_ends_the_work_there(serve: Serve) -> None:
    for script in (
        streamed(*["more "] * 400, every=0.01),
        Scripted([event(chunk({"content": "Hel"})), 10.0]),
        Scripted([10.0]),
    ):
        fake, api = serve(script)
        answer = api.engine.answer(_chat())  # type: ignore[attr-defined]
        next(answer)
        for _ in range(2):
            next(answer)
        answer.close()
        deadline = time.monotonic() + 1
        while _reading() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not _reading() and not fake.completed


def _reading() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name == "openai-engine"]


def _chat() -> Any:
    from extensions.openai.engines.protocol import ChatRequest, Message, RemoteChat

    return RemoteChat(ChatRequest((Message("user", "Hi"),)))


def test_a_unix_socket(tmp_path: Path) -> None:
    with FakeUpstream(streamed("Hello"), at=tmp_path / "s") as fake:
        engine = engine_at(fake.address)
        assert message(Api(engine))["content"] == "Hello"
        assert fake.posts[0].path == "/v1/chat/completions"
        engine.close()


def test_hooks_act_before_and_after(serve: Serve) -> None:
    """The parameters, the messages and the answer, though another server makes the prompt."""

    def state_modifier(state: dict[str, Any]) -> dict[str, Any]:
        assert state["temperature"] == 0.5
        return state | {"temperature": 0.25}

    hooks = SimpleNamespace(
        state_modifier=state_modifier,
        chat_input_modifier=lambda text, visible, state: (text + " (asked twice)", visible),
        output_modifier=lambda text, state, is_chat=False: text.upper(),
    )
    fake, api = serve(streamed("Hello", " there"), hooked=True)
    api.app.extensions["openai"].hooks = Hooks(lambda: [("an extension", hooks)])
    assert message(api, temperature=0.5)["content"] == "HELLO THERE"
    body = fake.posts[0].body
    assert body["temperature"] == 0.25
    assert body["messages"] == [{"role": "user", "content": "Hi (asked twice)"}]


def test_many_at_once(serve: Serve) -> None:
    def echo(asked: Any) -> Scripted:
        return streamed(*asked.body["messages"][-1]["content"])

    _, api = serve(echo)
    wrong: list[str] = []

    def work(number: int) -> None:
        for at in range(4):
            text = f"{number}/{at} " * 5
            found = api.engine.answer(  # type: ignore[attr-defined]
                type(_chat())(_request(text))
            )
            got = "".join(piece.text for piece in found if piece)
            if got != text:
                wrong.append(got)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong


def _request(text: str) -> Any:
    from extensions.openai.engines.protocol import ChatRequest, Message

    return ChatRequest((Message("user", text),))
