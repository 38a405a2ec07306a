"""`python -m extensions.openai`: each command in a process of its own, as an operator runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from extensions.openai.access.caller import Caller
from extensions.openai.access.key_files import KeyFiles
from extensions.openai.access.keys import Keys
from extensions.openai.errors import Unauthorized
from extensions.openai.observability.record import RequestRecord
from extensions.openai.settings import Settings
from extensions.openai.state.usage import UsageStore
from tests.support.process import ROOT

PROGRAM = "extensions.openai"


class Shell:
    """Runs commands on a data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(
        self, *arguments: str, module: str = PROGRAM, cwd: Path = ROOT
    ) -> subprocess.Popen[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENEDAI_")}
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=environment | {"OPENEDAI_DATA_FOLDER": str(self.folder), "COLUMNS": "120"},
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, given: str = "", **options: object) -> tuple[int, str, str]:
        process = self.start(*arguments, **options)  # type: ignore[arg-type]
        out, err = process.communicate(given, timeout=50)
        return process.returncode, out, err

    def key(self, *arguments: str) -> str:
        status, out, err = self.run("keys", *arguments)
        assert status == 0, err
        return out.strip()

    def caller(self, key: str) -> object:
        return Keys(Settings(data_folder=str(self.folder))).identify({"api-key": key})


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path / "data")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["keys"], ["keys", "--help"]])
def test_no_argument_is_help(shell: Shell, arguments: list[str]) -> None:
    status, out, err = shell.run(*arguments)
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: python -m {PROGRAM}") and "keys" in out
    assert not shell.folder.exists()


def test_a_key_from_its_making_to_its_end(shell: Shell) -> None:
    limits = ("--rpm", "60", "--tpm", "40000", "--concurrent", "2", "--monthly-tokens", "1000000")
    status, out, err = shell.run(
        *("keys", "create", "--name", "alice", "--scopes", "read,write", "--expires", "90d"),
        *(*limits, "--weight", "3", "--priority", "batch", "--user-limits", "rpm=5,tpm=100"),
        "--no-store",
    )
    key = out.strip()
    assert status == 0 and out == key + "\n" and key.startswith("sk-alice-")
    warning, locked, made = err.splitlines()
    assert "answers only requests with a key" in locked
    assert key not in err and f"made the key alice in {shell.folder}: " in made
    assert warning.startswith(f"warning: the folder {shell.folder} is new")
    caller = Keys(Settings(data_folder=str(shell.folder))).identify({"api-key": key})
    assert (caller.name, set(caller.scopes)) == ("alice", {"read", "write"})
    assert (caller.weight, caller.priority, caller.stores) == (3, "batch", False)
    assert (caller.limits["rpm"], caller.limits["tpm"]) == (60, 40_000)
    assert (caller.limits["concurrent"], caller.limits["monthly_tokens"]) == (2, 1_000_000)
    assert caller.user_limits == {"rpm": 5, "tpm": 100}

    status, out, err = shell.run("keys", "list")
    assert (status, err) == (0, "") and key[-43:] not in out
    assert "alice" in out and "60 requests a minute" in out and "for each user" in out
    assert "stores nothing" in out
    (listed,) = json.loads(shell.run("keys", "list", "--json")[1])
    assert listed["name"] == "alice" and listed["state"] == "valid"
    assert abs(listed["expires_at"] - time.time() - 90 * 86400) < 100
    assert listed["limits"]["tpm"] == 40_000 and listed["user_limits"]["rpm"] == 5
    assert listed["stores"] is False

    other = shell.key("rotate", "alice", "--tpm", "50000", "--store")
    assert other != key
    caller = Keys(Settings(data_folder=str(shell.folder))).identify({"api-key": other})
    assert (caller.limits["rpm"], caller.limits["tpm"], caller.weight) == (60, 50_000, 3)
    assert caller.stores
    (listed,) = json.loads(shell.run("keys", "list", "--json")[1])
    assert abs(listed["expires_at"] - time.time() - 90 * 86400) < 100

    assert shell.run("keys", "revoke", "alice")[:2] == (0, "")
    assert "no valid keys" in shell.run("keys", "list")[2]
    states = [each["state"] for each in json.loads(shell.run("keys", "list", "--all", "--json")[1])]
    assert states == ["revoked", "revoked"]


