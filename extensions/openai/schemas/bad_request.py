"""400 errors: one function for each way in which a value can be wrong.

Codes are those of OpenAI's API, if it has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InvalidRequest

CODES: Mapping[str, str] = {
    "invalid_json": "The body is not JSON; the message says where.",
    "invalid_form": "The body is not a form, or is cut off.",
    "missing_required_parameter": "A required field is missing.",
    "too_many_values": "The body holds more values than any request needs.",
    "answer_too_large": "Choices, tokens and alternatives together are more than one answer may have.",
    "object_above_max_length": "An object has too many members.",
    "invalid_type": "A value has another JSON type than the field.",
    "invalid_value": "A value is not one of those allowed.",
    "integer_below_min_value": "An integer is too small.",
    "integer_above_max_value": "An integer is too large.",
    "decimal_below_min_value": "A number is too small.",
    "decimal_above_max_value": "A number is too large, or not finite.",
    "empty_array": "An array is empty.",
    "array_below_min_length": "An array has too few elements.",
    "array_above_max_length": "An array has too many elements.",
    "empty_string": "A string is empty.",
    "empty_file": "A file is empty.",
    "string_below_min_length": "A string is too short.",
    "string_above_max_length": "A string is too long.",
    "invalid_image_url": "A picture's URL is neither a data: URL with base64 nor http(s).",
    "invalid_base64_image": "A picture's base64 is invalid.",
    "unsupported_image_media_type": "A picture is not PNG, JPEG, WebP or GIF.",
    "invalid_image_format": "A picture is animated.",
    "empty_image_file": "A picture is empty.",
    "image_file_too_large": "A picture's file is larger than `--media-max-mb`.",
    "image_too_large": "A picture has too many pixels.",
    "image_too_small": "A picture is only one pixel high or wide.",
    "image_parse_error": "A picture cannot be decoded.",
    "moderation_blocked": "The image model has a filter of its own, which refuses the picture that it made.",
    "failed_to_download_image": "A picture could not be fetched from its URL.",
    "invalid_encrypted_content": "Sealed content was not made by this server for this key, or was changed.",
    "unknown_parameter": "The field is unknown, and one letter away from a known one, or "
    "`--strict-parameters` is on.",
    "unsupported_parameter": "This server, or the loaded model, does not support the field's value.",
    "invalid_parameter_combination": "Two fields exclude each other.",
}
"""The codes of 400 errors and their meaning, for docs/errors.md."""


def kind_of(value: Any) -> str:
    """The type of a JSON value, as the API's messages name it."""
    if value is None:
        return "null"
    for kind, name in (
        (bool, "a boolean"),
        (int, "an integer"),
        (float, "a decimal"),
        (str, "a string"),
        (list, "an array"),
        (dict, "an object"),
    ):
        if isinstance(value, kind):
            return name
    return "something else"


def missing(param: str, misspelt: str | None = None) -> InvalidRequest:
    """`misspelt`: a field that was sent and is one edit away."""
    hint = f" Is '{misspelt}' a misspelling of it?" if misspelt else ""
    return InvalidRequest(
        f"Missing required parameter: '{param}'.{hint}",
        param=param,
        code="missing_required_parameter",
    )


def wrong_type(param: str, expected: str, value: Any) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid type for '{param}': expected {expected}, but got {kind_of(value)} instead.",
        param=param,
        code="invalid_type",
    )


def out_of_range(
    param: str, value: float, *, low: float | None, high: float | None, open_low: bool = False
) -> InvalidRequest:
    """A number below `low` or above `high`; None is no limit. With `open_low` the number must be above
    `low`."""
    kind = "integer" if isinstance(low if high is None else high, int) else "decimal"
    if low is not None and (value < low or (open_low and value == low)):
        side, limit = "below minimum", f"{'>' if open_low else '>='} {low}"
        code = f"{kind}_below_min_value"
    else:
        side, limit = "above maximum", "that is finite" if high is None else f"<= {high}"
        code = f"{kind}_above_max_value"
    return InvalidRequest(
        f"Invalid '{param}': {kind} {side} value. Expected a value {limit}, "
        f"but got {value} instead.",
        param=param,
        code=code,
    )


def wrong_length(
    param: str, kind: str, length: int, *, low: int = 0, high: int | None = None
) -> InvalidRequest:
    """An array or string (`kind`) that is too short or too long."""
    if length == 0 and low > 0:
        problem, limit, code = f"empty {kind}", f"at least {low}", f"empty_{kind}"
    elif length < low:
        problem, limit, code = f"{kind} too short", f"at least {low}", f"{kind}_below_min_length"
    else:
        problem, limit, code = f"{kind} too long", f"at most {high}", f"{kind}_above_max_length"
    return InvalidRequest(
        f"Invalid '{param}': {problem}. Expected a length of {limit}, but got {length} instead.",
        param=param,
        code=code,
    )


def not_one_of(param: str, value: Any, allowed: Sequence[str]) -> InvalidRequest:
    shown = f"'{value}'" if isinstance(value, str) and len(value) <= 64 else kind_of(value)
    return InvalidRequest(
        f"Invalid value for '{param}': {shown}. Supported values are: "
        + ", ".join(f"'{name}'" for name in allowed)
        + ".",
        param=param,
        code="invalid_value",
    )


def no_match(param: str, pattern: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid '{param}': string does not match pattern. Expected a string that matches the pattern "
        f"'{pattern}'.",
        param=param,
        code="invalid_value",
    )


def conflicting(param: str, other: str) -> InvalidRequest:
    return InvalidRequest(
        f"Setting '{param}' and '{other}' at the same time is not supported.",
        param=param,
        code="invalid_parameter_combination",
    )


def not_unique(param: str, name: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid '{param}': the name '{name}' is used more than once.",
        param=param,
        code="invalid_value",
    )


def not_sealed_here(param: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid '{param}': this server did not make it for this key, or it was changed. Send the "
        "conversation without it.",
        param=param,
        code="invalid_encrypted_content",
    )


def token_id_out_of_range(param: str, vocabulary_size: int) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid '{param}': the token ids of this model are 0 to {vocabulary_size - 1}.",
        param=param,
        code="invalid_value",
    )


def unknown(param: str) -> InvalidRequest:
    return InvalidRequest(
        f"Unknown parameter: '{param[:64]}'.", param=param[:64], code="unknown_parameter"
    )


def misspelt(param: str, meant: str) -> InvalidRequest:
    return InvalidRequest(
        f"Unknown parameter: '{param[:64]}'. Did you mean '{meant}'?",
        param=param[:64],
        code="unknown_parameter",
    )


def unsupported(param: str, why: str) -> InvalidRequest:
    return InvalidRequest(
        f"Unsupported parameter: '{param}' {why}", param=param, code="unsupported_parameter"
    )
