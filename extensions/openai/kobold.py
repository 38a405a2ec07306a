"""Kobold: KoboldAI's API as KoboldCpp has it, for clients that speak no other. Off by default.

POST /api/v1/generate             {"prompt"}     the whole answer
POST /api/extra/generate/stream   {"prompt"}     the same as events
POST /api/extra/generate/check    {"genkey"}     the text of an answer under way
POST /api/extra/abort             {"genkey"}     ends it
POST /api/extra/tokencount        {"prompt"}
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .access.keys import has_keys
from .dialects.kobold.answer import (
    Aborted,
    KoboldResults,
    KoboldToken,
    KoboldVersion,
    MessageEvents,
    Result,
    ResultsFold,
    SoFarResults,
    TokenCount,
    Value,
    tokens_of,
)
from .dialects.kobold.errors import KoboldError, envelope_of
from .dialects.kobold.prompt import MOST_TOKENS, plan_of
from .dialects.kobold.request import KoboldGenerateRequest, KoboldKey, KoboldText
from .engines.protocol import Capability
from .generation.bare_text import bare_tokens, check_length
from .web.context import PartialAnswer, RequestContext
from .web.responses.dialects import Dialect
from .web.responses.response import Response, json_response
from .web.responses.streaming import respond
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .generation.plan import Served
    from .limits.active_requests import ActiveRequest

API_VERSION = "1.2.5"
"""Of KoboldAI's API; SillyTavern sends stop strings from 1.2.2 on."""
VERSION = "1.99"
"""Of the KoboldCpp whose API this is; SillyTavern streams from 1.30 on."""


def kobold_generate(context: RequestContext, body: KoboldGenerateRequest) -> Response:
    """Continue a prompt."""
    return _answer(context, body, stream=False)


def kobold_stream(context: RequestContext, body: KoboldGenerateRequest) -> Response:
    """Continue a prompt, and send the text as it is made."""
    return _answer(context, body, stream=True)


def kobold_check(context: RequestContext, body: KoboldKey) -> Response:
    """The text so far of the caller's answer with this `genkey`; empty if there is none."""
    texts = ["".join(each.partial.parts) for each in _own(context, body.genkey) if each.partial]
    answer: SoFarResults = {"results": [{"text": texts[-1] if texts else ""}]}
    return json_response(answer)


def kobold_abort(context: RequestContext, body: KoboldKey) -> Response:
    """End the caller's answers with this `genkey`: each is what was generated so far."""
    found = _own(context, body.genkey)
    for request in found:
        request.stopped = True
    answer: Aborted = {"success": "true" if found else "false", "done": "true"}
    return json_response(answer)


def kobold_count(context: RequestContext, body: KoboldText) -> Response:
    """The tokens of a text."""
    served = _served(context)
    check_length(body.prompt, served.info, "prompt")
    if body.special is False:
        tokens = bare_tokens(served.engine, body.prompt, special=True, param="special")
    else:
        tokens = served.engine.tokenize(body.prompt)
    count: TokenCount = {"value": len(tokens), "ids": list(tokens)}
    return json_response(count)


def kobold_model(context: RequestContext) -> Response:
    """The name of the model."""
    result: Result = {"result": f"koboldcpp/{context.services.models.loaded().name}"}
    return json_response(result)


def kobold_api_version(context: RequestContext) -> Response:
    """The version of KoboldAI's API that this is."""
    result: Result = {"result": API_VERSION}
    return json_response(result)


def kobold_version(context: RequestContext) -> Response:
    """The KoboldCpp whose API this is, and what of it there is."""
    able = context.services.models.loaded().info.capabilities
    version: KoboldVersion = {
        "result": "KoboldCpp",
        "version": VERSION,
        "protected": has_keys(context.services.settings),
        "vision": False,
        "embeddings": Capability.EMBEDDINGS in able,
    }
    return json_response(version)


def kobold_context_length(context: RequestContext) -> Response:
    """The tokens of a prompt and its answer."""
    value: Value = {"value": context.services.models.loaded().info.context_length}
    return json_response(value)


