"""The host's own options, one row each: flag, environment name, type, default, help.

Later wins: default, environment (`OPENEDAI_CTX_SIZE` for `--ctx-size`), flag. Options that belong
to an extension are not here: the extension declares them itself.
"""

import math
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from extensions.openai.engines.model_spec import TASKS, Task
from extensions.openai.engines.registry import DEFAULT, ENGINES, MOCK
from extensions.openai.engines.tuning import (
    CACHE_TYPES,
    FITS,
    FLASH_ATTENTION,
    NUMAS,
    ROPE_SCALINGS,
    SPECULATIONS,
    SPLIT_MODES,
    CacheType,
    Fit,
    FlashAttention,
    Numa,
    RopeScaling,
    Speculation,
    SplitMode,
)
from host.errors import HostError
from host.folders import MODELS

EMBEDDED_MODEL = "openedai-tiny"


@dataclass(frozen=True, slots=True)
class HostOptions:
    """The host's options after defaults, environment and flags. Holds no key."""

    model: str = EMBEDDED_MODEL
    model_dir: Path = MODELS
    ctx_size: int = 0
    gpu_layers: int = -1
    threads: int = 0
    parallel: int = 4
    lora: tuple[str, ...] = ()
    mmproj: str | None = None
    no_mmproj: bool = False
    chat_template_file: Path | None = None
    task: Task = "auto"
    cache_ram: int = -1
    cache_disk: Path | None = None
    cache_disk_size: int = 8192
    cache_type_k: CacheType = "f16"
    cache_type_v: CacheType = "f16"
    flash_attn: FlashAttention = "auto"
    batch_size: int = 0
    ubatch_size: int = 0
    threads_batch: int = 0
    numa: Numa = "off"
    mlock: bool = False
    no_mmap: bool = False
    rope_scaling: RopeScaling = "model"
    rope_freq_base: float = 0.0
    rope_freq_scale: float = 0.0
    yarn_orig_ctx: int = 0
    tensor_split: tuple[float, ...] = ()
    split_mode: SplitMode = "layer"
    main_gpu: int = 0
    fit: Fit = "on"
    fit_target: int = -1
    draft_model: str | None = None
    speculative: Speculation = "off"
    draft_max: int = 0
    loader: str = DEFAULT
    models: str | None = None
    models_max: int = 0
    models_ram: int = -1
    models_wait: float = 10.0
    models_idle: float = 0.0
    models_full: Literal["swap", "refuse"] = "swap"
    extensions: tuple[str, ...] = ("openai",)
    settings: Path | None = None
    explain: bool = False
    verbose: bool = False


@dataclass(frozen=True, slots=True)
class Option:
    """One option. `convert` takes one word and raises ValueError with what was expected."""

    name: str
    """The flag without its dashes."""
    convert: Callable[[str], Any]
    help: str
    metavar: str | None = None
    short: str | None = None
    """A flag of one letter besides, such as `-m`."""
    of_model: bool = True
    """Whether it is about the model, and not about the program."""
    many: bool = False
    """Takes one or more words; in the environment they are split as a shell would."""
    adds_up: bool = False
    """Given twice, the flag adds to its list; else the later list wins."""

    @property
    def field(self) -> str:
        return self.name.replace("-", "_")

    @property
    def environment(self) -> str:
        return "OPENEDAI_" + self.field.upper()


LEAST_CONTEXT = 256
"""llama.cpp rounds a smaller context up to this many tokens."""


def context_length(text: str) -> int:
    """Tokens; 0 is the model's own."""
    value = whole_number(0)(text)
    if 0 < value < LEAST_CONTEXT:
        raise ValueError(f"must be at least {LEAST_CONTEXT}, or 0 for the model's own, not {value}")
    return value


def whole_number(least: int) -> Callable[[str], int]:
    """A converter for whole numbers from `least` up."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"a whole number was expected, not {text!r}") from None
        if value < least:
            raise ValueError(f"must be at least {least}, not {value}")
        return value

    return convert


def number(least: float) -> Callable[[str], float]:
    """A converter for numbers from `least` up."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"a number was expected, not {text!r}") from None
        if not least <= value < math.inf:
            raise ValueError(f"must be at least {least:g}, not {text}")
        return value

    return convert


def one_of(words: Sequence[str]) -> Callable[[str], str]:
    """A converter that takes these words."""

    def convert(text: str) -> str:
        if text not in words:
            raise ValueError(f"one of {', '.join(words)} was expected, not {text!r}")
        return text

    return convert


