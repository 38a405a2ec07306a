"""Damages the head of a model file in many ways; what passes our checks is loaded by llama.cpp, in a child.

    python -m tests.engines.tokens.fuzz_gguf --count 5000 --loads 500 --seed 1

The child must outlive every file: each is refused with a reason, or works.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from extensions.openai.engines.tokens.gguf import BadModelFile
from extensions.openai.engines.tokens.gguf_checks import read_model
from tests.support.gguf_files import (
    ARRAY,
    BOOL,
    F32,
    LAYOUTS,
    STRING,
    U32,
    U64,
    Parts,
    take_apart,
)
from tests.support.process import ROOT

SLOWEST = 10.0  # seconds that a look at a small file may take, on a busy machine
NUMBERS = [
    0,
    1,
    2,
    3,
    7,
    31,
    33,
    255,
    256,
    513,
    65_535,
    65_537,
    2**20,
    2**27,
    2**31 - 1,
    2**31,
    2**32 - 1,
]
DECIMALS = [0.0, -1.0, 1e30, -1e30, 1e-30, float("nan"), float("inf"), float("-inf"), 0.5]
TEXTS = [
    "",
    "x",
    "none",
    "gpt2",
    "llama",
    "bert",
    "no_vocab",
    "x" * 70_000,
    b"\xff\xfe",
    "\0",
    "{% for",
]

CHILD = """
import sys
from pathlib import Path
from extensions.openai.engines.protocol import GenerateRequest
from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
for path in sys.argv[1:]:
    print("begun", path, flush=True)
    try:
        engine = LlamaCppEngine(Path(path), name="fuzz", threads=1, parallel=1)
        try:
            list(engine.generate(GenerateRequest("Hello world", 4, {})))
        finally:
            engine.close()
    except Exception as error:
        print("refused", type(error).__name__, str(error).replace(chr(10), " ")[:200], flush=True)
    else:
        print("works", flush=True)
