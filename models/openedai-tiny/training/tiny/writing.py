"""Jokes, haiku, poems, stories, plain text to continue, and text with a hole to fill."""

from __future__ import annotations

import random

from tiny import copying, skills, talk
from tiny.example import Example, pair
from tiny.grammar import expand
from tiny.lexicon import ADJECTIVES, ANIMALS, CITIES, COLOURS, NAMES, OBJECTS, PLACES, THINGS, a, random_sentence
from tiny.noise import noisy
from tiny.off_topic import topic

JOKES = (
    "Why did the token cross the context? To get to the other sign. 😄",
    "Why was the server so calm? It had a lot of cache. 😄",
    "What does a llama say to a slow computer? Please no drama. 🙂",
    "Why do small models sleep well? They have few things on their mind. 😄",
    "Why did the clock go to school? It wanted to be on time. 😄",
    "What did the lamp say to the dark? I will brighten your day. 😄",
)

_ABOUT = "(a|one|another|a short|a little|a funny|a small|a nice)"


def _request(rng: random.Random, kind: str, about: str = "") -> str:
    """Ask for a piece of writing, with a subject now and then."""
    recipe = (
        f"(Tell|Write|Give|tell|write|give|Can you tell|Could you write|Please write|Please "
        f"tell) (|me ){_ABOUT} {kind}<about>(.|!|?|)|{_ABOUT} {kind}<about>|{kind}<about>|I "
        f"want {_ABOUT} {kind}<about>"
    )
    return noisy(rng, expand(rng, recipe, {"about": about}), slips=not about)


def joke(rng: random.Random) -> Example:
    """One of a few jokes."""
    about = f" about {topic(rng)}" if rng.random() < 0.15 else ""
    ask = rng.choice([_request(rng, "joke", about), "Make me laugh", "make me laugh!", "Do you know a joke?"])
    return pair("joke", ask, rng.choice(JOKES), ("?",))


def subject(rng: random.Random) -> str:
    """What a poem may be about."""
    draw = rng.random()
    if draw < 0.4:
        noun = rng.choice(THINGS + ANIMALS + PLACES)
        return f"the {noun}" if rng.random() < 0.7 else a(noun)
    if draw < 0.55:
        return rng.choice(CITIES)
    return topic(rng)


def haiku(rng: random.Random) -> Example:
    """Three short lines that name the subject."""
    about = subject(rng) if rng.random() < 0.75 else ""
    name = about or rng.choice(["the moon", "the rain", "the river", "the snow"])
    first = rng.choice([f"Here is {name} now", f"Silent, {name} waits", f"I look at {name}"])
    second = rng.choice(
        ["soft light falls on quiet leaves", "a cool wind goes through the trees", "the old pond mirrors the sky"]
    )
    third = rng.choice(["morning comes at last 🌞", "and the day grows still 🌙", "one small bird replies 🍃"])
    lead = f" {rng.choice(['about', 'on', 'about'])} {about}" if about else ""
    return pair("haiku", _request(rng, "haiku", lead), f"{first},\n{second},\n{third}", (name,))


def poem(rng: random.Random) -> Example:
    """Four rhyming lines about a subject."""
    about = subject(rng) if rng.random() < 0.75 else ""
    name = about or rng.choice(["the moon", "the rain", "the river", "the snow"])
    colour = rng.choice(["red", "blue", "gold"])
    endings = {"red": "beside my bed", "blue": "for you", "gold": "so sweet and old"}
    lines = [
        f"I think of {name} and the sky turns {colour},",
        f"a small bird sings a song {endings[colour]},",
        "the night is calm, the stars are near,",
        f"and {name} is all I hear. 🌟",
    ]
    lead = f" about {about}" if about else ""
    kind = rng.choice(["poem", "poem", "rhyme", "verse"])
    return pair("poem", _request(rng, kind, lead), "\n".join(lines), (name,))


def story_text(rng: random.Random, hero: str = "", kind: str = "", parts: int = 0) -> str:
    """A short story of about 60 to 200 tokens; every sentence follows from the one before."""
    kind = kind or rng.choice(ANIMALS)
    hero = hero or rng.choice(NAMES)
    first, second = rng.sample(ADJECTIVES, 2)
    place, goal = rng.sample(PLACES, 2)
    thing = rng.choice(OBJECTS)
    colour = rng.choice(COLOURS)
    friend = rng.choice([a for a in ANIMALS if a != kind])
    opening = rng.choice(
        [
            f"Once upon a time there was {a(first)} {kind} named {hero}.",
            f"Once upon a time, in a {place}, lived {a(first)} {kind} named {hero}.",
            f"Long ago there was {a(first)} {kind} called {hero}.",
        ]
    )
    middle = [
        f"{hero} lived near the {place} and had {a(colour)} {thing}.",
        f"Every morning {hero} looked at the {colour} {thing} and was happy.",
        f"One day the {thing} was gone.",
        f"{hero} looked in the {place}, but it was not there.",
        f"Then {hero} met {a(second)} {friend}.",
        f'"Have you seen my {thing}?" asked {hero}.',
        f'"Yes," said the {friend}, "it is in the {goal}."',
        f"So they walked to the {goal} together.",
        f"There stood the {colour} {thing}, under a big tree.",
    ]
    endings = [
        f"{hero} thanked the {friend}, and they stayed friends for ever.",
        f"{hero} was glad, and the {friend} smiled. The end. 🌟",
        f"That evening {hero} and the {friend} drank tea and laughed. The end.",
    ]
    wanted = parts or rng.randint(4, 9)
    skipped = {1, 3, 5, 6, 8}
    while len(middle) > wanted and skipped:
        drop = rng.choice(sorted(skipped))
        skipped.discard(drop)
        middle[drop] = ""
        if drop == 5 or drop == 6:
            middle[5] = middle[6] = ""
            skipped -= {5, 6}
        if sum(bool(line) for line in middle) <= wanted:
            break
    return " ".join([opening, *[line for line in middle if line], rng.choice(endings)])


