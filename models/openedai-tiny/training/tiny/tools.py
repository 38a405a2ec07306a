"""Conversations with tools: call the right one, answer from its result, or leave it alone."""

import json
from typing import Any

from tiny.skills import capital, sums
from tiny.talk import fact, repeat, talk, unknown
from tiny.text import RECIPES, Example, Message, Rng, assistant, fill, load, user, words

KINDS: dict[str, dict[str, Any]] = load("tools")
Tool = dict[str, Any]
Values = dict[str, Any]


def _subject(rng: Rng) -> str:
    return " ".join(rng.choice([rng.made_up(), rng.pick("things")]) for _ in range(rng.randint(1, 3)))


def _city(rng: Rng) -> str:
    return rng.coined("cities", 0.35)


_ROOMS = ["kitchen", "bathroom", "garage", "office", "hall", "garden", "bedroom"]
# What an argument may be, by its slot; a and b are numbers.
_VALUES = {
    "city": _city, "query": _subject, "subject": _subject, "text": _subject, "name": lambda r: r.coined("names", 0.3),
    "zone": lambda r: r.choice([_city(r), _city(r), "Europe/" + _city(r), "UTC", "Asia/" + _city(r), "EST"]),
    "to": lambda r: r.choice([r.coined("names", 0.3), r.coined("names", 0.3).lower() + "@example.com"]),
    "item": lambda r: r.choice([_subject(r), r.made_up().upper(), r.pick("things")]),
    "room": lambda r: r.choice([*_ROOMS, r.made_up(2)]),
    "state": lambda r: r.choice(["on", "off"]), "sides": lambda r: r.choice([4, 6, 8, 10, 12, 20, 100]),
}  # fmt: skip


def _values(rng: Rng, wanted: str) -> Values:
    """A value for each argument of this kind of tool."""
    if wanted in ("add", "multiply"):
        return {slot: rng.randrange(10 ** rng.randint(1, 4 if wanted == "add" else 3)) for slot in "ab"}
    return {slot: _VALUES[slot](rng) for slot in KINDS[wanted]["arguments"]}


def _question(rng: Rng, wanted: str, values: Values) -> Message:
    """A user's request that this kind of tool answers."""
    return user(rng.expand(rng.choice(KINDS[wanted]["ask"]), values))


def describe(rng: Rng, wanted: str) -> tuple[Tool, dict[str, str]]:
    """An OpenAI tool of this kind, and the argument's name for each slot."""
    kind, taken, properties = KINDS[wanted], {}, {}
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
    tools = {name_of(tool): tool}
    for other in rng.sample([name for name in KINDS if name != wanted], count):
        more, _ = describe(rng, other)
        tools.setdefault(name_of(more), more)
    offered = list(tools.values())
    rng.shuffle(offered)
    return offered, name_of(tool), arguments


def called(rng: Rng, name: str, arguments: Any, said: str = "") -> Message:
    """An assistant's message with a tool call; the id is not shown to the model."""
    call = {"id": f"call_{rng.randrange(10**8)}", "type": "function"}
    text = arguments() if callable(arguments) else json.dumps(arguments, ensure_ascii=False)
    return {
        "role": "assistant",
        "content": said,
        "tool_calls": [{**call, "function": {"name": name, "arguments": text}}],
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
    properties, values = {}, {}
    for key in keys:
        number = rng.chance(0.35)
        properties[key] = {"type": "integer" if number else "string"}
        values[key] = rng.randint(0, 9999) if number else rng.choice([rng.word().replace('"', ""), rng.made_up()])
    function: dict[str, Any] = {"name": name}
    if rng.chance(0.6):
        function["description"] = rng.sentence()
    function["parameters"] = {"type": "object", "properties": properties, "required": keys}
    if rng.chance(0.15) and len(keys) == 1:
        function["parameters"], values = {"type": "object", "properties": {}}, {}
    tools = [{"type": "function", "function": function}]
    tools += [describe(rng, other)[0] for other in rng.sample(list(KINDS), rng.choice([0, 0, 1, 2]))]
    rng.shuffle(tools)
    ask = f"{rng.choice(RECIPES['call_verbs'])} {name}"
    joined = " and ".join(f"{key}{rng.choice([' ', ' = ', '=', ': '])}{value}" for key, value in values.items())
    if joined:
        ask += rng.choice([" with ", " with ", " for "]) + joined
    made = called(rng, name, values)
    return Example("tool_call", [*_start(rng), user(ask + rng.choice(["", "."])), made], tools)


def _named(values: Values, names: dict[str, str]) -> Values:
    return {names[slot]: value for slot, value in values.items()}


def call(rng: Rng) -> Example:
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
    return Example("tool_call", [*messages, called(rng, name, _named(values, names), said)], tools)


def _made(rng: Rng, made: Any, values: Values) -> Any:
    """A value of a tool's result, as the table describes it."""
    if isinstance(made, list):
        return rng.randint(*made)
    return rng.phrase(5).replace('"', "") if made == "phrase" else rng.made(fill(made, values))


def _result(rng: Rng, wanted: str, values: Values) -> tuple[str, str, tuple[str, ...]]:
    """Text of a tool message, the answer from it, and what the answer must hold."""
    draw = rng.random()
    if draw < 0.70:
        if wanted == "weather":
            said = {"degrees": rng.randint(-10, 38), "sky": rng.pick("skies")}
            data = {rng.pick("degree_names"): said["degrees"], rng.pick("sky_names"): said["sky"]}
            data = dict(reversed(data.items())) if rng.chance(0.4) else data
        else:
            data = said = {key: _made(rng, made, values) for key, made in KINDS[wanted]["result"].items()}
        keep = [str(value) for value in data.values() if str(value) not in ("ok", "sent")]
        if rng.chance(0.15) and "temp" in data:
            data = {**data, "unit": rng.choice(["C", "s", "x"])}
        answer = fill(KINDS[wanted]["answer"], {**values, **said})
        return json.dumps(data, ensure_ascii=False), answer, tuple(keep[-1:]) or ("done",)
    if draw < 0.92:
        text = rng.phrase(8).replace('"', "")
        return text, f"The tool says: {text}", (text,)
    error = f"{rng.choice(['error', 'Error', 'failed'])}: {rng.made_up()} {rng.made_up()}"
    return error, f"Sorry, the tool failed. It says: {error}", (error,)


def answer_from_tool(rng: Rng) -> Example:
    wanted = rng.choice(list(KINDS))
    tools, name, names = _offer(rng, wanted)
    values = _values(rng, wanted)
    made = called(rng, name, _named(values, names))
    messages = [*_start(rng), _question(rng, wanted, values), made]
    content, reply, expect = _result(rng, wanted, values)
    result = {"role": "tool", "tool_call_id": made["tool_calls"][0]["id"], "content": content}
    messages += [result, assistant(reply)]
    if rng.chance(0.25):
        values = _values(rng, wanted)
        messages.append(_question(rng, wanted, values))
        return Example("tool_call", [*messages, called(rng, name, _named(values, names))], tools)
    return Example("tool_answer", messages, [] if rng.chance(0.06) else tools, expect=expect)


def no_call(rng: Rng) -> Example:
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
