"""Loading extensions, end to end in a process of its own."""

from __future__ import annotations

import json

import pytest

from tests.host.conftest import PROBE, Host


def setup_line(stdout: str) -> dict[str, object]:
    line = next(line for line in stdout.splitlines() if line.startswith("SETUP"))
    loaded = json.loads(line.removeprefix("SETUP"))
    assert isinstance(loaded, dict)
    return loaded


def test_params_flags_and_model_are_there_at_setup(probe: Host) -> None:
    settings = probe.root / "s.yaml"
    settings.write_text("probe-colour: red\nprobe-nope: 1\nother-x: 1\npreset: y\n")
    result = probe.serve("--settings", "s.yaml", "--probe-port", "7", "--parallel", "2")
    assert result.returncode == 0
    assert setup_line(result.stdout) == {
        "params": {"colour": "red", "size": 1},
        "flags": {"probe_port": 7},
        "model": "openedai-tiny",
    }
    embedded = probe.root / "models/openedai-tiny/openedai-tiny.gguf"
    assert f"SPEC openedai-tiny {embedded} 2 0" in result.stdout
    warnings = [line for line in result.stderr.splitlines() if "WARNING" in line]
    assert len(warnings) == 1
    assert "probe-nope" in warnings[0]


def test_the_order_of_the_hooks(probe: Host) -> None:
    result = probe.serve()
    words = [line.split()[0] for line in result.stdout.splitlines()]
    assert words == ["SETUP", "SPEC", "READY", "STOPPED"]


def test_extensions_find_what_a_webui_has_in_its_modules(probe: Host) -> None:
    probe.extension(
        "visiting",
        """
        import modules.shared as shared
        from modules import logging_colors
        from modules.logging_colors import logger
        def setup():
            assert logger is logging_colors.logger
            print("VISITING", shared.model_name, shared.args.extensions, shared.settings["mine"], flush=True)
        """,
    )
    (probe.root / "s.yaml").write_text("mine: 3\n")
    stdout = probe.serve("--extensions", "visiting", "probe", "--settings", "s.yaml").stdout
    assert "VISITING openedai-tiny ['visiting', 'probe'] 3" in stdout


def test_extensions_are_told_of_the_others_that_were_set_up(probe: Host) -> None:
    probe.extension("one", "def input_modifier(text): return text")
    probe.extension("broken", "def setup(): raise ValueError")
    probe.extension(
        "asking",
        """
        def setup(): print("setup asking", flush=True)
        def use_extensions(others):
            print("TOLD", [(name, hasattr(module, "input_modifier")) for name, module in others], flush=True)
        """,
    )
    stdout = probe.serve("--extensions", "broken", "asking", "one", "probe").stdout
    lines = [line for line in stdout.splitlines() if "asking" in line or "TOLD" in line]
    assert lines == ["setup asking", "TOLD [('one', True), ('probe', False)]"]


def test_extensions_are_set_up_in_order_and_stopped_in_reverse(probe: Host) -> None:
    for name in ("one", "two"):
        probe.extension(
            name,
            f"""
            def setup(): print("setup {name}", flush=True)
            def stop(timeout): print("stop {name}", timeout > 1, flush=True)
            """,
        )
    stdout = probe.serve("--extensions", "two", "one", "probe").stdout
    lines = [line for line in stdout.splitlines() if line.startswith(("setup", "stop"))]
    assert lines == ["setup two", "setup one", "stop one True", "stop two True"]


def test_a_users_extension_is_loaded_by_path(host: Host) -> None:
    host.extension(
        "mine",
        PROBE.replace('"READY"', 'f"READY {__name__} {__package__!r}"'),
        below="user_data/extensions",
    )
    result = host.serve("--extensions", "mine", "--loader", "echo", "--probe-key", "k")
    assert "READY user_ext_mine ''" in result.stdout
    assert setup_line(result.stdout)["flags"] == {"probe_key": "k"}


def test_an_extension_of_the_program_goes_before_a_users(probe: Host) -> None:
    probe.extension("probe", "raise SystemExit('the other one')", below="user_data/extensions")
    assert "READY" in probe.serve().stdout


