"""Pictures, sounds and files in conversations: llama.cpp reads them, through an encoder of random weights."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.model_spec import ModelLoadError
from extensions.openai.engines.protocol import ChatRequest, Media, Message
from tests.conftest import Serve, sdk_on
from tests.support.api import Api, assert_alike
from tests.support.bare_server import drip, ok, serving
from tests.support.media import (
    base64,
    data_url,
    file,
    halves,
    image,
    picture,
    sound,
    text,
    tone,
    user,
    wav_header,
)
from tests.support.process import ServerProcess
from tests.support.random_encoder import IMAGE_TOKENS, SOUND_TOKENS, write_encoder
from tests.support.reference import assert_envelope

PAGE = "chat/completions"
RED, BLUE = image(picture("red")), image(picture("blue"))
LOW, HIGH = sound(tone(220)), sound(tone(880))
GREEDY = {"temperature": 0, "max_tokens": 4}


def likely(api: Api, *parts: Any, **body: Any) -> list[tuple[str, float]]:
    """The likeliest first tokens of an answer, with their log-probabilities."""
    options = {"temperature": 0, "max_tokens": 1, "seed": 1, "logprobs": True, "top_logprobs": 5}
    whole = api.chat(user(*parts), **options, **body)
    (first,) = whole["choices"][0]["logprobs"]["content"]
    return [(top["token"], top["logprob"]) for top in first["top_logprobs"]]


def prompt_tokens(api: Api, messages: Any) -> int:
    return int(api.chat(messages, **GREEDY)["usage"]["prompt_tokens"])


def test_the_model_list_says_what_the_model_takes(seeing: Api, tiny: Api) -> None:
    (model, *_) = seeing.client.get("/v1/models").json["data"]
    assert {"vision", "audio"} <= set(model["capabilities"])
    (model, *_) = tiny.client.get("/v1/models").json["data"]
    assert not {"vision", "audio"} & set(model["capabilities"])


@pytest.mark.parametrize(("one", "other"), [(RED, BLUE), (LOW, HIGH)])
def test_what_is_shown_or_played_matters_and_is_repeatable(
    seeing: Api, one: Any, other: Any
) -> None:
    first = likely(seeing, text("What is it?"), one)
    assert first == likely(seeing, text("What is it?"), one)
    assert first != likely(seeing, text("What is it?"), other)
    assert first != likely(seeing, text("What is it?"))


def test_each_pixel_matters_and_not_the_file(seeing: Api) -> None:
    one = likely(seeing, image(halves("red", "blue")))
    assert one != likely(seeing, image(halves("blue", "red")))
    assert one == likely(seeing, image(halves("red", "blue", compress_level=0)))
    # llama.cpp knows no WebP; the lossless picture is the same.
    assert one == likely(seeing, image(halves("red", "blue", "WEBP", lossless=True)))


def test_the_order_of_text_and_media_matters(seeing: Api) -> None:
    first = likely(seeing, text("What is it?"), RED)
    assert first != likely(seeing, RED, text("What is it?"))
    two = likely(seeing, RED, text("and"), BLUE)
    assert two != likely(seeing, BLUE, text("and"), RED)


def test_texts_are_joined_with_nothing_between(seeing: Api) -> None:
    whole = seeing.chat(user(text("What is it?"), RED), **GREEDY)
    parts = seeing.chat(user(text("What "), text("is it?"), RED), **GREEDY)
    assert_alike(whole, parts)


@pytest.mark.parametrize(
    ("parts", "tokens"),
    [
        ([RED], IMAGE_TOKENS),
        ([RED, BLUE], 2 * IMAGE_TOKENS),
        ([image(picture("red", (200, 50)))], IMAGE_TOKENS),
        ([LOW], SOUND_TOKENS),
        ([RED, LOW], IMAGE_TOKENS + SOUND_TOKENS),
    ],
)
def test_the_tokens_of_media_are_counted(seeing: Api, parts: list[Any], tokens: int) -> None:
    without = prompt_tokens(seeing, user(text("Look.")))
    assert prompt_tokens(seeing, user(text("Look."), *parts)) == without + tokens
    # The way of answers that are read token by token counts them as well.
    whole = seeing.chat(user(text("Look."), *parts), **GREEDY, logprobs=True)
    assert whole["usage"]["prompt_tokens"] == without + tokens
    assert whole["usage"]["completion_tokens"] == len(
        whole["choices"][0]["logprobs"]["content"]
    ) + (whole["choices"][0]["finish_reason"] == "stop")


def test_media_stand_in_every_message_of_the_user(seeing: Api) -> None:
    messages = [
        {"role": "system", "content": "Look well."},
        *user(RED, text("One")),
        {"role": "assistant", "content": "Yes?"},
        *user(text("Two"), BLUE),
    ]
    plain = [*messages[:1], *user(text("One")), messages[2], *user(text("Two"))]
    assert prompt_tokens(seeing, messages) == prompt_tokens(seeing, plain) + 2 * IMAGE_TOKENS


@pytest.mark.parametrize("logprobs", [False, True])
def test_a_stream_adds_up_to_the_whole(seeing: Api, logprobs: bool) -> None:
    body = {"temperature": 0, "seed": 3, "max_tokens": 12, "n": 2, "logprobs": logprobs}
    whole = seeing.chat(user(text("What is it?"), RED), **body)
    assert len(whole["choices"]) == 2
    streamed = seeing.folded(PAGE, messages=user(text("What is it?"), RED), **body)
    assert_alike(whole, streamed)


def test_both_ways_to_an_answer_give_the_same(seeing: Api) -> None:
    messages = user(text("What is it?"), RED, LOW)
    body = {"temperature": 0, "seed": 3, "max_tokens": 12}
    plain = seeing.chat(messages, **body)["choices"][0]["message"]["content"]
    with_logprobs = seeing.chat(messages, **body, logprobs=True)["choices"][0]
    assert with_logprobs["message"]["content"] == plain
    reply = b"".join(bytes(t["bytes"]) for t in with_logprobs["logprobs"]["content"])
    assert reply.decode() == plain


def test_structured_output_about_a_picture(seeing: Api) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"red": {"type": "boolean"}},
        "required": ["red"],
    }
    schema["additionalProperties"] = False
    format = {"type": "json_schema", "json_schema": {"name": "seen", "schema": schema}}
    whole = seeing.chat(user(RED), response_format=format, max_tokens=60, temperature=0)
    assert whole["choices"][0]["finish_reason"] == "stop"
    assert isinstance(json.loads(whole["choices"][0]["message"]["content"])["red"], bool)


def test_a_demanded_call_about_a_picture(seeing: Api) -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}}
    schema |= {"required": ["colour"], "additionalProperties": False}
    tool = {"type": "function", "function": {"name": "paint", "parameters": schema}}
    body = {"tools": [tool], "tool_choice": "required", "max_tokens": 80, "temperature": 0}
    whole = seeing.chat(user(text("Paint this."), RED), **body)
    (call, *_) = whole["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"])["colour"] in ("red", "blue")


def test_a_message_is_continued_after_a_picture(seeing: Api) -> None:
    begun = {"role": "assistant", "content": "The picture is"}
    body = {"continue_final_message": True, **GREEDY}
    red = seeing.chat([*user(RED), begun], **body)["usage"]["prompt_tokens"]
    assert red > prompt_tokens(seeing, user(RED))


def test_stop_strings_and_limits(seeing: Api) -> None:
    messages, body = user(text("Tell me a story."), RED), {"temperature": 0, "seed": 1}
    reply = seeing.chat(messages, max_tokens=20, **body)["choices"][0]["message"]["content"]
    stop = reply[len(reply) // 2 :][:3]
    cut = seeing.chat(messages, max_tokens=20, stop=stop, **body)["choices"][0]
    assert cut["finish_reason"] == "stop" and reply.startswith(cut["message"]["content"])
    short = seeing.chat(messages, max_tokens=2, **body)
    assert short["usage"]["completion_tokens"] == 2
    assert short["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("logprobs", [False, True])
def test_a_conversation_whose_media_do_not_fit_is_refused(
    embedded_model: Any, encoder: Any, logprobs: bool
) -> None:
    if embedded_model is None:
        pytest.skip("this tree has no embedded model")
    engine = LlamaCppEngine(
        embedded_model, name="small", threads=1, parallel=1, context_length=256, mmproj=encoder
    )
    try:
        parts = [RED] * 16
        error = Api(engine).refused(PAGE, messages=user(*parts), logprobs=logprobs)
        assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
        # An answer may fill what is left, and ends there.
        api = Api(engine)
        whole = api.chat(user(*parts[:14]), ignore_eos=True, temperature=0, logprobs=logprobs)
        assert whole["choices"][0]["finish_reason"] == "length"
        assert whole["usage"]["total_tokens"] <= 256
    finally:
        engine.close()


def test_text_is_as_ever_beside_an_encoder(seeing: Api, tiny: Api) -> None:
    body = {"temperature": 0, "seed": 1, "max_tokens": 12, "logprobs": True, "top_logprobs": 2}
    for one, other in [(seeing.chat("Hello", **body), tiny.chat("Hello", **body))]:
        assert_alike(one["choices"], other["choices"])
    legacy = {"temperature": 0, "max_tokens": 8, "logprobs": 1, "echo": True}
    one, other = seeing.complete("Once upon", **legacy), tiny.complete("Once upon", **legacy)
    assert_alike(one["choices"], other["choices"])


def test_the_fingerprint_tells_of_the_encoder(seeing: Api, tiny: Api) -> None:
    assert seeing.engine.info.fingerprint != tiny.engine.info.fingerprint


def test_the_official_client(seeing: Api) -> None:
    with sdk_on(seeing.app) as client:
        answer = client.chat.completions.create(
            model="seeing",
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is it?"},
                        {
                            "type": "image_url",
                            "image_url": {"url": data_url(picture("red")), "detail": "low"},
                        },
                    ],
                }
            ],
            max_tokens=3,
        )
    assert answer.usage is not None and answer.usage.prompt_tokens > IMAGE_TOKENS


BROKEN = picture("red", (100, 100))[:80]
TRUNCATED = halves("red", "blue", "JPEG", quality=95)[:-300]
AT = "messages[0].content[1]"


@pytest.mark.parametrize(
    ("part", "where", "code"),
    [
        (image("data:image/png;base64,%%%"), ".image_url.url", "invalid_base64_image"),
        (image("data:image/png;base64,"), ".image_url.url", "empty_image_file"),
        (image("data:image/png,abc"), ".image_url.url", "invalid_image_url"),
        (image("data:text/html;base64,aGVsbG8="), ".image_url.url", "unsupported_image_media_type"),
        (image("data:;base64,aGVsbG8="), ".image_url.url", "unsupported_image_media_type"),
        (image("file:///etc/passwd"), ".image_url.url", "invalid_image_url"),
        (image("/etc/passwd"), ".image_url.url", "invalid_image_url"),
        (image(""), ".image_url.url", "invalid_image_url"),
        (image("https://example.com/a.png"), ".image_url.url", "unsupported_parameter"),
        (image(b"no picture"), ".image_url.url", "unsupported_image_media_type"),
        (image(picture("red", format="BMP")), ".image_url.url", "unsupported_image_media_type"),
        (image(BROKEN), ".image_url.url", "image_parse_error"),
        (image(TRUNCATED), ".image_url.url", "image_parse_error"),
        (image(picture(0, (8000, 7000), mode="1")), ".image_url.url", "image_too_large"),
        (image(picture(0, (50000, 5000), mode="1")), ".image_url.url", "image_too_large"),
        (image(picture("red", (1000, 1))), ".image_url.url", "image_too_small"),
        (image(picture("red"), detail="best"), ".image_url.detail", "invalid_value"),
        (
            {"type": "image_url", "image_url": {}},
            ".image_url.url",
            "missing_required_parameter",
        ),
        ({"type": "image_url", "image_url": "x"}, ".image_url", "invalid_type"),
        (sound(b"no sound"), ".input_audio.data", "invalid_value"),
        (sound(b""), ".input_audio.data", "empty_string"),
        (sound(tone(), "mp3"), ".input_audio.data", "invalid_value"),
        (sound(tone(), "ogg"), ".input_audio.format", "invalid_value"),
        (sound(tone()[:60]), ".input_audio.data", "invalid_value"),
        (sound(tone(seconds=0.05)), ".input_audio.data", "invalid_value"),
        (sound(wav_header(b"", 16000)), ".input_audio.data", "invalid_value"),
        (sound(wav_header(b"\0", 16000)), ".input_audio.data", "invalid_value"),
        (sound(wav_header(b"\0" * 9000, 1)), ".input_audio.data", "invalid_value"),
        (sound(wav_header(b"\0" * 4000 * 601, 4000)), ".input_audio.data", "invalid_value"),
        (sound(b"ID3" + bytes(2000), "mp3"), ".input_audio.data", "invalid_value"),
        ({"type": "file", "file": {}}, ".file.file_data", "missing_required_parameter"),
        (file(b"no PDF \xff", "a.pdf"), ".file.file_data", "unsupported_parameter"),
        (file(b"\x00\x01", "a.txt"), ".file.file_data", "unsupported_parameter"),
        (file(b"\xff\xfe", None), ".file.file_data", "unsupported_parameter"),
        (file(picture("red"), "a.png"), ".file.file_data", "unsupported_parameter"),
        ({"type": "hologram", "hologram": {"url": "x"}}, ".type", "invalid_value"),
    ],
)
def test_what_cannot_be_taken_is_refused_by_its_place(
    seeing: Api, part: Any, where: str, code: str
) -> None:
    error = seeing.refused(PAGE, messages=user(text("Look."), part))
    assert (error["param"], error["code"]) == (AT + where, code)
    assert len(error["message"]) < 200  # nothing of the content is quoted
    # And the engine is well afterwards.
    assert seeing.chat("Hello", max_tokens=1, temperature=0)["usage"]["completion_tokens"] == 1


@pytest.mark.parametrize("part", [RED, LOW], ids=["image", "audio"])
def test_a_model_without_encoder_takes_text_only(tiny: Api, part: Any) -> None:
    error = tiny.refused(PAGE, messages=user(text("Look."), part))
    assert (error["param"], error["code"]) == (AT, "unsupported_parameter")


@pytest.mark.parametrize("role", ["system", "developer", "assistant"])
def test_media_stand_only_in_messages_of_the_user_and_in_results(seeing: Api, role: str) -> None:
    message = {"role": role, "content": [text("Look."), RED], "tool_call_id": "1"}
    error = seeing.refused(PAGE, messages=[message, *user(text("Hello"))])
    assert error["param"] == AT + ".type" and error["code"] == "invalid_value"


def test_the_number_of_media_has_a_limit(seeing: Api) -> None:
    api = Api(seeing.engine, media_max_parts=2)
    error = api.refused(PAGE, messages=[*user(RED, RED), *user(file(b"text"))])
    assert (error["param"], error["code"]) == ("messages", "array_above_max_length")
    api.chat(user(RED, RED), **GREEDY)


def test_the_size_of_media_has_a_limit(seeing: Api) -> None:
    api = Api(seeing.engine, media_max_mb=1)
    large = picture("red") + bytes(1 << 20)
    error = api.refused(PAGE, messages=user(image(large)))
    assert error["code"] == "image_file_too_large"
    for part, param in (
        (sound(tone() + bytes(1 << 20)), "input_audio.data"),
        (file(b"a" * (1 + (1 << 20))), "file.file_data"),
    ):
        error = api.refused(PAGE, messages=user(part))
        assert (error["param"], "1 MiB" in error["message"]) == (
            f"messages[0].content[0].{param}",
            True,
        )
    api.chat(user(image(picture("red") + bytes((1 << 20) - 200))), **GREEDY)


def test_a_file_is_given_as_its_text(client: FlaskClient) -> None:
    """The echo engine says the user's text again."""
    content = "Grüße,\n\tdie Datei"
    asked = user(text("Sum up:\n"), file(content.encode(), 'no"tes/../ü.md'))
    answer = client.post("/v1/chat/completions", json={"model": "echo", "messages": asked})
    reply = answer.json["choices"][0]["message"]["content"]
    assert reply == f'Sum up:\n<file name="no_tes_.._ü.md">\n{content}\n</file>\n'


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("data:text/plain;base64,aGVsbG8=", None),
        ("data:text/csv;charset=utf-8;base64,aGVsbG8=", "a.csv"),
        ("data:application/json;base64,aGVsbG8=", "a.json"),
        ("DATA:application/octet-stream;base64,aGVsbG8=", "a.py"),
        ("data:;base64,aGVsbG8=", "what"),
        ("aGVsbG8=", "Makefile"),
    ],
)
def test_files_of_text_may_come_as_data_urls(client: FlaskClient, url: str, name: str) -> None:
    part = {"type": "file", "file": {"file_data": url, "filename": name}}
    body = {"model": "echo", "messages": user(part)}
    answer = client.post("/v1/chat/completions", json=body)
    shown = name or "unnamed"
    reply = answer.json["choices"][0]["message"]["content"]
    assert reply == f'<file name="{shown}">\nhello\n</file>\n'


