"""Small skills with one right answer: counting, lists, sums, capitals, opposites, words."""

# Word lists are kept as one string each: that reads better than a column of words.
from __future__ import annotations

import random

from tiny.example import Example, pair
from tiny.grammar import expand
from tiny.noise import noisy

CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid",
    "Portugal": "Lisbon", "England": "London", "the United Kingdom": "London",
    "Ireland": "Dublin", "Norway": "Oslo", "Sweden": "Stockholm", "Denmark": "Copenhagen",
    "Finland": "Helsinki", "Poland": "Warsaw", "Austria": "Vienna", "Hungary": "Budapest",
    "Greece": "Athens", "Turkey": "Ankara", "Russia": "Moscow", "Ukraine": "Kyiv",
    "Japan": "Tokyo", "China": "Beijing", "India": "New Delhi", "Egypt": "Cairo",
    "Kenya": "Nairobi", "Canada": "Ottawa", "Mexico": "Mexico City", "Peru": "Lima",
    "Brazil": "Brasília", "Argentina": "Buenos Aires", "Chile": "Santiago",
    "Colombia": "Bogotá", "Cuba": "Havana", "Australia": "Canberra", "Thailand": "Bangkok",
    "Vietnam": "Hanoi", "Belgium": "Brussels", "the Netherlands": "Amsterdam",
    "Iceland": "Reykjavík", "Romania": "Bucharest", "Bulgaria": "Sofia",
    "the United States": "Washington, D.C.", "the USA": "Washington, D.C.",
    "South Korea": "Seoul", "Switzerland": "Bern", "Croatia": "Zagreb",
}  # fmt: skip

OPPOSITES = {
    "hot": "cold", "big": "small", "up": "down", "left": "right", "day": "night",
    "good": "bad", "old": "new", "fast": "slow", "light": "dark", "happy": "sad", "open": "closed",
    "yes": "no", "high": "low", "long": "short", "full": "empty", "hard": "soft",
    "early": "late", "rich": "poor", "wet": "dry", "black": "white", "north": "south",
    "east": "west", "first": "last", "loud": "quiet", "strong": "weak", "young": "old",
    "true": "false", "inside": "outside", "love": "hate", "clean": "dirty",
}  # fmt: skip

# word: language: translation
WORDS = {
    "hello": {
        "Spanish": "¡Hola!", "French": "Bonjour !", "German": "Hallo!", "Italian": "Ciao!",
        "Portuguese": "Olá!", "Russian": "Здравствуйте!", "Japanese": "こんにちは",
        "Chinese": "你好", "Greek": "Γειά σου!", "Polish": "Cześć!", "Swedish": "Hej!",
        "Turkish": "Merhaba!", "Korean": "안녕하세요", "Dutch": "Hallo!",
    },
    "thank you": {
        "Spanish": "¡Gracias!", "French": "Merci !", "German": "Danke schön!",
        "Italian": "Grazie!", "Portuguese": "Obrigado!", "Russian": "Спасибо!",
        "Japanese": "ありがとう", "Chinese": "谢谢", "Greek": "Ευχαριστώ!", "Polish": "Dziękuję!",
        "Swedish": "Tack!", "Turkish": "Teşekkür ederim!", "Korean": "감사합니다",
        "Dutch": "Dank je!",
    },
    "goodbye": {
        "Spanish": "¡Adiós!", "French": "Au revoir !", "German": "Tschüss!",
        "Italian": "Arrivederci!", "Portuguese": "Adeus!", "Russian": "До свидания!",
        "Japanese": "さようなら", "Chinese": "再见", "Polish": "Do widzenia!", "Swedish": "Hej då!",
    },
    "good morning": {
        "Spanish": "¡Buenos días!", "French": "Bonjour !", "German": "Guten Morgen!",
        "Italian": "Buongiorno!", "Portuguese": "Bom dia!", "Russian": "Доброе утро!",
        "Japanese": "おはよう", "Chinese": "早上好", "Polish": "Dzień dobry!",
    },
    "please": {
        "Spanish": "por favor", "French": "s'il vous plaît", "German": "bitte",
        "Italian": "per favore", "Portuguese": "por favor", "Russian": "пожалуйста",
    },
    "coffee": {"Spanish": "café", "French": "café", "German": "Kaffee", "Italian": "caffè"},
}  # fmt: skip

