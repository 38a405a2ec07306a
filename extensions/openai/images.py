"""Images: pictures of a text, and changed pictures. Reference: "Images"."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from .engines.pictures import (
    HEAD_BYTES,
    Picture,
    PictureFile,
    PictureMaker,
    Pictures,
    PictureSteps,
    PictureTask,
    picture_type,
)
from .engines.protocol import Capability, run_on
from .errors import BodyTooLarge, EngineFailed, InvalidRequest
from .generation.plan import Served
from .generation.slot import run_in_slot
from .schemas import bad_request
from .schemas.forms import Upload
from .schemas.task_request import TaskRequest
from .web.picture_answers import PictureAnswer
from .web.picture_links import PATH, PURPOSE, check_links
from .web.responses.response import Response
from .web.responses.streaming import OneChunk, respond
from .web.routing.routes import MODEL, PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .web.context import RequestContext

MAX_PICTURES = 10
MAX_EDITED = 16
MAX_PICTURE_BYTES = 25 << 20
MAX_PROMPT_CHARACTERS = 32_000
MAX_STEPS = 150
SIZE = r"^(auto|[1-9]\d{1,3}x[1-9]\d{1,3})$"
OPTIONS = (
    *("size", "quality", "style", "response_format", "background", "moderation"),
    *("output_format", "output_compression", "input_fidelity"),
    *("negative_prompt", "seed", "steps", "cfg_scale"),
)
"""Fields that engines get as they are."""


class _PictureRequest(TaskRequest):
    """What all three requests have."""

    n: int | None = Field(None, ge=1, le=MAX_PICTURES, description="How many pictures. Default 1.")
    size: str | None = Field(
        None, pattern=SIZE, description="WIDTHxHEIGHT, up to 9999 each, or `auto`."
    )
    response_format: Literal["url", "b64_json"] | None = Field(
        None,
        description="The pictures, or where they are: for an hour, without a key. Default: the model's; "
        "`b64_json` for models of this machine.",
    )

    @property
    def options(self) -> dict[str, Any]:
        values = {name: getattr(self, name, None) for name in OPTIONS}
        return {name: value for name, value in values.items() if value is not None}


class _PromptedRequest(_PictureRequest):
    """What the two have that say what is to be shown."""

    prompt: str = Field(
        min_length=1,
        max_length=MAX_PROMPT_CHARACTERS,
        description="What the pictures show, or what is changed.",
    )
    quality: Literal["standard", "hd", "low", "medium", "high", "auto"] | None = Field(
        None, description="Where the model has qualities."
    )
    background: Literal["transparent", "opaque", "auto"] | None = Field(
        None, description="Of the pictures."
    )
    output_format: Literal["png", "jpeg", "webp"] | None = Field(
        None, description="Of the pictures' files."
    )
    output_compression: int | None = Field(
        None, ge=0, le=100, description="Of `jpeg` and `webp`, in percent."
    )
    stream: bool | None = Field(
        None, description="Send each picture in an event of its own, once all are complete."
    )
    partial_images: int | None = Field(
        None, ge=0, le=3, description="Without effect: a picture comes when it is complete."
    )
    negative_prompt: str | None = Field(
        None,
        max_length=MAX_PROMPT_CHARACTERS,
        description="What they do not show, where the model takes that. Not OpenAI's.",
    )
    seed: int | None = Field(
        None,
        ge=0,
        lt=1 << 32,
        description="The same number makes the same pictures. Default: random. Not OpenAI's.",
    )
    steps: int | None = Field(
        None, ge=1, le=MAX_STEPS, description="Of the model. Default: the operator's. Not OpenAI's."
    )
    cfg_scale: float | None = Field(
        None,
        ge=0,
        le=30,
        description="How closely the prompt is followed. Default: the operator's. Not OpenAI's.",
    )


class ImageRequest(_PromptedRequest):
    """Make pictures of a text."""

    style: Literal["vivid", "natural"] | None = Field(
        None, description="Where the model has styles."
    )
    moderation: Literal["low", "auto"] | None = Field(
        None, description="Where the model's server moderates."
    )


class ImageEditRequest(_PromptedRequest):
    """Change pictures."""

    image: list[Upload] = Field(
        min_length=1,
        max_length=MAX_EDITED,
        description=f"The picture, or up to {MAX_EDITED} (`image[]`): PNG, JPEG or WebP, up to 25 MiB each.",
    )
    mask: Upload | None = Field(
        None, description="A PNG that is transparent where the picture is changed."
    )
    input_fidelity: Literal["high", "low"] | None = Field(
        None, description="How exactly to keep what is shown, where the model takes that."
    )


class ImageVariationRequest(_PictureRequest):
    """Make pictures that resemble one."""

    image: Upload = Field(description="The picture: PNG, JPEG or WebP, up to 25 MiB.")


class Image(TypedDict):
    """A picture: in base64, or where it is."""

    b64_json: NotRequired[str]
    url: NotRequired[str]
    revised_prompt: NotRequired[str]


class Images(TypedDict):
    """The pictures, and what the model's server says of them."""

    created: int
    data: list[Image]
    background: NotRequired[str]
    output_format: NotRequired[str]
    quality: NotRequired[str]
    size: NotRequired[str]
    usage: NotRequired[dict[str, Any]]


