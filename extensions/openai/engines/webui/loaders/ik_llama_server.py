"""The server of ik_llama.cpp, which the llama.cpp loader starts with `--ik`.

It does not report sampled tokens.
"""

from __future__ import annotations

from typing import Any

from ..host import Loaded, host_args
from .base import TextAdapter, server_slots


class IkLlamaServerAdapter(TextAdapter):
    """The host's class `LlamaServer`, the same as for llama.cpp."""

    model_class = "LlamaServer"
    banned = False

    def fits(self, model: Any) -> bool:
        return super().fits(model) and bool(getattr(host_args(), "ik", False))

    def parallel(self, loaded: Loaded) -> int:
        return server_slots()
