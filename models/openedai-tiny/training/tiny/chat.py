"""System prompts, JSON answers, memory of a name, and long conversations."""

import json
from typing import Any

from tiny import skills, talk, writing
from tiny.text import RECIPES, WORDS, Example, Maker, Message, Rng, assistant, pair, user


def system_text(rng: Rng) -> str:
    """A system prompt of the usual kind, one that changes nothing in the answers."""
    rest = " ".join(rng.sentence() for _ in range(rng.choice([1, 1, 2, 4])))
    return rng.expand(rng.choice(RECIPES["system"]), {"thing": rng.pick("things"), "rest": rest})


def _system(rng: Rng, content: str) -> Message:
    return {"role": rng.choice(["system", "system", "system", "developer"]), "content": content}


def with_system(rng: Rng, example: Example) -> Example:
    """The example behind a system prompt that changes nothing."""
    if example.messages and example.messages[0]["role"] == "user":
        first = _system(rng, "")
        example.messages = [{**first, "content": system_text(rng)}, *example.messages]
    return example


def persona(rng: Rng) -> Example:
    name = rng.coined("names", 0.45)
    prompt = rng.say("persona", name=name, thing=rng.pick("things"))
    ask = rng.noisy(rng.say("who"))
    answer = f"I am {name}, played by OpenedAI Tiny, a tiny demonstration model."
    return Example("system_name", [_system(rng, prompt), user(ask), assistant(answer)], expect=(name,))


def ending(rng: Rng) -> Example:
    made = [rng.pick("emoji"), rng.pick("things"), rng.made_up(), rng.made_up().upper()]
    mark = rng.choice([*made, "meow", "OK"])
    prompt = rng.say("ending", mark=rng.choice([mark, f'"{mark}"']))
    inner = rng.choice([talk.talk, talk.fact, skills.capital])(rng)
    answer = f"{inner.messages[-1]['content']} {mark}"
    messages = [_system(rng, prompt), *inner.messages[:-1], assistant(answer)]
    return Example("system_ending", messages, expect=(f" {mark}",))


def memory(rng: Rng) -> Example:
    slot = rng.choice(["name", "name", "name", "colour", "city", "fruit"])
    name, colour = rng.coined("names", 0.45), rng.pick("colours")
    city = rng.choice([*WORDS["cities"], rng.made_up(2).capitalize()])
    value = {"name": name, "colour": colour, "city": city, "fruit": rng.pick("fruits")}[slot]
    tell, ask, first, last = RECIPES["memory"][slot]
    told, asked = rng.expand(tell, {"v": value}), rng.noisy(rng.expand(ask), slips=False)
    greeted, answer = first.replace("<v>", value), last.replace("<v>", value)
    if slot == "name" and rng.chance(0.12):
        known = rng.choice([f"The user is called {value}.", f"The user's name is {value}."])
        return Example("memory", [_system(rng, known), user(asked), assistant(answer)], expect=(value,))
    if rng.chance(0.12):
        return pair("memory", f"{told} {asked}", answer, (value,))
    messages = [user(told), assistant(greeted[:1].upper() + greeted[1:])]
    for _ in range(rng.choice([0, 0, 1, 1, 2, 3])):
        messages += any_turn(rng).messages
    return Example("memory", [*messages, user(asked), assistant(answer)], expect=(value,))


def no_memory(rng: Rng) -> Example:
    ask = rng.say("no_memory")
    messages = any_turn(rng).messages if rng.chance(0.4) else []
    messages = [*messages, user(ask), assistant("You have not told me your name yet.")]
    return Example("memory_none", messages, expect=("not told",))


