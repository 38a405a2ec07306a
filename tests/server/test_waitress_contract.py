"""All that we use of waitress is in one table and looked for at start; what is missing is one clear line."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import pytest
import waitress.channel
from waitress.server import create_server

from extensions.openai.server import waitress_contract as contract
from extensions.openai.server.channel import Channel
from extensions.openai.server.parser import StrictParser
from extensions.openai.server.task import AnswerTask, EnvelopeErrorTask
from tests.support.process import ROOT, free_port
from tests.test_script import result, run

FOLDER = ROOT / "extensions" / "openai"
OURS = {
    "channel.HTTPChannel": (Channel, "channel.py"),
    "parser.HTTPRequestParser": (StrictParser, "parser.py"),
    "task.WSGITask": (AnswerTask, "task.py"),
    "task.ErrorTask": (EnvelopeErrorTask, "task.py"),
}
START = """
    import sys
    {host}
    import waitress.channel
    Channel = waitress.channel.HTTPChannel
    {change}
    import logging
    logging.basicConfig(format="%(message)s")
    try:
        import extensions.openai.script as script
        script.params.update(use_mock_api=True, api_port={port})
        script.setup()
    except ImportError as error:
        print(error, file=sys.stderr)
    print(json.dumps("still here"))
"""
WITHOUT_METHOD = "del Channel.write_soon"
WITHOUT_LOCK = """
    made = Channel.__init__
    def without(self, *args, **kwargs):
        made(self, *args, **kwargs)
        del self.requests_lock
    Channel.__init__ = without
"""


@pytest.fixture(name="listener")
def listener_of_waitress() -> Iterator[Any]:
    sockets: dict[int, Any] = {}
    server = create_server(lambda *_: [], map=sockets, host="127.0.0.1", port=0)
    yield server
    server.task_dispatcher.shutdown()
    server.close()


def test_the_installed_one_has_all_of_it(listener: Any) -> None:
    contract.check_names()
    before = dict(listener.active_channels)
    contract.check_instances(listener)
    assert listener.active_channels == before


@pytest.mark.parametrize(
    "name", [f"{kind}.{each}" for kind, names in contract.NAMES.items() for each in names.split()]
)
def test_each_name_is_missed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, kind, attribute = name.split(".")
    found = getattr(import_module(f"waitress.{module}"), kind)
    without = type(kind, (), {each: 1 for each in dir(found) if each[:2] != "__"})
    delattr(without, attribute)
    monkeypatch.setattr(f"waitress.{module}.{kind}", without)
    with pytest.raises(contract.IncompatibleWaitress, match=rf"\({name}\)"):
        contract.check_names()


@pytest.mark.parametrize("name", contract.NAMES)
def test_each_class_and_function_is_missed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(f"waitress.{name}")
    with pytest.raises(contract.IncompatibleWaitress, match=rf"\({name}\)"):
        contract.check_names()


def test_a_parameter_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waitress.server.create_server", lambda application, map: None)
    with pytest.raises(
        contract.IncompatibleWaitress, match=r"server\.create_server\(_dispatcher\)"
    ):
        contract.check_names()


@pytest.mark.parametrize("attribute", contract.INSTANCE_ATTRIBUTES["HTTPChannel"].split())
def test_what_a_connection_has_is_missed(
    attribute: str, listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = waitress.channel.HTTPChannel

    def make(*args: Any, **kwargs: Any) -> Any:
        channel = made(*args, **kwargs)
        return type("Made", (), {k: v for k, v in vars(channel).items() if k != attribute})()

    monkeypatch.setattr("waitress.channel.HTTPChannel", make)
    with pytest.raises(contract.IncompatibleWaitress, match=rf"HTTPChannel\.{attribute}"):
        contract.check_instances(listener)


def test_objects_that_are_made_in_another_way_are_told(
    listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("waitress.parser.HTTPRequestParser.__init__", lambda self: None)
    with pytest.raises(contract.IncompatibleWaitress, match="HTTPRequestParser"):
        contract.check_instances(listener)


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        (WITHOUT_METHOD, "channel.HTTPChannel.write_soon"),
        (WITHOUT_LOCK, "HTTPChannel.requests_lock"),
    ],
    ids=["method", "attribute"],
)
@pytest.mark.parametrize("host", ["import host.shared", ""], ids=["own host", "webui"])
def test_at_start_it_is_one_line_that_names_the_version(
    change: str, missing: str, host: str
) -> None:
    done = run(START.format(change=change, host=host, port=free_port()))
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert f"waitress {metadata.version('waitress')}" in lines[0]
    assert missing in lines[0] and "pip install 'waitress>=3.0.1,<3.1'" in lines[0]
    if host:
        assert done.returncode != 0
    else:
        assert result(done) == "still here"


def test_the_version_is_bound_where_it_is_installed_from() -> None:
    wanted = (FOLDER / "requirements.txt").read_text().splitlines()
    assert f"waitress{contract.REQUIRED}" in wanted


def test_nothing_else_imports_it() -> None:
    for file in [*FOLDER.rglob("*.py"), *(ROOT / "host").rglob("*.py")]:
        if file.parent.name != "server":
            assert not {each for each in _imported(file) if each.split(".")[0] == "waitress"}, file


@pytest.mark.parametrize("name", OURS)
def test_the_table_has_what_our_classes_override_and_use(name: str) -> None:
    ours, file = OURS[name]
    base = ours.__mro__[1]
    assert f"{base.__module__.removeprefix('waitress.')}.{base.__name__}" == name
    overridden = {each for each in vars(ours) if each[:2] != "__" and hasattr(base, each)}
    tree = ast.parse((FOLDER / "server" / file).read_text())
    body = next(each for each in tree.body if getattr(each, "name", "") == ours.__name__)
    used = {
        node.attr
        for node in ast.walk(body)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self", "super()")
    }
    used = {each for each in used if each[:2] != "__" and hasattr(base, each)}
    listed = f"{contract.NAMES[name]} {contract.INSTANCE_ATTRIBUTES.get(base.__name__, '')}"
    assert overridden | used <= set(listed.split())


def _imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""
