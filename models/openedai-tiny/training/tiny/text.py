"""Words, recipes and the record that every behaviour makes: what all generators share."""

import argparse
import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Message = dict[str, Any]
# First letter and number of letters of some scripts.
_SCRIPTS = ((0x61, 26), (0x41, 26), (0xE0, 31), (0x430, 32), (0x3B1, 24), (0x3042, 80), (0x4E00, 2000))


def load(name: str) -> Any:
    """One of the tables in data/; its rows, where it has one on each line."""
    path = Path(__file__).parents[1] / "data" / name
    if name.endswith(".jsonl"):
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return yaml.safe_load(path.with_suffix(".yaml").read_text(encoding="utf-8"))


def arguments(**options: Any) -> argparse.Namespace:
    """The command line's options with their defaults; one that has a type in place of a default must be given."""
    parser = argparse.ArgumentParser()
    for name, default in options.items():
        kind = default if isinstance(default, type) else type(default)
        required = {"required": True} if kind is default else {"default": default}
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, **required)
    return parser.parse_args()


def words(text: str) -> list[str]:
    """A list of words, as the tables have it: parted by "|" where there is one, else by blanks."""
    return text.split("|") if "|" in text else text.split()


WORDS: dict[str, list[str]] = {name: words(text) for name, text in load("words").items()}
RECIPES: dict[str, Any] = load("recipes")


@dataclass
class Example:
    """A conversation or a plain text, with what a right last answer must hold.

    behaviour: short name, used in the evaluation. messages: OpenAI's; the last one is the wanted answer.
    tools: OpenAI's. text: plain text without chat marks. expect: one of these must stand in the answer (in
    any case). exact: the answer must equal the wanted one. forced: a grammar forces how the answer begins.
    """

    behaviour: str
    messages: list[Message] = field(default_factory=list)
    tools: list[dict[str, Any]] = field(default_factory=list)
    text: str = ""
    expect: list[str] | tuple[str, ...] = ()
    exact: bool = False
    forced: bool = False

    def as_record(self) -> dict[str, Any]:
        """The example as a JSON object without empty fields."""
        return {name: value for name, value in vars(self).items() if value}


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}


def pair(behaviour: str, ask: str, answer: str, expect: Any = (), exact: bool = False) -> Example:
    """One question and its answer."""
    return Example(behaviour, [user(ask), assistant(answer)], expect=expect, exact=exact)


def a(word: str) -> str:
    """The word with "a" or "an" before it."""
    return f"{'an' if word[0].lower() in 'aeiou' else 'a'} {word}"


def fill(text: str, slots: dict[str, Any]) -> str:
    """The text with every "<name>" replaced by slots["name"]."""
    for name, value in slots.items():
        text = text.replace(f"<{name}>", str(value))
    return text


def _split(recipe: str) -> list[str]:
    """The alternatives of a recipe: cut at each "|" that stands outside of brackets."""
    depth, parts = 0, [""]
    for mark in recipe:
        depth += {"(": 1, ")": -1}.get(mark, 0)
        if mark == "|" and depth == 0:
            parts.append("")
        else:
            parts[-1] += mark
    if depth:
        raise ValueError(f"a bracket is not closed in {recipe!r}")
    return parts


