"""Fields of structured answers: what they may be called, their shapes, and short values for them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tiny.lexicon import (
    ADJECTIVES,
    ANIMALS,
    CITIES,
    COLOURS,
    FRUITS,
    NAMES,
    OBJECTS,
    PLACES,
    PLAIN_WORDS,
    THINGS,
    VERBS,
    made_up_word,
    odd_word,
    random_word,
)
from tiny.schemas import Shape

Value = Callable[[random.Random], Any]

# What stands between these marks in an answer is there already when the model writes (a grammar
# has forced it) or cannot be known (letters in no order): it is not learnt.
GIVEN, GIVEN_END = "\ue000", "\ue001"

COUNTRIES = "France Spain Italy Japan Norway Peru Kenya Chile India Canada Ghana Greece".split()
TOPICS = (
    "music sport food travel art history science books weather money health games news work "
    "family school nature film cars garden safety time water energy design"
).split()


def given(text: str) -> str:
    """Text that is not learnt."""
    return f"{GIVEN}{text}{GIVEN_END}"


def _person(rng: random.Random) -> str:
    name = made_up_word(rng, 2).capitalize() if rng.random() < 0.15 else rng.choice(NAMES)
    last = rng.choice(NAMES) if rng.random() < 0.5 else rng.choice(THINGS).capitalize()
    return f"{name} {last}" if rng.random() < 0.45 else name


def _first(rng: random.Random) -> str:
    return rng.choice(NAMES)


def _word(rng: random.Random) -> str:
    lists = (THINGS, ANIMALS, COLOURS, FRUITS, ADJECTIVES, TOPICS, PLAIN_WORDS, PLACES)
    return rng.choice(rng.choice(lists))


def _title(rng: random.Random) -> str:
    text = f"{rng.choice(ADJECTIVES)} {rng.choice(THINGS)}"
    form = rng.random()
    return f"The {text}" if form < 0.35 else text.title() if form < 0.6 else text


def _sentence(rng: random.Random) -> str:
    thing, adjective = rng.choice(THINGS), rng.choice(ADJECTIVES)
    return rng.choice(
        [
            f"The {thing} is {adjective}.",
            f"It is {adjective}.",
            f"A {adjective} {thing}",
            f"It {rng.choice(VERBS)} well.",
            f"This is a {adjective} {thing}.",
            f"It is about {rng.choice(TOPICS)}.",
            f"{rng.choice(NAMES)} likes the {thing}.",
            f"{rng.choice(ADJECTIVES).capitalize()} and {adjective}",
            f"The {rng.choice(ANIMALS)} {rng.choice(VERBS)} in the {rng.choice(PLACES)}.",
        ]
    )


def _do(rng: random.Random) -> str:
    verb = rng.choice("check open clean read write find call paint move test send buy make".split())
    return f"{verb} the {rng.choice(OBJECTS)}".capitalize()


def _date(rng: random.Random) -> str:
    return f"20{rng.randint(10, 29)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"


def _clock(rng: random.Random) -> str:
    return f"{rng.randint(0, 23):02d}:{rng.choice(['00', '15', '30', '45'])}"


def moment(rng: random.Random) -> str:
    """A date and a time, as RFC 3339 has it."""
    return f"{_date(rng)}T{_clock(rng)}:00Z"


def email(rng: random.Random) -> str:
    """An address for e-mail."""
    return f"{rng.choice(NAMES).lower()}@{rng.choice(THINGS)}.{rng.choice(['com', 'org'])}".encode(
        "ascii", "ignore"
    ).decode()


def _link(rng: random.Random) -> str:
    return f"https://{rng.choice(THINGS)}.com/{rng.choice(THINGS)}"


def _uuid(rng: random.Random) -> str:
    digits = "".join(rng.choice("0123456789abcdef") for _ in range(32))
    return given("-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])))


def _code(rng: random.Random) -> str:
    letters = "".join(rng.choice("ABCDEFGHKLMNPRSTUVWX") for _ in range(rng.randint(1, 3)))
    return f"{letters}{rng.choice(['', '-'])}{rng.randint(1, 9999)}"


def _phone(rng: random.Random) -> str:
    return f"{rng.randint(100, 999)}-{rng.randint(1000, 9999)}"


def _street(rng: random.Random) -> str:
    return f"{rng.randint(1, 99)} {rng.choice(THINGS).capitalize()} Street"


def _junk(rng: random.Random) -> str:
    """What a model may have got into by bad luck: only the way out of it is learnt."""
    words = [rng.choice([odd_word, random_word, made_up_word])(rng) for _ in range(rng.randint(1, 6))]
    text = rng.choice([" ", " ", "", ", "]).join(words)
    return given("".join(mark for mark in text if mark not in '"\\'))


def _any_text(rng: random.Random) -> str:
    makers: list[Value] = [_word, _word, _title, _title, _sentence, _person, _do, _junk, _code]
    return str(rng.choice(makers)(rng))


def _small(rng: random.Random) -> int:
    return rng.choice([rng.randint(0, 10), rng.randint(0, 10), rng.randint(1, 100), rng.randint(1, 5000)])


def _real(rng: random.Random) -> float:
    whole = rng.choice([rng.randint(0, 9), rng.randint(0, 99), rng.randint(0, 999)])
    return rng.choice([round(whole + rng.random(), rng.choice([1, 2])), float(whole), whole + 0.5])


def _share(rng: random.Random) -> float:
    return rng.choice([round(rng.random(), 2), round(rng.random(), 1)])


# What a field may be called, its shape, and the maker of its value.
FIELDS: tuple[tuple[str, Shape, Value], ...] = (
    (
        "name full_name author user customer owner person manager director client host artist "
        "sender teacher player hero guest seller student contact_name fullName winner leader",
        "string",
        _person,
    ),
    ("first_name last_name nickname username login firstName alias to child friend", "string", _first),
    (
        "city town location place origin destination birthplace home capital from_city venue region",
        "string",
        lambda rng: rng.choice(CITIES),
    ),
    ("country nationality home_country state", "string", lambda rng: rng.choice(COUNTRIES)),
    ("street address shipping_address line1 home_address", "string", _street),
    ("age years patient_age user_age", "integer", lambda rng: rng.randint(1, 99)),
    ("year founded born released published_year", "integer", lambda rng: rng.randint(1950, 2029)),
    (
        "count quantity pages minutes size level rank number id amount total points legs seats votes "
        "stock hours step position priority days index duration num_items max_results limit "
        "userId page version weight_kg floor population likes",
        "integer",
        _small,
    ),
    (
        "price cost weight height temperature distance value balance total_price fee rate amount "
        "salary x y lat length width speed budget average",
        "number",
        _real,
    ),
    ("confidence score probability rating ratio relevance accuracy", "number", _share),
    (
        "active done is_valid urgent available verified published is_admin enabled success member "
        "in_stock adult has_children flagged correct isOpen",
        "boolean",
        lambda rng: rng.random() < 0.5,
    ),
    (
        "description summary reason comment text message content body answer note explanation "
        "feedback reply output result details review response overview bio reasoning thought caption "
        "conclusion observation final_answer analysis remark about context problem solution",
        "string",
        _sentence,
    ),
    (
        "title subject headline heading product book movie project event dish company item team "
        "label topic_name course brand product_name song game",
        "string",
        _title,
    ),
    (
        "category type topic kind color colour tag genre status mood animal fruit material shape "
        "language role job department group sentiment key field unit style word intent species "
        "subject_area theme input query keyword",
        "string",
        _word,
    ),
    ("task action todo instruction next_action goal reminder command", "string", _do),
    ("date due_date birthday start_date end_date day deadline birth_date", "date", _date),
    ("created_at timestamp updated_at startsAt", "date-time", moment),
    ("time opening start_time alarm at", "string", _clock),
    ("email email_address contact_email", "email", email),
    ("mail e_mail", "string", email),
    ("url link website homepage image_url", "string", _link),
    ("uuid request_id", "uuid", _uuid),
    ("code sku reference order_id ticket serial zip isbn account product_code", "string", _code),
    ("phone phone_number mobile tel", "string", _phone),
)
_NAMED = tuple((names.split(), shape, value) for names, shape, value in FIELDS)

_LISTS = (
    ("tags topics keywords categories labels genres interests skills themes", _word),
    ("names people members authors friends guests users attendees participants", _person),
    ("items products ingredients things tools objects materials", _word),
    ("cities places locations stops destinations", lambda rng: rng.choice(CITIES)),
    ("steps tasks actions todos instructions goals next_steps", _do),
    ("colors colours palette", lambda rng: rng.choice(COLOURS)),
    ("notes comments reasons points ideas sentences facts pros cons highlights questions", _sentence),
    ("values data list results options words answers choices entries", _any_text),
)
_NUMBERS = "numbers scores ids sizes ratings values points".split()

OPTIONS = (
    "low medium high|yes no|positive negative neutral|red green blue|open closed|small large|"
    "draft sent paid|admin user guest|cat dog bird|north south east west|true false unknown|"
    "bug feature question|happy sad angry|start stop pause|new old|easy medium hard|a b c d|"
    "en fr de es|spam ham|male female other|question statement|buy sell hold|GOOD BAD"
)
_OPTIONS = [each.split() for each in OPTIONS.split("|")]
_INNER = (
    "address owner company product meta data details location user info profile author contact settings parent item"
).split()
_INNER_LISTS = (
    "items people products users results entries records rows orders events children sections "
    "contacts books steps tasks"
).split()


def odd_name(rng: random.Random) -> str:
    """A field's name that nobody has heard of, or one put together of two words."""
    words = [rng.choice([rng.choice(THINGS), rng.choice(PLAIN_WORDS), made_up_word(rng)])]
    if rng.random() < 0.6:
        words.append(rng.choice(["id", "name", "type", "count", "text", made_up_word(rng), rng.choice(THINGS)]))
    form = rng.random()
    if form < 0.1:
        return rng.choice("abcdefghijklmnopqrstuvwxyz")
    if form < 0.6:
        return "_".join(words)
    if form < 0.85:
        return words[0] + "".join(word.capitalize() for word in words[1:])
    return "".join(word.capitalize() for word in words)


