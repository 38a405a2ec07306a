"""The examples of README.md and docs/*.md, run: as printed, or with stand-ins for what would be installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from extensions.openai.settings import Settings
from extensions.openai.state.store import Store
from tests.host.fake_hub import FakeHub, Repository
from tests.scripts.webui_layouts import plain_tree
from tests.support import example_programs
from tests.support.examples import Example, examples
from tests.support.process import ROOT, ServerProcess
from tests.whole.test_old_sdk import old_python  # noqa: F401  # a fixture

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.timeout(400)

EXAMPLES = examples()
PROGRAMS = ("make", "docker", "git", "python", "openedai")
KEY = "sk-of-the-examples"


def marked(*how: str) -> list[Any]:
    return [pytest.param(each, id=each.id) for each in EXAMPLES if each.how in how]


@pytest.fixture(scope="module")
def seeing_server(encoder: Path) -> Iterator[ServerProcess]:
    """With an encoder, for the pages on pictures."""
    process = ServerProcess("--threads", "1", "--mmproj", str(encoder))
    process.wait_until_ready()
    yield process
    process.stop()


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the official JavaScript client."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    (folder / "package.json").write_text('{"private": true}')
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "openai"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"npm could not fetch it: {done.stderr[-200:]}")
    return folder / "node_modules"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of stand-ins, first on the path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    stand_in = Path(example_programs.__file__)
    for name in PROGRAMS:
        program = folder / name
        program.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(stand_in.parent)!r})\n"
            f"import example_programs\nsys.exit(example_programs.main({name!r}, sys.argv[1:]))\n"
        )
        program.chmod(0o755)
    return folder


@pytest.fixture
def hub(embedded_model: Path | None, encoder: Path) -> Iterator[FakeHub]:
    if embedded_model is None:
        pytest.skip("this tree has no embedded model")
    hub = FakeHub()
    files = {
        "model-Q4_K_M.gguf": embedded_model.read_bytes(),
        "mmproj-model.gguf": encoder.read_bytes(),
    }
    for name in ("OWNER/REPO", "Qwen/Qwen2.5-Coder-7B-Instruct-GGUF"):
        hub.repositories[name] = Repository(files)
    with hub:
        yield hub


@pytest.fixture
def environment(
    tmp_path: Path, programs: Path, hub: FakeHub, embedded_model: Path, encoder: Path
) -> Iterator[dict[str, str]]:
    """The folder that the examples are run in, and what they find around them."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    models = tmp_path / "models"
    (models / "FOLDER").mkdir(parents=True)
    for place in (tmp_path, models / "FOLDER"):
        shutil.copy(embedded_model, place / "M.gguf")
        shutil.copy(encoder, place / "mmproj-M.gguf")
    for name in ("model.gguf", "models/qwen2.5-coder-7b.gguf", "models/openedai-tiny.gguf"):
        shutil.copy(embedded_model, tmp_path / name)
    cloudflared = programs / "cloudflared"
    stand_in = ROOT / "tests" / "support" / "stand_in_cloudflared.py"
    cloudflared.write_text(f'#!/bin/sh\nexec {sys.executable} {stand_in} "$@"\n')
    cloudflared.chmod(0o755)
    (tmp_path / "plan.json").write_text('[{"hostname": "an-example.trycloudflare.com"}]')
    yield {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "EXAMPLE_PORT": str(port),
        "EXAMPLE_FOLDER": str(tmp_path),
        "OPENEDAI_DATA_FOLDER": str(tmp_path / "data"),
        "OPENAI_API_KEY": "none",
        "HF_ENDPOINT": hub.address,
        "STAND_IN": str(tmp_path),
    }
    example_programs.stop(tmp_path)


def filled(code: str, port: int | str, model: Path | None) -> str:
    """The code with what a reader has to put in: places of models, keys, and here the port."""
    code = re.sub(r"(127\.0\.0\.1|localhost):5001", rf"127.0.0.1:{port}", code)
    code = re.sub(r"/path/to/model\.gguf|/path/of/blobs/sha256-\.\.\.", str(model), code)
    return code.replace("OPENEDAI_API_KEY=...", f"OPENEDAI_API_KEY={KEY}")


