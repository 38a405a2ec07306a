"""What models of another server do besides writing text: asked through this server's own endpoints."""

from __future__ import annotations

import io
import json
import struct
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any

import pytest

from extensions.openai.engines.moderators import CATEGORIES
from extensions.openai.engines.upstreams_file import engines_of
from extensions.openai.settings import Settings, SettingsError
from tests.support.api import Api
from tests.support.fake_upstream import DONE, FakeUpstream, Scripted, event, whole
from tests.support.paced import PacedEngine
from tests.support.reference import assert_envelope, sse_payloads
from tests.support.task_upstream import TaskApi, task_api

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 16


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaskApi]:
    with task_api(tmp_path_factory.mktemp("tasks")) as made:
        yield made


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaskApi]:
    with task_api(tmp_path_factory.mktemp("tasks"), "vllm") as made:
        yield made


def post(tasks: TaskApi, path: str, status: int = 200, **body: Any) -> Any:
    answer = tasks.client.post(f"/v1/{path}", json=body, buffered=True)
    assert answer.status_code == status, answer.get_data(as_text=True)
    return answer.json


def listed(*vectors: list[float], tokens: int | None = None) -> Scripted:
    data = [{"object": "embedding", "index": at, "embedding": v} for at, v in enumerate(vectors)]
    usage = {} if tokens is None else {"usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
    return whole({"object": "list", "data": data[::-1], "model": "x", **usage})


def test_the_list_of_models_shows_what_each_does(tasks: TaskApi) -> None:
    found = {
        each["id"]: each["capabilities"] for each in tasks.client.get("/v1/models").json["data"]
    }
    assert found["vectors"] == ["embeddings"] and found["ranks"] == ["rerank"]
    assert found["hears"] == ["transcription"] and found["speaks"] == ["speech"]
    assert found["paints"] == ["images"] and found["judges"] == ["moderation"]


def test_vectors_are_those_of_the_other_server_in_the_order_of_the_inputs(tasks: TaskApi) -> None:
    tasks.answers["/embeddings"] = listed([3.0, 4.0], [0.5, -1.0], tokens=7)
    answer = post(tasks, "embeddings", model="vectors", input=["a", "b"], dimensions=2)
    assert [each["embedding"] for each in answer["data"]] == [[3.0, 4.0], [0.5, -1.0]]
    assert (
        answer["usage"] == {"prompt_tokens": 7, "total_tokens": 7} and answer["model"] == "vectors"
    )
    assert tasks.last.body == {
        "model": "text-embedding-3-small",
        "encoding_format": "base64",
        "dimensions": 2,
        "input": ["a", "b"],
    }


def test_vectors_in_base64_both_ways(tasks: TaskApi) -> None:
    packed = b64encode(struct.pack("<2f", 0.25, -8.0)).decode()
    data = [{"index": 0, "embedding": packed}]
    tasks.answers["/embeddings"] = whole({"data": data})
    answer = post(tasks, "embeddings", model="vectors", input=[5, 6, 7], encoding_format="base64")
    assert answer["data"][0]["embedding"] == packed
    assert tasks.last.body["input"] == [[5, 6, 7]]
    assert answer["usage"]["prompt_tokens"] == 3, "counted here, where the server does not"


def test_many_inputs_are_asked_for_in_parts(tasks: TaskApi) -> None:
    before = len(tasks.fake.posts)
    script, tasks.fake.script = (
        tasks.fake.script,
        lambda asked: listed(
            *([float(text)] for text in asked.body["input"]), tokens=len(asked.body["input"])
        ),
    )
    try:
        answer = post(tasks, "embeddings", model="vectors", input=[str(at) for at in range(600)])
    finally:
        tasks.fake.script = script
    assert [each["embedding"] for each in answer["data"]] == [[float(at)] for at in range(600)]
    sizes = [len(asked.body["input"]) for asked in tasks.fake.posts[before:]]
    assert sizes == [256, 256, 88] and answer["usage"]["prompt_tokens"] == 600


@pytest.mark.parametrize(
    "answer",
    [
        {"data": []},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}]},
        {"data": [{"index": 0, "embedding": []}, {"index": 1, "embedding": []}]},
        {"data": [{"index": 0, "embedding": "!"}, {"index": 1, "embedding": "!"}]},
        {"data": {"0": 1}},
        [],
        "x",
    ],
)
def test_vectors_that_are_none_are_a_502(tasks: TaskApi, answer: Any) -> None:
    tasks.answers["/embeddings"] = whole(answer)
    error = post(tasks, "embeddings", 502, model="vectors", input=["a", "b"])
    assert assert_envelope(error, status=502)["code"] == "upstream_failed"


