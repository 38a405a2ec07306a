"""The sampling that a model's maker, or the operator, has written down beside the model.

Sources: the keys `general.sampling.*` of llama.cpp's `llama_model_meta_key_str`; Transformers'
`GenerationConfig`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...tokens.gguf import GGUFHeader
from ...tokens.gguf_checks import PART

log = logging.getLogger("openedai")

IN_HEADER: Mapping[str, str] = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "xtc_probability": "xtc_probability",
    "xtc_threshold": "xtc_threshold",
    "penalty_last_n": "repetition_penalty_range",
    "penalty_repeat": "repetition_penalty",
    "mirostat": "mirostat",
    "mirostat_tau": "mirostat_tau",
    "mirostat_eta": "mirostat_eta",
}
"""Names in a file's header, behind `general.sampling.`, and the sampler table's."""
IN_CONFIG = ("temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty")
"""Names in a generation_config.json, which are the sampler table's."""
CONFIG = "generation_config.json"
MAX_BYTES = 1 << 20


def own_sampling(model: Path, header: GGUFHeader) -> Mapping[str, Any]:
    """The model's own defaults, by the sampler table's names, their values as they are written: those of
    NAME.yaml beside NAME.gguf, else those of the folder's generation_config.json if no other model is in it,
    else those of the file's header."""
    part = PART.fullmatch(model.name)
    name = part[1] if part else model.stem
    beside = model.with_name(f"{name}.yaml")
    if beside.is_file():
        return _read(beside)
    config = model.with_name(CONFIG)
    if config.is_file() and all(_is_of(name, each) for each in model.parent.glob("*.gguf")):
        found = _read(config)
        return {each: found[each] for each in IN_CONFIG if found.get(each) is not None}
    keys = {f"general.sampling.{each}": own for each, own in IN_HEADER.items()}
    return {own: header.metadata[key] for key, own in keys.items() if key in header.metadata}


def _is_of(name: str, file: Path) -> bool:
    """Whether a file is the model's, or an encoder beside it."""
    return file.name.startswith((name, "mmproj"))


def _read(file: Path) -> Mapping[str, Any]:
    """A JSON or YAML object of values. If it cannot be read, the log says why, and there are no values."""
    import yaml

    try:
        if file.stat().st_size > MAX_BYTES:
            raise ValueError("it is too large")
        text = file.read_text("utf-8")
        found = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
        if not isinstance(found, dict):
            raise ValueError("it is no object")
        return {str(key): value for key, value in found.items()}
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        log.warning("%s is not used: %s", file.name, " ".join(str(error).split())[:200])
        return {}
