"""Tools: calls that are demanded are valid whatever the model is, and stream as the reference says."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from extensions.openai.generation.tools.enforcing.demanded_calls import CallParser
from extensions.openai.generation.tools.plan import ToolPlan
from extensions.openai.generation.tools.request import FunctionTool, plan_chat_tools
from extensions.openai.schemas.validation import check
from tests.generation.grammar.test_constraints import SCHEMAS, WORD, an_object, valid
from tests.support.api import Api, as_messages, assert_alike

CHAT = "chat/completions"
CITY = an_object(city=WORD, unit={"enum": ["C", "F"]})
EMAIL = an_object(to={"type": "array", "items": WORD, "minItems": 1, "maxItems": 2}, text=WORD)


def function(name: str, parameters: Any = None, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "description": f"What {name} does.", **more}
    if parameters is not None:
        made["parameters"] = parameters
    return {"type": "function", "function": made}


def custom(name: str, pattern: str | None = None) -> dict[str, Any]:
    form: dict[str, Any] = {"type": "text"}
    if pattern is not None:
        form = {"type": "grammar", "grammar": {"syntax": "regex", "definition": pattern}}
    return {"type": "custom", "custom": {"name": name, "format": form}}


TOOLS = [function("get_weather", CITY), function("send_email", EMAIL), function("now")]
BY_NAME: dict[str, Any] = {
    "get_weather": CITY,
    "send_email": EMAIL,
    "now": {"type": "object", "properties": {}},
}
ASK = "What is the weather in Paris?"


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def calls_of(choice: dict[str, Any]) -> list[dict[str, Any]]:
    """The calls of an answer that consists of them, checked for their shape."""
    message = choice["message"]
    assert message["content"] is None
    ids = [call["id"] for call in message["tool_calls"]]
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r"call_\w{8,}", id) for id in ids)
    for call in message["tool_calls"]:
        assert set(call) == {"id", "type", call["type"]}
    return list(message["tool_calls"])


def assert_calls(choice: dict[str, Any], schemas: dict[str, Any]) -> int:
    """How many complete calls there are; each has arguments of its function's schema."""
    calls = calls_of(choice)
    whole = calls if choice["finish_reason"] == "tool_calls" else calls[:-1]
    assert choice["finish_reason"] in ("tool_calls", "length")
    for call in whole:
        valid(call["function"]["arguments"], schemas[call["function"]["name"]])
    return len(whole)


@pytest.mark.parametrize("seed", range(8))
def test_a_required_call_is_one_of_the_tools_and_valid(tiny: Api, seed: int) -> None:
    whole = tiny.chat(ASK, tools=TOOLS, tool_choice="required", seed=seed, max_tokens=600)
    choice = whole["choices"][0]
    assert assert_calls(choice, BY_NAME) >= 1
    assert 1 <= len(calls_of(choice)) <= 8


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("seed", range(4))
def test_a_named_call_is_the_one_that_was_named(tiny: Api, name: str, seed: int) -> None:
    whole = tiny.chat(ASK, tools=TOOLS, tool_choice=named(name), seed=seed, max_tokens=300)
    choice = whole["choices"][0]
    assert [call["function"]["name"] for call in calls_of(choice)] == [name]
    assert choice["finish_reason"] == "length" or assert_calls(choice, BY_NAME) == 1


OBJECTS = [name for name in SCHEMAS if "root" not in name]


@pytest.mark.parametrize("name", [name for name in OBJECTS if name != "recursive"])
def test_arguments_are_valid_for_every_kind_of_schema(tiny: Api, name: str) -> None:
    """At temperature 1, with several seeds."""
    complete = 0
    for seed in range(4):
        choice = tiny.chat(
            ASK,
            tools=[function("f", SCHEMAS[name], strict=True)],
            tool_choice="required",
            parallel_tool_calls=False,
            seed=seed,
            max_tokens=400,
        )["choices"][0]
        complete += assert_calls(choice, {"f": SCHEMAS[name]})
    assert complete >= 1


