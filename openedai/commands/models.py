"""`openedai models`: the models on this machine, and which of them would be loaded."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from extensions.openai.engines.tokens.gguf import BadModelFile, read_header
from host.errors import HostError
from host.folders import ROOT
from host.models import gguf_names, model_files
from host.models.progress import readable
from host.options import HostOptions, from_environment

FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
    19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL",
    26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16",
    36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
}  # fmt: skip
"""`general.file_type` of a GGUF file (llama.cpp, `llama_ftype`)."""


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model file, as far as its head tells."""

    name: str
    """What `--model` and clients call it."""
    bytes: int
    context: int | None
    """Tokens that it was trained for; None where the file does not say."""
    quantization: str | None
    file: str
    loaded: bool
    """Whether a start without `--model` loads it."""
    problem: str | None = None


def main(argv: Sequence[str], program: str) -> int:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(
        prog=program, description="List the models on this machine; * marks the one that is loaded."
    )
    parser.add_argument("--model-dir", type=Path, metavar="DIR", help="another folder with models")
    parser.add_argument("--json", action="store_true", help="as JSON")
    given = parser.parse_args(argv)
    try:
        options = HostOptions(**from_environment())
        folder = given.model_dir or options.model_dir
        models = list(listed(options, folder))
    except (HostError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps([asdict(model) for model in models], indent=2))
        return 0
    print(f"{'':2}{'NAME':<34} {'SIZE':>10} {'CONTEXT':>9}  QUANT")
    for model in models:
        context = f"{model.context:,}" if model.context else "-"
        line = f"{model.name:<34} {readable(model.bytes):>10} {context:>9}"
        print(
            f"{'* ' if model.loaded else '  '}{line}  {model.problem or model.quantization or '-'}"
        )
    print(f"\nFolder: {folder}\nLoad another one: openedai run -m NAME")
    return 0


def listed(options: HostOptions, folder: Path) -> Iterator[ListedModel]:
    """The models in a folder and the embedded one, by name."""
    chosen = _chosen(options, folder)
    seen: set[Path] = set()
    for place in dict.fromkeys((folder, ROOT / "models")):
        for name in model_files.model_names(place):
            for file in _files(place / name):
                if file not in seen:
                    seen.add(file)
                    yield _listed(file, chosen)


def _chosen(options: HostOptions, folder: Path) -> Path | None:
    try:
        return model_files.find(options.model, folder).path.resolve()
    except HostError:
        return None  # hf:..., or what is not there


def _files(path: Path) -> Iterator[Path]:
    """The files to load of what is at a path: itself, or the models of a folder."""
    folder = path if path.is_dir() else path.parent
    sizes = {file.name: file.stat().st_size for file in folder.iterdir() if file.is_file()}
    for model in gguf_names.models(sizes):
        if not model.is_projector and (path.is_dir() or path.name in model.files):
            yield (folder / model.files[0]).resolve()


def _listed(file: Path, chosen: Path | None) -> ListedModel:
    parts = model_files.files_of(file)
    size = sum(part.stat().st_size for part in parts)
    context = quantization = problem = None
    try:
        name = model_files.in_file(file).name
        header = read_header(file)
        kind = header.metadata.get("general.file_type")
        context = header.context_length or None
        quantization = FILE_TYPES.get(kind) if isinstance(kind, int) else None
    except BadModelFile as error:
        problem = str(error)
    except HostError as error:
        name, problem = file.stem, str(error)
    return ListedModel(name, size, context, quantization, str(file), file == chosen, problem)
