"""Word lists that several behaviours share, and makers of random words and phrases."""

# Word lists are kept as one string each: that reads better than a column of words.
from __future__ import annotations

import random

NAMES = (
    "Ada Ben Carla Dev Elena Farid Grace Hugo Ines Jonas Kira Liam Maya Noor Olga Pablo Quinn "
    "Rosa Sami Tara Uma Victor Wanda Xena Yusuf Zoe Zoë José Chloé Jürgen Søren Anaïs Łukasz "
    "Nadia Omar Petra Ravi Sofia Tom Anna Max Lena Mira Niko Bob Alice Sam Kim Lee Ana Ivan "
    "Emma Oscar Paul Laura Marco Dana Felix Greta Hans Ida Karl Lucy Mary John Peter Susan"
).split()

CITIES = [
    *"Paris London Berlin Madrid Rome Lisbon Vienna Oslo Tokyo Cairo Lima Quito Delhi Seoul "
    "Dublin Prague Athens Helsinki Warsaw Boston Chicago Denver Austin Toronto Sydney Nairobi "
    "Lagos Accra Zürich München Málaga Bogotá Hamburg Lyon Milan Porto Geneva Naples Dallas "
    "Seattle Osaka Mumbai Bangkok Hanoi Manila Perth Auckland Bergen Ghent Kraków".split(),
    "New York",
    "San Francisco",
    "São Paulo",
    "Buenos Aires",
    "Cape Town",
    "Mexico City",
]

ANIMALS = (
    "cat dog fox owl bear hen duck frog mouse otter hare goat crow whale snail bee turtle "
    "rabbit horse sparrow badger hedgehog seal goose lamb"
).split()

COLOURS = "red blue green yellow orange purple white black brown pink grey golden silver".split()

FRUITS = ("apple banana cherry grape lemon lime mango melon orange peach pear plum fig kiwi").split()

THINGS = (
    "lamp boat kite key map clock drum bell book cup hat coat stone ladder bridge garden window "
    "door river hill forest cloud star moon train wheel basket letter box mirror candle rope "
    "bottle chair table pencil radio engine feather button bread cake soup tea coffee"
).split()

ADJECTIVES = (
    "small old bright quiet brave slow quick warm cold soft kind happy shy clever gentle round "
    "heavy light dark clean fresh strange lucky tall tiny proud calm busy"
).split()

VERBS = (
    "runs sings waits sleeps jumps smiles walks dances flies reads works swims looks rests listens turns stops plays"
).split()

OBJECTS = (
    "lamp boat kite key map clock drum bell book cup hat coat stone ladder letter box mirror "
    "candle rope bottle chair table pencil radio feather button basket wheel ball ring flute"
).split()

PLACES = (
    "village harbour forest valley mountain island town garden library market lighthouse "
    "station school farm bakery museum"
).split()

EMOJI = (
    "😀 😄 🙂 😊 🎉 🌟 ⭐ 🌈 🌞 🌙 🔥 🚀 🐱 🐶 🦊 🦉 🐻 🍎 🍌 🍋 🌻 🌲 🎈 🎵 📚 ☕ 👋 👍 ❤️ ✨ 🤖 🐢 🍕 💡 ✅ 🙏"
).split()

ACCENTED = (
    "café naïve résumé déjà élève garçon Straße grün über Köln señor mañana niño açaí coração "
    "smørrebrød blåbær jalapeño crème brûlée piñata façade Привет мир привет спасибо こんにちは "
    "世界 你好 谢谢 안녕 γεια κόσμε žluťoučký kůň łódź ångström"
).split()

PLAIN_WORDS = (
    "the a one two three my your our this that hello world good morning night day yes no test "
    "code data open server model token fast slow first last again always never here there hot "
    "big little new old time line word phrase message number green water fire earth wind rain "
    "snow sun sky road house home friend team work play stop start left right up down apple "
    "street music paper simple check done ready set go ok please thanks bye welcome back "
    "stream key port file text answer question list item end begin over under quick brown fox"
).split()

