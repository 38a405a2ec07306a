"""What is done with an answer that its client asks to store. Used by the endpoint `chat`."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson

from ..errors import StoreUnavailable
from ..generation.chat.request import ChatCompletionRequest
from ..generation.hooks.plots import figures_of, may_have_figures
from ..state.stored_chat import StoredChat
from .idempotent_request import IdempotentRequest

if TYPE_CHECKING:
    from ..generation.hooks.extension_hooks import Hooks
    from ..generation.plan import Served
    from .context import RequestContext
    from .responses.streaming import OnComplete

MAX_MEDIA_BYTES = 8_000_000
"""Of a picture, sound or file; a larger one is left out of what is stored, as the reference says."""
NOT_STORED: Mapping[str, bool] = {"store": False}
"""What an answer says that was to be stored and is not."""
SAMPLING = ("seed", "top_p", "temperature", "presence_penalty", "frequency_penalty")
STRUCTURED = ("tools", "tool_choice", "response_format")
ASKED = ("request_id", "input_user", *SAMPLING, *STRUCTURED)
"""What a stored completion has besides the answer: what was asked for."""
MEDIA = {"image_url": ("image_url", "url"), "input_audio": ("input_audio", "data"),
         "file": ("file", "file_data")}  # fmt: skip
"""Where the parts of messages hold what is large."""


class Storing:
    """The storing of one answer. Belongs to the thread that answers the request."""

    def __init__(self, context: RequestContext, sent: ChatCompletionRequest) -> None:
        """Begin with the request as it was sent. What is known not to work is named in the header of what
        has no effect. Raises RequestUnderWay, IdempotencyMismatch, InvalidRequest for a key that is none."""
        self._context = context
        self._store = context.services.store
        self._owner = context.record.caller.owner
        self._may = self._store.keeps and context.record.caller.stores
        self._request = IdempotentRequest(context, sent, self._get)
        if not self._may or self._store.problem is not None:
            context.record.ignored.append("store")

    @property
    def earlier(self) -> StoredChat | None:
        """What the same request, with its key, has stored before; it is to be answered again."""
        return self._request.earlier

    def when_complete(
        self, body: ChatCompletionRequest, served: Served
    ) -> OnComplete[Mapping[str, Any]]:
        """What to do with the answer to `body`, in which the operator's policy is settled: store it with the
        figures that tools and extensions give it, and say so where that cannot be done."""
        hooks = served.extensions_for(body.hooks)

        def keep(completion: Mapping[str, Any]) -> Mapping[str, bool] | None:
            if not self._may:
                return NOT_STORED
            chat = _stored(self._context.record.id, completion, body)
            asks = may_have_figures(body.messages[-1].role, hooks)
            figures = _figures(chat, hooks) if asks else {}
            try:
                self._store.chat_completions.add(
                    self._owner,
                    chat,
                    user=body.user,
                    safety_identifier=body.safety_identifier,
                    claim=self._request.claim,
                    figures=figures,
                )
            except StoreUnavailable:
                # The client has its answer nevertheless.
                if "store" not in self._context.record.ignored:
                    self._context.record.ignored.append("store")
                return NOT_STORED
            self._request.settle()
            return None

        return keep

    def _get(self, id: str) -> StoredChat:
        return self._store.chat_completions.get(self._owner, id)


def _figures(chat: StoredChat, hooks: Hooks | None) -> dict[str, list[bytes]]:
    """The figures of each answer, by the message's id."""
    sent, figures = orjson.loads(chat.messages), {}
    for id, answer in islice(chat.said().items(), len(sent), None):
        figures[id] = figures_of(answer["content"], sent, hooks)
    return figures


def answer_of(chat: StoredChat, body: ChatCompletionRequest) -> dict[str, Any]:
    """The answer as it was sent to the request that stored it."""
    stored: dict[str, Any] = orjson.loads(chat.completion)
    answer = {name: value for name, value in stored.items() if name not in ASKED}
    return answer if body.metadata is None else answer | {"metadata": dict(chat.metadata)}


def _stored(
    request_id: str, completion: Mapping[str, Any], body: ChatCompletionRequest
) -> StoredChat:
    """The completion as the reference shows a stored one: with what was asked for beside it."""
    given = body.model_dump(mode="json", include={"messages", *STRUCTURED}, exclude_unset=True)
    asked = {
        "request_id": request_id,
        "input_user": body.user,
        **{name: getattr(body, name) for name in SAMPLING},
        **{name: given.get(name) for name in STRUCTURED},
    }
    # The metadata may change, and stand apart.
    answer = {name: value for name, value in completion.items() if name != "metadata"}
    return StoredChat(
        completion["id"],
        completion["created"],
        completion["model"],
        body.metadata or {},
        orjson.dumps([_without_large_media(message) for message in given["messages"]]),
        orjson.dumps(answer | asked),
    )


def _without_large_media(message: dict[str, Any]) -> dict[str, Any]:
    parts = message.get("content")
    if not isinstance(parts, list):
        return message
    return message | {"content": [part for part in parts if _media_bytes(part) <= MAX_MEDIA_BYTES]}


def _media_bytes(part: Mapping[str, Any]) -> int:
    """Bytes of a picture, sound or file that a part holds as base64; 0 for one that it only names."""
    if part["type"] not in MEDIA:
        return 0
    outer, inner = MEDIA[part["type"]]
    text = part[outer].get(inner) or ""
    if text.startswith(("http://", "https://")):
        return 0
    data = text[text.find(",") + 1 :]  # of a data: URL
    return len(data) * 3 // 4 - data[-2:].count("=")
