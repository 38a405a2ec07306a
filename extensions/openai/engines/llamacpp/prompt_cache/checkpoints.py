"""Whether llama.cpp goes on from checkpoints with a model.

What a slot holds of a model with a sliding window or recurrent layers cannot be cut at any token, so
llama.cpp keeps checkpoints of it. When another prompt takes the slot over, it drops those that are longer
than what both prompts share, but not one that is longer by a single token (`server-context.cpp`:
`pos_max > pos_next`). A later prompt may go on from that one, with a token of a prompt that is not its own.
`PromptCache.settle` prevents it. It never ends a token before a checkpoint itself (`settled_length`): from
one that is a token longer llama.cpp goes on without the first token of a sliding window, as a copy has no
more than the window.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

from ....errors import APIError
from ..client import LlamaServer

log = logging.getLogger("openedai")

LENGTHS = (2, 4, 8)
"""Of prompts, in tokens; from five tokens on there are checkpoints."""


def checkpoint_offsets(batch: int, ubatch: int) -> tuple[int, ...]:
    """How many tokens before a prompt's end checkpoints are made (`server-context.cpp`)."""
    return min(batch, ubatch + 4), min(batch, 4)


def settled_length(shared: int, checkpoints: Collection[int]) -> int:
    """How much to read of a prompt so that only checkpoints of its `shared` tokens are left. `checkpoints`:
    the lengths of those that there may be."""
    length = shared - 1
    while length + 1 in checkpoints:
        length -= 1
    return length


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
