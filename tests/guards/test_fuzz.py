"""Requests at random: every one is answered as our own OpenAPI document says, or refused in the envelope.

Bounded in time; a failure shows the smallest request that makes it.
"""

from __future__ import annotations

import json
import re
import time
from tempfile import TemporaryDirectory
from typing import Any

import jsonschema
import pytest

pytest.importorskip("schemathesis", reason="it needs Python 3.11")

import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.pytest.lazy import get_all_tests
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.api import Api
from tests.support.every_task import EveryTaskEngine
from tests.support.reference import (
    assert_anthropic_error,
    assert_envelope,
    assert_error_of,
    events_of,
    fold_response,
    named_events,
    response_events,
    sse_payloads,
)

BOUNDED = hypothesis_settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
CHECKS: list[CheckFunction] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]

ALIKE = ("/v1/organization/usage/", "/api/embed")
"""One handler for all kinds of usage, and for both forms of embeddings: some of them are tried."""

SMALL = ("/api/", "/infill")
"""Dialects that translate a few fields, or share all of them with completions: fewer requests each."""

_data = TemporaryDirectory()
_settings = Settings(
    model_aliases=("*",),
    require_model=False,
    store="memory",
    ollama_api=True,
    kobold_api=True,
    data_folder=_data.name,
    api_key=SecretStr("fuzz"),  # the first named key that is made would lock the server
)
_app = create_app(_settings, EchoEngine())
_app.extensions["openai"].models.add("tasks", EveryTaskEngine())
_config = schemathesis.Config()
_config.projects.default.generation.update(modes=list(GenerationMode))
document = schemathesis.openapi.from_wsgi("/openapi.json", _app, config=_config)
DOCUMENT = document.raw_schema
ROUTES = [
    f"{method.upper()} {path}"
    for path, operations in DOCUMENT["paths"].items()
    for method in operations
    if not path.startswith(ALIKE) or path.endswith(("/completions", "/images", "/embed"))
]


@pytest.mark.timeout(300)  # of a chat 2,600
@pytest.mark.parametrize("route", ROUTES)
def test_every_route_keeps_to_its_document(route: str) -> None:
    # What `document.parametrize()` does, but not while tests are collected: thousands of cases are made.
    method, path = route.split()
    (made,) = get_all_tests(
        schema=document.include(method=method, path=path),
        test_func=keeps_to_its_document,
        settings=hypothesis_settings(BOUNDED, max_examples=15 if path.startswith(SMALL) else 60),
        given_kwargs=None,
    )
    _, test = made.ok()
    test()


def keeps_to_its_document(case: schemathesis.Case[Any]) -> None:
    response = case.call(headers={"Authorization": "Bearer fuzz"})
    kind = response.headers["content-type"][0]
    stream = kind.partition(";")[0]
    if stream in ("text/event-stream", "application/x-ndjson"):
        # The document gives the type of an event's data, as the reference does.
        case.validate_response(response, checks=[not_a_server_error])
        answers = DOCUMENT["paths"][case.path][case.method.lower()]["responses"]
        chunk = answers["200"]["content"][stream]["schema"]
        schema = {**chunk, "components": DOCUMENT["components"]}
        content = re.sub(rb"^id: \d+\n", b"", response.content, flags=re.MULTILINE)
        for sent in events_of(case.path, content):
            jsonschema.validate(sent, schema)
        return
    case.validate_response(response, checks=CHECKS)
    if response.status_code >= 400:
        assert_error_of(case.path, response.json(), status=response.status_code)


# Requests that are nearly right reach further: a good one with a few fields of any kind.

