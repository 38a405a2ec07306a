"""Train the byte-level BPE tokenizer on the corpus and write tokenizer.json.

    python -m tiny.tokenizer --corpus build/corpus/train.jsonl --examples 40000

The text is cut with the same pattern that llama.cpp names "qwen2", so both cut alike. The 256 byte symbols are always in
the vocabulary: any Unicode text comes back unchanged.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from tiny.render import MODEL_DIR, config, render

# The pattern that llama.cpp uses for tokenizer.ggml.pre = "qwen2".
PATTERN = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = [f"<|{name}|>" for name in "endoftext im_start im_end fim_prefix fim_suffix fim_middle".split()]
# Single tokens that are shown as text: the marks around a tool call.
VISIBLE = ["<tool_call>", "</tool_call>"]


def texts(corpus: Path, limit: int) -> Iterator[str]:
    """Rendered training texts, cut at the special marks so that these are never learnt."""
    with corpus.open(encoding="utf-8") as file:
        for line in islice(file, limit):
            record = json.loads(line)
            text = record.get("text") or render(record["messages"], record.get("tools"))
            for mark in (*SPECIAL, *VISIBLE):
                text = text.replace(mark, "\x00")
            yield from (part for part in text.split("\x00") if part)


def build(corpus: Path, limit: int) -> Tokenizer:
    """Train on the first `limit` examples."""
    made = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PATTERN), behavior="isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config().vocab_size - len(SPECIAL) - len(VISIBLE),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        min_frequency=20,
        show_progress=False,
    )
    made.train_from_iterator(texts(corpus, limit), trainer)
    made.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in SPECIAL])
    made.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in VISIBLE])
    return made


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=MODEL_DIR)
    parser.add_argument("--examples", type=int, default=60_000, help="examples to learn from")
    options = parser.parse_args()
    build(options.corpus, options.examples).save(str(options.folder / "tokenizer.json"), pretty=False)


if __name__ == "__main__":
    main()