def test_truncation_goes_to_servers_that_take_it(tasks: TaskApi, vllm: TaskApi) -> None:
    error = post(tasks, "embeddings", 400, model="vectors", input="a", truncate=True)["error"]
    assert (error["param"], error["code"]) == ("truncate_prompt_tokens", "unsupported_parameter")
    vllm.answers["/embeddings"] = listed([1.0])
    post(vllm, "embeddings", model="vectors", input="a", truncate_prompt_tokens=9)
    assert vllm.last.body["truncate_prompt_tokens"] == 9


def test_a_refusal_is_told_in_its_words(tasks: TaskApi) -> None:
    refusal = {"error": {"message": "too long", "param": "input", "code": "too_long"}}
    tasks.answers["/embeddings"] = whole(refusal, 400)
    error = post(tasks, "embeddings", 400, model="vectors", input="a")["error"]
    assert (error["message"], error["param"], error["code"]) == ("too long", "input", "too_long")
    tasks.answers["/embeddings"] = whole({"error": {"message": "key sk-1"}}, 401)
    text = json.dumps(post(tasks, "embeddings", 502, model="vectors", input="a"))
    assert "sk-1" not in text


def test_documents_are_ordered_by_the_other_servers_scores(tasks: TaskApi) -> None:
    results = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.2}]
    tasks.answers["/rerank"] = whole({"results": results, "usage": {"total_tokens": 12}})
    body: dict[str, Any] = {"model": "ranks", "query": "q", "documents": ["a", "b"]}
    answer = post(tasks, "rerank", **body)
    assert [(each["index"], each["relevance_score"]) for each in answer["results"]] == [
        (1, 0.9),
        (0, 0.2),
    ]
    assert answer["usage"] == {"prompt_tokens": 12, "total_tokens": 12}
    assert tasks.last.body == {"model": "ranker", "query": "q", "documents": ["a", "b"]}
    error = post(tasks, "rerank", 400, **body, raw_scores=True)["error"]
    assert error["param"] == "raw_scores"
    tasks.answers["/rerank"] = whole({"results": results[:1]})
    assert post(tasks, "rerank", 502, **body)["error"]["code"] == "upstream_failed"


def test_logits_of_another_openedai(tmp_path_factory: pytest.TempPathFactory) -> None:
    with task_api(tmp_path_factory.mktemp("tasks"), "openedai") as tasks:
        results = [{"index": 0, "relevance_score": 0.0}]
        tasks.answers["/rerank"] = whole({"results": results})
        body: dict[str, Any] = {"model": "ranks", "query": "q", "documents": ["a"]}
        assert post(tasks, "rerank", **body)["results"][0]["relevance_score"] == 0.5
        assert tasks.last.body["raw_scores"] is True
        assert post(tasks, "rerank", **body, raw_scores=True)["results"][0]["relevance_score"] == 0


SEGMENTS = [
    {"id": 0, "seek": 0, "start": 0.0, "end": 1.5, "text": " Hello you.", "tokens": [1, 2],
     "temperature": 0.0, "avg_logprob": -0.2, "compression_ratio": 1.1, "no_speech_prob": 0.01},
    {"id": 1, "seek": 0, "start": 3661.25, "end": 3662.0, "text": " Bye --> now.", "tokens": [3],
     "temperature": 0.0, "avg_logprob": -0.3, "compression_ratio": 1.0, "no_speech_prob": 0.02},
]  # fmt: skip
WORDS = [{"word": "Hello", "start": 0.0, "end": 0.5}, {"word": "you.", "start": 0.5, "end": 1.5}]
VERBOSE = {
    "task": "transcribe",
    "language": "english",
    "duration": 3662.0,
    "text": "Hello you. Bye --> now.",
    "words": WORDS,
    "segments": SEGMENTS,
}


