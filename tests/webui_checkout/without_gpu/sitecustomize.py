"""Loaded by Python at its start, where this folder is on its path: loaders that want a GPU do without."""

from __future__ import annotations

import sys
from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from transformers import PreTrainedModel

PROCESSOR = torch.device("cpu")


def _unpinned(make: Any) -> Any:
    @wraps(make)
    def made(*args: Any, pin_memory: bool = False, **options: Any) -> Any:
        return make(*args, **options)

    return made


def _load(self: Any, progressbar: bool = False, **_: Any) -> None:
    for module in self.modules:
        module.load(PROCESSOR)
    self.active_devices = []
    self.output_device = PROCESSOR


def _prepare_exllamav3() -> None:
    for name in ("empty", "zeros", "ones", "full"):
        setattr(torch, name, _unpinned(getattr(torch, name)))
    # Only while it is looked for: Transformers would take it for a FlashAttention that is installed.
    sys.modules["flash_attn"] = import_module("paged_attention")
    import_module("exllamav3").Model.load = _load
    where = "architecture" if find_spec("exllamav3.architecture") else "models"
    import_module(f"exllamav3.{where}.architectures").get_architectures()
    del sys.modules["flash_attn"]


_made = vars(PreTrainedModel).get("__init_subclass__")


def _placed(cls: Any, **options: Any) -> None:
    """The webui's models of this kind say of themselves that they are on the first GPU."""
    if _made is not None:
        _made.__func__(cls, **options)
    if cls.__name__.endswith("HF"):
        cls.device = property(lambda self: PROCESSOR)


PreTrainedModel.__init_subclass__ = classmethod(_placed)  # type: ignore[arg-type]
if find_spec("exllamav3") is not None:
    _prepare_exllamav3()
