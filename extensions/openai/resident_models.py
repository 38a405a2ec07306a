"""Models that requests load: how they are, and an operator's say over them. Not OpenAI's.

GET    /v1/internal/models                                         all models, and the room for these
POST   /v1/internal/models/load      {"model"}                     returns when it is loaded
POST   /v1/internal/models/unload    {"model"}                     returns when its memory is free
POST   /v1/internal/models/pin       {"model", "pinned"}
POST   /v1/internal/models/download  {"model": "hf:OWNER/REPO"}    its progress, streamed or at its end
DELETE /v1/internal/models/{model}                                 with its files
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from .engines.callback_bridge import TICK_S
from .errors import ModelNotFound, NotSupported
from .schemas.validation import RequestModel
from .web.responses.response import Response, json_response
from .web.responses.streaming import respond
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .engines.resident.library import Download, ModelLibrary
    from .engines.resident.model import Status
    from .engines.resident.residents import Residents
    from .limits.served_models import ServedModel, ServedModels
    from .web.context import RequestContext

PROGRESS_S = 1.0
"""Between two events of a download."""


class ServedModelShape(TypedDict):
    """A model that this server has."""

    id: str
    object: Literal["model"]
    aliases: list[str]
    on_request: bool
    """Whether requests load it; otherwise it is there as long as the server is, or an upstream's."""
    state: Literal["not_loaded", "loading", "loaded", "unloading"]
    context_length: int
    capabilities: list[str]
    running: int
    """Answers under way."""
    waiting: int
    """Requests that wait for it."""


class ResidentModelShape(ServedModelShape):
    """A model that requests load."""

    size: int
    """Bytes of memory that it takes when it is loaded, at most; 0: not known."""
    progress: float | None
    """How much of its files is read while it loads, from 0 to 1; null: not known."""
    pinned: bool
    """Whether it stays loaded when another one needs room."""
    idle_seconds: float
    """After its last answer, when it is unloaded; 0: never."""
    loads: int
    """How often it was loaded."""
    load_failures: int
    """How often that failed."""
    load_seconds: float
    """What the last time took."""
    arguments: dict[str, Any]
    """The options that it is loaded with, as the command line calls them, where they are not at their
    defaults."""


class RoomShape(TypedDict):
    """What all that requests load may take together; 0: no limit."""

    models: int
    bytes: int
    used: int
    """Bytes of those that are loaded."""


class ResidentModelList(TypedDict):
    """All of them: those that requests load, then the others."""

    object: Literal["list"]
    data: list[ResidentModelShape | ServedModelShape]
    room: RoomShape | None
    """Null: requests load none."""


class ModelRequest(RequestModel):
    """One of them."""

    model: str = Field(min_length=1, max_length=1024, description="Its name, not an alias.")


class PinRequest(ModelRequest):
    """Whether it stays."""

    pinned: bool = Field(True, description="Whether it stays loaded when another one needs room.")


class DownloadRequest(RequestModel):
    """What to download."""

    model: str = Field(
        pattern=r"^hf:[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*(:[^\x00-\x1f]{1,256})?$",
        max_length=512,
        description="hf:OWNER/REPO or hf:OWNER/REPO:FILE, as --model takes it.",
    )
    stream: bool = Field(False, description="Whether to send its progress as it goes.")


class DownloadProgress(TypedDict):
    """How far a download is."""

    state: Literal["downloading", "ready", "failed"]
    done: int
    """Bytes."""
    total: int | None
    """Null: not known yet."""
    model: str | None
    """What requests call it, once it is ready."""
    error: str | None


class DeletedModel(TypedDict):
    """What was deleted."""

    id: str
    object: Literal["model"]
    deleted: bool


def list_resident_models(context: RequestContext) -> Response:
    """All models: those that requests load, with the room for them, then those that are there anyway."""
    residents, models = context.services.loaded_on_request, context.services.models
    on_request: list[ResidentModelShape] = []
    if residents is not None:
        on_request = [_shape(residents, each) for each in residents.statuses()]
    others = [
        _shape_of_other(models, each)
        for each in models.available()
        if each.info.residence is None and each.name not in {shape["id"] for shape in on_request}
    ]
    answer: ResidentModelList = {
        "object": "list",
        "data": [*on_request, *others],
        "room": None if residents is None else _room(residents, on_request),
    }
    return json_response(answer)


def load_resident_model(context: RequestContext, body: ModelRequest) -> Response:
    """Load a model, as a request for it would. Responds once it is loaded.

    Waits as such a request does where other models must make room.
    """
    _known(context, body.model).load(body.model)
    return _answer(context, body.model)


def unload_resident_model(context: RequestContext, body: ModelRequest) -> Response:
    """Unload a model. Responds once its memory is free.

    Active requests may finish within `drain_timeout` seconds; then they end with an error. The next request
    for it loads it again.
    """
    _known(context, body.model).unload(body.model, context.services.settings.drain_timeout)
    return _answer(context, body.model)


def pin_resident_model(context: RequestContext, body: PinRequest) -> Response:
    """Keep a model loaded whatever else needs room, or no longer. It is not loaded by that."""
    _known(context, body.model).pin(body.model, pinned=body.pinned)
    return _answer(context, body.model)


