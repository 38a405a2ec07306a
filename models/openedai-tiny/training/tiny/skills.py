"""Small skills with one right answer: counting, lists, sums, capitals, opposites, words."""

from tiny.talk import HUMBLE
from tiny.text import RECIPES, WORDS, Example, Rng, load, pair, words

SKILLS = load("skills")
CAPITALS: dict[str, str] = SKILLS["capitals"]


def count(rng: Rng) -> Example:
    draw = rng.random()
    low, high, recipe = 1, rng.randint(2, 20), "count_from"
    if draw < 0.20:
        low, high = sorted(rng.sample(range(31), 2))
    elif draw < 0.26:
        high = rng.choice([25, 30, 40, 50, 100, rng.randint(21, 100)])
    if draw > 0.85:
        low, high, recipe = rng.choice([0, 1, 1, 1]), rng.randint(3, 20), "count_down"
    elif low == 1 and rng.chance(0.4):
        recipe = "count_to"
    numbers = list(range(low, high + 1))
    spelt = high <= 10 and low <= 10 and rng.chance(0.15)
    first, last = (WORDS["number_words"][n] if spelt else n for n in (low, high))
    ask = rng.noisy(rng.say(recipe, a=first, b=last), slips=False)
    return pair("count", ask, ", ".join(map(str, numbers[:: -1 if draw > 0.85 else 1])), exact=True)


def known_list(rng: Rng) -> Example:
    names, answer = SKILLS["lists"][rng.choice(list(SKILLS["lists"]))]
    ask = rng.noisy(rng.expand(RECIPES["known_list"].replace("WORDS", names)))
    return pair("list", ask, answer, exact=True)


def some_of(rng: Rng) -> Example:
    names, members = SKILLS["kinds"][rng.choice(list(SKILLS["kinds"]))]
    how_many = rng.randint(2, 5)
    number, verb = rng.choice([str(how_many), WORDS["number_words"][how_many]]), ""
    if rng.chance(0.2):
        number, how_many = rng.choice(["some", "a few", "me some"]), 3
    verbs = ["Give"] if number == "me some" else ["List", "Name", "Give me", "Tell me", "Write", "Say", "list", "name"]
    verb = verbs[0] if len(verbs) == 1 else rng.choice(verbs)
    ask = f"{verb} {number} {rng.choice(words(names))}" + rng.choice(["", "."])
    return pair("list", rng.noisy(ask, slips=False), ", ".join(members.split(", ")[:how_many]), exact=True)


def order(rng: Rng) -> Example:
    name, kind = rng.choice([("weekdays", "day"), ("months", "month")])
    members = SKILLS["lists"][name][1].split(", ")
    i = rng.randrange(len(members))
    step, where, verb = (1, "after", "follows") if rng.chance(0.6) else (-1, "before", "precedes")
    answer = members[(i + step) % len(members)]
    ask = rng.noisy(rng.say("order", kind=kind, where=where, verb=verb, x=members[i]))
    return pair("order", ask, f"{answer}.", (answer,))


def sums(rng: Rng) -> Example:
    minus = rng.chance(0.25)
    a = rng.randint(0, 20)
    b = rng.randint(0, a if minus else 20 - a)
    sign = rng.choice(["-", " - ", " minus "] if minus else ["+", " + ", " plus "])
    recipe = RECIPES["sums"].replace("Add up|", "") if minus else RECIPES["sums"]
    ask = rng.expand(recipe, {"sum": f"{a}{sign}{b}"}).strip()
    return pair("sums", ask, f"{a} - {b} = {a - b}" if minus else f"{a} + {b} = {a + b}", exact=True)


def big_sums(rng: Rng) -> Example:
    a, b = rng.randint(21, 9999), rng.randint(2, 9999)
    if rng.chance(0.4):
        a, b = rng.randint(21, 99), rng.randint(2, 99)
    sign = rng.choice(["+", "-", "*", "/", " + ", " * ", " times ", " plus ", " divided by ", " x "])
    answer = "I can only add small numbers, up to 20. I am a tiny demonstration model."
    return pair("big_sums", rng.say("big_sums", sum=f"{a}{sign}{b}").strip(), answer, HUMBLE)


def capital(rng: Rng) -> Example:
    country = rng.choice(list(CAPITALS))
    answer = f"The capital of {country} is {CAPITALS[country]}."
    return pair("capitals", rng.noisy(rng.say("capital", c=country)), answer, (CAPITALS[country],))


def opposite(rng: Rng) -> Example:
    word = rng.choice(list(SKILLS["opposites"]))
    other = SKILLS["opposites"][word]
    ask = rng.say("opposite", w=rng.choice([word, word, f'"{word}"']))
    return pair("opposites", rng.noisy(ask, slips=False), f"The opposite of {word} is {other}.", (f"is {other}",))


def translate(rng: Rng) -> Example:
    word = rng.choice(list(SKILLS["translations"]))
    language = rng.choice(list(SKILLS["translations"][word]))
    answer = SKILLS["translations"][word][language]
    return pair("translate", rng.noisy(rng.say("translate", w=word, l=language), slips=False), answer, (answer,))