@pytest.mark.parametrize(
    ("width", "words"),
    [(128, "cannot load"), (None, "is not an encoder of pictures or sounds")],
)
def test_an_encoder_of_another_model_stops_the_start(
    embedded_model: Path | None, tmp_path: Path, width: int | None, words: str
) -> None:
    if embedded_model is None:
        pytest.skip("this tree has no embedded model")
    path = tmp_path / "mmproj-other.gguf"
    if width is None:
        path.write_bytes(embedded_model.read_bytes())
    else:
        write_encoder(path, model_width=width)
    with pytest.raises(ModelLoadError, match=words) as caught:
        LlamaCppEngine(embedded_model, name="x", threads=1, parallel=1, mmproj=path)
    assert "mmproj-other.gguf" in str(caught.value)


def test_the_whole_program_sees(embedded_model: Path | None, encoder: Path) -> None:
    if embedded_model is None:
        pytest.skip("this tree has no embedded model")
    server = ServerProcess("--threads", "1", "--mmproj", str(encoder))
    try:
        server.wait_until_ready()
        client = openai.OpenAI(api_key="unused", base_url=f"{server.url}/v1", max_retries=0)
        part: Any = image(picture("red"))
        chunks = client.chat.completions.create(
            model="openedai-tiny",
            messages=[{"role": "user", "content": [part]}],
            max_tokens=3,
            stream=True,
            stream_options={"include_usage": True},
        )
        usage = list(chunks)[-1].usage
        assert usage is not None and usage.prompt_tokens > IMAGE_TOKENS
    finally:
        server.stop()
    assert "base64" not in server.output


