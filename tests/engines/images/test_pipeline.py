"""Pictures by a pipeline of diffusers, whose arguments are those of the real ones; it paints one color."""

from __future__ import annotations

import io
import sys
from base64 import b64decode
from collections.abc import Callable, Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from extensions.openai.engines.images.pipeline import Defaults, PipelineEngine
from extensions.openai.engines.pictures import PictureFile, PictureTask
from extensions.openai.engines.protocol import Capability
from extensions.openai.engines.tokenless import tokenless_info
from extensions.openai.errors import EngineFailed, InvalidRequest
from tests.support.api import Api
from tests.support.paced import PacedEngine


class Generator:
    def __init__(self, device: str) -> None:
        self.device, self.seed = device, -1

    def manual_seed(self, seed: int) -> Generator:
        self.seed = seed
        return self


class Painter:
    """As StableDiffusionPipeline."""

    steps = 2

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.painted = 0
        self.fails: Exception | None = None
        self.is_blocked = False

    def __call__(
        self,
        prompt: str | None = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 7.5,
        negative_prompt: str | None = None,
        generator: Any = None,
        callback_on_step_end: Callable[..., Any] | None = None,
    ) -> Any:
        given = {name: value for name, value in locals().items() if name != "self"}
        self.asked.append(given)
        return self.paint((width or 64, height or 64), callback_on_step_end)

    def paint(self, size: tuple[int, int], each_step: Callable[..., Any] | None) -> Any:
        if self.fails is not None:
            raise self.fails
        for at in range(self.steps):
            if each_step is not None:
                assert each_step(self, at, 0, {"latents": 1}) == {"latents": 1}
        self.painted += 1
        return SimpleNamespace(
            images=[Image.new("RGB", size, "red")], nsfw_content_detected=[self.is_blocked]
        )


class Changer(Painter):
    """As pipelines that take a picture, such as FluxKontextPipeline."""

    def __call__(  # type: ignore[override]
        self,
        image: Any = None,
        prompt: str | None = None,
        mask_image: Any = None,
        generator: Any = None,
    ) -> Any:
        self.asked.append({"image": image, "prompt": prompt, "mask_image": mask_image})
        return self.paint(image.size, None)


class QwenImagePipeline(Painter):
    def __call__(  # type: ignore[override]
        self, prompt: str | None = None, true_cfg_scale: float = 4.0, generator: Any = None
    ) -> Any:
        self.asked.append({"prompt": prompt, "true_cfg_scale": true_cfg_scale})
        return self.paint((8, 8), None)


class Engine(PipelineEngine):
    def __init__(self, painter: Any, defaults: Defaults = Defaults()) -> None:  # noqa: B008
        super().__init__(tokenless_info("painter", "tests", Capability.IMAGES, ""), defaults)
        self.painter = painter

    def pipeline(self) -> Any:
        return self.painter


