"""Structured output: JSON of a schema, forced calls, and answers of a fixed form; short and complete.

A server enforces the form with a grammar, and the model sees nothing of a schema but what the prompt
says. So keys and openings are not learnt (see GIVEN in fields.py): only values, and when to stop.
"""

from __future__ import annotations

import json
import random
from typing import Any

from tiny import copying, off_topic, skills, structured_cases, talk
from tiny.chat_forms import system_text
from tiny.example import Example, Message, user
from tiny.fields import (
    COUNTRIES,
    GIVEN,
    GIVEN_END,
    TOPICS,
    USUAL,
    email,
    field,
    fields,
    given,
    moment,
    odd_name,
    options,
    usual,
)
from tiny.grammar import expand
from tiny.lexicon import CITIES, COLOURS, NAMES, THINGS, a, made_up_word, random_phrase, random_sentence, random_word
from tiny.noise import noisy
from tiny.schemas import Shape, schema, titled
from tiny.toolkit import KINDS, describe

Fields = tuple[dict[str, Shape], dict[str, Any]]

_KEPT_PROMPTS = {prompt.lower().rstrip("?.! ") for prompt in structured_cases.prompts()}
_KEPT_NAMES = structured_cases.names()
_KEPT_FUNCTIONS = structured_cases.functions()
_ANSWERS = frozenset("answer text message reply response output content result final_answer".split())


def written(value: Any, *, known: bool, rng: random.Random) -> str:
    """JSON as the grammars have it; unless `known`, the keys are marked as given, and half of the times so
    is that there is another one: where a schema allows any more keys, the model must rather stop."""
    if isinstance(value, dict):
        pairs = []
        for key, inner in value.items():
            name = json.dumps(key)[1:-1]
            text = written(inner, known=known, rng=rng)
            pairs.append(f'"{name if known else given(name)}": {text}')
        for at, pair in enumerate(pairs[:-1]):
            hidden = not known and rng.random() < 0.5
            pairs[at] = _given_end(f"{pair},") if hidden else f"{pair},"
        return "{" + " ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(written(inner, known=known, rng=rng) for inner in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _given_end(text: str) -> str:
    """The text, with the marks at its end (which are one token) as given."""
    kept = text.rstrip('",]}')
    return kept + given(text[len(kept) :])


def _any_prompt(rng: random.Random) -> tuple[str, str]:
    """A prompt that says nothing of the form, and its usual answer, or the thing that it is about."""
    draw = rng.random()
    if draw < 0.45:
        makers = [talk.talk, talk.fact, off_topic.unknown, skills.capital, skills.sums, copying.repeat]
        inner = rng.choice(makers)(rng)
        return str(inner.messages[-2]["content"]), str(inner.messages[-1]["content"])
    if draw < 0.55:
        return random_phrase(rng, rng.choice([1, 2, 5])), ""
    noun = rng.choice(
        [
            rng.choice(THINGS),
            rng.choice(TOPICS),
            made_up_word(rng),
            *"player note email ticket plan lesson".split(),
            *USUAL,
        ]
    )
    ask = expand(
        rng,
        "(Give me|Describe|Make up|Invent|Create|Make|Write|Show me|Generate|I need|Find|Return|Think of|"
        "Add|Extract|Suggest|Plan|Get|Tell me about|Classify|Rate|Summarise|Check|What about|Explain|List|"
        "Name|Analyse|Parse|Judge|Pick) (<a>|some <n>s|the <n>|three <n>s|my <n>|a new <n>|<n>)(.|!|, please.|"
        "?|| for me.| from <c>.| about <t>.)",
        {"a": a(noun), "n": noun, "c": rng.choice(CITIES), "t": rng.choice(TOPICS)},
    )
    return noisy(rng, ask), noun


def _prompt(rng: random.Random) -> tuple[str, str]:
    while True:
        ask, answer = _any_prompt(rng)
        if ask.lower().rstrip("?.! ") not in _KEPT_PROMPTS:
            return ask, answer


def _object(rng: random.Random, answer: str) -> Fields:
    """An object; it may tell what is usual of the thing asked for, or hold the usual answer."""
    while True:
        known = answer in USUAL and rng.random() < 0.6
        shape, value = usual(rng, answer) if known else fields(rng)
        if value and tuple(key.rstrip("?") for key in shape) not in _KEPT_NAMES:
            break
    for key in value:
        if key in _ANSWERS and isinstance(value[key], str) and " " in answer and len(answer) < 70:
            value[key] = answer
    return shape, value


