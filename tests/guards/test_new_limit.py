"""A new limit of keys is one row of settings.py, and one of limits/units.py where its unit is new.

The rows are added to a copy of the tree; there the limits are given to a key, counted, refused, shown and
documented.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.settings import KEY_LIMITS
from tests.support.process import ROOT

ROW = """
    {name}: Annotated[int, KeyLimit("{unit}", "{period}")] = Field(
        0, description="{unit} that each key may have.", json_schema_extra=RELOADABLE
    )
"""
BEFORE_USER_LIMITS = "    user_limits: Pairs = Field("
UNIT = """
    "choices": Unit(lambda body: getattr(body, "n", None) or 1, "Ask for less."),
"""
USE = """
import contextlib, io, json, sys
from extensions.openai.__main__ import main
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app

folder, name = sys.argv[1:]
said = io.StringIO()

def key(owner):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
        limits = ["--" + name, "5", "--user-limits", f"{name}=3", "--rpm", "0"]
        assert main(["--data-folder", folder, "keys", "create", "--name", owner, *limits]) == 0
    return {"Authorization": "Bearer " + printed.getvalue().strip(), "Origin": "https://a.example"}

alice, other = key("alice"), key("other")
app = create_app(Settings(data_folder=folder, cors_origins="https://a.example"), EchoEngine())
client = app.test_client()

def ask(user):
    body = {"model": "echo", "prompt": "x", "n": 1, "user": user}
    answer = client.post("/v1/completions", json=body, headers=alice)
    return {"status": answer.status_code, "headers": dict(answer.headers), "json": answer.json}

answers = [ask(user) for user in ("ann", "ann", "ann", "ann", "bob", "bob", "bob")]
usage = client.get("/v1/usage", headers=other)
document = client.get("/openapi.json", headers=other).json
print(json.dumps({"said": said.getvalue(), "answers": answers, "usage": usage.json,
    "documented": list(document["components"]["schemas"]["OwnLimits"]["properties"])}))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    without = shutil.ignore_patterns("__pycache__")
    for name in ("extensions", "host", "scripts", "docs", "deploy"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=without)
    return tmp_path


def add(copy: Path, module: str, before: str, row: str) -> None:
    file = copy / "extensions/openai" / module
    text = file.read_text(encoding="utf-8")
    assert text.count(before) == 1
    file.write_text(text.replace(before, row.lstrip("\n") + before), encoding="utf-8")


def run(copy: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("name", "unit", "period", "is_new_unit", "words"),
    [
        (
            "rpd",
            "requests",
            "day",
            False,
            "on requests per day (RPD): Limit 3, Used 3, Requested 1",
        ),
        (
            "cpm",
            "choices",
            "minute",
            True,
            "on choices per min (CPM): Limit 3, Used 3, Requested 1",
        ),
    ],
)
def test_a_limit_is_a_row(
    copy: Path, name: str, unit: str, period: str, is_new_unit: bool, words: str
) -> None:
    add(copy, "settings.py", BEFORE_USER_LIMITS, ROW.format(name=name, unit=unit, period=period))
    if is_new_unit:
        add(copy, "limits/units.py", '    "tokens": Unit(', UNIT)

    seen: Any = json.loads(run(copy, "-c", USE, str(copy / "data"), name))

    assert f"5 {unit} a {period}; 3 {unit} a {period} for each user" in seen["said"]
    answers = seen["answers"]
    assert [each["status"] for each in answers] == [200, 200, 200, 429, 200, 200, 429]
    header = f"x-ratelimit-remaining-{unit}"
    assert [each["headers"][header] for each in answers] == ["2", "1", "0", "0", "1", "0", "0"]
    assert header in answers[0]["headers"]["Access-Control-Expose-Headers"]
    of_user, of_key = answers[3]["json"]["error"], answers[6]["json"]["error"]
    assert (of_user["type"], of_user["code"]) == (unit, "rate_limit_exceeded")
    assert words in of_user["message"] and "this user of the key alice" in of_user["message"]
    assert "for the key alice" in of_key["message"] and "Limit 5, Used 5" in of_key["message"]
    assert int(answers[6]["headers"]["Retry-After"]) > 50
    field = f"{unit}_per_{period}"
    assert (seen["usage"]["limits"][field], seen["usage"]["user_limits"][field]) == (5, 3)
    assert field in seen["documented"]

    run(copy, "scripts/generate_docs.py")
    docs = {page: (copy / "docs" / page).read_text("utf-8") for page in ("settings.md", "keys.md")}
    assert all(f"`--{name}" in page for page in docs.values())


def test_a_unit_that_nothing_counts_stops_the_start(copy: Path) -> None:
    add(copy, "settings.py", BEFORE_USER_LIMITS, ROW.format(name="x", unit="stars", period="day"))
    command = [sys.executable, "-c", "import extensions.openai.web.app"]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode and "KeyError: 'stars'" in done.stderr


def test_the_order_of_limits_is_that_of_keys_that_were_made() -> None:
    """Named keys hold their limits in this order: a new one goes to the end."""
    assert list(KEY_LIMITS)[:4] == ["rpm", "tpm", "concurrent", "monthly_tokens"]
