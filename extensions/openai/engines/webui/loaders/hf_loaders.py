"""Loaders that give another library's model Transformers' interface (`..._HF`), except for prompt scoring."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..sampling.arrays import to_numpy
from .transformers import TransformersAdapter


class HFAdapter(TransformersAdapter):
    """Any such loader. The model returns logits for the next token only, and continues from its cache."""

    def fits(self, model: Any) -> bool:
        return type(model).__name__.endswith("HF")

    def _logits(self, model: Any, inputs: Any) -> Any:
        model.past_seq = None
        ends = range(1, inputs.shape[-1] + 1)
        calls = (model(input_ids=inputs[:, :end]).logits[0, -1] for end in ends)
        return [np.stack([to_numpy(last) for last in calls])]


class ExLlamaV3HFAdapter(TransformersAdapter):
    """`Exllamav3HF`, whose own call ignores what is more than a few hundred tokens back."""

    model_class = "Exllamav3HF"

    def fits(self, model: Any) -> bool:
        return type(model).__name__ == self.model_class

    def _logits(self, model: Any, inputs: Any) -> Any:
        return model.ex_model.forward(input_ids=inputs, params={"attn_mode": "flash_attn_nc"})
