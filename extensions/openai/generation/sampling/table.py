"""The sampler table: one row for each parameter that affects how tokens are chosen.

A row defines the names that clients use, type, range and default, and the name in each kind of sampler. The
fields of requests, `profiles.to_native` and docs/parameters.md are derived from the rows: to add a parameter,
add a row. Defaults are always sent, so that an answer never depends on an engine's own.

Three samplers have a column: llama.cpp, text-generation-webui as of 2026 (`webui`), and that of spring 2023
(`webui-2023`), mapped as the first OpenAI extension documented it. What columns cannot express, relations
between parameters and further values of a sampler, is in its profile (profiles.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Optional, get_origin

from pydantic import AliasChoices, BaseModel, BeforeValidator, Field, create_model

from .sampler_names import (
    SamplerName,
    WebuiSamplerName,
    from_json_text,
    from_letters,
    from_lines,
)

OPENAI = "OpenAI API reference"
LLAMA_CPP = "llama.cpp tools/server, completion options"
WEBUI = "text-generation-webui, the state of its generation functions"


@dataclass(frozen=True, slots=True)
class Column:
    """A parameter's name and value format in one sampler."""

    name: str
    convert: Callable[[Any], Any] | None = None
    """Its docstring is the formula in the docs; None: the value is unchanged."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row. `low` and `high` are part of the range; None is no limit."""

    name: str
    meaning: str
    kind: Any
    """The type of its values; by default that of the default value."""
    default: Any
    low: float | None
    high: float | None
    native: Mapping[str, Column]
    """By EngineInfo.sampler."""
    aliases: tuple[str, ...] = ()
    """Names that clients of other servers send."""
    off: tuple[Any, ...] = ()
    """Other values with the meaning of the default."""
    refines: tuple[str, ...] = ()
    """The rows that this one refines: while all of them are at their defaults, it has no effect."""
    source: str = LLAMA_CPP
    reference_high: float | None = None
    """The reference's upper limit, if different; in force with --strict-parameters."""
    read: Callable[[object], object] | None = None
    """Converts other formats that clients send, before validation."""


LLAMACPP, WEBUI_2026, WEBUI_2023 = "llama.cpp", "webui", "webui-2023"
SAME = ""  # in a row: the sampler has the same name


def _row(
    name: str,
    default: Any,
    low: float | None,
    high: float | None,
    meaning: str,
    *,
    kind: Any = None,
    read: Callable[[object], object] | None = None,
    llama_cpp: str | Column | None = None,
    webui: str | Column | None = None,
    classic: str | Column | None = None,
    aliases: tuple[str, ...] = (),
    off: tuple[Any, ...] = (),
    refines: tuple[str, ...] = (),
    source: str = LLAMA_CPP,
    reference_high: float | None = None,
) -> Parameter:
    columns = {LLAMACPP: llama_cpp, WEBUI_2026: webui, WEBUI_2023: classic}
    native = {
        sampler: column if isinstance(column, Column) else Column(column or name)
        for sampler, column in columns.items()
        if column is not None
    }
    kind = type(default) if kind is None else kind
    return Parameter(
        name,
        meaning,
        kind,
        default,
        low,
        high,
        native,
        aliases,
        off,
        refines,
        source,
        reference_high,
        read,
    )


def repetition_of_presence(presence: float) -> float:
    """1.2^x"""
    return float(1.2**presence)


def encoder_repetition_of_frequency(frequency: float) -> float:
    """1.2^-x"""
    # Above 1 that sampler raises tokens of the prompt, below 1 it lowers them.
    return float(1.2**-frequency)


def warm(temperature: float) -> float:
    """at least 0.001"""
    # That sampler divides by it, even if it is greedy.
    return max(0.001, temperature)


def json_text(texts: list[str]) -> str:
    """as JSON text"""
    return json.dumps(texts)


def or_negative(value: float) -> float:
    """-1 for 0"""
    # For llama.cpp, 0 is a valid target.
    return value if value > 0 else -1.0


def not_negative(value: float) -> float:
    """at least 0"""
    return max(0.0, value)


ShortText = Annotated[str, Field(max_length=64)]
MAX_LIST_LENGTH = 64  # of a parameter that is a list
INT32 = 2**31 - 1
MAX_WINDOW_TOKENS = 2**20  # llama.cpp allocates memory for the whole window
PENALTIES = ("repetition_penalty", "presence_penalty", "frequency_penalty")

