"""The network itself, in plain PyTorch, with the weight names of Hugging Face Llama."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tiny.shape import Shape


def rope_tables(shape: Shape, length: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the rotary angles, each (length, head_dim), "rotate half" order."""
    exponents = torch.arange(0, shape.head_dim, 2, dtype=torch.float32) / shape.head_dim
    frequencies = 1.0 / (shape.rope_theta**exponents)
    angles = torch.outer(torch.arange(length, dtype=torch.float32), frequencies)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn x, (batch, heads, length, head_dim), by its position."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


class RMSNorm(nn.Module):
    """Divide by the root mean square over the last axis, then scale."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out."""
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.eps)


class Attention(nn.Module):
    """Causal self attention with fewer key/value heads than query heads."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        self.q_proj = nn.Linear(shape.hidden, query, bias=False)
        self.k_proj = nn.Linear(shape.hidden, key, bias=False)
        self.v_proj = nn.Linear(shape.hidden, key, bias=False)
        self.o_proj = nn.Linear(query, shape.hidden, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(batch, length, hidden) to the same shape."""
        batch, length, _ = x.shape
        s = self.shape
        q = self.q_proj(x).view(batch, length, s.heads, s.head_dim).transpose(1, 2)
        k = self.k_proj(x).view(batch, length, s.kv_heads, s.head_dim).transpose(1, 2)
        v = self.v_proj(x).view(batch, length, s.kv_heads, s.head_dim).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        k = k.repeat_interleave(s.heads // s.kv_heads, dim=1)
        v = v.repeat_interleave(s.heads // s.kv_heads, dim=1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        out: Tensor = self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))
        return out


class FeedForward(nn.Module):
    """Gated feed-forward layer (SwiGLU)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.ffn, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.ffn, bias=False)
        self.down_proj = nn.Linear(shape.ffn, shape.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, hidden) to the same shape."""
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Block(nn.Module):
    """One layer: attention and feed-forward, each on a normalised copy, added back."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(shape.hidden, shape.norm_eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RMSNorm(shape.hidden, shape.norm_eps)
        self.mlp = FeedForward(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(batch, length, hidden) to the same shape."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class TinyLlama(nn.Module):
    """Embedding, layers, final norm; the output matrix is the embedding (tied)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = RMSNorm(shape.hidden, shape.norm_eps)
        cos, sin = rope_tables(shape, shape.max_positions)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.initialise()

    def initialise(self) -> None:
        """Small normal weights; the two matrices that write to the residual start smaller."""
        for name, weight in self.named_parameters():
            if weight.dim() < 2:
                continue
            scale = 0.02
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                scale = 0.02 / (2 * self.shape.layers) ** 0.5
            nn.init.normal_(weight, std=scale if "embed" in name else scale * 2)
        self.look_back()

    @torch.no_grad()
    def look_back(self) -> None:
        """Let two heads of the first layer start by looking one and two tokens back.

        To copy a phrase, the network must know which token came before each
        token. It finds that out by itself only after very long training, so the
        start gives it a hand. One coordinate of every embedding is the same
        number (which changes no prediction, as it shifts all output scores
        alike). From it, the first query and key heads get a fixed vector, turned
        so that the rotary positions agree best at distance 1 and 2.
        """
        constant, strength, used, half = 0.16, 5.0, 6, self.shape.head_dim // 2
        self.embed_tokens.weight[:, 0] = constant
        # What the constant becomes after the first norm, where the rest has spread 0.02.
        seen = constant / ((constant**2 + 0.02**2 * self.shape.hidden) / self.shape.hidden) ** 0.5
        first = self.layers[0].get_submodule("self_attn")
        query = first.get_parameter("q_proj.weight")
        key = first.get_parameter("k_proj.weight")
        exponents = torch.arange(used, dtype=torch.float32) / half
        angles = 1.0 / (self.shape.rope_theta**exponents)
        key[: self.shape.head_dim] *= 0.2
        key[:used, 0] = strength / seen
        for head, distance in enumerate((1, 2)):
            rows = head * self.shape.head_dim
            query[rows : rows + self.shape.head_dim] *= 0.2
            query[rows : rows + used, 0] = strength / seen * torch.cos(distance * angles)
            turned = slice(rows + half, rows + half + used)
            query[turned, 0] = -strength / seen * torch.sin(distance * angles)
        first.get_parameter("o_proj.weight")[:, : 2 * self.shape.head_dim] *= 5

    def hidden_states(self, tokens: Tensor) -> Tensor:
        """Token ids (batch, length) to final hidden states (batch, length, hidden)."""
        length = tokens.shape[1]
        x = self.embed_tokens(tokens)
        cos = self.get_buffer("cos")[:length].to(x.dtype)
        sin = self.get_buffer("sin")[:length].to(x.dtype)
        for layer in self.layers:
            x = layer(x, cos, sin)
        out: Tensor = self.norm(x)
        return out

    def forward(self, tokens: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Weighted mean cross entropy (nats per token).

        tokens, targets and weights are (batch, length); a weight of 0 leaves a
        token out, so its output row is never computed.
        """
        chosen = weights.reshape(-1) > 0
        hidden = self.hidden_states(tokens).reshape(-1, self.shape.hidden)[chosen]
        logits = F.linear(hidden, self.embed_tokens.weight.to(hidden.dtype)).float()
        losses = F.cross_entropy(logits, targets.reshape(-1)[chosen], reduction="none")
        kept = weights.reshape(-1)[chosen]
        return (losses * kept).sum() / kept.sum()
