"""A user of the web UI, as an extension: generates by the host's own function, on request.

POST a JSON object with `prompt` and `max_new_tokens` to 127.0.0.1, port WEBUI_PROBE_PORT; the answer has the
text and the seconds at which it grew.
"""

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from inspect import signature
from typing import Any


def generate(prompt: str, tokens: int) -> dict[str, Any]:
    """What the UI does, with the settings that it begins with."""
    from modules import shared
    from modules.text_generation import generate_reply

    page = next(
        module for name, module in list(sys.modules.items()) if name.endswith(".engines.webui_page")
    )
    state = {**page.FALLBACK, **shared.settings, "max_new_tokens": tokens, "ban_eos_token": True}
    state |= {
        "stream": True,
        "seed": 1,
        "custom_stopping_strings": "",
        "auto_max_new_tokens": False,
    }
    arguments: list[Any] = [prompt, state]
    if "eos_token" in signature(generate_reply).parameters:
        arguments.append(None)
    grew, text = [], ""
    for reply in generate_reply(*arguments, stopping_strings=[], is_chat=True):
        text = reply
        grew.append(time.time())
    return {"text": text, "grew": grew}


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        try:
            body = json.dumps(generate(asked["prompt"], asked["max_new_tokens"])).encode()
            self.send_response(200)
        except Exception as error:
            body = repr(error).encode()
            self.send_response(500)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def setup() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["WEBUI_PROBE_PORT"])), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
