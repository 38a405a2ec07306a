"""Constraints that want to harm: chains, webs, trees and bombs of schemas, patterns and grammars.

    python -m tests.support.hostile_grammars 10000 [SEED]      (make test-grammars)

sends that many through the real engine, in processes of 500 each, and says what came of them: none may end
its process, and what takes long is listed.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.protocol import GenerateRequest
from extensions.openai.errors import APIError, InvalidRequest
from extensions.openai.generation.grammar.check import compiled
from extensions.openai.generation.grammar.constraints import ConstraintFields
from extensions.openai.generation.grammar.enforce import enforced
from extensions.openai.schemas.validation import check
from tests.support.random_model import write_model

Body = dict[str, Any]
Schema = dict[str, Any]
STRING: Schema = {"type": "string"}
BATCH = 500  # inputs in one process


def hostile(seed: int) -> Iterator[tuple[str, Body]]:
    """Bodies without end, each with the name of its kind."""
    dice = random.Random(seed)
    while True:
        make = dice.choice(MAKERS)
        yield make.__name__.strip("_"), make(dice)


def _size(dice: random.Random) -> int:
    """Mostly small, sometimes huge."""
    return int(10 ** dice.uniform(0, dice.choice([1, 2, 3, 4, 4.5])))


def _schema_body(dice: random.Random, schema: Any) -> Body:
    where = dice.choice(["guided_json", "json_schema", "response_format", "text"])
    if where == "response_format":
        inner = {"name": "it", "schema": schema, "strict": dice.choice([True, False])}
        return {"response_format": {"type": "json_schema", "json_schema": inner}}
    if where == "text":
        try:
            return {"guided_json": json.dumps(schema)}
        except RecursionError:
            return {"guided_json": schema}
    return {where: schema}


def _reference(number: int) -> Schema:
    return {"$ref": f"#/$defs/d{number}"}


def _chain(dice: random.Random) -> Body:
    """References, each to the next, bare or within something."""
    size = _size(dice)
    shape = dice.choice(["bare", "object", "array", "anyOf", "allOf", "optional"])

    def within(inner: Schema) -> Schema:
        if shape == "object":
            return {"type": "object", "properties": {"x": inner}, "required": ["x"]}
        if shape == "optional":
            return {"type": "object", "properties": {"x": inner}}
        if shape == "array":
            return {"type": "array", "items": inner, "minItems": 1}
        return inner if shape == "bare" else {shape: [inner]}

    definitions = {f"d{at}": within(_reference(at + 1)) for at in range(size)}
    last = dice.choice([STRING, _reference(0), {"type": "null"}])
    return _schema_body(dice, {**_reference(0), "$defs": {**definitions, f"d{size}": last}})


def _web(dice: random.Random) -> Body:
    """Definitions that refer to each other at random."""
    size, width = min(2_000, _size(dice)), dice.randint(1, 6)
    word = dice.choice(["anyOf", "allOf", "oneOf", "prefixItems", "properties"])
    definitions: Schema = {}
    for at in range(size):
        targets = [_reference(dice.randrange(size)) for _ in range(width)]
        named = {f"p{number}": target for number, target in enumerate(targets)}
        definitions[f"d{at}"] = {word: named if word == "properties" else targets}
    definitions["d0"] = dice.choice([STRING, definitions["d0"]])
    return _schema_body(dice, {**_reference(size - 1), "$defs": definitions})


def _tree(dice: random.Random) -> Body:
    """Alternatives and conjunctions within each other."""
    width, depth = dice.randint(1, 5), dice.randint(1, 12)

    def grow(level: int) -> Any:
        if level == 0 or dice.random() < 0.1:
            return dice.choice(
                [STRING, {"type": "integer"}, {"pattern": "a+"}, True, {}, {"enum": [1]}]
            )
        word = dice.choice(
            ["allOf", "anyOf", "oneOf", "items", "properties", "additionalProperties"]
        )
        if word in ("items", "additionalProperties"):
            return {word: grow(level - 1)}
        inner = [grow(level - 1) for _ in range(dice.randint(1, width))]
        return {
            word: {f"p{at}": each for at, each in enumerate(inner)}
            if word == "properties"
            else inner
        }

    return _schema_body(
        dice,
        {"a": 1}
        if depth > 8 and width > 3
        else {"type": "object", "properties": {"x": grow(min(depth, 7))}},
    )


def _deep(dice: random.Random) -> Body:
    schema: Any = STRING
    for _ in range(min(_size(dice), 20_000)):
        schema = dice.choice(
            [{"items": schema}, {"properties": {"x": schema}}, {"anyOf": [schema, STRING]}]
        )
    return _schema_body(dice, schema)


def _wide(dice: random.Random) -> Body:
    size, kind = (
        _size(dice),
        dice.choice(["enum", "properties", "required", "anyOf", "patternProperties"]),
    )
    schemas: dict[str, Schema] = {
        "enum": {"enum": [f"value {at}" for at in range(size)]},
        "properties": {"properties": {f"p{at}": STRING for at in range(size)}},
        "required": {
            "properties": {f"p{at}": STRING for at in range(size)},
            "required": [f"p{at}" for at in range(size)],
            "minProperties": dice.randrange(size + 1),
        },
        "anyOf": {"anyOf": [{"properties": {f"p{at}": {"const": at}}} for at in range(size)]},
        "patternProperties": {"patternProperties": {f"^{at}x": STRING for at in range(size)}},
    }
    schema = schemas[kind]
    return _schema_body(dice, {"type": "object", **schema} if kind != "enum" else schema)


def _count(dice: random.Random) -> Body:
    number = dice.choice([_size(dice), 10 ** dice.randint(4, 30), -1, 0.5])
    word = dice.choice(["minLength", "maxLength", "minItems", "maxItems", "multipleOf", "minProperties",
                        "minimum", "exclusiveMaximum", "maxProperties"])  # fmt: skip
    kind = dice.choice(["string", "array", "integer", "number", "object"])
    inner = {
        "type": kind,
        word: number,
        "items": {"type": "array", "items": STRING, "maxItems": _size(dice)},
    }
    return _schema_body(dice, {"type": "array", "items": inner, word: number})


def _pattern_text(dice: random.Random) -> str:
    size = min(_size(dice), 6_000)
    return dice.choice(
        [
            f"(a|b)*a(a|b){{{size}}}",
            "(" * size + "a" + ")" * size,
            "a?" * size + "a" * size,
            "(a*)*b" * min(size, 500),
            f"((a{{{size}}}){{{size}}}){{{size}}}",
            "[" + r"\x41" * size,
            "\\" * size,
            "|".join(f"w{at}" for at in range(size)),
            "(.*)(.*)(.*)=" * min(size, 300),
            rf"[^\W\d]{{1,{size}}}\s+" * 3,
            "^(?=a)" + "b" * size,
            "(?P<n>a)(?P=n)" * size,
            "x{99999999999999999999}",
            "(?i)" + "straße" * size,
        ]
    )


def _pattern(dice: random.Random) -> Body:
    pattern = _pattern_text(dice)
    if dice.random() < 0.5:
        return {dice.choice(["guided_regex", "regex"]): pattern}
    several = [{"pattern": _pattern_text(dice)} for _ in range(dice.randint(1, 12))]
    return _schema_body(dice, {"type": "string", "pattern": pattern, "allOf": several})


def _intersections(dice: random.Random) -> Body:
    letters = [f"[a-z]*{at}[a-z]*" for at in range(dice.randint(1, 40))]
    return _schema_body(dice, {"allOf": [{"type": "string", "pattern": each} for each in letters]})


def _rules(dice: random.Random) -> Body:
    """Rules that name each other: in turn, in a web, or themselves."""
    size, shape = (
        _size(dice),
        dice.choice(["chain", "web", "left", "right", "ambiguous", "terminals"]),
    )
    lark = dice.random() < 0.5
    define, root = (":", "start") if lark else ("::=", "root")
    name = "R" if shape == "terminals" and lark else "r"
    lines = [f"{root} {define} {name}0"]
    for at in range(min(size, 20_000)):
        other = dice.randrange(size)
        right = {
            "chain": f'"a" {name}{at + 1}',
            "terminals": f'"a" {name}{at + 1}',
            "web": f'"a" {name}{other} | "b" {name}{dice.randrange(size)}? | "c"',
            "left": f'{name}{at} "a" | {name}{other} | "b"',
            "right": f'"a" {name}{at} | {name}{other} | "b"',
            "ambiguous": f'{name}{at} {name}{at} | {name}{other}* | "a" | ""',
        }[shape]
        lines.append(f"{name}{at} {define} {right}")
    lines.append(f'{name}{size} {define} "z"')
    return {dice.choice(["grammar", "guided_grammar", "grammar_string"]): "\n".join(lines)}


def _alternatives(dice: random.Random) -> Body:
    words = " | ".join(f'"w{at}"' for at in range(_size(dice)))
    end = dice.choice(["", "+", "*", "{2,5}", "{1000}"])
    return {"grammar": dice.choice(["root ::= ", "start: "]) + f"({words}){end}"}


def _brackets(dice: random.Random) -> Body:
    size = _size(dice)
    opening = dice.choice(["(", "[", '("a" ', "((", "{", '"', "/", "%json {", "%lark {"])
    text = opening * size + '"a"' + dice.choice([")" * size, ") " * size, "", "]" * size])
    return {"grammar": dice.choice(["root ::= ", "start: "]) + text}


def _repetitions(dice: random.Random) -> Body:
    number = dice.choice([_size(dice), 10**12, 0])
    atom = dice.choice(['"a"', "x", "[a-z]", "(x | y)", "(x{3}){3}"])
    lark = dice.random() < 0.5
    head = "start: " if lark else "root ::= "
    rules = ["x", "y"]
    define = ":" if lark else "::="
    if lark:
        atom = atom.replace("[a-z]", "/[a-z]/")
    tail = "".join(f'\n{rule} {define} "{rule}" | "{rule}{rule}"' for rule in rules)
    return {"grammar": f"{head}({atom}{{{number}}}){{{_size(dice)},{number}}}{tail}"}


def _noise(dice: random.Random) -> Body:
    """A good grammar with some characters changed."""
    good = dice.choice(
        [
            'root ::= "a" [0-9]+ end\nend ::= "!" | "?"',
            'start: "n=" NUMBER\nNUMBER: /[0-9]{1,3}/\n%ignore / +/',
            'start: %json {"type": "object"} tail\ntail[suffix="x"]: /a+/',
            'start: <|end|> "a" <[3]>\n%import common.INT\n',
        ]
    )
    text = list(good)
    for _ in range(dice.randint(1, 8)):
        text[dice.randrange(len(text))] = dice.choice(
            ["", *'"\\[](){}|*+?:=%/\n\x00é\ud800<>~&.,0']
        )
    return {"grammar": "".join(text)}


def _words(dice: random.Random) -> Body:
    if dice.random() < 0.5:
        return {
            "bad_words": [
                "a" * dice.randint(1, 200) + str(at) for at in range(dice.randint(1, 128))
            ]
        }
    return {
        "guided_choice": [
            dice.choice("ab") * dice.randint(0, 3_000) for _ in range(dice.randint(1, 1_000))
        ]
    }


MAKERS: tuple[Callable[[random.Random], Body], ...] = (
    *(_chain, _web, _tree, _deep, _wide, _count, _pattern, _intersections),
    *(_rules, _alternatives, _brackets, _repetitions, _noise, _words),
)


def attempt(engine: LlamaCppEngine, body: Body) -> str:
    """Have one constraint enforced for some tokens; what came of it."""
    try:
        found = check(ConstraintFields, body).constraint
        if found is None:
            return "free"
        grammar, param = found
        for _ in compiled(grammar, param, engine.info):
            pass
    except InvalidRequest as error:
        assert error.param and len(error.message) < 1_500, error.message
        return "refused"
    request = GenerateRequest("Hello", 12, {"temperature": 1.0}, 1, grammar)
    try:
        for _ in enforced(engine.generate(request), grammar, param, engine.info.grammar_end):
            pass
    except APIError as error:
        return f"failed ({error.status})"
    return "enforced"


def run(seed: int, count: int) -> None:
    """Try `count` inputs in this process; a line of JSON for each."""
    with tempfile.TemporaryDirectory() as folder:
        engine = LlamaCppEngine(write_model(Path(folder) / "m.gguf"), name="m", threads=1)
        for kind, body in islice(hostile(seed), count):
            began = time.monotonic()
            came = attempt(engine, body)
            print(json.dumps([kind, came, time.monotonic() - began]), flush=True)
        engine.close()


def main(count: int, seed: int) -> int:
    came, slow, ended = Counter[str](), list[tuple[float, str]](), 0
    for first in range(0, count, BATCH):
        number = min(BATCH, count - first)
        command = [sys.executable, "-m", __spec__.name, "--here", str(seed + first), str(number)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [json.loads(line) for line in made.stdout.splitlines()]
        for kind, result, seconds in lines:
            came[result] += 1
            slow.append((seconds, f"{kind}: {result}"))
        if made.returncode or len(lines) != number:
            ended += 1
            print(
                f"seed {seed + first}: exit {made.returncode} after {len(lines)}: {made.stderr[-600:]}"
            )
        print(f"{first + number} of {count}: {dict(came)}", flush=True)
    for seconds, what in sorted(slow, reverse=True)[:10]:
        print(f"{seconds:6.2f} s  {what}")
    print(f"{ended} processes ended")
    return 1 if ended else 0


if __name__ == "__main__":
    if sys.argv[1] == "--here":
        run(int(sys.argv[2]), int(sys.argv[3]))
    else:
        sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1))