def _shown(rng: random.Random, shape: dict[str, Shape]) -> str:
    """A schema as text in a prompt."""
    made = titled(shape, odd_name(rng).title()) if rng.random() < 0.5 else schema(shape)
    text = json.dumps(made, indent=rng.choice([None, None, 2]))
    lead = expand(
        rng,
        "(Answer|Reply|Respond|Write|Output) (with|in|only with) (JSON|a JSON object|an object) (that fits|of|"
        "matching|for) (this|the following) (schema|JSON schema|model)(:|.)",
    )
    return f"{lead}\n{text}"


def _listed(rng: random.Random, shape: dict[str, Shape]) -> str:
    """The names of the fields as text in a prompt."""
    names = [key.rstrip("?") for key in shape]
    if rng.random() < 0.5:
        lines = "\n".join(f"{at}. `{name}`" for at, name in enumerate(names, 1))
        return f"{rng.choice(['Fields', 'Output fields', 'Write these fields'])}:\n{lines}"
    return f"{rng.choice(['Use', 'Return', 'Give'])} the {rng.choice(['keys', 'fields'])} {', '.join(names)}."


def _before(rng: random.Random, shape: dict[str, Shape]) -> tuple[list[Message], bool]:
    """No system message, or one that may tell the form; and whether it does."""
    draw = rng.random()
    if draw < 0.55 or not shape:
        return [], False
    if draw < 0.65:
        text = system_text(rng)
    elif draw < 0.82:
        text = _shown(rng, shape)
    elif draw < 0.90:
        text = _listed(rng, shape)
    else:
        text = f"{system_text(rng)}\n\n{_shown(rng, shape)}"
    return [{"role": "system", "content": text}], draw >= 0.65


def _answer(messages: list[Message], text: str) -> Example:
    return Example("structured", [*messages, {"role": "assistant", "content": text}], forced=True)


def _schema_answer(rng: random.Random, messages: list[Message], value: Any, told: bool) -> Example:
    """The keys are learnt mostly where the prompt tells them; there, JSON may come without force, too."""
    example = _answer(messages, written(value, known=rng.random() < (0.8 if told else 0.2), rng=rng))
    example.forced = not told or rng.random() < 0.5
    return example


def of_schema(rng: random.Random) -> Example:
    """Any prompt, answered with JSON of a schema that the model does not see, or seldom."""
    ask, answer = _prompt(rng)
    shape, value = _object(rng, answer)
    system, told = _before(rng, shape)
    whole: Any = [value] if not told and rng.random() < 0.05 else value
    return _schema_answer(rng, [*system, user(ask)], whole, told)


def any_object(rng: random.Random) -> Example:
    """A request for JSON in words, and a short object of the model's own choice."""
    ask, answer = _prompt(rng)
    _, value = _object(rng, answer)
    if " " in answer and rng.random() < 0.7:
        value = {rng.choice(["answer", "answer", "text", "message"]): answer}
    wish = expand(
        rng,
        "( as JSON| in JSON| as a JSON object| in JSON format|. JSON please|. Use JSON|. Answer in JSON|"
        ". JSON only)(.|)",
    )
    if rng.random() < 0.4:
        names = [key.rstrip("?") for key in value]
        listed = names[0] if len(names) < 2 else ", ".join(names[:-1]) + " and " + names[-1]
        wish += f" {rng.choice(['With', 'Use', 'Return'])} the keys {listed}."
    return _answer([user(ask.rstrip("?.! ") + wish)], written(value, known=True, rng=rng))


