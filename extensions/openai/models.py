"""Models: what this server answers to. Reference: "Models"."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Literal

from typing_extensions import NotRequired, TypedDict

from .errors import ModelLoading
from .web.responses.response import Response, json_response
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .engines.protocol import EngineInfo, TemplateTraits
    from .web.context import RequestContext


class TemplateThinking(TypedDict):
    """How a model thinks."""

    opening: str
    """What a thought begins with."""
    closing: str
    """What ends it."""
    opened_by_prompt: bool
    switch: str | None
    """The template's variable that turns thinking on and off, which `enable_thinking` sets."""
    effort: bool
    """Whether `reasoning_effort` changes the prompt."""


class TemplateOrder(TypedDict):
    """Which orders of messages go through as they are; others are mended (docs/templates.md)."""

    system: Literal["none", "first", "anywhere"]
    """Where system messages may stand; none: their texts go into the first user message."""
    several_system: bool
    user_twice: bool
    assistant_first: bool
    assistant_twice: bool
    assistant_last: bool
    user_after_result: bool
    result_without_call: bool


class TemplateTools(TypedDict):
    """How tools stand in prompts; what is false here is described in plain text."""

    shown: bool
    calls: bool
    results: bool
    parallel_calls: bool
    """Two calls in one turn; else each gets a turn of its own."""
    text_beside_calls: bool
    call_id: Literal["any", "9 letters and digits", "functions.name:0"]
    """The form in which the template gets ids of calls; clients keep theirs."""


class Template(TypedDict):
    """What a chat template takes."""

    order: TemplateOrder
    tools: TemplateTools
    thinking: TemplateThinking | None
    """Null: it knows nothing of thoughts."""


class Model(TypedDict):
    """A model, or a stand-in name for it (then `root` names the real one)."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    context_length: NotRequired[int]
    capabilities: list[str]
    """What requests may ask of it; nothing while it is not loaded."""
    loaded: NotRequired[bool]
    """False for a model that the host has but that is not in memory."""
    description: NotRequired[str]
    root: NotRequired[str]
    template: NotRequired[Template]
    """What the model's chat template takes, found out by trying it; where this server renders one."""


class ModelList(TypedDict):
    """The names of all models."""

    object: Literal["list"]
    data: list[Model]


ANTHROPIC_HEADER = "HTTP_ANTHROPIC_VERSION"
"""In a request's environment: the header by which Anthropic's clients are known."""


class AnthropicModel(TypedDict):
    """A model as Anthropic's clients read it."""

    type: Literal["model"]
    id: str
    display_name: str
    created_at: str
    lifecycle: Literal["active"]
    max_input_tokens: int | None
    max_tokens: int | None


class AnthropicModelList(TypedDict):
    """All names, in one page."""

    data: list[AnthropicModel]
    has_more: bool
    first_id: str | None
    last_id: str | None


def list_models(context: RequestContext) -> Response:
    """The loaded model, then its stand-in names, then what the host could load, if the operator wants it.
    Clients that send `anthropic-version` get it in Anthropic's shape."""
    data = listed(context)
    if ANTHROPIC_HEADER in context.environ:
        return json_response(_anthropic_list(data))
    models: ModelList = {"object": "list", "data": data}
    return json_response(models)


def retrieve_model(context: RequestContext, id: str) -> Response:
    """One model by its name. 404 `model_not_found` for a name that `GET /v1/models` does not list."""
    model = found(context, id)
    return json_response(_anthropic(model) if ANTHROPIC_HEADER in context.environ else model)


def _anthropic_list(data: list[Model]) -> AnthropicModelList:
    return {
        "data": [_anthropic(model) for model in data],
        "has_more": False,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }


def _anthropic(model: Model) -> AnthropicModel:
    context = model.get("context_length")
    return {
        "type": "model",
        "id": model["id"],
        "display_name": model["id"],
        "created_at": datetime.fromtimestamp(model["created"], timezone.utc).isoformat(),
        "lifecycle": "active",
        "max_input_tokens": context,
        "max_tokens": context,
    }


def listed(context: RequestContext) -> list[Model]:
    """All names. Raises ModelLoading where there is none."""
    models, others = context.services.models, _not_loaded(context)
    try:
        served = models.loaded()
    except ModelLoading:
        if not others:
            raise
        data = []
    else:
        data = [_shape(name, served.info) for name in models.names(served)]
    return [*data, *map(_shape_of_other, others)]


def found(context: RequestContext, id: str) -> Model:
    """The model of a name. Raises ModelNotFound, ModelLoading."""
    id = id.removesuffix("/")  # a path's last one, which other addresses may end with, too
    if id in _not_loaded(context):
        return _shape_of_other(id)
    return _shape(id, context.services.models.find(id).info)


def _not_loaded(context: RequestContext) -> list[str]:
    """The names that the host could load, where they are listed."""
    model_manager = context.services.model_manager
    if model_manager is None or not context.services.settings.list_host_models:
        return []
    loaded = model_manager.loaded().model
    return [name for name in model_manager.models() if name != loaded]


def _shape_of_other(name: str) -> Model:
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "host",
        "capabilities": [],
        "loaded": False,
    }


def _shape(name: str, info: EngineInfo) -> Model:
    model: Model = {
        "id": name,
        "object": "model",
        "created": info.created,
        "owned_by": info.owned_by,
        "context_length": info.context_length,
        "capabilities": list(info.capabilities),
    }
    if info.template is not None:
        model["template"] = _template(info.template)
    if info.description:
        model["description"] = info.description
    if name != info.model:
        model["root"] = info.model
    return model


def _template(traits: TemplateTraits) -> Template:
    thinking = traits.thinking
    return {
        "order": {
            "system": traits.system,
            "several_system": traits.system_twice,
            "user_twice": traits.user_twice,
            "assistant_first": traits.assistant_first,
            "assistant_twice": traits.assistant_twice,
            "assistant_last": traits.assistant_last,
            "user_after_result": traits.user_after_result,
            "result_without_call": traits.result_without_call,
        },
        "tools": {
            "shown": traits.tools,
            "calls": traits.calls,
            "results": traits.results,
            "parallel_calls": traits.parallel_calls,
            "text_beside_calls": traits.text_beside_calls,
            "call_id": traits.call_id,
        },
        "thinking": None
        if thinking is None
        else {
            "opening": thinking.opening,
            "closing": thinking.closing,
            "opened_by_prompt": thinking.opens,
            "switch": thinking.switch,
            "effort": thinking.effort,
        },
    }


ROUTES = endpoint(
    "models",
    Route(
        "GET",
        "/models",
        list_models,
        "List models",
        PathPrefixes.API,
        answer=ModelList | AnthropicModelList,
    ),
    Route(
        "GET",
        "/models/<path:id>",
        retrieve_model,
        "Retrieve a model",
        PathPrefixes.API,
        answer=Model | AnthropicModel,
    ),
)
