"""Extensions that were written for a webui act on answers under our own host: the whole program."""

from __future__ import annotations

import json
import urllib.request

from tests.support.process import ServerProcess


def test_an_example_rewrites_what_goes_in_and_out() -> None:
    server = ServerProcess("--extensions", "openai", "example_rewrite", "--loader", "echo")
    try:
        server.wait_until_ready()

        def answer(**fields: object) -> str:
            message = {"role": "user", "content": "FR has Paris"}
            body = json.dumps({"model": "echo", "messages": [message], **fields}).encode()
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(f"{server.url}/v1/chat/completions", body, headers)
            with urllib.request.urlopen(request, timeout=30) as reply:
                return str(json.load(reply)["choices"][0]["message"]["content"])

        assert answer() == "France has **Paris**"
        assert answer(hooks=False) == "FR has Paris"
    finally:
        server.stop()
