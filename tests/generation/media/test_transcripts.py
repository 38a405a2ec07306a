"""Sounds in messages, for a model that hears nothing: written down first, where the operator wants that."""

from __future__ import annotations

import time
from typing import Any

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.protocol import GenerateRequest, Pieces
from extensions.openai.engines.sounds import Transcript, TranscriptionTask
from extensions.openai.errors import EngineFailed
from extensions.openai.generation.media import transcripts
from tests.support import media
from tests.support.api import Api
from tests.support.every_task import EveryTaskEngine
from tests.support.keys import headers_of
from tests.support.media import text, tone, user

SOUND = tone()


class Hearing(EveryTaskEngine):
    """Counts what it writes down."""

    count = 0

    def transcribe(self, task: TranscriptionTask) -> Transcript:
        self.count += 1
        assert task.sound.file.read(4) == b"RIFF"
        task.sound.file.seek(0)
        yield from super().transcribe(task)


def api_with(hearing: Hearing, **options: Any) -> Api:
    api = Api(EchoEngine(), **{"transcribe_sounds": True, **options})
    api.app.extensions["openai"].models.add("tasks", hearing)
    return api


def message(sound: bytes = SOUND) -> list[dict[str, Any]]:
    return user(text("He said:"), media.sound(sound))


def said(api: Api, sound: bytes = SOUND) -> str:
    text: str = api.chat(message(sound))["choices"][0]["message"]["content"]
    return text


def test_a_sound_is_given_to_the_model_as_text() -> None:
    answer = said(api_with(Hearing()))
    size = len(SOUND)
    assert answer.startswith("He said:") and answer.endswith(f"{size} bytes.")


def test_only_where_the_operator_wants_it_and_a_model_hears() -> None:
    refused = api_with(Hearing(), transcribe_sounds=False).refused(
        "chat/completions", messages=message()
    )
    assert refused["param"] == "messages[0].content[1]"
    deaf = Api(EchoEngine(), transcribe_sounds=True)
    assert deaf.refused("chat/completions", messages=message())["param"] == "messages[0].content[1]"


def test_a_conversation_that_comes_again_is_not_heard_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hearing = Hearing()
    api = api_with(hearing)
    assert said(api) == said(api) and hearing.count == 1
    monkeypatch.setattr(transcripts, "MAX_KEPT", 1)
    others = [tone(220), tone(880)]
    for sound in others:
        said(api, sound)
    said(api, others[1])
    assert hearing.count == 3
    said(api)
    assert hearing.count == 4


def test_what_is_kept_is_its_owners(tmp_path: Any) -> None:
    hearing = Hearing()
    api = api_with(hearing, data_folder=str(tmp_path), rpm=0)
    headers = headers_of(api.app.extensions["openai"].settings, "alice", "bob")
    for who in ("alice", "bob", "alice"):
        body = {"model": "echo", "messages": message()}
        answer = api.client.post("/v1/chat/completions", json=body, headers=headers[who])
        assert answer.status_code == 200, answer.get_data(as_text=True)
    assert hearing.count == 2


def ask(api: Api, messages: Any, status: int = 200) -> None:
    body = {"model": "echo", "messages": messages}
    answer = api.client.post("/v1/chat/completions", json=body)
    assert answer.status_code == status, answer.get_data(as_text=True)
    answer.close()  # which ends the request


def usage_of(api: Api, kind: str) -> list[dict[str, Any]]:
    query = {"start_time": int(time.time()) - 86400, "group_by": "model"}
    page = api.client.get(f"/v1/organization/usage/{kind}", query_string=query).json
    return [each for bucket in page["data"] for each in bucket["results"]]


def seconds_of(api: Api) -> list[tuple[str, int, int]]:
    """Model, requests and seconds of transcriptions."""
    found = usage_of(api, "audio_transcriptions")
    return [(each["model"], each["num_model_requests"], each["seconds"]) for each in found]


def test_seconds_that_were_heard_are_usage_of_the_model_that_heard(tmp_path: Any) -> None:
    """One sound twice: the second time it is known."""
    api = api_with(Hearing(), data_folder=str(tmp_path))
    others = user(text("They said:"), media.sound(SOUND), media.sound(tone(220)))
    for sent in (message(), others):
        ask(api, sent)
    assert seconds_of(api) == [("tasks", 2, 6)]
    assert [each["num_model_requests"] for each in usage_of(api, "completions")] == [2]


class FailsAfterHearing(EchoEngine):
    """Refuses all that it is asked."""

    def generate(self, request: GenerateRequest) -> Pieces:
        raise EngineFailed("It does not work.")


def test_what_was_heard_counts_though_the_chat_failed(tmp_path: Any) -> None:
    api = Api(FailsAfterHearing(), transcribe_sounds=True, data_folder=str(tmp_path))
    api.app.extensions["openai"].models.add("tasks", Hearing())
    ask(api, message(), 500)
    assert seconds_of(api) == [("tasks", 1, 3)]


def test_the_list_of_models_says_that_sounds_are_taken() -> None:
    def able(api: Api) -> list[str]:
        listed = api.client.get("/v1/models").json["data"]
        return [each["id"] for each in listed if "audio" in each["capabilities"]]

    assert "echo" in able(api_with(Hearing())) and "tasks" not in able(api_with(Hearing()))
    assert not able(api_with(Hearing(), transcribe_sounds=False))
    assert not able(Api(EchoEngine(), transcribe_sounds=True))


def test_a_broken_sound_is_refused() -> None:
    error = api_with(Hearing()).refused("chat/completions", messages=message(SOUND[:40]))
    assert error["param"] == "messages[0].content[1].input_audio.data"
