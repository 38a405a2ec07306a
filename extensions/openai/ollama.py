"""Ollama: its own API, for clients that speak no other. Reference: Ollama's "API". Off by default.

POST /api/chat         a conversation                 POST /api/embed       texts into vectors
POST /api/generate     a prompt                       POST /api/embeddings  a text into a vector, older
GET  /api/tags         the models                     GET  /api/ps          those that are loaded
POST /api/show         a model in detail              GET  /api/version
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from .dialects.ollama.answer import ChatLine, GenerateLine, OneVector, VectorList, loaded
from .dialects.ollama.conversation import of_prompt, to_messages
from .dialects.ollama.errors import OllamaError, envelope_of
from .dialects.ollama.models import Running, Shown, Tags, Version, running, shown, tag_of
from .dialects.ollama.request import (
    OllamaChatRequest,
    OllamaEmbeddingsRequest,
    OllamaEmbedRequest,
    OllamaFields,
    OllamaGenerateRequest,
    OllamaShowRequest,
)
from .dialects.ollama.vectors import OneVectorFold, VectorListFold
from .dialects.ollama.writer import LineFold, LineWriter
from .embeddings import EmbeddingsRequest, start_embeddings
from .errors import ModelNotFound
from .generation.chat.session_history import as_said
from .generation.plan import ChatPlan, PromptPlan, Served, asked_of
from .models import found, listed
from .schemas import bad_request
from .schemas.validation import check
from .web.responses.dialects import Dialect
from .web.responses.response import Response, json_response
from .web.responses.sse import JSONLines
from .web.responses.streaming import respond
from .web.routing.routes import MODEL, PathPrefixes, Route, endpoint
from .web.session_in_dialect import in_session
from .web.session_turn import SessionTurn
from .web.storing import NOT_STORED

if TYPE_CHECKING:
    from .web.context import RequestContext

VERSION = "0.12.6"
"""Of the Ollama whose API this is; clients ask for it before they use what older ones lack."""
LATEST = ":latest"
"""What clients put behind names that have no tag."""


def ollama_chat(context: RequestContext, body: OllamaChatRequest) -> Response:
    """Answer a conversation; a last message of the assistant's is continued."""
    served = _served(context, body.model)
    if not body.messages:
        return _without_prompt(body, served, chat=True)
    fields = served.settled(body.fields)
    last = body.messages[-1]
    plan = ChatPlan(
        asked_of(fields, alternatives="top_logprobs", logprobs="logprobs"),
        partial(to_messages, body.messages),
        continues=last.role == "assistant" and not last.tool_calls,
        tools=body.tool_plan(served.tools),
        thinking=body.thinking_plan(served.info, served.thinking_budgets),
        about_text=True,
    )
    return _answer(context, plan, served, fields, chat=True)


def ollama_generate(context: RequestContext, body: OllamaGenerateRequest) -> Response:
    """Answer a prompt as a chat with one message, or continue it as it stands (`raw`, `suffix`)."""
    served = _served(context, body.model)
    if not (body.prompt or body.images or body.suffix):
        return _without_prompt(body, served, chat=False)
    fields = served.settled(body.fields)
    asked = asked_of(fields, alternatives="top_logprobs", logprobs="logprobs")
    plan: ChatPlan | PromptPlan
    if body.continues_text:
        body.check_continued()
        plan = PromptPlan(asked, (body.prompt or "",), candidates=1, suffix=body.suffix or None)
    else:
        thinking = body.thinking_plan(served.info, served.thinking_budgets)
        plan = ChatPlan(asked, partial(of_prompt, body), thinking=thinking)
    return _answer(context, plan, served, fields, chat=False)


def list_tags(context: RequestContext) -> Response:
    """The models that requests may name."""
    tags: Tags = {"models": [tag_of(model) for model in listed(context)]}
    return json_response(tags)


def show_model(context: RequestContext, body: OllamaShowRequest) -> Response:
    """A model in detail: what it can do, and its context."""
    name = body.model or body.name
    if not name:
        raise bad_request.missing("model")
    return json_response(shown(_found(context, name)))


def list_running(context: RequestContext) -> Response:
    """The models that are loaded."""
    names = [served.name for served in context.services.models.available()]
    models = [model for model in listed(context) if model["id"] in names]
    there = [model for model in models if model.get("loaded", True)]
    answer: Running = {"models": [running(model) for model in there]}
    return json_response(answer)


def ollama_embed(context: RequestContext, body: OllamaEmbedRequest) -> Response:
    """Turn texts into vectors of length 1, by the embedding model."""
    sent = {
        "model": _name(context, body.model),
        "input": body.input,
        "dimensions": body.dimensions,
        "truncate": body.truncate is not False,
    }
    batches, fold = start_embeddings(context, check(EmbeddingsRequest, sent))
    return respond(context, batches, stream=False, fold=VectorListFold(fold, context.record))


