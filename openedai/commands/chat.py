"""`openedai chat`: talk to a server that runs, in one line or in a conversation.

Plain HTTP of the standard library: any server with OpenAI's chat endpoint will do.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import unicodedata
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, str]


class ChatError(Exception):
    """No answer; the message is one line with what to do."""


@dataclass(slots=True)
class Conversation:
    """What was said so far, to one model of one server."""

    base_url: str
    key: str | None
    model: str
    messages: list[Message] = field(default_factory=list)

    def ask(self, text: str) -> Iterator[str]:
        """The answer, in the pieces that come. An answer that is left before its end is kept as far as it
        came. Raises ChatError."""
        pieces: list[str] = []
        question = {"role": "user", "content": text}
        body = {"model": self.model, "messages": [*self.messages, question], "stream": True}
        try:
            for chunk in _events(self.base_url, self.key, "/chat/completions", body):
                if "error" in chunk:
                    raise ChatError(str(chunk["error"].get("message", chunk["error"])))
                for choice in chunk.get("choices", ()):
                    piece = choice.get("delta", {}).get("content")
                    if piece:
                        pieces.append(piece)
                        yield piece
        finally:
            if pieces:
                self.messages += [question, {"role": "assistant", "content": "".join(pieces)}]


def main(argv: Sequence[str], program: str) -> int:
    """Answer the text of the command line, or all that is typed."""
    given = _parser(program).parse_args(argv)
    key = os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENEDAI_API_KEY")
    try:
        model = given.model or first_model(given.base_url, key)
        conversation = Conversation(given.base_url, key, model)
        if given.system:
            conversation.messages.append({"role": "system", "content": given.system})
        if given.text:
            return _answer(conversation, " ".join(given.text))
        if not sys.stdin.isatty():
            return _answer(conversation, sys.stdin.read())
        return _talk(conversation)
    except ChatError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def first_model(base_url: str, key: str | None) -> str:
    """The first model that the server lists. Raises ChatError."""
    with _request(base_url, key, "/models") as answer:
        try:
            return str(json.load(answer)["data"][0]["id"])
        except (ValueError, LookupError, TypeError):
            raise ChatError(f"{base_url} lists no model; name one with --model") from None


def _parser(program: str) -> argparse.ArgumentParser:
    port = os.environ.get("OPENEDAI_API_PORT") or os.environ.get("OPENEDAI_PORT") or "5001"
    base_url = os.environ.get("OPENAI_BASE_URL") or f"http://127.0.0.1:{port}/v1"
    parser = argparse.ArgumentParser(
        prog=program,
        description="Talk to a server that runs. The key is taken from OPENAI_API_KEY.",
        epilog="Ctrl-C ends an answer; Ctrl-D, or Ctrl-C at the prompt, ends the conversation.",
    )
    parser.add_argument("text", nargs="*", help="what to ask; nothing: a conversation")
    parser.add_argument(
        "--base-url", default=base_url, type=lambda url: url.rstrip("/"), metavar="URL",
        help="the server (default: %(default)s, or OPENAI_BASE_URL)",
    )  # fmt: skip
    parser.add_argument("-m", "--model", help="a model of the server (default: its first)")
    parser.add_argument("--system", metavar="TEXT", help="instructions for the model")
    return parser


def _answer(conversation: Conversation, text: str) -> int:
    """Print one answer; the exit status."""
    pieces = conversation.ask(text)
    try:
        for piece in pieces:
            print(_printable(piece), end="", flush=True)
    finally:
        # Closes the connection, so that the server stops generating.
        pieces.close()  # type: ignore[attr-defined]
        print(flush=True)
    return 0


def _printable(text: str) -> str:
    """Without the characters that steer a terminal."""
    return "".join(each for each in text if each in "\n\t" or unicodedata.category(each) != "Cc")


def _talk(conversation: Conversation) -> int:
    """Read lines and print answers until the end of input."""
    print(f"{conversation.model}. Ctrl-C ends an answer, Ctrl-D the conversation.", file=sys.stderr)
    try:
        import readline  # noqa: F401 - input() then edits lines
    except ImportError:
        pass  # Python was built without it
    while True:
        try:
            text = input("> ")
        except (EOFError, KeyboardInterrupt):
            print()
            return 0
        if not text.strip():
            continue
        try:
            _answer(conversation, text)
        except KeyboardInterrupt:
            continue
        except ChatError as error:
            print(f"error: {error}", file=sys.stderr)


def _events(base_url: str, key: str | None, path: str, body: Any) -> Iterator[Any]:
    """The data of a stream's events up to `[DONE]`. Raises ChatError."""
    with _request(base_url, key, path, body) as answer:
        try:
            for line in answer:
                data = line.strip().removeprefix(b"data:").strip()
                if not line.startswith(b"data:") or not data:
                    continue
                if data == b"[DONE]":
                    return
                yield json.loads(data)
        except (OSError, http.client.HTTPException) as error:
            raise ChatError(f"the connection broke off: {error}") from None
        except ValueError:
            raise ChatError(f"{base_url} sent what is no JSON") from None


def _request(
    base_url: str, key: str | None, path: str, body: Any = None
) -> http.client.HTTPResponse:
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    try:
        request = urllib.request.Request(f"{base_url}{path}", data, headers)
        response: http.client.HTTPResponse = urllib.request.urlopen(request)
        return response
    except urllib.error.HTTPError as error:
        raise ChatError(_refusal(error)) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ChatError(
            f"no server answers at {base_url} ({reason}); start one with: openedai run"
        ) from None


def _refusal(error: urllib.error.HTTPError) -> str:
    """What a server says against a request."""
    try:
        message = str(json.load(error)["error"]["message"])
    except (ValueError, LookupError, TypeError, OSError):
        message = error.reason
    hint = "; set OPENAI_API_KEY to a key of the server" if error.code == 401 else ""
    return f"the server answered {error.code}: {' '.join(message.split())}{hint}"
