"""Drill windows: random tokens that come again, to teach the network to copy.

Copying needs two layers that work together, and they form slowly from ordinary
text. Random tokens said twice or more can be learnt in no other way than by
copying, so a short drill at the start brings that skill early. Nothing of the
drill is language, and it is no part of the corpus.
"""

from __future__ import annotations

import random

import numpy as np

from tiny.dataset import Document


def drill_window(rng: random.Random, length: int, first: int, last: int) -> Document:
    """length + 1 random token ids from first to last - 1, in runs that repeat.

    Each run has 3 to 40 tokens and stands 2 to 4 times, with a random gap of up
    to 12 tokens between. Only the repeated copies are learnt, from their second
    token on: the first token of a copy cannot be known.
    """
    ids: list[int] = []
    learn: list[bool] = []
    while len(ids) < length + 1:
        run = [rng.randrange(first, last) for _ in range(rng.randint(3, 40))]
        for copy in range(rng.randint(2, 4)):
            gap = rng.randint(0, 12) if copy else 0
            ids += [rng.randrange(first, last) for _ in range(gap)] + run
            learn += [False] * (gap + 1) + [copy > 0] * (len(run) - 1)
    return np.array(ids[: length + 1], dtype=np.int16), np.array(learn[: length + 1], dtype=np.bool_)
