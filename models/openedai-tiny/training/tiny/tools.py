"""Conversations with tools: call the right one, answer from its result, or leave it alone."""

from __future__ import annotations

import json
from typing import Any

from tiny.skills import capital, sums
from tiny.talk import fact, repeat, talk, unknown
from tiny.text import RECIPES, Example, Message, Rng, assistant, fill, load, user, words

KINDS: dict[str, dict[str, Any]] = load("tools")
Tool = dict[str, Any]


def _subject(rng: Rng) -> str:
    return " ".join(rng.choice([rng.made_up(), rng.pick("things")]) for _ in range(rng.randint(1, 3)))


_ROOMS = ["kitchen", "bathroom", "garage", "office", "hall", "garden", "bedroom"]
# What an argument may be, by its slot; a and b are numbers.
_VALUES = {
    "city": lambda r: r.coined("cities", 0.35),
    "zone": lambda r: r.choice(
        [
            r.coined("cities", 0.35),
            r.coined("cities", 0.35),
            "Europe/" + r.coined("cities", 0.35),
            "UTC",
            "Asia/" + r.coined("cities", 0.35),
            "EST",
        ]
    ),
    "query": _subject,
    "to": lambda r: r.choice([r.coined("names", 0.3), r.coined("names", 0.3).lower() + "@example.com"]),
    "subject": _subject,
    "text": _subject,
    "item": lambda r: r.choice([_subject(r), r.made_up().upper(), r.pick("things")]),
    "room": lambda r: r.choice([*_ROOMS, r.made_up(2)]),
    "state": lambda r: r.choice(["on", "off"]),
    "name": lambda r: r.coined("names", 0.3),
    "sides": lambda r: r.choice([4, 6, 8, 10, 12, 20, 100]),
}


def _values(rng: Rng, wanted: str) -> dict[str, Any]:
    """A value for each argument of this kind of tool."""
    if wanted in ("add", "multiply"):
        digits = 4 if wanted == "add" else 3
        return {slot: rng.randrange(10 ** rng.randint(1, digits)) for slot in ("a", "b")}
    return {slot: _VALUES[slot](rng) for slot in KINDS[wanted]["arguments"]}


def _made(rng: Rng, made: Any, values: dict[str, Any]) -> Any:
    """A value of a tool's result, as the table describes it."""
    if isinstance(made, list):
        return rng.randint(*made)
    if made == "clock":
        return f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}"
    return rng.phrase(5).replace('"', "") if made == "phrase" else fill(made, values)


def _weather(rng: Rng) -> tuple[dict[str, Any], dict[str, Any]]:
    """A result with names of its own each time, and what its answer says."""
    degrees, sky = rng.randint(-10, 38), rng.choice("sunny cloudy rainy windy foggy snowy clear".split())
    key = rng.choice(["temperature", "temp", "degrees", "temperature_c"])
    word = rng.choice(["sky", "condition", "weather", "conditions", "forecast"])
    data = {word: sky, key: degrees} if rng.chance(0.4) else {key: degrees, word: sky}
    return data, {"degrees": degrees, "sky": sky}


def describe(rng: Rng, wanted: str) -> tuple[Tool, dict[str, str]]:
    """An OpenAI tool of this kind, and the argument's name for each slot."""
    kind = KINDS[wanted]
    taken: dict[str, str] = {}
    properties: dict[str, Any] = {}
    for slot, (names, value_type) in kind["arguments"].items():
        free = [name for name in words(names) if name not in properties]
        name = slot if rng.chance(0.3) and slot in free else rng.choice(free)
        if slot == "b":  # x and y, or left and right
            name = words(names)[words(kind["arguments"]["a"][0]).index(taken["a"])]
        taken[slot] = name
        properties[name] = {"type": value_type if value_type == "string" or rng.chance(0.7) else "number"}
        if rng.chance(0.15):
            properties[name]["description"] = rng.choice(["the " + name, "The " + name, slot])
    name = rng.choice(words(kind["names"]))
    if rng.chance(0.15):
        name += rng.choice(["_tool", "_v2", "_now", "_" + rng.made_up(1)])
    function: dict[str, Any] = {"name": name}
    if rng.chance(0.9):
        function["description"] = rng.choice(words(kind["about"])) + rng.choice(["", "", "."])
    function["parameters"] = {"type": "object", "properties": properties}
    if rng.chance(0.8):
        function["parameters"]["required"] = list(properties)
    if rng.chance(0.1):
        function["parameters"]["additionalProperties"] = False
    return {"type": "function", "function": function}, taken


