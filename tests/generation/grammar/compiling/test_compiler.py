"""Grammars are compiled in a process of their own: what ends it is refused, and nothing else suffers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from extensions.openai.engines.protocol import EngineInfo
from extensions.openai.errors import EngineFailed, InvalidRequest, QueueFull
from extensions.openai.generation.grammar.bounds import LONG_CHARACTERS, one_at_a_time
from extensions.openai.generation.grammar.check import compiled
from extensions.openai.generation.grammar.compiling import compiler as module
from extensions.openai.generation.grammar.compiling.compiler import Compiler
from extensions.openai.generation.grammar.compiling.process import (
    CompilerProcess,
    Trial,
    Vocabulary,
)
from extensions.openai.generation.grammar.compiling.queueing import Pace, ShortestFirst
from extensions.openai.generation.grammar.json_schema import json_rule
from tests.support.process import ROOT

T = TypeVar("T")
STRING = {"type": "string"}
INFO = EngineInfo("m", 0, "nobody", 9, "llama.cpp", "fp", 256)
CHAIN = "start: r0\n" + "".join(f'r{at}: "a" r{at + 1}\n' for at in range(3_000)) + 'r3000: "b"'
NEVER = "start: T\nT: " + " & ".join(f"/(.|\\n)*w{at}(.|\\n)*/" for at in range(40))


def result_of(asked: Generator[None, None, T]) -> T:
    while True:
        try:
            next(asked)
        except StopIteration as end:
            return cast(T, end.value)


def problem(compiler: Compiler, grammar: str, vocabulary: Vocabulary | None = None) -> str:
    return result_of(compiler.problem(grammar, vocabulary))


@pytest.fixture(scope="module")
def compiler() -> Any:
    made = Compiler()
    yield made
    made.close()


def test_a_good_grammar_has_no_problem(compiler: Compiler) -> None:
    assert problem(compiler, "start: /a|b/") == ""


@pytest.mark.parametrize(
    "grammar",
    [
        "start: " + " | ".join(f'"choice {at}"' for at in range(1_000)),
        "start: "
        + json_rule({"properties": {f"p{at}": {"type": "string"} for at in range(250)}}, "x"),
        "start: "
        + json_rule(
            {
                "type": "object",
                "properties": {f"p{at}": {"type": "string"} for at in range(300)},
                "required": [f"p{at}" for at in range(300)],
                "additionalProperties": False,
            },
            "x",
        ),
    ],
)
def test_large_ones_are_good(compiler: Compiler, grammar: str) -> None:
    assert problem(compiler, grammar) == ""


def test_a_bad_one_says_what_is_wrong(compiler: Compiler) -> None:
    assert "missing" in problem(compiler, "start: missing")


def test_a_stack_that_overflows_is_a_problem(compiler: Compiler) -> None:
    assert problem(compiler, CHAIN) == module.TOO_DEEP


def test_time_without_end_is_a_problem(compiler: Compiler) -> None:
    assert problem(compiler, NEVER) == module.TOO_LONG


@pytest.mark.parametrize(
    "grammar",
    [
        "start: start",
        "start: (" + " | ".join(f'"w{at}"' for at in range(3_900)) + "){9000}",
        'start: ("a"{3182}){706,3182}',
        "start: %json "
        + '{"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}}',
    ],
)
def test_what_cannot_be_followed_is_a_problem(compiler: Compiler, grammar: str) -> None:
    assert problem(compiler, grammar)


def test_one_that_takes_a_vocabulary_long_is_a_problem(compiler: Compiler) -> None:
    """This one is compiled at once where there are no tokens."""
    tokens = [bytes([at]) for at in range(256)] + [f"{at}".encode() for at in range(2_000)] + [b""]
    grammar = 'start: %json {"type": "integer", "multipleOf": 1000003}'
    assert problem(compiler, grammar, Vocabulary(tokens, 2_256)) == module.TOO_LONG
    assert problem(compiler, "start: /a/", Vocabulary(tokens, 2_256)) == ""
    assert problem(compiler, "start: /a/") == ""


def test_results_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler, found = Compiler(), Counter[str]()
    send = CompilerProcess.send

    def counted(self: CompilerProcess, grammar: str, *more: Any) -> Any:
        found[grammar] += 1
        return send(self, grammar, *more)

    monkeypatch.setattr(CompilerProcess, "send", counted)
    for _ in range(3):
        assert problem(compiler, CHAIN) == module.TOO_DEEP
        assert problem(compiler, "start: /a/") == ""
    assert set(found.values()) == {1}
    compiler.close()


def test_a_helper_that_is_ended_is_started_again(compiler: Compiler) -> None:
    assert problem(compiler, "start: /a1/") == ""
    helper = compiler.helper
    assert helper is not None
    os.kill(helper.pid, signal.SIGKILL)
    assert problem(compiler, "start: /a2/") == ""
    assert compiler.helper is not helper


def test_a_client_that_leaves_gives_its_grammar_up(compiler: Compiler) -> None:
    asked = compiler.problem("start: T\nT: " + NEVER.removeprefix("start: T\nT: ") + " & /a*/")
    next(asked, None)
    asked.close()
    assert compiler.waiting == 0
    assert problem(compiler, "start: /after/") == ""


def test_many_at_once(compiler: Compiler) -> None:
    results: list[str] = []

    def ask(number: int) -> None:
        good = number % 3
        results.append(
            problem(compiler, f"start: /x{number}/" if good else f"{CHAIN}\n// {number}")
        )

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(results) == {"": 16, module.TOO_DEEP: 8}


def test_the_queue_is_bounded() -> None:
    compiler = Compiler(max_waiting=1)
    assert problem(compiler, "start: /a|b/") == ""
    waiting = compiler.problem(NEVER)
    next(waiting)
    with pytest.raises(QueueFull):
        problem(compiler, "start: /never asked before/")
    assert problem(compiler, "start: /a|b/") == ""  # known
    waiting.close()
    assert problem(compiler, "start: /never asked before/") == ""
    compiler.close()


@pytest.mark.parametrize("python", ["", "/bin/false", "/no/such/python"])
def test_without_a_helper_grammars_are_compiled_here(python: str) -> None:
    if python == "":
        python = "/dev/null"
    compiler = Compiler(python)
    assert problem(compiler, "start: /a/") == ""
    assert "missing" in problem(compiler, "start: missing")
    compiler.close()


def test_a_helper_that_always_ends_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = Compiler()
    assert problem(compiler, "start: /a/") == ""

    def send(self: Any, *_: Any) -> Any:
        job = Trial()
        job.done.set()
        self.ready = True
        return job

    monkeypatch.setattr(CompilerProcess, "send", send)
    with pytest.raises(EngineFailed):
        problem(compiler, "start: /b/")
    compiler.close()


def refused(grammar: str, *parts: tuple[str, str]) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        for _ in compiled(grammar, "field", INFO, parts):
            pass
    return caught.value


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"properties": {"x": {"type": "string", "pattern": "("}}}, ".properties.x"),
        ({"anyOf": [{}, {"type": "array", "items": {"format": "zzz"}}]}, ".anyOf[1].items"),
        (
            {
                "properties": {"x": {"$ref": "#/$defs/bad"}},
                "$defs": {"bad": {"type": "string", "pattern": "(?=a)"}},
            },
            ".$defs.bad",
        ),
        ({"type": "integer", "minimum": 5, "maximum": 4}, ""),
    ],
)
def test_the_place_of_what_does_not_compile(schema: Any, place: str) -> None:
    grammar = f"start: {json_rule(schema, 'field')}"
    assert refused(grammar).param == f"field{place}"
    good = ("other", "start: /a/")
    assert refused(f"{grammar}\nother: start", good, ("mine", grammar)).param == f"mine{place}"


def test_the_worker_needs_nothing_of_ours() -> None:
    """It is run as a script, wherever the extension lies."""
    worker = Path(module.__file__).with_name("worker.py")
    job = '{"path": %s, "stack": 1048576}\n{"id": 1, "grammar": "start: \\"a\\"", "ms": 900}\n'
    import json

    made = subprocess.run(
        [sys.executable, str(worker)],
        input=(job % json.dumps(sys.path)).encode(), capture_output=True, check=False, cwd=ROOT / "docs",
        timeout=60,
    )  # fmt: skip
    assert made.stdout.startswith(b"ready\n"), made.stderr


def test_a_short_one_goes_before_long_ones_that_wait() -> None:
    lane, order = ShortestFirst(1), list[str]()
    for _ in lane.enter(1):
        raise AssertionError("there was room")

    def wait(name: str, length: int) -> None:
        for _ in lane.enter(length):
            pass
        order.append(name)
        lane.leave()

    threads = []
    for number, (name, length) in enumerate((("long", 200_000), ("longer", 300_000), ("short", 9))):
        threads.append(threading.Thread(target=wait, args=(name, length)))
        threads[-1].start()
        while lane.waiting <= number:
            time.sleep(0.001)
    lane.leave()
    for thread in threads:
        thread.join()
    assert order == ["short", "long", "longer"]


def test_one_that_nobody_waits_for_any_more_holds_no_one_up() -> None:
    lane = ShortestFirst(1)
    for _ in lane.enter(1):
        raise AssertionError("there was room")
    given_up = lane.enter(1)
    next(given_up)
    given_up.close()
    lane.leave()
    for _ in lane.enter(9):
        raise AssertionError("there was room")


def test_long_constraints_are_read_one_at_a_time() -> None:
    inside, most = 0, 0

    def read(length: int) -> None:
        nonlocal inside, most
        with one_at_a_time(length):
            inside += 1
            most = max(most, inside)
            time.sleep(0.02)
            inside -= 1

    def at_once(length: int) -> int:
        nonlocal most
        most = 0
        threads = [threading.Thread(target=read, args=(length,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return most

    assert at_once(LONG_CHARACTERS + 1) == 1
    assert at_once(LONG_CHARACTERS) > 1


def test_costly_ones_do_not_come_to_the_engine_right_after_each_other() -> None:
    pace = Pace()
    assert list(pace.wait(0.05)) == []
    began = time.monotonic()
    assert list(pace.wait(0.0))
    assert time.monotonic() - began >= 0.14


def test_a_good_one_waits_until_the_engine_may_have_it(compiler: Compiler) -> None:
    pairs = [{"properties": {f"a{at}": STRING, f"b{at % 7}": STRING}} for at in range(60)]
    grammar = "start: " + json_rule({"anyOf": pairs}, "x")
    assert problem(compiler, grammar) == ""
    began = time.monotonic()
    assert [problem(compiler, grammar) for _ in range(3)] == ["", "", ""]
    milliseconds = result_of(compiler.verdict(grammar)).milliseconds
    assert milliseconds > 1
    assert time.monotonic() - began >= 3 * 2.9 * milliseconds / 1000
