"""The server of ik_llama.cpp, which the llama.cpp loader starts with `--ik`.

It does not report the tokens that it samples.
"""

from __future__ import annotations

from typing import Any

from ..host import Loaded, host_args
from .base import TextAdapter, server_slots


class IkLlamaServerAdapter(TextAdapter):
    """`LlamaServer`, as the host calls its class for both."""

    model_class = "LlamaServer"
    banned = False

    def fits(self, model: Any) -> bool:
        return super().fits(model) and bool(getattr(host_args(), "ik", False))

    def parallel(self, loaded: Loaded) -> int:
        return server_slots()