class Rng(random.Random):
    """Random numbers, and the random words and phrases made of them."""

    def chance(self, share: float) -> bool:
        return self.random() < share

    def _read(self, recipe: str) -> str:
        chosen, text, depth, start = self.choice(_split(recipe)), "", 0, 0
        for at, mark in enumerate(chosen):
            if mark == "(":
                start = at + 1 if depth == 0 else start
                depth += 1
            elif mark == ")":
                depth -= 1
                text += "" if depth else self._read(chosen[start:at])
            elif depth == 0:
                text += mark
        return text

    def expand(self, recipe: str, slots: dict[str, Any] | None = None) -> str:
        """One random reading of a recipe.

        Round brackets hold alternatives split by "|" (they may nest; an empty one means "nothing"), "{NAME}" is
        another recipe. "<name>" is replaced at the very end, so a slot may contain brackets itself.
        """
        whole = re.sub(r"\{(\w+)\}", lambda found: RECIPES[found[1]], recipe)
        return fill(self._read(whole), slots or {})

    def say(self, key: str, **slots: Any) -> str:
        """One reading of the recipe of that name, or of one of them."""
        recipe = RECIPES[key]
        return self.expand(recipe if isinstance(recipe, str) else self.choice(recipe), slots)

    def pick(self, *names: str) -> str:
        """A word from the list of that name, or from one of several lists."""
        return self.choice(WORDS[names[0] if len(names) == 1 else self.choice(names)])

    def drawn(self, lists: str) -> dict[str, str]:
        """A word for each slot, from "slot:list slot:list ...", and the same with its article as "a slot"."""
        slots = {slot: self.pick(name) for slot, name in (each.split(":") for each in lists.split())}
        return {**slots, **{f"a {slot}": a(word) for slot, word in slots.items()}}

    def made(self, template: str) -> str:
        """The text with words for "[things]" or, with a capital, "[Things]", and numbers for "[1-12]" or "[1-12:2]"."""

        def one(found: re.Match[str]) -> str:
            if number := re.fullmatch(r"(\d+)-(\d+)(?::(\d))?", found[1]):
                return str(self.randint(int(number[1]), int(number[2]))).zfill(int(number[3] or 0))
            word = self.pick(*found[1].lower().split())
            return word.capitalize() if found[1][0].isupper() else word

        return re.sub(r"\[([^]]+)\]", one, template)

    def noisy(self, text: str, slips: bool = True) -> str:
        """A prompt as people really type it; about half come back unchanged.

        Without `slips`, where every letter counts, case and spelling stay.
        """
        draw = self.random()
        if slips and draw < 0.23:
            text = text.lower() if draw < 0.20 else text.upper()
        if self.chance(0.22):
            text = text.rstrip("?.!")
        if self.chance(0.08):
            opener = self.pick("openers")
            head = text[:1].lower() if text[1:2] != "'" and not text.startswith("I ") else text[:1]
            text = opener + (head if opener[-2] in "e,u" else text[:1]) + text[1:]
        if self.chance(0.05):
            text = text.rstrip("?.!") + self.pick("closers")
        return self._slip(text) if slips and self.chance(0.10) else text

    def _slip(self, text: str) -> str:
        """One typing slip inside of a word of five letters or more, or no change."""
        places = [i for i in range(2, len(text) - 2) if text[i - 2 : i + 2].isalpha()]
        if not places:
            return text
        i, kind = self.choice(places), self.randrange(3)
        # A letter is left out, changes places with the one before, or comes twice.
        begun = (text[:i], text[: i - 1] + text[i] + text[i - 1], text[: i + 1] + text[i])[kind]
        return begun + text[i + 1 :]

    def made_up(self, syllables: int = 0) -> str:
        """A word that means nothing, such as "plonter": it stands for words never seen."""
        count = syllables or self.choice([1, 2, 2, 2, 3])
        return "".join(self.pick("onsets") + self.pick("vowels") + self.pick("codas") for _ in range(count))

    def coined(self, name: str, share: float) -> str:
        """A name from a list, or one that is made up."""
        return self.made_up(2).capitalize() if self.chance(share) else self.pick(name)

    def odd_word(self) -> str:
        """Letters and digits in no order, or a few letters of another script."""
        if self.chance(0.6):
            marks = "abcdefghijklmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ0123456789"
            text = "".join(self.choice(marks) for _ in range(self.randint(2, 8)))
            return text if self.chance(0.7) else text[:2] + self.choice("-_./:@#+=") + text[2:]
        first, size = self.choice(_SCRIPTS)
        return "".join(chr(first + self.randrange(size)) for _ in range(self.randint(1, 4)))

    def word(self) -> str:
        """Any word: plain, a thing, a name, made up, a number, accented."""
        draw = self.random()
        if draw < 0.42:
            return self.pick("plain_words")
        if draw < 0.62:
            return self.pick("things", "animals", "colours", "fruits", "adjectives", "verbs")
        if draw < 0.70:
            return self.pick("names", "cities")
        if draw < 0.84:
            word = self.made_up()
            return word.capitalize() if self.chance(0.2) else word
        if draw < 0.90:
            return self.odd_word()
        return str(self.randrange(10 ** self.choice([1, 2, 3, 4]))) if draw < 0.95 else self.pick("accented")

    def phrase(self, longest: int = 8) -> str:
        """One to `longest` words with random case, marks and emoji."""
        if longest >= 8 and self.chance(0.2):
            return self.sentence()
        parts = [self.word() for _ in range(self.randint(1, longest))]
        text, draw = " ".join(parts), self.random()
        if draw < 0.30:
            text = text[:1].upper() + text[1:]
        elif draw < 0.36:
            text = text.upper()
        elif draw < 0.42 and len(parts) > 1:
            text = ", ".join(parts)
        elif draw < 0.46:
            text = ("" if self.chance(0.5) else "-").join(parts)
        if self.chance(0.25):
            text += self.choice([".", "!", "?", "...", "!!", " :)"])
        if self.chance(0.12):
            text += " " + self.pick("emoji")
        return self.pick("emoji") + " " + text if self.chance(0.04) else text

    def sentence(self) -> str:
        """A plain grammatical sentence, for system prompts and plain text."""
        slots = self.drawn(RECIPES["sentence_slots"])
        return fill(self.choice(RECIPES["sentence"]), slots)


Maker = Callable[[Rng], Example]
