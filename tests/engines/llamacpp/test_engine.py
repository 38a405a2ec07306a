"""`system_fingerprint`: the same for the same model and settings, another when either changes.

Source: API reference, "system_fingerprint": the backend configuration that the model runs with.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from tests.support.api import Api
from tests.support.random_model import TEMPLATE, write_model


def reported(model: Path, *, name: str = "random", **options: Any) -> str:
    """What answers of both pages say."""
    engine = LlamaCppEngine(model, name=name, threads=1, parallel=1, **options)
    try:
        api = Api(engine)
        found = {
            api.complete("x", max_tokens=1)["system_fingerprint"],
            api.chat("x", max_tokens=1)["system_fingerprint"],
            *(c["system_fingerprint"] for c in api.chunks("completions", prompt="x", max_tokens=1)),
        }
    finally:
        engine.close()
    (fingerprint,) = found
    return str(fingerprint)


def test_it_changes_with_the_model_and_what_shapes_its_answers(
    random_model: Path, tmp_path: Path
) -> None:
    first = reported(random_model)
    copy = Path(shutil.copy(random_model, tmp_path / "copy.gguf"))
    os.utime(copy, (1, 1))
    assert reported(copy) == first, "the file's place and time are no part of the model"
    template = TEMPLATE.replace("assistant", "bot")
    others = [
        reported(random_model, context_length=512),
        reported(random_model, chat_template=template),
        reported(write_model(tmp_path / "weights.gguf", seed=2)),
        reported(write_model(tmp_path / "template.gguf", template=template)),
    ]
    assert len({first, *others}) == 5
