"""Loaded by Python at its start, where this folder is on its path: ExLlamaV3 then runs without a GPU."""

from __future__ import annotations

import sys
from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import paged_attention
import torch

PROCESSOR = torch.device("cpu")


def _unpinned(make: Any) -> Any:
    @wraps(make)
    def made(*args: Any, pin_memory: bool = False, **options: Any) -> Any:
        return make(*args, **options)

    return made


for name in ("empty", "zeros", "ones", "full"):
    setattr(torch, name, _unpinned(getattr(torch, name)))

# Only while it is looked for: Transformers would take it for a FlashAttention that is installed.
sys.modules["flash_attn"] = paged_attention
from exllamav3 import Model  # noqa: E402

where = "architecture" if find_spec("exllamav3.architecture") else "models"
import_module(f"exllamav3.{where}.architectures").get_architectures()
del sys.modules["flash_attn"]


def _load(self: Any, progressbar: bool = False, **_: Any) -> None:
    for module in self.modules:
        module.load(PROCESSOR)
    self.active_devices = []
    self.output_device = PROCESSOR


Model.load = _load


from transformers import PreTrainedModel  # noqa: E402

_made = vars(PreTrainedModel).get("__init_subclass__")


def _placed(cls: Any, **options: Any) -> None:
    """The webui's model says of itself that it is on the first GPU."""
    if _made is not None:
        _made.__func__(cls, **options)
    if cls.__name__ == "Exllamav3HF":
        cls.device = property(lambda self: PROCESSOR)


PreTrainedModel.__init_subclass__ = classmethod(_placed)
