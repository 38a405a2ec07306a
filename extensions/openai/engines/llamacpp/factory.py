"""llama.cpp's module for `engines/registry.py`: makes the engine from the host's spec."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...settings import Settings
from ..model_spec import ModelLoadError, ModelOutline, ModelSpec
from .encoder import LlamaCppEncoder
from .encoder_factory import NO_FILE, explain_encoder, make_alone, outline_encoder, task_of
from .engine import LlamaCppEngine
from .loading.explain import explain as explained
from .loading.model_files import read_files
from .loading.outline import outline as outlined


def make(spec: ModelSpec, settings: Settings) -> LlamaCppEngine | LlamaCppEncoder:
    """Load the model. Raises ModelLoadError."""
    task = task_of(spec)
    if task is not None:
        return make_alone(spec, task, settings)
    return LlamaCppEngine(
        _file(spec),
        name=spec.name,
        context_length=spec.context_length,
        gpu_layers=spec.gpu_layers,
        threads=spec.threads,
        parallel=spec.parallel,
        loras=[(lora.path, lora.scale) for lora in spec.loras],
        mmproj=spec.mmproj,
        tuning=spec.tuning,
        chat_template=spec.chat_template,
        shares_memory=spec.shares_memory,
        message_repair=settings.message_repair == "on",
    )


def check(spec: ModelSpec) -> None:
    """Read the file headers. Raises ModelLoadError for a file that llama.cpp must not see."""
    task = task_of(spec)
    if task is not None:
        outline_encoder(spec, task)
        return
    read_files(
        _file(spec),
        context_length=spec.context_length,
        gpu_layers=spec.gpu_layers,
        parallel=spec.parallel,
        loras=[(lora.path, lora.scale) for lora in spec.loras],
        mmproj=spec.mmproj,
        tuning=spec.tuning,
        chat_template=spec.chat_template,
        shares_memory=spec.shares_memory,
    )


def explain(spec: ModelSpec) -> Sequence[str]:
    """What `make` would choose. Raises ModelLoadError."""
    task = task_of(spec)
    if task is not None:
        return explain_encoder(spec, task)
    file, loras = _file(spec), [(lora.path, lora.scale) for lora in spec.loras]
    header, cache = read_files(
        file,
        context_length=spec.context_length,
        gpu_layers=spec.gpu_layers,
        parallel=spec.parallel,
        loras=loras,
        mmproj=spec.mmproj,
        tuning=spec.tuning,
        chat_template=spec.chat_template,
        shares_memory=spec.shares_memory,
    )
    further = (spec.mmproj, spec.tuning.draft_model, *(path for path, _ in loras))
    lines = explained(
        file,
        header,
        cache,
        [file, *(each for each in further if each is not None)],
        asked_context=spec.context_length,
        threads=spec.threads,
        gpu_layers=spec.gpu_layers,
        tuning=spec.tuning,
        mmproj=spec.mmproj,
        shares_memory=spec.shares_memory,
    )
    return tuple(lines)


def outline(spec: ModelSpec) -> ModelOutline:
    """What the files say. Raises ModelLoadError."""
    task = task_of(spec)
    if task is not None:
        return outline_encoder(spec, task)
    file, loras = _file(spec), [(lora.path, lora.scale) for lora in spec.loras]
    header, cache = read_files(
        file,
        context_length=spec.context_length,
        gpu_layers=spec.gpu_layers,
        parallel=spec.parallel,
        loras=loras,
        mmproj=spec.mmproj,
        tuning=spec.tuning,
        chat_template=spec.chat_template,
        shares_memory=spec.shares_memory,
    )
    further = (spec.mmproj, spec.tuning.draft_model, *(path for path, _ in loras))
    return outlined(
        file,
        header,
        cache,
        [each for each in further if each is not None],
        parallel=spec.parallel,
        mmproj=spec.mmproj,
        tuning=spec.tuning,
        chat_template=spec.chat_template,
    )


def _file(spec: ModelSpec) -> Path:
    if spec.path is None:
        raise ModelLoadError(NO_FILE)
    return spec.path
