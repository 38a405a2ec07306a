"""A text that is spoken and written down is the same text: with real weights, which the operator has.

    make test-audio WHISPER=folder/of/a/model VOICE=voice.onnx

Without VOICE the voices of espeak-ng are taken.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.hosts.audio import load_audio
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.paced import PacedEngine

WHISPER, VOICE = os.environ.get("AUDIO_WHISPER", ""), os.environ.get("AUDIO_VOICE", "")
TEXT = "Good morning. The weather is nice today, and we are going to the market to buy some bread."

pytestmark = pytest.mark.skipif(not WHISPER, reason="AUDIO_WHISPER names no model")


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    voice = VOICE if VOICE and Path(VOICE).exists() and Path(VOICE).suffix else "espeak-ng"
    settings = Settings(transcription_model=WHISPER, speech_model=voice)
    app = create_app(settings, PacedEngine())
    load_audio(app.extensions["openai"])
    yield app.test_client()
    app.extensions["openai"].models.close()


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


@pytest.mark.parametrize("format", ["mp3", "opus", "aac", "flac", "wav"])
def test_what_was_spoken_is_written_down(client: Any, format: str) -> None:
    body = {"model": "x", "input": TEXT, "voice": "alloy", "response_format": format}
    sound = client.post("/v1/audio/speech", json=body, buffered=True)
    assert sound.status_code == 200, sound.get_data(as_text=True)
    form = {
        "model": "x",
        "file": (io.BytesIO(sound.data), f"a.{format}"),
        "response_format": "verbose_json",
        "timestamp_granularities[]": ["word", "segment"],
    }
    written = client.post("/v1/audio/transcriptions", data=form, buffered=True).json
    print(written["text"])
    assert words(written["text"]) == words(TEXT)
    assert written["language"] == "en" and len(written["words"]) == len(TEXT.split())
    starts = [each["start"] for each in written["words"]]
    assert starts == sorted(starts) and starts[-1] < written["duration"]
