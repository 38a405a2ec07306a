"""Structured output: what an answer must look like, as a grammar that is checked before anything runs.

All ways to ask for it end as one Lark grammar in llguidance's dialect, which engines enforce while they
sample. Source: llguidance, docs/syntax.md and docs/json_schema.md; OpenAI guide "Structured outputs".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal

from llguidance import LLMatcher
from llguidance.gbnf_to_lark import any_to_lark, is_lark_syntax
from pydantic import AliasChoices, Field

from .. import refusals
from ..errors import InvalidRequest
from ..validation import RequestModel
from .patterns import URI, ascii_classes, pattern_in_json, regex_terminal

# JSON on one line. Where white space is free, small models like to go on with it for ever.
WHITESPACE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")]
"""Of a function, a tool or a schema."""
Choices = Annotated[list[str], Field(min_length=1, max_length=1000)]
Words = Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=128)]


ANYTHING = r"/(.|\n)*/"
REMEMBERED = 16 << 10  # characters of a grammar


class TextFormat(RequestModel):
    """Free text."""

    type: Literal["text"]


class JSONObjectFormat(RequestModel):
    """Any JSON object, or one of a schema, as clients of llama.cpp (`schema`) or TGI (`value`) send it."""

    type: Literal["json_object"]
    schema_: dict[str, Any] | None = Field(
        None, validation_alias=AliasChoices("schema", "value"), serialization_alias="schema"
    )


class JSONSchema(RequestModel):
    """A schema and its name; it is enforced whether or not `strict` is set."""

    name: Name
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class JSONSchemaFormat(RequestModel):
    """JSON that a schema describes."""

    type: Literal["json_schema"]
    json_schema: JSONSchema


ResponseFormat = Annotated[
    TextFormat | JSONObjectFormat | JSONSchemaFormat, Field(discriminator="type")
]


class StructuredOutputs(RequestModel):
    """What vLLM's clients send since it has one field for all; one of them at a time."""

    json_: dict[str, Any] | str | None = Field(None, alias="json")
    json_object: bool | None = None
    regex: str | None = None
    choice: Choices | None = None
    grammar: str | None = None

    def constraints(self) -> Iterator[tuple[str, str]]:
        """As ConstraintFields._constraints."""
        where = "structured_outputs"
        if self.json_ is not None:
            yield f"{where}.json", _json(_schema(self.json_, f"{where}.json"), f"{where}.json")
        if self.json_object:
            yield f"{where}.json_object", _json({"type": "object"}, where)
        if self.regex is not None:
            yield f"{where}.regex", _regex(self.regex)
        if self.choice is not None:
            yield f"{where}.choice", _choice(self.choice)
        if self.grammar is not None:
            yield f"{where}.grammar", _from_grammar(self.grammar, f"{where}.grammar")


