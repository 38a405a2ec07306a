"""Structured output across changes of the model: never another model's tokens, never an abort."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.llamacpp.grammar.shared_tokenizer import SharedTokenizer
from extensions.openai.engines.protocol import Piece
from extensions.openai.generation.grammar.enforce import enforced
from tests.support.api import Api
from tests.support.families import FAMILIES
from tests.support.process import ROOT
from tests.support.random_model import TEMPLATE
from tests.support.scripted_model import Script, write_scripted_model

SWITCHES = """
import json, sys
from pathlib import Path
from extensions.openai.engines.protocol import GenerateRequest
from extensions.openai.engines.swappable import SwappableEngine
from extensions.openai.engines.llamacpp.engine import LlamaCppEngine

engine, grammar = SwappableEngine(), 'start: "[" ("yes" | "no") ", " /[0-9]{1,2}/ "]"'
for turn in range(int(sys.argv[1])):
    engine.clear()
    engine.set(LlamaCppEngine(Path(sys.argv[2 + turn % (len(sys.argv) - 2)]), name="m", threads=1))
    pieces = engine.generate(GenerateRequest("Yes?", 40, seed=turn, grammar=grammar))
    print("".join(piece.text for piece in pieces if piece))
engine.close()
"""


@pytest.fixture(scope="module")
def gpt_oss(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speaking(tmp_path_factory.mktemp("models"), "gptoss")


def speaking(folder: Path, family: str) -> Path:
    """A model with the tokens of a family."""
    speech, scripts = FAMILIES[family].speech, [Script("answer", f"The answer is {family}.")]
    return write_scripted_model(folder / f"{family}.gguf", TEMPLATE, scripts, speech, context=2048)


def test_models_change_beside_grammars(tmp_path: Path, random_model: Path, gpt_oss: Path) -> None:
    """In a process of its own: what it is about ends processes."""
    others = [speaking(tmp_path, name) for name in ("qwen3", "gemma3")]
    made = subprocess.run(
        [sys.executable, "-c", SWITCHES, "40", str(random_model), *map(str, [*others, gpt_oss])],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[-1000:]
    answers = made.stdout.splitlines()
    assert len(answers) == 40
    for answer in answers:
        text = answer.removesuffix("]").removeprefix("[")
        word, number = text.partition("]")[0].split(", ")
        assert word in ("yes", "no") and 0 <= int(number) <= 99


def test_a_grammar_ends_an_answer_whose_model_would_go_on(gpt_oss: Path) -> None:
    """llama.cpp ends a grammar with <|end|> here, and then goes on, as that token ends no answer."""
    engine = LlamaCppEngine(gpt_oss, name="oss", threads=1)
    try:
        assert engine.info.grammar_end == "<|end|>"
        api = Api(engine)
        for body in ({"guided_choice": ["é🙂", "no"]}, {"guided_regex": "[0-9]{2}"}):
            for choice in (
                api.chat("Hello", max_tokens=40, **body)["choices"][0],
                api.complete("Hello", max_tokens=40, **body)["choices"][0],
            ):
                assert choice["finish_reason"] == "stop"
                text = choice["text"] if "text" in choice else choice["message"]["content"]
                assert text in ("é🙂", "no") or (len(text) == 2 and text.isdecimal())
    finally:
        engine.close()


def test_an_end_is_one_only_where_the_grammar_is_complete() -> None:
    def answer(*texts: str) -> list[Piece]:
        pieces = (Piece(text, tokens=1) for text in texts)
        return [p for p in enforced(pieces, 'start: "a<|end|>b"', "grammar", "<|end|>") if p]

    found = answer("a", "<|end|>", "b", "<|end|>", "more")
    assert [piece.text for piece in found] == ["a", "<|end|>", "b", ""]
    assert [piece.finish for piece in found] == [None, None, None, "stop"]


class Keeper:
    """Counts how often it was given the tokenizer."""

    def __init__(self) -> None:
        self.made = 0
        self.calls = 0

    def make(self) -> Callable[[bytes, Callable[[bytes], bool]], object]:
        self.made += 1
        return self.complete

    def complete(self, body: bytes, receive: Callable[[bytes], bool]) -> None:
        self.calls += 1


def test_the_keeper_has_the_tokenizer_whenever_the_owner_changes() -> None:
    keeper = Keeper()
    shared = SharedTokenizer(keeper.make)
    for owner, calls in (("a", 0), ("a", 0), ("b", 1), ("a", 2)):
        with shared.owned_by(owner, lambda: False) as made:
            assert made is not None
        assert keeper.calls == calls
    shared.release("b", object())  # it is not the owner any more
    assert keeper.calls == 2
    shared.release("a", object())
    assert keeper.calls == 3
    with shared.owned_by("b", lambda: False):  # the tokenizer is the keeper's
        pass
    assert (keeper.calls, keeper.made) == (3, 1)


def test_one_model_waits_until_the_grammars_of_another_are_made() -> None:
    shared, entered = SharedTokenizer(Keeper().make), threading.Event()

    def other() -> None:
        with shared.owned_by("b", lambda: False):
            entered.set()

    with shared.owned_by("a", lambda: False) as made, shared.owned_by("a", lambda: False) as also:
        assert made is not None and also is not None
        thread = threading.Thread(target=other)
        thread.start()
        made()
        made()  # said twice, it counts once
        assert not entered.is_set()
        also()
        assert entered.wait(10)
        thread.join()


def test_nobody_waits_for_an_answer_that_is_not_wanted() -> None:
    shared = SharedTokenizer(Keeper().make)
    with shared.owned_by("a", lambda: False), shared.owned_by("b", lambda: True) as made:
        assert made is None


def test_without_a_keeper_memory_is_kept() -> None:
    """So that no other model gets its address."""

    def fail() -> Callable[[bytes, Callable[[bytes], bool]], object]:
        raise RuntimeError

    shared, memory = SharedTokenizer(fail), object()
    with shared.owned_by("a", lambda: False):
        pass
    before = sys.getrefcount(memory)
    shared.release("a", memory)
    assert sys.getrefcount(memory) == before + 1