def boolean(text: str) -> bool:
    """`1`, `true`, `yes`, `on` or `0`, `false`, `no`, `off`, in any case."""
    word = text.strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise ValueError(f"true or false was expected, not {text!r}")


def loader(text: str) -> str:
    if text not in ENGINES:
        raise ValueError(f"{' or '.join(ENGINES)} was expected, not {text!r}")
    return text


def word(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def folder_name(text: str) -> str:
    """An extension is named by its folder, so the name must not lead anywhere else."""
    if not text.replace("-", "_").isidentifier():
        raise ValueError(
            f"the name of a folder below extensions/ was expected, not {text!r}; "
            "a model goes after --model"
        )
    return text


def path(text: str) -> Path:
    return Path(word(text)).expanduser()


OPTIONS: tuple[Option, ...] = (
    Option(
        "model",
        word,
        "a GGUF file, a folder that holds one, the name of either below --model-dir, or "
        "hf:OWNER/REPO[:FILE] to download; FILE may be a quantisation such as Q4_K_M, or a "
        f"pattern (default: {EMBEDDED_MODEL}, the tiny demonstration model that comes along)",
        "MODEL",
        short="-m",
    ),
    Option(
        "model-dir",
        path,
        "where models are looked for and downloaded to (default: models beside server.py; of an "
        "installed package: ~/.local/share/openedai/models)",
        "DIR",
    ),
    Option(
        "ctx-size",
        context_length,
        "context length in tokens (default: the model's own, or what a quarter of the memory holds of it)",
        "N",
    ),
    Option(
        "gpu-layers",
        whole_number(-1),
        "layers to put on the GPU (default: -1, as many as fit)",
        "N",
    ),
    Option("threads", whole_number(0), "CPU threads (default: 0, the engine decides)", "N"),
    Option("parallel", whole_number(1), "requests that run at the same time (default: 4)", "N"),
    Option(
        "lora",
        word,
        "LoRA adapters in GGUF form, each with an optional strength; may be repeated",
        "PATH[:SCALE]",
        many=True,
        adds_up=True,
    ),
    Option(
        "mmproj",
        word,
        "the encoder of pictures or sounds that belongs to the model, a GGUF file (default: the "
        "mmproj*.gguf beside the model, where a folder or a repository has one)",
        "PATH",
    ),
    Option("no-mmproj", boolean, "text only, even where there is an encoder beside the model"),
    Option(
        "chat-template-file",
        path,
        "a chat template (Jinja2) in place of the model's own",
        "FILE",
    ),
    Option(
        "task",
        one_of(TASKS),
        "what the model is for: text, embeddings or rerank (default: auto, what its file says)",
        "TASK",
    ),
    Option(
        "cache-ram",
        whole_number(-1),
        "memory for prompts whose slot went to another request, in MiB; 0: none (default: -1, an eighth "
        "of the machine's, at most 8192; 16 for a model below 64 MiB)",
        "MIB",
    ),
    Option(
        "cache-disk",
        path,
        "a folder that keeps these prompts over restarts, readable by its owner only (default: none)",
        "DIR",
    ),
    Option(
        "cache-disk-size",
        whole_number(0),
        "MiB that all files in it may have, the oldest go first (default: 8192)",
        "MIB",
    ),
    Option(
        "cache-type-k", one_of(CACHE_TYPES), "type of the KV cache's keys (default: f16)", "TYPE"
    ),
    Option("cache-type-v", one_of(CACHE_TYPES), "type of its values (default: f16)", "TYPE"),
    Option(
        "flash-attn",
        one_of(FLASH_ATTENTION),
        "flash attention (default: auto, off where a processor is faster without it)",
        "WHEN",
    ),
    Option("batch-size", whole_number(0), "tokens of a prompt per step (default: 0, 512)", "N"),
    Option(
        "ubatch-size",
        whole_number(0),
        "tokens computed at once (default: 0, all, or 128 where flash attention is off by itself)",
        "N",
    ),
    Option(
        "threads-batch", whole_number(0), "threads that read prompts (default: 0, --threads)", "N"
    ),
    Option("numa", one_of(NUMAS), "how memory is spread over processors (default: off)", "HOW"),
    Option("mlock", boolean, "keep the model in memory, never swapped out"),
    Option("no-mmap", boolean, "read the model's file into memory instead of mapping it"),
    Option("rope-scaling", one_of(ROPE_SCALINGS), "RoPE scaling (default: model, its own)", "HOW"),
    Option("rope-freq-base", number(0), "RoPE's base frequency (default: 0, the model's)", "X"),
    Option("rope-freq-scale", number(0), "RoPE's frequency scale (default: 0, the model's)", "X"),
    Option(
        "yarn-orig-ctx", whole_number(0), "YaRN: the trained context (default: 0, the model's)", "N"
    ),
    Option("tensor-split", number(0), "the part of each GPU, such as 3 1", "PART", many=True),
    Option("split-mode", one_of(SPLIT_MODES), "how GPUs share the model (default: layer)", "HOW"),
    Option("main-gpu", whole_number(0), "the GPU that is used alone or leads (default: 0)", "N"),
    Option("fit", one_of(FITS), "put as many layers on GPUs as fit (default: on)", "WHEN"),
    Option(
        "fit-target",
        whole_number(-1),
        "MiB that --fit leaves free on each GPU (default: -1, llama.cpp's, 1024)",
        "MIB",
    ),
    Option("draft-model", word, "a small model with the same tokens that guesses ahead", "MODEL"),
    Option("speculative", one_of(SPECULATIONS), "guesses from earlier text (default: off)", "HOW"),
    Option("draft-max", whole_number(0), "tokens guessed at once (default: 0, llama.cpp's)", "N"),
    Option(
        "loader",
        loader,
        f"{', or '.join(row.help for row in ENGINES.values())} (default: {DEFAULT})",
        f"{{{','.join(ENGINES)}}}",
    ),
    Option(
        "models",
        word,
        "further models that requests load by name, each in a process of its own: a folder that holds "
        "them, or a YAML file (docs/models.md)",
        "FILE",
        of_model=False,
    ),
    Option(
        "models-max",
        whole_number(0),
        "how many of them are loaded at once (default: 0, as many as --models-ram holds)",
        "N",
        of_model=False,
    ),
    Option(
        "models-ram",
        whole_number(-1),
        "memory for all of them, in MiB (default: -1, three quarters of the machine's, less what --model "
        "takes)",
        "MIB",
        of_model=False,
    ),
    Option(
        "models-wait",
        number(0),
        "seconds that a request waits at most while others use the model whose room it needs; then that "
        "one takes no new requests until it has gone (default: 10)",
        "SECONDS",
        of_model=False,
    ),
    Option(
        "models-idle",
        number(0),
        "seconds after the last answer of a model, when it is unloaded (default: 0, never)",
        "SECONDS",
        of_model=False,
    ),
    Option(
        "models-full",
        one_of(("swap", "refuse")),
        "what a request does that needs the room of another model: swap it for the idle one that was "
        "used least recently, or refuse (default: swap)",
        "{swap,refuse}",
        of_model=False,
    ),
    Option(
        "extensions",
        folder_name,
        "extensions to load, from extensions/ or user_data/extensions/ (default: openai)",
        "NAME",
        of_model=False,
        many=True,
    ),
    Option(
        "settings",
        path,
        "a YAML file with extension settings as NAME-param: value, like a webui's settings.yaml",
        "FILE.yaml",
        of_model=False,
    ),
    Option(
        "explain",
        boolean,
        "say what would be chosen for the model, why, and how much memory it takes, and end",
        of_model=False,
    ),
    Option("verbose", boolean, "log more, and whole lines in a terminal too", of_model=False),
)


def from_environment(environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The options set in the environment, converted, by field name; empty values count as unset.

    Raises HostError naming the variable when one has a value of the wrong type.
    """
    values: dict[str, Any] = {}
    mock = environ.get("USE_MOCK_API", "").strip()
    if mock and converted("USE_MOCK_API", boolean, mock):
        values["loader"] = MOCK
    for option in OPTIONS:
        text = environ.get(option.environment, "").strip()
        if not text:
            continue
        if option.many:
            words = converted(option.environment, shlex.split, text)
            values[option.field] = tuple(
                converted(option.environment, option.convert, each) for each in words
            )
        else:
            values[option.field] = converted(option.environment, option.convert, text)
    return values


def converted(source: str, convert: Callable[[str], Any], text: str) -> Any:
    """`convert(text)`, or a HostError that names `source`."""
    try:
        return convert(text)
    except ValueError as error:
        raise HostError(f"{source}: {error}") from None