_ONSETS = "b c d f g h j k l m n p r s t v w z br cl dr fl gr pl st tr ch sh th qu".split()
_VOWELS = "a e i o u ai ea ee oo ou".split()
_CODAS = ["", "", "", "n", "r", "s", "t", "l", "m", "nd", "st", "x", "ck"]


def made_up_word(rng: random.Random, syllables: int = 0) -> str:
    """A word that means nothing, such as "plonter": it stands for words never seen."""
    count = syllables or rng.choice([1, 2, 2, 2, 3])
    parts = [rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(count)]
    return "".join(parts)


_SCRIPTS = ((0x61, 26), (0x41, 26), (0xE0, 31), (0x430, 32), (0x3B1, 24), (0x3042, 80), (0x4E00, 2000))


def odd_word(rng: random.Random) -> str:
    """Letters and digits in no order, or a few letters of another script."""
    if rng.random() < 0.6:
        marks = "abcdefghijklmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ0123456789"
        text = "".join(rng.choice(marks) for _ in range(rng.randint(2, 8)))
        return text if rng.random() < 0.7 else text[:2] + rng.choice("-_./:@#+=") + text[2:]
    first, size = rng.choice(_SCRIPTS)
    return "".join(chr(first + rng.randrange(size)) for _ in range(rng.randint(1, 4)))


def random_word(rng: random.Random) -> str:
    """Any word: plain, a thing, a name, made up, a number, accented."""
    draw = rng.random()
    if draw < 0.42:
        return rng.choice(PLAIN_WORDS)
    if draw < 0.62:
        return rng.choice(rng.choice([THINGS, ANIMALS, COLOURS, FRUITS, ADJECTIVES, VERBS]))
    if draw < 0.70:
        return rng.choice(rng.choice([NAMES, CITIES]))
    if draw < 0.84:
        word = made_up_word(rng)
        return word.capitalize() if rng.random() < 0.2 else word
    if draw < 0.90:
        return odd_word(rng)
    if draw < 0.95:
        return str(rng.randrange(10 ** rng.choice([1, 2, 3, 4])))
    return rng.choice(ACCENTED)


def random_phrase(rng: random.Random, longest: int = 8) -> str:
    """One to `longest` words with random case, marks and emoji."""
    if longest >= 8 and rng.random() < 0.2:
        return random_sentence(rng)
    words = [random_word(rng) for _ in range(rng.randint(1, longest))]
    text = " ".join(words)
    draw = rng.random()
    if draw < 0.30:
        text = text[:1].upper() + text[1:]
    elif draw < 0.36:
        text = text.upper()
    elif draw < 0.42 and len(words) > 1:
        text = ", ".join(words)
    elif draw < 0.46:
        text = "".join(words) if rng.random() < 0.5 else "-".join(words)
    if rng.random() < 0.25:
        text += rng.choice([".", "!", "?", "...", "!!", " :)"])
    if rng.random() < 0.12:
        text += " " + rng.choice(EMOJI)
    if rng.random() < 0.04:
        text = rng.choice(EMOJI) + " " + text
    return text


def a(word: str) -> str:
    """The word with "a" or "an" before it."""
    return f"{'an' if word[0].lower() in 'aeiou' else 'a'} {word}"


def random_sentence(rng: random.Random) -> str:
    """A plain grammatical sentence, for system prompts and plain text."""
    animal, thing, place = rng.choice(ANIMALS), rng.choice(THINGS), rng.choice(PLACES)
    first, second = rng.choice(ADJECTIVES), rng.choice(ADJECTIVES)
    forms = [
        f"The {first} {animal} {rng.choice(VERBS)} near the {second} {thing}.",
        f"There is {a(first)} {thing} in the {place}.",
        f"Every morning the {animal} walks to the {place}.",
        f"{rng.choice(NAMES)} found {a(second)} {thing} in {rng.choice(CITIES)}.",
        f"In the {place} lives {a(first)} {animal} with {a(rng.choice(COLOURS))} {thing}.",
        f"Nobody knew why the {thing} was so {second}.",
        f"{rng.choice(NAMES)} likes the {rng.choice(COLOURS)} {thing} best.",
    ]
    return rng.choice(forms)