@pytest.fixture(autouse=True)
def libraries(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is used of torch and diffusers."""

    def from_pipe(pipeline: Any) -> Any:
        if not isinstance(pipeline, Changer):
            raise ValueError("it cannot")
        return pipeline

    torch, diffusers = ModuleType("torch"), ModuleType("diffusers")
    made = SimpleNamespace(from_pipe=from_pipe)
    vars(torch).update(Generator=Generator)
    vars(diffusers).update(AutoPipelineForImage2Image=made, AutoPipelineForInpainting=made)
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "diffusers", diffusers)


def made(engine: Engine, *, prompt: str | None = "A cat", count: int = 1, **options: Any) -> Any:
    steps = list(engine.make_pictures(PictureTask(prompt, count, options)))
    return steps[-1]


def opened(text: str | None) -> Any:
    return Image.open(io.BytesIO(b64decode(text or "")))


def file_of(mode: str, size: tuple[int, int], color: Any, format: str = "PNG") -> PictureFile:
    file = io.BytesIO()
    Image.new(mode, size, color).save(file, format)
    return PictureFile(file, file.tell(), f"image/{format.lower()}")


def test_a_request_becomes_the_arguments_of_the_pipeline() -> None:
    engine = Engine(Painter())
    answer = made(
        engine,
        size="128x64",
        steps=3,
        cfg_scale=2.5,
        negative_prompt="dogs",
        seed=5,
        count=2,
    )
    first, second = engine.painter.asked
    assert (first["prompt"], first["width"], first["height"]) == ("A cat", 128, 64)
    assert (first["num_inference_steps"], first["guidance_scale"]) == (3, 2.5)
    assert first["negative_prompt"] == "dogs"
    assert [first["generator"].seed, second["generator"].seed] == [5, 6]
    assert answer.said == {"background": "opaque", "output_format": "png", "size": "128x64"}
    assert [opened(each.base64).size for each in answer.pictures] == [(128, 64)] * 2


def test_what_the_operator_says_holds_where_a_request_does_not() -> None:
    engine = Engine(Painter(), Defaults(steps=4, cfg_scale=0.0))
    made(engine)
    made(engine, steps=5)
    found = [(each["num_inference_steps"], each["guidance_scale"]) for each in engine.painter.asked]
    assert found == [(4, 0.0), (5, 0.0)]
    # A default for what a pipeline does not have is nothing that a client could mend.
    qwen = Engine(QwenImagePipeline(), Defaults(steps=4, cfg_scale=3.0))
    made(qwen)
    assert qwen.painter.asked == [{"prompt": "A cat", "true_cfg_scale": 3.0}]


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_formats(format: str) -> None:
    picture = opened(made(Engine(Painter()), output_format=format).pictures[0].base64)
    assert picture.format == format.upper() and picture.size == (64, 64)


def test_a_smaller_number_makes_a_smaller_file() -> None:
    low, high = (
        len(
            made(Engine(Painter()), output_format="jpeg", output_compression=each)
            .pictures[0]
            .base64
        )
        for each in (1, 100)
    )
    assert low < high


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"size": "60x64"}, "size"),
        ({"size": "4096x2048"}, "size"),
        ({"quality": "high"}, "quality"),
        ({"style": "vivid"}, "style"),
        ({"background": "transparent"}, "background"),
    ],
)
def test_what_a_pipeline_cannot_is_refused(options: Mapping[str, Any], param: str) -> None:
    painter = Painter()
    with pytest.raises(InvalidRequest) as refused:
        made(Engine(painter), **options)
    assert refused.value.param == param and not painter.asked


@pytest.mark.parametrize(("field", "value"), [("negative_prompt", "x"), ("steps", 3)])
def test_what_this_pipeline_has_not_is_refused(field: str, value: Any) -> None:
    task = PictureTask("A cat", 1, {field: value})
    with pytest.raises(InvalidRequest) as refused:
        Engine(QwenImagePipeline()).make_pictures(task)
    assert refused.value.param == field


def test_a_picture_is_changed_where_the_mask_is_transparent() -> None:
    engine = Engine(Changer())
    picture, mask = file_of("RGB", (67, 64), "blue"), file_of("RGBA", (67, 64), (9, 9, 9, 0))
    task = PictureTask("Red", 1, {}, (picture,), mask)
    *_, answer = engine.make_pictures(task)
    assert opened(answer.pictures[0].base64).size == (64, 64)
    (asked,) = engine.painter.asked
    assert asked["image"].getpixel((0, 0)) == (0, 0, 255) and asked["prompt"] == "Red"
    assert asked["mask_image"].getextrema() == (255, 255)


def test_pictures_that_cannot_be_changed() -> None:
    picture = file_of("RGB", (8, 8), "blue")
    broken = PictureFile(io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"x" * 99), 107, "image/png")
    for engine, task, param in (
        (Engine(Painter()), PictureTask("Red", 1, {}, (picture,)), "image"),
        (Engine(Painter()), PictureTask("Red", 1, {}, (picture,), picture), "mask"),
        (Engine(Changer()), PictureTask("Red", 1, {}, (picture, picture)), "image"),
        (Engine(Changer()), PictureTask("Red", 1, {}, (broken,)), "image"),
        (Engine(Changer()), PictureTask(None, 1, {}, (picture,)), "image"),
    ):
        with pytest.raises(InvalidRequest) as refused:
            engine.make_pictures(task)
        assert refused.value.param == param and not engine.painter.asked


def test_a_small_file_with_many_pixels_is_not_unfolded() -> None:
    bomb = file_of("1", (9_000, 9_000), 0)
    assert bomb.size < 100_000
    with pytest.raises(InvalidRequest) as refused:
        Engine(Changer()).make_pictures(PictureTask("Red", 1, {}, (bomb,)))
    assert refused.value.code == "image_too_large"


def test_a_client_that_leaves_ends_the_work() -> None:
    painter = Painter()
    painter.steps = 100_000
    steps = Engine(painter).make_pictures(PictureTask("A cat", 2))
    assert next(steps) is None
    steps.close()
    assert painter.painted == 0 and len(painter.asked) == 1


def test_what_fails_tells_nothing_of_the_prompt(caplog: pytest.LogCaptureFixture) -> None:
    painter = Painter()
    painter.fails = RuntimeError("secret prompt")
    with pytest.raises(EngineFailed) as failed:
        made(Engine(painter), prompt="secret prompt")
    assert "secret" not in str(failed.value) + caplog.text


def test_a_picture_that_the_filter_refuses() -> None:
    painter = Painter()
    painter.is_blocked = True
    with pytest.raises(InvalidRequest) as refused:
        made(Engine(painter))
    assert refused.value.code == "moderation_blocked"


def test_over_http() -> None:
    api = Api(PacedEngine())
    api.app.extensions["openai"].models.add("painter", Engine(Painter()))
    answer = api.client.post("/v1/images/generations", json={"prompt": "A cat", "size": "16x24"})
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert answer.json["size"] == "16x24" and answer.json["created"] > 1_700_000_000
    assert opened(answer.json["data"][0]["b64_json"]).size == (16, 24)
