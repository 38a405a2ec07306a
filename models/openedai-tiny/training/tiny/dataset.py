"""Turn corpus lines into token windows for training (numpy, no torch)."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from tiny.fields import GIVEN, GIVEN_END
from tiny.render import pieces

_MARKS = re.compile(f"[{GIVEN}{GIVEN_END}]")

Tokens = npt.NDArray[np.int16]
Marks = npt.NDArray[np.bool_]
Document = tuple[Tokens, Marks]


def special(tokenizer: Tokenizer, mark: str) -> int:
    """The id of a special token."""
    found = tokenizer.token_to_id(mark)
    if found is None:
        raise ValueError(f"the tokenizer has no {mark}")
    return int(found)


def documents(corpus: Path, tokenizer: Tokenizer) -> Iterator[Document]:
    """For each corpus line: its token ids, and which of them the model must learn to write.

    In chats these are the assistant's words and end marks. In plain text it is
    everything, and in a text with a hole it is the missing middle.
    """
    stop = special(tokenizer, "<|endoftext|>")
    rng = random.Random(1)
    with corpus.open(encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            parts = _parts(record)
            plain = [_without_marks(part) for part, _ in parts]
            encoded = tokenizer.encode_batch([text for text, _ in plain])
            ids: list[int] = []
            learn: list[bool] = []
            last = 0
            for (_, mine), (_, spans), item in zip(parts, plain, encoded, strict=True):
                last = len(ids) if mine else last
                ids += item.ids
                learn += [mine and not _inside(at, spans) for at in item.offsets]
            if record.get("forced"):
                learn[last] = False
                ids[last:], learn[last:] = _split_quotes(ids[last:], learn[last:], tokenizer, rng)
            if "text" in record:
                ids.append(stop)
                learn.append(True)
            yield np.array(ids, dtype=np.int16), np.array(learn, dtype=np.bool_)


def _split_quotes(
    ids: list[int], learn: list[bool], tokenizer: Tokenizer, rng: random.Random
) -> tuple[list[int], list[bool]]:
    """The tokens with a few opening quotes cut off from the blank before them.

    A model that expects a number writes the blank alone; where a grammar then demands a string, it
    must know to go on with the quote. The blank itself is not learnt.
    """
    whole, blank, quote = (special(tokenizer, mark) for mark in ('\u0120"', "\u0120", '"'))
    cut_ids: list[int] = []
    cut_learn: list[bool] = []
    for token, mine in zip(ids, learn, strict=True):
        if token == whole and rng.random() < 0.08:
            cut_ids += [blank, quote]
            cut_learn += [False, True]
        else:
            cut_ids.append(token)
            cut_learn.append(mine)
    return cut_ids, cut_learn


def _without_marks(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The text without the marks of what is given, and where in it such parts are."""
    found: list[tuple[int, int]] = []
    plain = ""
    for at, part in enumerate(_MARKS.split(text)):
        if at % 2:
            found.append((len(plain), len(plain) + len(part)))
        plain += part
    return plain, found


def _inside(token: tuple[int, int], spans: list[tuple[int, int]]) -> bool:
    """Whether a token stands wholly inside of one of the spans."""
    return any(first <= token[0] and token[1] <= last for first, last in spans)


def _parts(record: dict[str, object]) -> list[tuple[str, bool]]:
    text = record.get("text")
    if isinstance(text, str):
        mark = "<|fim_middle|>"
        if mark in text:
            before, middle = text.split(mark)
            return [(before + mark, False), (middle, True)]
        return [(text, True)]
    return pieces(record["messages"], record.get("tools"))  # type: ignore[arg-type]


def pack(items: list[Document], length: int, pad: int, rng: random.Random) -> list[Document]:
    """Fill windows of length + 1 tokens with whole documents, in random order.

    A document that no longer fits opens a later window; one that is longer than
    a window is cut. Each window begins with the start of a document, as every
    request to the model does. The rest is padding that is not learnt.
    """
    order = list(range(len(items)))
    rng.shuffle(order)
    size = length + 1
    windows: list[Document] = []
    waiting: list[int] = []
    while order or waiting:
        ids = np.full(size, pad, dtype=np.int16)
        learn = np.zeros(size, dtype=np.bool_)
        used = 0
        while used < size - 8:
            index = _next(items, order, waiting, size - used, used == 0)
            if index is None:
                break
            part, marks = items[index]
            count = min(len(part), size - used)
            ids[used : used + count] = part[:count]
            learn[used : used + count] = marks[:count]
            used += count
        windows.append((ids, learn))
    return windows


def _next(items: list[Document], order: list[int], waiting: list[int], room: int, first: bool) -> int | None:
    """The next document that fits into `room`; for an empty window, any."""
    for place, index in enumerate(waiting):
        if first or len(items[index][0]) <= room:
            return waiting.pop(place)
    for _ in range(min(12, len(order))):
        index = order.pop()
        if first or len(items[index][0]) <= room:
            return index
        waiting.append(index)
    return None
