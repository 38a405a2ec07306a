"""Train the byte-level BPE tokenizer on the corpus and write it in Hugging Face form.

    python -m tiny.tokenizer --corpus build/corpus/train.jsonl

The text is cut with the same pattern that llama.cpp names "qwen2", so both cut
alike. The 256 byte symbols are always in the vocabulary: any Unicode text comes
back unchanged.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from tiny.render import MODEL_DIR, render
from tiny.shape import DEFAULT

# The pattern that llama.cpp uses for tokenizer.ggml.pre = "qwen2".
PATTERN = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
# Single tokens that are shown as text: the marks around a tool call.
VISIBLE = ("<tool_call>", "</tool_call>")


def texts(corpus: Path, limit: int) -> Iterator[str]:
    """Rendered training texts, cut at the special marks so that these are never learnt."""
    with corpus.open(encoding="utf-8") as file:
        for number, line in enumerate(file):
            if number >= limit:
                return
            record = json.loads(line)
            text = record.get("text") or render(record["messages"], record.get("tools"))
            for mark in (*SPECIAL, *VISIBLE):
                text = text.replace(mark, "\x00")
            yield from (part for part in text.split("\x00") if part)


def build(corpus: Path, limit: int) -> Tokenizer:
    """Train on the first `limit` examples."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    added = len(SPECIAL) + len(VISIBLE)
    trainer = trainers.BpeTrainer(
        vocab_size=DEFAULT.vocab_size - added,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        min_frequency=20,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(corpus, limit), trainer)
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in SPECIAL])
    tokenizer.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in VISIBLE])
    return tokenizer


def write_json(path: Path, value: Any) -> None:
    """Readable JSON with a final line break."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json and the two small files that the chat libraries read."""
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    ends = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": False,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": DEFAULT.max_positions,
        "bos_token": None,
        "unk_token": None,
        **ends,
        "additional_special_tokens": list(SPECIAL),
        "chat_template": (folder / "chat_template.jinja").read_text(encoding="utf-8"),
    }
    write_json(folder / "tokenizer_config.json", config)
    write_json(folder / "special_tokens_map.json", {**ends, "additional_special_tokens": list(SPECIAL)})


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=MODEL_DIR)
    parser.add_argument("--examples", type=int, default=60_000, help="examples to learn from")
    options = parser.parse_args()
    tokenizer = build(options.corpus, options.examples)
    save(tokenizer, options.folder)
    print(f"{tokenizer.get_vocab_size()} tokens")


if __name__ == "__main__":
    main()