words = st.sampled_from(
    ["", "a", "\x00", "é🙂", "<|im_end|>", "<tool_call>", "{", "x" * 50, "string", "function"]
)
numbers = st.sampled_from([-1, 0, 1, 2, 5, 20, 21, 2**31, 2**63, -(2**63), 0.5, -0.5, 1e308])
anything = st.recursive(
    st.none() | st.booleans() | words | numbers,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
schemas = st.recursive(
    st.sampled_from(
        [
            {"type": "string", "maxLength": 5},
            {"type": "boolean"},
            {"type": "integer", "minimum": 0, "maximum": 99},
            {"enum": ["a", 1, None]},
            {"const": "é"},
            {"type": "string", "pattern": "^[a-c]{1,3}$"},
            {"type": "string", "pattern": '^"[a-c]\\\\$'},
            {"type": "nonsense"},
            {"$ref": "#"},
            {},
        ]
    ),
    lambda inner: (
        st.fixed_dictionaries(
            {"type": st.just("object"), "properties": st.dictionaries(words, inner, max_size=3)}
        )
        | st.fixed_dictionaries(
            {"type": st.just("array"), "items": inner, "maxItems": st.integers(0, 3)}
        )
        | st.fixed_dictionaries({"anyOf": st.lists(inner, max_size=3)})
    ),
    max_leaves=5,
)
names = st.sampled_from(["f", "get_weather", "a-b_1", "", "a b", "é"])
tools = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["function", "custom", "web"]),
            "function": st.fixed_dictionaries({"name": names, "parameters": schemas}),
            "custom": st.fixed_dictionaries({"name": names}),
        }
    ),
    max_size=3,
)
formats = (
    st.sampled_from([{"type": "text"}, {"type": "json_object"}, {"type": "x"}])
    | schemas.map(
        lambda schema: {"type": "json_schema", "json_schema": {"name": "it", "schema": schema}}
    )
    | schemas.map(lambda schema: {"type": "json_object", "schema": schema})
)
contents = words | st.none() | st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["text", "image_url", "refusal", "x"]), "text": words}
    ),
    max_size=2,
)  # fmt: skip
calls = st.lists(
    st.fixed_dictionaries(
        {
            "id": words,
            "type": st.sampled_from(["function", "custom"]),
            "function": st.fixed_dictionaries(
                {"name": names, "arguments": words | st.sampled_from(["{}", '{"a": 1}', {}])}
            ),
            "custom": st.fixed_dictionaries({"name": names, "input": words}),
        }
    ),
    max_size=2,
)
messages = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(
                ["system", "developer", "user", "assistant", "tool", "function", "x"]
            ),
            "content": contents,
        },
        optional={"name": words, "tool_call_id": words, "tool_calls": calls},
    ),
    max_size=4,
)
COMMON: dict[str, st.SearchStrategy[Any]] = {
    "n": st.sampled_from([1, 2, 3]) | anything,
    "stop": words | st.lists(words, max_size=5) | anything,
    "seed": numbers,
    "temperature": numbers,
    "top_p": numbers,
    "presence_penalty": numbers,
    "frequency_penalty": numbers,
    "top_k": numbers,
    "logit_bias": st.dictionaries(st.sampled_from(["5", "2560", "-1", "x"]), numbers, max_size=2),
    "stream_options": anything,
    "response_format": formats | anything,
    "grammar": st.sampled_from(['root ::= "a"', "start: /a/", "root ::=", "x"]) | anything,
    "guided_regex": st.sampled_from(["a+", "(", "[a-z]{2}", "a/b", "\\"]) | anything,
    "guided_choice": st.lists(words, max_size=3) | anything,
    "dry_sequence_breakers": st.lists(words, max_size=2) | anything,
    "ignore_eos": st.booleans() | anything,
    "samplers": st.sampled_from(["kt", "top_k;temp", ["top_k"], ["x"], []]) | anything,
    "sampler_priority": st.sampled_from(["top_k", "x", ["temperature", "top_k"]]) | anything,
    "adaptive_target": numbers,
    "dynamic_temperature": st.booleans() | anything,
    "dynatemp_low": numbers,
    "dynatemp_high": numbers,
    "do_sample": st.booleans() | anything,
    "tfs": numbers,
    "n_probs": numbers,
    "stopping_strings": words | st.lists(words, max_size=5) | anything,
    "bad_words": st.lists(words, max_size=3) | anything,
    "banned_tokens": st.lists(numbers, max_size=3) | anything,
    "min_tokens": numbers,
    "stop_token_ids": st.lists(numbers, max_size=3) | anything,
    "guided_json": schemas | schemas.map(json.dumps) | anything,
    "custom_token_bans": st.sampled_from(["5", "5, 6", "x", "-1", "99999", ","]) | anything,
    "grammar_string": st.sampled_from(["", 'root ::= "a"', "root ::="]) | anything,
    "json_schema": schemas | anything,
    "structured_outputs": st.dictionaries(
        st.sampled_from(["json", "regex", "choice", "grammar", "json_object"]),
        schemas | words | anything,
        max_size=2,
    )
    | anything,
    "user": anything,
    "preset": anything,
}
CHAT = COMMON | {
    "messages": messages | anything,
    "logprobs": st.booleans() | anything,
    "top_logprobs": numbers,
    "tools": tools | anything,
    "tool_choice": st.sampled_from(["none", "auto", "required"])
    | names.map(lambda name: {"type": "function", "function": {"name": name}})
    | anything,
    "parallel_tool_calls": st.booleans() | anything,
    "functions": st.lists(
        st.fixed_dictionaries({"name": names, "parameters": schemas}), max_size=2
    ),
    "function_call": names.map(lambda name: {"name": name}) | anything,
    "continue_final_message": st.booleans(),
    "chat_template_kwargs": anything,
    "reasoning_effort": st.sampled_from(["none", "medium", "high"]) | anything,
    "metadata": anything,
    "prediction": anything,
    "enable_thinking": st.booleans() | anything,
    "thinking": st.sampled_from([{"type": "enabled"}, {"type": "disabled"}]) | anything,
    "reasoning": st.sampled_from([{"effort": "low"}, {"enabled": False}, {"exclude": True}])
    | anything,
    "modalities": anything,
}
COMPLETION = COMMON | {
    "prompt": words | st.lists(words, max_size=3) | st.lists(numbers, max_size=3) | anything,
    "logprobs": numbers,
    "best_of": numbers,
    "echo": st.booleans() | anything,
    "suffix": words | anything,
    "max_tokens": st.sampled_from([0, 1, 3]) | anything,
}


