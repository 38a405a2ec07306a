"""Write the training corpus and the held-out prompts as JSON lines.

    python -m tiny.corpus --out build/corpus --examples 210000

The same seed gives the same bytes. Everything is made by the generators in this
folder; no text is copied from anywhere. No torch is needed.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tiny import heldout
from tiny.chat_forms import with_system
from tiny.mixture import MAY_HAVE_SYSTEM, MIXTURE, SYSTEM_SHARE

SEED = 5001


def examples(seed: int, count: int) -> Iterator[dict[str, Any]]:
    """`count` training records in random order, none with a held-out prompt."""
    rng = random.Random(seed)
    guard = heldout.Guard(heldout.build())
    names = list(MIXTURE)
    shares = [MIXTURE[name][1] for name in names]
    made = 0
    while made < count:
        name = rng.choices(names, shares)[0]
        example = MIXTURE[name][0](rng)
        if name in MAY_HAVE_SYSTEM and rng.random() < SYSTEM_SHARE:
            example = with_system(rng, example)
        if name in ("conversation", "long"):
            example.messages = guard.clean(example.messages)
        if example.messages and guard.leaks(example.messages):
            continue
        record = example.as_record()
        if "messages" not in record and "text" not in record:
            continue
        record["behaviour"] = name
        record.pop("expect", None)
        record.pop("exact", None)
        made += 1
        yield record


def dump(record: dict[str, Any]) -> str:
    """One line of JSON with real letters."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--examples", type=int, default=210_000)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    with (options.out / "train.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        for record in examples(options.seed, options.examples):
            counts[record["behaviour"]] += 1
            file.write(dump(record) + "\n")
    kept = heldout.build()
    with (options.out / "heldout.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        for example in kept:
            file.write(dump(example.as_record()) + "\n")
    for name, number in counts.most_common():
        print(f"{name:16} {number}")
    print(f"training examples {sum(counts.values())}, held-out prompts {len(kept)}")


if __name__ == "__main__":
    main()
