"""Conversations with tools: call the right one, answer from its result, or leave it alone."""

from __future__ import annotations

import json
import random
from typing import Any

from tiny.copying import repeat
from tiny.example import Example, assistant, user
from tiny.lexicon import THINGS, made_up_word, random_phrase, random_sentence, random_word
from tiny.off_topic import unknown
from tiny.skills import capital, sums
from tiny.talk import fact, talk
from tiny.toolkit import KINDS, Kind, describe, question

_PROMPTS = (
    "You are a helpful assistant.",
    "You are a helpful assistant. Use the tools when they fit.",
    "Use a tool if you can.",
    "Answer briefly.",
)


def _offer(rng: random.Random, wanted: str, most: int = 4) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """A shuffled list of one to `most` tools with `wanted` among them, and its argument names."""
    others = [name for name in KINDS if name != wanted]
    count = rng.choice([0, 0, 0, 1, 1, 2, most - 1])
    wanted_tool, names = describe(rng, KINDS[wanted])
    tools = [wanted_tool]
    used = {wanted_tool["function"]["name"]}
    for other in rng.sample(others, count):
        tool, _ = describe(rng, KINDS[other])
        if tool["function"]["name"] not in used:
            tools.append(tool)
            used.add(tool["function"]["name"])
    rng.shuffle(tools)
    return tools, {**names, "": wanted_tool["function"]["name"]}


