"""In a webui: its flags, its log, a UI that starts again, no UI at all, and the block in its UI."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import textwrap
import types
from pathlib import Path
from typing import Any

import httpx
import pytest

from extensions.openai.hosts import webui
from extensions.openai.hosts.host_settings import settings_in_force
from extensions.openai.hosts.launch import launcher
from tests.support.process import ROOT, free_port

WEBUI = """
import argparse, importlib.machinery, logging, sys, time
from types import ModuleType

# What a webui of 2023 to 2026 has where it loads extensions, and does then.
shared, colors = ModuleType("modules.shared"), ModuleType("modules.logging_colors")
shared.parser = argparse.ArgumentParser()
for flag in ("--listen", "--public-api", "--nowebui", "--api"):
    shared.parser.add_argument(flag, action="store_true")
shared.parser.add_argument("--listen-host", type=str)
shared.parser.add_argument("--public-api-id", type=str)
shared.parser.add_argument("--api-port", type=int, default=5000)
shared.parser.add_argument("--api-key", type=str, default="")
shared.parser.add_argument("--admin-key", type=str, default="")
shared.args = shared.parser.parse_args()
colors.logger = logging.getLogger("webui")
colors.logger.setLevel(logging.DEBUG)
handler = logging.StreamHandler(sys.stdout)
handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
colors.logger.addHandler(handler)
modules = ModuleType("modules")
modules.__path__ = []
sys.modules |= {"modules": modules, "modules.shared": shared, "modules.logging_colors": colors}
if OWN_API:
    sys.modules["modules.api"] = api = ModuleType("modules.api")
    api.__spec__ = importlib.machinery.ModuleSpec("modules.api", None)