def download_model(context: RequestContext, body: DownloadRequest) -> Response:
    """Download a model to the folder of models, and let requests use it. It goes on if the client hangs up;
    the same request follows it then."""
    download = _library(context).download(body.model)
    return respond(context, _progress(download), stream=body.stream, fold=_LastProgress())


def delete_model(context: RequestContext, id: str) -> Response:
    """Unload a model and delete its files. 409 `model_in_file` for one that the operator's file names."""
    _known(context, id)
    _library(context).delete(id)
    deleted: DeletedModel = {"id": id, "object": "model", "deleted": True}
    return json_response(deleted)


class _LastProgress:
    """The whole of a download's events is the last one."""

    def __init__(self) -> None:
        self._last: DownloadProgress | None = None

    def add(self, chunk: DownloadProgress) -> None:
        self._last = chunk

    @property
    def has_ended(self) -> bool:
        return self._last is not None and self._last["state"] != "downloading"

    def whole(self) -> DownloadProgress:
        assert self._last is not None
        return self._last


def _progress(download: Download) -> Generator[DownloadProgress | None, None, None]:
    silent_s = PROGRESS_S
    while not download.wait(TICK_S):
        silent_s += TICK_S
        if silent_s < PROGRESS_S:
            yield None
            continue
        silent_s = 0.0
        yield _shape_of_progress(download)
    yield _shape_of_progress(download)


def _shape_of_progress(download: Download) -> DownloadProgress:
    now = download.progress()
    return {
        "state": now.state,
        "done": now.done,
        "total": now.total,
        "model": now.model,
        "error": now.error,
    }


def _residents(context: RequestContext) -> Residents:
    residents = context.services.loaded_on_request
    if residents is None:
        raise NotSupported(
            "This server loads no models on request: it was started without --models."
        )
    return residents


def _library(context: RequestContext) -> ModelLibrary:
    library = context.services.library
    if library is None:
        raise NotSupported(
            "This server loads no models on request: it was started without --models."
        )
    return library


def _known(context: RequestContext, name: str) -> Residents:
    """The residents, among which is one of this name. Raises ModelNotFound, NotSupported."""
    residents = _residents(context)
    if name not in residents.names():
        raise ModelNotFound(name[:200], residents.names())
    return residents


def _answer(context: RequestContext, name: str) -> Response:
    residents = _residents(context)
    return json_response(_shape(residents, residents.status(name)))


def _room(residents: Residents, models: Sequence[ResidentModelShape]) -> RoomShape:
    room = residents.rules.room
    used = sum(each["size"] for each in models if each["state"] != "not_loaded")
    return {"models": room.models, "bytes": room.bytes, "used": used}


def _shape_of_other(models: ServedModels, served: ServedModel) -> ServedModelShape:
    queue = served.scheduler.state()
    return {
        "id": served.name,
        "object": "model",
        "aliases": list(models.names(served)[1:]),
        "on_request": False,
        "state": "loaded",
        "context_length": served.info.context_length,
        "capabilities": list(served.info.capabilities),
        "running": queue.running,
        "waiting": queue.waiting,
    }


def _shape(residents: Residents, status: Status) -> ResidentModelShape:
    model, info = status.model, residents.info(status.model.name)
    return {
        "id": model.name,
        "object": "model",
        "aliases": list(model.aliases),
        "on_request": True,
        "state": status.state,
        "size": model.bytes,
        "progress": status.progress,
        "context_length": info.context_length,
        "capabilities": list(info.capabilities),
        "pinned": status.pinned,
        "idle_seconds": model.idle_s,
        "running": status.running,
        "waiting": status.waiting,
        "loads": status.loads.count,
        "load_failures": status.loads.failures,
        "load_seconds": round(status.loads.last_s, 3),
        "arguments": dict(model.arguments),
    }


API = PathPrefixes.API
EXAMPLE = {"model": "small"}
ROUTES = endpoint(
    "resident_models",
    Route(
        "GET", "/internal/models", list_resident_models, "List models with their states", API,
        ResidentModelList, scope="admin",
    ),
    Route(
        "POST", "/internal/models/load", load_resident_model, "Load a model beside others", API,
        ResidentModelShape, body=ModelRequest, example=EXAMPLE, scope="admin",
    ),
    Route(
        "POST", "/internal/models/unload", unload_resident_model, "Unload one of the models", API,
        ResidentModelShape, body=ModelRequest, example=EXAMPLE, scope="admin",
    ),
    Route(
        "POST", "/internal/models/pin", pin_resident_model, "Keep a model loaded", API,
        ResidentModelShape, body=PinRequest, example=EXAMPLE, scope="admin",
    ),
    Route(
        "POST", "/internal/models/download", download_model, "Download a model", API,
        DownloadProgress, body=DownloadRequest, chunk=DownloadProgress,
        example={"model": "hf:OWNER/REPO"}, scope="admin",
    ),
    Route(
        "DELETE", "/internal/models/<path:id>", delete_model, "Delete a model", API, DeletedModel,
        scope="admin",
    ),
)  # fmt: skip
