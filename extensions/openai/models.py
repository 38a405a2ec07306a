"""Models: the names that requests may use. Reference: "Models"."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Literal

from typing_extensions import NotRequired, TypedDict

from .errors import ModelLoading
from .web.responses.response import Response, json_response
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .engines.protocol import TemplateTraits
    from .generation.agents.agent import Agent
    from .limits.served_models import ServedModel, ServedModels
    from .web.context import RequestContext


class TemplateThinking(TypedDict):
    """How a model marks reasoning."""

    opening: str
    """Begins a thought."""
    closing: str
    """Ends a thought."""
    opened_by_prompt: bool
    switch: str | None
    """The template variable that turns thinking on and off, which `enable_thinking` sets."""
    effort: bool
    """Whether `reasoning_effort` changes the prompt."""


class TemplateOrder(TypedDict):
    """Which orders of messages the template takes; the server mends others (docs/templates.md)."""

    system: Literal["none", "first", "anywhere"]
    """Where system messages may be; none: their texts go into the first user message."""
    several_system: bool
    user_twice: bool
    assistant_first: bool
    assistant_twice: bool
    assistant_last: bool
    user_after_result: bool
    result_without_call: bool


class TemplateTools(TypedDict):
    """How the template shows tools; the server describes in plain text what it does not show."""

    shown: bool
    calls: bool
    results: bool
    parallel_calls: bool
    """Several calls in one turn; otherwise each gets its own turn."""
    text_beside_calls: bool
    call_id: Literal["any", "9 letters and digits", "functions.name:0"]
    """The form of call ids in the prompt; clients keep their own ids."""


class Template(TypedDict):
    """What a chat template supports."""

    order: TemplateOrder
    tools: TemplateTools
    thinking: TemplateThinking | None
    """Null: it has no thoughts."""


class Model(TypedDict):
    """A model, or an alias of it, or it with an adapter (then `root` names the model)."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    context_length: NotRequired[int]
    capabilities: list[str]
    """What requests may use; empty while it is not loaded."""
    loaded: NotRequired[bool]
    """False for a model that the host could load."""
    state: NotRequired[Literal["not_loaded", "loading", "loaded", "unloading"]]
    """Of a model that is loaded when a request names it."""
    size: NotRequired[int]
    """Bytes of memory that such a model takes, at most."""
    pinned: NotRequired[bool]
    """Whether such a model stays loaded when another one needs room."""
    description: NotRequired[str]
    root: NotRequired[str]
    dimensions: NotRequired[int]
    """The numbers of its vectors, if it makes embeddings."""
    template: NotRequired[Template]
    """What the model's chat template supports, found by trying it, if this server renders one."""


class ModelList(TypedDict):
    """The list of models."""

    object: Literal["list"]
    data: list[Model]


ANTHROPIC_HEADER = "HTTP_ANTHROPIC_VERSION"
"""Key of the WSGI environment: the header that identifies Anthropic's clients."""


class AnthropicModel(TypedDict):
    """A model in Anthropic's shape."""

    type: Literal["model"]
    id: str
    display_name: str
    created_at: str
    lifecycle: Literal["active"]
    max_input_tokens: int | None
    max_tokens: int | None


class AnthropicModelList(TypedDict):
    """All names, on one page."""

    data: list[AnthropicModel]
    has_more: bool
    first_id: str | None
    last_id: str | None


def list_models(context: RequestContext) -> Response:
    """Each model with its aliases, the default one first; then agents; then models that the host could load,
    if the operator lists them. Clients that send `anthropic-version` get Anthropic's shape."""
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
    """All names. Raises ModelLoading if there is no model."""
    models, others = context.services.models, _not_loaded(context)
    try:
        every = models.all()
    except ModelLoading:
        if not others:
            raise
        data = []
    else:
        data = [_shape(models, name, served) for served in every for name in models.names(served)]
        agents = context.services.agents.open_to(context.record.caller)
        data += [_shape_of_agent(context, agent) for agent in agents]
    return [*data, *map(_shape_of_other, others)]


def found(context: RequestContext, id: str) -> Model:
    """The model with this name. Raises ModelNotFound, ModelLoading."""
    id = id.removesuffix("/")  # a path's last one, which other addresses may end with, too
    if id in _not_loaded(context):
        return _shape_of_other(id)
    agent = context.services.agents.chosen(id, None, context.record.caller)
    if agent is not None:
        return _shape_of_agent(context, agent)
    models = context.services.models
    return _shape(models, id, models.find(id))


def _not_loaded(context: RequestContext) -> list[str]:
    """Models that the host could load, if the operator lists them."""
    services = context.services
    model_manager, settings = services.model_manager, services.settings
    if model_manager is None or not (settings.list_host_models or services.host_models is not None):
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


def _shape_of_agent(context: RequestContext, agent: Agent) -> Model:
    models = context.services.models
    try:
        served = models.of_agent(agent.definition.model)
    except ModelLoading:
        served = None
    model = _shape_of_other(agent.id) if served is None else _shape(models, agent.id, served)
    model["owned_by"] = "operator"
    model.pop("description", None)
    if agent.definition.description:
        model["description"] = agent.definition.description
    return model


def _shape(models: ServedModels, name: str, served: ServedModel) -> Model:
    info = served.info
    model: Model = {
        "id": name,
        "object": "model",
        "created": info.created,
        "owned_by": info.owned_by,
        "context_length": info.context_length,
        "capabilities": list(models.capabilities(served)),
    }
    if info.residence is not None:
        model["loaded"] = info.residence.state == "loaded"
        model["state"] = info.residence.state
        model["size"] = info.residence.bytes
        model["pinned"] = info.residence.pinned
    if info.vectors is not None:
        model["dimensions"] = info.vectors.dimensions
    if info.template is not None:
        model["template"] = _template(info.template)
    if info.description:
        model["description"] = info.description
    if name != served.name or served.root is not None:
        model["root"] = served.root or served.name
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
