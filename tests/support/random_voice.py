"""A voice of Piper without weights: a model in ONNX that answers the numbers of its phonemes as samples."""

from __future__ import annotations

import json
from pathlib import Path

SAMPLE_RATE = 16_000
FLOAT, INT64 = 1, 7
"""ONNX's numbers of types."""


def write_voice(folder: Path, name: str = "voice") -> Path:
    """Write VOICE.onnx and VOICE.onnx.json; return the former."""
    path = folder / f"{name}.onnx"
    inputs = [_value("input", INT64), _value("input_lengths", INT64), _value("scales", FLOAT)]
    cast = _text(1, "input") + _text(2, "output") + _text(4, "Cast")
    cast += _part(5, _text(1, "to") + _number(3, FLOAT) + _number(20, 2))
    graph = _part(1, cast) + _text(2, "voice")
    graph += b"".join(_part(11, each) for each in inputs) + _part(12, _value("output", FLOAT))
    model = _number(1, 8) + _part(7, graph) + _part(8, _text(1, "") + _number(2, 13))
    path.write_bytes(model)
    phonemes = {chr(at): [at] for at in range(32, 127)} | {"_": [0], "^": [1], "$": [2]}
    config = {
        "audio": {"sample_rate": SAMPLE_RATE, "quality": "low"},
        "espeak": {"voice": "en-us"},
        "phoneme_type": "espeak",
        "inference": {"noise_scale": 0.667, "length_scale": 1.0, "noise_w": 0.8},
        "num_symbols": 256,
        "num_speakers": 1,
        "speaker_id_map": {},
        "phoneme_id_map": phonemes,
    }
    Path(f"{path}.json").write_text(json.dumps(config))
    return path


def _varint(value: int) -> bytes:
    """As protocol buffers write numbers."""
    data = b""
    while value > 127:
        data, value = data + bytes([value & 127 | 128]), value >> 7
    return data + bytes([value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _part(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _text(field: int, text: str) -> bytes:
    return _part(field, text.encode())


def _value(name: str, kind: int) -> bytes:
    return _text(1, name) + _part(2, _part(1, _number(1, kind)))
