"""ADAPTERS: one row for each webui loader. To add a loader, write its module and add a row."""

from __future__ import annotations

from typing import Any

from .base import Adapter, TextAdapter
from .exllamav3 import ExLlamaV3Adapter
from .hf_loaders import ExLlamaV3HFAdapter, HFAdapter
from .ik_llama_server import IkLlamaServerAdapter
from .llama_cpp_python import LlamaCppPythonAdapter
from .llama_server import LlamaServerAdapter
from .tensorrt_llm import TensorRTAdapter
from .transformers import TransformersAdapter

ADAPTERS: tuple[Adapter, ...] = (
    IkLlamaServerAdapter(),
    LlamaServerAdapter(),
    LlamaCppPythonAdapter(),
    ExLlamaV3Adapter(),
    TensorRTAdapter(),
    TextAdapter(),
    ExLlamaV3HFAdapter(),
    HFAdapter(),
    TransformersAdapter(),
)
"""The first that fits a loaded model is used; the last fits all."""


def adapter_of(model: Any) -> Adapter:
    """The adapter of a loaded model."""
    return next(adapter for adapter in ADAPTERS if adapter.fits(model))