def transcribe(
    tasks: TaskApi,
    path: str = "transcriptions",
    status: int = 200,
    sound: bytes = b"RIFF",
    more: dict[str, Any] | None = None,
    **form: Any,
) -> Any:
    data = {"model": "hears", **form, **(more or {})}
    if "file" not in data:
        data["file"] = (io.BytesIO(sound), "a b.WAV")
    answer = tasks.client.post(f"/v1/audio/{path}", data=data, buffered=True)
    assert answer.status_code == status, answer.get_data(as_text=True)
    return answer


def transcribe_whole(tasks: TaskApi, size: int) -> Any:
    """With a body of bytes, as Flask's client writes large forms to files that it does not close."""
    field = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nhears\r\n'
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    return tasks.client.post(
        "/v1/audio/transcriptions",
        data=field + head + bytes(size) + b"\r\n--x--\r\n",
        content_type="multipart/form-data; boundary=x",
        buffered=True,
    )


def sent(tasks: TaskApi, name: str) -> list[bytes]:
    return [part.data for part in tasks.last.body.get(name, ())]


def test_a_transcript(tasks: TaskApi) -> None:
    usage = {"type": "duration", "seconds": 3.4}
    tasks.answers["/audio/transcriptions"] = whole({"text": "Hello you.", "usage": usage})
    answer = transcribe(tasks, language="en", prompt="Names", temperature="0.5", sound=b"\0sound")
    assert answer.json == {"text": "Hello you.", "usage": usage}
    assert sent(tasks, "model") == [b"whisper-1"] and sent(tasks, "language") == [b"en"]
    assert sent(tasks, "prompt") == [b"Names"] and sent(tasks, "temperature") == [b"0.5"]
    (file,) = tasks.last.body["file"]
    assert (file.data, file.filename) == (b"\0sound", "sound.wav"), "the client's name is not sent"
    assert int(tasks.last.headers["content-length"]) > 0


def test_tokens_that_another_server_counts(tasks: TaskApi) -> None:
    usage = {
        "type": "tokens",
        "input_tokens": 14,
        "input_token_details": {"text_tokens": 10, "audio_tokens": 4},
        "output_tokens": 101,
        "total_tokens": 115,
    }
    tasks.answers["/audio/transcriptions"] = whole({"text": "x", "usage": usage})
    assert transcribe(tasks).json["usage"] == usage


def test_times_of_segments_and_words(tasks: TaskApi) -> None:
    tasks.answers["/audio/transcriptions"] = whole(VERBOSE)
    answer = transcribe(
        tasks,
        response_format="verbose_json",
        more={"timestamp_granularities[]": ["word", "segment"]},
    ).json
    assert answer == {**VERBOSE, "usage": {"type": "duration", "seconds": 3662.0}}
    assert sent(tasks, "response_format") == [b"verbose_json"]
    assert sent(tasks, "timestamp_granularities[]") == [b"word", b"segment"]
    plain = transcribe(tasks, response_format="verbose_json").json
    assert "words" not in plain and plain["segments"] == SEGMENTS
    only = transcribe(
        tasks, response_format="verbose_json", more={"timestamp_granularities[]": "word"}
    ).json
    assert "segments" not in only and only["words"] == WORDS


@pytest.mark.parametrize(
    ("format", "kind", "text"),
    [
        ("text", "text/plain", "Hello you. Bye --> now.\n"),
        (
            "srt",
            "text/plain",
            "1\n00:00:00,000 --> 00:00:01,500\nHello you.\n\n"
            "2\n01:01:01,250 --> 01:01:02,000\nBye -> now.\n\n",
        ),
        (
            "vtt",
            "text/vtt",
            "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello you.\n\n"
            "01:01:01.250 --> 01:01:02.000\nBye -> now.\n\n",
        ),
    ],
)
def test_a_transcript_as_text(tasks: TaskApi, format: str, kind: str, text: str) -> None:
    for path in ("transcriptions", "translations"):
        tasks.answers[f"/audio/{path}"] = whole(VERBOSE)
        answer = transcribe(tasks, path, response_format=format)
        assert answer.get_data(as_text=True) == text and answer.mimetype == kind


