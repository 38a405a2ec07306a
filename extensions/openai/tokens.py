"""Tokens: the loaded model's tokenizer and chat template. Not OpenAI's; a webui's, llama-server's and vLLM's.

    POST /v1/internal/encode        {"text"}                   {"tokens", "length"}
    POST /tokenize                  {"content"}                {"tokens"}                 as llama-server
    POST /tokenize                  {"prompt"} | {"messages"}  {"tokens", "count", ...}   as vLLM
    POST /v1/internal/token-count   {"text"} | {"messages"}    {"length"}

Nothing is generated, so nothing waits for a slot; only `logits` lets the model read its prompt.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from .chat import plan_chat
from .engines.protocol import LikelyToken
from .generation.answer_size import Names
from .generation.bare_text import (
    bare_tokens,
    check_ids,
    check_length,
    start_token,
    token_texts,
)
from .generation.chat.request import MAX_MESSAGES, ChatCompletionRequest
from .generation.events import Event
from .generation.logprobs import shown_bytes
from .generation.next_tokens import next_tokens
from .generation.plan import Asked, ChatPlan, Generation, PromptPlan, Served, asked_of
from .generation.request import GenerationRequest
from .generation.sampling.table import NativeSampling
from .schemas import bad_request
from .schemas.validation import RequestModel, all_names, check
from .web.responses.response import Response, json_response
from .web.responses.streaming import respond
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .web.context import RequestContext

MAX_TOKEN_IDS = 1 << 20
MAX_TOP_LOGITS = 1000
DEFAULT_TOP_LOGITS = 50


class EncodeRequest(RequestModel):
    """A text."""

    text: str = Field(description="Read as a prompt: with a start token if the model wants one.")
    model: str | None = Field(None, description="A name that GET /v1/models lists.")


class Encoded(TypedDict):
    """Its token ids, and how many they are."""

    tokens: list[int]
    length: int


class DecodeRequest(RequestModel):
    """Token ids."""

    tokens: list[int] = Field(max_length=MAX_TOKEN_IDS)
    model: str | None = Field(None, description="A name that GET /v1/models lists.")


class Decoded(TypedDict):
    """Their text; special tokens are their names."""

    text: str


class Detokenized(TypedDict):
    """Their text, under llama-server's name and under vLLM's."""

    content: str
    prompt: str


class ChatBody(RequestModel):
    """A chat. Takes every field of POST /v1/chat/completions."""

    checked_later: ClassVar[frozenset[str]] = all_names(ChatCompletionRequest)

    messages: list[dict[str, Any]] | None = Field(
        None,
        min_length=1,
        max_length=MAX_MESSAGES,
        description="The conversation so far; with it all other fields of POST /v1/chat/completions.",
    )
    model: str | None = Field(None, description="A name that GET /v1/models lists.")

    def sent(self, *fields: str) -> str:
        """Which one of these fields was sent. Raises InvalidRequest for none and for several."""
        found = [name for name in fields if getattr(self, name) is not None]
        if not found:
            raise bad_request.missing(fields[0])
        if len(found) > 1:
            raise bad_request.conflicting(found[1], found[0])
        return found[0]

    def plan(self, context: RequestContext, served: Served) -> ChatPlan:
        """The plan of the chat. Raises InvalidRequest."""
        own = type(self).model_fields.keys() - ChatCompletionRequest.model_fields.keys()
        fields = {**dict(self), **(self.model_extra or {})}
        given = {name: value for name, value in fields.items() if name not in own}
        chat = check(ChatCompletionRequest, given)
        context.record.ignored += chat.left_out
        return plan_chat(chat, served)


class TokenCountRequest(ChatBody):
    """A text, or a chat."""

    text: str | None = Field(None, description="Counted as a prompt.")


class TokenCount(TypedDict):
    """How many tokens that is; pictures and sounds are not counted."""

    length: int


class ChatPromptRequest(ChatBody):
    """A chat."""


class ChatPrompt(TypedDict):
    """What the model would read."""

    prompt: str


class TokenizeRequest(ChatBody):
    """A text as llama-server's clients send it (`content`), or a text or a chat as vLLM's do (`prompt`,
    `messages`)."""

    content: str | None = Field(None, description="A text. The answer is llama-server's.")
    add_special: bool | None = Field(
        None, description="With `content`: put the start token before it. Default: no."
    )
    parse_special: bool | None = Field(
        None,
        description="With `content`: read names of special tokens as those tokens. Default: yes.",
    )
    with_pieces: bool | None = Field(
        None, description="With `content`: answer with the text of each token, too."
    )
    prompt: str | None = Field(None, description="A text. The answer is vLLM's.")
    add_special_tokens: bool | None = Field(
        None,
        description="With `prompt`: put the start token before it. Default: yes. With `messages` the chat "
        "template decides.",
    )
    return_token_strs: bool | None = Field(
        None, description="With `prompt` or `messages`: answer with the text of each token, too."
    )


class TokenPiece(TypedDict):
    """A token and its text; a list of bytes if it is only a part of a character."""

    id: int
    piece: str | list[int]


class ServerTokens(TypedDict):
    """llama-server's answer."""

    tokens: list[int] | list[TokenPiece]