PARAMETERS: tuple[Parameter, ...] = (
    _row("temperature", 1.0, 0, 100, "Higher is more varied; 0 always takes the likeliest token.",
         llama_cpp=SAME, webui=SAME, classic=Column("temperature", warm), source=OPENAI,
         reference_high=2),
    _row("top_p", 1.0, 0, 1,
         "Choose among the likeliest tokens that together have this probability; 1 is all.",
         llama_cpp=SAME, webui=SAME, classic=SAME, source=OPENAI),
    _row("presence_penalty", 0.0, -2, 2,
         "Lowers (or, if negative, raises) tokens that have already appeared.",
         llama_cpp=SAME, webui=SAME, classic=Column("repetition_penalty", repetition_of_presence),
         source=OPENAI),
    _row("frequency_penalty", 0.0, -2, 2,
         "Lowers (or, if negative, raises) tokens by how often they have appeared.",
         llama_cpp=SAME, webui=SAME,
         classic=Column("encoder_repetition_penalty", encoder_repetition_of_frequency),
         source=OPENAI),
    _row("do_sample", True, None, None,
         "False always takes the likeliest token, like temperature 0.",
         webui=SAME, classic=SAME, source=WEBUI),
    _row("top_k", 0, -1, INT32, "Choose among this many of the likeliest tokens; 0 (or -1) is all.",
         llama_cpp=SAME, webui=SAME, classic=SAME, off=(-1,)),
    _row("min_p", 0.0, 0, 1,
         "Drop tokens less likely than this share of the likeliest one; 0 drops none.",
         llama_cpp=SAME, webui=SAME),
    _row("typical_p", 1.0, 0, 1, "Locally typical sampling; 1 is off.",
         llama_cpp=SAME, webui=SAME, classic=SAME, aliases=("typical", "typ_p")),
    _row("top_n_sigma", -1.0, -1, 100,
         "Keep tokens within this many standard deviations of the best logit; negative or 0 is off.",
         llama_cpp=SAME, webui=Column("top_n_sigma", not_negative), aliases=("nsigma",), off=(0,)),
    _row("tfs", 1.0, 0, 1, "Tail-free sampling; 1 is off.",
         webui=SAME, classic=SAME, aliases=("tfs_z",), source=WEBUI),
    _row("top_a", 0.0, 0, 1,
         "Drop tokens less likely than this times the square of the likeliest one's probability; 0 is "
         "off.", webui=SAME, classic=SAME, source=WEBUI),
    _row("epsilon_cutoff", 0.0, 0, 10000,
         "Drop tokens less likely than this many ten-thousandths; 0 is off.",
         webui=SAME, classic=SAME, source=WEBUI),
    _row("eta_cutoff", 0.0, 0, 10000,
         "The same, lower where the distribution is flat (eta sampling); 0 is off.",
         webui=SAME, classic=SAME, source=WEBUI),
    _row("xtc_probability", 0.0, 0, 1,
         "The probability of excluding the most likely tokens (XTC); 0 is off.",
         llama_cpp=SAME, webui=SAME),
    _row("xtc_threshold", 0.1, 0, 1, "The probability from which XTC may exclude a token.",
         llama_cpp=SAME, webui=SAME, refines=("xtc_probability",)),
    _row("dynatemp_range", 0.0, 0, 10, "The temperature varies this much around its value; 0 is off.",
         llama_cpp=SAME),
    _row("dynatemp_exponent", 1.0, 0, 10, "How the dynamic temperature follows the entropy.",
         llama_cpp=SAME, webui=SAME, refines=("dynatemp_range", "dynamic_temperature")),
    _row("dynamic_temperature", False, None, None,
         "The temperature varies from `dynatemp_low` to `dynatemp_high`.", webui=SAME, source=WEBUI),
    _row("dynatemp_low", 1.0, 0, 10, "The lowest dynamic temperature.",
         webui=SAME, refines=("dynamic_temperature",), source=WEBUI),
    _row("dynatemp_high", 1.0, 0, 10, "The highest dynamic temperature.",
         webui=SAME, refines=("dynamic_temperature",), source=WEBUI),
    _row("smoothing_factor", 0.0, 0, 10,
         "Quadratic sampling: lowers tokens by the square of their distance from the best; 0 is off.",
         webui=SAME, source=WEBUI),
    _row("smoothing_curve", 1.0, 1, 10, "The curve of quadratic sampling; 1 is the parabola.",
         webui=SAME, refines=("smoothing_factor",), source=WEBUI),
    _row("repetition_penalty", 1.0, 0.01, 10, "Divides the logits of repeated tokens; 1 is off.",
         llama_cpp="repeat_penalty", webui=SAME, classic=SAME,
         aliases=("repeat_penalty", "rep_pen")),
    _row("repetition_penalty_range", 64, -1, MAX_WINDOW_TOKENS,
         "How many of the last tokens, including the prompt, the penalties count; 0 is none, -1 the whole "
         "context. With a presence or frequency penalty the default is the whole answer.",
         llama_cpp="repeat_last_n", webui=SAME,
         aliases=("repeat_last_n", "repetition_range", "rep_pen_range", "penalty_range"),
         refines=PENALTIES),
    _row("encoder_repetition_penalty", 1.0, 0.01, 10,
         "Raises (or, below 1, lowers) tokens of the prompt; 1 is off.",
         webui=SAME, classic=SAME, source=WEBUI),
    _row("no_repeat_ngram_size", 0, 0, INT32,
         "Never repeat a sequence of this many tokens; 0 is off.",
         webui=SAME, classic=SAME, source=WEBUI),
    _row("dry_multiplier", 0.0, 0, 100,
         "Strength of the penalty on repeated sequences (DRY); 0 is off.",
         llama_cpp=SAME, webui=SAME),
    _row("dry_base", 1.75, 1, 100, "How fast the DRY penalty grows with length.",
         llama_cpp=SAME, webui=SAME, refines=("dry_multiplier",)),
    _row("dry_allowed_length", 2, 0, INT32, "Repeated sequences up to this many tokens are free.",
         llama_cpp=SAME, webui=SAME, refines=("dry_multiplier",)),
    _row("dry_penalty_last_n", 64, -1, MAX_WINDOW_TOKENS,
         "How many of the last tokens DRY considers; 0 is off, -1 the whole context.",
         llama_cpp=SAME, refines=("dry_multiplier",)),
    _row("dry_sequence_breakers", ["\n", ":", "\"", "*"], None, None,
         "Texts at which DRY starts over.", kind=list[ShortText], read=from_json_text,
         llama_cpp=SAME,
         webui=Column("dry_sequence_breakers", json_text), refines=("dry_multiplier",)),
    _row("mirostat", 0, 0, 2, "Mirostat version; 0 is off.",
         llama_cpp=SAME, webui="mirostat_mode", classic="mirostat_mode", aliases=("mirostat_mode",)),
    _row("mirostat_tau", 5.0, 0, 100, "Mirostat's target entropy.",
         llama_cpp=SAME, webui=SAME, classic=SAME, refines=("mirostat",)),
    _row("mirostat_eta", 0.1, 0, 1, "Mirostat's learning rate.",
         llama_cpp=SAME, webui=SAME, classic=SAME, refines=("mirostat",)),
    _row("adaptive_target", 0.0, -1, 1,
         "Prefer tokens near this probability (adaptive-p); 0 or negative is off.",
         llama_cpp=Column("adaptive_target", or_negative),
         webui=Column("adaptive_target", not_negative), off=(-1,)),
    _row("adaptive_decay", 0.9, 0, 0.99, "How slowly adaptive-p forgets earlier tokens.",
         llama_cpp=SAME, webui=SAME, refines=("adaptive_target",)),
    _row("penalty_alpha", 0.0, 0, 5,
         "Contrastive search, together with a small top_k; 0 is off.",
         webui=SAME, classic=SAME, source=WEBUI),
    _row("guidance_scale", 1.0, -10, 10,
         "Classifier-free guidance: away from `negative_prompt`; 1 is off.",
         webui=SAME, aliases=("cfg_scale",), source=WEBUI),
    _row("negative_prompt", "", None, None, "The prompt that guidance leads away from.",
         webui=SAME, refines=("guidance_scale",), source=WEBUI),
    _row("temperature_last", False, None, None, "Apply the temperature after all other samplers.",
         webui=SAME, source=WEBUI),
    _row("samplers", None, None, None,
         "Which samplers to apply, in order: a list of llama.cpp's names, or a text of its letters.",
         kind=list[SamplerName], read=from_letters, llama_cpp=SAME),
    _row("sampler_priority", None, None, None,
         "The order of the samplers, by their names in the webui; others come first.",
         kind=list[WebuiSamplerName], read=from_lines,
         webui=SAME, source=WEBUI),
    _row("min_keep", 0, 0, INT32, "Every sampler leaves at least this many tokens.",
         llama_cpp=SAME),
    _row("skip_special_tokens", True, None, None, "Omit special tokens from the text.",
         webui=SAME, classic=SAME, source=WEBUI),
    _row("ignore_eos", False, None, None,
         "Never choose an end token: the answer continues to its limit.",
         llama_cpp=SAME, webui="ban_eos_token", classic="ban_eos_token",
         aliases=("ban_eos_token",)),
)  # fmt: skip