class ConstraintFields(RequestModel):
    """The fields that constrain an answer; one of them at a time."""

    response_format: ResponseFormat | None = Field(
        None, description="`text`, `json_object`, or `json_schema` with a schema that is enforced."
    )
    grammar: str | None = Field(
        None,
        description="A grammar that the answer must match, in GBNF or Lark; empty is none. Not OpenAI's.",
    )
    guided_json: dict[str, Any] | str | None = Field(
        None,
        description="A JSON schema, or its text, as vLLM's clients send it. Not OpenAI's.",
    )
    guided_regex: str | None = Field(
        None,
        validation_alias=AliasChoices("guided_regex", "regex", "regex_pattern"),
        description="A regular expression that the whole answer must match. Not OpenAI's.",
    )
    guided_choice: Choices | None = Field(
        None, description="The answer is one of these strings. Not OpenAI's."
    )
    guided_grammar: str | None = Field(
        None, description="As `grammar`, under the name of vLLM's clients. Not OpenAI's."
    )
    structured_outputs: StructuredOutputs | None = Field(
        None,
        description="vLLM's one field for all: `json`, `json_object`, `regex`, `choice` or `grammar`. Not "
        "OpenAI's.",
    )
    json_schema: dict[str, Any] | None = Field(
        None, description="A JSON schema, as llama.cpp's clients send it. Not OpenAI's."
    )
    grammar_string: str | None = Field(
        None, description="As `grammar`, under a webui's name; empty is none. Not OpenAI's."
    )
    bad_words: Words | None = Field(
        None,
        validation_alias=AliasChoices("bad_words", "banned_strings"),
        description="Texts that do not come in the answer. Not OpenAI's.",
    )

    @property
    def constraint(self) -> tuple[str, str] | None:
        """The Lark grammar that the answer must match and the field that says so; None where it is free.

        Raises InvalidRequest, naming the field, for what cannot be enforced.
        """
        found = list(self._constraints())
        if len(found) > 1:
            raise InvalidRequest(
                f"'{found[0][0]}' and '{found[1][0]}' both constrain the answer; give one of them.",
                param=found[1][0],
                code="invalid_parameter_combination",
            )
        if not found:
            return None
        param, lark = found[0]
        return checked(lark, param), param

    def _constraints(self) -> Iterator[tuple[str, str]]:
        """Each field that constrains the answer, and its grammar."""
        if isinstance(self.response_format, JSONObjectFormat):
            wanted, where = self.response_format.schema_, "response_format"
            inner = where if wanted is None else f"{where}.schema"
            yield inner, _json({"type": "object"} if wanted is None else wanted, inner)
        elif isinstance(self.response_format, JSONSchemaFormat):
            where = "response_format.json_schema.schema"
            yield where, _json(self.response_format.json_schema.schema_, where)
        for where, schema in (
            ("guided_json", self.guided_json),
            ("json_schema", self.json_schema),
        ):
            if schema is not None:
                yield where, _json(_schema(schema, where), where)
        if self.guided_regex is not None:
            yield "guided_regex", _regex(self.guided_regex)
        if self.guided_choice is not None:
            yield "guided_choice", _choice(self.guided_choice)
        for where, text in (
            ("grammar", self.grammar or None),
            ("guided_grammar", self.guided_grammar),
            ("grammar_string", self.grammar_string or None),
        ):
            if text is not None:
                yield where, _from_grammar(text, where)
        if self.structured_outputs is not None:
            yield from self.structured_outputs.constraints()
        if self.bad_words:
            yield "bad_words", _without(self.bad_words)


def _schema(schema: dict[str, Any] | str, where: str) -> dict[str, Any]:
    """The schema, which may come as JSON text."""
    if isinstance(schema, str):
        try:
            schema = json.loads(schema)
        except (json.JSONDecodeError, RecursionError):
            pass  # it is refused below, as any other text
    if not isinstance(schema, dict):
        raise refusals.wrong_type(where, "an object", schema)
    return schema


def _json(schema: Mapping[str, Any] | None, where: str) -> str:
    return "start: " + json_rule({} if schema is None else schema, where)


def _regex(pattern: str) -> str:
    return f"start: {regex_terminal(pattern)}"


def _choice(choices: Sequence[str]) -> str:
    return "start: " + " | ".join(literal(choice) for choice in choices)


def _without(words: Sequence[str]) -> str:
    """Any text that holds none of the words."""
    found = "|".join("".join(map(in_pattern, word)) for word in words)
    return f"start: TEXT\nTEXT: {ANYTHING} & ~/(.|\\n)*({found})(.|\\n)*/"


def in_pattern(character: str) -> str:
    plain = character.isalnum() or character >= "\x80"
    return character if plain else f"\\x{ord(character):02x}"


def json_rule(schema: Mapping[str, Any], param: str) -> str:
    """What stands for the JSON that a schema describes inside of a rule, its keys in the schema's order.

    Raises InvalidRequest for a schema that is nested too deeply.
    """
    try:
        _check_enforceable(schema, param)
        return "%json " + json.dumps({**_as_enforced(schema), "x-guidance": WHITESPACE})
    except RecursionError:
        raise InvalidRequest(
            f"Invalid '{param}': it is nested too deeply.", param=param, code="invalid_value"
        ) from None


MAX_COUNT = 10_000  # of what a schema may demand or allow of one thing; more costs memory and time
_VALUES = ("const", "enum", "default", "examples")  # what under these names is data, and no schema
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")


def _check_enforceable(schema: Any, param: str) -> None:
    """Refuse bounds that could only be enforced at the cost of everybody else, and a pattern that escapes
    what the library puts behind it."""
    if isinstance(schema, dict):
        pattern = schema.get("pattern")
        if isinstance(pattern, str) and re.search(r"(?<!\\)(\\\\)*\\$", pattern):
            raise InvalidRequest(
                f"Invalid '{param}.pattern': it ends with a backslash.",
                param=f"{param}.pattern",
                code="invalid_value",
            )
        for name in _COUNTS:
            count = schema.get(name)
            if isinstance(count, (int, float)) and count > MAX_COUNT:
                raise refusals.out_of_range(f"{param}.{name}", count, low=None, high=MAX_COUNT)
        inner = [value for name, value in schema.items() if name not in _VALUES]
    else:
        inner = schema
    for value in inner:
        if isinstance(value, (dict, list)):
            _check_enforceable(value, param)


