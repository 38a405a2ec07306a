"""The network itself, in plain PyTorch, with the weight names of Hugging Face Llama."""

from types import SimpleNamespace as Config

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RMSNorm(nn.Module):
    """Divide by the root mean square over the last axis, then scale."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.eps = config.rms_norm_eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.eps)


def linears(**sizes: tuple[int, int]) -> nn.ModuleDict:
    return nn.ModuleDict({name: nn.Linear(*size, bias=False) for name, size in sizes.items()})


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn x, (batch, heads, length, head_dim), by its position."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


class Block(nn.Module):
    """One layer: causal attention with fewer key than query heads, and a gated feed-forward layer (SwiGLU)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, width, inner = config, config.hidden_size, config.intermediate_size
        query, key = (n * config.head_dim for n in (config.num_attention_heads, config.num_key_value_heads))
        self.input_layernorm = RMSNorm(config)
        self.self_attn = linears(q_proj=(width, query), k_proj=(width, key), v_proj=(width, key), o_proj=(query, width))
        self.post_attention_layernorm = RMSNorm(config)
        self.mlp = linears(gate_proj=(width, inner), up_proj=(width, inner), down_proj=(inner, width))

    def attend(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, length, _ = x.shape
        part, size = self.self_attn, self.config.head_dim
        q, k, v = (part[n](x).view(batch, length, -1, size).transpose(1, 2) for n in ("q_proj", "k_proj", "v_proj"))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        k, v = (each.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for each in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return part["o_proj"](y.transpose(1, 2).reshape(batch, length, -1))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attend(self.input_layernorm(x), cos, sin)
        y = self.post_attention_layernorm(x)
        return x + self.mlp["down_proj"](F.silu(self.mlp["gate_proj"](y)) * self.mlp["up_proj"](y))


class TinyLlama(nn.Module):
    """Embedding, layers, final norm; the output matrix is the embedding (tied)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config)
        exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
        positions = torch.arange(config.max_position_embeddings, dtype=torch.float32)
        angles = torch.outer(positions, 1.0 / (config.rope_theta**exponents)).repeat(1, 2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        # Small normal weights; the two matrices that write to the residual start smaller.
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                writes = name.endswith(("o_proj.weight", "down_proj.weight"))
                scale = 0.02 / (2 * config.num_hidden_layers) ** 0.5 if writes else 0.02
                nn.init.normal_(weight, std=scale if "embed" in name else scale * 2)
        self.look_back()

    @torch.no_grad()
    def look_back(self) -> None:
        """Let two heads of the first layer start by looking one and two tokens back.

        To copy a phrase, the network must know which token came before each token. It finds that out by itself
        only after very long training, so the start gives it a hand. One coordinate of every embedding is the
        same number (which changes no prediction, as it shifts all output scores alike). From it, the first query
        and key heads get a fixed vector, turned so that the rotary positions agree best at distance 1 and 2.
        """
        size, width = self.config.head_dim, self.config.hidden_size
        constant, strength, used, half = 0.16, 5.0, 6, size // 2
        self.embed_tokens.weight[:, 0] = constant
        # What the constant becomes after the first norm, where the rest has spread 0.02.
        seen = constant / ((constant**2 + 0.02**2 * width) / width) ** 0.5
        query, key, out = (self.layers[0].self_attn[n].weight for n in ("q_proj", "k_proj", "o_proj"))
        angles = 1.0 / (self.config.rope_theta ** (torch.arange(used, dtype=torch.float32) / half))
        key[:size] *= 0.2
        key[:used, 0] = strength / seen
        for head, distance in enumerate((1, 2)):
            rows = head * size
            query[rows : rows + size] *= 0.2
            query[rows : rows + used, 0] = strength / seen * torch.cos(distance * angles)
            query[rows + half : rows + half + used, 0] = -strength / seen * torch.sin(distance * angles)
        out[:, : 2 * size] *= 5

    def hidden_states(self, tokens: Tensor) -> Tensor:
        """Token ids (batch, length) to final hidden states (batch, length, hidden)."""
        x = self.embed_tokens(tokens)
        cos, sin = (table[: tokens.shape[1]].to(x.dtype) for table in (self.cos, self.sin))
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.norm(x)

    def forward(self, tokens: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Weighted mean cross entropy (nats per token) of (batch, length) tokens.

        A weight of 0 leaves a token out, so its output row is never computed.
        """
        chosen = weights.reshape(-1) > 0
        hidden = self.hidden_states(tokens).reshape(-1, self.config.hidden_size)[chosen]
        logits = F.linear(hidden, self.embed_tokens.weight.to(hidden.dtype)).float()
        losses = F.cross_entropy(logits, targets.reshape(-1)[chosen], reduction="none")
        kept = weights.reshape(-1)[chosen]
        return (losses * kept).sum() / kept.sum()