ROWS: Mapping[str, Parameter] = {row.name: row for row in PARAMETERS}


def native_sampling(rows: Sequence[Parameter]) -> type[BaseModel]:
    """A base class of requests with a field for each row; null means the default."""
    fields: dict[str, Any] = {row.name: (_annotation(row), _field(row)) for row in rows}
    model: type[BaseModel] = create_model("NativeSampling", __module__=__name__, **fields)
    model.__doc__ = "Sampling parameters of completions and chat; null means the default."
    return model


def _annotation(row: Parameter) -> Any:
    annotation: Any = Optional[row.kind]  # noqa: UP045  # `|` needs a type that is known to mypy
    if get_origin(row.kind) is list:
        low = 1 if row.default else None
        annotation = Annotated[annotation, Field(min_length=low, max_length=MAX_LIST_LENGTH)]
    return annotation if row.read is None else Annotated[annotation, BeforeValidator(row.read)]


def _field(row: Parameter) -> Any:
    default = "" if row.default is None else f" Default {row.default!r}."
    return Field(
        default=None,
        validation_alias=AliasChoices(row.name, *row.aliases) if row.aliases else None,
        description=row.meaning + default,
        ge=row.low,
        le=row.high,
        # JSON has no infinity, but Python's own encoder writes one.
        allow_inf_nan=False if row.kind is float else None,
    )


if TYPE_CHECKING:

    class NativeSampling(BaseModel):
        """Only the fields that code reads by name; all others are read through their rows."""

        ignore_eos: bool | None = None

else:
    NativeSampling = native_sampling(PARAMETERS)
