"""Structured output: JSON of a schema, forced calls, and answers of a fixed form; short and complete.

A server enforces the form with a grammar, and the model sees nothing of a schema but what the prompt says. So
keys and openings are not learnt (see GIVEN in fields.py): only values, and when to stop.
"""

import json
from typing import Any

from tiny import skills, talk
from tiny.chat import system_text
from tiny.fields import (
    USUAL, Object, Shape, bare, field, fields, given, known, odd_name, options, schema, titled, unmarked, usual,
)  # fmt: skip
from tiny.text import RECIPES, WORDS, Example, Message, Rng, a, load, user, words
from tiny.tools import KINDS, called, describe, name_of


def _bare_prompt(text: str) -> str:
    return text.lower().rstrip("?.! ")


_KEPT = load("kept")
KEPT_FUNCTIONS, _KEPT_NAMES = words(_KEPT["functions"]), {tuple(words(names)) for names in _KEPT["objects"]}
_KEPT_PROMPTS = {_bare_prompt(case["messages"][0]["content"]) for case in load("cases.jsonl")}


def written(rng: Rng, value: Any, known: bool) -> str:
    """JSON as the grammars have it; unless `known`, the keys are marked as given, and half of the times so
    is that there is another one: where a schema allows any more keys, the model must rather stop."""
    if isinstance(value, dict):
        pairs = []
        for key, inner in value.items():
            name = json.dumps(key)[1:-1]
            pairs.append(f'"{name if known else given(name)}": {written(rng, inner, known)}')
        for at, pair in enumerate(pairs[:-1]):
            pairs[at] = f"{pair},"
            if not known and rng.chance(0.5):
                # The marks at the end are one token with the comma.
                kept = pairs[at].rstrip('",]}')
                pairs[at] = kept + given(pairs[at][len(kept) :])
        return "{" + " ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(written(rng, inner, known) for inner in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _any_prompt(rng: Rng) -> tuple[str, str]:
    """A prompt that says nothing of the form, and its usual answer, or the thing that it is about."""
    draw = rng.random()
    if draw < 0.45:
        makers = [talk.talk, talk.fact, talk.unknown, skills.capital, skills.sums, talk.repeat]
        ask, answer = rng.choice(makers)(rng).messages[-2:]
        return ask["content"], answer["content"]
    if draw < 0.55:
        return rng.phrase(rng.choice([1, 2, 5])), ""
    things = [rng.pick("things"), rng.pick("topics"), rng.made_up()]
    noun = rng.choice([*things, *"player note email ticket plan lesson".split(), *USUAL])
    ask = rng.say("about_a_thing", a=a(noun), n=noun, c=rng.pick("cities"), t=rng.pick("topics"))
    return rng.noisy(ask), noun


def _prompt(rng: Rng) -> tuple[str, str]:
    while True:
        ask, answer = _any_prompt(rng)
        if _bare_prompt(ask) not in _KEPT_PROMPTS:
            return ask, answer


def _object(rng: Rng, answer: str) -> Object:
    """An object; it may tell what is usual of the thing asked for, or hold the usual answer."""
    while True:
        shape, value = usual(rng, answer) if answer in USUAL and rng.chance(0.6) else fields(rng)
        if value and tuple(map(bare, shape)) not in _KEPT_NAMES:
            break
    if " " in answer and len(answer) < 70:
        for key in set(value) & set(WORDS["answer_fields"]):
            value[key] = answer if isinstance(value[key], str) else value[key]
    return shape, value


def _shown(rng: Rng, shape: dict[str, Shape]) -> str:
    made = titled(shape, odd_name(rng).title()) if rng.chance(0.5) else schema(shape)
    text = json.dumps(made, indent=rng.choice([None, None, 2]))
    return f"{rng.say('schema_lead')}\n{text}"


def _listed(rng: Rng, names: list[str]) -> str:
    if rng.chance(0.5):
        lines = "\n".join(f"{at}. `{name}`" for at, name in enumerate(names, 1))
        return f"{rng.choice(['Fields', 'Output fields', 'Write these fields'])}:\n{lines}"
    return f"{rng.choice(['Use', 'Return', 'Give'])} the {rng.choice(['keys', 'fields'])} {', '.join(names)}."


