"""What --store says, and when the store is opened."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from extensions.openai.configuration.sources import load
from extensions.openai.errors import StoreOff, StoreUnavailable
from extensions.openai.settings import Settings, SettingsError
from extensions.openai.state.databases.sqlite_file import FILE
from extensions.openai.state.store import Store
from tests.support.process import ROOT

UNUSED = """
import sys
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
create_app(Settings(data_folder=sys.argv[1]), EchoEngine()).test_client().get(sys.argv[2])
print(sorted({name.partition(".")[0] for name in sys.modules} & {"sqlalchemy", "alembic", "psycopg"}))
"""


def modules_of(folder: Path, page: str) -> str:
    command = [sys.executable, "-c", UNUSED, str(folder), page]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_server_that_stores_nothing_does_not_load_what_stores(tmp_path: Path) -> None:
    assert modules_of(tmp_path, "/v1/models") == "[]"
    assert not (tmp_path / FILE).exists()


def test_a_file_of_today_costs_nothing_at_the_start(tmp_path: Path) -> None:
    store = Store(Settings(data_folder=str(tmp_path)))
    assert store.database.size()
    store.close()
    assert modules_of(tmp_path, "/health") == "[]"
    assert modules_of(tmp_path, "/v1/models") != "[]"  # there may be agents


def test_off(tmp_path: Path) -> None:
    store = Store(Settings(store="off", data_folder=str(tmp_path)))
    store.prepare()
    store.start()
    assert not store.keeps and store.path is None
    with pytest.raises(StoreOff, match="--store"):
        store.chat_completions  # noqa: B018
    store.close()
    assert not list(tmp_path.iterdir())


def test_defaults(tmp_path: Path) -> None:
    folder = str(tmp_path)
    assert Store(Settings(data_folder=folder)).path == tmp_path / FILE
    assert Store(Settings(data_folder=folder, use_mock_api=True)).path is None
    assert Store(Settings(data_folder=folder, use_mock_api=True)).keeps
    assert Store(Settings(data_folder=folder, use_mock_api=True, store="sqlite")).path is not None


@pytest.mark.parametrize("wrong", ["disk", "mysql://host/name", "postgresql:x"])
def test_what_store_cannot_be(wrong: str) -> None:
    with pytest.raises(SettingsError, match="setting store: must be sqlite") as caught:
        load({}, {"store": wrong})
    assert wrong not in str(caught.value)


def test_a_database_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    url = f"postgresql://me:sesame@/name?host={tmp_path}"
    with pytest.raises(SettingsError, match="no connection to the database") as caught:
        Store(Settings(store=url)).prepare()
    assert "sesame" not in str(caught.value)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file", encoding="utf-8")
    store = Store(Settings(data_folder=str(tmp_path / "data")))
    with pytest.raises(StoreUnavailable):
        store.chat_completions  # noqa: B018


@pytest.mark.parametrize("wrong", ["chat=3", "chats=-1", "chats=soon"])
def test_what_retention_cannot_be(wrong: str) -> None:
    for name in ("store_days", "store_megabytes"):
        with pytest.raises(SettingsError, match=f"setting {name}"):
            load({}, {name: wrong})
