"""The debug folder: requests and answers, for their owner only, without secrets."""

from __future__ import annotations

import base64
import json
import stat
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.observability import capture
from extensions.openai.observability.capture import REMOVED, Redactor
from extensions.openai.settings import Settings, SettingsError
from extensions.openai.web.app import create_app
from tests.conftest import Serve
from tests.support.wire import Wire, ask

CHAT = "/v1/chat/completions"
PICTURE = "data:image/png;base64," + base64.b64encode(bytes(range(256)) * 20).decode()
BODY = {"model": "echo", "messages": [{"role": "user", "content": "what is this?"}]}


def files(folder: Path, count: int) -> list[Any]:
    """The content of so many files, oldest first; they are written after the client has its answer."""
    for _ in range(400):
        found = sorted(folder.glob("2*.json"))
        if len(found) == count and all(file.stat().st_size for file in found):
            return [json.loads(file.read_text()) for file in found]
        threading.Event().wait(0.02)
    raise AssertionError(f"{found} are not {count}")


def test_off_by_default(tmp_path: Path) -> None:
    folder = tmp_path / "debug"
    client = create_app(Settings(debug_folder=str(folder)), EchoEngine()).test_client()
    client.post(CHAT, json=BODY).close()
    assert not folder.exists()


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_and_its_answer(serve: Serve, tmp_path: Path, stream: bool) -> None:
    folder = tmp_path / "a" / "debug"
    port = serve(EchoEngine(), debug=True, debug_folder=str(folder), api_key="our-own-key").port
    body = {**BODY, "stream": stream, "api_key": "anything", "user": "it is our-own-key"}
    answer = ask(
        port,
        *("POST", f"{CHAT}?api_key=in-the-query&deployment=d", body),
        authorization="Bearer our-own-key",
        cookie="session=1",
        x_request_id="mine",
        x_forwarded_access_token="of-a-proxy",
        cf_access_jwt_assertion="of-another",
    )
    assert answer.status == 200
    (seen,) = files(folder, 1)
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    asked, answered = seen["request"], seen["answer"]
    assert asked["path"] == CHAT and "deployment=d" in asked["query"]
    assert asked["body"]["messages"] == BODY["messages"]
    assert asked["headers"]["x-request-id"] == "mine"
    assert answered["status"].startswith("200")
    if stream:
        assert answered["body"].encode() == answer.body
    else:
        assert answered["body"] == answer.json()
    text = file.read_text()
    secrets = "our-own-key in-the-query anything session=1 of-a-proxy of-another"
    for secret in secrets.split():
        assert secret not in text


def test_words_of_an_answer_are_no_secrets() -> None:
    given = {"content": [{"token": "word", "logprob": -0.5, "top_logprobs": []}], "token": "geheim"}
    kept = Redactor().value(given)
    assert kept["content"] == given["content"] and kept["token"] == REMOVED


def test_a_body_that_is_no_json(serve: Serve, tmp_path: Path) -> None:
    port = serve(EchoEngine(), debug=True, debug_folder=str(tmp_path)).port
    with Wire(port) as wire:
        wire.request("POST", CHAT, b"{ this is no JSON")
        assert wire.answer().status == 400
    (seen,) = files(tmp_path, 1)
    assert seen["request"]["body"] == "{ this is no JSON"


@pytest.mark.parametrize(
    ("given", "gone", "stays"),
    [
        ({"url": PICTURE}, PICTURE[30:80], "data:image/png;base64,"),
        ("see data:;base64,QUJDREVGRw== here", "QUJDREVGRw", "see data:"),
        ("Authorization: Bearer abcdefghijk", "abcdefghijk", "Authorization"),
        ("the key is sk-alice-0123456789abcdef.", "0123456789", "the key is"),
        ({"token": "t0k3n", "max_tokens": 5, "tokens": ["a"]}, "t0k3n", '"max_tokens": 5'),
        ({"Password": "hunter2", "n": 1}, "hunter2", '"n": 1'),
        ({"x_api_key": "abc", "api-key": "abc"}, "abc", "api-key"),
        ("https://me:secret@host/path", "secret", "@host/path"),
        ({"data": "QUJD" * 300, "format": "wav"}, "QUJDQUJD", "wav"),
        ("a known-key in the text", "known-key", "in the text"),
        ("the token is here; password reset", "nothing", "the token is here; password reset"),
    ],
)
def test_what_is_taken_out(given: Any, gone: str, stays: str) -> None:
    text = json.dumps(Redactor(["known-key"]).value(given))
    assert gone not in text and stays in text


def test_bodies_that_are_long_or_no_text() -> None:
    redactor = Redactor()
    assert "1000 bytes" in redactor.body(b"\x89PNG", 1000, "image/png")
    assert "5 bytes of multipart/form-data" in redactor.body(b"a" * 5, 5, "multipart/form-data; x")
    assert redactor.body(b"begin", 9000, "text/event-stream").startswith("begin [... 9000")
    assert redactor.body(b"", 0, "") == ""


