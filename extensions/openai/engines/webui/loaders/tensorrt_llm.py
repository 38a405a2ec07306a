"""TensorRT-LLM, which generates in its own process."""

from __future__ import annotations

from ..host import Loaded
from .base import TextAdapter


class TensorRTAdapter(TextAdapter):
    """The host's class `TensorRTLLMModel`."""

    model_class = "TensorRTLLMModel"

    def parallel(self, loaded: Loaded) -> int:
        return 8
