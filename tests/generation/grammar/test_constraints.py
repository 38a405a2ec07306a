"""Structured output: answers that match what was asked for, judged by a validator that is not ours."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import jsonschema
import pytest
from llguidance import LLMatcher, LLTokenizer

from extensions.openai.engines.protocol import EngineInfo, Piece
from extensions.openai.errors import EngineFailed, InvalidRequest
from extensions.openai.generation.grammar.check import compiled
from extensions.openai.generation.grammar.constraints import ConstraintFields
from extensions.openai.generation.grammar.enforce import enforced
from extensions.openai.generation.grammar.json_schema import json_rule
from extensions.openai.generation.grammar.regex import ascii_classes
from extensions.openai.schemas.validation import check
from tests.support.api import Api, as_messages, assert_alike

WORD = {"type": "string", "maxLength": 12}


def checked(lark: str, param: str) -> str:
    """The grammar, after it was compiled for a model that nothing is known of."""
    for _ in compiled(lark, param, EngineInfo("m", 0, "nobody", 9, "llama.cpp", "fp", 256)):
        pass
    return lark


def an_object(_optional: tuple[str, ...] = (), /, **properties: Any) -> dict[str, Any]:
    """A schema in the form that strict structured output wants."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in _optional],
        "additionalProperties": False,
    }


SCHEMAS: dict[str, dict[str, Any]] = {
    "flat": an_object(name=WORD, old={"type": "boolean"}, age={"type": "integer"}),
    "nested": an_object(who=an_object(name=WORD, at=an_object(town=WORD)), ok={"type": "boolean"}),
    "enum": an_object(colour={"enum": ["red", "green", 'bleu "clair"', "日本"]}),
    "enum of all kinds": an_object(it={"enum": [1, "one", None, True, 2.5]}),
    "const": an_object(kind={"const": "event"}, what=WORD),
    "array": an_object(words={"type": "array", "items": WORD, "minItems": 2, "maxItems": 4}),
    "array of objects": an_object(
        steps={
            "type": "array",
            "items": an_object(say=WORD, at={"type": "integer"}),
            "minItems": 1,
            "maxItems": 2,
        }
    ),
    "no elements": an_object(none={"type": "array", "items": WORD, "maxItems": 0}),
    "anyOf": an_object(
        either={"anyOf": [an_object(a={"type": "integer"}), an_object(b=WORD), {"type": "null"}]}
    ),
    "null or": an_object(maybe={"type": ["string", "null"], "maxLength": 8}),
    "refs": {
        "type": "object",
        "properties": {"one": {"$ref": "#/$defs/thing"}, "two": {"$ref": "#/$defs/thing"}},
        "required": ["one", "two"],
        "additionalProperties": False,
        "$defs": {"thing": an_object(name=WORD, size={"type": "integer", "minimum": 0})},
    },
    "recursive": {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": an_object(
                value={"type": "integer", "minimum": 0, "maximum": 9},
                next={"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            )
        },
    },
    "integer range": an_object(n={"type": "integer", "minimum": -17, "maximum": 105}),
    "number range": an_object(x={"type": "number", "minimum": 0.5, "exclusiveMaximum": 2}),
    "pattern": an_object(plate={"type": "string", "pattern": "^[A-Z]{2}-[0-9]{1,3}$"}),
    "formats": an_object(
        day={"type": "string", "format": "date"},
        at={"type": "string", "format": "date-time"},
        who={"type": "string", "format": "uuid"},
    ),
    "optional": an_object(("b", "c"), a={"type": "integer"}, b={"type": "boolean"}, c=WORD),
    "other keys": {
        "type": "object",
        "properties": {"id": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["id"],
        "additionalProperties": {"type": "boolean"},
        "maxProperties": 3,
    },
    "string lengths": an_object(s={"type": "string", "minLength": 3, "maxLength": 5}),
    "root array": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 5},
    "root string": {"type": "string", "maxLength": 10},
}


def json_schema(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "it", "schema": schema, **more}}


def valid(text: str, schema: dict[str, Any]) -> Any:
    """The value of a JSON text that the schema describes."""
    value = json.loads(text)
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator(schema, format_checker=checker).validate(value)
    return value