class ImageEvent(TypedDict):
    """An event of a stream: a picture that is complete."""

    type: Literal["image_generation.completed", "image_edit.completed"]
    b64_json: str
    created_at: int
    background: NotRequired[str]
    output_format: NotRequired[str]
    quality: NotRequired[str]
    size: NotRequired[str]
    usage: NotRequired[dict[str, Any]]


def create_image(context: RequestContext, body: ImageRequest) -> Response:
    """Make pictures of a text.

    A model of this machine does this (`--image-model`), or one of another server (`--upstreams`).
    """
    return _answer(context, body, PictureTask(body.prompt, body.n or 1, body.options))


def create_image_edit(context: RequestContext, body: ImageEditRequest) -> Response:
    """Change pictures as a text says; with a mask, only where that is transparent."""
    files = [_file(each, f"image[{at}]") for at, each in enumerate(body.image)]
    mask = None if body.mask is None else _file(body.mask, "mask")
    task = PictureTask(body.prompt, body.n or 1, body.options, tuple(files), mask)
    return _answer(context, body, task)


def create_image_variation(context: RequestContext, body: ImageVariationRequest) -> Response:
    """Make pictures that resemble one, by a model of another server that does that (`--upstreams`)."""
    task = PictureTask(None, body.n or 1, body.options, (_file(body.image, "image"),))
    return _answer(context, body, task)


def get_image(context: RequestContext, file_id: str) -> Response:
    """A picture at the address that an answer told, for an hour. No key is needed: the address is secret."""
    files = context.services.store.files
    owner, file = files.open_to_all(file_id, PURPOSE)
    headers = {
        "Cache-Control": "private, no-store",
        "Content-Length": str(file.size),
        "Content-Type": file.media_type,
        "X-Content-Type-Options": "nosniff",
    }
    return Response(files.read(owner, file_id), headers=headers)


def _answer(context: RequestContext, body: _PictureRequest, task: PictureTask) -> Response:
    # Clients may leave the model out here, as OpenAI's have a default.
    name = body.model or context.services.models.default_for(Capability.IMAGES)
    served = context.serve_able(Capability.IMAGES, name, body.timeout)
    wants_links = body.response_format == "url"
    if wants_links and not served.info.is_remote:
        check_links(context)
    steps = _steps(served, task)
    if isinstance(body, _PromptedRequest) and body.stream:
        if wants_links:
            raise bad_request.unsupported("stream", "goes with `b64_json` only.")
        whole: OneChunk[ImageEvent] = OneChunk()
        return respond(context, _events(steps, task), stream=True, fold=whole)
    if not wants_links:
        return respond(context, steps, stream=False, fold=_Fold(None))
    answer = PictureAnswer(context, body)
    if answer.earlier is not None:
        return answer.earlier
    fold = _Fold(answer.link, answer.keep)
    return respond(context, steps, stream=False, fold=fold)


