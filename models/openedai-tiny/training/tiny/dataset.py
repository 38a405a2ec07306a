"""From corpus lines to token windows for training, by way of the chat template (numpy, no torch)."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from jinja2 import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from tiny.fields import GIVEN, GIVEN_END
from tiny.text import Rng

# Token ids, and which of them are learnt.
Document = tuple[np.ndarray, np.ndarray]
MODEL_DIR = Path(__file__).resolve().parents[2]


def config() -> SimpleNamespace:
    """config.json: the sizes of the network and the ids of special tokens.

    All widths are multiples of 32, because Q8_0 (the number format of the GGUF file) has blocks of 32.
    """
    return SimpleNamespace(**json.loads((MODEL_DIR / "config.json").read_text(encoding="utf-8")))


def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(MODEL_DIR / "tokenizer.json"))


@cache
def template() -> Template:
    """The chat template, with the settings that chat libraries use: real letters, keys in their own order."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string((MODEL_DIR / "chat_template.jinja").read_text(encoding="utf-8"))


def render(messages: list[dict[str, Any]], tools: Any = None, add_generation_prompt: bool = False) -> str:
    """The text that the model sees for these messages."""
    return template().render(messages=messages, tools=tools or None, add_generation_prompt=add_generation_prompt)


def pieces(messages: list[dict[str, Any]], tools: Any = None) -> list[tuple[str, bool]]:
    """The rendered text cut into (part, is it the assistant's own?) in order.

    The assistant's part runs from just after its header to its end mark, both what it says and the mark: that is what
    the model must learn to write.
    """
    header, end = "<|im_start|>assistant\n", "<|im_end|>"
    parts: list[tuple[str, bool]] = []
    rest = render(messages, tools)
    while header in rest:
        before, rest = rest.split(header, 1)
        answer, rest = rest.split(end, 1)
        parts += [(before + header, False), (answer + end, True)]
    return [part for part in [*parts, (rest, False)] if part[0]]


def _document(ids: list[int], learn: list[bool]) -> Document:
    return np.array(ids, dtype=np.int16), np.array(learn, dtype=np.bool_)


def documents(corpus: Path, tokenizer: Tokenizer) -> Iterator[Document]:
    """For each corpus line: its token ids, and which of them the model must learn to write.

    In chats these are the assistant's words and end marks. In plain text it is everything, and in a text with a hole
    it is the missing middle.
    """
    rng = Rng(1)
    with corpus.open(encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            parts = _parts(record)
            plain = [_without_marks(part) for part, _ in parts]
            ids: list[int] = []
            learn: list[bool] = []
            last = 0
            encoded = tokenizer.encode_batch([text for text, _ in plain])
            for (_, mine), (_, spans), item in zip(parts, plain, encoded, strict=True):
                last = len(ids) if mine else last
                ids += item.ids
                for first, end in item.offsets:
                    learn.append(mine and not any(start <= first and end <= stop for start, stop in spans))
            if record.get("forced"):
                learn[last] = False
                ids[last:], learn[last:] = _split_quotes(ids[last:], learn[last:], tokenizer, rng)
            if "text" in record:
                ids.append(tokenizer.token_to_id("<|endoftext|>"))
                learn.append(True)
            yield _document(ids, learn)


def _split_quotes(ids: list[int], learn: list[bool], tokenizer: Tokenizer, rng: Rng) -> tuple[list[int], list[bool]]:
    """The tokens with a few opening quotes cut off from the blank before them.

    A model that expects a number writes the blank alone; where a grammar then demands a string, it must know to go on
    with the quote. The blank itself is not learnt.
    """
    whole, blank, quote = map(tokenizer.token_to_id, ('\u0120"', "\u0120", '"'))
    cut: list[tuple[int, bool]] = []
    for token, mine in zip(ids, learn, strict=True):
        split = token == whole and rng.chance(0.08)
        cut += [(blank, False), (quote, True)] if split else [(token, mine)]
    return [token for token, _ in cut], [mine for _, mine in cut]


def _without_marks(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The text without the marks of what is given, and where in it such parts are."""
    found, plain = [], ""
    for at, part in enumerate(re.split(f"[{GIVEN}{GIVEN_END}]", text)):
        if at % 2:
            found.append((len(plain), len(plain) + len(part)))
        plain += part
    return plain, found


def _parts(record: dict[str, Any]) -> list[tuple[str, bool]]:
    text, mark = record.get("text"), "<|fim_middle|>"
    if text is None:
        return pieces(record["messages"], record.get("tools"))
    before, found, middle = text.rpartition(mark)
    return [(before + mark, False), (middle, True)] if found else [(text, True)]


def pack(items: list[Document], length: int, pad: int, rng: Rng) -> list[Document]:
    """Fill windows of length + 1 tokens with whole documents, in random order.

    A document that no longer fits opens a later window; one that is longer than a window is cut. Each window begins
    with the start of a document, as every request to the model does. The rest is padding that is not learnt.
    """
    order = list(range(len(items)))
    rng.shuffle(order)
    size = length + 1
    windows: list[Document] = []
    waiting: list[int] = []
    while order or waiting:
        ids, learn = _document([pad] * size, [False] * size)
        used = 0
        while used < size - 8:
            index = _next(items, order, waiting, size - used if used else 1 << 30)
            if index is None:
                break
            part, marks = (each[: size - used] for each in items[index])
            ids[used : used + len(part)], learn[used : used + len(part)] = part, marks
            used += len(part)
        windows.append((ids, learn))
    return windows


def _next(items: list[Document], order: list[int], waiting: list[int], room: int) -> int | None:
    """The next document that fits into `room`."""
    for place, index in enumerate(waiting):
        if len(items[index][0]) <= room:
            return waiting.pop(place)
    for _ in range(min(12, len(order))):
        index = order.pop()
        if len(items[index][0]) <= room:
            return index
        waiting.append(index)
    return None


def drill_window(rng: Rng, length: int, first: int, last: int) -> Document:
    """length + 1 random token ids from first to last - 1, in runs that repeat: copying is the hardest skill to learn.

    Each run has 3 to 40 tokens and stands 2 to 4 times, with a random gap of up to 12 tokens between. Only the
    repeated copies are learnt, from their second token on: the first token of a copy cannot be known.
    """
    ids: list[int] = []
    learn: list[bool] = []
    while len(ids) < length + 1:
        run = [rng.randrange(first, last) for _ in range(rng.randint(3, 40))]
        for copy in range(rng.randint(2, 4)):
            gap = rng.randint(0, 12) if copy else 0
            ids += [rng.randrange(first, last) for _ in range(gap)] + run
            learn += [False] * (gap + 1) + [copy > 0] * (len(run) - 1)
    return _document(ids[: length + 1], learn[: length + 1])