def kobold_max_length(context: RequestContext) -> Response:
    """The tokens of an answer, unless a request says otherwise."""
    length = context.services.models.loaded().info.context_length
    value: Value = {"value": min(MOST_TOKENS, max(1, length // 2))}
    return json_response(value)


def _served(context: RequestContext, model: str | None = None) -> Served:
    """These clients name no model: the loaded one is meant."""
    return context.serve(model or context.services.models.loaded().name, None)


def _answer(context: RequestContext, body: KoboldGenerateRequest, *, stream: bool) -> Response:
    manager = context.services.model_manager
    if manager is not None:
        manager.reload_if_unloaded()
    served = _served(context, body.model)
    generation = plan_of(served.settled(body.asked(stream=stream)), served).start(served)
    so_far = context.partial = PartialAnswer(body.genkey)
    return respond(
        context,
        tokens_of(generation, so_far.parts),
        stream=stream,
        fold=ResultsFold(generation.usage, so_far.parts),
    )


def _own(context: RequestContext, key: str) -> list[RequestContext]:
    """The caller's requests under way whose answers have this key, the oldest first."""
    owner = context.record.caller.owner

    def is_meant(request: ActiveRequest) -> bool:
        partial = request.partial if isinstance(request, RequestContext) else None
        return partial is not None and partial.key == key and request.record.caller.owner == owner

    found = context.services.active_requests.matching(is_meant)
    return [each for each in found if isinstance(each, RequestContext)]


KOBOLD = Dialect(MessageEvents(), envelope_of, KoboldError)
EXAMPLE = {"prompt": "Once upon a time", "max_length": 40}
ROUTES = endpoint(
    "kobold",
    Route(
        *("POST", "/generate", kobold_generate, "Continue a prompt, as KoboldCpp"),
        PathPrefixes.KOBOLD,
        answer=KoboldResults,
        body=KoboldGenerateRequest,
        scope="write",
        example=EXAMPLE,
    ),
    Route(
        *("POST", "/api/extra/generate/stream", kobold_stream, "Stream, as KoboldCpp"),
        PathPrefixes.ROOT,
        body=KoboldGenerateRequest,
        chunk=KoboldToken,
        media="text/event-stream",
        scope="write",
        example=EXAMPLE,
    ),
    Route(
        *("POST", "/api/extra/generate/check", kobold_check, "Look at an answer"),
        PathPrefixes.ROOT,
        answer=SoFarResults,
        body=KoboldKey,
        body_optional=True,
        usage=None,
    ),
    Route(
        *("POST", "/api/extra/abort", kobold_abort, "End an answer"),
        PathPrefixes.ROOT,
        answer=Aborted,
        body=KoboldKey,
        body_optional=True,
        scope="write",
        usage=None,
    ),
    Route(
        *("POST", "/api/extra/tokencount", kobold_count, "Count tokens, as KoboldCpp"),
        PathPrefixes.ROOT,
        answer=TokenCount,
        body=KoboldText,
        usage=None,
        example={"prompt": "The cat sat on the mat."},
    ),
    Route("GET", "/model", kobold_model, "The model", PathPrefixes.KOBOLD, Result),
    Route("GET", "/info/version", kobold_api_version, "Version", PathPrefixes.KOBOLD, Result),
    Route(
        "GET",
        "/api/extra/version",
        kobold_version,
        "What there is",
        PathPrefixes.ROOT,
        KoboldVersion,
    ),
    Route(
        *("GET", "/config/max_context_length", kobold_context_length, "Context"),
        PathPrefixes.KOBOLD,
        Value,
    ),
    Route(*("GET", "/config/max_length", kobold_max_length, "Length"), PathPrefixes.KOBOLD, Value),
    Route(
        *("GET", "/api/extra/true_max_context_length", kobold_context_length, "Context"),
        PathPrefixes.ROOT,
        Value,
    ),
    dialect=KOBOLD,
)
