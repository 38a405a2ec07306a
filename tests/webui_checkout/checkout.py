"""A copy of a checkout with the extension in it, and its server as a process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.process import ROOT, free_port

TINY = "openedai-tiny"
START = 300.0  # seconds
LOADER = os.environ.get("LOADER") or "Transformers"
WITHOUT_GPU = Path(__file__).parent / "without_gpu"
"""What lets loaders run on a processor that want a GPU."""
LEFT_OUT = (
    ".git", "installer_files", "portable_env", "venv", ".venv", "env", "models", "loras", "cache",
    "logs", "image_models", "image_outputs", "__pycache__", "settings.yaml", "CMD_FLAGS.txt",
)  # fmt: skip
PYTHONS = ("installer_files/env/bin/python", "portable_env/bin/python3", "venv/bin/python",
           ".venv/bin/python", "env/bin/python")  # fmt: skip


@dataclass
class Checkout:
    """The copy. What is asked of the original is told by the environment: see docs/webui.md."""

    folder: Path
    python: str
    model: str
    place: Path
    """Where the extension went."""
    models: Path
    """Its folder of models."""
    flags: frozenset[str] = field(default_factory=frozenset)
    """Those that this version knows."""

    @property
    def name(self) -> str:
        """Of the extension's folder."""
        return self.place.name

    @property
    def is_tiny(self) -> bool:
        """Whether its model is the embedded one."""
        return self.model.startswith(TINY)

    @property
    def other(self) -> str:
        """The name of the second model."""
        return self.model.replace(TINY, f"{TINY}-too")

    @property
    def weights(self) -> str:
        """The file of the embedded model's folder that its loader computes with."""
        return f"{TINY}.gguf" if LOADER.startswith("llama") else "model.safetensors"

    @property
    def rounding(self) -> float:
        """How far from those weights a log-probability may be.

        llama.cpp rounds to 8 bit what it multiplies with 8-bit weights: 0.23 was seen in this test, 0.47 with
        other texts (0.03 with the same weights written in 16 bit). Other loaders round to 16 bit at most:
        0.016 was seen. A temperature or a bias that shows is off by 9 or more.
        """
        return 0.5 if self.weights.endswith(".gguf") else 0.05

    @property
    def repeats(self) -> bool:
        """Whether the same seed gives the same text at the UI."""
        if LOADER == "llama.cpp":  # llama-cpp-python answers out of its cache in another way
            return (self.folder / "modules" / "llama_cpp_server.py").exists()
        return not LOADER.startswith("ExLlamav3")

    @property
    def has_own_api(self) -> bool:
        return (self.folder / "modules" / "api").is_dir()


def models_of(folder: Path) -> Path:
    """The webui's folder of models; our own data make a `user_data` in any version."""
    newer = folder / "user_data" / "models"
    return newer if newer.is_dir() else folder / "models"


def copy(original: Path, target: Path, python: str | None, model: str | None) -> Checkout:
    """A copy of a checkout with the extension, both examples and the probes in it, and two models."""
    shutil.copytree(original, target, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
    found = [str(original / each) for each in PYTHONS if (original / each).exists()]
    python = python or next(iter(found), None)
    assert python, f"no Python environment in {original}: name one with WEBUI_PYTHON"
    done = subprocess.run(
        [ROOT / "scripts" / "install_into_webui.sh", "--python", python, str(target)],
        capture_output=True,
        text=True,
        check=True,
    )
    place = next(
        line.split()[-1] for line in done.stdout.splitlines() if line.startswith("did: install ")
    )
    for example in ("example_rewrite", "example_notes"):
        shutil.copytree(ROOT / "extensions" / example, target / "extensions" / example)
    for probe in ("probe", "hook_probe"):
        shutil.copytree(Path(__file__).parent / probe, target / "extensions" / probe)
    known = (target / "modules" / "shared.py").read_text()
    checkout = Checkout(
        target,
        python,
        model or (f"{TINY}.gguf" if LOADER == "llama.cpp" else TINY),
        target / place,
        target / models_of(original).relative_to(original),
        frozenset(part.split("'")[0] for part in known.split("add_argument('--")[1:]),
    )
    checkout.models.mkdir(parents=True, exist_ok=True)
    for kept in models_of(original).glob("config*.yaml"):
        shutil.copy(kept, checkout.models)
    if model:
        for name in (model, f"{model}-too"):
            if (models_of(original) / name).exists():
                (checkout.models / name).symlink_to(models_of(original) / name)
    else:
        old = subprocess.run(
            [python, "-c", "import tokenizers; print(tokenizers.__version__)"],
            capture_output=True, text=True, check=True,
        ).stdout.split(".")  # fmt: skip
        for name in (checkout.model, checkout.other):
            if name.endswith(".gguf"):
                shutil.copy(ROOT / "models" / TINY / f"{TINY}.gguf", checkout.models / name)
            else:
                merges_as_text = (int(old[0]), int(old[1])) < (0, 20)
                _put_tiny(checkout.models / name, merges_as_text=merges_as_text)
    return checkout


def _put_tiny(folder: Path, *, merges_as_text: bool) -> None:
    """The embedded model in Hugging Face form."""
    source = ROOT / "models" / TINY
    left_out = ["*.md"] if LOADER == "llamacpp_HF" else ["*.md", "*.gguf"]
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns(*left_out))
    if LOADER == "llamacpp_HF":
        (
            folder / "tokenizer.model"
        ).touch()  # looked for by name, and not read where there is a newer form
    if merges_as_text:
        # Libraries of before September 2024 read only this older form.
        path = folder / "tokenizer.json"
        tokenizer = json.loads(path.read_text())
        merges = tokenizer["model"]["merges"]
        tokenizer["model"]["merges"] = [" ".join(pair) for pair in merges]
        path.write_text(json.dumps(tokenizer, ensure_ascii=False))