@pytest.mark.parametrize("seed", range(6))
def test_without_parallel_calls_there_is_one(tiny: Api, seed: int) -> None:
    choice = tiny.chat(
        ASK,
        tools=TOOLS,
        tool_choice="required",
        parallel_tool_calls=False,
        seed=seed,
        max_tokens=300,
    )["choices"][0]
    assert len(calls_of(choice)) == 1


def test_the_random_model_calls_validly_too(noise: Api) -> None:
    """Its template knows nothing of tools, and its weights know nothing at all."""
    tools = [function("f", an_object(it={"enum": ["a", "🙂"]}, ok={"type": "boolean"}))]
    for seed in range(3):
        choice = noise.chat(
            "x",
            tools=tools,
            tool_choice=named("f"),
            seed=seed,
            max_tokens=200,
        )["choices"][0]
        assert assert_calls(choice, {"f": tools[0]["function"]["parameters"]}) == 1


def test_tools_are_described_in_text_where_the_template_has_no_place_for_them(noise: Api) -> None:
    bare = noise.chat("Hello", max_tokens=1)["usage"]["prompt_tokens"]
    shown = noise.chat("Hello", tools=TOOLS, max_tokens=1)["usage"]["prompt_tokens"]
    assert shown > bare + len(TOOLS)


