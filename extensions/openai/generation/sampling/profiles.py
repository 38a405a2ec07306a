"""Profiles of samplers: relations between parameters, and constants, which the table's columns cannot
express.

`to_native` converts a request's parameters to the engine's own, with the rows and the profile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from pydantic import BaseModel

from ...engines.protocol import EngineInfo, Native
from ...schemas import bad_request
from .sampler_names import IN_LLAMA_CPP
from .table import LLAMACPP, PARAMETERS, ROWS, WEBUI_2023, WEBUI_2026, Parameter
from .upstream_fields import FIELDS

WINDOWS = ("repetition_penalty_range", "dry_penalty_last_n")  # in tokens; -1 is the context

Values = dict[str, Any]
"""A value for each row, by the rows' names, while `to_native` works on it."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What a sampler needs besides its column."""

    constants: Mapping[str, Any] = field(default_factory=dict)
    """Values that no parameter sets."""
    relate: Callable[[Values], None] = lambda values: None
    """Adjusts parameters that depend on each other, before they get the sampler's names."""
    through: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Rows that `relate` converts to others: the sampler must support the others."""
    borrowed: Mapping[str, str] = field(default_factory=dict)
    """Fields of the reference that set a row here."""
    stops_name: str | None = None
    """The sampler's name for stop strings, if it needs them."""
    role_stops: tuple[str, ...] = ()
    """Further stop strings of every request."""


def _relate_llama_cpp(values: Values) -> None:
    if values["dynamic_temperature"]:
        low, high = values["dynatemp_low"], values["dynatemp_high"]
        values["temperature"] = (low + high) / 2
        values["dynatemp_range"] = abs(high - low) / 2
    if not values["do_sample"]:
        values["temperature"] = 0.0
    if values["temperature"] == 0:
        # A dynamic temperature around 0 would not be greedy.
        values["dynatemp_range"] = 0.0
    _order_samplers(values)


ORDER = (
    "penalties",
    "dry",
    "top_n_sigma",
    "top_k",
    "typ_p",
    "top_p",
    "min_p",
    "xtc",
    "temperature",
)
"""llama.cpp's samplers, in its default order."""


def _order_samplers(values: Values) -> None:
    order, priority = values["samplers"], values["sampler_priority"]
    if priority is not None:
        if order is not None:
            raise bad_request.conflicting("sampler_priority", "samplers")
        named = [IN_LLAMA_CPP[name] for name in priority if name in IN_LLAMA_CPP]
        order = [name for name in ORDER if name not in named] + list(dict.fromkeys(named))
    adaptive = ["adaptive_p"] if values["adaptive_target"] > 0 else []
    if order is None and not adaptive:
        return
    order = [name for name in (ORDER if order is None else order) if name not in adaptive]
    # Temperature 0 makes it greedy, so it comes last; only adaptive-p, which selects the token, comes after
    # it.
    if values["temperature_last"] or values["temperature"] == 0:
        order = [name for name in order if name != "temperature"] + ["temperature"]
    values["samplers"] = order + adaptive


def _relate_webui(values: Values) -> None:
    if values["dynatemp_range"]:
        middle, reach = values["temperature"], values["dynatemp_range"]
        values["dynamic_temperature"] = True
        values["dynatemp_low"] = max(0.0, middle - reach)
        values["dynatemp_high"] = middle + reach
        if middle:
            # Some loaders would apply both.
            values["temperature"] = 1.0
    if values["repetition_penalty_range"] == 0:
        # For a webui, 0 is the whole text.
        values.update(repetition_penalty=1.0, presence_penalty=0.0, frequency_penalty=0.0)
        values["repetition_penalty_range"] = values["dry_penalty_last_n"]
    _greedy(values)


def _greedy(values: Values) -> None:
    """Loaders differ in which parameters make them greedy; set all of these."""
    if values["temperature"] == 0 or not values["do_sample"]:
        values.update(temperature=0.0, do_sample=False, top_k=1, dynamic_temperature=False)


ROLE_STOPS = ("\nsystem:", "\nuser:", "\nhuman:", "\nassistant:", "\n###")
"""The stop strings that the first extension added to every request."""

PROFILES: Mapping[str, Profile] = {
    LLAMACPP: Profile(
        relate=_relate_llama_cpp,
        through={
            "do_sample": ("temperature",),
            "dynamic_temperature": ("dynatemp_range",),
            "dynatemp_low": ("temperature", "dynatemp_range"),
            "dynatemp_high": ("temperature", "dynatemp_range"),
            "temperature_last": ("samplers",),
            "sampler_priority": ("samplers",),
        },
    ),
    WEBUI_2026: Profile(
        constants={
            "add_bos_token": True,
            "auto_max_new_tokens": False,
            "custom_stopping_strings": [],
            "custom_token_bans": "",
            "max_tokens_second": 0,
            "prompt_lookup_num_tokens": 0,
            "static_cache": False,
        },
        relate=_relate_webui,
        through={
            "do_sample": ("temperature",),
            "dynatemp_range": ("dynamic_temperature", "dynatemp_low", "dynatemp_high"),
        },
    ),
    WEBUI_2023: Profile(
        constants={
            "add_bos_token": True,
            "early_stopping": False,
            "length_penalty": 1,
            "min_length": 0,
            "num_beams": 1,
        },
        relate=_greedy,
        through={"do_sample": ("temperature",)},
        borrowed={"best_of": "top_k"},
        stops_name="custom_stopping_strings",
        role_stops=ROLE_STOPS,
    ),
}