@pytest.mark.parametrize("at", [0, 1, 2])
def test_the_data_folder_may_be_named_anywhere(shell: Shell, tmp_path: Path, at: int) -> None:
    arguments = ["keys", "create", "--name", "alice"]
    arguments[at:at] = ["--data-folder", str(tmp_path / "other")]
    assert shell.run(*arguments)[0] == 0
    assert (tmp_path / "other" / "keys.json").exists() and not shell.folder.exists()


def test_usage_and_last_use(shell: Shell) -> None:
    assert "has no usage of" in shell.run("keys", "usage")[2]
    assert not shell.folder.exists()
    shell.key("create", "--name", "alice")
    store = UsageStore(shell.folder, days=10)
    for user, tokens in (("ann", 1000), ("bob", 234)):
        caller = Caller("alice", frozenset({"write"}))
        record = RequestRecord(caller=caller, user=user, model="m", status=200)
        record.prompt_tokens, record.cached_tokens, record.completion_tokens = tokens, 7, 5
        store.observe(record)
    store.flush()
    assert shell.run("keys", "usage")[1].splitlines() == [
        "KEY    REQUESTS  INPUT  CACHED  OUTPUT",
        "alice         2  1,234      14      10",
    ]
    assert shell.run("keys", "usage", "--by", "key,user", "--csv")[1].splitlines() == [
        "key,user,requests,input_tokens,cached_tokens,output_tokens",
        "alice,ann,1,1000,7,5",
        "alice,bob,1,234,7,5",
    ]
    (listed,) = json.loads(shell.run("keys", "list", "--json")[1])
    assert abs(listed["last_used_at"] - time.time()) < 130
    assert time.strftime("%Y-%m-%d", time.gmtime()) in shell.run("keys", "list")[1].split("MAY")[1]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_belongs_to_the_folders_owner(shell: Shell) -> None:
    shell.folder.mkdir(mode=0o700)
    os.chown(shell.folder, 12345, 54321)
    shell.key("create", "--name", "alice")
    shell.key("rotate", "alice")
    found = {file.name: file.stat() for file in shell.folder.iterdir()}
    assert {"keys.secret", "keys.json", "keys.lock"} <= set(found)
    assert {(state.st_uid, state.st_gid) for state in found.values()} == {(12345, 54321)}
    shell.folder = shell.folder / "below" / "new"
    shell.key("create", "--name", "bob")
    assert shell.folder.stat().st_uid == shell.folder.parent.stat().st_uid == 12345


def test_a_new_list_beside_an_old_secret_is_told(shell: Shell) -> None:
    old = shell.key("create", "--name", "alice")
    (shell.folder / "keys.json").unlink()
    status, out, err = shell.run("keys", "create", "--name", "bob")
    assert (
        status == 0 and "keys that are not on it are invalid" in err and len(out.splitlines()) == 1
    )
    assert shell.caller(out.strip())
    with pytest.raises(Unauthorized):
        shell.caller(old)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["create"], "--name"),
        (["create", "--name", ""], "a name has"),
        (["create", "--name", "a b"], "a name has"),
        (["create", "--name", "../x"], "a name has"),
        (["create", "--name", "a."], "a name has"),
        (["create", "--name", "é"], "a name has"),
        (["create", "--name", "a\nb"], "a name has"),
        (["create", "--name", "a-"], "a name has"),
        (["create", "--name", "a" * 41], "a name has"),
        (["create", "--name", "Local"], "is reserved"),
        (["create", "--name", "a", "--scopes", ""], "read, write, admin"),
        (["create", "--name", "a", "--scopes", "read,root"], "read, write, admin"),
        (["create", "--name", "a", "--rpm", "1001"], "from 0 to 1000"),
        (["create", "--name", "a", "--rpm", "-1"], "--rpm"),
        (["create", "--name", "a", "--tpm", "many"], "--tpm"),
        (["create", "--name", "a", "--weight", "0"], "from 1 to 100"),
        (["create", "--name", "a", "--priority", "high"], "--priority"),
        (["create", "--name", "a", "--user-limits", "speed=1"], "limits are rpm"),
        (["create", "--name", "a", "--expires", "soon"], "90d"),
        (["create", "--name", "a", "--expires", "0d"], "90d"),
        (["create", "--name", "a", "--expires", "2020-01-01"], "future"),
        (["create", "--name", "a", "--expires", "99999999w"], "90d"),
        (["revoke", "nobody-we-know"], "there is no key"),
        (["rotate", "nobody-we-know"], "there is no key"),
        (["rotate", "a", "--grace", "x"], "90d"),
        (["frobnicate"], "invalid choice"),
    ],
)
def test_what_is_wrong_is_one_line(shell: Shell, arguments: list[str], says: str) -> None:
    status, out, err = shell.run("keys", *arguments)
    assert (status, out) == (2, "")
    assert says in err and len(err.splitlines()) == 1 and err.startswith("error: ")
    assert not (shell.folder / "keys.json").exists()