class CountedTokens(TypedDict):
    """vLLM's answer."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: NotRequired[list[str]]


WITHOUT_EFFECT_ON_LOGITS = ("echo", "max_tokens", "n", "stop", "stream", "suffix")
"""Fields of POST /v1/completions that say nothing of the next token."""


class LogitsRequest(RequestModel):
    """A prompt, after which the model would go on."""

    checked_later: ClassVar[frozenset[str]] = all_names(GenerationRequest)
    """The samplers: of POST /v1/completions, read with `use_samplers` only."""

    prompt: str = Field(min_length=1, description="A text.")
    top_logits: int | None = Field(
        None, ge=1, le=MAX_TOP_LOGITS, description=f"How many tokens. Default {DEFAULT_TOP_LOGITS}."
    )
    use_samplers: bool | None = Field(
        None,
        description="True: the probabilities that the request's samplers leave, of those tokens that they "
        "leave. Default: the model's own, before samplers.",
    )
    model: str | None = Field(None, description="A name that GET /v1/models lists.")


class Logits(TypedDict):
    """The likeliest next tokens and their probabilities, the likeliest first."""

    logits: dict[str, float]


def encode(context: RequestContext, body: EncodeRequest) -> Response:
    """The tokens of a text."""
    served = _serve(context, body.model)
    check_length(body.text, served.info, "text")
    tokens = served.engine.tokenize(body.text)
    encoded: Encoded = {"tokens": list(tokens), "length": len(tokens)}
    return json_response(encoded)


def decode(context: RequestContext, body: DecodeRequest) -> Response:
    """The text of tokens."""
    decoded: Decoded = {"text": _text_of(context, body)}
    return json_response(decoded)


def count_tokens(context: RequestContext, body: TokenCountRequest) -> Response:
    """How many tokens a text has, or the prompt that a chat becomes."""
    what = body.sent("text", "messages")
    served = _serve(context, body.model)
    if what == "messages":
        length = body.plan(context, served).count_prompt(served)
    else:
        text = body.text or ""
        check_length(text, served.info, "text")
        length = len(served.engine.tokenize(text))
    counted: TokenCount = {"length": length}
    return json_response(counted)


def chat_prompt(context: RequestContext, body: ChatPromptRequest) -> Response:
    """The prompt that a chat becomes, up to where the answer begins."""
    body.sent("messages")
    served = _serve(context, body.model)
    prompt: ChatPrompt = {"prompt": body.plan(context, served).prompt(served)}
    return json_response(prompt)


def tokenize(context: RequestContext, body: TokenizeRequest) -> Response:
    """The tokens of a text or a chat; which fields are sent decides whose answer comes."""
    what = body.sent("content", "prompt", "messages")
    served = _serve(context, body.model)
    if what == "content":
        return json_response(_as_llama_server(body, served))
    if what == "messages":
        tokens = served.engine.tokenize(body.plan(context, served).prompt(served))
    else:
        tokens = _prompt_tokens(body, served)
    return json_response(_as_vllm(body, served, tokens))


def detokenize(context: RequestContext, body: DecodeRequest) -> Response:
    """The text of tokens, as llama-server's and vLLM's clients read it."""
    text = _text_of(context, body)
    detokenized: Detokenized = {"content": text, "prompt": text}
    return json_response(detokenized)


def logits(context: RequestContext, body: LogitsRequest) -> Response:
    """What may come next: the likeliest tokens after a prompt."""
    served = _serve(context, body.model)
    sent = body.model_extra or {}
    context.record.ignored += [name for name in WITHOUT_EFFECT_ON_LOGITS if sent.get(name)]
    names = Names("n", "max_tokens", "top_logits")
    top = body.top_logits or DEFAULT_TOP_LOGITS
    if body.use_samplers:
        asked = _samplers(context, body, served)
        found = next_tokens(served, asked, body.prompt, top, ("top_logits", "use_samplers"))
        return respond(context, found, stream=False, fold=_LogitsFold())
    asked = Asked(NativeSampling(), names, 1, alternatives=top, logprobs_param="top_logits")
    generation = PromptPlan(asked, (body.prompt,), candidates=1).start(served)
    return respond(context, _events(generation), stream=False, fold=_LogitsFold())


def _samplers(context: RequestContext, body: LogitsRequest, served: Served) -> Asked:
    """The samplers of a request, with the operator's defaults. Raises InvalidRequest."""
    samplers = check(GenerationRequest, {"model": body.model, **(body.model_extra or {})})
    context.record.ignored += samplers.left_out
    settled = served.settled(samplers)
    return asked_of(settled, alternatives="top_logits", logprobs="top_logits")