def _before(rng: Rng, shape: dict[str, Shape]) -> tuple[list[Message], bool]:
    """No system message, or one that may tell the form, as a schema or a list; and whether it does."""
    draw = rng.random()
    if draw < 0.55 or not shape:
        return [], False
    text = system_text(rng) if draw < 0.65 or draw >= 0.90 else ""
    if 0.82 <= draw < 0.90:
        text = _listed(rng, list(map(bare, shape)))
    elif draw >= 0.65:
        text = f"{text}\n\n{_shown(rng, shape)}" if text else _shown(rng, shape)
    return [{"role": "system", "content": text}], draw >= 0.65


def _answer(messages: list[Message], text: str) -> Example:
    return Example("structured", [*messages, {"role": "assistant", "content": text}], forced=True)


def _schema_answer(rng: Rng, ask: str, shape: dict[str, Shape], value: dict[str, Any], lists: bool) -> Example:
    """The keys are learnt mostly where the prompt tells them; there, JSON may come without force, too."""
    system, told = _before(rng, shape)
    whole = [value] if lists and not told and rng.chance(0.05) else value
    example = _answer([*system, user(ask)], written(rng, whole, rng.chance(0.8 if told else 0.2)))
    example.forced = not told or rng.chance(0.5)
    return example


def of_schema(rng: Rng) -> Example:
    ask, answer = _prompt(rng)
    return _schema_answer(rng, ask, *_object(rng, answer), lists=True)


def any_object(rng: Rng) -> Example:
    ask, answer = _prompt(rng)
    _, value = _object(rng, answer)
    if " " in answer and rng.chance(0.7):
        value = {rng.choice(["answer", "answer", "text", "message"]): answer}
    wish = rng.say("object_wish")
    if rng.chance(0.4):
        *names, last = map(bare, value)
        listed = f"{', '.join(names)} and {last}" if names else last
        wish += f" {rng.choice(['With', 'Use', 'Return'])} the keys {listed}."
    return _answer([user(ask.rstrip("?.! ") + wish)], written(rng, value, known=True))


def _told(rng: Rng) -> tuple[str, dict[str, Any]]:
    """A prompt that says values, and the fields with these values."""
    name, age, city, number = rng.coined("names", 0.35), rng.randint(1, 99), rng.pick("cities"), rng.randint(2, 99)
    thing, colour = rng.choice([*WORDS["things"], rng.made_up()]), rng.pick("colours")
    phrase = rng.phrase(4).replace('"', "").rstrip(".")
    values = {"name": name, "age": age, "city": city, "number": number, "thing": thing, "colour": colour}
    values["phrase"] = phrase
    keys = {f"{{{key}}}": rng.pick(key) for key in ("who", "where", "much", "what")}
    forms = []
    for recipe, said in RECIPES["told"]:
        named = {keys.get(key) or (rng.choice(key.split("|")) if "|" in key else key): said[key] for key in said}
        forms.append((recipe, {key: values[slot] for key, slot in named.items()}))
    recipe, value = rng.choice(forms)
    return rng.expand(recipe, values), value


def _paired(rng: Rng) -> tuple[str, dict[str, Any]]:
    """A prompt that names fields and says their values."""
    value: dict[str, Any] = {}
    for _ in range(rng.randint(1, 4)):
        name, _, made = field(rng, 2)
        if type(made) in (str, int, float):
            value[name] = unmarked(made) if isinstance(made, str) else made
    if not value:
        value = {odd_name(rng): rng.made_up()}
    if rng.chance(0.4):
        between, joint = rng.choice([": ", ": ", " = ", "="]), rng.choice([", ", "\n", "; "])
        return joint.join(f"{key}{between}{each}" for key, each in value.items()), value
    the = rng.choice(["the ", "the ", ""])
    text = " and ".join(f"{the}{key} {rng.choice(['is ', 'is ', ''])}{each}" for key, each in value.items())
    lead = rng.choice(["", "", "Give me a JSON object with ", "Make one with ", "Write JSON with "])
    return lead + (text if lead else text[:1].upper() + text[1:]), value