def test_a_translation(tasks: TaskApi) -> None:
    tasks.answers["/audio/translations"] = whole(VERBOSE)
    answer = transcribe(tasks, "translations", response_format="verbose_json").json
    assert answer["task"] == "translate" and answer["segments"] == SEGMENTS


def test_a_stream_of_a_transcript(tasks: TaskApi) -> None:
    usage = {"type": "tokens", "input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    parts = [
        event({"type": "transcript.text.delta", "delta": "Hello"}),
        event({"type": "transcript.text.delta", "delta": " you."}),
        event({"type": "transcript.text.done", "text": "Hello you.", "usage": usage}),
        DONE,
    ]
    tasks.answers["/audio/transcriptions"] = Scripted(parts)
    answer = transcribe(tasks, stream="true")
    assert answer.mimetype == "text/event-stream" and sent(tasks, "stream") == [b"true"]
    assert events(answer.data) == [
        {"type": "transcript.text.delta", "delta": "Hello"},
        {"type": "transcript.text.delta", "delta": " you."},
        {"type": "transcript.text.done", "text": "Hello you.", "usage": usage},
    ]
    # One that knows no streams, as whisper-1: the same events of the whole.
    tasks.answers["/audio/transcriptions"] = whole({"text": "Hello."})
    assert events(transcribe(tasks, stream="true").data) == [
        {"type": "transcript.text.delta", "delta": "Hello."},
        {"type": "transcript.text.done", "text": "Hello."},
    ]
    tasks.answers["/audio/transcriptions"] = Scripted(parts[:1])
    *_, last = events(transcribe(tasks, stream="true").data)
    assert last["error"]["code"] == "upstream_failed"


def test_log_probabilities_of_a_transcript(tasks: TaskApi) -> None:
    logprobs = [{"token": "Hi", "logprob": -0.5, "bytes": [72, 105]}]
    tasks.answers["/audio/transcriptions"] = whole({"text": "Hi", "logprobs": logprobs})
    assert transcribe(tasks, more={"include[]": "logprobs"}).json["logprobs"] == logprobs
    assert sent(tasks, "include[]") == [b"logprobs"]


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"response_format": "xml"}, "response_format"),
        ({"response_format": "diarized_json"}, "response_format"),
        ({"temperature": "2"}, "temperature"),
        ({"language": "x" * 65}, "language"),
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities"),
        ({"include[]": "logprobs", "response_format": "text"}, "include"),
        ({"stream": "true", "response_format": "srt"}, "stream"),
        ({"keywords[]": ["a"]}, "keywords"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    tasks: TaskApi, form: dict[str, Any], param: str
) -> None:
    error = assert_envelope(transcribe(tasks, status=400, more=form).json, status=400)
    assert error["param"] == param


def test_the_size_of_a_sound(tasks: TaskApi) -> None:
    most = 25 << 20
    tasks.answers["/audio/transcriptions"] = whole({"text": "long"})
    assert transcribe_whole(tasks, most).json == {"text": "long"}
    assert len(tasks.last.body["file"][0].data) == most
    before = len(tasks.fake.posts)
    answer = transcribe_whole(tasks, most + 1)
    error = assert_envelope(answer.json, status=413)
    assert error["message"] == (
        "Maximum content size limit (26214400) exceeded (26214401 bytes read)."
    )
    assert error["param"] == "file" and len(tasks.fake.posts) == before
    assert transcribe(tasks, status=400, sound=b"").json["error"]["code"] == "empty_file"


