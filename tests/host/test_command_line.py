"""Flags of the host and of extensions together."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from host.command_line import ExtensionFlags, build_parser, declare_flags, read, read_early
from host.errors import HostError
from host.options import HostOptions
from tests.host.conftest import Host


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the API")
    group.add_argument("--api-port", type=int, default=5001)
    group.add_argument("--api-key")
    parser.add_argument("--listen", action="store_true", help="100%% open")
    parser.add_argument("--origin", action="append", default=[])
    parser.set_defaults(api_key="a default is not a flag that was given")


@pytest.fixture
def flags() -> ExtensionFlags:
    return declare_flags("one", add_arguments)


def test_only_flags_that_were_given_are_collected(flags: ExtensionFlags) -> None:
    options, given = read(["--parallel", "2"], [flags], {})
    assert options == HostOptions(parallel=2)
    assert given == {"one": {}}
    _, given = read(["--api-port", "80", "--listen", "--origin=a", "--origin=b"], [flags], {})
    assert given == {"one": {"api_port": 80, "listen": True, "origin": ["a", "b"]}}


def test_the_flag_wins_over_the_environment_and_that_over_the_default(
    flags: ExtensionFlags,
) -> None:
    environ = {"OPENEDAI_PARALLEL": "8", "OPENEDAI_EXTENSIONS": "a b", "OPENEDAI_MODEL_DIR": "/m"}
    options, _ = read(["--parallel", "2"], [flags], environ)
    assert options == HostOptions(parallel=2, extensions=("a", "b"), model_dir=Path("/m"))


def test_lists(flags: ExtensionFlags) -> None:
    argv = ["--extensions", "a", "--lora", "x", "y:2", "--extensions", "b", "c", "b", "--lora", "z"]
    options, _ = read(argv, [flags], {})
    assert options.extensions == ("b", "c"), "the later list wins, and a name counts once"
    assert options.lora == ("x", "y:2", "z"), "adapters add up"


def test_the_first_pass_leaves_unknown_flags_alone() -> None:
    options, wants_help = read_early(
        ["--api-key", "k", "--extensions", "a", "--listen", "--gpu-layers", "-1"], {}
    )
    assert options == HostOptions(extensions=("a",), gpu_layers=-1)
    assert not wants_help
    assert read_early(["--extensions", "a", "-h"], {})[1]


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--parallel", "0"], "argument --parallel: must be at least 1, not 0"),
        (["--ctx-size", "x"], "argument --ctx-size: a whole number was expected, not 'x'"),
        (["--ctx-size"], "argument --ctx-size: expected one argument"),
        (
            ["--loader", "x"],
            "argument --loader: llama.cpp or echo or upstream was expected, not 'x'",
        ),
        (["--extensions"], "argument --extensions: expected at least one argument"),
        (["--extensions", "a/b"], "argument --extensions: the name of a folder"),
        (["--api-port", "x"], "argument --api-port: invalid int value: 'x'"),
        (["--api-prot", "80"], r"unknown flag --api-prot \(did you mean --api-port\?\)"),
        (["--api", "80"], "unknown flag --api"),
    ],
)
def test_a_wrong_flag_is_one_line(flags: ExtensionFlags, argv: list[str], line: str) -> None:
    with pytest.raises(HostError, match=line) as caught:
        read(argv, [flags], {})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "argv", [["--api-kee", "sk-secret"], ["--api-kee=sk-secret"], ["sk-secret"]]
)
def test_the_value_of_an_unknown_argument_is_not_repeated(
    flags: ExtensionFlags, argv: list[str]
) -> None:
    with pytest.raises(HostError) as caught:
        read(argv, [flags], {})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "argv",
    [["-m", "m.gguf"], ["m.gguf"], ["--listen", "m.gguf"], ["m.gguf", "--extensions", "a"]],
)
def test_what_names_the_model(flags: ExtensionFlags, argv: list[str]) -> None:
    assert read(argv, [flags], {})[0].model == "m.gguf"


def test_what_names_nothing_is_named(flags: ExtensionFlags) -> None:
    with pytest.raises(HostError, match="unknown argument 'a', 'b': only one model"):
        read(["a", "b"], [flags], {})
    with pytest.raises(HostError, match=r"unknown argument 'a.gguf': only one model"):
        read(["-m", "b.gguf", "a.gguf"], [flags], {})
    with pytest.raises(HostError, match=r"not 'm.gguf'; a model goes after --model"):
        read(["--extensions", "a", "m.gguf"], [flags], {})
    with pytest.raises(HostError, match="unknown flag -x"):
        read(["-x", "m.gguf"], [flags], {})


@pytest.mark.parametrize(("text", "tokens"), [("0", 0), ("256", 256), ("255", None), ("-1", None)])
def test_the_least_context(flags: ExtensionFlags, text: str, tokens: int | None) -> None:
    if tokens is not None:
        assert read(["--ctx-size", text], [flags], {})[0].ctx_size == tokens
        return
    with pytest.raises(HostError, match="--ctx-size: must be at least"):
        read(["--ctx-size", text], [flags], {})


def test_two_extensions_cannot_have_the_same_flag(flags: ExtensionFlags) -> None:
    with pytest.raises(argparse.ArgumentError, match="--listen"):
        build_parser([flags, declare_flags("two", lambda p: p.add_argument("--listen"))])
    with pytest.raises(argparse.ArgumentError, match="--model"):
        build_parser([declare_flags("two", lambda p: p.add_argument("--model"))])


def test_options_show_no_key(flags: ExtensionFlags) -> None:
    options, given = read(["--api-key", "sk-secret"], [flags], {})
    assert given == {"one": {"api_key": "sk-secret"}}
    assert "secret" not in repr(options) + repr(flags)


def test_help_lists_the_flags_of_extensions(probe: Host) -> None:
    result = probe.run("--help")
    assert result.returncode == 0
    assert "--probe-key" in result.stdout
    assert "--ctx-size" in result.stdout
    assert "Extension probe:" in result.stdout
    order = [result.stdout.index(name) for name in ("Model:", "Extension probe:", "Program:")]
    assert order == sorted(order)
    assert max(map(len, result.stdout.splitlines())) < 80
    assert "--loader {llama.cpp,echo,upstream}" in result.stdout
    assert result.stdout.count("\n  python server.py") + 1 >= 3, "examples"


def test_help_works_without_any_extension(host: Host) -> None:
    result = host.run("--help")
    assert result.returncode == 0
    assert "--ctx-size" in result.stdout


def test_version(host: Host) -> None:
    result = host.run("--version")
    assert (result.returncode, result.stdout) == (0, "openedai 0.1.0\n")


def test_a_wrong_flag_ends_with_status_2(probe: Host) -> None:
    result = probe.run("--probe-prot", "1")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "error: unknown flag --probe-prot (did you mean --probe-port?)\n"
