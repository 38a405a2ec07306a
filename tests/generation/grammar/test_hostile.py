"""Some hundred constraints that want to harm, through the real engine, in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

from tests.support.process import ROOT

COUNT = 300


def test_none_ends_the_process_or_fails_in_it() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "tests.support.hostile_grammars", "--here", "1007", str(COUNT)],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[-1000:]
    came = Counter(json.loads(line)[1] for line in made.stdout.splitlines())
    assert came.total() == COUNT
    assert came["refused"] > COUNT / 5 and came["enforced"] > COUNT / 5
    assert came["refused"] + came["enforced"] + came["free"] == COUNT
