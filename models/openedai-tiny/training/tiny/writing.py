"""Jokes, haiku, poems, stories, plain text to continue, and text with a hole to fill."""

from tiny.skills import CAPITALS, capital
from tiny.talk import fact, repeat, talk, topic
from tiny.text import RECIPES, WORDS, Example, Rng, a, fill, pair


def _request(rng: Rng, kind: str, about: str = "") -> str:
    """Ask for a piece of writing, with a subject now and then."""
    return rng.noisy(rng.say("write", kind=kind, about=about), slips=not about)


def joke(rng: Rng) -> Example:
    about = f" about {topic(rng)}" if rng.chance(0.15) else ""
    ask = rng.choice([_request(rng, "joke", about), "Make me laugh", "make me laugh!", "Do you know a joke?"])
    return pair("joke", ask, rng.choice(RECIPES["jokes"]), ("?",))


def _subject(rng: Rng) -> tuple[str, str]:
    """What a poem is to be about, or nothing; and what it is about."""
    if not rng.chance(0.75):
        return "", rng.choice(["the moon", "the rain", "the river", "the snow"])
    draw = rng.random()
    if draw < 0.4:
        noun = rng.choice(WORDS["things"] + WORDS["animals"] + WORDS["places"])
        about = f"the {noun}" if rng.chance(0.7) else a(noun)
    else:
        about = rng.pick("cities") if draw < 0.55 else topic(rng)
    return about, about


def haiku(rng: Rng) -> Example:
    about, name = _subject(rng)
    lines = [rng.choice(choices) for choices in RECIPES["haiku"]]
    lead = f" {rng.choice(['about', 'on', 'about'])} {about}" if about else ""
    return pair("haiku", _request(rng, "haiku", lead), fill(",\n".join(lines), {"name": name}), (name,))


def poem(rng: Rng) -> Example:
    about, name = _subject(rng)
    colour = rng.choice(["red", "blue", "gold"])
    ending = {"red": "beside my bed", "blue": "for you", "gold": "so sweet and old"}[colour]
    text = (
        f"I think of {name} and the sky turns {colour},\na small bird sings a song {ending},\n"
        f"the night is calm, the stars are near,\nand {name} is all I hear. 🌟"
    )
    ask = _request(rng, rng.choice(["poem", "poem", "rhyme", "verse"]), f" about {about}" if about else "")
    return pair("poem", ask, text, (name,))


def story_text(rng: Rng, hero: str = "", kind: str = "", parts: int = 0) -> str:
    """A short story of about 60 to 200 tokens; every sentence follows from the one before."""
    kind = kind or rng.pick("animals")
    hero = hero or rng.pick("names")
    first, second = rng.sample(WORDS["adjectives"], 2)
    place, goal = rng.sample(WORDS["places"], 2)
    thing, colour = rng.pick("objects"), rng.pick("colours")
    friend = rng.choice([animal for animal in WORDS["animals"] if animal != kind])
    opening = rng.choice(RECIPES["story_opening"])
    middle = list(RECIPES["story"])
    wanted = parts or rng.randint(4, 9)
    skipped = {1, 3, 5, 6, 8}
    while sum(map(bool, middle)) > wanted and skipped:
        drop = rng.choice(sorted(skipped))
        # A question and its answer go together.
        for line in {5, 6} if drop in (5, 6) else {drop}:
            middle[line] = ""
            skipped.discard(line)
    text = " ".join([opening, *filter(None, middle), rng.choice(RECIPES["story_ending"])])
    slots = {"kind": kind, "hero": hero, "place": place, "goal": goal, "thing": thing, "colour": colour}
    return fill(text, {**slots, "friend": friend, "a first": a(first), "a second": a(second), "a colour": a(colour)})


def story(rng: Rng) -> Example:
    kind, hero, draw = rng.pick("animals"), rng.pick("names"), rng.random()
    about, expect = "", ("there was", "lived")
    if draw < 0.35:
        about, expect = f" about {a(kind)}", (kind,)
    elif draw < 0.55:
        about, expect = f" about {a(kind)} named {hero}", (hero,)
    elif draw < 0.65:
        about = f" about {topic(rng)}"
    long = rng.chance(0.3)
    word = (
        rng.choice(["long story", "longer story", "very long story"])
        if long
        else rng.choice(["story", "story", "tale", "short story", "fairy tale", "bedtime story"])
    )
    ask = _request(rng, word, about)
    return pair("story", ask, story_text(rng, hero, kind, 9 if long else 0), expect)


def code(rng: Rng) -> str:
    """A very small Python function, for plain text and for filling holes."""
    one, two = rng.choice([("a", "b"), ("x", "y"), ("first", "second"), ("left", "right")])
    name, sign = rng.choice([("add", "+"), ("subtract", "-"), ("multiply", "*"), ("divide", "/")])
    greeting, n = rng.choice(["Hello", "Hi", "Welcome", "Goodbye"]), rng.randint(2, 20)
    slots = {"one": one, "two": two, "name": name, "sign": sign, "greeting": greeting, "n": n}
    return fill(rng.choice(RECIPES["code"]), slots)


def plain(rng: Rng) -> Example:
    draw = rng.random()
    if draw < 0.40:
        text = story_text(rng)
    elif draw < 0.60:
        text = " ".join(rng.sentence() for _ in range(rng.randint(1, 6)))
    elif draw < 0.75:
        inner = rng.choice([fact, fact, talk, capital, repeat, joke])(rng)
        ask, answer = (message["content"] for message in inner.messages)
        form = rng.choice(["Q: {q}\nA: {a}", "Question: {q}\nAnswer: {a}", "{q}\n{a}", "{q}\n\n{a}"])
        text = form.replace("{q}", ask).replace("{a}", answer)
    elif draw < 0.82:
        text = code(rng)
    elif draw < 0.92:
        first = rng.randint(0, 20)
        text = ", ".join(str(n) for n in range(first, first + rng.randint(5, 25)))
    elif draw < 0.96:
        country = rng.choice(list(CAPITALS))
        text = f"The capital of {country} is {CAPITALS[country]}."
    else:
        text = rng.choice(RECIPES["lines"])
    return Example("plain", text=text)


def hole(rng: Rng) -> Example:
    draw = rng.random()
    text = code(rng) if draw < 0.5 else story_text(rng, parts=4) if draw < 0.6 else rng.sentence()
    start = rng.randrange(1, len(text) - 1)
    end = rng.randrange(start + 1, min(len(text), start + 40) + 1)
    whole = f"<|fim_prefix|>{text[:start]}<|fim_suffix|>{text[end:]}<|fim_middle|>{text[start:end]}"
    return Example("fill", text=whole)