blocks = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(
                [
                    "text",
                    "image",
                    "document",
                    "thinking",
                    "tool_use",
                    "tool_result",
                    "x",
                    "a_tool_result",
                ]
            ),
            "text": words,
        },
        optional={
            "id": words,
            "name": names,
            "input": anything,
            "tool_use_id": words,
            "content": words | anything,
            "thinking": words,
            "signature": words,
            "source": anything,
        },
    ),
    max_size=3,
)
turns = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["system", "user", "assistant", "x"]),
            "content": words | blocks | anything,
        }
    ),
    max_size=4,
)
MESSAGE: dict[str, st.SearchStrategy[Any]] = {
    name: COMMON[name]
    for name in ("seed", "temperature", "top_p", "top_k", "logit_bias", "grammar", "guided_json")
} | {
    "messages": turns | anything,
    "system": words | blocks | anything,
    "tools": st.lists(
        st.fixed_dictionaries(
            {"name": names, "input_schema": schemas | anything},
            optional={
                "type": st.sampled_from(["custom", "bash_20250124", "x"]),
                "defer_loading": st.booleans(),
                "strict": st.booleans(),
            },
        ),
        max_size=3,
    )
    | anything,
    "tool_choice": st.fixed_dictionaries(
        {"type": st.sampled_from(["auto", "any", "tool", "none", "x"]), "name": names}
    )
    | anything,
    "stop_sequences": st.lists(words, max_size=3) | anything,
    "thinking": st.sampled_from(
        [{"type": "enabled", "budget_tokens": 2}, {"type": "disabled"}, {"type": "adaptive"}]
    )
    | anything,
    "output_config": schemas.map(
        lambda schema: {"effort": "high", "format": {"type": "json_schema", "schema": schema}}
    )
    | anything,
    "metadata": anything,
    "max_tokens": st.sampled_from([1, 3]) | anything,
}


items = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(
                [
                    "message",
                    "function_call",
                    "function_call_output",
                    "custom_tool_call",
                    "custom_tool_call_output",
                    "reasoning",
                    "item_reference",
                    "web_search_call",
                    "x",
                ]
            ),
        },
        optional={
            "role": st.sampled_from(["user", "assistant", "system", "developer", "x"]),
            "content": words
            | anything
            | st.lists(
                st.fixed_dictionaries(
                    {
                        "type": st.sampled_from(
                            ["input_text", "output_text", "input_image", "reasoning_text", "x"]
                        ),
                        "text": words,
                    }
                ),
                max_size=2,
            ),
            "id": words,
            "call_id": words,
            "name": names,
            "arguments": words | st.sampled_from(["{}", '{"a": 1}']),
            "input": words,
            "output": words | anything,
            "summary": anything,
            "encrypted_content": words,
        },
    ),
    max_size=4,
)
RESPONSE: dict[str, st.SearchStrategy[Any]] = {
    name: COMMON[name]
    for name in ("seed", "temperature", "top_p", "top_k", "logit_bias", "grammar", "guided_json")
} | {
    "input": words | items | anything,
    "instructions": words | anything,
    "tools": st.lists(
        st.fixed_dictionaries(
            {
                "type": st.sampled_from(["function", "custom", "namespace", "web_search", "x"]),
                "name": names,
            },
            optional={
                "parameters": schemas | anything,
                "strict": st.booleans(),
                "format": anything,
                "tools": anything,
            },
        ),
        max_size=3,
    )
    | anything,
    "tool_choice": st.sampled_from(["none", "auto", "required"])
    | st.fixed_dictionaries(
        {"type": st.sampled_from(["function", "custom", "allowed_tools", "x"]), "name": names}
    )
    | anything,
    "text": schemas.map(
        lambda schema: {"format": {"type": "json_schema", "name": "f", "schema": schema}}
    )
    | anything,
    "reasoning": st.sampled_from([{"effort": "low"}, {"effort": "none"}, {"summary": "auto"}])
    | anything,
    "include": st.lists(st.sampled_from(["message.output_text.logprobs", "x"]), max_size=2)
    | anything,
    "top_logprobs": numbers,
    "truncation": st.sampled_from(["auto", "disabled"]) | anything,
    "previous_response_id": words | anything,
    "conversation": words | anything,
    "store": st.booleans() | anything,
    "background": st.booleans() | anything,
    "metadata": anything,
    "max_output_tokens": st.sampled_from([1, 3]) | anything,
}


