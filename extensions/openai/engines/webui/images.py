"""A webui's own image model, which its user loads in the tab for images: a pipeline of diffusers.

Source: text-generation-webui, `modules/image_models.py` (from December 2025), which keeps it in
`shared.image_model`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...errors import ModelLoading
from ..images.pipeline import Defaults, PipelineEngine
from ..protocol import Capability, EngineInfo
from ..tokenless import tokenless_info
from .host import host_module, optional_module

NAME = "webui-images"
"""Under which it is served, whatever is loaded."""


class WebuiImages(PipelineEngine):
    """Whatever image model is loaded when a request comes."""

    def __init__(self, defaults: Defaults) -> None:
        super().__init__(
            tokenless_info(NAME, "text-generation-webui", Capability.IMAGES, "The image model."),
            defaults,
        )

    @property
    def info(self) -> EngineInfo:
        loaded = getattr(host_module("shared"), "image_model", None) is not None
        return self._info if loaded else replace(self._info, capabilities=())

    def pipeline(self) -> Any:
        """As in PipelineEngine."""
        loaded = getattr(host_module("shared"), "image_model", None)
        if loaded is None:
            raise ModelLoading("No image model is loaded. Load one in the web UI.")
        return loaded


def has_image_models() -> bool:
    """Whether this version of the webui has them."""
    return optional_module("image_models") is not None
