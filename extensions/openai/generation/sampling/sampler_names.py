"""Names of samplers in an ordered list, and parsers for lists that clients send as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal


def from_json_text(value: object) -> object:
    """Parse a list that webui clients send as JSON text, with or without its brackets."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value if value.lstrip().startswith("[") else f"[{value}]")
    except json.JSONDecodeError:
        return value


SamplerName = Literal[
    "penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature", "infill",
    "adaptive_p",
]  # fmt: skip
LETTERS: Mapping[str, SamplerName] = {
    "e": "penalties", "d": "dry", "s": "top_n_sigma", "k": "top_k", "y": "typ_p", "p": "top_p",
    "m": "min_p", "x": "xtc", "t": "temperature", "i": "infill", "a": "adaptive_p",
}  # fmt: skip
OTHER_NAMES = {
    "typical_p": "typ_p", "typical": "typ_p", "typ": "typ_p", "temp": "temperature", "nucleus": "top_p",
    "repetition_penalty": "penalties", "repeat_penalty": "penalties", "rep_pen": "penalties",
    "nsigma": "top_n_sigma", "top_nsigma": "top_n_sigma",
}  # fmt: skip
SWITCHED_OFF = {
    "tfs_z", "tfs", "tail_free", "f", "top_a", "mirostat", "dynatemp", "dynamic_temperature",
    "smoothing", "smoothing_factor", "quadratic", "quadratic_sampling", "epsilon_cutoff", "eta_cutoff",
    "softmax", "logit_bias",
}  # fmt: skip
"""Samplers that clients of other servers, and of older llama.cpp, list. Their parameters are refused here
unless they are off, or apply at a fixed position: so their position in the list has no effect."""
WebuiSamplerName = Literal[
    "repetition_penalty", "presence_penalty", "frequency_penalty", "presence_frequency_penalty", "dry",
    "temperature", "dynamic_temperature", "quadratic_sampling", "top_n_sigma", "top_k", "top_p",
    "typical_p", "epsilon_cutoff", "eta_cutoff", "tfs", "top_a", "min_p", "adaptive_p", "mirostat", "xtc",
    "encoder_repetition_penalty", "no_repeat_ngram",
]  # fmt: skip
IN_LLAMA_CPP: Mapping[str, SamplerName] = {
    "repetition_penalty": "penalties", "presence_penalty": "penalties",
    "frequency_penalty": "penalties", "presence_frequency_penalty": "penalties", "dry": "dry",
    "temperature": "temperature", "dynamic_temperature": "temperature", "top_n_sigma": "top_n_sigma",
    "top_k": "top_k", "top_p": "top_p", "typical_p": "typ_p", "min_p": "min_p", "xtc": "xtc",
}  # fmt: skip
"""llama.cpp's names for a webui's samplers."""


def from_letters(value: object) -> object:
    """Parse the list of llama.cpp's clients: several spellings of names, or text with letters, or with names
    separated by semicolons."""
    if isinstance(value, str):
        letters = all(letter in LETTERS or letter in SWITCHED_OFF for letter in value)
        value = [LETTERS.get(letter, letter) for letter in value] if letters else value.split(";")
    if not isinstance(value, list):
        return value
    found: list[object] = []
    for name in value:
        plain = name.replace("-", "_") if isinstance(name, str) else name
        if not isinstance(plain, str):
            found.append(plain)
        elif plain not in SWITCHED_OFF:
            found.append(OTHER_NAMES.get(plain, plain))
    return found


def from_lines(value: object) -> object:
    """Parse a list that webui clients send as text, separated by newlines or commas."""
    if not isinstance(value, str):
        return value
    return [name.strip() for name in value.replace("\n", ",").split(",") if name.strip()]