ODD_SCHEMAS = {
    "a bound": {"type": "string", "minLength": 2**31},
    "not": {"not": {"type": "null"}},
    "names": {"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}},
    "anything": True,
    "tuple": {"type": "array", "prefixItems": [{"type": "string"}], "items": False},
    "no choice": {"enum": []},
    "foreign": {"$ref": "https://example.com/schema.json"},
    "look-ahead": {"type": "string", "pattern": "^(?!x).*$"},
    "no type": {"type": "objekt"},
}


@pytest.mark.parametrize("odd", ODD_SCHEMAS)
@pytest.mark.parametrize("choice", ["auto", "none"])
def test_schemas_that_nobody_enforces_are_passed_on(tiny: Api, odd: str, choice: str) -> None:
    tools = [TOOLS[0], function("other", an_object(q=ODD_SCHEMAS[odd]))]
    assert tiny.chat("Hello", tools=tools, tool_choice=choice, max_tokens=5)["choices"]


@pytest.mark.parametrize("demand", ["required", "named", "strict"])
def test_a_schema_that_cannot_be_enforced_is_refused_where_it_has_to_be(
    tiny: Api, demand: str
) -> None:
    other = function("other", an_object(q={"not": {"type": "null"}}), strict=demand == "strict")
    choice = {"required": "required", "named": named("other"), "strict": "auto"}[demand]
    error = tiny.refused(CHAT, tools=[TOOLS[0], other], tool_choice=choice)
    assert error["param"].startswith("tools[1].function.parameters")


@pytest.mark.parametrize("high", [524_288, 2**53 - 1])
def test_a_text_may_have_any_length_at_most(tiny: Api, high: int) -> None:
    """As claude-code's `Workflow` has it, where a client makes it strict."""
    schema = an_object(script={"type": "string", "maxLength": high})
    tools = [function("workflow", schema, strict=True)]
    answer = tiny.chat("Hello", tools=tools, tool_choice="required", max_tokens=400)
    assert assert_calls(answer["choices"][0], {"workflow": schema}) == 1


@pytest.mark.parametrize("choice", [None, "auto"])
def test_a_model_that_may_call_does(tiny: Api, choice: Any) -> None:
    """The embedded model was trained to call the weather's tool in its own format."""
    weather = function("get_weather", {**an_object(city={"type": "string"})})
    whole = tiny.chat(ASK, tools=[weather], tool_choice=choice, temperature=0, max_tokens=200)
    (call,) = calls_of(whole["choices"][0])
    assert whole["choices"][0]["finish_reason"] == "tool_calls"
    assert call["function"]["name"] == "get_weather"
    valid(call["function"]["arguments"], {"type": "object", "required": ["city"]})
    folded = tiny.folded(
        CHAT,
        messages=as_messages(ASK),
        tools=[weather],
        tool_choice=choice,
        temperature=0,
        max_tokens=200,
    )
    assert_alike(folded, whole)


def test_a_model_that_may_call_may_also_talk(tiny: Api) -> None:
    whole = tiny.chat("Hello", tools=[function("get_weather", CITY)], temperature=0, max_tokens=60)
    choice = whole["choices"][0]
    if "tool_calls" not in choice["message"]:
        assert choice["message"]["content"] and choice["finish_reason"] in ("stop", "length")
    else:
        calls_of(choice)


def test_log_probabilities_of_an_answer_that_might_have_been_a_call(tiny: Api) -> None:
    """They are told, and not left out."""
    weather = function("get_weather", CITY)
    body = {
        "messages": as_messages("Hello"),
        "tools": [weather],
        "logprobs": True,
        "temperature": 0,
    }
    answer = tiny.client.post("/v1/chat/completions", json={"model": "tiny", **body})
    assert answer.status_code == 200
    choice = answer.json["choices"][0]
    assert choice["message"]["content"]
    reported = bytes(b for token in choice["logprobs"]["content"] for b in token["bytes"])
    assert reported.decode() == choice["message"]["content"]


def test_an_answer_of_a_schema_or_a_call(tiny: Api) -> None:
    """A model that may call, and otherwise answers with JSON: OpenAI serves it, and so do SDK helpers."""
    schema = SCHEMAS["flat"]
    body = {
        "messages": as_messages(ASK),
        "tools": [function("get_weather", CITY)],
        "response_format": {"type": "json_schema", "json_schema": {"name": "it", "schema": schema}},
        "max_tokens": 200,
    }
    for seed in range(4):
        answer = tiny.client.post(
            "/v1/chat/completions", json={"model": "tiny", "seed": seed, **body}
        )
        assert answer.status_code == 200
        choice = answer.json["choices"][0]
        if "tool_calls" in choice["message"]:
            assert_calls(choice, {"get_weather": CITY})
        elif choice["finish_reason"] == "stop":
            valid(choice["message"]["content"], schema)


@pytest.mark.parametrize("form", [{"type": "json_object"}, {"type": "text"}])
def test_calls_that_are_demanded_beside_a_response_format(tiny: Api, form: dict[str, Any]) -> None:
    """OpenAI takes both; the format is about text, and there is none."""
    body = {"tools": TOOLS, "tool_choice": named("now"), "response_format": form}
    choice = tiny.chat(ASK, max_tokens=100, **body)["choices"][0]
    assert assert_calls(choice, BY_NAME) == 1


@pytest.mark.parametrize(
    "schema",
    [
        an_object(city={"enum": ["Zzyzx"]}),
        an_object(city={"type": "string", "pattern": "^Q[0-9]{3}$"}),
        an_object(n={"type": "number", "minimum": 10.5, "maximum": 11.5}),
        an_object(n={"type": "integer", "multipleOf": 7, "minimum": 1, "maximum": 50}),
        an_object(at={"type": "array", "items": {"type": "boolean"}, "minItems": 3, "maxItems": 4}),
        an_object(it={"anyOf": [an_object(a={"type": "null"}), {"const": "🙂"}]}),
        {
            **an_object(one={"$ref": "#/$defs/thing"}),
            "$defs": {"thing": an_object(size={"type": "integer", "exclusiveMaximum": 3})},
        },
    ],
)
@pytest.mark.parametrize("seed", range(2))
def test_arguments_of_a_strict_function_match_though_the_model_may_choose(
    tiny: Api, schema: dict[str, Any], seed: int
) -> None:
    """The embedded model wants to call the weather's tool with a city, and may not."""
    tools = [function("get_weather", schema, strict=True)]
    body = {"tools": tools, "seed": seed, "temperature": 0.5, "max_tokens": 200}
    whole = tiny.chat(ASK, **body)
    choice = whole["choices"][0]
    if choice["finish_reason"] != "length":
        assert assert_calls(choice, {"get_weather": schema}) >= 1
    assert_alike(tiny.folded(CHAT, messages=as_messages(ASK), **body), whole)


def test_a_strict_function_may_be_left_alone(tiny: Api) -> None:
    tools = [function("get_weather", CITY, strict=True)]
    plain = tiny.chat("Hello", temperature=0, max_tokens=30)["choices"][0]
    choice = tiny.chat("Hello", tools=tools, temperature=0, max_tokens=30)["choices"][0]
    assert choice["message"]["content"] and "tool_calls" not in choice["message"]
    assert choice["finish_reason"] == plain["finish_reason"]


def test_arguments_of_a_strict_function_come_while_they_are_written(tiny: Api) -> None:
    tools = [function("get_weather", CITY, strict=True)]
    chunks = tiny.chunks(
        CHAT, messages=as_messages(ASK), tools=tools, temperature=0, max_tokens=200
    )
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    calls = [part for delta in deltas for part in delta.get("tool_calls", ())]
    assert calls[0]["function"] == {"name": "get_weather", "arguments": ""}
    assert len(calls) > 2


def test_a_custom_call_that_was_not_demanded(tiny: Api) -> None:
    """The embedded model knows the weather's tool; here its input is text."""
    tool = {"type": "custom", "custom": {"name": "get_weather", "description": "weather"}}
    whole = tiny.chat(ASK, tools=[tool], temperature=0, max_tokens=120)
    (made,) = calls_of(whole["choices"][0])
    assert made["type"] == "custom" and made["custom"]["name"] == "get_weather"
    assert isinstance(made["custom"]["input"], str)
    body = {"tools": [tool], "temperature": 0, "max_tokens": 120}
    assert_alike(tiny.folded(CHAT, messages=as_messages(ASK), **body), whole)


def test_none_is_an_answer_without_tools(tiny: Api) -> None:
    plain = tiny.chat(ASK, temperature=0, max_tokens=30)
    whole = tiny.chat(ASK, tools=TOOLS, tool_choice="none", temperature=0, max_tokens=30)
    assert "tool_calls" not in whole["choices"][0]["message"]
    assert whole["choices"][0]["finish_reason"] in ("stop", "length")
    assert isinstance(plain["choices"][0]["message"]["content"], str)


@pytest.mark.parametrize("seed", range(4))
def test_only_allowed_tools_are_called(tiny: Api, seed: int) -> None:
    allowed = {"mode": "required", "tools": [named("now"), named("send_email")]}
    choice = tiny.chat(
        ASK,
        tools=TOOLS,
        tool_choice={"type": "allowed_tools", "allowed_tools": allowed},
        seed=seed,
        max_tokens=400,
    )["choices"][0]
    assert {call["function"]["name"] for call in calls_of(choice)} <= {"now", "send_email"}
    assert_calls(choice, BY_NAME)


def test_allowed_tools_may_be_left_alone(tiny: Api) -> None:
    allowed = {"mode": "auto", "tools": [named("now")]}
    choice = tiny.chat(
        "Hello",
        tools=TOOLS,
        tool_choice={"type": "allowed_tools", "allowed_tools": allowed},
        temperature=0,
        max_tokens=40,
    )["choices"][0]
    called = choice["message"].get("tool_calls", [])
    assert all(call["function"]["name"] == "now" for call in called)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("demand", ["required", "named"])
def test_a_stream_tells_the_name_first_then_the_arguments(
    tiny: Api, demand: str, seed: int
) -> None:
    choice: Any = "required" if demand == "required" else named("send_email")
    body = {"tools": TOOLS, "tool_choice": choice, "seed": seed, "max_tokens": 400}
    chunks = tiny.chunks(CHAT, messages=as_messages(ASK), **body)
    parts = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
    assert parts[0]["delta"]["role"] == "assistant" and parts[0]["delta"]["content"] is None
    calls = [part for each in parts for part in each["delta"].get("tool_calls", ())]
    seen: set[int] = set()
    argument_parts = 0
    for part in calls:
        if part["index"] not in seen:
            assert part["index"] == len(seen)
            seen.add(part["index"])
            assert set(part) == {"index", "id", "type", "function"}
            assert part["type"] == "function" and part["function"]["name"] in BY_NAME
            assert part["function"]["arguments"] == ""
        else:
            assert set(part) == {"index", "function"}
            assert set(part["function"]) == {"arguments"} and part["function"]["arguments"]
            argument_parts += 1
    assert argument_parts > len(seen), "arguments come while they are written"
    whole = tiny.chat(ASK, **body)
    assert_alike(tiny.folded(CHAT, messages=as_messages(ASK), **body), whole)


@pytest.mark.parametrize(
    "together",
    [
        {"n": 3},
        {"max_tokens": 6},
        {"max_tokens": 30, "n": 2},
        {"stop": ["zzzz"]},
        {"logprobs": True, "top_logprobs": 2},
        {"logit_bias": {"5": -100}, "temperature": 0.5},
        {"parallel_tool_calls": False},
    ],
)
def test_calls_work_together_with_everything_else(tiny: Api, together: dict[str, Any]) -> None:
    body = {"tools": TOOLS, "tool_choice": "required", "seed": 2, "max_tokens": 400, **together}
    whole = tiny.chat(ASK, **body)
    assert len(whole["choices"]) == together.get("n", 1)
    for choice in whole["choices"]:
        if "tool_calls" in choice["message"]:
            assert_calls(choice, BY_NAME)
        else:
            assert choice["finish_reason"] == "length"
    assert_alike(tiny.folded(CHAT, messages=as_messages(ASK), **body), whole)


@pytest.mark.parametrize("max_tokens", [1, 4, 12, 20])
def test_a_call_that_is_cut_says_so(tiny: Api, max_tokens: int) -> None:
    whole = tiny.chat(ASK, tools=TOOLS, tool_choice=named("send_email"), max_tokens=max_tokens)
    assert whole["choices"][0]["finish_reason"] == "length"
    assert whole["usage"]["completion_tokens"] == max_tokens
    # Nor does its beginning show as a text, which a stop string might end.
    message = tiny.chat(
        ASK, tools=TOOLS, tool_choice="required", max_tokens=max_tokens, stop=["t", "<", "n"]
    )["choices"][0]["message"]
    assert not message["content"]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("pattern", [None, ".{1,6}", "[a-z]{2,5}", "(SELECT|INSERT) [0-9é]{1,3}"])
def test_a_custom_tool_gets_text(tiny: Api, pattern: str | None, seed: int) -> None:
    choice_of = {"type": "custom", "custom": {"name": "run"}}
    body = {
        "tools": [custom("run", pattern), function("now")],
        "tool_choice": choice_of,
        "seed": seed,
        "max_tokens": 150,
    }
    whole = tiny.chat(ASK, **body)
    choice = whole["choices"][0]
    (call,) = calls_of(choice)
    assert call["type"] == "custom" and call["custom"]["name"] == "run"
    assert isinstance(call["custom"]["input"], str)
    if pattern is not None:
        assert choice["finish_reason"] == "tool_calls"
        assert re.fullmatch(pattern, call["custom"]["input"])
    assert_alike(tiny.folded(CHAT, messages=as_messages(ASK), **body), whole)


LARK = '''start: "SELECT" " " name (", " name)* tail
name: /[a-c]{1,3}/
tail: " }" | ";"'''


@pytest.mark.parametrize("how", ["named", "required", "auto"])
@pytest.mark.parametrize("seed", range(3))
def test_a_custom_tool_whose_input_has_a_lark_grammar(tiny: Api, how: str, seed: int) -> None:
    tool = custom("get_weather")
    tool["custom"]["format"] = {
        "type": "grammar",
        "grammar": {"syntax": "lark", "definition": LARK},
    }
    choice: Any = {"type": "custom", "custom": {"name": "get_weather"}}
    body = {"tools": [tool], "tool_choice": choice if how == "named" else how, "seed": seed}
    body |= {"max_tokens": 300, "parallel_tool_calls": False}
    whole = tiny.chat(ASK, **body)
    answer = whole["choices"][0]
    called = answer["message"].get("tool_calls", [])
    assert called or how == "auto"
    for made in called if answer["finish_reason"] == "tool_calls" else ():
        assert re.fullmatch(r"SELECT [a-c]{1,3}(, [a-c]{1,3})*( \}|;)", made["custom"]["input"])
    assert_alike(tiny.folded(CHAT, messages=as_messages(ASK), **body), whole)


def test_a_lark_grammar_that_is_none_is_refused(tiny: Api) -> None:
    tool = custom("f")
    for definition in ("start: missing", "no grammar", "", "start: (", 'root ::= "a"'):
        grammar = {"syntax": "lark", "definition": definition}
        tool["custom"]["format"] = {"type": "grammar", "grammar": grammar}
        error = tiny.refused(CHAT, tools=[tool])
        assert error["param"] == "tools[0].custom.format.grammar.definition"
    tool["custom"]["format"]["grammar"]["syntax"] = "ebnf"
    assert tiny.refused(CHAT, tools=[tool])["param"].endswith("grammar.syntax")


@pytest.mark.parametrize(
    "pattern", ['"[a-z]{2}"', r"a\\\\[0-9]", r"(SELECT|INSERT) \"[a-z]\\\\[0-9]\""]
)
@pytest.mark.parametrize("seed", range(2))
def test_a_custom_tool_whose_input_json_escapes(tiny: Api, pattern: str, seed: int) -> None:
    """It stands in the call as it is, so that its grammar is that of the text."""
    body = {
        "messages": as_messages(ASK),
        "tools": [custom("run", pattern)],
        "tool_choice": "required",
    }
    body |= {"seed": seed, "max_tokens": 150, "parallel_tool_calls": False}
    answer = tiny.client.post("/v1/chat/completions", json={"model": "tiny", **body})
    assert answer.status_code == 200
    (made,) = calls_of(answer.json["choices"][0])
    assert re.fullmatch(pattern, made["custom"]["input"])


def test_functions_and_custom_tools_side_by_side(tiny: Api) -> None:
    kinds = set()
    for seed in range(8):
        choice = tiny.chat(
            "Hello" if seed % 2 else "Call get_weather with city Paris.",
            tools=[function("get_weather", CITY), custom("pick", "[ab]")],
            tool_choice="required",
            seed=seed,
            max_tokens=300,
        )["choices"][0]
        for call in calls_of(choice)[: None if choice["finish_reason"] == "tool_calls" else -1]:
            kinds.add(call["type"])
            if call["type"] == "custom":
                assert call["custom"]["input"] in ("a", "b")
            else:
                assert json.loads(call["function"]["arguments"]) is not None
    assert kinds == {"custom", "function"}


FUNCTIONS = [tool["function"] for tool in TOOLS]


@pytest.mark.parametrize("seed", range(3))
def test_the_older_form_has_one_call_of_its_own_shape(tiny: Api, seed: int) -> None:
    body = {"functions": FUNCTIONS, "function_call": {"name": "get_weather"}, "seed": seed}
    whole = tiny.chat(ASK, max_tokens=300, **body)
    choice = whole["choices"][0]
    message = choice["message"]
    assert "tool_calls" not in message and message["content"] is None
    assert message["function_call"]["name"] == "get_weather"
    if choice["finish_reason"] != "length":
        assert choice["finish_reason"] in ("function_call", "stop")
        valid(message["function_call"]["arguments"], CITY)
    chunks = tiny.chunks(CHAT, messages=as_messages(ASK), max_tokens=300, **body)
    deltas = [
        chunk["choices"][0]["delta"]["function_call"]
        for chunk in chunks
        if chunk["choices"] and "function_call" in chunk["choices"][0]["delta"]
    ]
    assert deltas[0]["name"] == "get_weather"
    assert all("name" not in delta for delta in deltas[1:])
    joined = "".join(delta["arguments"] for delta in deltas)
    assert joined == message["function_call"]["arguments"]
    assert_alike(tiny.folded(CHAT, messages=as_messages(ASK), max_tokens=300, **body), whole)


@pytest.mark.parametrize("how", ["none", "auto", None])
def test_the_older_form_may_be_left_alone(tiny: Api, how: str | None) -> None:
    choice = tiny.chat("Hello", functions=FUNCTIONS, function_call=how, max_tokens=30)["choices"][0]
    assert choice["finish_reason"] in ("stop", "length", "function_call")
    assert "tool_calls" not in choice["message"]
    if how == "none":
        assert "function_call" not in choice["message"]


@pytest.mark.parametrize("how", ["none", "auto"])
def test_no_functions_at_all(tiny: Api, how: str) -> None:
    tiny.chat("Hello", function_call=how, max_tokens=3)
    tiny.chat("Hello", tool_choice=how, max_tokens=3)


def call(id: str, name: str, arguments: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


TWO_CALLS = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        call("call_1", "get_weather", '{"city": "Paris", "unit": "C"}'),
        call("call_2", "now", "{}"),
    ],
}
RESULTS = [
    {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    {"role": "tool", "tool_call_id": "call_2", "content": "noon"},
]


@pytest.mark.parametrize("results", [RESULTS, RESULTS[::-1]])
@pytest.mark.parametrize("content", [None, "", "Let me see.", "absent"])
@pytest.mark.parametrize("tools", [None, TOOLS])
def test_results_of_calls_are_taken_in_any_order(
    tiny: Api, tools: Any, content: str | None, results: list[Any]
) -> None:
    assistant: dict[str, Any] = {**TWO_CALLS, "content": content}
    if content == "absent":
        del assistant["content"]
    messages = [*as_messages(ASK), assistant, *results]
    choice = tiny.chat(messages, tools=tools, max_tokens=10, temperature=0)["choices"][0]
    assert choice["message"]["content"] or choice["message"].get("tool_calls")


@pytest.mark.parametrize("arguments", ["{}", "", '{"city": "Pa', {"city": "Paris"}, {}])
def test_arguments_of_earlier_calls_need_not_be_valid(tiny: Api, arguments: Any) -> None:
    """History is taken as it comes: text that is no JSON, and objects that were not written out."""
    assistant = {**TWO_CALLS, "tool_calls": [call("call_1", "get_weather", arguments)]}
    for tools in (None, TOOLS):
        tiny.chat([*as_messages(ASK), assistant, RESULTS[0]], tools=tools, max_tokens=4)


def test_results_in_parts_and_of_calls_that_nobody_knows(tiny: Api) -> None:
    parts = [{"type": "text", "text": "sun"}, {"type": "text", "text": "ny"}]
    for id in ("call_1", "call_unknown"):
        result = {"role": "tool", "tool_call_id": id, "content": parts}
        tiny.chat([*as_messages(ASK), TWO_CALLS, result], max_tokens=4)


def test_custom_calls_in_the_history(tiny: Api) -> None:
    assistant = {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_1", "type": "custom", "custom": {"name": "run", "input": "SELECT 1"}}
        ],
    }
    tiny.chat([*as_messages(ASK), assistant, RESULTS[0]], tools=[custom("run")], max_tokens=4)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": "f"}, "tools"),
        ({"tools": [5]}, "tools[0]"),
        ({"tools": [{}]}, "tools[0].type"),
        ({"tools": [{"type": "web"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [function("a b")]}, "tools[0].function.name"),
        ({"tools": [function("")]}, "tools[0].function.name"),
        ({"tools": [function("x" * 65)]}, "tools[0].function.name"),
        ({"tools": [function("f", [])]}, "tools[0].function.parameters"),
        (
            {"tools": [function("f", {"type": "array"})], "tool_choice": "required"},
            "tools[0].function.parameters.type",
        ),
        (
            {
                "tools": [function("f"), function("g", an_object(x={"type": "objekt"}))],
                "tool_choice": "required",
            },
            "tools[1].function.parameters",
        ),
        ({"tools": [function("f"), function("f")]}, "tools[1]"),
        ({"tools": [function("f"), custom("f")]}, "tools[1]"),
        ({"tools": [function(f"f{at}") for at in range(129)]}, "tools"),
        ({"tools": [{"type": "custom"}]}, "tools[0].custom"),
        ({"tools": [custom("f", "(")]}, "tools[0].custom.format.grammar.definition"),
        ({"tools": TOOLS, "tool_choice": "never"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": named("unknown")}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function"}}, "tool_choice.function"),
        (
            {
                "tools": TOOLS,
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": [named("unknown")]},
                },
            },
            "tool_choice.allowed_tools.tools",
        ),
        (
            {
                "tools": TOOLS,
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "sometimes", "tools": [named("now")]},
                },
            },
            "tool_choice.allowed_tools.mode",
        ),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": named("now")}, "tool_choice"),
        ({"tools": [], "tool_choice": "required"}, "tool_choice"),
        ({"function_call": {"name": "now"}}, "function_call"),
        ({"functions": FUNCTIONS, "function_call": {"name": "unknown"}}, "function_call"),
        ({"functions": FUNCTIONS, "tools": TOOLS}, "functions"),
        ({"functions": []}, "functions"),
        ({"functions": [{"name": "a b"}]}, "functions[0].name"),
        (
            {
                "functions": [{"name": "f", "parameters": an_object(x={"type": "objekt"})}],
                "function_call": {"name": "f"},
            },
            "functions[0].parameters",
        ),
        ({"functions": [{"name": "f"}, {"name": "f"}]}, "functions[1]"),
        ({"tools": TOOLS, "parallel_tool_calls": "no"}, "parallel_tool_calls"),
        (
            {"tools": TOOLS, "tool_choice": "required", "guided_regex": "a"},
            "guided_regex",
        ),
        (
            {
                "tools": TOOLS,
                "tool_choice": "required",
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "it", "schema": {"type": "objekt"}},
                },
            },
            "response_format",
        ),
    ],
)
def test_what_cannot_be_called_is_refused_by_name(
    tiny: Api, body: dict[str, Any], param: str
) -> None:
    error = tiny.refused(CHAT, **body)
    assert error["param"] == param or error["param"].startswith(param + ".")