@pytest.mark.parametrize(
    "body",
    [
        b'{"password": "geheim", "x": ',
        b'{"x": 1, "client_secret" : "ge\\"heim',
        b'{"Refresh-Token":"geheim"}]',
    ],
)
def test_secrets_in_json_that_is_broken(body: bytes) -> None:
    shown = Redactor().body(body, len(body), "application/json")
    assert "heim" not in shown and REMOVED in shown


def test_words_in_events_are_no_secrets() -> None:
    event = b'data: {"logprobs":{"content":[{"token":" Hello"}]}}'
    assert " Hello" in Redactor().body(event, len(event), "text/event-stream")


def test_there_are_never_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "MAX_FILES", 3)
    (tmp_path / "notes.json").write_text("somebody else's")
    client = create_app(
        Settings(debug=True, debug_folder=str(tmp_path)), EchoEngine()
    ).test_client()
    for number in range(6):
        client.get("/health", headers={"x-request-id": str(number)}).close()
    kept = [seen["request"]["headers"]["x-request-id"] for seen in files(tmp_path, 3)]
    assert kept == ["3", "4", "5"]
    assert (tmp_path / "notes.json").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="debug_folder"):
        create_app(Settings(debug=True, debug_folder=str(tmp_path / "file" / "x")), EchoEngine())


def test_a_folder_that_goes_away_fails_no_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "debug"
    client = create_app(Settings(debug=True, debug_folder=str(folder)), EchoEngine()).test_client()
    folder.rmdir()
    answer = client.post(CHAT, json=BODY)
    assert answer.status_code == 200
    answer.close()
    assert "could not be written" in caplog.text


FOREIGN = {
    "X-Session": "MARK1",
    "X-Csrf": "MARK2",
    "Referer": "http://x/?key=MARK3",
    "X-Amz-Security-Token": "MARK4",
    "Cf-Access-Client-Id": "MARK5",
    "X-Anything": "MARK6",
    "Forwarded": "for=MARK7",
    "X-Goog-Iap-Jwt": "MARK8",
    "Ocp-Apim-Subscription-Key": "MARK9",
}
QUERIES = [
    "subscription-key=MARK",
    "sig=MARK",
    "code=MARK",
    "X-Amz-Signature=MARK",
    "MARK",
    "MARK&model=a",
    "%6Dodel=a&key=MARK",
    "a=1&MARK=",
    "state=MARK#x",
]


def test_secrets_of_other_systems_are_not_known_by_name(serve: Serve, tmp_path: Path) -> None:
    """So what is not known to be harmless is taken out; the names of headers are kept."""
    port = serve(EchoEngine(), debug=True, debug_folder=str(tmp_path)).port
    for query in QUERIES:
        ask(
            port,
            "GET",
            f"/v1/models?{query}",
            **{k.replace("-", "_"): v for k, v in FOREIGN.items()},
        )
    kept = files(tmp_path, len(QUERIES))
    text = "".join(file.read_text() for file in tmp_path.glob("2*.json"))
    assert "MARK" not in text
    assert {name.lower() for name in FOREIGN} <= kept[0]["request"]["headers"].keys()
    assert kept[0]["request"]["query"] == f"subscription-key={REMOVED}"
    assert kept[5]["request"]["query"] == f"{REMOVED}&model=a"
    assert kept[6]["request"]["query"] == f"%6Dodel=a&key={REMOVED}"


@pytest.mark.parametrize(
    "key", ["our-own-key", "schlüssel-für-alle", 'a"b\\c key', "ключ ключ", "🔑🔑🔑"]
)
def test_our_own_keys_in_every_form(serve: Serve, tmp_path: Path, key: str) -> None:
    port = serve(EchoEngine(), debug=True, debug_folder=str(tmp_path), api_key=key).port
    with Wire(port) as wire:
        wire.request(
            "POST",
            f"/v1/{quote(key, safe='')}/completions?model={quote_plus(key)}&{quote(key, safe='')}",
            json.dumps({"prompt": key, "user": f"it is {key}"}).encode() + b"}",
            headers={"User-Agent": key.encode().decode("latin-1")},
        )
        wire.answer()
    (seen,) = files(tmp_path, 1)
    (file,) = tmp_path.glob("2*.json")
    text = file.read_text()
    assert seen["request"]["path"] == f"/v1/{REMOVED}/completions"
    shown = json.dumps(seen, ensure_ascii=False) + text
    for form in (key, key.encode().decode("latin-1"), quote(key, safe=""), json.dumps(key)[1:-1]):
        assert form not in shown, form


def test_parts_of_addresses_that_there_are_not(tmp_path: Path) -> None:
    client = create_app(
        Settings(debug=True, debug_folder=str(tmp_path)), EchoEngine()
    ).test_client()
    for path in (
        "/v1/hidden-secret/chat/completions",
        "/v1/models/echo",
        "/v1/models/hidden-secret",
    ):
        client.get(path).close()
    kept = [seen["request"]["path"] for seen in files(tmp_path, 3)]
    assert kept == [f"/v1/{REMOVED}/chat/completions", "/v1/models/echo", f"/v1/models/{REMOVED}"]