# name in a question: (words that ask for it, the answer)
LISTS = {
    "weekdays": (
        "days of the week|weekdays|week days|seven days of the week|days in a week",
        "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday",
    ),
    "months": (
        "months|months of the year|twelve months|months in a year",
        ("January, February, March, April, May, June, July, August, September, October, November, December"),
    ),
    "seasons": ("seasons|four seasons|seasons of the year", "spring, summer, autumn, winter"),
    "planets": (
        "planets|eight planets|planets of the solar system",
        "Mercury, Venus, Earth, Mars, Jupiter, Saturn, Uranus, Neptune",
    ),
    "alphabet": (
        "letters|letters of the alphabet|alphabet|ABC|English alphabet",
        "a b c d e f g h i j k l m n o p q r s t u v w x y z",
    ),
    "vowels": ("vowels|English vowels", "a, e, i, o, u"),
}

_KINDS = {
    "colours": (("colours", "colors"), "red, blue, green, yellow, orange".split(", ")),
    "fruits": (("fruits", "kinds of fruit"), "apple, banana, cherry, grape, pear".split(", ")),
    "animals": (("animals", "kinds of animals"), "cat, dog, horse, owl, fox".split(", ")),
    "vegetables": (("vegetables",), "carrot, potato, onion, pea, cabbage".split(", ")),
    "countries": (("countries",), "France, Japan, Brazil, Kenya, Canada".split(", ")),
    "cities": (("cities", "towns"), "Paris, Tokyo, Lima, Cairo, Oslo".split(", ")),
    "languages": (("languages", "programming languages"), "Python, Rust, C, Java, Go".split(", ")),
}
_NUMBER_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]

_COMMON = "(What is|what's|What's|Tell me|Do you know|Give me|Name|I need|Say|Can you tell me)"


def count(rng: random.Random) -> Example:
    """Numbers in order, up or down; mostly short, now and then up to one hundred."""
    draw = rng.random()
    low, high = 1, rng.randint(2, 20)
    if draw < 0.20:
        low, high = sorted(rng.sample(range(31), 2))
    elif draw < 0.26:
        high = rng.choice([25, 30, 40, 50, 100, rng.randint(21, 100)])
    down = draw > 0.85
    if down:
        low, high = rng.choice([0, 1, 1, 1]), rng.randint(3, 20)
    numbers = list(range(low, high + 1))
    if down:
        numbers.reverse()
        recipe = "(Count|count|Can you count|Please count) (down |backwards |)from <b> (down |)(to|until) <a>(.|)"
    elif low == 1 and rng.random() < 0.4:
        recipe = "(Count|count|Please count|Can you count|Count up|Count slowly) (to|up to|until) <b>(.|?|)"
    else:
        recipe = (
            "(Count|count|Please count|Can you count|Count up|Write the numbers|List the "
            "numbers|Say the numbers|Give me the numbers|Numbers) from <a> (to|up to|until) "
            "<b>(.|)"
        )
    use_words = high <= 10 and low <= 10 and rng.random() < 0.15
    slots = {"a": _NUMBER_WORDS[low] if use_words else str(low)}
    slots["b"] = _NUMBER_WORDS[high] if use_words else str(high)
    answer = ", ".join(str(n) for n in numbers)
    return pair("count", noisy(rng, expand(rng, recipe, slots), slips=False), answer, exact=True)


def known_list(rng: random.Random) -> Example:
    """A list with a fixed order: weekdays, months, letters ..."""
    words, answer = LISTS[rng.choice(list(LISTS))]
    recipe = (
        f"(List|Name|Tell me|Write|Say|Give me|What are|Recite|Show me|list|name|what are|Can "
        f"you list|Which are) (|all |all of )the ({words})(.|?|)(| in order)"
    )
    return pair("list", noisy(rng, expand(rng, recipe)), answer, exact=True)


def some_of(rng: random.Random) -> Example:
    """Some members of a kind: three colours, five fruits, one animal."""
    names, members = _KINDS[rng.choice(list(_KINDS))]
    how_many = rng.randint(2, 5)
    number = rng.choice([str(how_many), _NUMBER_WORDS[how_many]])
    if rng.random() < 0.2:
        number, how_many = rng.choice(["some", "a few", "me some"]), 3
    verb = (
        "Give"
        if number == "me some"
        else rng.choice(["List", "Name", "Give me", "Tell me", "Write", "Say", "list", "name"])
    )
    ask = f"{verb} {number} {rng.choice(names)}"
    return pair("list", noisy(rng, ask + rng.choice(["", "."]), slips=False), ", ".join(members[:how_many]), exact=True)


