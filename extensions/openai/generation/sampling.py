"""The sampler table: every parameter that shapes how a token is chosen, a row each.

A row says what clients call it, its range and default, and what each kind of sampler calls it. Request
classes take their fields from the rows, `to_native` maps by them, docs/parameters.md is made of them.
A default is always sent, so that an answer never depends on an engine's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import AliasChoices, BaseModel, Field

from .. import refusals
from ..engines.base import EngineInfo, Native

OPENAI = "OpenAI API reference"
LLAMA_CPP = "llama.cpp tools/server, completion options"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row. `low` and `high` are part of the range; None is no limit."""

    name: str
    meaning: str
    default: Any
    low: float | None = None
    high: float | None = None
    native: Mapping[str, str] | None = None
    """What a sampler calls it, by EngineInfo.sampler."""
    aliases: tuple[str, ...] = ()
    """Names that clients of other servers send."""
    source: str = LLAMA_CPP


def _row(
    name: str,
    llama_cpp: str,
    default: Any,
    low: float | None,
    high: float | None,
    meaning: str,
    *,
    aliases: tuple[str, ...] = (),
    source: str = LLAMA_CPP,
) -> Parameter:
    return Parameter(name, meaning, default, low, high, {"llama.cpp": llama_cpp}, aliases, source)


INT32 = 2**31 - 1
WINDOW = 2**20  # tokens; llama.cpp takes memory for as many as are asked for

PARAMETERS: tuple[Parameter, ...] = (
    _row("temperature", "temperature", 1.0, 0, 2,
         "Higher is more varied; 0 always takes the likeliest token.", source=OPENAI),
    _row("top_p", "top_p", 1.0, 0, 1,
         "Choose among the likeliest tokens that make up this share of the probability; 1 is all.",
         source=OPENAI),
    _row("presence_penalty", "presence_penalty", 0.0, -2, 2,
         "Lowers (or, negative, raises) tokens that have appeared already.", source=OPENAI),
    _row("frequency_penalty", "frequency_penalty", 0.0, -2, 2,
         "Lowers (or, negative, raises) tokens by how often they have appeared.", source=OPENAI),
    _row("top_k", "top_k", 0, 0, INT32,
         "Choose among this many of the likeliest tokens; 0 is all."),
    _row("min_p", "min_p", 0.0, 0, 1,
         "Drop tokens less likely than this share of the likeliest one; 0 drops none."),
    _row("typical_p", "typical_p", 1.0, 0, 1,
         "Locally typical sampling; 1 is off.", aliases=("typical",)),
    _row("top_n_sigma", "top_n_sigma", -1.0, -1, 100,
         "Keep tokens within this many standard deviations of the best logit; negative is off."),
    _row("xtc_probability", "xtc_probability", 0.0, 0, 1,
         "How often the most likely tokens are left out (XTC); 0 is off."),
    _row("xtc_threshold", "xtc_threshold", 0.1, 0, 1,
         "The probability from which XTC may leave a token out."),
    _row("dynatemp_range", "dynatemp_range", 0.0, 0, 10,
         "The temperature moves this far around its value; 0 is off."),
    _row("dynatemp_exponent", "dynatemp_exponent", 1.0, 0, 10,
         "How the dynamic temperature follows the entropy."),
    _row("repetition_penalty", "repeat_penalty", 1.0, 0.01, 10,
         "Divides the logits of repeated tokens; 1 is off.", aliases=("repeat_penalty",)),
    _row("repetition_penalty_range", "repeat_last_n", 64, 0, WINDOW,
         "How many of the last tokens, prompt included, the penalties look at; 0 is none. With a "
         "presence or frequency penalty the default is the whole text.",
         aliases=("repeat_last_n",)),
    _row("dry_multiplier", "dry_multiplier", 0.0, 0, 100,
         "Strength of the penalty on repeated sequences (DRY); 0 is off."),
    _row("dry_base", "dry_base", 1.75, 1, 100, "How fast the DRY penalty grows with length."),
    _row("dry_allowed_length", "dry_allowed_length", 2, 0, INT32,
         "Repeated sequences up to this many tokens are free."),
    _row("dry_penalty_last_n", "dry_penalty_last_n", 64, 0, WINDOW,
         "How many of the last tokens DRY looks at; 0 is off."),
    _row("dry_sequence_breakers", "dry_sequence_breakers", ["\n", ":", "\"", "*"], None, None,
         "Texts at which DRY starts anew."),
    _row("mirostat", "mirostat", 0, 0, 2,
         "Mirostat version; 0 is off.", aliases=("mirostat_mode",)),
    _row("mirostat_tau", "mirostat_tau", 5.0, 0, 100, "Mirostat's target entropy."),
    _row("mirostat_eta", "mirostat_eta", 0.1, 0, 1, "Mirostat's learning rate."),
    _row("min_keep", "min_keep", 0, 0, INT32, "Every sampler leaves at least this many tokens."),
    _row("ignore_eos", "ignore_eos", False, None, None,
         "Never choose an end token: the answer goes on to its limit."),
)  # fmt: skip