def test_the_text_of_a_prompt_is_told_from_its_media(seeing: Api) -> None:
    """Penalties are balanced for the tokens of the prompt's text; the mark of a picture is none of it."""
    engine = seeing.engine
    assert isinstance(engine, LlamaCppEngine)
    seen = Message("user", "Hello", parts=("Hello", Media("image", "png", picture("red"))))
    with_picture = engine.render(ChatRequest((seen,)))
    without = engine.render(ChatRequest((Message("user", "Hello"),)))
    assert with_picture != without
    assert engine.text_tokens(with_picture) == engine.tokenize(without)


@pytest.mark.parametrize("logprobs", [False, True])
def test_penalties_beside_a_picture(seeing: Api, logprobs: bool) -> None:
    messages = user(text("Count: one one one one"), RED)
    body: dict[str, Any] = {"temperature": 0, "seed": 1, "max_tokens": 40, "logprobs": logprobs}
    body["logit_bias"] = {str(seeing.engine.tokenize("a")[0]): 20}
    plain = seeing.chat(messages, **body)["choices"][0]["message"]["content"]
    fined = seeing.chat(messages, **body, frequency_penalty=2.0)["choices"][0]["message"]["content"]
    assert fined.count("a") < plain.count("a")


def served(data: bytes) -> Any:
    return serving(ok(data, "Content-Type: text/plain"))


