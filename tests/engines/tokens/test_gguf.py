"""The head of a GGUF file, whole, cut off at any place, or not one at all."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from extensions.openai.engines.tokens.gguf import BadModelFile, read_header
from tests.support.random_model import CONTEXT, HEADS, LAYERS, WIDTH


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of a few hundred bytes with every kind of value in its head."""
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(77)
    writer.add_uint8("t.u8", 255)
    writer.add_int8("t.i8", -1)
    writer.add_uint16("t.u16", 65535)
    writer.add_int16("t.i16", -2)
    writer.add_int32("t.i32", -3)
    writer.add_uint64("t.u64", 2**63)
    writer.add_int64("t.i64", -4)
    writer.add_float32("t.f32", 0.5)
    writer.add_float64("t.f64", 0.25)
    writer.add_bool("t.bool", True)
    writer.add_string("t.string", "Grüße 🙂")
    writer.add_array("t.array", ["a", "b"])
    writer.add_tensor("w", np.ones((4, 8), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_every_kind_of_value_is_read(small: Path) -> None:
    metadata = read_header(small).metadata
    assert {key.removeprefix("t."): metadata[key] for key in metadata if key.startswith("t.")} == {
        "u8": 255,
        "i8": -1,
        "u16": 65535,
        "i16": -2,
        "i32": -3,
        "u64": 2**63,
        "i64": -4,
        "f32": 0.5,
        "f64": 0.25,
        "bool": True,
        "string": "Grüße 🙂",
        "array": ["a", "b"],
    }
    assert read_header(small).context_length == 77


def test_a_model_says_what_its_cache_takes(random_model: Path) -> None:
    header = read_header(random_model)
    assert (header.architecture, header.context_length) == ("llama", CONTEXT)
    # Keys and values, 16 bit each, for every head of every layer.
    assert header.kv_bytes_per_token == 2 * 2 * LAYERS * HEADS * (WIDTH // HEADS)


def test_a_file_cut_off_anywhere_is_refused(small: Path, tmp_path: Path) -> None:
    whole = small.read_bytes()
    cut = tmp_path / "cut.gguf"
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        with pytest.raises(BadModelFile, match=r"cut\.gguf"):
            read_header(cut)


@pytest.mark.parametrize("missing", [1, 31, 1000, 100_000])
def test_a_model_whose_end_is_missing_is_refused(
    random_model: Path, tmp_path: Path, missing: int
) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(random_model.read_bytes()[:-missing])
    with pytest.raises(BadModelFile, match="is incomplete"):
        read_header(cut)


@pytest.mark.parametrize("version", [0, 1, 4, 2**31])
def test_an_unknown_version_is_named(small: Path, tmp_path: Path, version: int) -> None:
    other = tmp_path / "other.gguf"
    data = small.read_bytes()
    other.write_bytes(data[:4] + struct.pack("<I", version) + data[8:])
    with pytest.raises(BadModelFile, match=f"version {version}"):
        read_header(other)


@pytest.mark.parametrize(
    "data", [b"", b"GGU", b"PK\x03\x04" + bytes(100), b"<html>not found</html>"]
)
def test_what_is_no_gguf_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    with pytest.raises(BadModelFile, match=r"model\.gguf"):
        read_header(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadModelFile):
        read_header(tmp_path / "none.gguf")
    with pytest.raises(BadModelFile):
        read_header(tmp_path)


@hypothesis_settings(
    max_examples=150, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damage_in_the_head_never_raises_anything_else(
    small: Path, tmp_path: Path, data: st.DataObject
) -> None:
    """Any bytes may be wrong; the answer is a header or BadModelFile, and soon."""
    damaged = bytearray(small.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(4, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.gguf"
    path.write_bytes(damaged)
    try:
        read_header(path)
    except BadModelFile:
        pass


@pytest.mark.parametrize("count", [2**32, 2**62])
def test_a_count_that_cannot_be_is_refused_at_once(small: Path, tmp_path: Path, count: int) -> None:
    path = tmp_path / "many.gguf"
    data = small.read_bytes()
    path.write_bytes(data[:8] + struct.pack("<QQ", count, count) + data[24:])
    with pytest.raises(BadModelFile):
        read_header(path)


def test_a_tensor_of_too_many_dimensions_is_refused_without_taking_memory(tmp_path: Path) -> None:
    path = tmp_path / "wide.gguf"
    name = struct.pack("<Q", 1) + b"w"
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 0)
    path.write_bytes(head + name + struct.pack("<I", 2**32 - 1) + bytes(64))
    with pytest.raises(BadModelFile):
        read_header(path)
