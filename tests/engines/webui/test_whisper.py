"""The Whisper model that a webui's extension `whisper_stt` has loaded."""

from __future__ import annotations

import io
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from extensions.openai.engines.webui.whisper import EXTENSION, NAME, has_whisper
from extensions.openai.hosts.audio import load_webui_audio
from tests.support.api import Api
from tests.support.paced import PacedEngine
from tests.support.process import ROOT
from tests.support.reference import assert_envelope
from tests.support.sound_files import file_of
from tests.support.tone_recogniser import OriginalModel
from tests.webui_host import MiniHost, install

RATE = 16_000
TIMES = np.arange(RATE) / RATE
SOUND = file_of(0.5 * np.sin(2 * np.pi * 440 * TIMES), "FLAC", rate=RATE)


@pytest.fixture
def host() -> Iterator[MiniHost]:
    with install("2026", ROOT / "models" / "openedai-tiny") as host:
        yield host


@pytest.fixture
def extension(host: MiniHost) -> Any:
    extension = SimpleNamespace(WHISPERMODEL=OriginalModel())
    host.extend(**{EXTENSION: extension})
    return extension


@pytest.fixture
def api(extension: Any) -> Api:
    api = Api(PacedEngine())
    load_webui_audio(api.app.extensions["openai"])
    return api


def transcribe(api: Api, status: int = 200, path: str = "transcriptions", **form: Any) -> Any:
    sent = {"model": "whisper-1", "file": (io.BytesIO(SOUND), "a.flac"), **form}
    answer = api.client.post(f"/v1/audio/{path}", data=sent, buffered=True)
    assert answer.status_code == status, answer.get_data(as_text=True)
    return answer.json


def test_the_extensions_model_hears(api: Api) -> None:
    assert transcribe(api)["text"] == "440 440"
    more: Any = {
        "timestamp_granularities[]": ["word", "segment"],
        "response_format": "verbose_json",
    }
    answer = transcribe(api, language="de", prompt="Tones:", **more)
    assert (answer["language"], answer["duration"]) == ("de", 1.0)
    (segment,) = answer["segments"]
    assert (segment["text"], segment["start"], segment["end"]) == (" Tones: 440 440", 0.0, 1.0)
    assert [each["start"] for each in answer["words"]] == [0.0, 0.5]
    assert transcribe(api, path="translations")["text"] == "440 Hz 440 Hz"
    listed = {each["id"]: each for each in api.client.get("/v1/models").json["data"]}
    assert listed[NAME]["capabilities"] == ["transcription"]


def test_what_it_cannot_do(api: Api, extension: Any) -> None:
    for form, param in (({"language": "xx"}, "language"), ({"include[]": "logprobs"}, "include")):
        error = assert_envelope(transcribe(api, 400, **form), status=400)
        assert error["param"] == param
    extension.WHISPERMODEL = OriginalModel(multilingual=False)
    assert transcribe(api, 400, "translations")["error"]["param"] == "model"


def test_a_model_that_fails_is_one_clear_error(api: Api, extension: Any) -> None:
    def fail(*args: Any, **options: Any) -> Any:
        raise RuntimeError("secret")

    extension.WHISPERMODEL.transcribe = fail
    error = transcribe(api, 500)["error"]
    assert "failed at this sound" in error["message"] and "secret" not in error["message"]


def test_a_model_that_is_unloaded_and_comes_again(api: Api, extension: Any) -> None:
    model, extension.WHISPERMODEL = extension.WHISPERMODEL, None
    assert transcribe(api, 501)["error"]["code"] == "not_configured"
    extension.WHISPERMODEL = model
    assert transcribe(api)["text"] == "440 440"


def test_it_is_served_where_the_extension_is(host: MiniHost, extension: Any) -> None:
    assert has_whisper()
    host.extend()
    assert not has_whisper()
    host.shared.args.extensions = ["gallery", EXTENSION]  # it is loaded after us
    assert has_whisper()
