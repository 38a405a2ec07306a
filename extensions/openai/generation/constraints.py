"""Structured output: what an answer must look like, as a grammar that is checked before anything runs.

All ways to ask for it end as one Lark grammar in llguidance's dialect, which engines enforce while they
sample. Source: llguidance, docs/syntax.md and docs/json_schema.md; OpenAI guide "Structured outputs".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from llguidance import LLMatcher
from llguidance.gbnf_to_lark import any_to_lark
from pydantic import Field

from ..errors import InvalidRequest
from ..validation import RequestModel

# JSON on one line. Where white space is free, small models like to go on with it for ever.
WHITESPACE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class TextFormat(RequestModel):
    """Free text."""

    type: Literal["text"]


class JSONObjectFormat(RequestModel):
    """Any JSON object."""

    type: Literal["json_object"]


class JSONSchema(RequestModel):
    """A schema and its name; it is enforced whether or not `strict` is set."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
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


class ConstraintFields(RequestModel):
    """The fields that constrain an answer; one of them at a time."""

    response_format: ResponseFormat | None = Field(
        None, description="`text`, `json_object`, or `json_schema` with a schema that is enforced."
    )
    grammar: str | None = Field(
        None, description="A grammar that the answer must match, in GBNF or Lark. Not OpenAI's."
    )
    guided_json: dict[str, Any] | None = Field(
        None, description="A JSON schema, as vLLM's clients send it. Not OpenAI's."
    )
    guided_regex: str | None = Field(
        None, description="A regular expression that the whole answer must match. Not OpenAI's."
    )
    guided_choice: list[str] | None = Field(
        None, min_length=1, description="The answer is one of these strings. Not OpenAI's."
    )
    guided_grammar: str | None = Field(
        None, description="As `grammar`, under the name of vLLM's clients. Not OpenAI's."
    )

    @property
    def constraint(self) -> tuple[str, str] | None:
        """The Lark grammar that the answer must match and the field that says so; None where it is free.

        Raises InvalidRequest, naming the field, for what cannot be enforced.
        """
        found = [made for made in map(self._lark, _SOURCES) if made is not None]
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

    def _lark(self, name: str) -> tuple[str, str] | None:
        value = getattr(self, name)
        if value is None or isinstance(value, TextFormat):
            return None
        if isinstance(value, JSONObjectFormat):
            return name, json_grammar({"type": "object"})
        if isinstance(value, JSONSchemaFormat):
            schema = value.json_schema.schema_
            return "response_format.json_schema.schema", json_grammar(
                {} if schema is None else schema
            )
        if name == "guided_json":
            return name, json_grammar(value)
        if name == "guided_regex":
            return name, f"start: /{_regex(value)}/"
        if name == "guided_choice":
            return name, "start: " + " | ".join(literal(choice) for choice in value)
        return name, _from_grammar(value, name)


_SOURCES = (
    "response_format",
    "grammar",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
)


def json_grammar(schema: Mapping[str, Any]) -> str:
    """The grammar of the JSON that a schema describes, its keys in the schema's order."""
    return "start: " + json_rule(schema)


def json_rule(schema: Mapping[str, Any]) -> str:
    """The same, to be used inside of another rule."""
    return "%json " + json.dumps({**schema, "x-guidance": WHITESPACE})


def literal(text: str) -> str:
    """A text as it stands, inside of a rule."""
    return json.dumps(text, ensure_ascii=False)


def checked(lark: str, param: str) -> str:
    """The grammar itself. Raises InvalidRequest, with what is wrong, when it cannot be enforced."""
    problem = LLMatcher.validate_grammar(lark)
    if problem:
        raise InvalidRequest(
            f"Invalid '{param}': it cannot be enforced: {problem.strip()[:500]}",
            param=param,
            code="invalid_value",
        )
    return lark


def _regex(pattern: str) -> str:
    """A regular expression between the slashes of a Lark terminal."""
    return pattern.replace("/", r"\/").replace("\n", r"\n")


def _from_grammar(text: str, param: str) -> str:
    try:
        return str(any_to_lark(text))
    except Exception as error:  # the converter has no error class of its own
        raise InvalidRequest(
            f"Invalid '{param}': it is no grammar in GBNF or Lark: {str(error)[:300]}",
            param=param,
            code="invalid_value",
        ) from error
