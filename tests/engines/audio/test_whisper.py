"""Transcriptions from a file to its answer, with a recogniser that hears tones in place of Whisper."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extensions.openai.engines.audio.encoding import encoded
from extensions.openai.engines.audio.whisper import NEEDED, WhisperEngine
from extensions.openai.engines.model_spec import ModelLoadError
from extensions.openai.engines.sounds import SPEECH_TYPES, SpeechFormat
from tests.support import tone_recogniser
from tests.support.api import Api
from tests.support.paced import PacedEngine
from tests.support.reference import assert_envelope
from tests.support.sound_files import file_of

RATE = 16_000
TEXT = "440 440 880"


def sound(*pitches: int) -> Any:
    """Half a second of each; 0 is silence."""
    times = np.arange(RATE // 2) / RATE
    return np.concatenate([0.5 * np.sin(2 * np.pi * pitch * times) for pitch in pitches])


SOUND = sound(440, 440, 0, 880)


def folder_at(path: Path) -> Path:
    path.mkdir()
    for name in NEEDED:
        (path / name).touch()
    return path


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", tone_recogniser.module())


@pytest.fixture
def api(library: None, tmp_path: Path) -> Iterator[Api]:
    made = Api(PacedEngine())
    for name in ("tones", "tones.en"):
        engine = WhisperEngine(folder_at(tmp_path / name), name=name, max_minutes=1)
        made.app.extensions["openai"].models.add(name, engine)
    yield made


def transcribe(
    api: Api,
    data: bytes = file_of(SOUND, "WAV", rate=RATE),
    path: str = "transcriptions",
    status: int = 200,
    more: dict[str, Any] | None = None,
    **form: Any,
) -> Any:
    sent = {"model": "tones", "file": (io.BytesIO(data), "sound"), **form, **(more or {})}
    answer = api.client.post(f"/v1/audio/{path}", data=sent, buffered=True)
    assert answer.status_code == status, answer.get_data(as_text=True)
    return answer


@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        ("WAV", None),
        ("WAV", "FLOAT"),
        ("FLAC", None),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", None),
    ],
)
def test_each_format_says_the_same(api: Api, format: str, subtype: str | None) -> None:
    assert transcribe(api, file_of(SOUND, format, subtype, RATE)).json["text"] == TEXT


@pytest.mark.parametrize("format", [each for each in SPEECH_TYPES if each != "pcm"])
def test_what_is_spoken_is_heard(api: Api, format: SpeechFormat) -> None:
    samples = (SOUND * 32767).astype("<i2").tobytes()
    spoken = b"".join(encoded(iter([samples]), RATE, format))
    assert transcribe(api, spoken).json["text"] == TEXT


def test_an_answer_with_times(api: Api) -> None:
    more = {"timestamp_granularities[]": ["word", "segment"]}
    answer = transcribe(api, response_format="verbose_json", language="de", more=more).json
    assert (answer["text"], answer["language"], answer["duration"]) == (TEXT, "de", 2.0)
    assert [(each["start"], each["end"], each["text"]) for each in answer["segments"]] == [
        (0.0, 1.0, " 440 440"),
        (1.5, 2.0, " 880"),
    ]
    assert [(each["word"], each["start"], each["end"]) for each in answer["words"]] == [
        ("440", 0.0, 0.5),
        ("440", 0.5, 1.0),
        ("880", 1.5, 2.0),
    ]
    assert answer["segments"][0]["tokens"] == [440, 440]
    assert answer["usage"] == {"type": "duration", "seconds": 2.0}


def test_texts_and_subtitles(api: Api) -> None:
    def text(format: str) -> str:
        found: str = transcribe(api, response_format=format).get_data(as_text=True)
        return found

    assert text("text") == f"{TEXT}\n"
    assert text("srt") == (
        "1\n00:00:00,000 --> 00:00:01,000\n440 440\n\n2\n00:00:01,500 --> 00:00:02,000\n880\n\n"
    )
    assert text("vtt").startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n440 440\n")


def test_a_translation_and_a_prompt(api: Api) -> None:
    assert transcribe(api, path="translations").json["text"] == "440 Hz 440 Hz 880 Hz"
    assert transcribe(api, prompt="A tone:").json["text"] == f"A tone: {TEXT}"


def test_a_stream_says_the_same(api: Api) -> None:
    events = transcribe(api, stream="true").get_data(as_text=True)
    assert events.count('"type":"transcript.text.delta"') == 2, "one for each segment"
    assert f'"text":"{TEXT}"' in events


def test_what_a_model_cannot_do(api: Api) -> None:
    for form, path, param in (
        ({"language": "xx"}, "transcriptions", "language"),
        ({"include[]": "logprobs"}, "transcriptions", "include"),
        ({"model": "tones.en"}, "translations", "model"),
        ({"file": (io.BytesIO(b"#EXTM3U\n"), "a.mp3")}, "transcriptions", "file"),
    ):
        error = transcribe(api, path=path, status=400, more=form).json
        assert assert_envelope(error, status=400)["param"] == param


def test_a_sound_is_at_most_so_long(api: Api) -> None:
    long = file_of(np.zeros(8000 * 61, "int16"), "FLAC", rate=8000)
    error = transcribe(api, long, status=400).json["error"]
    assert "longer than 1 minutes" in error["message"]


def test_the_start_says_what_is_missing(
    library: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelLoadError, match=r"has no model\.bin, config\.json, tokenizer\.json"):
        WhisperEngine(tmp_path, name="x", max_minutes=1)
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(ModelLoadError, match=r"openedai\[audio\]"):
        WhisperEngine(folder_at(tmp_path / "there"), name="x", max_minutes=1)
