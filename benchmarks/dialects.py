"""What a streamed answer costs in Responses and Messages beside the same chat: Python's processor time.

    python -m benchmarks.dialects [--rounds 40]

There is no model and no socket, so what all dialects share weighs least. In each round every kind has its
turn; a ratio is that of the least times.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from flask.testing import FlaskClient

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app

LENGTHS = (20, 100, 500, 2_000)
"""Tokens; the engine's are characters."""
Request = tuple[str, dict[str, Any]]


def requests(tokens: int) -> dict[str, Request]:
    said = "word " * (tokens // 5)
    chat = {"model": "echo", "messages": [{"role": "user", "content": said}], "stream": True}
    response = {"model": "echo", "input": said, "stream": True}
    return {
        "chat": ("/v1/chat/completions", chat),
        "Responses": ("/v1/responses", response | {"store": False}),
        "Messages": ("/v1/messages", chat | {"max_tokens": 2 * tokens}),
        "chat, stored": ("/v1/chat/completions", chat | {"store": True}),
        "Responses, stored": ("/v1/responses", response),
    }


def measure(client: FlaskClient, tokens: int, rounds: int) -> dict[str, float]:
    """The least processor time of each kind, in milliseconds."""
    kinds = requests(tokens)
    least = dict.fromkeys(kinds, float("inf"))
    for _ in range(rounds):
        for kind, (path, body) in kinds.items():
            began = time.process_time()
            answer = client.post(path, json=body)
            assert answer.status_code == 200 and answer.data.count(b"data:") > tokens
            least[kind] = min(least[kind], (time.process_time() - began) * 1000)
    return least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    app = create_app(Settings(store="memory", rpm=0), EchoEngine())
    client = app.test_client()
    print("| tokens | chat, ms | Responses | Messages | chat, stored, ms | Responses, stored |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for tokens in LENGTHS:
        found = measure(client, tokens, options.rounds)
        chat, stored = found["chat"], found["chat, stored"]
        ratios = (found["Responses"] / chat, found["Messages"] / chat)
        print(
            f"| {tokens:,} | {chat:.2f} | {ratios[0]:.2f} | {ratios[1]:.2f} | {stored:.2f} "
            f"| {found['Responses, stored'] / stored:.2f} |"
        )
    app.extensions["openai"].store.close()


if __name__ == "__main__":
    main()
