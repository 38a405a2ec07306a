"""A pipeline of diffusers in this process, from a folder of the operator."""

from __future__ import annotations

import logging
from importlib import import_module
from pathlib import Path
from typing import Any

from ...errors import ModelLoading
from ..model_spec import ModelLoadError
from ..protocol import Capability
from ..tokenless import tokenless_info
from .pipeline import Defaults, PipelineEngine

log = logging.getLogger("openedai")

INDEX = "model_index.json"
AUTO = "auto"


class DiffusersEngine(PipelineEngine):
    """One model."""

    def __init__(self, folder: Path, *, name: str, device: str, defaults: Defaults) -> None:
        """`device`: of torch; auto: a GPU where there is one. Raises ModelLoadError."""
        super().__init__(
            tokenless_info(name, "diffusers", Capability.IMAGES, "An image model."), defaults
        )
        if not (folder / INDEX).is_file():
            raise ModelLoadError(f"--image-model: {folder} has no {INDEX}")
        try:
            library, torch = import_module("diffusers"), import_module("torch")
        except ImportError as error:
            raise ModelLoadError(
                "--image-model needs the package diffusers: pip install 'openedai[images]'"
            ) from error
        place = device if device != AUTO else "cuda" if torch.cuda.is_available() else "cpu"
        number = torch.float32 if place == "cpu" else torch.bfloat16
        try:
            # Only weights that hold numbers, and nothing from the internet.
            self._pipeline: Any = library.DiffusionPipeline.from_pretrained(
                str(folder), dtype=number, use_safetensors=True, local_files_only=True
            )
            self._pipeline.to(place)
        except Exception as error:  # of a dozen libraries
            raise ModelLoadError(
                f"--image-model: {folder} cannot be loaded ({type(error).__name__}: {error})"[:400]
            ) from error
        self._pipeline.set_progress_bar_config(disable=True)

    def pipeline(self) -> Any:
        """As in PipelineEngine."""
        if self._pipeline is None:
            raise ModelLoading("The image model is being unloaded.")
        return self._pipeline

    def close(self) -> None:
        self._pipeline = None