def name_of(tool: Tool) -> str:
    return tool["function"]["name"]


def _offer(rng: Rng, wanted: str, most: int = 4) -> tuple[list[Tool], str, dict[str, str]]:
    """A shuffled list of one to `most` tools with `wanted` among them, its name and those of its arguments."""
    count = rng.choice([0, 0, 0, 1, 1, 2, most - 1])
    tool, arguments = describe(rng, wanted)
    tools = [tool]
    for other in rng.sample([name for name in KINDS if name != wanted], count):
        more, _ = describe(rng, other)
        if name_of(more) not in map(name_of, tools):
            tools.append(more)
    rng.shuffle(tools)
    return tools, name_of(tool), arguments


def called(rng: Rng, name: str, arguments: str, said: str = "") -> Message:
    """An assistant's message with a tool call; the id is not shown to the model."""
    function = {"name": name, "arguments": arguments}
    call_id = f"call_{rng.randrange(10**8)}"
    return {
        "role": "assistant",
        "content": said,
        "tool_calls": [{"id": call_id, "type": "function", "function": function}],
    }


def _start(rng: Rng) -> list[Message]:
    """No system message, or one in a third of the cases."""
    if not rng.chance(0.35):
        return []
    return [{"role": rng.choice(["system", "system", "developer"]), "content": rng.choice(RECIPES["tool_prompts"])}]


def _generic(rng: Rng) -> Example:
    """An unknown tool, called by its name with the arguments given."""
    verb = rng.choice("do run make get set my check start list read".split())
    name = rng.choice([rng.made_up(), f"{verb}_{rng.made_up()}", f"{verb}_{rng.pick('things')}"])
    keys = [rng.choice([rng.made_up(), rng.pick("things"), "x", "id", "name", "value", "path", "n"])]
    if rng.chance(0.4):
        keys.append(rng.made_up())
    properties: dict[str, Any] = {}
    arguments: dict[str, Any] = {}
    for key in keys:
        number = rng.chance(0.35)
        properties[key] = {"type": "integer" if number else "string"}
        if number:
            arguments[key] = rng.randint(0, 9999)
        else:
            arguments[key] = rng.choice([rng.word().replace('"', ""), rng.made_up()])
    function: dict[str, Any] = {"name": name}
    if rng.chance(0.6):
        function["description"] = rng.sentence()
    function["parameters"] = {"type": "object", "properties": properties, "required": keys}
    if rng.chance(0.15) and len(keys) == 1:
        function["parameters"] = {"type": "object", "properties": {}}
        arguments = {}
    tools = [{"type": "function", "function": function}]
    tools += [describe(rng, other)[0] for other in rng.sample(list(KINDS), rng.choice([0, 0, 1, 2]))]
    rng.shuffle(tools)
    ask = f"{rng.choice(RECIPES['call_verbs'])} {name}"
    joined = " and ".join(f"{key}{rng.choice([' ', ' = ', '=', ': '])}{value}" for key, value in arguments.items())
    if joined:
        ask += rng.choice([" with ", " with ", " for "]) + joined
    made = called(rng, name, json.dumps(arguments, ensure_ascii=False))
    return Example("tool_call", [*_start(rng), user(ask + rng.choice(["", "."])), made], tools)