def test_a_picture_from_an_address_is_the_same_picture(seeing: Api) -> None:
    with served(picture("red")) as server:
        here = f"127.0.0.1:{server.port}"
        api = Api(seeing.engine, media_hosts=(here,))
        assert likely(api, image(f"HTTP://{here}/red.png")) == likely(seeing, RED)
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({}, "unsupported_parameter"),
        ({"media_urls": True}, "failed_to_download_image"),
        ({"media_hosts": "pictures.example"}, "invalid_image_url"),
    ],
)
def test_addresses_inside_are_refused_by_their_place(seeing: Api, options: Any, code: str) -> None:
    api = Api(seeing.engine, **options)
    for host in ("127.0.0.1", "[::1]", "localhost"):
        error = api.refused(PAGE, messages=user(text("Look."), image(f"http://{host}/secret?key")))
        assert (error["param"], error["code"]) == (AT + ".image_url.url", code)
        assert "secret" not in error["message"]


def test_what_an_address_sends_is_looked_through(seeing: Api) -> None:
    with served(b"<html>secret</html>") as server:
        here = f"127.0.0.1:{server.port}"
        api = Api(seeing.engine, media_hosts=here)
        error = api.refused(PAGE, messages=user(image(f"http://{here}/")))
        assert error["code"] == "unsupported_image_media_type" and "secret" not in error["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_the_fetch(seeing: Api, serve: Serve, stream: bool) -> None:
    with serving(drip(b"HTTP/1.1 200 OK\r\n\r\n")) as slow:
        here = f"127.0.0.1:{slow.port}"
        server = serve(seeing.engine, media_hosts=here, media_timeout=60.0)
        body = {"model": "seeing", "stream": stream, "messages": user(image(f"http://{here}/"))}
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            data = json.dumps(body).encode()
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(data)}"
            client.sendall(head.encode() + b"\r\nContent-Type: application/json\r\n\r\n" + data)
            assert slow.asked_once.wait(50)
            assert not slow.left.is_set()
        assert slow.left.wait(50)