def test_speech_as_it_comes(tasks: TaskApi) -> None:
    tasks.answers["/audio/speech"] = Scripted([b"ID3", b"sound"], kind="audio/mpeg")
    body = {"model": "speaks", "input": "Hello", "voice": "alloy"}
    answer = tasks.client.post("/v1/audio/speech", json=body, buffered=True)
    assert (answer.status_code, answer.data, answer.mimetype) == (200, b"ID3sound", "audio/mpeg")
    assert tasks.last.body == {
        "model": "tts-1",
        "input": "Hello",
        "voice": "alloy",
        "response_format": "mp3",
    }
    more = {"speed": 1.5, "instructions": "slowly", "response_format": "wav", "voice": {"id": "v"}}
    answer = tasks.client.post("/v1/audio/speech", json={**body, **more}, buffered=True)
    assert answer.mimetype == "audio/wav" and tasks.last.body["speed"] == 1.5
    assert tasks.last.body["voice"] == "v" and tasks.last.body["instructions"] == "slowly"


def test_speech_in_events(tasks: TaskApi) -> None:
    tasks.answers["/audio/speech"] = Scripted([b"ID3", b"sound"], kind="audio/mpeg")
    body = {"model": "speaks", "input": "Hello", "voice": "alloy", "stream_format": "sse"}
    *deltas, done = events(tasks.client.post("/v1/audio/speech", json=body, buffered=True).data)
    assert b"".join(b64decode(each["audio"]) for each in deltas) == b"ID3sound"
    assert {each["type"] for each in deltas} == {"speech.audio.delta"}
    assert done["type"] == "speech.audio.done" and done["usage"]["total_tokens"] > 0


def test_speech_that_fails_before_it_begins_keeps_its_status(tasks: TaskApi) -> None:
    body = {"model": "speaks", "input": "Hello", "voice": "alloy"}
    for scripted, status in (
        (whole({"error": {"message": "no such voice", "param": "voice"}}, 400), 400),
        (whole({"error": "x"}, 429, Retry_After="3"), 429),
        (whole({"text": "no sound"}), 502),
        (Scripted([], kind="audio/mpeg"), 502),
    ):
        tasks.answers["/audio/speech"] = scripted
        assert post(tasks, "audio/speech", status, **body)["error"]["message"]


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": "x" * 4097}, "input"),
        ({"speed": 0.2}, "speed"),
        ({"speed": 4.1}, "speed"),
        ({"response_format": "midi"}, "response_format"),
        ({"voice": None}, "voice"),
    ],
)
def test_speech_that_cannot_be(tasks: TaskApi, more: dict[str, Any], param: str) -> None:
    body = {"model": "speaks", "input": "Hello", "voice": "alloy", **more}
    assert str(post(tasks, "audio/speech", 400, **body)["error"]["param"]).startswith(param)


def test_pictures_of_a_text(tasks: TaskApi) -> None:
    usage = {
        "input_tokens": 5,
        "output_tokens": 6,
        "total_tokens": 11,
        "input_tokens_details": {"text_tokens": 5, "image_tokens": 0},
    }
    data = [{"b64_json": "aGk="}, {"url": "https://a.example/1.png", "revised_prompt": "A cat."}]
    made = {"created": 7, "data": data, "size": "1024x1024", "usage": usage}
    tasks.answers["/images/generations"] = whole({**made, "other": 1})
    assert post(tasks, "images/generations", prompt="A cat", n=2, size="1024x1024") == made
    assert tasks.last.body == {
        "model": "gpt-image-1",
        "prompt": "A cat",
        "n": 2,
        "size": "1024x1024",
    }


def test_variations_of_a_picture(tasks: TaskApi) -> None:
    tasks.answers["/images/variations"] = whole({"created": 7, "data": [{"b64_json": "aGk="}]})
    form = {"image": (io.BytesIO(PNG), "a.png"), "n": "1", "size": "256x256"}
    answer = tasks.client.post("/v1/images/variations", data=form, buffered=True)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert answer.json["data"] == [{"b64_json": "aGk="}]
    sent = tasks.last.body
    assert set(sent) == {"model", "n", "size", "image"}
    assert [part.filename for part in sent["image"]] == ["image.png"]


