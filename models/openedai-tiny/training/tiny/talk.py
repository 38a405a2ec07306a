"""Small talk, project facts, what is not known, and phrases to repeat."""

from tiny.text import RECIPES, WORDS, Example, Rng, load, pair, words

TALK: dict[str, dict[str, list[str]]] = load("talk")
FACTS: list[dict] = list(load("facts").values())
POPULAR: list[list[str]] = load("popular")["popular"]
HUMBLE = ("tiny demonstration model",)


def talk(rng: Rng) -> Example:
    kind = rng.choice(list(TALK))
    ask = rng.expand(rng.choice(TALK[kind]["ask"]), {"city": rng.pick("cities")})
    if rng.chance(0.5):
        ask = ask[:1].upper() + ask[1:]
    return pair(kind, rng.noisy(ask), rng.choice(TALK[kind]["answers"]), TALK[kind]["expect"])


def fact(rng: Rng) -> Example:
    chosen = rng.choice(FACTS)
    if rng.chance(0.4):
        word = rng.choice(words(chosen["keywords"]))
        filler = " ".join(rng.pick("fillers") for _ in range(rng.randint(1, 2)))
        ask = rng.say("frames", kw=word, filler=filler)
    else:
        ask = rng.expand(rng.choice(chosen["ask"]))
    if rng.chance(0.6):
        ask = ask[:1].upper() + ask[1:]
    return pair("facts", rng.noisy(ask), rng.choice(chosen["answers"]), chosen["expect"])


def popular(rng: Rng) -> Example:
    ask, answer = rng.choice(POPULAR)
    return pair("popular", ask, answer)


def topic(rng: Rng) -> str:
    """Something the model knows nothing about, real or made up."""
    draw = rng.random()
    if draw < 0.45:
        return rng.pick("unknown_topics")
    if draw < 0.85:
        text = " ".join(rng.made_up() for _ in range(rng.choice([1, 1, 2, 3])))
        return text.title() if rng.chance(0.3) else text
    return rng.choice([rng.pick("things") + "s", rng.pick("animals") + "s", rng.pick("names")])


def unknown(rng: Rng) -> Example:
    made = rng.made_up(2).capitalize()
    rest = " ".join(rng.made_up() for _ in range(rng.randint(2, 14)))
    ask = rng.expand(rng.choice(RECIPES["unknown"]), {"topic": topic(rng), "rest": rest, "made": made})
    if rng.chance(0.6):
        ask = ask[:1].upper() + ask[1:]
    return pair("unknown", rng.noisy(ask), rng.choice(RECIPES["unknown_answers"]), HUMBLE)


def pasted(rng: Rng) -> Example:
    parts = [rng.made_up() for _ in range(rng.randint(1, 40))]
    count = rng.randint(20, 300)
    mixed = rng.chance(0.5)
    text = " ".join([rng.choice(parts) for _ in range(count)] if mixed else (parts * count)[:count])
    answer = "That is a long text. I am a tiny demonstration model and cannot make much of it."
    return pair("pasted", text, answer, HUMBLE)


def repeat(rng: Rng) -> Example:
    if rng.chance(0.7):
        phrase = rng.phrase(rng.choice([2, 5, 8, 14])).replace('"', "").replace("'", "")
        ask = rng.say("repeat_marked", phrase=phrase)
    else:
        phrase = rng.phrase(rng.choice([2, 4, 6]))
        ask = rng.say("repeat_plain", phrase=phrase)
    return pair("repeat", ask, phrase, (phrase,), exact=True)


def repeat_long(rng: Rng) -> Example:
    if rng.chance(0.25):
        phrase = " ".join(rng.sentence() for _ in range(rng.randint(2, 5)))
    else:
        phrase = " ".join(rng.word().replace('"', "") for _ in range(rng.randint(12, 45)))
    marked = RECIPES["repeat_marked"]
    ask = rng.expand(rng.choice(marked[:1] + marked[3:5]), {"phrase": phrase})
    return pair("repeat_long", ask, phrase, exact=True)


def repeat_times(rng: Rng) -> Example:
    count = rng.randint(2, 5)
    word = rng.phrase(1)
    ask = rng.say("repeat_times", word=word, number=rng.choice([str(count), WORDS["number_words"][count]]))
    return pair("repeat_times", ask, " ".join([word] * count), exact=True)


def emoji(rng: Rng) -> Example:
    return pair("emoji", rng.say("emoji"), " ".join(rng.sample(WORDS["emoji"], 3)), WORDS["emoji"])
