"""The door: imported as a package, under any name, or by file path; and what it says when it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import ROOT, free_port

FOLDER = ROOT / "extensions" / "openai"

ASK = """
import json, urllib.request
def ask(port, path="/v1/models"):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=50) as answer:
        return json.load(answer)
"""

BY_PATH = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location({name!r}, {path!r})
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)
"""


def run(program: str, *, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh interpreter, as a host would be."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OPENEDAI_", "OPENAI_", "PYTHON")) and name != "USE_MOCK_API"
    }
    return subprocess.run(
        [sys.executable, "-c", ASK + textwrap.dedent(program)],
        cwd=cwd,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def result(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def serve_and_list(importing: str, port: int) -> str:
    return importing + textwrap.dedent(
        f"""
        script.params["api_port"] = {port}
        script.params["use_mock_api"] = True
        script.setup()
        listed = ask({port})
        script.ui()
        script.stop(5)
        import openai
        print(json.dumps([listed["data"][0]["id"], hasattr(openai, "OpenAI")]))
        """
    )


def test_as_a_package_of_extensions() -> None:
    program = serve_and_list("import extensions.openai.script as script\n", free_port())
    assert result(run(program)) == ["echo", True]


@pytest.mark.parametrize("name", ["opened_ai", "my_api", "OpenedAI"])
def test_under_any_folder_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "extensions").mkdir()
    (tmp_path / "extensions" / name).symlink_to(FOLDER)
    program = f"import sys; sys.path.insert(0, '.')\nimport extensions.{name}.script as script\n"
    done = run(serve_and_list(program, free_port()), cwd=tmp_path)
    assert result(done) == ["echo", True]


@pytest.mark.parametrize("name", ["user_ext_opened_ai", "script", "a-b c"])
def test_by_file_path_with_no_package(tmp_path: Path, name: str) -> None:
    """The folder's parents are not importable, and its name may be none that Python allows."""
    folder = tmp_path / "user_data" / "my extension-1"
    folder.parent.mkdir()
    folder.symlink_to(FOLDER)
    program = BY_PATH.format(name=name, path=str(folder / "script.py"))
    assert result(run(serve_and_list(program, free_port()), cwd=tmp_path)) == ["echo", True]


def test_by_file_path_under_a_name_with_dots(tmp_path: Path) -> None:
    """A host may name the module after its folder without there being such packages."""
    folder = tmp_path / "user_data" / "extensions" / "opened_ai"
    folder.parent.mkdir(parents=True)
    folder.symlink_to(FOLDER)
    program = BY_PATH.format(
        name="nowhere.extensions.opened_ai.script", path=str(folder / "script.py")
    )
    assert result(run(serve_and_list(program, free_port()), cwd=tmp_path)) == ["echo", True]


def test_importing_starts_nothing() -> None:
    done = run(
        """
        import threading
        import extensions.openai.script as script
        print(json.dumps([threading.active_count(), isinstance(script.params, dict), script.banner()]))
        script.stop(1)
        """
    )
    assert result(done) == [1, True, ""]


def test_params_are_all_settings_with_their_defaults() -> None:
    from extensions.openai import script
    from extensions.openai.settings import Settings

    assert script.params == {name: field.default for name, field in Settings.model_fields.items()}


def test_a_webui_sets_params_and_the_environment_wins() -> None:
    in_file, in_environment = free_port(), free_port()
    done = run(
        f"""
        import extensions.openai.script as script
        script.params.update(api_port={in_file}, use_mock_api=True, model_aliases="a, b")
        script.setup()
        print(json.dumps([model["id"] for model in ask({in_environment})["data"]]))
        script.stop(5)
        """,
        OPENEDAI_PORT=str(in_environment),
    )
    assert result(done) == ["echo", "gpt-3.5-turbo", "a", "b"]


def test_a_missing_dependency_is_one_line() -> None:
    for module in ("pydantic_settings", "flask", "waitress", "orjson"):
        done = run(
            f"""
            import sys
            import host.shared
            sys.modules[{module!r}] = None
            import extensions.openai.script as script
            script.params["use_mock_api"] = True
            script.setup()
            """
        )
        assert done.returncode != 0, module
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        assert len(lines) == 1, done.stderr
        assert module in lines[0] and "make run" in lines[0]


def test_a_missing_dependency_leaves_the_webui_running() -> None:
    """A webui takes ImportError for one extension that does not load; at SystemExit it would end."""
    done = run(
        """
        import sys
        sys.modules["waitress"] = None
        try:
            import extensions.openai.script as script
            script.params["use_mock_api"] = True
            script.setup()
        except ImportError as error:
            print(json.dumps(str(error)))
        """
    )
    assert "waitress" in result(done) and str(FOLDER / "requirements.txt") in result(done)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"api_port": "many"}, "api_port"),
        ({"nonsense": 1}, "nonsense"),
        ({"listen": True}, "--api-key"),
    ],
)
def test_a_bad_setting_is_one_line_and_leaves_the_webui_running(
    change: dict[str, Any], named: str
) -> None:
    done = run(
        f"""
        import logging
        logging.basicConfig(format="%(message)s")
        import extensions.openai.script as script
        script.params.update({change!r})
        script.setup()
        print(json.dumps("still here"))
        """
    )
    assert result(done) == "still here"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1 and named in lines[0], done.stderr


def test_a_port_in_use_is_one_line_and_leaves_the_webui_running() -> None:
    done = run(
        """
        import logging, socket
        logging.basicConfig(format="%(message)s")
        taken = socket.create_server(("127.0.0.1", 0))
        import extensions.openai.script as script
        script.params.update(api_port=taken.getsockname()[1], use_mock_api=True)
        script.setup()
        print(json.dumps(taken.getsockname()[1]))
        """
    )
    port = result(done)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1 and str(port) in lines[0] and "--api-port" in lines[0], done.stderr


def test_until_there_is_a_model_the_server_says_so() -> None:
    port = free_port()
    done = run(
        f"""
        import urllib.error
        import extensions.openai.script as script
        script.params["api_port"] = {port}
        script.setup()
        try:
            ask({port}, "/health")
        except urllib.error.HTTPError as error:
            print(json.dumps([error.code, json.load(error)["error"]["code"]]))
        script.stop(5)
        """
    )
    assert result(done) == [503, "model_loading"]


def test_our_own_package_never_takes_the_place_of_the_client() -> None:
    done = run("import openai; print(json.dumps(openai.__file__))")
    assert "site-packages" in result(done)
    assert not any(Path(entry).name == "extensions" for entry in sys.path if entry)