SHAPING = ROWS.keys() | {name for profile in PROFILES.values() for name in profile.borrowed}
"""The fields of a request that `to_native` reads."""


def profile_of(info: EngineInfo) -> Profile:
    """The profile of an engine's sampler; an empty one for an unknown sampler."""
    return PROFILES.get(info.sampler, Profile())


def to_native(request: BaseModel, info: EngineInfo, stops: tuple[str, ...] = ()) -> Native:
    """Convert the parameters of a validated request to the engine's own.

    Raises InvalidRequest, naming the parameter, for a value that the engine's sampler does not support.
    """
    given = ((name, getattr(request, name)) for name in request.model_fields_set & SHAPING)
    try:
        # Clients send the same values repeatedly.
        return cached_native(frozenset(given), info, stops)
    except TypeError:  # a list cannot be cached
        return _native(request, info, stops)


@lru_cache(maxsize=256)
def cached_native(
    given: frozenset[tuple[str, Any]], info: EngineInfo, stops: tuple[str, ...]
) -> Native:
    return _native(SimpleNamespace(**dict(given)), info, stops)


def _native(request: object, info: EngineInfo, stops: tuple[str, ...]) -> Native:
    if info.sampler in FIELDS:
        return _as_given(request, FIELDS[info.sampler], info.honours)
    profile = profile_of(info)
    values = {row.name: _value(row, request, info) for row in PARAMETERS}
    requested = frozenset(row.name for row in PARAMETERS if _given(row, request) != row.default)
    for row in PARAMETERS:
        effective = not row.refines or requested.intersection(row.refines)
        if row.name in requested and effective and not _honoured(row, info, profile):
            raise bad_request.unsupported(
                row.name, "is not supported by the loaded model's engine."
            )
    for field_name, name in profile.borrowed.items():
        if getattr(request, field_name, None):
            if name in requested:
                raise bad_request.conflicting(field_name, name)
            values[name] = getattr(request, field_name)
    profile.relate(values)
    native = dict(profile.constants)
    if profile.stops_name is not None:
        native[profile.stops_name] = list(stops)
    return native | _named(values, requested, info.sampler)


def _as_given(request: object, names: Mapping[str, str], honoured: frozenset[str] | None) -> Native:
    """What the request gives, for a server of these names with defaults of its own; `honoured`: as in
    EngineInfo."""
    native = {}
    for row in PARAMETERS:
        value = getattr(request, row.name, None)
        if value is None:
            continue
        if row.name in names and (honoured is None or row.name in honoured):
            native[names[row.name]] = value
        elif _given(row, request) != row.default:
            raise bad_request.unsupported(row.name, "is not supported by the server of this model.")
    return native


def _honoured(row: Parameter, info: EngineInfo, profile: Profile) -> bool:
    targets = profile.through.get(row.name, (row.name,))
    columns = [ROWS[target].native.get(info.sampler) for target in targets]
    return all(
        column is not None and (info.honours is None or column.name in info.honours)
        for column in columns
    )


def _named(values: Values, requested: frozenset[str], sampler: str) -> dict[str, Any]:
    """The values under the sampler's names. If two rows have the same name there, the requested one is used;
    raises InvalidRequest if both are requested."""
    native: dict[str, Any] = {}
    rows: dict[str, str] = {}
    for row in PARAMETERS:
        column, value = row.native.get(sampler), values[row.name]
        if column is None or value is None:
            continue
        other = rows.get(column.name)
        if other in requested and row.name in requested:
            raise bad_request.conflicting(row.name, str(other))
        if other is None or row.name in requested:
            rows[column.name] = row.name
            native[column.name] = value if column.convert is None else column.convert(value)
    return native


def _given(row: Parameter, request: object) -> Any:
    value = getattr(request, row.name, None)
    return row.default if value is None or value in row.off else value


def _value(row: Parameter, request: object, info: EngineInfo) -> Any:
    """The request's value or the default; with OpenAI's penalties the default window is the whole answer."""
    if row.name in WINDOWS and getattr(request, row.name, None) == -1:
        return info.context_length
    if row.name == "repetition_penalty_range" and getattr(request, row.name, None) is None:
        penalties = ("presence_penalty", "frequency_penalty")
        if any(getattr(request, name, None) for name in penalties):
            return info.context_length
    return _given(row, request)
