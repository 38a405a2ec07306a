"""The key that signs what clients keep."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from extensions.openai.settings import Settings
from extensions.openai.state import signing_key as module
from extensions.openai.state.signing_key import FILE, KEY_BYTES, signing_key


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    module.key_of_folder.cache_clear()


def test_it_outlives_the_process(tmp_path: Path) -> None:
    settings = Settings(data_folder=str(tmp_path / "data"))
    key = signing_key(settings, "thoughts")
    module.key_of_folder.cache_clear()
    assert signing_key(settings, "thoughts") == key
    file = tmp_path / "data" / FILE
    assert len(file.read_bytes()) == KEY_BYTES and file.stat().st_mode & 0o077 == 0
    assert [each.name for each in file.parent.iterdir()] == [FILE]


def test_each_purpose_and_each_folder_has_its_own(tmp_path: Path) -> None:
    one, other = (Settings(data_folder=str(tmp_path / name)) for name in "ab")
    keys = {signing_key(one, "x"), signing_key(one, "y"), signing_key(other, "x")}
    assert len(keys) == 3


def test_replicas_share_it_through_a_setting(tmp_path: Path) -> None:
    folders = (tmp_path / "a", tmp_path / "b")
    keys = {
        signing_key(Settings(data_folder=str(folder), keys_secret=SecretStr("s" * 32)), "thoughts")
        for folder in folders
    }
    assert len(keys) == 1 and not any(folder.exists() for folder in folders)


def test_without_a_folder_it_lasts_as_long_as_the_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    settings = Settings(data_folder=str(tmp_path / "file" / "data"))
    assert signing_key(settings, "x") == signing_key(settings, "x")
    assert "void after a restart" in caplog.text and str(tmp_path) not in caplog.text
