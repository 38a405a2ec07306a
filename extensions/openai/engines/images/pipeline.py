"""An engine over a pipeline of diffusers: Stable Diffusion, FLUX, Qwen-Image, Z-Image and their kin.

Pipelines have no common interface, but common names of arguments: a request's field is passed on where the
pipeline's signature has it, and is a 400 where it has not.
"""

from __future__ import annotations

import inspect
import logging
import secrets
import threading
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ...errors import EngineFailed, InvalidRequest
from ...schemas import bad_request
from ..callback_bridge import Emit, iterate_callback
from ..pictures import Picture, Pictures, PictureSteps, PictureTask
from ..protocol import EngineInfo
from ..tokenless import TokenlessEngine
from .files import decoded, encoded

log = logging.getLogger("openedai")

MAX_PIXELS = 2048 * 2048
"""Of one that is made; memory grows with them."""
SIDE_MULTIPLE = 8
"""What all pipelines can make has sides of so many pixels, or of a multiple."""
CHANGEABLE = "makes pictures of texts only."
NEUTRAL: Mapping[str, tuple[str, ...]] = {
    "quality": ("auto", "standard"),
    "style": (),
    "background": ("auto", "opaque"),
    "moderation": ("auto", "low"),
    "input_fidelity": (),
}
"""Fields of hosted models that no pipeline has, and the values that are true of all of them."""


class _ReaderLeft(Exception):
    """No client waits any more."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the operator says where a request does not; None: the pipeline's own."""

    steps: int | None = None
    cfg_scale: float | None = None


