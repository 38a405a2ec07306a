"""Models in Ollama's shapes.

Source: ollama/ollama, docs/api.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from hashlib import sha256
from typing import Any

from typing_extensions import TypedDict

STAYS = "9999-12-31T23:59:59Z"
"""When a model is unloaded that is not."""
CAPABILITIES: Mapping[str, str] = {
    "chat": "completion",
    "completion": "completion",
    "tools": "tools",
    "infill": "insert",
    "vision": "vision",
    "audio": "audio",
    "reasoning": "thinking",
    "embeddings": "embedding",
}
"""Ollama's words for ours; it has none for the others."""


class Details(TypedDict):
    """What a model is; empty where this server does not know it."""

    parent_model: str
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class TagModel(TypedDict):
    """A model."""

    name: str
    model: str
    modified_at: str
    size: int
    """Bytes of memory that it takes; 0: unknown."""
    digest: str
    details: Details


class Tags(TypedDict):
    """The models."""

    models: list[TagModel]


class RunningModel(TagModel):
    """A model that is loaded."""

    expires_at: str
    size_vram: int
    context_length: int


class Running(TypedDict):
    """The models that are loaded."""

    models: list[RunningModel]


class Shown(TypedDict):
    """A model in detail."""

    license: str
    modelfile: str
    parameters: str
    template: str
    details: Details
    model_info: dict[str, Any]
    capabilities: list[str]
    modified_at: str


class Version(TypedDict):
    """The version of Ollama whose API this is."""

    version: str


def tag_of(model: Mapping[str, Any]) -> TagModel:
    """A model of GET /v1/models in Ollama's shape."""
    made = f"{model['id']} {model['created']}"
    return {
        "name": model["id"],
        "model": model["id"],
        "modified_at": _time(model["created"]),
        "size": model.get("size", 0),
        "digest": sha256(made.encode()).hexdigest(),
        "details": _details(model),
    }


def running(model: Mapping[str, Any]) -> RunningModel:
    """One that is loaded."""
    context = model.get("context_length", 0)
    return {**tag_of(model), "expires_at": STAYS, "size_vram": 0, "context_length": context}


def shown(model: Mapping[str, Any]) -> Shown:
    """One in detail."""
    family = model["owned_by"]
    info = {"general.architecture": family, "general.basename": model["id"]}
    if "context_length" in model:
        info[f"{family}.context_length"] = model["context_length"]
    if "dimensions" in model:
        info[f"{family}.embedding_length"] = model["dimensions"]
    return {
        "license": "",
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": _details(model),
        "model_info": info,
        "capabilities": _capabilities(model["capabilities"]),
        "modified_at": _time(model["created"]),
    }


def _details(model: Mapping[str, Any]) -> Details:
    family = model["owned_by"]
    return {
        "parent_model": model.get("root", ""),
        "format": "gguf" if family == "llama.cpp" else "",
        "family": family,
        "families": [family],
        "parameter_size": "",
        "quantization_level": "",
    }


def _capabilities(ours: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(CAPABILITIES[each] for each in ours if each in CAPABILITIES))


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z")