def _call(rng: random.Random, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """An OpenAI tool call; the id is not shown to the model."""
    text = json.dumps(arguments, ensure_ascii=False)
    return {"id": f"call_{rng.randrange(10**8)}", "type": "function", "function": {"name": name, "arguments": text}}


def _start(rng: random.Random) -> list[dict[str, Any]]:
    """No system message, or one in a third of the cases."""
    if rng.random() < 0.35:
        return [{"role": rng.choice(["system", "system", "developer"]), "content": rng.choice(_PROMPTS)}]
    return []


def _generic(rng: random.Random) -> Example:
    """A tool that nobody has heard of, called by its name with the arguments given."""
    verb = rng.choice(["do", "run", "make", "get", "set", "my", "check", "start", "list", "read"])
    name = rng.choice([made_up_word(rng), f"{verb}_{made_up_word(rng)}", f"{verb}_{rng.choice(THINGS)}"])
    keys = [rng.choice([made_up_word(rng), rng.choice(THINGS), "x", "id", "name", "value", "path", "n"])]
    if rng.random() < 0.4:
        keys.append(made_up_word(rng))
    properties: dict[str, Any] = {}
    arguments: dict[str, Any] = {}
    for key in keys:
        number = rng.random() < 0.35
        properties[key] = {"type": "integer" if number else "string"}
        arguments[key] = (
            rng.randint(0, 9999) if number else rng.choice([random_word(rng).replace('"', ""), made_up_word(rng)])
        )
    function: dict[str, Any] = {"name": name}
    if rng.random() < 0.6:
        function["description"] = random_sentence(rng)
    function["parameters"] = {"type": "object", "properties": properties, "required": keys}
    if rng.random() < 0.15 and len(keys) == 1:
        function["parameters"] = {"type": "object", "properties": {}}
        keys, arguments = [], {}
    tools = [{"type": "function", "function": function}]
    for other in rng.sample(list(KINDS), rng.choice([0, 0, 1, 2])):
        tools.append(describe(rng, KINDS[other])[0])
    rng.shuffle(tools)
    ask = (
        rng.choice(["Call", "Use", "Run", "Please call", "call", "Call the tool", "Use the tool", "Call the function"])
        + f" {name}"
    )
    joined = " and ".join(f"{key}{rng.choice([' ', ' = ', '=', ': '])}{arguments[key]}" for key in keys)
    if joined:
        ask += rng.choice([" with ", " with ", " for "]) + joined
    made = _call(rng, name, arguments)
    messages = [*_start(rng), user(ask + rng.choice(["", "."]))]
    messages.append({"role": "assistant", "content": "", "tool_calls": [made]})
    return Example("tool_call", messages, tools)


def call(rng: random.Random) -> Example:
    """A request that one of the tools answers: the wanted answer is the call."""
    if rng.random() < 0.16:
        return _generic(rng)
    wanted = rng.choice(list(KINDS))
    kind = KINDS[wanted]
    tools, names = _offer(rng, wanted)
    values = kind.values(rng)
    arguments = {names[slot]: value for slot, value in values.items()}
    messages = _start(rng)
    if rng.random() < 0.15:
        earlier = talk(rng)
        messages += earlier.messages
    messages.append(user(question(rng, kind, values)))
    # A few calls have words before them; that is also what a server's "required" leads to.
    said = rng.choice(["Let me see.", "One moment."]) if rng.random() < 0.05 else ""
    messages.append({"role": "assistant", "content": said, "tool_calls": [_call(rng, names[""], arguments)]})
    return Example("tool_call", messages, tools)


def _result(rng: random.Random, kind: Kind, values: dict[str, Any]) -> tuple[str, str, tuple[str, ...]]:
    """Text of a tool message, the answer from it, and what the answer must hold."""
    draw = rng.random()
    if draw < 0.70:
        data, answer = kind.reply(rng, values)
        keep = [str(v) for v in data.values() if str(v) not in ("ok", "sent")]
        expect = tuple(keep[-1:]) or ("done",)
        if rng.random() < 0.15:
            data = {**data, "unit": rng.choice(["C", "s", "x"])} if "temp" in data else data
        return json.dumps(data, ensure_ascii=False), answer, expect
    if draw < 0.92:
        text = random_phrase(rng, 8).replace('"', "")
        return text, f"The tool says: {text}", (text,)
    error = f"{rng.choice(['error', 'Error', 'failed'])}: {made_up_word(rng)} {made_up_word(rng)}"
    return error, f"Sorry, the tool failed. It says: {error}", (error,)


def answer_from_tool(rng: random.Random) -> Example:
    """A request, the call, the tool's result, and the answer; sometimes a second round."""
    wanted = rng.choice(list(KINDS))
    kind = KINDS[wanted]
    tools, names = _offer(rng, wanted)
    values = kind.values(rng)
    arguments = {names[slot]: value for slot, value in values.items()}
    made = _call(rng, names[""], arguments)
    messages = _start(rng)
    messages.append(user(question(rng, kind, values)))
    messages.append({"role": "assistant", "content": "", "tool_calls": [made]})
    content, reply, expect = _result(rng, kind, values)
    messages.append({"role": "tool", "tool_call_id": made["id"], "content": content})
    messages.append(assistant(reply))
    if rng.random() < 0.25:
        values = kind.values(rng)
        arguments = {names[slot]: value for slot, value in values.items()}
        messages.append(user(question(rng, kind, values)))
        messages.append({"role": "assistant", "content": "", "tool_calls": [_call(rng, names[""], arguments)]})
        return Example("tool_call", messages, tools)
    if rng.random() < 0.06:
        tools = []
    return Example("tool_answer", messages, tools, expect=expect)


def no_call(rng: random.Random) -> Example:
    """Tools are there, but the question needs none."""
    wanted = rng.choice([name for name in KINDS if name not in ("add", "multiply", "search", "person")])
    tools, _ = _offer(rng, wanted, 2)
    names = {tool["function"]["name"] for tool in tools}
    makers = [talk, talk, fact, fact, repeat]
    if not any("add" in n or "sum" in n or "plus" in n for n in names):
        makers.append(sums)
    if not any("search" in n or "find" in n or "look" in n for n in names):
        makers += [capital, unknown]
    inner = rng.choice(makers)(rng)
    while inner.behaviour in ("live",):
        inner = talk(rng)
    messages = _start(rng) + inner.messages
    return Example("tool_none", messages, tools, expect=inner.expect, exact=inner.exact)