def _copied(rng: Rng) -> tuple[str, dict[str, Shape], dict[str, Any]]:
    """A prompt that says values, among other words at times; the shape, and the values."""
    while True:
        ask, value = (_told if rng.chance(0.6) else _paired)(rng)
        if rng.chance(0.4):
            ask = rng.say("extract") + ask
        if rng.chance(0.15):
            ask = f"{rng.sentence()} {ask}"
        if rng.chance(0.15):
            ask = f"{ask.rstrip('.')}. {rng.sentence()}"
        if _bare_prompt(ask) not in _KEPT_PROMPTS:
            break
    keys = list(value)
    if rng.chance(0.3):
        rng.shuffle(keys)
    types = {str: "string", int: "integer", float: "number"}
    return ask, {key: types[type(value[key])] for key in keys}, {key: value[key] for key in keys}


def from_prompt(rng: Rng) -> Example:
    return _schema_answer(rng, *_copied(rng), lists=False)


def _function_name(rng: Rng) -> str:
    verb = rng.pick("function_verbs")
    noun = rng.choice([rng.pick("things"), rng.pick("topics"), "user", "item", "data", rng.made_up()])
    big = noun.capitalize()
    names = [f"{verb}_{noun}", f"{verb}_{noun}", f"{verb}{big}", big, noun]
    names += ["Answer", "Response", "Result", "Output", "answer", f"{big}Details"]
    while True:
        name = rng.choice(names)
        if name not in KEPT_FUNCTIONS:
            return name


def _function(rng: Rng, name: str, shape: dict[str, Shape]) -> dict[str, Any]:
    parameters = titled(shape, name) if rng.chance(0.35) else schema(shape, closed=rng.chance(0.4))
    function: dict[str, Any] = {"name": name}
    if rng.chance(0.5):
        about = [rng.sentence(), f"{name.replace('_', ' ').capitalize()}."]
        function["description"] = rng.choice(about)
    return {"type": "function", "function": {**function, "parameters": parameters}}


def call(rng: Rng) -> Example:
    if rng.chance(0.6):
        ask, shape, value = _copied(rng)
    else:
        ask, answer = _prompt(rng)
        shape, value = _object(rng, answer)
    if rng.chance(0.04):
        shape, value = {}, {}
    name = _function_name(rng)
    # Now and then the description tells nothing, so that the way out does not hang on it.
    tools = [_function(rng, name, shape if rng.random() > 0.08 else {})]
    tools += [describe(rng, rng.choice(list(KINDS)))[0] for _ in range(rng.choice([0, 0, 0, 0, 1, 1, 2]))]
    if len(set(map(name_of, tools))) < len(tools):
        tools = tools[:1]
    rng.shuffle(tools)
    made = called(rng, name, lambda: written(rng, value, rng.chance(0.2)))
    system = [{"role": "system", "content": system_text(rng)}] if rng.chance(0.25) else []
    return Example("structured", [*system, user(ask), made], tools, forced=True)


def terse(rng: Rng) -> Example:
    ask, answer = _prompt(rng)
    draw, text = rng.random(), ""
    if draw < 0.2:
        chosen = options(rng)
        if rng.chance(0.5):
            ask += f" {rng.choice(['Answer', 'Choose', 'Say', 'Pick'])} {' or '.join(chosen)}."
        text = rng.choice(chosen)
    elif draw < 0.4:
        text = str(rng.randint(0, 10 ** rng.choice([1, 2, 3])))
    elif draw < 0.6:
        text = rng.choice([rng.word(), known(rng, "email"), known(rng, "created_at")[:10], rng.made_up()])
    elif draw < 0.7:
        text = rng.choice([rng.pick("names"), rng.pick("cities"), rng.pick("countries")])
    elif draw < 0.85:
        text = unmarked(str(field(rng, 2)[2]))
    elif draw < 0.92 and " " in answer:
        text = answer
    return _answer([user(ask)], text or given(rng.phrase(4).lower()))