def options(rng: random.Random) -> list[str]:
    """What an enum may be."""
    if rng.random() < 0.75:
        return rng.choice(_OPTIONS)
    return [f"{made_up_word(rng)}{at}" if at % 5 == 4 else made_up_word(rng) for at in range(rng.randint(2, 4))]


def few(rng: random.Random) -> int:
    """How many items a list has."""
    return rng.choice([1, 1, 2, 2, 2, 3, 3, 4])


def field(rng: random.Random, depth: int = 0) -> tuple[str, Shape, Any]:
    """A field: its name, its shape and a value."""
    draw = rng.random()
    if draw < 0.60:
        names, shape, value = rng.choice(_NAMED)
        name = odd_name(rng) if rng.random() < 0.2 else rng.choice(names)
        return name, shape, value(rng)
    if draw < 0.70:
        chosen = options(rng)
        names = "status type category priority level sentiment kind label choice role unit color".split()
        name = odd_name(rng) if rng.random() < 0.3 else rng.choice(names)
        return name, ["enum", *chosen], rng.choice(chosen)
    if draw < 0.87 or (draw < 0.93 and depth > 1):
        names_text, value = rng.choice(_LISTS)
        if rng.random() < 0.15:
            numbers = [_small(rng) for _ in range(few(rng))]
            return rng.choice([*_NUMBERS, odd_name(rng)]), ["array", "integer"], numbers
        name = odd_name(rng) if rng.random() < 0.25 else rng.choice(names_text.split())
        texts = [value(rng) for _ in range(few(rng) if rng.random() > 0.06 else 0)]
        return name, ["array", "string"], texts
    if draw < 0.90:
        shape, inner = fields(rng, depth + 1)
        return rng.choice([rng.choice(_INNER), odd_name(rng)]), shape, inner
    if draw < 0.93:
        shape, inner = fields(rng, depth + 1)
        rows = [inner] + [_again(rng, shape, inner) for _ in range(rng.choice([0, 1, 1, 2]))]
        return rng.choice([rng.choice(_INNER_LISTS), odd_name(rng)]), ["array", shape], rows
    name, shape, value = field(rng, 2)
    return name, ["maybe", shape], None if rng.random() < 0.4 else value


