"""Replicas behind what others make: answers, streams, what is shared, and a replica that goes."""

from __future__ import annotations

import http.client
import json
import re
import signal
import threading
import time
import urllib.error
import urllib.request
from typing import Any

import pytest

from extensions.openai.access.signed_keys import new_id
from tests.scale.conftest import Scene, key_of

CHAT = "/v1/chat/completions"
COUNTED_S = 30.0


def post(url: str, body: Any, key: str, **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(
        url,
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {key}", **headers},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read().decode()
            return answer.status, text if body.get("stream") else json.loads(text)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except (OSError, http.client.HTTPException) as error:
        return 0, repr(error)


def get(url: str, key: str) -> tuple[int, Any]:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"{}")


def chat(text: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {
        "model": "openedai-tiny",
        "messages": messages,
        "max_tokens": 8,
        "temperature": 0,
        **more,
    }


def answered(scene: Scene) -> list[int]:
    """How many answers each replica has given; -1: it is gone."""
    found = []
    for server in scene.replicas:
        try:
            with urllib.request.urlopen(f"{server.url}/metrics", timeout=10) as answer:
                text = answer.read().decode()
            counts = re.findall(r"^openedai_answers_total\{[^}]*\} (\S+)$", text, re.MULTILINE)
            found.append(int(sum(map(float, counts))))
        except OSError:
            found.append(-1)
    return found


def answered_since(scene: Scene, before: list[int], number: int) -> list[int]:
    """How many of so many answers each replica has given: one is counted when its client has it, or soon
    after."""
    deadline = time.monotonic() + COUNTED_S
    while True:
        grown = [now - then for now, then in zip(answered(scene), before, strict=True)]
        if sum(grown) >= number or time.monotonic() > deadline:
            return grown
        time.sleep(0.1)


def texts_of(stream: str) -> str:
    events = [json.loads(line[6:]) for line in stream.split("\n") if line.startswith("data: {")]
    return "".join(each["choices"][0]["delta"].get("content") or "" for each in events)


def test_answers_and_streams_are_those_of_a_replica(scene: Scene) -> None:
    key = key_of("alice")
    direct = post(f"{scene.replicas[0].url}{CHAT}", chat("Hello"), key)[1]
    content = direct["choices"][0]["message"]["content"]
    for _ in range(4):
        status, whole = post(f"{scene.url}{CHAT}", chat("Hello"), key)
        assert (status, whole["choices"][0]["message"]["content"]) == (200, content)
        status, stream = post(f"{scene.url}{CHAT}", chat("Hello", stream=True), key)
        assert status == 200 and stream.endswith("data: [DONE]\n\n") and texts_of(stream) == content


def test_a_wrong_key_is_refused_by_every_replica(scene: Scene) -> None:
    for _ in range(4):
        assert post(f"{scene.url}{CHAT}", chat("Hello"), "sk-wrong")[0] == 401


def test_what_begins_alike_goes_to_one_replica(scene: Scene) -> None:
    before = answered(scene)
    key, system = key_of("bob"), {"role": "system", "content": "You are a careful poet. " * 60}
    for number in range(9):
        body = chat("x")
        body["messages"] = [system, {"role": "user", "content": f"Line {number}"}]
        session = {"x-openedai-session-key": "of-bob"}
        assert post(f"{scene.url}{CHAT}", body, key, **session)[0] == 200
    grown = sorted(answered_since(scene, before, 9))
    assert grown[-1] >= 8 and sum(grown) == 9


def test_different_callers_use_all_replicas(scene: Scene) -> None:
    before = answered(scene)
    threads = [
        threading.Thread(
            target=post, args=(f"{scene.url}{CHAT}", chat(f"{at} " * 60), key_of(f"u{at}"))
        )
        for at in range(24)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    grown = answered_since(scene, before, 24)
    assert sum(grown) == 24 and min(grown) >= 1


def test_a_limit_holds_over_all_replicas(scene: Scene) -> None:
    """Asked at the replicas themselves, as a front may keep a key with one of them."""
    key = key_of(f"limited-{new_id()}", rpm=4)  # counts are those of names
    statuses = [post(f"{scene.replicas[at % 3].url}{CHAT}", chat("Hi"), key)[0] for at in range(8)]
    assert statuses == [200] * 4 + [429] * 4


def test_what_one_replica_stores_all_have(scene: Scene) -> None:
    key = key_of("carol")
    body = {"model": "openedai-tiny", "input": "Hello", "max_output_tokens": 16}
    status, made = post(f"{scene.replicas[0].url}/v1/responses", body, key)
    assert status == 200
    for server in scene.replicas:
        assert get(f"{server.url}/v1/responses/{made['id']}", key)[1]["output"] == made["output"]
        more = {**body, "previous_response_id": made["id"]}
        assert post(f"{server.url}/v1/responses", more, key)[0] == 200
    assert get(f"{scene.replicas[1].url}/v1/responses/{made['id']}", key_of("dave"))[0] == 404


CLIENTS = 6


@pytest.mark.parametrize(("at", "how"), [(2, signal.SIGTERM), (1, signal.SIGKILL)])
def test_a_replica_that_goes(scene: Scene, at: int, how: signal.Signals) -> None:
    """One that is stopped drains: what it has goes on, and what is new goes to the others. One that is killed
    takes what it has answered with it, and no more. The last test: they stay away."""
    wrong: list[Any] = []

    def work(client: int) -> None:
        key = key_of(f"client{client}")
        for number in range(12):
            status, answer = post(
                f"{scene.url}{CHAT}", chat(f"{client} {number} ", stream=True), key
            )
            if status != 200 or "[DONE]" not in answer:
                wrong.append((status, str(answer)[:300]))
            time.sleep(0.05)

    threads = [threading.Thread(target=work, args=(client,)) for client in range(CLIENTS)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    scene.replicas[at].signal(how)
    for thread in threads:
        thread.join(120)
    scene.replicas[at].wait(30)
    lost = 0 if how is signal.SIGTERM and scene.sends_again else CLIENTS
    assert len(wrong) <= lost, wrong


def test_ray_serve(ray: str) -> None:
    key = key_of("alice")
    for _ in range(4):
        status, whole = post(f"{ray}{CHAT}", chat("Hello"), key)
        assert status == 200
        status, stream = post(f"{ray}{CHAT}", chat("Hello", stream=True), key)
        assert status == 200
        assert texts_of(stream) == whole["choices"][0]["message"]["content"]
    assert post(f"{ray}{CHAT}", chat("Hello"), "sk-wrong")[0] == 401
    body = {"model": "openedai-tiny", "input": "Hello", "max_output_tokens": 16}
    made = post(f"{ray}/v1/responses", body, key)[1]
    for _ in range(6):
        assert get(f"{ray}/v1/responses/{made['id']}", key)[0] == 200
    limited = key_of(f"limited-{new_id()}", rpm=3)
    assert [post(f"{ray}{CHAT}", chat("Hi"), limited)[0] for _ in range(5)] == [200] * 3 + [429] * 2