def some(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """A few of the fields, each with a value of its own."""
    return st.lists(st.sampled_from(sorted(fields)), max_size=4, unique=True).flatmap(
        lambda chosen: st.fixed_dictionaries({name: fields[name] for name in chosen})
    )


def ask(api: Api, page: str, body: dict[str, Any]) -> None:
    answer = api.client.post(f"/v1/{page}", data=json.dumps(body), content_type="application/json")
    text = answer.get_data(as_text=True)
    assert answer.status_code in (200, 400), text
    if answer.status_code == 400:
        error = assert_envelope(answer.json, status=400)
        assert len(error["message"]) < 2000
        # Only what the template or the sampler refuses has no field of its own to name.
        assert error["param"], text
    elif body.get("stream") is True:
        payloads = sse_payloads(answer.data)
        assert payloads[-1] == "[DONE]", text
    else:
        assert all(choice["finish_reason"] for choice in answer.json["choices"])


def ask_for_message(api: Api, body: dict[str, Any]) -> None:
    data = json.dumps(body)
    answer = api.client.post("/v1/messages", data=data, content_type="application/json")
    text = answer.get_data(as_text=True)
    assert answer.status_code in (200, 400), text
    if answer.status_code == 400:
        assert len(assert_anthropic_error(answer.json, status=400)["message"]) < 2000
    elif body.get("stream") is True:
        last = named_events(answer.data)[-1]
        assert last["type"] in ("message_stop", "error") and "api_error" not in text, text
    else:
        assert answer.json["stop_reason"]


def ask_for_response(api: Api, body: dict[str, Any]) -> None:
    data = json.dumps(body)
    answer = api.client.post("/v1/responses", data=data, content_type="application/json")
    text = answer.get_data(as_text=True)
    # 404: an item or a conversation that is not stored.
    assert answer.status_code in (200, 400, 404), text
    if answer.status_code != 200:
        error = assert_envelope(answer.json, status=answer.status_code)
        assert len(error["message"]) < 2000 and error["param"], text
    elif body.get("background") is True:
        id = (
            response_events(answer.data)[0]["response"]["id"]
            if body["stream"]
            else answer.json["id"]
        )
        assert ended(api, id)["status"] in ("completed", "incomplete", "failed")
    elif body.get("stream") is True:
        events = response_events(answer.data)
        assert events[-1]["type"] != "response.failed", text
        fold_response(events)
    else:
        assert answer.json["status"] in ("completed", "incomplete")


def ended(api: Api, id: str) -> Any:
    """The response that is made in the background, when it has ended."""
    for _ in range(1000):
        response: Any = api.client.get(f"/v1/responses/{id}").json
        if response["status"] not in ("queued", "in_progress"):
            error = response["error"]
            assert error is None or error["code"] in ("invalid_prompt", "context_length_exceeded")
            return response
        time.sleep(0.01)
    raise AssertionError("it did not end")


@pytest.fixture(params=["tiny", "noise"])
def api(request: pytest.FixtureRequest) -> Api:
    found: Api = request.getfixturevalue(request.param)
    return found


@hypothesis_settings(BOUNDED, max_examples=250)
@given(body=some(CHAT), stream=st.booleans())
def test_chats_that_are_nearly_right(api: Api, body: dict[str, Any], stream: bool) -> None:
    good = {"model": api.engine.info.model, "max_tokens": 8, "stream": stream}
    ask(api, "chat/completions", {"messages": [{"role": "user", "content": "x"}], **good, **body})


@hypothesis_settings(BOUNDED, max_examples=250)
@given(body=some(COMPLETION), stream=st.booleans())
def test_completions_that_are_nearly_right(api: Api, body: dict[str, Any], stream: bool) -> None:
    good = {"model": api.engine.info.model, "prompt": "x", "max_tokens": 4, "stream": stream}
    ask(api, "completions", {**good, **body})


@hypothesis_settings(BOUNDED, max_examples=250)
@given(body=some(MESSAGE), stream=st.booleans())
def test_messages_that_are_nearly_right(api: Api, body: dict[str, Any], stream: bool) -> None:
    good = {"model": api.engine.info.model, "max_tokens": 8, "stream": stream}
    ask_for_message(api, {"messages": [{"role": "user", "content": "x"}], **good, **body})


@hypothesis_settings(BOUNDED, max_examples=250)
@given(body=some(RESPONSE), stream=st.booleans())
def test_responses_that_are_nearly_right(api: Api, body: dict[str, Any], stream: bool) -> None:
    good = {"model": api.engine.info.model, "max_output_tokens": 8, "stream": stream}
    ask_for_response(api, {"input": "x", **good, **body})