def test_relative_imports_work_below_extensions(probe: Host) -> None:
    probe.extension("packaged", "from .part import NAME\ndef setup(): print('NAME', NAME)")
    (probe.root / "extensions/packaged/part.py").write_text("NAME = __name__")
    result = probe.serve("--extensions", "packaged", "probe")
    assert "NAME extensions.packaged.part" in result.stdout


def test_an_extension_that_is_not_there(host: Host) -> None:
    result = host.run("--extensions", "nowhere", "--loader", "echo")
    assert result.returncode == 2
    (first,) = result.stderr.splitlines()
    assert str(host.root / "extensions/nowhere/script.py") in first
    assert str(host.root / "user_data/extensions/nowhere/script.py") in first


@pytest.mark.parametrize(
    "script",
    [
        "1 / 0",
        "def add_arguments(parser): 1 / 0",
        "def setup(): 1 / 0",
    ],
)
def test_a_broken_extension_leaves_the_others_alone(probe: Host, script: str) -> None:
    probe.extension("broken", script)
    result = probe.serve("--extensions", "broken", "probe")
    assert result.returncode == 0
    assert "READY" in result.stdout
    assert "ZeroDivisionError" in result.stderr
    assert "error: extension broken failed to load\n" in result.stderr


@pytest.mark.parametrize(
    "script",
    [
        "raise SystemExit('no luck: the port is taken')",
        "def add_arguments(parser): raise SystemExit('no luck: the port is taken')",
        "def setup(): raise SystemExit('no luck: the port is taken')",
    ],
)
def test_a_refusal_is_one_line(host: Host, script: str) -> None:
    host.extension("strict", script)
    result = host.run("--extensions", "strict", "--loader", "echo")
    assert result.returncode == 2
    assert result.stderr == "error: no luck: the port is taken\n"


def test_a_missing_package_is_named(host: Host) -> None:
    host.extension("needy", "import no_such_package")
    result = host.run("--extensions", "needy", "--loader", "echo")
    assert result.returncode == 2
    assert (
        "error: extension needy failed to load: No module named 'no_such_package' "
        "(pip install -r extensions/needy/requirements.txt)"
    ) in result.stderr


def test_a_flag_that_is_taken_leaves_the_extension_out(probe: Host) -> None:
    probe.extension("greedy", "def add_arguments(parser): parser.add_argument('--model')")
    result = probe.serve("--extensions", "greedy", "probe")
    assert result.returncode == 0
    assert "error: extension greedy: a flag of it is taken already: argument --model" in (
        result.stderr
    )
    assert "READY" in result.stdout


def test_the_model_refused_by_an_extension(probe: Host) -> None:
    probe.extension("loads", "def load_model(spec): raise SystemExit(f'{spec.name} is not GGUF')")
    result = probe.run("--extensions", "probe", "loads")
    assert result.returncode == 2
    assert result.stderr == "error: openedai-tiny is not GGUF\n"
    assert "READY" not in result.stdout
    assert result.stdout.endswith("STOPPED\n"), "what was set up is stopped"


def test_a_load_that_breaks(probe: Host) -> None:
    probe.extension("loads", "def load_model(spec): 1 / 0")
    result = probe.run("--extensions", "loads")
    assert result.returncode == 2
    assert "ZeroDivisionError" in result.stderr
    assert result.stderr.splitlines()[-1] == "error: extension loads could not load the model"


def test_a_broken_banner_does_not_end_the_server(probe: Host) -> None:
    probe.extension("rude", "def banner(): 1 / 0")
    result = probe.serve("--extensions", "rude", "probe")
    assert result.returncode == 0
    assert "extension rude has a broken banner" in result.stderr


def test_keys_are_not_in_the_log(probe: Host) -> None:
    result = probe.serve("--verbose", "--loader", "echo", "--probe-key", "sk-secret")
    assert "secret" not in result.stderr


def test_mock_mode_needs_no_model(probe: Host) -> None:
    assert "SPEC echo None 4 0" in probe.serve(USE_MOCK_API="true").stdout
    assert "SPEC openedai-tiny" in probe.serve(USE_MOCK_API="0").stdout


def test_a_broken_settings_file_ends_the_start(probe: Host) -> None:
    (probe.root / "s.yaml").write_text("a: [")
    result = probe.run("--settings", "s.yaml")
    assert result.returncode == 2
    assert result.stderr.startswith("error: --settings s.yaml: not valid YAML in line 1")
    assert len(result.stderr.splitlines()) == 1
