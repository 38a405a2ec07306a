"""Options from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from host.errors import HostError
from host.options import OPTIONS, HostOptions, boolean, from_environment


def test_every_option_has_a_field_and_every_field_an_option() -> None:
    assert [option.field for option in OPTIONS] == list(HostOptions.__dataclass_fields__)


def test_values_are_converted() -> None:
    values = from_environment(
        {
            "OPENEDAI_MODEL": "tiny",
            "OPENEDAI_MODEL_DIR": "/models",
            "OPENEDAI_CTX_SIZE": "4096",
            "OPENEDAI_GPU_LAYERS": "-1",
            "OPENEDAI_EXTENSIONS": "openai other",
            "OPENEDAI_LORA": "a.gguf:0.5 'my style.gguf'",
            "OPENEDAI_VERBOSE": "on",
            "OPENEDAI_PORT": "not one of the host's",
        }
    )
    assert values == {
        "model": "tiny",
        "model_dir": Path("/models"),
        "ctx_size": 4096,
        "gpu_layers": -1,
        "extensions": ("openai", "other"),
        "lora": ("a.gguf:0.5", "my style.gguf"),
        "verbose": True,
    }


def test_empty_counts_as_unset() -> None:
    empty = {option.environment: " " for option in OPTIONS} | {"USE_MOCK_API": ""}
    assert from_environment(empty) == {}


@pytest.mark.parametrize(
    ("mock", "loader", "expected"),
    [
        ("true", "", {"loader": "echo"}),
        ("1", "", {"loader": "echo"}),
        ("0", "", {}),
        ("false", "", {}),
        ("true", "llama.cpp", {"loader": "llama.cpp"}),
    ],
)
def test_mock_mode(mock: str, loader: str, expected: dict[str, str]) -> None:
    assert from_environment({"USE_MOCK_API": mock, "OPENEDAI_LOADER": loader}) == expected


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("OPENEDAI_CTX_SIZE", "big", "a whole number was expected, not 'big'"),
        ("OPENEDAI_CTX_SIZE", "-1", "must be at least 0, not -1"),
        ("OPENEDAI_GPU_LAYERS", "-2", "must be at least -1, not -2"),
        ("OPENEDAI_PARALLEL", "0", "must be at least 1, not 0"),
        ("OPENEDAI_THREADS", "1.5", "a whole number was expected, not '1.5'"),
        ("OPENEDAI_VERBOSE", "maybe", "true or false was expected, not 'maybe'"),
        ("OPENEDAI_LOADER", "exllama", "llama.cpp or echo or upstream was expected, not 'exllama'"),
        ("OPENEDAI_EXTENSIONS", "../x", "the name of a folder below extensions/ was expected"),
        ("OPENEDAI_LORA", "'a", "No closing quotation"),
        ("USE_MOCK_API", "perhaps", "true or false was expected, not 'perhaps'"),
    ],
)
def test_an_ill_typed_value_is_one_line_that_names_it(name: str, text: str, reason: str) -> None:
    with pytest.raises(HostError) as caught:
        from_environment({name: text})
    assert str(caught.value).startswith(f"{name}: {reason}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["0", "false", "No", " OFF "])
def test_zero_is_false(text: str) -> None:
    assert boolean(text) is False
