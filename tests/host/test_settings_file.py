"""A webui's settings.yaml, read for one extension."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from host.errors import HostError
from host.settings_file import apply, params_for, read


def test_read(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("preset: Instruct\nopenai-api_key: 'naïve 🎈'\n3: three\n", encoding="utf-8")
    assert read(path) == {"preset": "Instruct", "openai-api_key": "naïve 🎈"}
    path.write_text("# nothing\n", encoding="utf-8")
    assert read(path) == {}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a: [1, 2\nb: 3\n", "not valid YAML in line 2, column 2"),
        (b"a: !!python/object:os.system x\n", "not valid YAML in line 1, column 4"),
        (b"- a\n- b\n", "lines of the form NAME-param: value were expected"),
        (b"a: \xff\n", "not valid YAML: 'utf-8' codec"),
        (b"a: \x00\n", "not valid YAML: unacceptable character"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes(content)
    with pytest.raises(HostError) as caught:
        read(path)
    assert str(caught.value).startswith(f"--settings {path}: {reason}")
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="No such file"):
        read(tmp_path / "none.yaml")
    with pytest.raises(HostError, match="Is a directory"):
        read(tmp_path)


def test_only_keys_of_the_extension_are_taken() -> None:
    settings = {"openai-port": 1, "openai-x-port": 2, "openai": 3, "other-port": 4, "port": 5}
    assert params_for("openai", settings, ["openai"]) == {"port": 1, "x-port": 2}
    assert params_for("openai", settings, ["openai", "openai-x"]) == {"port": 1}
    assert params_for("openai-x", settings, ["openai", "openai-x"]) == {"port": 2}


def test_an_unknown_parameter_is_a_warning_without_its_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    params: dict[str, Any] = {"port": 1, "key": None}
    with caplog.at_level(logging.WARNING):
        apply(params, {"port": 2, "kee": "sk-secret"}, "openai")
    assert params == {"port": 2, "key": None}
    (record,) = caplog.records
    assert "openai-kee" in record.getMessage()
    assert "secret" not in record.getMessage()
