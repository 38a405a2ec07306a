"""Voices of Piper: neural ones, in this process. The operator has their files, VOICE.onnx and .onnx.json.

The package (piper-tts) is under the GPL, version 3, and is not installed with this program.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import EngineFailed
from ..model_spec import ModelLoadError
from ..protocol import Capability
from ..tokenless import tokenless_info
from .speaking import SpeakingEngine

SUFFIX = ".onnx"


class PiperEngine(SpeakingEngine):
    """All voices of a folder, or one. Each is loaded when it is first needed."""

    def __init__(self, path: Path, *, name: str) -> None:
        """Raises ModelLoadError."""
        super().__init__(tokenless_info(name, "piper", Capability.SPEECH, "Voices of Piper."))
        try:
            import piper  # noqa: F401  # looked for at the start, not at the first request
        except ImportError as error:
            raise ModelLoadError(
                "--speech-model needs the package piper-tts: pip install 'openedai[audio]'"
            ) from error
        files = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
        self._files = {file.name.removesuffix(SUFFIX): file for file in files}
        if not self._files:
            raise ModelLoadError(f"--speech-model: there is no VOICE{SUFFIX} in {path}")
        for file in files:
            if not file.is_file() or not Path(f"{file}.json").is_file():
                raise ModelLoadError(f"--speech-model: {file} and {file.name}.json must be there")
        self._loaded: Mapping[str, Any] = {}
        self._lock = threading.Lock()
        self._voice(next(iter(self._files)))

    @property
    def voices(self) -> Sequence[str]:
        return tuple(self._files)

    def samples(
        self, text: str, voice: str, speed: float, is_left: Callable[[], bool]
    ) -> tuple[int, Iterator[bytes]]:
        from piper import SynthesisConfig

        loaded = self._voice(voice)
        options = SynthesisConfig(length_scale=loaded.config.length_scale / speed)

        def parts() -> Iterator[bytes]:
            try:
                for chunk in loaded.synthesize(text, options):
                    yield chunk.audio_int16_bytes
                    if is_left():
                        return
            except (RuntimeError, ValueError) as error:
                raise EngineFailed("The voice failed at this text.") from error

        return loaded.config.sample_rate, parts()

    def _voice(self, name: str) -> Any:
        with self._lock:
            if name not in self._loaded:
                from piper import PiperVoice

                try:
                    voice = PiperVoice.load(self._files[name])
                except Exception as error:  # of ONNX, JSON, or a field that is not there
                    raise ModelLoadError(
                        f"--speech-model: the voice {name} cannot be loaded ({type(error).__name__})"
                    ) from error
                self._loaded = {**self._loaded, name: voice}
            return self._loaded[name]

    def close(self) -> None:
        with self._lock:
            self._loaded = {}