def test_pictures_that_are_changed(tasks: TaskApi) -> None:
    tasks.answers["/images/edits"] = whole({"created": 7, "data": [{"b64_json": "aGk="}]})
    form = {
        "model": "paints",
        "prompt": "Red",
        "image[]": [(io.BytesIO(PNG), "a.png"), (io.BytesIO(b"\xff\xd8\xff" + PNG), "b")],
        "mask": (io.BytesIO(PNG), "m.png"),
        "output_compression": "50",
    }
    answer = tasks.client.post("/v1/images/edits", data=form, buffered=True)
    assert answer.json == {"created": 7, "data": [{"b64_json": "aGk="}]}, answer.json
    sent_files = [(part.filename, part.kind) for part in tasks.last.body["image[]"]]
    assert sent_files == [("image.png", "image/png"), ("image.jpeg", "image/jpeg")]
    assert tasks.last.body["mask"][0].data == PNG and sent(tasks, "output_compression") == [b"50"]
    bad = {"prompt": "Red", "image": (io.BytesIO(b"GIF89a"), "a.png")}
    error = tasks.client.post("/v1/images/edits", data=bad, buffered=True).json["error"]
    assert (error["param"], error["code"]) == ("image[0]", "unsupported_image_media_type")


@pytest.mark.parametrize(
    "answer",
    [
        {"data": []},
        {"data": [{"b64_json": "aGk="}] * 2},
        {"data": [{"b64_json": "no base64!"}]},
        {"data": [{"url": "file:///etc/passwd"}]},
        {"data": [{}]},
        {},
    ],
)
def test_pictures_that_are_none_are_a_502(tasks: TaskApi, answer: Any) -> None:
    tasks.answers["/images/generations"] = whole(answer)
    assert post(tasks, "images/generations", 502, prompt="x")["error"]["code"] == "upstream_failed"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"n": 0}, "n"),
        ({"n": 11}, "n"),
        ({"size": "99999x1"}, "size"),
        ({"size": "big"}, "size"),
        ({"partial_images": 4}, "partial_images"),
    ],
)
def test_pictures_that_cannot_be(tasks: TaskApi, body: dict[str, Any], param: str) -> None:
    error = post(tasks, "images/generations", 400, **{"prompt": "x", **body})["error"]
    assert error["param"] == param


def events(data: bytes) -> list[Any]:
    """The events of a stream; one that is complete ends with a mark."""
    return [json.loads(each) for each in sse_payloads(data) if each != "[DONE]"]


def judged(*flagged: bool) -> dict[str, Any]:
    return {
        "id": "modr-1",
        "model": "x",
        "results": [
            {
                "flagged": each,
                "categories": dict.fromkeys(CATEGORIES, each),
                "category_scores": dict.fromkeys(CATEGORIES, 0.75 if each else 0.0),
                "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
            }
            for each in flagged
        ],
    }


def test_moderation_by_the_other_server(tasks: TaskApi) -> None:
    tasks.answers["/moderations"] = whole(judged(True, False))
    answer = post(tasks, "moderations", input=["bad", "good"])
    assert answer["results"] == judged(True, False)["results"] and answer["model"] == "judges"
    assert tasks.last.body == {"model": "omni-moderation-latest", "input": ["bad", "good"]}
    parts: Any = [
        {"type": "text", "text": "x"},
        {"type": "image_url", "image_url": {"url": "https://a.example/1.png"}},
    ]
    tasks.answers["/moderations"] = whole(judged(False))
    assert len(post(tasks, "moderations", input=parts)["results"]) == 1
    assert tasks.last.body["input"] == parts
    assert post(tasks, "moderations", 502, input=["a", "b"])["error"]["code"] == "upstream_failed"
    tasks.answers["/moderations"] = whole({"results": [{"flagged": "no"}]})
    assert post(tasks, "moderations", 502, input="a")["error"]["code"] == "upstream_failed"


@pytest.mark.parametrize(
    ("given", "param"),
    [
        (7, "input"),
        ([], "input"),
        (["a"] * 257, "input"),
        ([{"type": "sound"}], "input[0].type"),
        (None, "input"),
    ],
)
def test_moderation_that_cannot_be(tasks: TaskApi, given: Any, param: str) -> None:
    assert post(tasks, "moderations", 400, input=given)["error"]["param"] == param


