"""The real library, with a model that the test makes. It needs torch: `make test-images`."""

from __future__ import annotations

import io
import warnings
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("diffusers", reason="the extra `images` is not installed")

from extensions.openai.engines.images.diffusers import DiffusersEngine
from extensions.openai.engines.images.pipeline import Defaults
from extensions.openai.engines.model_spec import ModelLoadError
from tests.support.api import Api
from tests.support.paced import PacedEngine
from tests.support.random_pipeline import write_pipeline

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return write_pipeline(tmp_path_factory.mktemp("images") / "tiny")


@pytest.fixture(scope="module")
def api(folder: Path) -> Iterator[Api]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine = DiffusersEngine(folder, name="tiny", device="cpu", defaults=Defaults(steps=2))
    api = Api(PacedEngine())
    api.app.extensions["openai"].models.add("tiny", engine)
    yield api
    engine.close()


def generate(api: Api, **body: Any) -> list[Any]:
    answer = api.client.post("/v1/images/generations", json={"prompt": "a cat", **body})
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return [opened(each["b64_json"]) for each in answer.json["data"]]


def opened(text: str) -> Any:
    return Image.open(io.BytesIO(b64decode(text)))


def png(mode: str, size: tuple[int, int], color: Any) -> io.BytesIO:
    file = io.BytesIO()
    Image.new(mode, size, color).save(file, "PNG")
    file.seek(0)
    return file


def test_a_seed_makes_the_same_pictures(api: Api) -> None:
    one, two = generate(api, seed=1, n=2, size="32x16")
    assert one.size == (32, 16) and one.format == "PNG"
    (again,) = generate(api, seed=1, size="32x16")
    (second,) = generate(api, seed=2, size="32x16")
    assert one.tobytes() == again.tobytes() != two.tobytes() == second.tobytes()


def test_steps_and_the_prompt_count(api: Api) -> None:
    made = [
        generate(api, seed=1, size="16x16", **more)[0].tobytes()
        for more in (
            {},
            {"steps": 3},
            {"prompt": "dog"},
            {"cfg_scale": 1},
            {"negative_prompt": "b"},
        )
    ]
    assert len(set(made)) == len(made)


@pytest.mark.parametrize("with_mask", [False, True])
def test_a_picture_is_changed(api: Api, with_mask: bool) -> None:
    form: dict[str, Any] = {"prompt": "red", "seed": "1", "steps": "4"}
    form["image"] = (png("RGB", (35, 24), "blue"), "a.png")
    if with_mask:
        form["mask"] = (png("RGBA", (35, 24), (0, 0, 0, 0)), "m.png")
    answer = api.client.post("/v1/images/edits", data=form, buffered=True)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert opened(answer.json["data"][0]["b64_json"]).size == (32, 24)


def test_a_folder_without_a_model(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"model_index\.json"):
        DiffusersEngine(tmp_path, name="x", device="cpu", defaults=Defaults())
    (tmp_path / "model_index.json").write_text((folder / "model_index.json").read_text())
    with pytest.raises(ModelLoadError, match="cannot be loaded"):
        DiffusersEngine(tmp_path, name="x", device="cpu", defaults=Defaults())
