"""llama.cpp's module for `engines/registry.py`: makes the engine from the host's spec."""

from __future__ import annotations

from pathlib import Path

from ...settings import Settings
from ..model_spec import ModelLoadError, ModelSpec
from .engine import LlamaCppEngine
from .loading.model_files import read_files


def make(spec: ModelSpec, settings: Settings) -> LlamaCppEngine:
    """Load the model. Raises ModelLoadError."""
    return LlamaCppEngine(
        _file(spec),
        name=spec.name,
        context_length=spec.context_length,
        gpu_layers=spec.gpu_layers,
        threads=spec.threads,
        parallel=spec.parallel,
        loras=[(lora.path, lora.scale) for lora in spec.loras],
        mmproj=spec.mmproj,
        message_repair=settings.message_repair == "on",
    )


def check(spec: ModelSpec) -> None:
    """Read the file headers. Raises ModelLoadError for a file that llama.cpp must not see."""
    read_files(
        _file(spec),
        context_length=spec.context_length,
        gpu_layers=spec.gpu_layers,
        parallel=spec.parallel,
        loras=[(lora.path, lora.scale) for lora in spec.loras],
        mmproj=spec.mmproj,
    )


def _file(spec: ModelSpec) -> Path:
    if spec.path is None:
        raise ModelLoadError("The llama.cpp loader needs a model file")
    return spec.path
