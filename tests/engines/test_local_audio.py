"""Models of this machine that hear and speak: the real libraries, with weights that tests make."""

from __future__ import annotations

import io
import shutil
import tracemalloc
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("av", reason="the extra `audio` is not installed")
pytest.importorskip("faster_whisper", reason="the extra `audio` is not installed")
pytest.importorskip("piper", reason="the extra `audio` is not installed")

import faster_whisper
import soundfile

from extensions.openai.engines.audio import whisper
from extensions.openai.engines.audio.decoding import SAMPLE_RATE, samples_of
from extensions.openai.engines.audio.encoding import encoded
from extensions.openai.engines.audio.espeak import EspeakEngine
from extensions.openai.engines.audio.piper import PiperEngine
from extensions.openai.engines.audio.voices import sentences
from extensions.openai.engines.audio.whisper import WhisperEngine
from extensions.openai.engines.model_spec import ModelLoadError
from extensions.openai.engines.sounds import SPEECH_TYPES, SpeechFormat, SpeechTask
from extensions.openai.errors import InvalidRequest
from tests.support.api import Api
from tests.support.paced import PacedEngine
from tests.support.random_voice import write_voice
from tests.support.random_whisper import write_whisper
from tests.support.reference import assert_envelope

HERTZ = 440
needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng is not installed"
)


def tone(seconds: float, rate: int = 22_050) -> Any:
    return 0.5 * np.sin(2 * np.pi * HERTZ * np.arange(int(seconds * rate)) / rate)


def file_of(samples: Any, format: str, subtype: str | None = None, rate: int = 22_050) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format, subtype=subtype)
    return file.getvalue()


def pitch(samples: Any, rate: int = SAMPLE_RATE) -> float:
    spectrum = np.abs(np.fft.rfft(samples))
    return float(np.argmax(spectrum)) * rate / len(samples)


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
def test_a_sound_is_heard_as_it_is(format: str, subtype: str | None) -> None:
    rate = 48_000 if subtype == "OPUS" else 22_050
    both = np.stack([tone(1.5, rate), tone(1.5, rate)], axis=1)
    data = file_of(both, format, subtype, rate)
    samples = samples_of(io.BytesIO(data), 60, lambda: False)
    assert len(samples) == pytest.approx(1.5 * SAMPLE_RATE, rel=0.05)
    assert pitch(samples) == pytest.approx(HERTZ, rel=0.01)
    assert np.abs(samples).max() == pytest.approx(0.5, abs=0.05)


WAV = file_of(np.zeros(22_050), "WAV")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n", "Invalid file format"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "Invalid file format"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "Invalid file format"),
        (b"x", "Invalid file format"),
        (b"RIFF\0\0\0\0WAVE", "cannot be decoded"),
        (b"\0\0\0\x20ftypisom" + bytes(64), "cannot be decoded"),
        (b"OggS" + bytes(64), "cannot be decoded"),
        (b"fLaC" + b"\xff" * 64, "cannot be decoded"),
        (file_of(np.zeros(100), "WAV"), "shorter than"),
    ],
)
def test_what_is_no_sound_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        samples_of(io.BytesIO(data), 60, lambda: False)
    assert caught.value.param == "file"


def test_a_small_file_with_a_long_sound_is_refused_before_it_is_in_memory() -> None:
    data = file_of(np.zeros(8000 * 60 * 20, "int16"), "FLAC", rate=8000)
    assert len(data) < 200_000, "20 minutes of silence"
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequest, match="longer than 1 minutes"):
            samples_of(io.BytesIO(data), 60, lambda: False)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8 << 20, "a minute of samples, not 20"
    assert samples_of(io.BytesIO(data), 60, lambda: True) is None


@pytest.mark.parametrize("format", SPEECH_TYPES)
def test_each_format_is_what_it_says(format: SpeechFormat) -> None:
    samples = (tone(1.0) * 32767).astype("<i2").tobytes()
    parts = [samples[at : at + 5000] for at in range(0, len(samples), 5000)]
    parts.insert(2, b"")
    made = b"".join(encoded(iter(parts), 22_050, format))
    if format == "pcm":
        heard, rate = np.frombuffer(made, "<i2") / 32768, 24_000
    else:
        heard, rate = samples_of(io.BytesIO(made), 60, lambda: False), SAMPLE_RATE
    assert len(heard) / rate == pytest.approx(1.0, abs=0.12)
    assert pitch(heard, rate) == pytest.approx(HERTZ, rel=0.02)


def test_sentences() -> None:
    text = 'Hello there. "How are you?" she said!\nFine… 3.5 times.  '
    assert sentences(text) == ["Hello there.", '"How are you?', "she said!", "Fine…", "3.5 times."]
    assert sentences(" \n ") == []


def spoken(engine: Any, text: str, **task: Any) -> list[bytes]:
    parts = engine.speak(SpeechTask(text, **{"voice": "alloy", "format": "wav", **task}))
    return [part for part in parts if part is not None]