ROWS: Mapping[str, Parameter] = {row.name: row for row in PARAMETERS}


def parameter(name: str) -> Any:
    """The pydantic field of a row: its range, its aliases and its meaning."""
    row = ROWS[name]
    names = AliasChoices(row.name, *row.aliases) if row.aliases else None
    return Field(
        default=None,
        validation_alias=names,
        description=f"{row.meaning} Default {row.default!r}.",
        ge=row.low,
        le=row.high,
        # JSON has no infinity, but Python's own encoder writes one.
        allow_inf_nan=False if isinstance(row.default, float) else None,
        min_length=1 if isinstance(row.default, list) else None,
    )


class NativeSampling(BaseModel):
    """The native extras that both completions and chat take in their body; null means the default."""

    top_k: int | None = parameter("top_k")
    min_p: float | None = parameter("min_p")
    typical_p: float | None = parameter("typical_p")
    top_n_sigma: float | None = parameter("top_n_sigma")
    xtc_probability: float | None = parameter("xtc_probability")
    xtc_threshold: float | None = parameter("xtc_threshold")
    dynatemp_range: float | None = parameter("dynatemp_range")
    dynatemp_exponent: float | None = parameter("dynatemp_exponent")
    repetition_penalty: float | None = parameter("repetition_penalty")
    repetition_penalty_range: int | None = parameter("repetition_penalty_range")
    dry_multiplier: float | None = parameter("dry_multiplier")
    dry_base: float | None = parameter("dry_base")
    dry_allowed_length: int | None = parameter("dry_allowed_length")
    dry_penalty_last_n: int | None = parameter("dry_penalty_last_n")
    dry_sequence_breakers: list[str] | None = parameter("dry_sequence_breakers")
    mirostat: int | None = parameter("mirostat")
    mirostat_tau: float | None = parameter("mirostat_tau")
    mirostat_eta: float | None = parameter("mirostat_eta")
    min_keep: int | None = parameter("min_keep")
    ignore_eos: bool | None = parameter("ignore_eos")


def to_native(request: BaseModel, info: EngineInfo) -> Native:
    """What an engine is sent for a request that was validated by the rows.

    Raises InvalidRequest, naming the parameter, for a value that the engine's sampler cannot honour.
    """
    native: dict[str, Any] = {}
    for row in PARAMETERS:
        value = getattr(request, row.name, None)
        name = (row.native or {}).get(info.sampler)
        if name is not None:
            native[name] = _default(row, request, info) if value is None else value
        elif value is not None and value != row.default:
            raise refusals.unsupported(
                row.name, "is not something the loaded model's engine can do."
            )
    return native


def _default(row: Parameter, request: BaseModel, info: EngineInfo) -> Any:
    """The row's default; but OpenAI's penalties look at the whole text so far."""
    penalties = ("presence_penalty", "frequency_penalty")
    if row.name == "repetition_penalty_range" and any(getattr(request, p) for p in penalties):
        return info.context_length
    return row.default
