"""Train the network on the corpus (CPU is enough).

    python -m tiny.train --corpus build/corpus/train.jsonl --out build/run

Matrices inside of the layers are trained with Muon, the embedding and the norms with AdamW. Work is done in
bfloat16, weights are kept in float32. Windows are short (512 tokens), every `--long-every`-th step takes long ones
(4096 tokens) made of long conversations, so that a long history is nothing new. The first `--drill-steps` steps are
drill only (see dataset.py).
"""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from tiny.dataset import Document, config, documents, drill_window, pack, tokenizer
from tiny.network import TinyLlama
from tiny.text import Rng, arguments

SHORT, LONG, DRILL = 512, 4096, 256


def batches(windows: list[Document], size: int, rng: Rng) -> Iterator[list[Document]]:
    """Endless batches; the windows are shuffled again for every pass."""
    while True:
        order = list(range(len(windows)))
        rng.shuffle(order)
        for start in range(0, len(order) - size + 1, size):
            yield [windows[index] for index in order[start : start + size]]


def tensors(batch: list[Document]) -> tuple[torch.Tensor, ...]:
    """Inputs, next tokens and weights, each (batch, length)."""
    ids = torch.from_numpy(np.stack([item[0] for item in batch]).astype(np.int64))
    learn = torch.from_numpy(np.stack([item[1] for item in batch]).astype(np.float32))
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous(), learn[:, 1:].contiguous()


def schedule(step: int, steps: int, warmup: int = 30) -> float:
    """Factor on the learning rate: rise, stay, then fall in a line over the last 45 %."""
    if step < warmup:
        return (step + 1) / warmup
    return max(0.02, min(1.0, (steps - step) / (0.45 * steps)))


def main() -> None:
    # --start: a .safetensors file to go on from.
    options = arguments(
        corpus=Path, out=Path, steps=1450, batch_tokens=6144, muon_rate=0.02, adam_rate=0.004, long_every=16,
        drill_steps=180, start="", seed=1, threads=2,
    )  # fmt: skip
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    rng, pad = Rng(options.seed), config().pad_token_id

    items = list(documents(options.corpus, tokenizer()))
    short = pack([item for item in items if len(item[0]) <= SHORT], SHORT, pad, rng)
    long = pack([item for item in items if len(item[0]) > SHORT], LONG, pad, rng)
    print(f"{len(items)} documents, {len(short)} short and {len(long)} long windows", flush=True)
    network = TinyLlama(config())
    if options.start:
        weights = load_file(options.start)
        network.load_state_dict({name.removeprefix("model."): value.float() for name, value in weights.items()})
    inner = [p for n, p in network.named_parameters() if p.dim() == 2 and "embed" not in n]
    outer = [p for n, p in network.named_parameters() if p.dim() != 2 or "embed" in n]
    optimizers = {
        torch.optim.Muon(inner, lr=1.0, momentum=0.95, weight_decay=0.01): options.muon_rate,
        torch.optim.AdamW(outer, lr=1.0, betas=(0.9, 0.98), weight_decay=0.0): options.adam_rate,
    }
    network.hidden_states = torch.compile(network.hidden_states, dynamic=False)

    short_batches = batches(short, options.batch_tokens // SHORT, rng)
    long_batches = batches(long, max(1, options.batch_tokens // LONG), rng)
    started = time.monotonic()
    for step in range(options.steps):
        for optimizer, rate in optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = rate * schedule(step, options.steps)
        if step < options.drill_steps:
            # Ordinary tokens stand first in the vocabulary, the special ones last.
            batch = [drill_window(rng, DRILL, 0, pad) for _ in range(16)]
        else:
            batch = next(long_batches if step % options.long_every == options.long_every - 1 else short_batches)
        with torch.autocast("cpu", torch.bfloat16):
            loss = network(*tensors(batch))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        network.zero_grad(set_to_none=True)
        if step % 20 == 0 or step == options.steps - 1:
            print(f"step {step} loss {loss.item():.4f} {time.monotonic() - started:.0f} s", flush=True)
        if step % 200 == 199 or step == options.steps - 1:
            torch.save(network.state_dict(), options.out / "weights.pt")


if __name__ == "__main__":
    main()
