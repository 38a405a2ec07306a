"""A LoRA of noise for the embedded model, and what the model computes with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from tests.webui_host.numpy_llama import NumpyLlama

RANK = 4
NOISE = 0.2
CHANGED = "model.layers.0.self_attn.q_proj"


def write_lora(folder: Path, model: NumpyLlama) -> None:
    """In the form of PEFT; the model's own weights change as those of a loader do that adds it."""
    random = np.random.default_rng(0)
    weight = model.weights[f"{CHANGED}.weight"]
    down, up = (
        (random.standard_normal(shape) * NOISE).astype(np.float32)
        for shape in ((RANK, weight.shape[1]), (weight.shape[0], RANK))
    )
    folder.mkdir(parents=True)
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "", "bias": "none",
        "r": RANK, "lora_alpha": RANK, "lora_dropout": 0.0, "fan_in_fan_out": False,
        "target_modules": ["q_proj"], "layers_to_transform": [0], "inference_mode": True,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    name = f"base_model.model.{CHANGED}"
    parts = {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
    save_file(parts, folder / "adapter_model.safetensors")
    model.weights[f"{CHANGED}.weight"] = weight + up @ down