def ollama_embeddings(context: RequestContext, body: OllamaEmbeddingsRequest) -> Response:
    """Turn a text into a vector: the older form of POST /api/embed."""
    sent = {"model": _name(context, body.model), "input": body.prompt, "truncate": True}
    batches, fold = start_embeddings(context, check(EmbeddingsRequest, sent))
    return respond(context, batches, stream=False, fold=OneVectorFold(fold))


def ollama_version(context: RequestContext) -> Response:
    """The version of Ollama whose API this is."""
    version: Version = {"version": VERSION}
    return json_response(version)


def _name(context: RequestContext, sent: str) -> str:
    """The model's name; a tag that the client has put behind it is left out."""
    if not sent.endswith(LATEST):
        return sent
    try:
        return context.services.models.find(sent).name
    except ModelNotFound:
        return sent.removesuffix(LATEST)


def _served(context: RequestContext, model: str) -> Served:
    return context.serve(_name(context, model), None)


def _found(context: RequestContext, name: str) -> Mapping[str, Any]:
    return found(context, _name(context, name))


def _without_prompt(
    body: OllamaChatRequest | OllamaGenerateRequest, served: Served, *, chat: bool
) -> Response:
    """The answer to a request that only wants the model to be there. Raises InvalidRequest for one that wants
    it to go."""
    if body.is_unload:
        raise bad_request.unsupported(
            "keep_alive", "unloads no model here: that is the operator's choice (docs/models.md)."
        )
    return json_response(loaded(served.info.model, chat=chat))


def _answer(
    context: RequestContext,
    plan: ChatPlan | PromptPlan,
    served: Served,
    fields: OllamaFields,
    *,
    chat: bool,
) -> Response:
    turn: SessionTurn | None = None
    if isinstance(plan, ChatPlan):
        plan, turn = in_session(context, plan, served, user=None)
        generation = plan.start(served) if turn is None else turn.start(plan, served)
    else:
        generation = plan.start(served)
    writer = LineWriter(generation, chat=chat, logprobs=bool(fields.logprobs))
    fold = LineFold()
    return respond(
        context,
        writer.lines(),
        stream=bool(fields.stream),
        fold=fold,
        on_complete=None if turn is None else partial(_keep, turn, fold),
        telling=writer,
    )


def _keep(
    turn: SessionTurn, fold: LineFold, whole: Mapping[str, Any]
) -> Mapping[str, object] | None:
    """Keep the turn with its answer; say so where that fails."""
    return None if turn.keep([as_said(fold.said())]) else NOT_STORED


OLLAMA = Dialect(
    JSONLines(),
    envelope_of,
    OllamaError,
    elsewhere=tuple(
        f"/api/{name}" for name in ("pull", "push", "create", "copy", "delete", "blobs")
    ),
)
GREETING = {"role": "user", "content": "Hello"}
ROUTES = endpoint(
    "ollama",
    Route(
        *("POST", "/api/chat", ollama_chat, "Chat, as Ollama"),
        PathPrefixes.ROOT,
        answer=ChatLine,
        body=OllamaChatRequest,
        chunk=ChatLine,
        scope="write",
        example={"model": MODEL, "messages": [GREETING], "stream": False},
    ),
    Route(
        *("POST", "/api/generate", ollama_generate, "Answer a prompt, as Ollama"),
        PathPrefixes.ROOT,
        answer=GenerateLine,
        body=OllamaGenerateRequest,
        chunk=GenerateLine,
        scope="write",
        example={"model": MODEL, "prompt": "Why is the sky blue?", "stream": False},
    ),
    Route("GET", "/api/tags", list_tags, "List models, as Ollama", PathPrefixes.ROOT, Tags),
    Route(
        *("POST", "/api/show", show_model, "Show a model, as Ollama"),
        PathPrefixes.ROOT,
        answer=Shown,
        body=OllamaShowRequest,
        usage=None,
        example={"model": MODEL},
    ),
    Route("GET", "/api/ps", list_running, "List loaded models", PathPrefixes.ROOT, Running),
    Route(
        *("POST", "/api/embed", ollama_embed, "Create embeddings, as Ollama"),
        PathPrefixes.ROOT,
        answer=VectorList,
        body=OllamaEmbedRequest,
        scope="write",
        usage="embeddings",
        example={"model": MODEL, "input": "The cat sat on the mat."},
    ),
    Route(
        *("POST", "/api/embeddings", ollama_embeddings, "Create an embedding, as Ollama"),
        PathPrefixes.ROOT,
        answer=OneVector,
        body=OllamaEmbeddingsRequest,
        scope="write",
        usage="embeddings",
        example={"model": MODEL, "prompt": "The cat sat on the mat."},
    ),
    Route("GET", "/api/version", ollama_version, "Version", PathPrefixes.ROOT, Version),
    dialect=OLLAMA,
)