def _told(rng: random.Random) -> tuple[str, dict[str, Any]]:
    """A prompt that says values, and the fields with these values."""
    name = made_up_word(rng, 2).capitalize() if rng.random() < 0.35 else rng.choice(NAMES)
    age, city, number = rng.randint(1, 99), rng.choice(CITIES), rng.randint(2, 99)
    thing, colour = rng.choice([*THINGS, made_up_word(rng)]), rng.choice(COLOURS)
    phrase = random_phrase(rng, 4).replace('"', "").rstrip(".")
    who = rng.choice("name name name person user full_name username customer first_name".split())
    where = rng.choice("city city location place town home".split())
    much = rng.choice("price cost amount total".split())
    what = rng.choice("item product thing object name".split())
    forms: list[tuple[str, dict[str, Any]]] = [
        ("<n> is <a>( years old|)(.|)", {who: name, "age": age}),
        ("<n> is <a> years old and (lives in|comes from) <c>(.|)", {who: name, "age": age, where: city}),
        ("<n>, <a>(,| from) <c>(.|)", {who: name, "age": age, where: city}),
        ("(My name is|I am|I'm|Hi, I am) <n>(,| and) I am <a>( years old|)(.|)", {who: name, "age": age}),
        ("(My name is|I am) <n> and I (live in|am from|work in) <c>(.|)", {who: name, where: city}),
        ("<n> (lives|works|is|was born) in <c>(.|)", {who: name, where: city}),
        ("(The <t> costs|A <t> is|The price of the <t> is) <m>( euros| dollars|)(.|)", {what: thing, much: number}),
        ("<m> <t>s(, please|)(.|)", {what: thing, rng.choice(["quantity", "count"]): number}),
        ("The <t> is <k>(.|)", {what: thing, rng.choice(["color", "colour"]): colour}),
        ("(Send|Write|Say) (to |)<n>: <p>", {rng.choice(["to", "recipient"]): name, rng.choice(["text", "message"]): phrase}),
        ("(Tell|Write to|Message) <n> (that|:) <p>", {rng.choice(["to", "name"]): name, rng.choice(["text", "message", "body"]): phrase}),
        ("(What is|How is|Get|Show) the weather in <c>(?|)", {where: city}),
        ("(Find|Look up|Search for|Get) <n>(.|)", {who: name}),
        ("(Wait|Set a timer for|Sleep|Run for) <m> (seconds|minutes)(.|)", {rng.choice(["seconds", "minutes", "duration"]): number}),
        ("(Turn on|Turn off|Clean|Open) the <t>(.|)", {rng.choice(["device", "room", "object", "name"]): thing}),
        ("(Search|Search for|Google|Find|Query): <p>", {rng.choice(["query", "q", "text", "search"]): phrase}),
    ]  # fmt: skip
    recipe, value = rng.choice(forms)
    slots = {"n": name, "a": str(age), "c": city, "m": str(number), "t": thing, "k": colour, "p": phrase}
    return expand(rng, recipe, slots), value


def _paired(rng: random.Random) -> tuple[str, dict[str, Any]]:
    """A prompt that names fields and says their values."""
    value: dict[str, Any] = {}
    for _ in range(rng.randint(1, 4)):
        name, _, made = field(rng, 2)
        if isinstance(made, (str, int, float)) and not isinstance(made, bool):
            value[name] = made.replace(GIVEN, "").replace(GIVEN_END, "") if isinstance(made, str) else made
    if not value:
        value = {odd_name(rng): made_up_word(rng)}
    form = rng.random()
    if form < 0.4:
        between = rng.choice([": ", ": ", " = ", "="])
        joint = rng.choice([", ", "\n", "; "])
        return joint.join(f"{key}{between}{each}" for key, each in value.items()), value
    the = rng.choice(["the ", "the ", ""])
    text = " and ".join(f"{the}{key} {rng.choice(['is ', 'is ', ''])}{each}" for key, each in value.items())
    lead = rng.choice(["", "", "Give me a JSON object with ", "Make one with ", "Write JSON with "])
    return lead + (text if lead else text[:1].upper() + text[1:]), value


def _copied(rng: random.Random) -> tuple[str, dict[str, Any]]:
    """A prompt that says values, among other words at times."""
    while True:
        ask, value = (_told if rng.random() < 0.6 else _paired)(rng)
        if rng.random() < 0.4:
            lead = expand(
                rng,
                "(Extract|Extract the data|Get the facts|Read this|Parse|Extract the fields|Find the values|"
                "Parse this|Extract the information|Take the data from this text)(:|:\n| from:) ",
            )
            ask = lead + ask
        if rng.random() < 0.15:
            ask = f"{random_sentence(rng)} {ask}"
        if rng.random() < 0.15:
            ask = f"{ask.rstrip('.')}. {random_sentence(rng)}"
        if ask.lower().rstrip("?.! ") not in _KEPT_PROMPTS:
            break
    keys = list(value)
    if rng.random() < 0.3:
        rng.shuffle(keys)
    return ask, {key: value[key] for key in keys}