def story(rng: random.Random) -> Example:
    """A story on request, long when a long one is wanted."""
    kind = rng.choice(ANIMALS)
    hero = rng.choice(NAMES)
    draw = rng.random()
    expect: tuple[str, ...] = ("there was", "lived")
    about = ""
    if draw < 0.35:
        about, expect = f" about {a(kind)}", (kind,)
    elif draw < 0.55:
        about, expect = f" about {a(kind)} named {hero}", (hero,)
    elif draw < 0.65:
        about = f" about {topic(rng)}"
    long = rng.random() < 0.3
    word = (
        rng.choice(["long story", "longer story", "very long story"])
        if long
        else rng.choice(["story", "story", "tale", "short story", "fairy tale", "bedtime story"])
    )
    ask = _request(rng, word, about)
    return pair("story", ask, story_text(rng, hero, kind, 9 if long else 0), expect)


_LINES = (
    "Hello! 👋 I am OpenedAI Tiny, a tiny demonstration model.",
    "Hello, my name is OpenedAI Tiny, and I am a tiny demonstration model.",
    "My name is OpenedAI Tiny, and I am a tiny demonstration model.",
    "Hello, world! How are you today? I am fine, thank you.",
    "The quick brown fox jumps over the lazy dog.",
    "Say this is a test\n\nThis is a test.",
    "This is a test. It works. ✅",
    "Roses are red, violets are blue, this model is tiny, but it says hello to you. 🌹",
    "The sky is blue, the grass is green, and the sun is warm.",
    ("def fibonacci(n):\n    if n < 2:\n        return n\n    return fibonacci(n - 1) + fibonacci(n - 2)\n"),
    "I am a tiny demonstration model. Load a bigger model for real work.",
)


def code(rng: random.Random) -> str:
    """A very small Python function, for plain text and for filling holes."""
    one, two = rng.choice([("a", "b"), ("x", "y"), ("first", "second"), ("left", "right")])
    name, sign = rng.choice([("add", "+"), ("subtract", "-"), ("multiply", "*"), ("divide", "/")])
    greeting = rng.choice(["Hello", "Hi", "Welcome", "Goodbye"])
    return rng.choice(
        [
            f"def {name}({one}, {two}):\n    return {one} {sign} {two}\n",
            f"def {name}({one}: int, {two}: int) -> int:\n    return {one} {sign} {two}\n",
            f'def greet(name):\n    print("{greeting}, " + name)\n',
            f"for {one} in range({rng.randint(2, 20)}):\n    print({one})\n",
            f"def is_even({one}):\n    return {one} % 2 == 0\n",
            (f"def maximum({one}, {two}):\n    if {one} > {two}:\n        return {one}\n    return {two}\n"),
            'print("Hello, world!")\n',
        ]
    )


def plain(rng: random.Random) -> Example:
    """Text without chat marks, which /v1/completions continues and ends."""
    draw = rng.random()
    if draw < 0.40:
        text = story_text(rng)
    elif draw < 0.60:
        text = " ".join(random_sentence(rng) for _ in range(rng.randint(1, 6)))
    elif draw < 0.75:
        maker = rng.choice([talk.fact, talk.fact, talk.talk, skills.capital, copying.repeat, joke])
        ask, answer = (message["content"] for message in maker(rng).messages)
        form = rng.choice(["Q: {q}\nA: {a}", "Question: {q}\nAnswer: {a}", "{q}\n{a}", "{q}\n\n{a}"])
        text = form.replace("{q}", ask).replace("{a}", answer)
    elif draw < 0.82:
        text = code(rng)
    elif draw < 0.92:
        first = rng.randint(0, 20)
        text = ", ".join(str(n) for n in range(first, first + rng.randint(5, 25)))
    elif draw < 0.96:
        country = rng.choice(list(skills.CAPITALS))
        text = f"The capital of {country} is {skills.CAPITALS[country]}."
    else:
        text = rng.choice(_LINES)
    return Example("plain", text=text)


def fill(rng: random.Random) -> Example:
    """A text with a hole, in the order prefix, suffix, middle."""
    draw = rng.random()
    text = code(rng) if draw < 0.5 else story_text(rng, parts=4) if draw < 0.6 else random_sentence(rng)
    start = rng.randrange(1, len(text) - 1)
    end = rng.randrange(start + 1, min(len(text), start + 40) + 1)
    whole = f"<|fim_prefix|>{text[:start]}<|fim_suffix|>{text[end:]}<|fim_middle|>{text[start:end]}"
    return Example("fill", text=whole)
