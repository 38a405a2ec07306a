"""The host's own options, one row each: flag, environment name, type, default, help.

Later wins: default, environment (`OPENEDAI_CTX_SIZE` for `--ctx-size`), flag. Options that belong
to an extension are not here: the extension declares them itself.
"""

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extensions.openai.engines.registry import DEFAULT, ENGINES, MOCK
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
    loader: str = DEFAULT
    extensions: tuple[str, ...] = ("openai",)
    settings: Path | None = None
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
        "context length in tokens (default: the model's own, up to 8192)",
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
        "loader",
        loader,
        f"{', or '.join(row.help for row in ENGINES.values())} (default: {DEFAULT})",
        f"{{{','.join(ENGINES)}}}",
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