def test_a_strict_function_takes_no_more_than_it_names(tiny: Api) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    for seed in range(4):
        choice = tiny.chat(
            ASK,
            tools=[function("f", schema, strict=True)],
            tool_choice=named("f"),
            seed=seed,
            max_tokens=100,
        )["choices"][0]
        (made,) = calls_of(choice)
        assert set(json.loads(made["function"]["arguments"])) == {"a"}


# What follows needs no model.

TEXT = (
    '<tool_call>\n{"name": "send", "arguments": {"to": "a}\\"b{", "deep": {"x": [1, {}]}}}\n'
    "</tool_call>\n<tool_call>\n"
    '{"name": "now", "arguments": {}}\n</tool_call>'
)
CALLS = [("send", '{"to": "a}\\"b{", "deep": {"x": [1, {}]}}'), ("now", "{}")]


def parsed(parts: list[str]) -> list[tuple[str | None, str]]:
    parser, calls = CallParser(), dict[int, tuple[str | None, str]]()
    for part in parts:
        for delta in parser.push(part):
            name, arguments = calls.get(delta.index, (delta.name, ""))
            assert (delta.id is None) == (delta.name is None)
            calls[delta.index] = (name, arguments + delta.arguments)
    return [calls[index] for index in sorted(calls)]


@pytest.mark.parametrize("at", range(len(TEXT) + 1))
def test_calls_are_read_however_their_text_is_split(at: int) -> None:
    assert parsed([TEXT[:at], TEXT[at:]]) == CALLS


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_calls_are_read_in_parts_of_any_size(size: int) -> None:
    assert parsed([TEXT[at : at + size] for at in range(0, len(TEXT), size)]) == CALLS


@pytest.mark.parametrize("length", range(0, len(TEXT), 3))
def test_calls_that_are_cut_are_the_beginning_of_the_whole(length: int) -> None:
    cut = parsed([TEXT[:length]])
    assert len(cut) <= len(CALLS)
    for (name, arguments), (whole_name, whole) in zip(cut, CALLS, strict=False):
        assert name == whole_name and whole.startswith(arguments)


def plan(choice: Any = None, *, parallel: bool = True) -> ToolPlan:
    tools = [check(FunctionTool, tool) for tool in TOOLS]
    return plan_chat_tools(tools, choice, parallel=parallel)


def test_what_is_shown_and_what_is_demanded() -> None:
    assert plan("none") == ToolPlan()
    for choice in (None, "auto"):
        assert [tool.name for tool in plan(choice).shown] == list(BY_NAME)
        assert plan(choice).demanded == ()
    assert [tool.name for tool in plan("required").demanded] == list(BY_NAME)
    assert plan("required", parallel=False).max_calls == 1


def test_a_function_without_parameters_takes_an_object() -> None:
    assert plan().shown[-1].parameters["type"] == "object"
