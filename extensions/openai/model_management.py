"""Model management: show, load and unload models and LoRAs. Not OpenAI's; the names are the webui's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from .engines.model_manager import ModelManager, Template
from .errors import NotSupported
from .schemas.validation import RequestModel
from .web.responses.response import Response, json_response
from .web.routing.routes import MODEL, PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .web.context import RequestContext


class LoadedModel(TypedDict):
    """The loaded model."""

    model_name: str | None
    """Null: nothing is loaded."""
    lora_names: list[str]
    loader: str


class ModelsQuery(RequestModel):
    """What to answer of the host's models."""

    memory: bool = Field(
        False, description="Whether to look into all files for the memory that they take."
    )


class ModelNames(TypedDict):
    """The models in the host's folder."""

    model_names: list[str]
    memory: NotRequired[dict[str, int]]
    """Bytes that a model takes at most when it is loaded, where that is known; if it was asked for."""


class LoraNames(TypedDict):
    """The LoRAs in the host's folder."""

    lora_names: list[str]


class LoadModelRequest(RequestModel):
    """Which model to load, and how."""

    model_name: str = Field(
        min_length=1,
        max_length=1024,
        description="One of GET /v1/internal/model/list.",
    )
    args: dict[str, Any] | None = Field(
        None,
        description="Options of the loader, under the host's names, such as `ctx_size`. Others are reset to "
        "their values at the host's start.",
    )
    instruction_template: str | None = Field(
        None,
        max_length=1024,
        description="The host's chat template with this name, in place of the model's own.",
    )
    instruction_template_str: str | None = Field(
        None, description="A chat template (Jinja2) in place of the model's own."
    )


class LoadLorasRequest(RequestModel):
    """Which LoRAs to apply to the loaded model."""

    lora_names: list[str] = Field(
        max_length=64,
        description="Names from GET /v1/internal/lora/list; exactly these are applied.",
    )


def model_info(context: RequestContext) -> Response:
    """The loaded model and LoRAs."""
    return _loaded(_manager(context))


def list_host_models(context: RequestContext, query: ModelsQuery) -> Response:
    """The names of all models that can be loaded."""
    manager = _manager(context)
    names: ModelNames = {"model_names": list(manager.models())}
    if query.memory:
        known = ((name, manager.memory(name)) for name in names["model_names"])
        names["memory"] = {name: size for name, size in known if size is not None}
    return json_response(names)


def load_model(context: RequestContext, body: LoadModelRequest) -> Response:
    """Load a model in place of the current one. Responds once it is loaded.

    Active requests may finish within `drain_timeout` seconds; then they end with an error. New ones get 503
    `model_loading` meanwhile.
    """
    model_manager = _manager(context)
    model_manager.load(
        body.model_name,
        body.args or {},
        Template(body.instruction_template, body.instruction_template_str),
    )
    return _loaded(model_manager)


def unload_model(context: RequestContext) -> Response:
    """Free the memory of the model. The stand-alone host loads it again for the next request that generates;
    in a webui such requests get 503 until a model is loaded."""
    model_manager = _manager(context)
    model_manager.unload()
    return _loaded(model_manager)


def list_loras(context: RequestContext) -> Response:
    """The names of all LoRAs that can be applied."""
    names: LoraNames = {"lora_names": list(_manager(context).loras())}
    return json_response(names)


def load_loras(context: RequestContext, body: LoadLorasRequest) -> Response:
    """Apply exactly these LoRAs to the loaded model."""
    model_manager = _manager(context)
    model_manager.apply_loras(body.lora_names)
    return _loaded(model_manager)


def unload_loras(context: RequestContext) -> Response:
    """Remove all LoRAs from the loaded model."""
    model_manager = _manager(context)
    model_manager.apply_loras(())
    return _loaded(model_manager)


def _manager(context: RequestContext) -> ModelManager:
    """Raises ModelLoading while the first model loads, and NotSupported if the host has no other models."""
    model_manager = context.services.model_manager
    if model_manager is None:
        context.services.models.loaded()
        raise NotSupported(
            "This server only serves the model that it was started with: its engine cannot load others."
        )
    return model_manager


def _loaded(model_manager: ModelManager) -> Response:
    now = model_manager.loaded()
    answer: LoadedModel = {
        "model_name": now.model,
        "lora_names": list(now.loras),
        "loader": now.loader,
    }
    return json_response(answer)


API = PathPrefixes.API
ROUTES = endpoint(
    "model_management",
    Route("GET", "/internal/model/info", model_info, "Show the loaded model", API, LoadedModel),
    Route(
        "GET", "/internal/model/list", list_host_models, "List models to load", API, ModelNames,
        query=ModelsQuery, scope="admin",
    ),
    Route(
        "POST", "/internal/model/load", load_model, "Load a model", API, LoadedModel,
        body=LoadModelRequest, example={"model_name": MODEL}, scope="admin",
    ),
    Route(
        "POST", "/internal/model/unload", unload_model, "Unload the model", API, LoadedModel,
        scope="admin",
    ),
    Route("GET", "/internal/lora/list", list_loras, "List LoRAs", API, LoraNames, scope="admin"),
    Route(
        "POST", "/internal/lora/load", load_loras, "Apply LoRAs", API, LoadedModel,
        body=LoadLorasRequest, example={"lora_names": []}, scope="admin",
    ),
    Route(
        "POST", "/internal/lora/unload", unload_loras, "Remove LoRAs", API, LoadedModel,
        scope="admin",
    ),
)  # fmt: skip
