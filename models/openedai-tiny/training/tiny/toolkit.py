"""The kinds of tool that the model is trained on: names, arguments, questions, results."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tiny.grammar import expand
from tiny.lexicon import CITIES, NAMES, THINGS, made_up_word, random_phrase

Values = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """One kind of tool.

    names: what the function may be called; about: what its description may say.
    arguments: for each slot, the names that the argument may have and its JSON type.
    ask: recipes with the slots; values: makes the slot values;
    reply: makes (tool result as an object, the answer from it).
    """

    names: tuple[str, ...]
    about: tuple[str, ...]
    arguments: dict[str, tuple[tuple[str, ...], str]]
    ask: tuple[str, ...]
    values: Callable[[random.Random], Values]
    reply: Callable[[random.Random, Values], tuple[Values, str]]


_PLACE = (("city", "location", "place", "town", "where"), "string")


def _city(rng: random.Random) -> str:
    if rng.random() < 0.35:
        return made_up_word(rng, 2).capitalize()
    return rng.choice(CITIES)


def _subject(rng: random.Random) -> str:
    words = [rng.choice([made_up_word(rng), rng.choice(THINGS)]) for _ in range(rng.randint(1, 3))]
    return " ".join(words)


def _person(rng: random.Random) -> str:
    return made_up_word(rng, 2).capitalize() if rng.random() < 0.3 else rng.choice(NAMES)


def _weather(rng: random.Random, values: Values) -> tuple[Values, str]:
    degrees = rng.randint(-10, 38)
    sky = rng.choice(["sunny", "cloudy", "rainy", "windy", "foggy", "snowy", "clear"])
    key = rng.choice(["temperature", "temp", "degrees", "temperature_c"])
    word = rng.choice(["sky", "condition", "weather", "conditions", "forecast"])
    pairs = [(key, degrees), (word, sky)]
    if rng.random() < 0.4:
        pairs.reverse()
    answer = f"It is {sky} and {degrees} degrees in {values['city']}. 🌈"
    return dict(pairs), answer


def _time(rng: random.Random, values: Values) -> tuple[Values, str]:
    now = f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}"
    return {"time": now}, f"It is {now} in {values['zone']}."


def _number(rng: random.Random, values: Values) -> tuple[Values, str]:
    result = rng.randint(0, 999)
    return {"result": result}, f"The result is {result}."


def _found(rng: random.Random, values: Values) -> tuple[Values, str]:
    text = random_phrase(rng, 5).replace('"', "")
    return {"result": text}, f"I found this: {text}"


def _sent(rng: random.Random, values: Values) -> tuple[Values, str]:
    return {"status": "sent"}, f"Done, the message to {values['to']} is sent. ✅"


def _reminder(rng: random.Random, values: Values) -> tuple[Values, str]:
    return {"status": "ok"}, f"Done, I set a reminder: {values['text']}. ✅"


def _price(rng: random.Random, values: Values) -> tuple[Values, str]:
    price = rng.randint(1, 500)
    return {"price": price}, f"The price of {values['item']} is {price}."


def _light(rng: random.Random, values: Values) -> tuple[Values, str]:
    return {"status": "ok"}, f"Done, the light in the {values['room']} is {values['state']}. 💡"


def _user(rng: random.Random, values: Values) -> tuple[Values, str]:
    age = rng.randint(18, 90)
    return {"name": values["name"], "age": age}, f"{values['name']} is {age} years old."


def _dice(rng: random.Random, values: Values) -> tuple[Values, str]:
    result = rng.randint(1, 20)
    return {"result": result}, f"The result is {result}."


KINDS: dict[str, Kind] = {
    "weather": Kind(
        (
            "get_weather",
            "weather",
            "get_current_weather",
            "current_weather",
            "fetch_weather",
            "lookup_weather",
            "getWeather",
            "weather_now",
            "get_forecast",
        ),
        (
            "Get the weather in a city",
            "Get the current weather",
            "Current weather for a place",
            "Weather of a location",
            "Get the weather",
        ),
        {"city": _PLACE},
        (
            (
                "(What is|What's|what's|what is|How is|Tell me|Get|Check|Show me|Find|Look up|I "
                "need) the (weather|temperature|forecast|current weather)(| like| right now| "
                "today| now) in <city>(| today| now| right now| please)(?|)"
            ),
            ("(Is it|Will it be) (raining|cold|warm|sunny|hot|windy|snowing|rainy) in <city>(| today| now)(?|)"),
            (
                "(weather in|Weather for|How warm is it in|How cold is it in|Weather in|What is "
                "the weather for) <city>(?|)"
            ),
        ),
        lambda rng: {"city": _city(rng)},
        _weather,
    ),
    "time": Kind(
        ("get_time", "time_in", "current_time", "get_current_time", "clock", "getTime", "local_time"),
        ("Get the time in a time zone", "Current time at a place", "Tell the local time", "Get the current time"),
        {"zone": (("timezone", "zone", "tz", "city", "location", "place"), "string")},
        (
            (
                "(What time is it|What is the time|what time is it|Tell me the time|What's the "
                "time|Get the time|Give me the local time|Current time) in <zone>(| now| please|"
                " right now)(?|)"
            ),
        ),
        lambda rng: {
            "zone": rng.choice([_city(rng), _city(rng), "Europe/" + _city(rng), "UTC", "Asia/" + _city(rng), "EST"])
        },
        _time,
    ),
    "add": Kind(
        ("add", "add_numbers", "sum", "plus", "addition", "sum_numbers", "add_two"),
        ("Add two numbers", "Sum of two numbers", "Adds a and b"),
        {
            "a": (("a", "x", "first", "left", "num1"), "integer"),
            "b": (("b", "y", "second", "right", "num2"), "integer"),
        },
        (
            ("(What is|what is|What's|Compute|Calculate|How much is|Work out) <a> (+|plus|and) <b>(?|)"),
            ("(Add|add|Sum|Please add|Use the tool to add|Can you add) <a> (and|to|with|plus) <b>(.|?|)"),
        ),
        lambda rng: {"a": rng.randrange(10 ** rng.randint(1, 4)), "b": rng.randrange(10 ** rng.randint(1, 4))},
        _number,
    ),
    "multiply": Kind(
        ("multiply", "times", "product", "multiply_numbers", "mul"),
        ("Multiply two numbers", "Product of two numbers"),
        {
            "a": (("a", "x", "first", "left", "num1"), "integer"),
            "b": (("b", "y", "second", "right", "num2"), "integer"),
        },
        (
            ("(What is|what is|What's|Compute|Calculate|How much is) <a> (times|multiplied by|x) <b>(?|)"),
            "(Multiply|multiply|Please multiply) <a> (by|with|and) <b>(.|)",
        ),
        lambda rng: {"a": rng.randrange(10 ** rng.randint(1, 3)), "b": rng.randrange(10 ** rng.randint(1, 3))},
        _number,
    ),
    "search": Kind(
        ("search", "web_search", "search_web", "find", "lookup", "search_docs", "query_index"),
        ("Search the web", "Search for a text", "Find pages about a query", "Look something up"),
        {"query": (("query", "q", "text", "term", "search_term", "keywords"), "string")},
        (
            (
                "(Search for|search for|Search the web for|Look up|look up|Find|find|Find pages "
                "about|Find information about|Please search for|Google|Can you search for|Look "
                "for) <query>(.|?|)"
            ),
        ),
        lambda rng: {"query": _subject(rng)},
        _found,
    ),
    "email": Kind(
        ("send_email", "send_mail", "email", "mail", "send_message", "message_to", "write_email"),
        ("Send an email", "Send a message to a person", "Write a mail"),
        {
            "to": (("to", "recipient", "receiver", "address"), "string"),
            "subject": (("subject", "title", "text", "body", "message"), "string"),
        },
        (
            (
                "(Send|send|Write|Please send|Can you send) (an email|a mail|a message|an "
                "e-mail) to <to> (about|with the subject|saying|with the text) <subject>(.|)"
            ),
            '(Send|Write) <to> (an email|a message|a mail) (about|saying) "<subject>"',
        ),
        lambda rng: {"to": rng.choice([_person(rng), _person(rng).lower() + "@example.com"]), "subject": _subject(rng)},
        _sent,
    ),
    "reminder": Kind(
        ("set_reminder", "reminder", "add_task", "create_todo", "add_todo", "create_reminder", "add_note"),
        ("Set a reminder", "Add a task", "Create a note"),
        {"text": (("text", "task", "note", "title", "what", "content"), "string")},
        (
            (
                "(Remind me to|remind me to|Remind me about|Add a task:|Add a note:|Set a "
                "reminder:|Set a reminder for|Add to my list:|Please remind me to) <text>(.|)"
            ),
        ),
        lambda rng: {"text": _subject(rng)},
        _reminder,
    ),
    "price": Kind(
        ("get_price", "price_of", "lookup_price", "stock_price", "product_price", "get_stock_price"),
        ("Get the price of an item", "Price of a product", "Look up a price"),
        {"item": (("item", "product", "name", "symbol", "article"), "string")},
        (
            (
                "(What is the price of|What does|How much is|Get the price of|price of|Tell me "
                "the price of|Look up the price of|How expensive is) <item>(?|)"
            ),
        ),
        lambda rng: {"item": rng.choice([_subject(rng), made_up_word(rng).upper(), rng.choice(THINGS)])},
        _price,
    ),
    "light": Kind(
        ("set_light", "light", "switch_light", "turn_light", "control_light"),
        ("Switch a light on or off", "Control the light of a room"),
        {
            "room": (("room", "place", "where", "location"), "string"),
            "state": (("state", "mode", "value", "action"), "string"),
        },
        (
            ("(Turn|Switch|turn|Please turn|Please switch) <state> the (light|lights|lamp) in the <room>(.|)"),
            "(Turn|Switch|turn) the (light|lamp) in the <room> <state>(.|)",
        ),
        lambda rng: {
            "room": rng.choice(
                ["kitchen", "bathroom", "garage", "office", "hall", "garden", "bedroom", made_up_word(rng, 2)]
            ),
            "state": rng.choice(["on", "off"]),
        },
        _light,
    ),
    "person": Kind(
        ("get_user", "find_person", "lookup_user", "get_person", "user_info", "get_contact"),
        ("Look up a person", "Get data of a user", "Find a contact by name"),
        {"name": (("name", "user", "person", "username", "who"), "string")},
        (
            (
                "(How old is|What is the age of|Look up the user|Find the person|Get the user|"
                "Who is|Look up|Find the contact) <name>(?|)"
            ),
        ),
        lambda rng: {"name": _person(rng)},
        _user,
    ),
    "dice": Kind(
        ("roll_dice", "roll", "dice", "random_number", "roll_die"),
        ("Roll a die", "Roll dice with some sides"),
        {"sides": (("sides", "n", "max", "faces"), "integer")},
        (("(Roll|roll|Please roll|Throw|Can you roll) a (die|dice) with <sides> (sides|faces)(.|?|)"),),
        lambda rng: {"sides": rng.choice([4, 6, 8, 10, 12, 20, 100])},
        _dice,
    ),
}


def describe(rng: random.Random, kind: Kind) -> tuple[dict[str, Any], dict[str, str]]:
    """An OpenAI tool description of this kind, and the argument name chosen for each slot."""
    taken: dict[str, str] = {}
    properties: dict[str, Any] = {}
    for slot, (names, value_type) in kind.arguments.items():
        free = [name for name in names if name not in properties]
        name = slot if rng.random() < 0.3 and slot in free else rng.choice(free)
        if slot == "b" and taken["a"] in kind.arguments["a"][0]:
            name = names[kind.arguments["a"][0].index(taken["a"])]
        taken[slot] = name
        properties[name] = {"type": value_type if value_type == "string" or rng.random() < 0.7 else "number"}
        if rng.random() < 0.15:
            properties[name]["description"] = rng.choice(["the " + name, "The " + name, slot])
    name = rng.choice(kind.names)
    if rng.random() < 0.15:
        name += rng.choice(["_tool", "_v2", "_now", "_" + made_up_word(rng, 1)])
    function: dict[str, Any] = {"name": name}
    if rng.random() < 0.9:
        function["description"] = rng.choice(kind.about) + rng.choice(["", "", "."])
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if rng.random() < 0.8:
        parameters["required"] = list(properties)
    if rng.random() < 0.1:
        parameters["additionalProperties"] = False
    function["parameters"] = parameters
    return {"type": "function", "function": function}, taken


def question(rng: random.Random, kind: Kind, values: Values) -> str:
    """A user's request that this kind of tool answers."""
    return expand(rng, rng.choice(kind.ask), {key: str(value) for key, value in values.items()})