@pytest.mark.parametrize("name", SCHEMAS)
def test_an_answer_is_what_its_schema_says(tiny: Api, name: str) -> None:
    """At temperature 1, with several seeds, by a model that knows nothing of it."""
    schema = SCHEMAS[name]
    complete = 0
    for seed in range(5):
        choice = tiny.chat(
            "Tell me.", response_format=json_schema(schema), seed=seed, max_tokens=300
        )["choices"][0]
        text = choice["message"]["content"]
        if choice["finish_reason"] == "stop":
            complete += 1
            valid(text, schema)
    assert complete >= 2


@pytest.mark.parametrize("seed", range(4))
def test_keys_come_in_the_order_of_the_schema(tiny: Api, seed: int) -> None:
    names = ["zeta", "alpha", "mid", "beta"]
    schema = an_object(**{name: {"type": "boolean"} for name in names})
    for text in (
        tiny.chat("Go.", response_format=json_schema(schema), seed=seed)["choices"][0]["message"][
            "content"
        ],
        tiny.complete("Go: ", response_format=json_schema(schema), seed=seed, max_tokens=60)[
            "choices"
        ][0]["text"],
        tiny.complete("Go: ", guided_json=schema, seed=seed, max_tokens=60)["choices"][0]["text"],
    ):
        assert list(valid(text, schema)) == names


@pytest.mark.parametrize("seed", range(6))
def test_any_object(tiny: Api, seed: int) -> None:
    choice = tiny.chat("Hello", response_format={"type": "json_object"}, seed=seed, max_tokens=200)[
        "choices"
    ][0]
    text = choice["message"]["content"]
    assert text.startswith("{")
    if choice["finish_reason"] == "stop":
        assert isinstance(json.loads(text), dict)
    else:
        assert choice["finish_reason"] == "length"


@pytest.mark.parametrize(
    "format", ["uri", "ipv4", "ipv6", "date", "time", "date-time", "uuid", "email"]
)
def test_a_format_is_enforced(tiny: Api, format: str) -> None:
    schema = an_object(it={"type": "string", "format": format, "maxLength": 40})
    whole = 0
    for seed in range(3):
        body: dict[str, Any] = {"guided_json": schema, "seed": seed, "max_tokens": 90}
        choice = tiny.complete("Hello", **body)["choices"][0]
        if choice["finish_reason"] == "stop":
            valid(choice["text"], schema)
            whole += 1
    assert whole


@pytest.mark.parametrize("format", ["uri-reference", "zzz", "regex"])
def test_a_format_that_cannot_be_enforced_is_refused(tiny: Api, format: str) -> None:
    """What checks a schema and what enforces it must know the same: else it is dropped silently."""
    schema = an_object(it={"type": "string", "format": format})
    error = tiny.refused("chat/completions", response_format=json_schema(schema))
    assert error["param"] == f"{SCHEMA_PARAM}.properties.it"