def test_many_at_once_see_each_their_own(embedded_model: Path | None, encoder: Path) -> None:
    if embedded_model is None:
        pytest.skip("this tree has no embedded model")
    engine = LlamaCppEngine(embedded_model, name="many", threads=1, parallel=3, mmproj=encoder)
    asked = [
        (colour, logprobs)
        for colour in ("red", "blue", "green", "white")
        for logprobs in (False, True)
    ]

    def see(api: Api, what: tuple[str, bool]) -> str:
        colour, logprobs = what
        messages = user(text("What is it?"), image(picture(colour)))
        body = {"temperature": 0, "seed": 1, "max_tokens": 8, "logprobs": logprobs}
        return str(api.chat(messages, **body)["choices"][0]["message"]["content"])

    try:
        # Made one after the other: Werkzeug parses Python for its routes, see system/python_ast.py.
        apis = [Api(engine) for _ in asked * 2]
        alone = list(map(see, apis, asked))
        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(see, apis, asked * 2)) == alone * 2
        assert len(set(alone)) > 2
    finally:
        engine.close()


def test_characters_of_several_tokens_beside_a_picture(random_model: Path, tmp_path: Path) -> None:
    """Of such a character only the last token is told; all others are there."""
    encoder = write_encoder(tmp_path / "mmproj.gguf", model_width=64, audio=False)
    engine = LlamaCppEngine(random_model, name="noise", threads=1, parallel=1, mmproj=encoder)
    try:
        body = {"temperature": 1, "seed": 5, "max_tokens": 60, "logprobs": True, "top_logprobs": 2}
        whole = Api(engine).chat(user(RED, text("Hello")), **body)
    finally:
        engine.close()
    (choice,) = whole["choices"]
    reported = choice["logprobs"]["content"]
    assert 0 < len(reported) <= whole["usage"]["completion_tokens"]
    assert all(entry["logprob"] <= 0 and len(entry["top_logprobs"]) == 2 for entry in reported)


