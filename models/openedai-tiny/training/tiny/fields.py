"""Fields of structured answers: schemas from short shapes, and short values for them."""

from typing import Any

from tiny.text import RECIPES, WORDS, Rng, fill, load, words

Shape = str | list[Any] | dict[str, Any]
"""A type's name or a format's; ["enum", ...], ["array", shape], ["maybe", shape]; or an object's
shape, in which a name that ends with "?" is optional."""
Object = tuple[dict[str, Shape], dict[str, Any]]
"""The shape of an object, and one that has it."""

# What stands between these marks in an answer is there already when the model writes (a grammar has forced
# it) or cannot be known (letters in no order): it is not learnt.
GIVEN, GIVEN_END = "\ue000", "\ue001"


def given(text: str) -> str:
    """Text that is not learnt."""
    return f"{GIVEN}{text}{GIVEN_END}"


def unmarked(text: str) -> str:
    return text.replace(GIVEN, "").replace(GIVEN_END, "")


def bare(key: str) -> str:
    """A field's name without the mark that it is optional."""
    return key.rstrip("?")


def _required(shape: dict[str, Shape]) -> dict[str, Any]:
    required = [key for key in shape if not key.endswith("?")]
    return {"required": required} if required else {}


def schema(shape: Shape, *, closed: bool = True) -> dict[str, Any]:
    """The JSON schema of a shape; `closed`: objects hold no other keys."""
    if isinstance(shape, str):
        types = ("string", "integer", "number", "boolean", "null")
        return {"type": shape} if shape in types else {"type": "string", "format": shape}
    if isinstance(shape, dict):
        properties = {bare(key): schema(value, closed=closed) for key, value in shape.items()}
        made = {"type": "object", "properties": properties, **_required(shape)}
        return {**made, "additionalProperties": False} if closed else made
    word, *rest = shape
    if word == "enum":
        return {"type": "string", "enum": rest}
    inner = schema(rest[0], closed=closed)
    return {"type": "array", "items": inner} if word == "array" else {"anyOf": [inner, {"type": "null"}]}


def titled(shape: dict[str, Any], name: str) -> dict[str, Any]:
    """The schema of an object in the way that typed models write it: every part has a title, and objects
    inside stand under $defs."""
    inner: dict[str, Any] = {}

    def part(each: Shape, title: str) -> dict[str, Any]:
        if isinstance(each, dict):
            name = title.replace(" ", "")
            inner[name] = whole(each, name)
            return {"$ref": f"#/$defs/{name}"}
        if isinstance(each, list) and each[0] == "array":
            return {"type": "array", "items": part(each[1], title.rstrip("s")), "title": title}
        if isinstance(each, list) and each[0] == "maybe":
            return {"anyOf": [part(each[1], title), {"type": "null"}], "default": None, "title": title}
        return {**schema(each), "title": title}

    def whole(each: dict[str, Any], title: str) -> dict[str, Any]:
        properties = {bare(key): part(value, bare(key).replace("_", " ").title()) for key, value in each.items()}
        return {"type": "object", "properties": properties, "title": title, **_required(each)}

    outer = whole(shape, name)
    return {"$defs": inner, **outer} if inner else outer


def _person(rng: Rng) -> str:
    name = rng.coined("names", 0.15)
    last = rng.pick("names") if rng.chance(0.5) else rng.pick("things").capitalize()
    return f"{name} {last}" if rng.chance(0.45) else name


def _title(rng: Rng) -> str:
    text, form = rng.made("[adjectives] [things]"), rng.random()
    return f"The {text}" if form < 0.35 else text.title() if form < 0.6 else text


def _sentence(rng: Rng) -> str:
    slots = rng.drawn(RECIPES["field_slots"])
    return fill(rng.choice(RECIPES["field_sentence"]), {**slots, "other": slots["other"].capitalize()})


def _email(rng: Rng) -> str:
    address = f"{rng.pick('names').lower()}@{rng.pick('things')}.{rng.choice(['com', 'org'])}"
    return address.encode("ascii", "ignore").decode()