def _shape_of(value: dict[str, Any]) -> dict[str, Shape]:
    names = {str: "string", int: "integer", float: "number"}
    return {key: names[type(each)] for key, each in value.items()}


def from_prompt(rng: random.Random) -> Example:
    """JSON with the values that the prompt says."""
    ask, value = _copied(rng)
    shape = _shape_of(value)
    system, told = _before(rng, shape)
    return _schema_answer(rng, [*system, user(ask)], value, told)


def _function_name(rng: random.Random) -> str:
    verb = rng.choice(
        "get set find make create search send list add update book order open check save extract start "
        "show play log plan rate move run fetch parse".split()
    )
    noun = rng.choice([rng.choice(THINGS), rng.choice(TOPICS), "user", "item", "data", made_up_word(rng)])
    while True:
        name = rng.choice(
            [f"{verb}_{noun}", f"{verb}_{noun}", f"{verb}{noun.capitalize()}", noun.capitalize(), noun,
             "Answer", "Response", "Result", "Output", "answer", f"{noun.capitalize()}Details"]
        )  # fmt: skip
        if name not in _KEPT_FUNCTIONS:
            return name


def _function(rng: random.Random, name: str, shape: dict[str, Shape]) -> dict[str, Any]:
    parameters = titled(shape, name) if rng.random() < 0.35 else schema(shape, closed=rng.random() < 0.4)
    function: dict[str, Any] = {"name": name}
    if rng.random() < 0.5:
        function["description"] = rng.choice([random_sentence(rng), f"{name.replace('_', ' ').capitalize()}."])
    function["parameters"] = parameters
    return {"type": "function", "function": function}


def call(rng: random.Random) -> Example:
    """A call of a function that is demanded, whatever the prompt says."""
    if rng.random() < 0.6:
        ask, value = _copied(rng)
        shape = _shape_of(value)
    else:
        ask, answer = _prompt(rng)
        shape, value = _object(rng, answer)
    if rng.random() < 0.04:
        shape, value = {}, {}
    name = _function_name(rng)
    # Now and then the description tells nothing, so that the way out does not hang on it.
    told = shape if rng.random() > 0.08 else {}
    tools = [_function(rng, name, told)]
    for _ in range(rng.choice([0, 0, 0, 0, 1, 1, 2])):
        other = rng.choice(list(KINDS))
        tools.append(describe(rng, KINDS[other])[0])
    if len({tool["function"]["name"] for tool in tools}) < len(tools):
        tools = tools[:1]
    rng.shuffle(tools)
    called = {
        "id": f"call_{rng.randrange(10**8)}",
        "type": "function",
        "function": {"name": name, "arguments": written(value, known=rng.random() < 0.2, rng=rng)},
    }
    system = [{"role": "system", "content": system_text(rng)}] if rng.random() < 0.25 else []
    messages = [*system, user(ask), {"role": "assistant", "content": "", "tool_calls": [called]}]
    return Example("structured", messages, tools, forced=True)


def terse(rng: random.Random) -> Example:
    """A short answer of a fixed form, as a regular expression or a choice demands it."""
    ask, answer = _prompt(rng)
    draw = rng.random()
    if draw < 0.2:
        chosen = options(rng)
        if rng.random() < 0.5:
            ask += f" {rng.choice(['Answer', 'Choose', 'Say', 'Pick'])} {' or '.join(chosen)}."
        text = rng.choice(chosen)
    elif draw < 0.4:
        text = str(rng.randint(0, 10 ** rng.choice([1, 2, 3])))
    elif draw < 0.6:
        text = rng.choice([random_word(rng), email(rng), moment(rng)[:10], made_up_word(rng)])
    elif draw < 0.7:
        text = rng.choice([rng.choice(NAMES), rng.choice(CITIES), rng.choice(COUNTRIES)])
    elif draw < 0.85:
        text = str(field(rng, 2)[2]).replace(GIVEN, "").replace(GIVEN_END, "")
    elif draw < 0.92 and " " in answer:
        text = answer
    else:
        text = given(random_phrase(rng, 4).lower())
    return _answer([user(ask)], text)
