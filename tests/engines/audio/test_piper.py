"""Voices of Piper: the real library, with weights that the test makes."""

from __future__ import annotations

import io
import wave
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("piper", reason="the extra `audio` is not installed")

from extensions.openai.engines.audio.piper import PiperEngine
from extensions.openai.engines.model_spec import ModelLoadError
from extensions.openai.engines.sounds import SpeechTask
from tests.support.random_voice import write_voice


def spoken(engine: Any, text: str, **task: Any) -> list[bytes]:
    parts = engine.speak(SpeechTask(text, **{"voice": "alloy", "format": "wav", **task}))
    return [part for part in parts if part is not None]


def test_voices_of_piper(tmp_path: Path) -> None:
    for name in ("ann", "bob"):
        write_voice(tmp_path, name)
    engine = PiperEngine(tmp_path, name="voices")
    assert engine.voices == ("ann", "bob")
    one, two = spoken(engine, "Hello."), spoken(engine, "Hello. And some more of it.", voice="bob")
    with wave.open(io.BytesIO(b"".join(two))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
    assert len(b"".join(two)) > len(b"".join(one)) > 44
    engine.close()
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ModelLoadError, match=r"there is no VOICE\.onnx"):
        PiperEngine(tmp_path / "nothing", name="x")
    (tmp_path / "cut.onnx").write_bytes(b"no model")
    (tmp_path / "cut.onnx.json").write_text("{}")
    with pytest.raises(ModelLoadError, match="cut cannot be loaded"):
        PiperEngine(tmp_path / "cut.onnx", name="x")
