"""Whether llama.cpp goes on from checkpoints with a model, and how to be rid of those that mislead it.

What a slot holds of a model with a sliding window or recurrent layers cannot be cut at any token, so
llama.cpp keeps checkpoints of it: some tokens before a prompt's end, and wherever a step began near to it.
Where steps begin depends on what else is read in them. Three things go wrong (`server-context.cpp`):

- A checkpoint that has a token more than what two prompts share is not dropped (`pos_max > pos_next`). That
  token is another prompt's.
- Where a prompt ends a token before a checkpoint, its last token is computed again, and the first one in
  the sliding window of that is missing: a checkpoint, and a copy of a slot, has no more than a window.
- One that is made where reading begins, after llama.cpp went back to an earlier one, lacks the first token
  of its window, as the earlier one had no more than its own (`TAG_CHECKPOINTS_FIX_POS_MIN`).

So `PromptCache.settle` drops what misleads, before a prompt is read. It reads what the prompt and the slot
begin with, but for the last token of that, which it replaces by another one. What llama.cpp goes on from is
then always less than what it is asked to read, and all checkpoints that stay are of tokens of both prompts.
Where the last of these was made where reading began, it goes too. With a window at least five tokens of a
prompt are read, so that the last checkpoint is one with a whole window.
"""

from __future__ import annotations

import logging
from pathlib import Path

from ....errors import APIError
from ..client import LlamaServer

log = logging.getLogger("openedai")

LENGTHS = (2, 4, 8)
"""Of prompts, in tokens; from five tokens on there are checkpoints."""
Checkpoints = tuple[tuple[int, bool], ...]
"""Of how many tokens each is, in the order of their making, and whether it surely has a whole window. A slot
may have others that have."""

NONE: Checkpoints = ()
OFFSET = 4
"""So many tokens before a prompt's end a checkpoint is made, in any case (`server-context.cpp`)."""
MOST_KNOWN = 16
"""More than llama.cpp keeps of them."""


def after_reading(known: Checkpoints, start: int | None, length: int | None) -> Checkpoints | None:
    """What is known after reading from `start` up to `length` tokens, or not to the end (None); None where
    the start is not known."""
    if start is None:
        return None
    found = (*known, (start, start == 0))
    if length is not None and length - OFFSET > start:
        found = (*found, (length - OFFSET, True))
    return found[-MOST_KNOWN:]


def kept(known: Checkpoints, length: int) -> Checkpoints:
    """Those that stay where so many tokens are the same."""
    return tuple(each for each in known if each[0] <= length)


def longest_sound(shared: int, known: Checkpoints) -> int:
    """How many of `shared` tokens to go on from at most, so that the checkpoint that llama.cpp chooses, the
    last one of those that are no longer, has a whole window."""
    while True:
        left = kept(known, shared)
        if not left or left[-1][1]:
            return shared
        shared = left[-1][0] - 1


def end_before(start: int, length: int) -> int | None:
    """How many of `length` tokens, read from `start`, to read instead, as llama.cpp may go on from the
    checkpoint at their start; None: it cannot."""
    return None if length - OFFSET > start or length - 1 <= start + 1 else start + 2


def rewound(ids: tuple[int, ...]) -> tuple[int, ...]:
    """What to read so that no checkpoint of more than these tokens stays."""
    return (*ids[:-1], 0 if ids[-1] else 1)


def keeps_checkpoints(server: LlamaServer, folder: Path, token: int) -> bool:
    """Whether a slot's state, saved in `folder`, grows by more than its tokens. `token`: any one."""
    sizes = []
    file = folder / "probe"
    try:
        for length in LENGTHS:
            server.ask("/completion", {"prompt": [token] * length, "n_predict": 0, "id_slot": 0})
            server.ask("/slots/0?action=save", {"filename": file.name})
            sizes.append(file.stat().st_size)
        server.ask("/slots/0?action=erase", {})
    except APIError as error:
        log.debug("the states of slots cannot be saved: %s", error)
        return True
    finally:
        file.unlink(missing_ok=True)
    short, middle, long = sizes
    return long - middle != 2 * (middle - short)
