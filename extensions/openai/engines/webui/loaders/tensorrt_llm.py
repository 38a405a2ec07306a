"""TensorRT-LLM, which generates in a process of its own."""

from __future__ import annotations

from ..host import Loaded
from .base import TextAdapter


class TensorRTAdapter(TextAdapter):
    """`TensorRTLLMModel`, as the host calls its class."""

    model_class = "TensorRTLLMModel"

    def parallel(self, loaded: Loaded) -> int:
        return 8