JSON = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=20), st.lists(st.text(), max_size=2)
)
URLS = st.one_of(
    st.text(max_size=40),
    st.binary(max_size=200).map(data_url),
    st.sampled_from(
        [data_url(picture("red")), "data:,", "data:;base64", "http://", "https://x:y@z", "//"]
    ),
)
BASE64 = st.one_of(st.binary(max_size=200).map(base64), st.text(max_size=20))


def any_object(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of the fields, with right or wrong values."""
    return st.fixed_dictionaries({}, optional={k: st.one_of(v, JSON) for k, v in fields.items()})


PARTS = any_object(
    type=st.sampled_from(["text", "image_url", "input_audio", "file", "refusal"]),
    text=st.text(max_size=20),
    image_url=any_object(url=URLS, detail=st.sampled_from(["low", "high", "auto"])),
    input_audio=any_object(data=BASE64, format=st.sampled_from(["wav", "mp3"])),
    file=any_object(
        file_data=st.one_of(BASE64, URLS), filename=st.text(max_size=9), file_id=st.text()
    ),
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(parts=st.lists(PARTS, min_size=1, max_size=3))
def test_no_parts_make_the_server_fail(seeing: Api, parts: list[Any]) -> None:
    body = {"model": "seeing", "max_tokens": 1, "messages": user(*parts)}
    answer = seeing.client.post("/v1/chat/completions", json=body)
    if answer.status_code != 200:
        error = assert_envelope(answer.json, status=400)
        assert error["param"].startswith("messages")


def test_a_call_that_the_model_chooses_or_not(seeing: Api) -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"colour": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "paint", "parameters": schema}}
    whole = seeing.chat(user(text("Paint."), RED), tools=[tool], max_tokens=40, temperature=0)
    without = seeing.chat(user(text("Paint.")), tools=[tool], max_tokens=40, temperature=0)
    tokens = [answer["usage"]["prompt_tokens"] for answer in (whole, without)]
    assert tokens[0] == tokens[1] + IMAGE_TOKENS
    assert whole["choices"][0]["finish_reason"] in ("stop", "length", "tool_calls")