"""


def damaged(whole: Parts, data: bytes, chance: random.Random) -> tuple[str, bytes]:
    """A damaged file, and what was done to it."""
    how = chance.choice(
        ["byte", "cut", "number", "number", "number", "type", "list", "text", "entry", "tensor"]
    )
    if how == "byte":
        head = len(data) - len(whole.data)
        changed = bytearray(data)
        for _ in range(chance.randint(1, 8)):
            changed[chance.randrange(4, head)] = chance.randrange(256)
        return how, bytes(changed)
    if how == "cut":
        return how, data[: chance.randrange(len(data))]
    parts = Parts(dict(whole.entries), list(whole.tensors), whole.data)
    what = CHANGES[how](parts, chance)
    with tempfile.TemporaryDirectory() as folder:
        return f"{how} {what}", parts.write(Path(folder) / "made.gguf").read_bytes()


def _number(parts: Parts, chance: random.Random) -> str:
    keys = [key for key, (kind, _) in parts.entries.items() if kind in LAYOUTS]
    key = chance.choice(keys)
    kind = parts.entries[key][0]
    if kind == F32:
        value: float = chance.choice(DECIMALS)
    elif kind == BOOL:
        value = chance.choice([False, True])
    else:
        value = chance.choice(NUMBERS) & ((1 << (8 * len(parts.entries[key][1]))) - 1)
    parts.set(key, kind, value)
    return f"{key} = {value}"


def _type(parts: Parts, chance: random.Random) -> str:
    key = chance.choice(list(parts.entries))
    kind, value = chance.choice(
        [
            (STRING, "7"),
            (U32, 7),
            (U64, 2**63),
            (F32, 7.0),
            (BOOL, True),
            (ARRAY, (U32, [])),
            (ARRAY, (U32, [7, 7])),
            (ARRAY, (STRING, ["a"])),
            (ARRAY, (F32, [0.5] * 5)),
        ]
    )
    parts.set(key, kind, value)
    return f"{key} is {kind}"


def _list(parts: Parts, chance: random.Random) -> str:
    """Elements of a list are left out or doubled: the count in front of it changes, and the bytes."""
    key = chance.choice([key for key, (kind, _) in parts.entries.items() if kind == ARRAY])
    raw = parts.entries[key][1]
    inner, count = int.from_bytes(raw[:4], "little"), int.from_bytes(raw[4:12], "little")
    if inner in LAYOUTS:
        size = (len(raw) - 12) // max(1, count)
        keep = chance.choice([0, 1, count - 1, count + 1])
        body = (raw[12:] * 2)[: keep * size]
        parts.entries[key] = (ARRAY, raw[:4] + keep.to_bytes(8, "little") + body)
        return f"{key} has {keep}"
    wrong = chance.choice([0, 1, count - 1, count + 1, 2**32, 2**63])
    parts.entries[key] = (ARRAY, raw[:4] + wrong.to_bytes(8, "little") + raw[12:])
    return f"{key} says {wrong}"


def _text(parts: Parts, chance: random.Random) -> str:
    key = chance.choice([key for key, (kind, _) in parts.entries.items() if kind == STRING])
    parts.set(key, STRING, text := chance.choice(TEXTS))
    return f"{key} = {text[:20]!r}"


def _entry(parts: Parts, chance: random.Random) -> str:
    key = chance.choice(list(parts.entries))
    if chance.random() < 0.3:
        parts.more.append((key.encode(), *parts.entries[key]))
        return f"{key} twice"
    if chance.random() < 0.5:
        del parts.entries[key]
        return f"no {key}"
    name = chance.choice(
        [
            "expert_count",
            "expert_used_count",
            "nextn_predict_layers",
            "attention.sliding_window",
            "rope.scaling.factor",
            "pooling_type",
            "attention.causal",
            "ssm.state_size",
            "leading_dense_block_count",
        ]
    )
    parts.set(f"llama.{name}", U32, value := chance.choice(NUMBERS))
    return f"new llama.{name} = {value}"


def _tensor(parts: Parts, chance: random.Random) -> str:
    at = chance.randrange(len(parts.tensors))
    row = parts.tensors[at]
    name, shape, kind, offset = row.name, row.shape, row.kind, row.offset
    what = chance.choice(["name", "shape", "kind", "offset", "twice", "gone"])
    if what == "name":
        name = chance.choice([b"", b"x", b"x" * 64, b"x" * 5000, b"\xff", parts.tensors[0].name])
    elif what == "shape":
        extent = chance.choice([0, 1, 2**31, 2**62, 2**63, 2**64 - 1, shape[0] + 1, shape[0] * 2])
        shape = chance.choice([(extent, *shape[1:]), (*shape, extent), (extent,) * 4, (), (1,) * 7])
    elif what == "kind":
        kind = chance.choice([0, 1, 2, 4, 5, 31, 40, 77, 2**31, 2**32 - 1])
    elif what == "offset":
        offset = chance.choice([1, 32, offset + 32, len(parts.data), 2**40, 2**63, 2**64 - 32])
    row = type(row)(name, shape, kind, offset)
    parts.tensors[at : at + 1] = {"twice": [row, row], "gone": []}.get(what, [row])
    return f"{what} of {row.name[:20]!r}"


CHANGES = {
    "number": _number,
    "type": _type,
    "list": _list,
    "text": _text,
    "entry": _entry,
    "tensor": _tensor,
}


def survivors(source: Path, folder: Path, *, count: int, seed: int) -> tuple[list[Path], list[str]]:
    """Files that pass our checks, out of `count` damaged ones, and what was done to each.

    AssertionError where a check takes long or fails otherwise than with a reason.
    """
    whole, data, chance = take_apart(source), source.read_bytes(), random.Random(seed)
    found: list[Path] = []
    reported: list[str] = []
    for number in range(count):
        what, changed = damaged(whole, data, chance)
        path = folder / f"{number}.gguf"
        path.write_bytes(changed)
        begun = time.monotonic()
        try:
            read_model(path)
        except BadModelFile as error:
            assert str(error), what
            path.unlink()
        else:
            found.append(path)
            reported.append(what)
        assert time.monotonic() - begun < SLOWEST, what
    return found, reported


def load(paths: Sequence[Path]) -> list[str]:
    """What becomes of each when llama.cpp loads it: "works", "refused ..." or how the child died."""
    outcomes: list[str] = []
    while len(outcomes) < len(paths):
        waiting = [str(path) for path in paths[len(outcomes) :]]
        child = subprocess.run(
            [sys.executable, "-c", CHILD, *waiting],
            cwd=ROOT,
            env={**os.environ, "GGML_NO_BACKTRACE": "1"},
            capture_output=True,
            text=True,
            timeout=30 + 30 * len(waiting),
            check=False,
        )
        lines = [
            line
            for line in child.stdout.splitlines()
            if line.split(" ")[0] in ("begun", "works", "refused")
        ]
        outcomes += [line for line in lines if not line.startswith("begun")]
        if child.returncode:
            outcomes.append(f"died {child.returncode}: {child.stderr[-300:]}")
    return outcomes


def main() -> int:
    """How many died."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--loads", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    source = next((ROOT / "models" / "openedai-tiny").glob("*.gguf"))
    with tempfile.TemporaryDirectory() as folder:
        found, reported = survivors(source, Path(folder), count=options.count, seed=options.seed)
        outcomes = load(found[: options.loads])
    dead = 0
    for what, outcome in zip(reported, outcomes, strict=False):
        dead += outcome.startswith("died")
        sys.stdout.write(f"{outcome[:160]:50}  <- {what}\n")
    sys.stdout.write(
        f"{options.count} damaged files, {len(found)} passed the checks, {len(outcomes)} were loaded: "
        f"{outcomes.count('works')} work, {dead} ended the process\n"
    )
    return dead


if __name__ == "__main__":
    sys.exit(main())