def _uuid(rng: Rng) -> str:
    digits = "".join(rng.choice("0123456789abcdef") for _ in range(32))
    return given("-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])))


def _code(rng: Rng) -> str:
    letters = "".join(rng.choice("ABCDEFGHKLMNPRSTUVWX") for _ in range(rng.randint(1, 3)))
    return f"{letters}{rng.choice(['', '-'])}{rng.randint(1, 9999)}"


def _junk(rng: Rng) -> str:
    """What a model may have got into by bad luck: only the way out of it is learnt."""
    parts = [rng.choice([Rng.odd_word, Rng.word, Rng.made_up])(rng) for _ in range(rng.randint(1, 6))]
    return given("".join(mark for mark in rng.choice([" ", " ", "", ", "]).join(parts) if mark not in '"\\'))


def _any_text(rng: Rng) -> str:
    of = _MAKERS_BY_NAME
    return value(
        rng, rng.choice([of["tags"], of["tags"], "title", "title", "sentence", "person", of["task"], "junk", "code"])
    )


def _real(rng: Rng) -> float:
    whole = rng.choice([rng.randint(0, 9), rng.randint(0, 99), rng.randint(0, 999)])
    return rng.choice([round(whole + rng.random(), rng.choice([1, 2])), float(whole), whole + 0.5])


_MAKERS = {
    "person": _person, "title": _title, "sentence": _sentence, "email": _email, "uuid": _uuid, "code": _code,
    "junk": _junk, "any_text": _any_text, "real": _real, "flag": lambda rng: rng.chance(0.5),
    "small": lambda r: r.choice([r.randint(0, 10), r.randint(0, 10), r.randint(1, 100), r.randint(1, 5000)]),
    "share": lambda r: r.choice([round(r.random(), 2), round(r.random(), 1)]),
}  # fmt: skip
_TABLE = load("fields")
_FIELDS = [(words(names), shape, maker) for names, shape, maker in _TABLE["fields"]]
_LISTS = [(words(names), maker) for names, maker in _TABLE["lists"]]
_MAKERS_BY_NAME = {names[0]: maker for names, *_, maker in _FIELDS + _LISTS}
USUAL: dict[str, str] = _TABLE["usual"]
_SIZES = (1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 5)


def value(rng: Rng, maker: str, shape: Shape = "string") -> Any:
    """A value, as data/fields.yaml describes it."""
    if maker in _MAKERS:
        return _MAKERS[maker](rng)
    return int(rng.made(maker)) if shape == "integer" else rng.made(maker)


def known(rng: Rng, name: str) -> Any:
    return value(rng, _MAKERS_BY_NAME[name])


def odd_name(rng: Rng) -> str:
    """A field's name that is made up, or put together of two words."""
    parts = [rng.choice([rng.pick("things"), rng.pick("plain_words"), rng.made_up()])]
    if rng.chance(0.6):
        parts.append(rng.choice(["id", "name", "type", "count", "text", rng.made_up(), rng.pick("things")]))
    form = rng.random()
    if form < 0.1:
        return rng.choice("abcdefghijklmnopqrstuvwxyz")
    if form < 0.6:
        return "_".join(parts)
    return "".join(part.capitalize() if at or form >= 0.85 else part for at, part in enumerate(parts))


def options(rng: Rng) -> list[str]:
    if rng.chance(0.75):
        return rng.pick("option_sets").split()
    return [rng.made_up() for _ in range(rng.randint(2, 4))]


def field(rng: Rng, depth: int = 0) -> tuple[str, Shape, Any]:
    """A field: its name, its shape and a value."""
    draw = rng.random()
    if draw < 0.60:
        names, shape, maker = rng.choice(_FIELDS)
        name = odd_name(rng) if rng.chance(0.2) else rng.choice(names)
        return name, shape, value(rng, maker, shape)
    if draw < 0.70:
        chosen = options(rng)
        name = odd_name(rng) if rng.chance(0.3) else rng.pick("enum_names")
        return name, ["enum", *chosen], rng.choice(chosen)
    few = [1, 1, 2, 2, 2, 3, 3, 4]
    if draw < 0.87 or (draw < 0.93 and depth > 1):
        names, maker = rng.choice(_LISTS)
        if rng.chance(0.15):
            numbers = [value(rng, "small") for _ in range(rng.choice(few))]
            return rng.choice([*WORDS["number_lists"], odd_name(rng)]), ["array", "integer"], numbers
        name = odd_name(rng) if rng.chance(0.25) else rng.choice(names)
        return (
            name,
            ["array", "string"],
            [value(rng, maker) for _ in range(rng.choice(few) if rng.random() > 0.06 else 0)],
        )
    if draw < 0.93:
        shape, inner = fields(rng, depth + 1)
        if draw < 0.90:
            return rng.choice([rng.pick("inner"), odd_name(rng)]), shape, inner
        rows = [inner] + [_again(rng, inner) for _ in range(rng.choice([0, 1, 1, 2]))]
        return rng.choice([rng.pick("inner_lists"), odd_name(rng)]), ["array", shape], rows
    name, shape, made = field(rng, 2)
    return name, ["maybe", shape], None if rng.chance(0.4) else made


def _again(rng: Rng, first: dict[str, Any]) -> dict[str, Any]:
    """Another object of the same shape."""
    made: dict[str, Any] = {}
    for key, old in first.items():
        rows = [(maker, shape) for names, shape, maker in _FIELDS if key in names]
        found = [row for row in rows if type(value(rng, *row)) is type(old)]
        made[key] = value(rng, *found[0]) if found else old
    return made


def usual(rng: Rng, thing: str) -> Object:
    """Some of what is usually said of a thing."""
    shape, made = {}, {}
    names = words(USUAL[thing])
    for name in sorted(rng.sample(names, rng.randint(1, min(4, len(names)))), key=names.index):
        for _, kind, maker in [row for row in _FIELDS if name in row[0]][:1]:
            shape[name], made[name] = kind, value(rng, maker, kind)
    return shape, made


def fields(rng: Rng, depth: int = 0) -> Object:
    """An object; optional fields are left out at times."""
    shape, made = {}, {}
    for _ in range(rng.choice(_SIZES if depth == 0 else _SIZES[:8])):
        name, kind, each = field(rng, depth)
        if name in map(bare, shape):
            continue
        optional = rng.chance(0.12)
        shape[f"{name}?" if optional else name] = kind
        if not optional or rng.chance(0.5):
            made[name] = each
    return shape, made