def shell(code: str, folder: Path, environment: dict[str, str], answers: str = "") -> str:
    """What a script prints, which must end well."""
    lines = code.splitlines()
    if any(line.startswith("$ ") for line in lines):  # a session: what is typed, and what comes
        code = "\n".join(line[2:] for line in lines if line.startswith("$ "))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder,
        env=environment,
        input=answers,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("example", marked("stand-in"))
def test_with_stand_ins(
    example: Example, tmp_path: Path, environment: dict[str, str], embedded_model: Path
) -> None:
    code = filled(example.code, environment["EXAMPLE_PORT"], embedded_model)
    if "/path/to/text-generation-webui" in code:
        webui = plain_tree(tmp_path, "May 2026")
        code = code.replace("/path/to/text-generation-webui", f"'{webui}'")
        code = code.replace("scripts/", f"{ROOT}/scripts/")
        # The packages are in this environment, so none is fetched.
        environment |= {"VIRTUAL_ENV": sys.prefix, "PIP_NO_INDEX": "1"}
    if "team-b" in code or "backup" in code:  # a key that was made before
        shell("openedai keys create --name team-b --user-limits rpm=3", tmp_path, environment)
    if "store encrypt" in code:  # something was stored before
        code = code.replace("/etc/openedai", str(tmp_path / "etc"))
        store = Store(Settings(data_folder=environment["OPENEDAI_DATA_FOLDER"]))
        assert store.database.size()
        store.close()
    shell(code, tmp_path, environment, answers="a long password\n" * 2)


@pytest.mark.parametrize("example", marked("run"))
def test_as_printed(
    example: Example,
    tmp_path: Path,
    server: ServerProcess,
    seeing_server: ServerProcess,
    request: pytest.FixtureRequest,
) -> None:
    if example.language == "json":
        value = example.code if example.code.lstrip()[0] == "{" else f"{{{example.code}}}"
        assert json.loads(value)
        return
    if example.language == "toml":
        assert tomllib.loads(example.code)
        return
    if example.language == "yaml":
        assert isinstance(yaml.safe_load(example.code), dict)
        return
    process = seeing_server if example.page.name == "media.md" else server
    Image.new("RGB", (20, 20), "orange").save(tmp_path / "cat.png")
    code = filled(example.code, process.port, None)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OPENAI_API_KEY": "none"}
    if example.language in ("bash", "sh"):
        printed = shell(code, tmp_path, environment)
        assert not re.search(r'"error": ?[^n]', printed), printed  # that of a response is null
        return
    program, command = tmp_path / "first.py", [sys.executable]
    if example.language == "javascript":
        (tmp_path / "node_modules").symlink_to(request.getfixturevalue("node_modules"))
        program, command = tmp_path / "first.mjs", ["node"]
    elif "openai.api_base" in code:
        command = [str(request.getfixturevalue("old_python"))]
    elif "OpenAI(" not in code:  # it goes on from an example before it
        code = (
            "from openai import OpenAI\n"
            f'client = OpenAI(base_url="{process.url}/v1", api_key="none")\n{code}'
        )
    program.write_text(code.replace("=KEY", '="none"'), encoding="utf-8")
    done = subprocess.run(
        [*command, program.name],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if "print(" in example.code or "process.stdout" in example.code:
        assert done.stdout.strip()


def test_the_readmes_first_question_is_answered_right_each_time(server: ServerProcess) -> None:
    curl = next(each.code for each in EXAMPLES if each.code.startswith("curl"))
    body = json.loads(re.findall(r"-d '(.*)'", curl, re.DOTALL)[0])
    import httpx

    for _ in range(20):
        answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=50).json()
        assert "I am a tiny demonstration model." in answer["choices"][0]["message"]["content"]
