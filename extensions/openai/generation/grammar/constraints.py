"""Structured output: the fields that constrain an answer, converted to a grammar that is checked first.

All of them become one Lark grammar in llguidance's dialect, which engines enforce while they sample. Source:
llguidance, docs/syntax.md and docs/json_schema.md; OpenAI guide "Structured outputs".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AliasChoices, Field

from ...engines.protocol import SchemaGrammar
from ...errors import InvalidRequest
from ...schemas import bad_request
from ...schemas.validation import RequestModel
from ..tools.enforcing.schemas import closed
from .bounds import (
    MAX_CHOICES_LENGTH,
    MAX_GRAMMAR_LENGTH,
    MAX_SCHEMA_TEXT,
    check_count,
    check_lark,
    check_pattern,
    one_at_a_time,
)
from .gbnf import GBNFError, gbnf_to_lark, is_gbnf
from .json_schema import check_enforceable, json_rule
from .lark import class_member, literal
from .regex import regex_terminal

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")]
"""The name of a function, tool or schema."""
Choices = Annotated[list[str], Field(min_length=1, max_length=1000)]
BannedWords = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=128)
]


ANYTHING = r"/(.|\n)*/"


class TextFormat(RequestModel):
    """Free text."""

    type: Literal["text"]


class JSONObjectFormat(RequestModel):
    """Any JSON object, or one that matches a schema, as clients of llama.cpp (`schema`) or TGI (`value`) send
    it."""

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
    """JSON that matches a schema."""

    type: Literal["json_schema"]
    json_schema: JSONSchema


ResponseFormat = Annotated[
    TextFormat | JSONObjectFormat | JSONSchemaFormat, Field(discriminator="type")
]


class StructuredOutputs(RequestModel):
    """The field of newer vLLM clients for all constraints; one of them at a time."""

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
            yield f"{where}.regex", _regex(self.regex, f"{where}.regex")
        if self.choice is not None:
            yield f"{where}.choice", _choice(self.choice, f"{where}.choice")
        if self.grammar is not None:
            yield f"{where}.grammar", _from_grammar(self.grammar, f"{where}.grammar")


class ConstraintFields(RequestModel):
    """The fields that constrain an answer; one of them at a time."""

    constraining: ClassVar[frozenset[str]]
    """The names of these fields."""

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
        None, description="`grammar`, as vLLM's clients name it. Not OpenAI's."
    )
    structured_outputs: StructuredOutputs | None = Field(
        None,
        description="vLLM's field for all constraints: `json`, `json_object`, `regex`, `choice` or "
        "`grammar`. Not OpenAI's.",
    )
    json_schema: dict[str, Any] | None = Field(
        None, description="A JSON schema, as llama.cpp's clients send it. Not OpenAI's."
    )
    grammar_string: str | None = Field(
        None, description="Like `grammar`, under a webui's name; empty is none. Not OpenAI's."
    )
    bad_words: BannedWords | None = Field(
        None,
        validation_alias=AliasChoices("bad_words", "banned_strings"),
        description="Texts that the answer must not contain. Not OpenAI's.",
    )

    @property
    def constraint(self) -> tuple[str, str] | None:
        """The Lark grammar that the answer must match, and its field; None: the answer is not constrained.

        Raises InvalidRequest, naming the place, if it is too large or not a grammar. Whether it compiles is
        checked later, before the engine is called (`grammar.compiled`).
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
        return lark, param

    def _constraints(self) -> Iterator[tuple[str, str]]:
        """Each field that constrains the answer, and its grammar."""
        for where, sent in (
            ("guided_json", self.guided_json),
            ("json_schema", self.json_schema),
        ):
            if sent is not None:
                yield where, _json(_schema(sent, where), where)
        if self.guided_regex is not None:
            yield "guided_regex", _regex(self.guided_regex, "guided_regex")
        if self.guided_choice is not None:
            yield "guided_choice", _choice(self.guided_choice, "guided_choice")
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


class ResponseFormatField(ConstraintFields):
    """The field of completions and chats."""

    response_format: ResponseFormat | None = Field(
        None, description="`text`, `json_object`, or `json_schema` with a schema that is enforced."
    )

    def _constraints(self) -> Iterator[tuple[str, str]]:
        if isinstance(self.response_format, JSONObjectFormat):
            schema, where = self.response_format.schema_, "response_format"
            inner = where if schema is None else f"{where}.schema"
            yield inner, _json({"type": "object"} if schema is None else schema, inner)
        elif isinstance(self.response_format, JSONSchemaFormat):
            where, wanted = "response_format.json_schema", self.response_format.json_schema
            # For strict schemas, OpenAI's guide requires `additionalProperties: false` in each object.
            yield f"{where}.schema", _json(wanted.schema_, f"{where}.schema", strict=wanted.strict)
        yield from super()._constraints()


ConstraintFields.constraining = frozenset(ConstraintFields.model_fields)
ResponseFormatField.constraining = frozenset(ResponseFormatField.model_fields)


def _schema(schema: dict[str, Any] | str, where: str) -> dict[str, Any]:
    """The schema, which may be sent as JSON text."""
    if isinstance(schema, str):
        check_count(where, "characters", len(schema), 2 * MAX_SCHEMA_TEXT)
        try:
            schema = json.loads(schema)
        except (json.JSONDecodeError, RecursionError):
            pass  # refused below, like any other text
    if not isinstance(schema, dict):
        raise bad_request.wrong_type(where, "an object", schema)
    return schema


def json_constraint(
    schema: Mapping[str, Any], where: str, *, strict: bool = True
) -> tuple[str, str]:
    """A field with a schema, and its grammar, as `_constraints` yields them. `strict`: objects must not have
    properties that the schema does not name.

    Raises InvalidRequest for a schema that cannot be enforced.
    """
    return where, _json(schema, where, strict=strict)


def object_constraint(where: str) -> tuple[str, str]:
    """A field that requires any JSON object, and its grammar."""
    return where, _json({"type": "object"}, where)


def _json(schema: Mapping[str, Any] | None, where: str, *, strict: bool | None = False) -> str:
    sent = schema = {} if schema is None else schema
    if strict:
        check_enforceable(schema, where)  # before it is processed
        schema = closed(schema)
    return SchemaGrammar("start: " + json_rule(schema, where), sent, strict=bool(strict))


def _regex(pattern: str, where: str) -> str:
    check_pattern(pattern, where)
    return f"start: {regex_terminal(pattern)}"


def _choice(choices: Sequence[str], where: str) -> str:
    check_count(where, "characters", sum(map(len, choices)), MAX_CHOICES_LENGTH)
    return "start: " + " | ".join(literal(choice) for choice in choices)


def _without(words: Sequence[str]) -> str:
    """Any text that contains none of the words."""
    found = "|".join("".join(map(class_member, word)) for word in words)
    return f"start: TEXT\nTEXT: {ANYTHING} & ~/(.|\\n)*({found})(.|\\n)*/"


def _from_grammar(text: str, param: str) -> str:
    check_count(param, "characters", len(text), MAX_GRAMMAR_LENGTH)
    if is_gbnf(text):
        try:
            with one_at_a_time(len(text)):
                return gbnf_to_lark(text)
        except GBNFError as error:
            raise InvalidRequest(
                f"Invalid '{param}': it is not a grammar in GBNF or Lark: {str(error)[:300]}",
                param=param,
                code="invalid_value",
            ) from None
    check_lark(text, param)
    return text
