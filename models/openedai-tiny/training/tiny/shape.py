"""The shape of the model: one place that training, export and tests read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """Sizes of a small Llama-architecture network.

    All widths are multiples of 32, because Q8_0 (the number format of the GGUF
    file) stores weights in blocks of 32.
    """

    vocab_size: int = 2560
    hidden: int = 256
    layers: int = 5
    heads: int = 8
    kv_heads: int = 4
    head_dim: int = 32
    ffn: int = 512
    max_positions: int = 4096
    rope_theta: float = 20000.0
    norm_eps: float = 1e-5

    def parameters(self) -> int:
        """Number of weights, with the output matrix tied to the embedding."""
        attention = 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads)
        block = attention + 3 * self.hidden * self.ffn + 2 * self.hidden
        return self.vocab_size * self.hidden + self.layers * block + self.hidden


DEFAULT = Shape()
