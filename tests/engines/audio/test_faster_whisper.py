"""Transcriptions by the real faster-whisper, with weights that the test makes."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("faster_whisper", reason="the extra `audio` is not installed")

import faster_whisper

from extensions.openai.engines.audio import whisper
from extensions.openai.engines.audio.decoding import samples_of
from extensions.openai.engines.audio.whisper import WhisperEngine
from extensions.openai.engines.model_spec import ModelLoadError
from tests.support.api import Api
from tests.support.paced import PacedEngine
from tests.support.random_whisper import write_whisper
from tests.support.reference import assert_envelope
from tests.support.sound_files import file_of


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