@needs_espeak
def test_espeak_speaks() -> None:
    engine = EspeakEngine()
    assert engine.voices[0] == "en-us" and "de" in engine.voices
    parts = spoken(engine, "Hello you. This is a test.")
    samples = samples_of(io.BytesIO(b"".join(parts)), 60, lambda: False)
    assert 1.0 < len(samples) / SAMPLE_RATE < 6.0 and np.abs(samples).max() > 0.1
    slow = samples_of(
        io.BytesIO(b"".join(spoken(engine, "Hello you. This is a test.", speed=0.5))),
        60,
        lambda: False,
    )
    assert len(slow) > 1.4 * len(samples)
    assert len(parts) > 3, "it comes while it is made"
    for task, param in (
        ({"voice": "nobody"}, "voice"),
        ({"voice": "--help"}, "voice"),
        ({"speed": 0.3}, "speed"),
        ({"instructions": "x"}, "instructions"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            engine.speak(SpeechTask("x", **{"voice": "en-us", **task}))  # type: ignore[arg-type]
        assert caught.value.param == param
    with pytest.raises(InvalidRequest, match="nothing to speak"):
        engine.speak(SpeechTask("\n", "en-us"))


@needs_espeak
def test_a_client_that_leaves_ends_the_speech() -> None:
    parts = EspeakEngine().speak(SpeechTask("One. " * 800, "en-us", "wav"))
    assert next(part for part in parts if part)
    parts.close()
    with pytest.raises(StopIteration):
        next(parts)


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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_whisper(tmp_path_factory.mktemp("whisper") / "tiny")


@pytest.fixture(scope="module")
def api(folder: Path) -> Iterator[Api]:
    engine = WhisperEngine(folder, name="tiny", device="cpu", threads=1, max_minutes=1)
    made = Api(PacedEngine())
    made.app.extensions["openai"].models.add("tiny", engine)
    yield made
    engine.close()


SOUND = file_of(np.random.default_rng(3).standard_normal(16_000 * 2) * 0.2, "WAV", rate=16_000)


def transcribe(
    api: Api,
    status: int = 200,
    path: str = "transcriptions",
    more: dict[str, Any] | None = None,
    **form: Any,
) -> Any:
    data = {"model": "tiny", "file": (io.BytesIO(SOUND), "a.wav"), **form, **(more or {})}
    answer = api.client.post(f"/v1/audio/{path}", data=data, buffered=True)
    assert answer.status_code == status, answer.get_data(as_text=True)
    return answer


def test_a_transcript_is_what_the_engine_says_when_it_is_called_directly(
    api: Api, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The others are of chance.
    monkeypatch.setattr(whisper, "TEMPERATURES", (0.0,))
    model = faster_whisper.WhisperModel(str(folder), device="cpu", cpu_threads=1)
    samples = samples_of(io.BytesIO(SOUND), 60, lambda: False)
    found, _ = model.transcribe(samples, temperature=(0.0,), word_timestamps=True)
    segments = list(found)
    answer = transcribe(
        api,
        response_format="verbose_json",
        more={"timestamp_granularities[]": ["word", "segment"]},
    ).json
    assert answer["language"] == "en" and answer["duration"] == 2.0
    assert [each["text"] for each in answer["segments"]] == [each.text for each in segments]
    assert [each["tokens"] for each in answer["segments"]] == [each.tokens for each in segments]
    assert [each["start"] for each in answer["segments"]] == [
        pytest.approx(each.start, abs=1e-3) for each in segments
    ]
    words = [word for each in segments for word in each.words or ()]
    assert [each["word"] for each in answer["words"]] == [word.word.strip() for word in words]
    text = "".join(each.text for each in segments).strip()
    assert answer["text"] == text and text
    assert answer["usage"] == {"type": "duration", "seconds": 2.0}
    plain, _ = model.transcribe(samples, temperature=(0.0,))
    said = "".join(each.text for each in plain).strip()
    assert transcribe(api, response_format="text").get_data(as_text=True) == f"{said}\n"
    subtitles = transcribe(api, response_format="srt").get_data(as_text=True)
    assert subtitles.startswith("1\n00:00:") and subtitles.count(" --> ") > 0


def test_what_this_model_cannot_do(api: Api) -> None:
    for form, param in (
        ({"language": "de"}, "language"),
        ({"include[]": "logprobs"}, "include"),
        ({"file": (io.BytesIO(b"#EXTM3U\n"), "a.mp3")}, "file"),
    ):
        error = assert_envelope(transcribe(api, 400, more=form).json, status=400)
        assert error["param"] == param
    error = assert_envelope(transcribe(api, 400, "translations").json, status=400)
    assert "does not translate" in error["message"]


def test_the_start_says_what_is_missing(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"has no model\.bin, config\.json, tokenizer\.json"):
        WhisperEngine(tmp_path, name="x", max_minutes=1)
    shutil.copytree(folder, tmp_path / "cut")
    (tmp_path / "cut" / "model.bin").write_bytes(b"cut")
    with pytest.raises(ModelLoadError):
        WhisperEngine(tmp_path / "cut", name="x", max_minutes=1)