@pytest.mark.parametrize(
    "pattern",
    [
        '^x"[ab]$',
        r"^x\\\\[ab]{2}$",
        '^("[ab]"|b)+$',
        '^[a"]{2}$',
        r'^["][ab]\"$',
        r"^\x22[ab]+\x5c[\x22]$",
        r"^\n[ab]+\t\d[\r]x$",
        r"^\u0022\w{2}$",
        '^"{2,3}é"$',
        '"[a-c]',
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_a_pattern_of_characters_that_json_escapes(tiny: Api, pattern: str, seed: int) -> None:
    schema = {"type": "string", "pattern": pattern, "maxLength": 12}
    choice = tiny.complete("Hello", guided_json=schema, max_tokens=60, seed=seed)["choices"][0]
    assert choice["finish_reason"] == "stop"
    valid(choice["text"], schema)


def test_a_pattern_beside_other_patterns(tiny: Api) -> None:
    schema = {
        "type": "string",
        "pattern": '^"[a-d]+"$',
        "allOf": [{"pattern": '"[cd]'}],
        "maxLength": 6,
    }
    for first in (schema, dict(reversed(schema.items()))):
        choice = tiny.complete("Hello", guided_json=first, max_tokens=60, seed=1)["choices"][0]
        valid(choice["text"], schema)


@pytest.mark.parametrize("pattern", ["\\", "[", "a\\", '"['])
def test_a_broken_pattern_is_refused(tiny: Api, pattern: str) -> None:
    error = tiny.refused("completions", guided_json={"type": "string", "pattern": pattern})
    assert error["param"] in ("guided_json", "guided_json.pattern")


@pytest.mark.parametrize("strict", [True, False, None])
def test_a_schema_is_enforced_whether_strict_or_not(tiny: Api, strict: bool | None) -> None:
    schema = SCHEMAS["enum"]
    choice = tiny.chat("Hello", response_format=json_schema(schema, strict=strict))["choices"][0]
    assert choice["finish_reason"] == "stop"
    valid(choice["message"]["content"], schema)


def test_a_schema_without_a_schema_is_any_json(tiny: Api) -> None:
    body = {"type": "json_schema", "json_schema": {"name": "it"}}
    choice = tiny.chat("Hello", response_format=body, seed=1, max_tokens=300)["choices"][0]
    assert (
        choice["finish_reason"] == "length" or json.loads(choice["message"]["content"]) is not ...
    )


REGEXES = [
    r"[0-9]{3}-[0-9]{4}",
    r"(yes|no), (sir|madam)\.",
    r"[a-f]+/[a-f]+",
    r"a\\b",
    r"é[àèì]{2}🙂?",
    r"\d{4}-\d{2}-\d{2}",
    "one\ntwo",
    r"(ab|cd){2,3}x?",
    r"a/b\/c",
    r'"quoted" \S{1,4}',
]


@pytest.mark.parametrize("pattern", REGEXES)
@pytest.mark.parametrize("seed", range(3))
def test_an_answer_matches_its_regular_expression(tiny: Api, pattern: str, seed: int) -> None:
    body = {"guided_regex": pattern, "seed": seed, "max_tokens": 80}
    for choice, text in both_pages(tiny, **body):
        if choice["finish_reason"] == "stop":
            assert re.fullmatch(pattern, text, re.ASCII if "\\d" in pattern else 0)


@pytest.mark.parametrize(
    ("schema", "text", "allowed"),
    [
        ({"type": "integer"}, "9007199254740991", True),
        ({"type": "integer"}, "-9007199254740991", True),
        ({"type": "integer"}, "9007199254740993", False),
        ({"type": "integer"}, "1" * 40, False),
        ({"type": "integer", "minimum": 0}, "1" * 40, True),
        ({"type": "integer", "const": 5}, "5", True),
        ({"type": "integer", "const": 5}, "6", False),
    ],
)
def test_integers_are_such_that_every_reader_can_hold(
    schema: dict[str, Any], text: str, allowed: bool
) -> None:
    """RFC 8259, section 6: integers beyond 2**53 are not read alike everywhere. Bounds of the schema's own
    go before that."""
    matcher = LLMatcher(LLTokenizer("byte"), "start: " + json_rule(schema, "x"), log_level=0)
    as_messages = list(text.encode())
    assert (
        matcher.try_consume_tokens(as_messages) == len(as_messages) and matcher.is_accepting()
    ) == allowed


def both_pages(api: Api, **body: Any) -> list[tuple[dict[str, Any], str]]:
    chat = api.chat("Hello", **body)["choices"][0]
    completion = api.complete("Hello", **body)["choices"][0]
    return [(chat, chat["message"]["content"]), (completion, completion["text"])]


@pytest.mark.parametrize(
    "choices",
    [
        ["yes", "no"],
        ["one"],
        ["a", "ab", "abc"],
        ['with "quotes"', "back\\slash", "line\nbreak", "tab\t"],
        ["delete\x7f", "\x01\x1f", "\u2028\ufeff"],
        ["Grüße", "日本", "🙂"],
        ["{}", "%json", "/regex/", "a | b"],
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_an_answer_is_one_of_the_choices(tiny: Api, choices: list[str], seed: int) -> None:
    for choice, text in both_pages(tiny, guided_choice=choices, seed=seed, max_tokens=40):
        assert choice["finish_reason"] == "stop"
        assert text in choices


GRAMMARS = {
    "GBNF": ('root ::= "a" [0-9]+ end\nend ::= "!" | "?"', r"a[0-9]+[!?]"),
    "GBNF with a repetition": ('root ::= item{2,3}\nitem ::= "x" | "yy"', r"(x|yy){2,3}"),
    "GBNF with escapes": ('root ::= "\\u00e9ab\\x22" [\\u00e9ab\\x5d]{2}', r'éab"[éab\]]{2}'),
    "GBNF with repetitions in each other": ('root ::= ("a"?){2} ([0-9]{2} )? "a)" # ("b"+)',
                                            r"a{0,2}([0-9]{2})?a\)"),
    "GBNF with comments": ('root ::= ("x" # "no"\n {2}) ("a"? # b)\n){2} "#" | [#] # [ end',
                           r"xxa{0,2}#|#"),
    "Lark": ('start: "n=" NUMBER\nNUMBER: /[0-9]{1,3}/', r"n=[0-9]{1,3}"),
    "Lark with rules": ('start: greet " " name\ngreet: "hi" | "yo"\nname: /[A-Z][a-z]{1,5}/',
                        r"(hi|yo) [A-Z][a-z]{1,5}"),
}  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        {"structured_outputs": {"choice": ["é🙂"]}},
        {"structured_outputs": {"regex": "é🙂"}},
        {"structured_outputs": {"grammar": 'root ::= "é🙂"'}},
        {"structured_outputs": {"json": {"const": "é🙂"}}},
        {"structured_outputs": {"json": '{"const": "é🙂"}'}},
        {"json_schema": {"const": "é🙂"}},
        {"grammar_string": 'root ::= "é🙂"'},
    ],
)
def test_other_servers_fields_for_the_same(tiny: Api, body: dict[str, Any]) -> None:
    for choice, text in both_pages(tiny, max_tokens=40, **body):
        assert text.strip('"') == "é🙂"
        assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize("name", ["schema", "value"])
def test_a_schema_beside_json_object(tiny: Api, name: str) -> None:
    """As clients of llama.cpp, of TGI and of the hub send it."""
    schema = an_object(it={"enum": ["é🙂"]}, ok={"type": "boolean"})
    body = {"response_format": {"type": "json_object", name: schema}, "max_tokens": 40}
    for choice, text in both_pages(tiny, **body):
        assert choice["finish_reason"] == "stop"
        valid(text, schema)
    error = tiny.refused(
        "completions", response_format={"type": "json_object", name: {"type": "objekt"}}
    )
    assert error["param"] == "response_format.schema.type"
    error = tiny.refused("completions", response_format={"type": "json_object", name: 5})
    assert error["param"] == f"response_format.{name}"


def test_structured_outputs_as_any_object(tiny: Api) -> None:
    body = {"structured_outputs": {"json_object": True}, "max_tokens": 60}
    for choice, text in both_pages(tiny, **body):
        assert choice["finish_reason"] == "length" or isinstance(json.loads(text), dict)
    # What asks for nothing constrains nothing.
    absent: tuple[Any, ...] = ({"structured_outputs": {}}, {"grammar_string": ""}, {"grammar": ""})
    for nothing in absent:
        assert tiny.complete("Once", max_tokens=2, **nothing)


@pytest.mark.parametrize("name", ["grammar", "guided_grammar"])
@pytest.mark.parametrize("kind", GRAMMARS)
@pytest.mark.parametrize("seed", range(3))
def test_an_answer_matches_its_grammar(tiny: Api, kind: str, name: str, seed: int) -> None:
    grammar, pattern = GRAMMARS[kind]
    for choice, text in both_pages(tiny, seed=seed, max_tokens=60, **{name: grammar}):
        if choice["finish_reason"] == "stop":
            assert re.fullmatch(pattern, text)
        else:
            assert len(text) >= 30 and kind == "GBNF"


SCHEMA_PARAM = "response_format.json_schema.schema"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"response_format": {}}, "response_format.type"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
            "response_format.json_schema.name",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a b"}}},
            "response_format.json_schema.name",
        ),
        ({"response_format": json_schema({"type": "objekt"})}, f"{SCHEMA_PARAM}.type"),
        ({"response_format": json_schema({"type": 5})}, f"{SCHEMA_PARAM}.type"),
        ({"response_format": json_schema({"$ref": "#/$defs/missing"})}, f"{SCHEMA_PARAM}.$ref"),
        (
            {"response_format": json_schema(an_object(n={"type": "string", "pattern": "("}))},
            f"{SCHEMA_PARAM}.properties.n",
        ),
        (
            {
                "response_format": json_schema(
                    an_object(n={"type": "integer", "minimum": 5, "maximum": 4})
                )
            },
            f"{SCHEMA_PARAM}.properties.n",
        ),
        ({"response_format": json_schema(an_object(n={"enum": []}))}, f"{SCHEMA_PARAM}.properties.n.enum"),
        ({"response_format": json_schema({"not": {"type": "string"}})}, f"{SCHEMA_PARAM}.not"),
        (
            {
                "response_format": json_schema(
                    {"type": "array", "items": WORD, "uniqueItems": True}
                )
            },
            f"{SCHEMA_PARAM}.uniqueItems",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": []}}},
            SCHEMA_PARAM,
        ),
        ({"guided_json": {"type": "objekt"}}, "guided_json.type"),
        ({"json_schema": {"type": "objekt"}}, "json_schema.type"),
        ({"structured_outputs": {"json": {"type": "objekt"}}}, "structured_outputs.json.type"),
        ({"structured_outputs": {"json": "[]"}}, "structured_outputs.json"),
        ({"structured_outputs": {"json": "{"}}, "structured_outputs.json"),
        ({"structured_outputs": {"regex": "("}}, "structured_outputs.regex"),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
        ({"structured_outputs": {"grammar": "root ::= ("}}, "structured_outputs.grammar"),
        (
            {"structured_outputs": {"regex": "a", "choice": ["a"]}},
            "structured_outputs.choice",
        ),
        ({"guided_json": "{"}, "guided_json"),
        ({"guided_json": "[]"}, "guided_json"),
        ({"guided_regex": "("}, "guided_regex"),
        ({"guided_regex": "a{5,2}"}, "guided_regex"),
        ({"guided_regex": 5}, "guided_regex"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_choice": [5]}, "guided_choice[0]"),
        ({"guided_choice": "yes"}, "guided_choice"),
        ({"grammar": "no grammar at all"}, "grammar"),
        ({"grammar": 'root ::= "a" missing'}, "grammar"),
        ({"grammar": 'other ::= "a"'}, "grammar"),
        ({"grammar": "start: missing"}, "grammar"),
        ({"guided_grammar": 'root ::= ('}, "guided_grammar"),
        ({"guided_regex": "a", "guided_choice": ["a"]}, "guided_choice"),
        ({"guided_regex": "a", "response_format": {"type": "json_object"}}, "guided_regex"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["completions", "chat/completions"])
def test_what_cannot_be_enforced_is_refused_by_name(
    tiny: Api, path: str, body: dict[str, Any], param: str
) -> None:
    error = tiny.refused(path, **body)
    assert error["param"] == param
    assert len(error["message"]) < 1000


def test_text_is_no_constraint(tiny: Api) -> None:
    free = tiny.chat("Hello", temperature=0, max_tokens=12)["choices"]
    text = {"type": "text"}
    assert tiny.chat("Hello", temperature=0, max_tokens=12, response_format=text)["choices"] == free


@pytest.mark.parametrize("max_tokens", [1, 2, 5, 9])
def test_an_answer_that_is_cut_says_so(tiny: Api, max_tokens: int) -> None:
    schema = an_object(words={"type": "array", "items": WORD, "minItems": 4, "maxItems": 4})
    whole = tiny.chat(
        "Hello", response_format=json_schema(schema), max_tokens=max_tokens, temperature=0
    )
    choice = whole["choices"][0]
    assert choice["finish_reason"] == "length"
    assert whole["usage"]["completion_tokens"] == max_tokens
    longer = tiny.chat("Hello", response_format=json_schema(schema), max_tokens=99, temperature=0)
    assert longer["choices"][0]["message"]["content"].startswith(choice["message"]["content"])


@pytest.mark.parametrize(
    "together",
    [
        {},
        {"n": 3},
        {"logprobs": True, "top_logprobs": 3},
        {"stop": ["}"]},
        {"max_tokens": 7},
        {"n": 2, "stop": ["a", "o"], "logprobs": True, "max_tokens": 30},
        {"logit_bias": {"5": -100}, "temperature": 0.3},
    ],
)
def test_it_works_together_with_everything_else_and_streamed(
    tiny: Api, together: dict[str, Any]
) -> None:
    schema = SCHEMAS["flat"]
    body = {"response_format": json_schema(schema), "seed": 3, "max_tokens": 90, **together}
    whole = tiny.chat("Hello", **body)
    assert len(whole["choices"]) == together.get("n", 1)
    for choice in whole["choices"]:
        text = choice["message"]["content"]
        stops = together.get("stop", [])
        assert not any(stop in text for stop in stops)
        if choice["finish_reason"] == "stop" and not stops:
            valid(text, schema)
        if together.get("logprobs"):
            reported = b"".join(bytes(token["bytes"]) for token in choice["logprobs"]["content"])
            assert reported.decode(errors="replace").startswith(text)
    assert_alike(tiny.folded("chat/completions", messages=as_messages("Hello"), **body), whole)


def test_completions_take_constraints_with_echo_best_of_and_several_prompts(tiny: Api) -> None:
    body: dict[str, Any] = {"guided_choice": ["red", "green", "blue"], "max_tokens": 9, "seed": 1}
    whole = tiny.complete(["one: ", "two: "], n=2, best_of=3, echo=True, **body)
    for choice in whole["choices"]:
        assert re.fullmatch(r"(one|two): (red|green|blue)", choice["text"])


def test_what_was_not_forced_stays_as_likely_as_it_was(tiny: Api) -> None:
    """Log-probabilities are the model's own: a constraint chooses, and does not change them."""
    free = tiny.complete("Once", logprobs=5, max_tokens=1, temperature=0)["choices"][0]
    forced = tiny.complete("Once", logprobs=5, max_tokens=1, guided_choice=["zebra"])["choices"][0]
    for token, logprob in free["logprobs"]["top_logprobs"][0].items():
        assert forced["logprobs"]["top_logprobs"][0][token] == pytest.approx(logprob, abs=1e-2)


@pytest.mark.parametrize("body", [{"guided_regex": "[a-z]{3}"}, {"guided_choice": ["é🙂"]}])
def test_random_weights_obey_too(noise: Api, body: dict[str, Any]) -> None:
    for choice, text in both_pages(noise, max_tokens=20, **body):
        assert choice["finish_reason"] == "stop"
        assert re.fullmatch(body.get("guided_regex", "é🙂"), text)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_makes_a_grammar(name: str) -> None:
    lark = "start: " + json_rule(SCHEMAS[name], "here")
    assert checked(lark, "here") == lark


@pytest.mark.parametrize(
    ("pattern", "written"),
    [
        (r"\d+", r"[0-9]+"),
        (r"[\d.]", r"[0-9.]"),
        (r"\\d", r"\\d"),
        (r"\D[^\d]", r"[^0-9][^0-9]"),
        (r"\w\W", r"[A-Za-z0-9_][^A-Za-z0-9_]"),
        (r"\[\d\]", r"\[[0-9]\]"),
        (r"[[\w]x\d", r"[[A-Za-z0-9_]x[0-9]"),
        ("é", "é"),
    ],
)
def test_classes_of_characters_are_ascii(pattern: str, written: str) -> None:
    assert ascii_classes(pattern) == written


@pytest.mark.parametrize("depth", [50, 100_000])
def test_a_schema_that_is_nested_deeply_is_enforced_or_refused(depth: int) -> None:
    schema: dict[str, Any] = {"type": "boolean"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    try:
        checked("start: " + json_rule(schema, "here"), "here")
    except InvalidRequest as error:
        assert error.param == "here" and len(error.message) < 1000


def test_what_is_wrong_with_a_grammar_is_told() -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked("start: missing", "here")
    assert caught.value.param == "here" and "missing" in caught.value.message


def test_no_constraint_is_none() -> None:
    for body in ({}, {"response_format": {"type": "text"}}, {"grammar": None}):
        assert check(ConstraintFields, body).constraint is None


def test_an_answer_that_is_too_complex_spoils_nothing_for_the_next() -> None:
    grammar = checked('start: /(a|b)*a(a|b){3000}/ | "ok"', "guided_regex")

    def match(text: str) -> None:
        pieces: Any = (piece for piece in [Piece(text, tokens=1, finish="length")])
        assert [piece.text for piece in enforced(pieces, grammar, "guided_regex") if piece] == [
            text
        ]

    match("ok")
    with pytest.raises(EngineFailed, match="too complex"):
        match("".join(random.Random(1).choices("ab", k=2000)))
    match("ok")
    match("ab" * 10)


@pytest.mark.parametrize("seed", range(6))
def test_keys_that_a_schema_does_not_name_may_hold_escaped_slashes(noise: Api, seed: int) -> None:
    """llama.cpp's grammars allow them, RFC 8259 as well."""
    schema = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
    liked = {str(ord("\\")): 9, str(ord("/")): 9}
    choice = noise.complete(
        "Hello", guided_json=schema, logit_bias=liked, max_tokens=300, seed=seed
    )["choices"][0]
    if choice["finish_reason"] == "stop":
        valid(choice["text"], schema)


def test_an_escaped_slash_is_none_outside_of_json() -> None:
    for text, grammar in (("\\/", 'start: "\\\\" "x"'), ("/", 'start: "\\\\" "x"')):
        pieces: Any = (piece for piece in [Piece(text, tokens=1)])
        with pytest.raises(EngineFailed):
            list(enforced(pieces, grammar, "grammar"))