class Webui:
    """The webui's server with the extension loaded, on loopback; ended by its own pid."""

    def __init__(
        self, checkout: Checkout, *flags: str, extensions: Iterable[str] = (), page: bool = True,
        settings: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.checkout = checkout
        self.port, self.page_port, self.probe_port = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [checkout.python, "-u", "server.py", "--model", checkout.model]
        command += ["--extensions", checkout.name, *extensions, *flags]
        command += ["--listen-port", str(self.page_port)]
        if checkout.is_tiny:
            command += ["--loader", LOADER] * ("loader" in checkout.flags)
            command += ["--cpu"] * (not LOADER.startswith("ExLlamav3"))
        if not page:
            command += ["--nowebui"]
        values = {f"{checkout.name}-api_port": self.port, **(settings or {})}
        path = checkout.folder / f"settings-{self.port}.yaml"
        path.write_text(yaml.safe_dump(values))
        command += ["--settings", path.name]
        self.output = checkout.folder / f"output-{self.port}.txt"
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("OPENEDAI_", "OPENAI_", "PYTHON", "VIRTUAL_ENV"))
        }
        environment |= {
            "HF_HUB_OFFLINE": "1",
            # Small models are no faster with more, and slower where others work, too.
            "OMP_NUM_THREADS": "1",
            "GRADIO_ANALYTICS_ENABLED": "False",
            "WEBUI_PROBE_PORT": str(self.probe_port),
        }
        if LOADER.startswith(("ExLlamav3", "llamacpp_HF")) and not Path("/dev/nvidia0").exists():
            environment["PYTHONPATH"] = str(WITHOUT_GPU)
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command, cwd=checkout.folder, env=environment, stdout=output, stderr=output,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        try:
            self._wait(page)
        except BaseException:
            self.stop()
            raise

    def _wait(self, page: bool) -> None:
        deadline = time.monotonic() + START
        # The UI asks itself whether it answers, and gives up if that takes long: it is left in peace.
        waiting = [
            f"{self.url}/health",
            *([f"http://127.0.0.1:{self.page_port}/config"] if page else []),
        ]
        while waiting:
            assert self.process.poll() is None, f"the webui ended:\n{self.printed[-8000:]}"
            assert time.monotonic() < deadline, f"the webui does not start:\n{self.printed[-8000:]}"
            if _answers(waiting[0]):
                waiting.pop(0)
            threading.Event().wait(0.5)

    @property
    def printed(self) -> str:
        """What it has printed so far."""
        return self.output.read_text(errors="replace")

    def at_the_page(self, prompt: str, tokens: int) -> dict[str, Any]:
        """What a user of the UI gets."""
        answer = httpx.post(
            f"http://127.0.0.1:{self.probe_port}",
            json={"prompt": prompt, "max_new_tokens": tokens},
            timeout=120,
        )
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def admin(self, method: str, path: str, **body: Any) -> httpx.Response:
        url = f"{self.url}/v1/internal/{path}"
        return httpx.request(method, url, json=body or None, timeout=300)

    def load(self, model: str) -> httpx.Response:
        args = {} if LOADER == "Transformers" else {"args": {"loader": LOADER}}
        return self.admin("POST", "model/load", model_name=model, **args)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        # Some versions leave their llama-server behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=60).status_code == 200
    except httpx.TransportError:
        return False
