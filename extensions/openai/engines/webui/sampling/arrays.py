"""Arrays of a webui's loaders: NumPy's, or torch's on any device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def to_numpy(array: Any) -> Any:
    """A NumPy array of what may be a torch tensor on any device."""
    if hasattr(array, "detach"):
        array = array.detach().float().cpu().numpy()
    return np.asarray(array)


def like(array: Any, values: Sequence[float]) -> Any:
    """Numbers in the form of another array's, on its device."""
    if hasattr(array, "new_tensor"):
        return array.new_tensor(values)
    return np.array(values, dtype=array.dtype)


def as_inputs(tokens: Sequence[int], like: Any) -> Any:
    """Token ids in the form (1 x length) of another array, on its device."""
    if hasattr(like, "new_tensor"):
        return like.new_tensor([list(tokens)])
    return np.array([list(tokens)], dtype=np.asarray(like).dtype)