def _again(rng: random.Random, shape: dict[str, Shape], first: dict[str, Any]) -> dict[str, Any]:
    """Another object of the same shape."""
    made: dict[str, Any] = {}
    for key in first:
        name = key.rstrip("?")
        found = [maker for names, _, maker in _NAMED if name in names and type(maker(rng)) is type(first[key])]
        made[key] = found[0](rng) if found else first[key]
    return made


# What is usually said of a thing.
USUAL = {
    "person": "name age city email job",
    "user": "username email age active",
    "customer": "name email phone city",
    "student": "name age school",
    "product": "name price category in_stock brand",
    "book": "title author year pages genre",
    "city": "name country population",
    "movie": "title director year genre rating",
    "order": "product quantity price date",
    "event": "title date location",
    "car": "brand year color price",
    "animal": "name species age color",
    "dog": "name age color",
    "company": "name city founded website",
    "task": "title priority done due_date",
    "team": "name city members",
    "hotel": "name city price rating",
}


def usual(rng: random.Random, thing: str) -> tuple[dict[str, Shape], dict[str, Any]]:
    """Some of what is usually said of a thing, as `fields`."""
    shape: dict[str, Shape] = {}
    value: dict[str, Any] = {}
    names = USUAL[thing].split()
    for name in sorted(rng.sample(names, rng.randint(1, min(4, len(names)))), key=names.index):
        for known, kind, make in _NAMED:
            if name in known and name not in value:
                shape[name], value[name] = kind, make(rng)
    return shape, value


_SIZES = (1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 5)


def fields(rng: random.Random, depth: int = 0) -> tuple[dict[str, Shape], dict[str, Any]]:
    """The shape of an object, and one that has it; optional fields are left out at times."""
    shape: dict[str, Shape] = {}
    value: dict[str, Any] = {}
    for _ in range(rng.choice(_SIZES) if depth == 0 else rng.choice(_SIZES[:8])):
        name, kind, made = field(rng, depth)
        if name in value or f"{name}?" in shape or name in shape:
            continue
        if rng.random() < 0.12:
            shape[f"{name}?"] = kind
            if rng.random() < 0.5:
                value[name] = made
        else:
            shape[name] = kind
            value[name] = made
    return shape, value