def _serve(context: RequestContext, model: str | None) -> Served:
    """Clients of these endpoints seldom name a model: the loaded one is meant."""
    return context.serve(model or context.services.models.loaded().name, None)


def _text_of(context: RequestContext, body: DecodeRequest) -> str:
    served = _serve(context, body.model)
    check_ids(body.tokens, served.info, "tokens")
    return served.engine.detokenize(body.tokens) if body.tokens else ""


def _as_llama_server(body: TokenizeRequest, served: Served) -> ServerTokens:
    engine, info, text = served.engine, served.info, body.content or ""
    check_length(text, info, "content")
    special = body.parse_special is not False
    tokens = bare_tokens(engine, text, special=special, param="parse_special")
    if body.add_special:
        tokens = (*start_token(engine), *tokens)
    if not body.with_pieces:
        return {"tokens": list(tokens)}
    pieces: list[TokenPiece] = [
        {"id": token, "piece": text if isinstance(text, str) else list(text)}
        for token, text in zip(tokens, token_texts(engine, info, tokens), strict=True)
    ]
    return {"tokens": pieces}


def _prompt_tokens(body: TokenizeRequest, served: Served) -> tuple[int, ...]:
    text = body.prompt or ""
    check_length(text, served.info, "prompt")
    if body.add_special_tokens is False:
        return bare_tokens(served.engine, text, special=True, param="add_special_tokens")
    return served.engine.tokenize(text)


def _as_vllm(body: TokenizeRequest, served: Served, tokens: Sequence[int]) -> CountedTokens:
    answer: CountedTokens = {
        "count": len(tokens),
        "max_model_len": served.info.context_length,
        "tokens": list(tokens),
    }
    if body.return_token_strs:
        texts = token_texts(served.engine, served.info, tokens)
        answer["token_strs"] = [
            text if isinstance(text, str) else text.decode(errors="replace") for text in texts
        ]
    return answer


def _events(generation: Generation) -> Generator[Event | None, None, None]:
    try:
        for event in generation.events:
            if event is not None:
                generation.usage.add(event)
            yield event
    finally:
        generation.events.close()


class _LogitsFold:
    """The alternatives of the one token that is sampled."""

    def __init__(self) -> None:
        self._found: dict[str, float] = {}
        self.has_ended = False

    def add(self, found: Event | tuple[LikelyToken, ...]) -> None:
        if isinstance(found, tuple):
            self._add(found)
            return
        for token in found.logprobs:
            self._add(token.top)
        self.has_ended = found.finish is not None

    def _add(self, tokens: Sequence[LikelyToken]) -> None:
        for likely in tokens:
            # Tokens with the same text share a key; the likelier one comes first.
            name = shown_bytes(likely.bytes, "bytes:") or likely.name
            self._found.setdefault(name, math.exp(likely.logprob))

    def whole(self) -> Logits:
        return {"logits": self._found}


def _post(path: str, handler: Any, summary: str, answer: Any, body: type[RequestModel],
          example: dict[str, Any]) -> Route:  # fmt: skip
    return Route(
        *("POST", path, handler, summary, PathPrefixes.API),
        answer=answer,
        body=body,
        scope="write",
        usage="completions" if handler is logits else None,
        example=example,
    )


TEXT = "Hello, world"
CHAT = {"messages": [{"role": "user", "content": "Hello"}]}
ROUTES = endpoint(
    "tokens",
    _post("/internal/encode", encode, "Encode a text", Encoded, EncodeRequest, {"text": TEXT}),
    _post("/internal/decode", decode, "Decode tokens", Decoded, DecodeRequest, {"tokens": [5, 6]}),
    _post(
        *("/internal/token-count", count_tokens, "Count tokens", TokenCount, TokenCountRequest),
        CHAT,
    ),
    _post(
        *("/internal/chat-prompt", chat_prompt, "Show a chat's prompt", ChatPrompt),
        *(ChatPromptRequest, CHAT),
    ),
    _post(
        *("/internal/logits", logits, "List likely next tokens", Logits, LogitsRequest),
        {"prompt": "Once upon a"},
    ),
    _post(
        *("/tokenize", tokenize, "Tokenize", ServerTokens | CountedTokens, TokenizeRequest),
        {"content": TEXT},
    ),
    _post(
        *("/detokenize", detokenize, "Detokenize", Detokenized, DecodeRequest), {"tokens": [5, 6]}
    ),
    _post(
        *("/apply-template", chat_prompt, "Apply the chat template", ChatPrompt),
        *(ChatPromptRequest, CHAT),
    ),
)