def json_answer(rng: Rng) -> Example:
    name, city, age = rng.coined("names", 0.45), rng.pick("cities"), rng.randint(1, 99)
    choice, lead = rng.randrange(5), rng.say("json_lead")
    data: Any
    if choice == 0:
        data, ask = {"name": name, "age": age}, f"{rng.choice(['with', 'for'])} the name {name} and the age {age}"
    elif choice == 1:
        data, ask = {"name": name, "city": city}, f"with name {name} and city {city}"
    elif choice == 2:
        key, value = rng.made_up(), rng.made_up()
        data, ask = {key: value}, f"with the key {key} and the value {value}"
    elif choice == 3:
        data = rng.sample(WORDS["colours"], rng.randint(2, 4))
        listed, kind = ", ".join(data), "a JSON list"
        if rng.chance(0.5):
            data, kind = {"colors": data}, "a JSON object with the list colors"
        lead, ask = rng.choice(["Give me", "Write", "Return"]), f"{kind}: {listed}"
    else:
        data, lead, ask = rng.choice(
            [
                ({"answer": "yes"}, "Answer", "yes in JSON"),
                ({"message": "Hello! 👋"}, "Greet", "me in JSON"),
                ({"ok": True}, "Say", "ok as JSON"),
            ]
        )
    ask = f"{lead} {ask}" + rng.choice(["", ".", "."])
    return pair("json", ask, json.dumps(data, ensure_ascii=False), exact=True)


def json_wrap(rng: Rng) -> Example:
    inner = rng.choice([talk.talk, talk.fact, talk.unknown, skills.capital, skills.sums])(rng)
    ask, wish = inner.messages[-2]["content"], rng.say("json_wish")
    answer = assistant(json.dumps({"answer": inner.messages[-1]["content"]}, ensure_ascii=False))
    if not rng.chance(0.5):
        return Example("json_wrap", [user(f"{ask} {wish}"), answer], expect=inner.expect)
    system = _system(rng, wish)
    if rng.chance(0.3):
        system["content"] = "You are a helpful assistant. " + wish
    return Example("json_wrap", [system, user(ask), answer], expect=inner.expect)


def secret(rng: Rng) -> Example:
    what = rng.choice(["secret word", "code", "password", "magic word", "secret number", "key word", "secret"])
    made = [rng.made_up(), rng.made_up(), rng.pick("things"), str(rng.randint(10, 99999))]
    value = rng.choice([*made, rng.made_up().upper()])
    tell, ask = rng.say("secret_tell", w=what, v=value), rng.say("secret_ask", w=what)
    answer = assistant(f"The {what} is {value}.")
    before = [rng.sentence() for _ in range(rng.choice([0, 0, 2, 6, 12]))]
    after = [rng.sentence() for _ in range(rng.choice([0, 0, 2, 6, 12]))]
    text, form = " ".join([*before, tell, *after]), rng.random()
    if form < 0.45:
        messages = [user(f"{text} {ask}")]
    elif form < 0.60:
        messages = [_system(rng, text), user(ask)]
    else:
        messages = [user(text), assistant(f"I will remember that: {value}. 👍")]
        for _ in range(rng.choice([0, 1, 1, 2, 4])):
            messages += any_turn(rng).messages
        messages.append(user(ask))
    return Example("secret", [*messages, answer], expect=(value,))


def again(rng: Rng) -> Example:
    inner = rng.choice([talk.fact, writing.joke, skills.capital, talk.repeat])(rng)
    answer = inner.messages[-1]["content"]
    messages = [*inner.messages, user(rng.say("again")), assistant(answer)]
    return Example("again", messages, expect=(answer,), exact=True)


# What a conversation is made of, with its share.
_TURNS: dict[Maker, int] = {
    talk.fact: 30, talk.talk: 20, talk.unknown: 12, talk.repeat: 16, skills.count: 5, skills.known_list: 3,
    skills.some_of: 3, skills.order: 3, skills.sums: 8, skills.capital: 8, skills.opposite: 4, skills.translate: 5,
    writing.joke: 3, writing.haiku: 2, writing.poem: 2, writing.story: 3, json_answer: 3, talk.emoji: 1,
}  # fmt: skip


def any_turn(rng: Rng) -> Example:
    """One exchange of any kind, for use inside of a longer conversation."""
    return rng.choices(list(_TURNS), list(_TURNS.values()))[0](rng)


def conversation(rng: Rng, most: int = 6) -> Example:
    last = any_turn(rng)
    messages = [message for _ in range(rng.randint(1, most - 1)) for message in any_turn(rng).messages]
    if rng.chance(0.1):
        messages += talk.pasted(rng).messages
    return Example("conversation", messages + last.messages, expect=last.expect, exact=last.exact)


def long_conversation(rng: Rng) -> Example:
    example = conversation(rng, 80)
    example.behaviour = "long"
    return example
