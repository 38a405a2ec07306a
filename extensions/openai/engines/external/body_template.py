"""The body of a request to a chat API, made by the operator's template in the sandbox of chat templates.

A template knows `messages` (each with `role` and `content`), `prompt` (the last user message's text),
`system` (the system messages' texts), `max_tokens`, `seed`, and the sampler parameters that a request gives.
What it makes must be JSON; `tojson` writes a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from jinja2 import TemplateSyntaxError, meta

from ...errors import EngineFailed
from ..chat_template.sandbox.environment import environment
from ..chat_template.sandbox.meter import Meter, TemplateTooCostly, concat, metered
from ..protocol import ChatRequest

MAX_SOURCE = 131_072  # characters
OURS = ("messages", "prompt", "system", "max_tokens", "seed")


class BadBody(Exception):
    """The source is no template of JSON; the message says why."""


class BodyTemplate:
    """A compiled template. Thread-safe."""

    def __init__(self, source: str) -> None:
        """Raises BadBody."""
        if len(source) > MAX_SOURCE:
            raise BadBody(f"it has more than {MAX_SOURCE} characters")
        try:
            with metered(Meter()):
                self._template = environment().from_string(source)
                self.names = frozenset(meta.find_undeclared_variables(environment().parse(source)))
        except TemplateSyntaxError as error:
            raise BadBody(f"line {error.lineno}: {error.message}") from None
        except (RecursionError, TemplateTooCostly) as error:
            raise BadBody(str(error)) from None
        self._source = source
        example = {"messages": [{"role": "user", "content": 'a "quoted" text'}], "prompt": 'a "'}
        try:
            self._run({**example, "system": "", "max_tokens": None, "seed": None}, 1, 100)
        except EngineFailed:
            raise BadBody("what it makes is not JSON; `tojson` writes a value") from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BodyTemplate) and other._source == self._source

    def __hash__(self) -> int:
        return hash(self._source)

    def __repr__(self) -> str:
        return f"BodyTemplate({self._source!r})"

    def make(self, request: ChatRequest) -> bytes:
        """The body for a conversation. Raises EngineFailed."""
        messages = [
            {"role": message.role, "content": message.content or ""} for message in request.messages
        ]
        given = {
            "messages": messages,
            "prompt": next((m["content"] for m in reversed(messages) if m["role"] == "user"), ""),
            "system": "\n\n".join(m["content"] for m in messages if m["role"] == "system"),
            "max_tokens": request.max_tokens,
            "seed": request.seed,
            **request.sampling,
        }
        size = sum(len(message["content"]) for message in messages)
        return self._run(given, len(messages), size)

    def _run(self, given: Mapping[str, Any], messages: int, characters: int) -> bytes:
        template = self._template
        try:
            with metered(Meter(messages, characters)):
                text = concat(template.root_render_func(template.new_context(dict(given))))
            return orjson.dumps(orjson.loads(text))
        except Exception as error:  # a template may make each of them
            raise EngineFailed(
                "The body of the request to the chat API could not be made; the operator has to look at its "
                "template."
            ) from error