import extensions.openai.script as script
"""


class Webui:
    """A process that loads the extension as a webui does."""

    def __init__(
        self, program: str, *flags: str, own_api: bool = False, **environment: str
    ) -> None:
        inherited = {name: value for name, value in os.environ.items() if "OPENEDAI" not in name}
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-u",
                "-c",
                f"OWN_API = {own_api}\n" + WEBUI + textwrap.dedent(program),
                *flags,
            ],
            cwd=ROOT,
            env=inherited | {"USE_MOCK_API": "true"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def line(self, part: str) -> str:
        """The next line of its output that holds `part`."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if part in line:
                return line.strip()
        raise AssertionError(f"it never said {part!r}")

    def rest(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.read()

    def __enter__(self) -> Webui:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def test_the_url_is_in_the_webuis_log() -> None:
    port = free_port()
    with Webui("script.setup(); time.sleep(60)", OPENEDAI_API_PORT=str(port)) as webui:
        assert webui.line("OpenAI API") == f"INFO OpenAI API: http://127.0.0.1:{port}/v1"


def test_json_lines_leave_the_webuis_own_lines_alone() -> None:
    program = "script.setup(); colors.logger.info('a line of the webui'); time.sleep(60)"
    environment: dict[str, Any] = {
        "OPENEDAI_API_PORT": str(free_port()),
        "OPENEDAI_LOG_FORMAT": "json",
    }
    with Webui(program, **environment) as webui:
        assert webui.line("OpenAI API").startswith("{")
        assert webui.line("a line of the webui") == "INFO a line of the webui"


def test_before_march_2026_the_webuis_flags_are_ours() -> None:
    port = free_port()
    flags = ("--api-port", str(port), "--api-key", "hush", "--listen")
    with Webui("script.setup(); time.sleep(60)", *flags) as webui:
        webui.line(f":{port}/v1")
        url = f"http://127.0.0.1:{port}/v1/models"
        assert httpx.get(url, timeout=60).status_code == 401
        assert (
            httpx.get(url, headers={"Authorization": "Bearer hush"}, timeout=60).status_code == 200
        )


@pytest.mark.parametrize(
    "spelling", [("--api-port", "5000"), ("--api-port=5000",), ("--api-po", "5000")]
)
def test_a_flag_with_its_default_value_counts_where_it_is_written(
    spelling: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The webui's default port is 5000, ours is 5001."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--api-port", type=int, default=5000)
    parser.add_argument("--listen", action="store_true")
    parser.add_argument("--api-key", type=str, default="")
    for written, expected in ((spelling, {"api_port": 5000}), ((), {})):
        monkeypatch.setattr(sys, "argv", ["server.py", *written])
        package = types.ModuleType("modules")
        package.__path__ = []
        monkeypatch.setitem(sys.modules, "modules", package)
        shared: Any = types.ModuleType("modules.shared")
        shared.parser, shared.args = parser, parser.parse_args(written)
        monkeypatch.setitem(sys.modules, "modules.shared", shared)
        assert webui.flags() == expected


def test_beside_the_webuis_own_api_its_port_is_not_ours() -> None:
    theirs, ours = free_port(), free_port()
    program = "script.setup(); time.sleep(60)"
    flags, environment = ("--api-port", str(theirs)), {"OPENEDAI_API_PORT": str(ours)}
    with Webui(program, *flags, own_api=True, **environment) as webui:
        assert f":{ours}/v1" in webui.line("OpenAI API")


@pytest.mark.parametrize(
    ("name", "extensions", "is_ours"),
    [
        ("opened_ai", ["opened_ai", "openai"], False),
        ("opened_ai", ["opened_ai"], True),
        ("openai", ["openai"], True),
    ],
)
def test_before_march_2026_the_flags_are_those_of_the_api_that_runs(
    monkeypatch: pytest.MonkeyPatch, name: str, extensions: list[str], is_ours: bool
) -> None:
    """`--api` loads the webui's own extension `openai`, also beside ours."""
    shared: Any = types.ModuleType("modules.shared")
    shared.parser = argparse.ArgumentParser()
    shared.parser.add_argument("--api-port", type=int, default=5000)
    shared.args = argparse.Namespace(api_port=6000, extensions=extensions)
    modules = types.ModuleType("modules")
    modules.__path__ = []
    monkeypatch.setitem(sys.modules, "modules", modules)
    monkeypatch.setitem(sys.modules, "modules.shared", shared)
    monkeypatch.setattr(sys, "argv", ["server.py", "--api-port", "6000"])
    monkeypatch.setattr(webui, "__package__", f"extensions.{name}.hosts")
    assert webui.flags() == ({"api_port": 6000} if is_ours else {})


def test_listen_without_a_key_is_for_the_page_only() -> None:
    port = free_port()
    with Webui("script.setup(); time.sleep(60)", "--listen", "--api-port", str(port)) as webui:
        assert "listens on this machine only" in webui.line("WARNING")
        assert f"http://127.0.0.1:{port}/v1" in webui.line("OpenAI API")


def test_a_port_in_use_is_one_line_and_is_told_in_the_block() -> None:
    program = """
    import socket
    taken = socket.create_server(("127.0.0.1", 0))
    script.params["api_port"] = taken.getsockname()[1]
    script.setup()
    from extensions.openai.hosts.launch import launcher
    print("status:", launcher.status())
    """
    with Webui(program) as webui:
        assert "in use" in webui.line("ERROR")
        assert "in use" in webui.line("status:")
        assert "Traceback" not in webui.rest()


def test_a_page_that_starts_anew_keeps_the_server() -> None:
    port, other = free_port(), free_port()
    program = f"""
    script.params["api_port"] = {port}
    script.setup()
    script.setup()
    script.params["api_port"] = {other}
    script.setup()
    print("ready")
    time.sleep(60)
    """
    with Webui(program) as webui:
        assert str(port) in webui.line("OpenAI API")
        # Nothing is said at the second time, as nothing has changed.
        assert str(other) in webui.line("OpenAI API")
        webui.line("ready")
        assert httpx.get(f"http://127.0.0.1:{other}/health", timeout=60).status_code == 200
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/health", timeout=60)


def test_without_its_page_the_webui_lives_until_it_is_stopped() -> None:
    """With --nowebui its main thread ends once the extensions are loaded."""
    port = free_port()
    program = "import signal; signal.signal(signal.SIGINT, lambda *_: sys.exit(0)); script.setup()"
    with Webui(program, "--nowebui", OPENEDAI_API_PORT=str(port)) as webui:
        webui.line("OpenAI API")
        url = f"http://127.0.0.1:{port}/health"
        assert httpx.get(url, timeout=60).status_code == 200
        assert webui.process.poll() is None
        webui.process.send_signal(signal.SIGINT)
        assert webui.process.wait(20) == 0
        assert "Traceback" not in webui.rest()


OWN_API_RUNS = """
import signal, threading
ended = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
script.setup()
before = signal.getsignal(signal.SIGTERM)
# Its server takes the signals over and ends; only newer ones then pass on what they got.
signal.signal(signal.SIGTERM, lambda *_: ended.set())
print("it runs")
while not ended.wait(0.1):
    pass
signal.signal(signal.SIGTERM, before)
if PASSES_ON:
    signal.raise_signal(signal.SIGTERM)
"""


@pytest.mark.parametrize("passes_on", [True, False])
@pytest.mark.parametrize("api", [("--api",), ("--public-api",)])
def test_beside_the_webuis_own_api_one_signal_ends_the_process(
    api: tuple[str], passes_on: bool
) -> None:
    program = f"PASSES_ON = {passes_on}\n{OWN_API_RUNS}"
    port = str(free_port())
    with Webui(program, "--nowebui", *api, own_api=True, OPENEDAI_API_PORT=port) as webui:
        webui.line("it runs")
        webui.process.terminate()
        assert webui.process.wait(20) == 0


def test_beside_the_api_that_was_an_extension_one_signal_ends_the_process() -> None:
    program = f"""
PASSES_ON = False
shared.args.extensions = ["opened_ai", "openai"]
from extensions.openai.hosts import webui as webui_host
webui_host.__package__ = "extensions.opened_ai.hosts"
{OWN_API_RUNS}
"""
    with Webui(program, "--nowebui", OPENEDAI_API_PORT=str(free_port())) as webui:
        webui.line("it runs")
        webui.process.terminate()
        assert webui.process.wait(20) == 0


def test_a_signal_before_the_webui_is_ready_ends_it_as_well() -> None:
    program = """
    import signal
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    script.setup()
    signal.raise_signal(signal.SIGTERM)  # while another extension is being loaded
    """
    with Webui(program, "--nowebui", OPENEDAI_API_PORT=str(free_port())) as webui:
        assert webui.process.wait(20) == 0


def test_where_the_webuis_own_api_did_not_start_ours_goes_on() -> None:
    program = "script.setup(); print('it fails'); raise OSError('no address')"
    port = free_port()
    with Webui(program, "--nowebui", "--api", own_api=True, OPENEDAI_API_PORT=str(port)) as webui:
        webui.line("no address")
        assert httpx.get(f"http://127.0.0.1:{port}/health", timeout=60).status_code == 200


def test_without_its_page_models_can_still_be_loaded() -> None:
    """Libraries load them with pools of threads, which Python closes when its main thread ends."""
    program = """
    import concurrent.futures, threading
    def later():
        threading.main_thread().join(2)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            print("loaded by", pool.submit(lambda: "a pool").result())
    script.setup()
    threading.Thread(target=later, daemon=True).start()
    """
    with Webui(program, "--nowebui", OPENEDAI_API_PORT=str(free_port())) as webui:
        assert webui.line("loaded by").endswith("a pool")


def test_with_its_page_the_webui_ends_with_its_main_thread() -> None:
    with Webui("script.setup()", OPENEDAI_API_PORT=str(free_port())) as webui:
        assert webui.process.wait(20) == 0


class _Element:
    """What gradio's elements have in common, as far as the block uses it; it notes what it was given."""

    made: list[_Element]
    newer: bool

    def __init__(self, value: Any = None, **options: Any) -> None:
        self.value, self.options = value, options
        self.copies: Any = None
        self.made.append(self)

    def __enter__(self) -> _Element:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def click(self, fn: None, inputs: _Element, outputs: None, **script: str) -> None:
        expected = "js" if self.newer else "_js"
        if set(script) != {expected}:
            raise TypeError(f"unexpected {set(script)}")
        self.copies = inputs


@pytest.mark.parametrize("newer", [False, True], ids=["gradio 3", "gradio 4"])
def test_the_block_shows_where_the_api_is_and_never_the_key(
    newer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[_Element] = []
    element = type("Element", (_Element,), {"made": made, "newer": newer})
    gradio = types.ModuleType("gradio")
    for name in ("Accordion", "Markdown", "Row", "Column", "Textbox", "Button"):
        monkeypatch.setattr(gradio, name, element, raising=False)
    monkeypatch.setitem(sys.modules, "gradio", gradio)
    monkeypatch.setenv("OPENEDAI_API_KEY", "hush-hush")
    launcher.setup({"api_port": 0, "use_mock_api": True}, {})
    try:
        from extensions.openai import script

        script.ui()
        url = launcher.status().url
        shown = [each.value() if callable(each.value) else each.value for each in made]
        copied = [each.copies.value() for each in made if each.copies]
    finally:
        launcher.stop(5)
    assert url is not None and url in shown
    console = url.removesuffix("v1")
    assert f"A key is set: clients must send it. [Open the console]({console})" in shown
    assert "hush-hush" not in repr(shown)
    assert copied == [url, ""]
    later = [each.value() for each in made if callable(each.value)]
    assert later[0].startswith("**The API does not run.**")


@pytest.mark.parametrize(
    ("preset", "used"), [("temperature: 0.3", True), ("temperature: [much]", False)]
)
def test_the_webuis_presets_are_there_unless_they_cannot_be_read(
    preset: str, used: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = types.ModuleType("modules.shared")
    parser = argparse.ArgumentParser()
    folder = tmp_path / "presets"
    folder.mkdir()
    (folder / "Warm.yaml").write_text(preset)
    vars(shared).update(args=parser.parse_args([]), parser=parser, user_data_dir=tmp_path)
    package = types.ModuleType("modules")
    package.__path__ = []
    monkeypatch.setitem(sys.modules, "modules", package)
    monkeypatch.setitem(sys.modules, "modules.shared", shared)
    assert settings_in_force({}, {}).preset_folder == (str(folder) if used else None)
    other = settings_in_force({"preset_folder": str(tmp_path)}, {})
    assert other.preset_folder == str(tmp_path)
