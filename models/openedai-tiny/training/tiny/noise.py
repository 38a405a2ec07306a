"""Small changes to a prompt, as people really type: case, marks, politeness, slips."""

from __future__ import annotations

import random

_OPENERS = ["please ", "Please ", "hey, ", "Hi! ", "ok, ", "So, ", "Hello. ", "um, ", "Could you help? "]
_CLOSERS = [" please", " thanks", " Thanks!", ", please", " :)", " 🙂", "!", "?"]


def _slip(rng: random.Random, text: str) -> str:
    """One typing slip inside a word of five letters or more, or no change."""
    places = [i for i in range(2, len(text) - 2) if text[i - 2 : i + 2].isalpha()]
    if not places:
        return text
    i = rng.choice(places)
    kind = rng.randrange(3)
    if kind == 0:
        return text[:i] + text[i + 1 :]
    if kind == 1:
        return text[: i - 1] + text[i] + text[i - 1] + text[i + 1 :]
    return text[:i] + text[i] + text[i:]


def noisy(rng: random.Random, text: str, slips: bool = True) -> str:
    """A prompt as somebody might type it; about half come back unchanged.

    Set `slips` to False where every letter counts (a name, a tool argument):
    then the case and the spelling stay as they are.
    """
    draw = rng.random()
    if slips and draw < 0.20:
        text = text.lower()
    elif slips and draw < 0.23:
        text = text.upper()
    if rng.random() < 0.22:
        text = text.rstrip("?.!")
    if rng.random() < 0.08:
        opener = rng.choice(_OPENERS)
        head = text[:1].lower() if text[1:2] != "'" and not text.startswith("I ") else text[:1]
        text = opener + (head if opener[-2] in "e,u" else text[:1]) + text[1:]
    if rng.random() < 0.05:
        text = text.rstrip("?.!") + rng.choice(_CLOSERS)
    if slips and rng.random() < 0.10:
        text = _slip(rng, text)
    return text