def literal(text: str) -> str:
    """A text as it stands, inside of a rule."""
    # The library's lexer takes this one control character in no string; JSON lets it stand.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def checked(lark: str, param: str) -> str:
    """The grammar itself. Raises InvalidRequest, with what is wrong, when it cannot be enforced."""
    problem = _problem(lark)
    if problem:
        raise InvalidRequest(
            f"Invalid '{param}': it cannot be enforced: {problem.strip()[:500]}",
            param=param,
            code="invalid_value",
        )
    return lark


def _problem(lark: str) -> str:
    """What is wrong with a grammar; empty for a good one. Clients send the same schemas and tools with each
    request, and to read one takes a millisecond."""
    return _known_problem(lark) if len(lark) <= REMEMBERED else LLMatcher.validate_grammar(lark)


_known_problem = lru_cache(maxsize=512)(LLMatcher.validate_grammar)


SAFE_INTEGER = 2**53 - 1  # beyond it, readers of JSON differ (RFC 8259, section 6)


def _as_enforced(schema: Any) -> Any:
    """The schema with all of its patterns written out, and integers that every reader can hold."""
    if isinstance(schema, list):
        return [_as_enforced(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    written: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "pattern" and isinstance(value, str):
            made = pattern_in_json(value)
            also = [*written.get("allOf", ()), *made.get("allOf", ())]
            written |= {**made, "allOf": also} if also else made
        elif name in _VALUES:
            written[name] = value
        elif name == "format" and value == "uri" and "pattern" not in schema:
            written["pattern"] = URI
        elif name == "patternProperties" and isinstance(value, dict):
            written[name] = {
                ascii_classes(pattern): _as_enforced(each) for pattern, each in value.items()
            }
        elif name == "allOf" and isinstance(value, list):
            written[name] = [*written.get(name, ()), *_as_enforced(value)]
        else:
            written[name] = _as_enforced(value)
    if schema.get("type") == "integer" and not _BOUNDS & schema.keys():
        written |= {"minimum": -SAFE_INTEGER, "maximum": SAFE_INTEGER}
    return written


_BOUNDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "enum", "const"}


def _from_grammar(text: str, param: str) -> str:
    try:
        if not is_lark_syntax(text):
            text = _GBNF.sub(_convertible, _GBNF_COMMENT.sub(r"\g<text>", text))
        return str(any_to_lark(text))
    except Exception as error:  # the converter has no error class of its own
        raise InvalidRequest(
            f"Invalid '{param}': it is no grammar in GBNF or Lark: {str(error)[:300]}",
            param=param,
            code="invalid_value",
        ) from error


_LITERAL = r'(?P<literal>"(?:[^"\\]|\\.)*"?)'
_SET = r"(?P<set>\[(?:[^\]\\]|\\.)*\]?)"
_GBNF = re.compile(rf"{_LITERAL}|{_SET}|(?P<repeated>[*+?}}]\s*)\)", re.DOTALL)
_GBNF_COMMENT = re.compile(rf"(?P<text>{_LITERAL}|{_SET})|#[^\r\n]*", re.DOTALL)
_HEX = "[0-9a-fA-F]"
_CODE = re.compile(
    rf"\\(?:x({_HEX}{{2}})|u({_HEX}{{4}})|U(00(?:0{_HEX}|10){_HEX}{{4}})|.)", re.DOTALL
)


def _convertible(match: re.Match[str]) -> str:
    """A part of a GBNF grammar as the converter gets it right: it drops the zeros of \\u00e9, and brackets
    around nothing but a repetition."""
    if match["repeated"]:
        return match["repeated"] + ' "")'

    def written_out(code: re.Match[str]) -> str:
        digits = code[1] or code[2] or code[3]
        if digits is None:
            return code[0]
        character = chr(int(digits, 16))
        if character >= "\x80":
            return character
        if match["set"] or not character.isprintable():
            return f"\\x{ord(character):02x}"
        return f"\\{character}" if character in '"\\' else character

    return _CODE.sub(written_out, match[0]) if match["literal"] or match["set"] else match[0]