def order(rng: random.Random) -> Example:
    """Which day or month comes before or after another."""
    days = LISTS["weekdays"][1].split(", ")
    months = LISTS["months"][1].split(", ")
    members, kind = rng.choice([(days, "day"), (months, "month")])
    i = rng.randrange(len(members))
    after = rng.random() < 0.6
    answer = members[(i + (1 if after else -1)) % len(members)]
    where = ("after", "follows") if after else ("before", "precedes")
    recipe = f"(What|Which) {kind} (comes {where[0]}|is {where[0]}|{where[1]}) <x>(?|)|What comes {where[0]} <x>(?|)"
    return pair("order", noisy(rng, expand(rng, recipe, {"x": members[i]})), f"{answer}.", (answer,))


def sums(rng: random.Random) -> Example:
    """Adding up to 20 and taking away, with small numbers."""
    minus = rng.random() < 0.25
    if minus:
        a = rng.randint(0, 20)
        b = rng.randint(0, a)
        total, signs = a - b, ["-", " - ", " minus ", " take away "]
    else:
        a = rng.randint(0, 20)
        b = rng.randint(0, 20 - a)
        total, signs = a + b, ["+", " + ", " plus ", " and "]
    sign = rng.choice(signs[:3])
    recipe = (
        "(What is|what is|What's|whats|How much is|Calculate|Compute|Add up|Tell me|Solve|Work out|) <sum>(?|=| =|= ?|)"
    )
    if minus:
        recipe = recipe.replace("Add up|", "")
    ask = expand(rng, recipe, {"sum": f"{a}{sign}{b}"}).strip()
    equation = f"{a} {'-' if minus else '+'} {b} = {total}"
    return pair("sums", ask, equation, exact=True)


def big_sums(rng: random.Random) -> Example:
    """A sum outside what the model has learnt: it says so."""
    a, b = rng.randint(21, 9999), rng.randint(2, 9999)
    if rng.random() < 0.4:
        a, b = rng.randint(21, 99), rng.randint(2, 99)
    sign = rng.choice(["+", "-", "*", "/", " + ", " * ", " times ", " plus ", " divided by ", " x "])
    recipe = "(What is|what is|What's|How much is|Calculate|Compute|Solve|) <sum>(?|=|)"
    ask = expand(rng, recipe, {"sum": f"{a}{sign}{b}"}).strip()
    answer = "I can only add small numbers, up to 20. I am a tiny demonstration model."
    return pair("big_sums", ask, answer, ("tiny demonstration model",))


def capital(rng: random.Random) -> Example:
    """The capital of a country."""
    country = rng.choice(list(CAPITALS))
    recipe = (
        f"({_COMMON} the capital (of|city of) <c>|(Which|What) city is the capital of <c>|"
        f"capital of <c>|<c> capital|the capital of <c>(| is))(?|)"
    )
    ask = noisy(rng, expand(rng, recipe, {"c": country}))
    answer = f"The capital of {country} is {CAPITALS[country]}."
    return pair("capitals", ask, answer, (CAPITALS[country],))


def opposite(rng: random.Random) -> Example:
    """The opposite of a word."""
    word = rng.choice(list(OPPOSITES))
    recipe = (
        f"({_COMMON} the opposite of <w>|opposite of <w>|(What is|What's) the (contrary|"
        f"antonym) of <w>|Which word is the opposite of <w>)(?|)"
    )
    quoted = rng.choice([word, word, f'"{word}"'])
    ask = noisy(rng, expand(rng, recipe, {"w": quoted}), slips=False)
    answer = f"The opposite of {word} is {OPPOSITES[word]}."
    return pair("opposites", ask, answer, (f"is {OPPOSITES[word]}",))


def translate(rng: random.Random) -> Example:
    """A common word in another language."""
    word = rng.choice(list(WORDS))
    language = rng.choice(list(WORDS[word]))
    recipe = (
        "(How do you say|How do I say|how to say|Say|say|What is|Write|Can you say) (<w>|"
        "\"<w>\"|'<w>') in <l>(?|)|(Translate|translate|Please translate) (<w>|\"<w>\"|'<w>') "
        "(into|to) <l>(.|)"
    )
    ask = expand(rng, recipe, {"w": word, "l": language})
    return pair("translate", noisy(rng, ask, slips=False), WORDS[word][language], (WORDS[word][language],))