class PipelineEngine(TokenlessEngine):
    """Makes one picture at a time. Thread-safe."""

    def __init__(self, info: EngineInfo, defaults: Defaults = Defaults()) -> None:  # frozen
        super().__init__(info)
        self._defaults = defaults
        self._lock = threading.Lock()

    @abstractmethod
    def pipeline(self) -> Any:
        """The loaded pipeline. Raises ModelLoading."""

    def make_pictures(self, task: PictureTask) -> PictureSteps:
        """As in PictureMaker."""
        if task.prompt is None:
            raise bad_request.unsupported("image", "needs a `prompt` with this model: use edits.")
        for name, values in NEUTRAL.items():
            if (value := task.options.get(name)) is not None and value not in values:
                raise bad_request.unsupported(name, f"`{value}` is nothing that this model has.")
        pipeline = self._suited(task)
        arguments = self._arguments(pipeline, task)

        def work(emit: Emit[Pictures | None]) -> None:
            with self._lock:
                made = self._made(pipeline, arguments, task, emit)
            if made:
                emit(self._answer(made, task))

        return iterate_callback(work)

    def _suited(self, task: PictureTask) -> Any:
        """The pipeline for a task, with the loaded one's parts. Raises InvalidRequest."""
        pipeline = self.pipeline()
        if not task.pictures:
            return pipeline
        if len(task.pictures) > 1:
            raise bad_request.unsupported("image", "is one picture with this model.")
        if task.mask is None and "image" in _known(pipeline):
            return pipeline
        library: Any = import_module("diffusers")
        kind = "AutoPipelineForImage2Image" if task.mask is None else "AutoPipelineForInpainting"
        try:
            return getattr(library, kind).from_pipe(pipeline)
        except (ValueError, AttributeError) as error:
            log.debug("no pipeline for changes: %s", type(error).__name__)
            raise bad_request.unsupported(
                "image" if task.mask is None else "mask", CHANGEABLE
            ) from None

    def _arguments(self, pipeline: Any, task: PictureTask) -> dict[str, Any]:
        """What the pipeline is called with. Raises InvalidRequest."""
        known, options = _known(pipeline), task.options
        given: dict[str, Any] = {"prompt": task.prompt}
        size = _size(options.get("size"))
        if task.pictures:
            picture = decoded(task.pictures[0], "image", "RGB")
            size = size or _rounded(picture.size)
            given["image"] = picture.resize(size)
        if task.mask is not None:
            alpha = decoded(task.mask, "mask", "RGBA").getchannel("A").resize(size)
            given["mask_image"] = alpha.point(lambda opaque: 255 - opaque)
        if size is not None and {"width", "height"} <= known:
            given["width"], given["height"] = size
        scale = "true_cfg_scale" if type(pipeline).__name__.startswith("Qwen") else "guidance_scale"
        for field, name, value in (
            ("negative_prompt", "negative_prompt", options.get("negative_prompt")),
            ("steps", "num_inference_steps", options.get("steps", self._defaults.steps)),
            ("cfg_scale", scale, options.get("cfg_scale", self._defaults.cfg_scale)),
        ):
            if value is not None and name in known:
                given[name] = value
            elif field in options:
                raise bad_request.unsupported(field, "is nothing that this model has.")
        return given

    def _made(
        self,
        pipeline: Any,
        arguments: Mapping[str, Any],
        task: PictureTask,
        emit: Emit[Pictures | None],
    ) -> list[Any]:
        """The pictures; none when no client waits. Raises EngineFailed, InvalidRequest."""

        def each_step(
            _pipeline: Any, _at: int, _time: Any, values: dict[str, Any]
        ) -> dict[str, Any]:
            if emit(None):
                raise _ReaderLeft
            return values

        library: Any = import_module("torch")
        seed = task.options.get("seed", secrets.randbelow(1 << 32))
        more = (
            {"callback_on_step_end": each_step}
            if "callback_on_step_end" in _known(pipeline)
            else {}
        )
        made: list[Any] = []
        try:
            for at in range(task.count):
                generator = library.Generator("cpu").manual_seed((seed + at) % (1 << 32))
                answer = pipeline(**arguments, **more, generator=generator)
                if any(getattr(answer, "nsfw_content_detected", None) or ()):
                    raise _blocked()
                made += answer.images
        except _ReaderLeft:
            return []
        except InvalidRequest:
            raise
        except Exception as error:  # of torch, diffusers and what they call
            log.error("the image model failed: %s", type(error).__name__)
            words = (
                "has too little memory for it"
                if "OutOfMemory" in type(error).__name__
                else "failed"
            )
            raise EngineFailed(f"The image model {words}.") from error
        return made

    def _answer(self, made: list[Any], task: PictureTask) -> Pictures:
        format = task.options.get("output_format", "png")
        compression = task.options.get("output_compression")
        width, height = made[0].size
        said = {"background": "opaque", "output_format": format, "size": f"{width}x{height}"}
        pictures = tuple(Picture(encoded(each, format, compression)) for each in made)
        return Pictures(pictures, said=said)

    def close(self) -> None:
        """Subclasses that load a pipeline forget it."""


def _known(pipeline: Any) -> set[str]:
    return set(inspect.signature(type(pipeline).__call__).parameters)


def _size(said: str | None) -> tuple[int, int] | None:
    """Raises InvalidRequest."""
    if said in (None, "auto"):
        return None
    width, height = map(int, str(said).split("x"))
    if width % SIDE_MULTIPLE or height % SIDE_MULTIPLE:
        raise _refused(f"its sides must be multiples of {SIDE_MULTIPLE} with this model.")
    if width * height > MAX_PIXELS:
        raise _refused(f"this server makes pictures of up to {MAX_PIXELS} pixels.")
    return width, height


def _rounded(size: tuple[int, int]) -> tuple[int, int]:
    """The size of a picture that is changed: its own, as far as it can be made."""
    width, height = size
    scale = min(1.0, (MAX_PIXELS / (width * height)) ** 0.5)
    sides = [
        max(SIDE_MULTIPLE, int(side * scale) // SIDE_MULTIPLE * SIDE_MULTIPLE) for side in size
    ]
    return sides[0], sides[1]


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid 'size': {why}", param="size", code="invalid_value")


def _blocked() -> InvalidRequest:
    return InvalidRequest(
        "The model's own filter refuses the picture.", param="prompt", code="moderation_blocked"
    )
