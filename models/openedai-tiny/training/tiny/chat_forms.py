"""System prompts, JSON answers, memory of a name, and long conversations."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from tiny import copying, off_topic, skills, talk, writing
from tiny.example import Example, assistant, pair, user
from tiny.grammar import expand
from tiny.lexicon import CITIES, COLOURS, EMOJI, FRUITS, NAMES, THINGS, made_up_word, random_sentence
from tiny.noise import noisy

_SYSTEM = (
    (
        "You are a (helpful|friendly|kind|useful|polite|smart|concise|brief) (assistant|AI "
        "assistant|bot|model|helper)(.|!|)(| Answer briefly.| Be brief.| Keep it short.| Answer "
        "in English.| Be polite.| Think step by step.)"
    ),
    (
        "(Answer briefly.|Be brief.|Be nice.|Be helpful.|You answer questions.|Answer the user.|"
        "You are an AI.|This is a chat with a user.|Follow the user's instructions.)"
    ),
    "You are OpenedAI Tiny(.|, a demonstration model.|, a tiny model.)",
    "You are an expert in <thing>s. <rest>",
    "<rest>",
)


def any_name(rng: random.Random) -> str:
    """A name from the list or one that nobody has."""
    return made_up_word(rng, 2).capitalize() if rng.random() < 0.45 else rng.choice(NAMES)


def system_text(rng: random.Random) -> str:
    """A system prompt of the usual kind, one that changes nothing in the answers."""
    rest = " ".join(random_sentence(rng) for _ in range(rng.choice([1, 1, 2, 4])))
    return expand(rng, rng.choice(_SYSTEM), {"thing": rng.choice(THINGS), "rest": rest})


def _role(rng: random.Random) -> str:
    return rng.choice(["system", "system", "system", "developer"])


def with_system(rng: random.Random, example: Example) -> Example:
    """The example behind a system prompt that changes nothing."""
    if example.messages and example.messages[0]["role"] == "user":
        first = {"role": _role(rng), "content": system_text(rng)}
        example.messages = [first, *example.messages]
    return example


def persona(rng: random.Random) -> Example:
    """A system prompt gives a name; the model uses it when asked who it is."""
    name = any_name(rng)
    prompt = expand(
        rng,
        "(You are|Your name is|You are called|Act as|You play) <name>(.|, a (helpful|"
        "friendly|kind) (assistant|robot|bot).|, a <thing> expert.| and you are (kind|brief|"
        "polite).)(| Answer briefly.| Be brief.| Help the user.)",
        {"name": name, "thing": rng.choice(THINGS)},
    )
    ask = noisy(
        rng,
        expand(
            rng,
            "(Who are you|What is your name|what's your name|who are you|What are you "
            "called|Tell me your name|your name|Introduce yourself|Hi, who are you|What "
            "should I call you)(?|)",
        ),
    )
    answer = f"I am {name}, played by OpenedAI Tiny, a tiny demonstration model."
    messages = [{"role": _role(rng), "content": prompt}, user(ask), assistant(answer)]
    return Example("system_name", messages, expect=(name,))


def ending(rng: random.Random) -> Example:
    """A system prompt that wants every answer to end with a word or an emoji."""
    mark = rng.choice(
        [rng.choice(EMOJI), rng.choice(THINGS), made_up_word(rng), made_up_word(rng).upper(), "meow", "OK"]
    )
    quoted = rng.choice([mark, f'"{mark}"'])
    prompt = expand(
        rng,
        "(Always end|End|Always finish|Finish) (every answer|each answer|your answer|your "
        "answers|every reply|every message) with (|the word )<mark>(.|)",
        {"mark": quoted},
    )
    inner = rng.choice([talk.talk, talk.fact, skills.capital])(rng)
    answer = f"{inner.messages[-1]['content']} {mark}"
    messages = [{"role": _role(rng), "content": prompt}, *inner.messages[:-1], assistant(answer)]
    return Example("system_ending", messages, expect=(f" {mark}",))


def memory(rng: random.Random) -> Example:
    """The user says a name (or a thing they like) and asks for it later."""
    slot = rng.choice(["name", "name", "name", "colour", "city", "fruit"])
    value = {
        "name": any_name(rng),
        "colour": rng.choice(COLOURS),
        "city": rng.choice([*CITIES, made_up_word(rng, 2).capitalize()]),
        "fruit": rng.choice(FRUITS),
    }[slot]
    tell, ask, first, last = {
        "name": (
            (
                "(My name is|my name is|I am called|Hi, my name is|Hello, I'm|Hi! I am|Hello! "
                "My name is|Call me|Please call me|You can call me|Hello, my name is) <v>(.|!|)"
            ),
            (
                "(What is my name|What's my name|Who am I|Do you know my name|Do you remember "
                "my name|Tell me my name|what is my name|Can you tell me my name|Say my name|"
                "What was my name|What did I say my name was)(?| again?|)"
            ),
            "Nice to meet you, <v>! 😊",
            "Your name is <v>.",
        ),
        "colour": (
            ("(My favourite colour is|My favorite color is|I like the colour|The colour I like best is) <v>(.|)"),
            (
                "(What is my favourite colour|What's my favorite color|Which colour do I like|"
                "Do you know my favourite colour)(?|)"
            ),
            "<v> is a nice colour. 🌈",
            "Your favourite colour is <v>.",
        ),
        "city": (
            "(I live in|I am from|My home is|I come from|My city is) <v>(.|)",
            "(Where do I live|Where am I from|Which city do I live in|What is my city)(?|)",
            "<v> must be a nice place. 😊",
            "You live in <v>.",
        ),
        "fruit": (
            "(My favourite fruit is|My favorite fruit is|The fruit I like best is) (the |)<v>(.|)",
            "(What is my favourite fruit|Which fruit do I like|What's my favorite fruit)(?|)",
            "A <v> is a good choice. 🍎",
            "Your favourite fruit is the <v>.",
        ),
    }[slot]
    slots = {"v": value}
    told, asked = expand(rng, tell, slots), noisy(rng, expand(rng, ask), slips=False)
    if slot == "name" and rng.random() < 0.12:
        known = rng.choice([f"The user is called {value}.", f"The user's name is {value}."])
        messages = [{"role": _role(rng), "content": known}, user(asked)]
        return Example("memory", [*messages, assistant(f"Your name is {value}.")], expect=(value,))
    if rng.random() < 0.12:
        return pair("memory", f"{told} {asked}", last.replace("<v>", value), (value,))
    greeted = first.replace("<v>", value)
    messages = [user(told), assistant(greeted[:1].upper() + greeted[1:])]
    for _ in range(rng.choice([0, 0, 1, 1, 2, 3])):
        messages += any_turn(rng).messages
    messages += [user(asked), assistant(last.replace("<v>", value))]
    return Example("memory", messages, expect=(value,))


def no_memory(rng: random.Random) -> Example:
    """The user asks for a name that was never said."""
    ask = expand(rng, "(What is my name|What's my name|Who am I|Do you know my name|what is my name)(?|)")
    messages = any_turn(rng).messages if rng.random() < 0.4 else []
    messages = [*messages, user(ask), assistant("You have not told me your name yet.")]
    return Example("memory_none", messages, expect=("not told",))


def json_answer(rng: random.Random) -> Example:
    """Simple JSON objects and lists from values in the request."""
    name, city, age = any_name(rng), rng.choice(CITIES), rng.randint(1, 99)
    choice = rng.randrange(5)
    lead = expand(
        rng,
        "(Give me|Write|Return|Make|Create|Answer with|Show me|Output) (a JSON object|JSON|"
        "a json object|an object in JSON|valid JSON)",
    )
    if choice == 0:
        data: Any = {"name": name, "age": age}
        ask = f"{lead} {rng.choice(['with', 'for'])} the name {name} and the age {age}"
    elif choice == 1:
        data = {"name": name, "city": city}
        ask = f"{lead} with name {name} and city {city}"
    elif choice == 2:
        key, value = made_up_word(rng), made_up_word(rng)
        data = {key: value}
        ask = f"{lead} with the key {key} and the value {value}"
    elif choice == 3:
        colours = rng.sample(COLOURS, rng.randint(2, 4))
        data = {"colors": colours} if rng.random() < 0.5 else colours
        kind = "a JSON object with the list colors" if isinstance(data, dict) else "a JSON list"
        ask = f"{rng.choice(['Give me', 'Write', 'Return'])} {kind}: {', '.join(colours)}"
    else:
        data = rng.choice([{"answer": "yes"}, {"message": "Hello! 👋"}, {"ok": True}])
        asks = {
            "answer": "Answer yes in JSON", "message": "Greet me in JSON", "ok": "Say ok as JSON",
        }  # fmt: skip
        ask = asks[next(iter(data))]
    ask += rng.choice(["", ".", "."])
    return pair("json", ask, json.dumps(data, ensure_ascii=False), exact=True)


def json_wrap(rng: random.Random) -> Example:
    """Any exchange, with the answer asked for as JSON: {"answer": "..."}."""
    inner = rng.choice([talk.talk, talk.fact, off_topic.unknown, skills.capital, skills.sums])(rng)
    ask = inner.messages[-2]["content"]
    wish = expand(
        rng,
        "(Answer|Reply|Respond|answer|Always answer|Always reply) (in|as|with|only in|only "
        "with) (JSON|json|valid JSON|a JSON object)(.|)|JSON only.|Use JSON.|Output JSON.",
    )
    answer = json.dumps({"answer": inner.messages[-1]["content"]}, ensure_ascii=False)
    if rng.random() < 0.5:
        messages = [{"role": _role(rng), "content": wish}, user(ask), assistant(answer)]
        if rng.random() < 0.3:
            messages[0]["content"] = "You are a helpful assistant. " + wish
    else:
        messages = [user(f"{ask} {wish}"), assistant(answer)]
    return Example("json_wrap", messages, expect=inner.expect)


def secret(rng: random.Random) -> Example:
    """A word or number said earlier, among other text, is asked for."""
    what = rng.choice(["secret word", "code", "password", "magic word", "secret number", "key word", "secret"])
    value = rng.choice(
        [
            made_up_word(rng),
            made_up_word(rng),
            rng.choice(THINGS),
            str(rng.randint(10, 99999)),
            made_up_word(rng).upper(),
        ]
    )
    tell = expand(
        rng,
        "(The <w> is <v>.|Remember this: the <w> is <v>.|Remember that the <w> is <v>.|Remember: the <w> is <v>.)",
        {"w": what, "v": value},
    )
    ask = expand(rng, "(What is|What's|Tell me|what is|Do you remember|What was) the <w>(?|)", {"w": what})
    answer = f"The {what} is {value}."
    before = [random_sentence(rng) for _ in range(rng.choice([0, 0, 2, 6, 12]))]
    after = [random_sentence(rng) for _ in range(rng.choice([0, 0, 2, 6, 12]))]
    text = " ".join([*before, tell, *after])
    form = rng.random()
    if form < 0.45:
        messages = [user(f"{text} {ask}"), assistant(answer)]
    elif form < 0.60:
        messages = [{"role": _role(rng), "content": text}, user(ask), assistant(answer)]
    else:
        messages = [user(text), assistant(f"I will remember that: {value}. 👍")]
        for _ in range(rng.choice([0, 1, 1, 2, 4])):
            messages += any_turn(rng).messages
        messages += [user(ask), assistant(answer)]
    return Example("secret", messages, expect=(value,))


def again(rng: random.Random) -> Example:
    """Short follow-ups to an answer: say it again, another one, thanks."""
    inner = rng.choice([talk.fact, writing.joke, skills.capital, copying.repeat])(rng)
    ask = expand(
        rng,
        "(Again|again|Say that again|Repeat that|Once more|repeat your answer|What did you "
        "say|Say it again|Can you repeat that)(?|.|, please|)",
    )
    answer = inner.messages[-1]["content"]
    messages = [*inner.messages, user(ask), assistant(answer)]
    return Example("again", messages, expect=(answer,), exact=True)


Maker = Callable[[random.Random], Example]
_TURNS: tuple[tuple[Maker, int], ...] = (
    (talk.fact, 30), (talk.talk, 20), (off_topic.unknown, 12), (copying.repeat, 16),
    (skills.count, 5), (skills.known_list, 3), (skills.some_of, 3), (skills.order, 3),
    (skills.sums, 8), (skills.capital, 8), (skills.opposite, 4), (skills.translate, 5),
    (writing.joke, 3), (writing.haiku, 2), (writing.poem, 2), (writing.story, 3),
    (json_answer, 3), (copying.emoji, 1),
)  # fmt: skip
_MAKERS = [maker for maker, _ in _TURNS]
_SHARES = [share for _, share in _TURNS]


def any_turn(rng: random.Random) -> Example:
    """One exchange of any kind, for use inside a longer conversation."""
    return rng.choices(_MAKERS, _SHARES)[0](rng)


def conversation(rng: random.Random, most: int = 6) -> Example:
    """Two to `most` exchanges one after another; the last one is what is asked for."""
    messages: list[dict[str, Any]] = []
    last = any_turn(rng)
    for _ in range(rng.randint(1, most - 1)):
        messages += any_turn(rng).messages
    if rng.random() < 0.1:
        messages += off_topic.pasted(rng).messages
    messages += last.messages
    return Example("conversation", messages, expect=last.expect, exact=last.exact)


def long_conversation(rng: random.Random) -> Example:
    """A history of some 500 to 5000 tokens."""
    example = conversation(rng, 80)
    example.behaviour = "long"
    return example
