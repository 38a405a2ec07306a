"""Arrays of a webui's loaders: NumPy arrays, or torch tensors on any device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def to_numpy(array: Any) -> Any:
    """Convert a NumPy array or torch tensor to a NumPy array."""
    if hasattr(array, "detach"):
        array = array.detach().float().cpu().numpy()
    return np.asarray(array)


def like(array: Any, values: Sequence[float]) -> Any:
    """Numbers as an array of another one's type, on its device."""
    if hasattr(array, "new_tensor"):
        return array.new_tensor(values)
    return np.array(values, dtype=array.dtype)


def as_inputs(tokens: Sequence[int], like: Any) -> Any:
    """Token ids (1 x length) as an array of another one's type, on its device."""
    if hasattr(like, "new_tensor"):
        return like.new_tensor([list(tokens)])
    return np.array([list(tokens)], dtype=np.asarray(like).dtype)
