"""Packages beside a web UI's: last on its path, or seen by the extension alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.system import private_packages
from tests.support.process import ROOT, free_port

HOSTS_OWN = (
    "pydantic", "pydantic_core", "typing_extensions", "flask", "werkzeug", "httpcore", "PIL", "yaml",
    "orjson",
)  # fmt: skip
"""What the web UI of this test has in versions that the extension cannot use: nothing is in them."""
PROGRAM = """
import importlib, importlib.metadata, io, json, sys, urllib.request

names = {names!r}
sys.path[:0] = [{app!r}, {host!r}]
before = {{name: importlib.import_module(name) for name in names}}
import extensions.opened_ai.script as script

script.setup()


def ask(path, **body):
    url = f"http://127.0.0.1:{port}{{path}}"
    request = urllib.request.Request(url, headers={{"Content-Type": "application/json"}})
    request.data = json.dumps(body).encode() if body else None
    return urllib.request.urlopen(request, timeout=30).read().decode()


messages = [{{"role": "user", "content": "Hello"}}]
answer = json.loads(ask("/v1/chat/completions", model="echo", messages=messages))
from extensions.opened_ai.completions import CompletionRequest

now = [(sys.modules[name], importlib.import_module(name)) for name in names]
print(json.dumps({{
    "text": answer["choices"][0]["message"]["content"],
    "pages": [len(ask(path)) for path in ("/docs", "/openapi.json", "/metrics", "/v1/models")],
    "host is as it was": now == [(module, module) for module in before.values()],
    "host's versions": sorted({{module.VERSION for module in before.values()}}),
    "private": [name.split(".")[1] for name in sys.modules if name.startswith("openedai_packages.")],
    "dumped": json.loads(CompletionRequest(model="m", prompt="p").model_dump_json())["prompt"],
    "llguidance": importlib.metadata.version("llguidance"),
    "path": [entry for entry in sys.path if "packages" in entry],
}}))
script.stop(2)
"""


def closure(names: set[str]) -> set[str]:
    """Names of installed packages and all that they require."""
    found: set[str] = set()
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        for line in metadata.requires(name) or ():
            wish = re.split(r"[\s<>=!~;\[(]", line, maxsplit=1)[0].lower()
            is_wanted = (
                "extra ==" not in line and "platform" not in line and "python_version" not in line
            )
            if is_wanted and wish not in found:
                waiting.add(wish)
    return found


def put_packages(place: Path, *, isolated: bool) -> None:
    """The packages of the tests' environment as the installer would put them, by links."""
    place.mkdir(parents=True)
    lines = (ROOT / "extensions" / "openai" / "requirements.txt").read_text().splitlines()
    for name in closure({re.split("[<>=]", line)[0].lower() for line in lines}):
        for path in metadata.files(name) or ():
            top = path.parts[0]
            if top not in ("..", "__pycache__") and not (place / top).exists():
                (place / top).symlink_to(Path(str(metadata.distribution(name).locate_file(top))))
    (place / private_packages.MANIFEST).write_text(json.dumps({"isolated": isolated}))


def run(tmp_path: Path, *, isolated: bool, host_names: tuple[str, ...]) -> dict[str, Any]:
    app, host = tmp_path / "app", tmp_path / "host"
    folder = app / "extensions" / "opened_ai"
    shutil.copytree(
        ROOT / "extensions" / "openai", folder, ignore=shutil.ignore_patterns("__pycache__")
    )
    (app / "server.py").touch()
    host.mkdir()
    for name in host_names:
        (host / f"{name}.py").write_text("VERSION = 'of the web UI'\n")
    put_packages(private_packages.packages_folder(folder), isolated=isolated)
    port = free_port()
    program = PROGRAM.format(app=str(app), host=str(host), names=host_names, port=port)
    clean = {name: value for name, value in os.environ.items() if "OPENEDAI" not in name}
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        cwd=tmp_path,
        env=clean | {"OPENEDAI_USE_MOCK_API": "true", "OPENEDAI_API_PORT": str(port)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_both_have_their_own_versions_in_one_process(tmp_path: Path) -> None:
    seen = run(tmp_path, isolated=True, host_names=HOSTS_OWN)
    assert "Hello" in seen["text"] and all(seen["pages"])
    assert seen["host is as it was"] and seen["host's versions"] == ["of the web UI"]
    assert seen["dumped"] == "p", "compiled modules find their own kind"
    assert seen["path"] == [], "the web UI's own imports do not see the folder"
    assert {"pydantic", "typing_extensions", "flask", "werkzeug", "orjson"} <= set(seen["private"])
    assert seen["llguidance"] == metadata.version("llguidance")


def test_what_the_host_lacks_comes_last_on_its_path(tmp_path: Path) -> None:
    seen = run(tmp_path, isolated=False, host_names=())
    assert "Hello" in seen["text"] and all(seen["pages"])
    assert seen["private"] == [] and len(seen["path"]) == 1


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("webui/extensions/opened_ai", "webui/user_data/openedai"),
        ("webui/user_data/extensions/opened_ai", "webui/user_data/openedai"),
        ("my data/extensions/opened_ai", "my data/openedai"),
        ("user_data/extensions/openai", "user_data/openedai"),
    ],
)
def test_data_are_kept_in_the_user_data_of_the_app(
    tmp_path: Path, folder: str, expected: str
) -> None:
    """Also where it has another name (`--user-data-dir`), so that keys outlive a portable release."""
    (tmp_path / "webui").mkdir()
    (tmp_path / "webui" / "server.py").touch()
    assert private_packages.data_root(tmp_path / folder) == tmp_path / expected


def test_without_the_installers_note_nothing_is_attached(tmp_path: Path) -> None:
    path = list(sys.path)
    private_packages.attach("nothing", tmp_path / "app" / "extensions" / "opened_ai")
    assert sys.path == path