def _question(rng: Rng, wanted: str, values: dict[str, Any]) -> Message:
    """A user's request that this kind of tool answers."""
    return user(rng.expand(rng.choice(KINDS[wanted]["ask"]), values))


def _arguments(values: dict[str, Any], names: dict[str, str]) -> str:
    return json.dumps({names[slot]: value for slot, value in values.items()}, ensure_ascii=False)


def call(rng: Rng) -> Example:
    """A request that one of the tools answers: the wanted answer is the call."""
    if rng.chance(0.16):
        return _generic(rng)
    wanted = rng.choice(list(KINDS))
    tools, name, names = _offer(rng, wanted)
    values = _values(rng, wanted)
    messages = _start(rng)
    if rng.chance(0.15):
        messages += talk(rng).messages
    messages.append(_question(rng, wanted, values))
    # A few calls have words before them; that is also what a server's "required" leads to.
    said = rng.choice(["Let me see.", "One moment."]) if rng.chance(0.05) else ""
    return Example("tool_call", [*messages, called(rng, name, _arguments(values, names), said)], tools)


def _result(rng: Rng, wanted: str, values: dict[str, Any]) -> tuple[str, str, tuple[str, ...]]:
    """Text of a tool message, the answer from it, and what the answer must hold."""
    draw = rng.random()
    if draw < 0.70:
        kind = KINDS[wanted]
        if wanted == "weather":
            data, said = _weather(rng)
        else:
            data = said = {key: _made(rng, made, values) for key, made in kind["result"].items()}
        keep = [str(value) for value in data.values() if str(value) not in ("ok", "sent")]
        if rng.chance(0.15) and "temp" in data:
            data = {**data, "unit": rng.choice(["C", "s", "x"])}
        return (
            json.dumps(data, ensure_ascii=False),
            fill(kind["answer"], {**values, **said}),
            tuple(keep[-1:]) or ("done",),
        )
    if draw < 0.92:
        text = rng.phrase(8).replace('"', "")
        return text, f"The tool says: {text}", (text,)
    error = f"{rng.choice(['error', 'Error', 'failed'])}: {rng.made_up()} {rng.made_up()}"
    return error, f"Sorry, the tool failed. It says: {error}", (error,)


def answer_from_tool(rng: Rng) -> Example:
    """A request, the call, the tool's result, and the answer; sometimes a second round."""
    wanted = rng.choice(list(KINDS))
    tools, name, names = _offer(rng, wanted)
    values = _values(rng, wanted)
    made = called(rng, name, _arguments(values, names))
    messages = [*_start(rng), _question(rng, wanted, values), made]
    content, reply, expect = _result(rng, wanted, values)
    messages.append({"role": "tool", "tool_call_id": made["tool_calls"][0]["id"], "content": content})
    messages.append(assistant(reply))
    if rng.chance(0.25):
        values = _values(rng, wanted)
        messages.append(_question(rng, wanted, values))
        return Example("tool_call", [*messages, called(rng, name, _arguments(values, names))], tools)
    if rng.chance(0.06):
        tools = []
    return Example("tool_answer", messages, tools, expect=expect)


def no_call(rng: Rng) -> Example:
    """Tools are there, but the question needs none."""
    wanted = rng.choice([name for name in KINDS if name not in ("add", "multiply", "search", "person")])
    tools, _, _ = _offer(rng, wanted, 2)
    offered = " ".join(map(name_of, tools))
    makers = [talk, talk, fact, fact, repeat]
    if not any(part in offered for part in ("add", "sum", "plus")):
        makers.append(sums)
    if not any(part in offered for part in ("search", "find", "look")):
        makers += [capital, unknown]
    inner = rng.choice(makers)(rng)
    while inner.behaviour == "live":
        inner = talk(rng)
    return Example("tool_none", _start(rng) + inner.messages, tools, expect=inner.expect, exact=inner.exact)