def test_a_folder_that_cannot_be_written_is_one_line(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    shell.folder = tmp_path / "file" / "data"
    status, out, err = shell.run("keys", "create", "--name", "a")
    assert (status, out) == (2, "") and "cannot write to" in err and len(err.splitlines()) == 1


def test_processes_at_once(shell: Shell) -> None:
    """Eight that make keys in an empty folder, of which two share a name."""
    names = ["a", "b", "c", "d", "e", "f", "same", "same"]
    processes = [shell.start("keys", "create", "--name", name) for name in names]
    results = [(*process.communicate(timeout=50), process.returncode) for process in processes]
    assert sorted(status for *_, status in results) == [0] * 7 + [2]
    for out, _, status in results:
        if status == 0:
            assert shell.caller(out.strip())
    assert len(KeyFiles(shell.folder).entries()) == 7


def test_a_secret_of_the_environment(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "0123456789abcdef"
    environment = {"OPENEDAI_KEYS_SECRET": secret, "OPENEDAI_DATA_FOLDER": str(shell.folder)}
    command = [sys.executable, "-m", PROGRAM, "keys", "create", "--name", "alice"]
    done = subprocess.run(
        command, env=os.environ | environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not (shell.folder / "keys.secret").exists()
    keys = Keys(Settings(keys_secret=secret, data_folder=str(shell.folder)))
    assert keys.identify({"api-key": done.stdout.strip()}).name == "alice"
    environment["OPENEDAI_KEYS_SECRET"] = "tooshort"
    done = subprocess.run(
        command, env=os.environ | environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "at least 16" in done.stderr and "tooshort" not in done.stderr


def test_under_another_folder_name_and_with_a_default_folder(shell: Shell, tmp_path: Path) -> None:
    app = tmp_path / "webui"
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "extensions/openai", app / "user_data/extensions/opened_ai", ignore=skip)
    shell.folder = Path()  # an empty name counts as none
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENEDAI_")}
    module = "user_data.extensions.opened_ai"
    done = subprocess.run(
        [sys.executable, "-m", module, "keys", "create", "--name", "alice"],
        env=environment,
        cwd=app,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and done.stdout.startswith("sk-alice-"), done.stderr
    assert (app / "user_data/openedai/keys.secret").is_file()
    done = subprocess.run(
        [sys.executable, "-m", module],
        env=environment,
        cwd=app,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f"usage: python -m {module}")


def test_the_hash_of_a_password(shell: Shell) -> None:
    status, out, _ = shell.run("password", given="correct horse\n")
    assert status == 0 and "correct" not in out
    keys = Keys(Settings(password=out.strip()))
    assert keys.identify({"api-key": "correct horse"}).name == "password"
    status, out, err = shell.run("password", given="short\n")
    assert (status, out) == (2, "") and "at least 8" in err


def test_every_option_is_documented() -> None:
    from extensions.openai.__main__ import command_parser

    page = (ROOT / "docs/keys.md").read_text(encoding="utf-8")
    waiting, flags = [command_parser()], set()
    while waiting:
        for action in waiting.pop()._actions:
            flags |= {flag for flag in action.option_strings if flag.startswith("--")}
            if isinstance(action.choices, dict):
                waiting += action.choices.values()
                assert all(name in page for name in action.choices)
    assert {"--scopes", "--grace", "--all"} <= flags
    assert [flag for flag in flags - {"--help"} if f"`{flag}" not in page] == []


def test_a_python_without_the_packages_is_one_line(tmp_path: Path) -> None:
    """As the system's own Python is, for an operator who started with `make run`."""
    (tmp_path / "filelock.py").write_text("raise ModuleNotFoundError(name='filelock')")
    done = subprocess.run(
        [sys.executable, "-m", PROGRAM, "keys", "list"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: this Python lacks the package filelock")
    assert len(done.stderr.splitlines()) == 1 and ".venv/bin/openedai" in done.stderr