@pytest.mark.parametrize(
    ("kind", "counted", "ask"),
    [
        ("audio_transcriptions", {"seconds": 4}, transcribe),
        (
            "audio_speeches",
            {"characters": 5},
            lambda tasks: post_speech(tasks),
        ),
        ("images", {"images": 1}, lambda tasks: post(tasks, "images/generations", prompt="x")),
        ("moderations", {"input_tokens": 2}, lambda tasks: post(tasks, "moderations", input="12345")),
        ("embeddings", {"input_tokens": 9}, lambda tasks: post(
            tasks, "embeddings", model="vectors", input="x")),
    ],
)  # fmt: skip
def test_usage_of_each_kind(
    tmp_path_factory: pytest.TempPathFactory, kind: str, counted: dict[str, int], ask: Any
) -> None:
    folder = tmp_path_factory.mktemp("tasks")
    with task_api(folder, data_folder=str(folder)) as tasks:
        tasks.answers |= {
            "/audio/transcriptions": whole(
                {"text": "x", "usage": {"type": "duration", "seconds": 3.2}}
            ),
            "/audio/speech": Scripted([b"sound"], kind="audio/mpeg"),
            "/images/generations": whole({"data": [{"b64_json": "aGk="}]}),
            "/moderations": whole(judged(False)),
            "/embeddings": listed([1.0], tokens=9),
        }
        ask(tasks)
        total = tasks.client.get("/v1/usage").json
        assert [each["num_model_requests"] for each in total["data"]] == [1]
        assert total["data"][0]["input_tokens"] == counted.get("input_tokens", 0)
        start = total["end_time"] - 3600
        page = tasks.client.get(f"/v1/organization/usage/{kind}?start_time={start}").json
        (result,) = [each for bucket in page["data"] for each in bucket["results"]]
        assert result["object"] == f"organization.usage.{kind}.result"
        assert {name: result[name] for name in counted} == counted


def post_speech(tasks: TaskApi) -> None:
    body = {"model": "speaks", "input": "Hello", "voice": "alloy"}
    assert tasks.client.post("/v1/audio/speech", json=body, buffered=True).data == b"sound"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("images/generations", "docs/images.md"),
        ("moderations", "--moderation-model"),
        ("audio/speech", "--speech-model"),
        ("audio/transcriptions", "--transcription-model"),
    ],
)
def test_without_a_model_it_says_how_to_get_one(path: str, words: str) -> None:
    client = Api(PacedEngine()).client
    if path == "audio/transcriptions":
        answer = client.post(
            f"/v1/{path}",
            data={"model": "x", "file": (io.BytesIO(b"RIFF"), "a.wav")},
            buffered=True,
        )
    else:
        body = {"model": "x", "prompt": "x", "input": "x", "voice": "x"}
        answer = client.post(f"/v1/{path}", json=body)
    error = assert_envelope(answer.json, status=501)
    assert error["code"] == "not_configured" and words in error["message"]


def test_a_model_that_writes_needs_a_name_of_its_own(tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("tasks") / "both.yaml"
    with FakeUpstream(Scripted()) as fake:
        models = {"both": {"capabilities": ["chat", "embeddings"]}}
        path.write_text(
            json.dumps({"upstreams": {"gpu": {"address": fake.address, "models": models}}})
        )
        with pytest.raises(SettingsError, match=r"models\.both\.capabilities.*embeddings"):
            engines_of(Settings(upstreams=str(path)))


def test_a_task_on_several_servers_goes_to_one_that_works(tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("tasks") / "two.yaml"
    with FakeUpstream(whole({"error": "x"}, 500)) as bad, FakeUpstream(listed([1.0])) as good:
        rows = {
            name: {"address": fake.address, "models": {"vectors": "text-embedding-1"}}
            for name, fake in (("bad", bad), ("good", good))
        }
        path.write_text(json.dumps({"upstreams": rows}))
        (named,) = engines_of(Settings(upstreams=str(path)))
        api = Api(PacedEngine())
        api.app.extensions["openai"].models.add(named.name, named.engine)
        for _ in range(2):
            answer = api.client.post(
                "/v1/embeddings", json={"model": "vectors", "input": "a"}, buffered=True
            )
            assert answer.json["data"][0]["embedding"] == [1.0], answer.json
        assert bad.posts and len(good.posts) == 2
        named.engine.close()