def _file(upload: Upload, param: str) -> PictureFile:
    """A picture that may be one. Raises BodyTooLarge, InvalidRequest."""
    if upload.size > MAX_PICTURE_BYTES:
        raise BodyTooLarge(
            f"'{param}' has {upload.size} bytes; a picture may have {MAX_PICTURE_BYTES}.",
            param=param,
        )
    kind = picture_type(upload.file.read(HEAD_BYTES))
    upload.file.seek(0)
    if kind is not None:
        return PictureFile(upload.file, upload.size, kind)
    raise InvalidRequest(
        f"Invalid '{param}': it is no PNG, JPEG or WebP.",
        param=param,
        code="unsupported_image_media_type",
    )


def _steps(served: Served, task: PictureTask) -> PictureSteps:
    record = served.request.record
    steps = run_in_slot(
        served, lambda: run_on(served.engine, PictureMaker, lambda maker: maker.make_pictures(task))
    )
    try:
        for step in steps:
            if step is not None:
                record.amount = len(step.pictures)
                usage = step.said.get("usage")
                if isinstance(usage, dict):
                    record.prompt_tokens = _count(usage.get("input_tokens"))
                    record.completion_tokens = _count(usage.get("output_tokens"))
            yield step
    finally:
        steps.close()


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _events(steps: PictureSteps, task: PictureTask) -> Generator[ImageEvent | None, None, None]:
    """Raises EngineFailed for pictures that are addresses of another server, as events have none."""
    edits = bool(task.pictures)
    try:
        for step in steps:
            if step is None:
                yield None
                continue
            for each in step.pictures:
                if each.base64 is None:
                    raise EngineFailed("The server that has the model sends addresses only.")
                event: ImageEvent = {
                    "type": "image_edit.completed" if edits else "image_generation.completed",
                    "b64_json": each.base64,
                    "created_at": step.created or int(time.time()),
                }
                event.update(step.said)  # type: ignore[typeddict-item]  # only fields of the reference
                yield event
    finally:
        steps.close()


class _Fold:
    has_ended = False

    def __init__(
        self,
        link: Callable[[Picture], Picture] | None,
        keep: Callable[[Mapping[str, Any]], None] = lambda whole: None,
    ) -> None:
        """`link` puts an address in place of a picture's bytes; `keep` gets the whole answer."""
        self._link, self._keep = link, keep
        self._made: Sequence[Pictures] = ()

    def add(self, made: Pictures) -> None:
        self._made = (made,)

    def whole(self) -> Images:
        (made,) = self._made
        link = self._link
        pictures = made.pictures if link is None else [link(each) for each in made.pictures]
        whole: Images = {
            "created": made.created or int(time.time()),
            "data": [_shown(each) for each in pictures],
        }
        whole.update(made.said)  # type: ignore[typeddict-item]  # only fields of the reference
        self._keep(whole)
        return whole


def _shown(picture: Picture) -> Image:
    image: Image = {}
    if picture.base64 is not None:
        image["b64_json"] = picture.base64
    if picture.url is not None:
        image["url"] = picture.url
    if picture.revised_prompt is not None:
        image["revised_prompt"] = picture.revised_prompt
    return image


ROUTES = endpoint(
    "images",
    Route(
        *("POST", "/images/generations", create_image, "Create images"),
        PathPrefixes.MODEL,
        answer=Images,
        body=ImageRequest,
        chunk=ImageEvent,
        once=True,
        scope="write",
        usage="images",
        example={"model": MODEL, "prompt": "A cat in the sun"},
    ),
    Route(
        *("POST", "/images/edits", create_image_edit, "Edit images"),
        PathPrefixes.MODEL,
        answer=Images,
        body=ImageEditRequest,
        body_format="form",
        chunk=ImageEvent,
        once=True,
        scope="write",
        usage="images",
    ),
    Route(
        *("POST", "/images/variations", create_image_variation, "Create variations of an image"),
        PathPrefixes.MODEL,
        answer=Images,
        body=ImageVariationRequest,
        body_format="form",
        once=True,
        scope="write",
        usage="images",
    ),
    Route(
        *("GET", f"{PATH}/<file_id>", get_image, "Get an image"),
        PathPrefixes.API,
        media="image/png",
        media_types=("image/jpeg", "image/webp"),
        scope=None,
    ),
)
