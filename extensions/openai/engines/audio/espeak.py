"""Voices of espeak-ng: small and robotic ones in a hundred languages, by a program of its own."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence

from ...errors import EngineFailed
from ..model_spec import ModelLoadError
from ..protocol import Capability
from ..tokenless import tokenless_info
from .speaking import SpeakingEngine

NAME = "espeak-ng"
WORDS_A_MINUTE = 175
HEAD_BYTES = 44
"""Of its WAV, which is always 16 bits and mono."""
PART_BYTES = 16 << 10
LIST_TIMEOUT_S = 10.0
VOICE = re.compile(r"^ *\d+ +(?P<name>[a-z]{2,4}(?:-[a-z0-9-]+)?) ", re.MULTILINE)
DEFAULT = "en-us"


class EspeakEngine(SpeakingEngine):
    """A process for each sentence, which ends with it."""

    def __init__(self, *, name: str = NAME) -> None:
        """Raises ModelLoadError."""
        super().__init__(tokenless_info(name, NAME, Capability.SPEECH, "Voices of espeak-ng."))
        program = shutil.which(NAME)
        if program is None:
            raise ModelLoadError(f"--speech-model {NAME}: the program {NAME} is not installed")
        self._program = program
        self._voices = _listed(program)

    @property
    def voices(self) -> Sequence[str]:
        return self._voices

    @property
    def speeds(self) -> tuple[float, float]:
        return 0.5, 2.5

    def samples(
        self, text: str, voice: str, speed: float, is_left: Callable[[], bool]
    ) -> tuple[int, Iterator[bytes]]:
        command = [self._program, "-b", "1", "-v", voice, "-s", str(round(WORDS_A_MINUTE * speed))]
        process = subprocess.Popen(
            [*command, "--stdin", "--stdout"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdin is not None and process.stdout is not None
        parts = _parts(process, is_left)
        try:
            with process.stdin:
                process.stdin.write(text.encode())
            head = process.stdout.read(HEAD_BYTES)
            if len(head) < HEAD_BYTES or head[:4] != b"RIFF":
                raise EngineFailed(f"The program {NAME} made no sound.")
        except (OSError, EngineFailed) as error:
            _end(process)
            raise EngineFailed(f"The program {NAME} failed.") from error
        return int.from_bytes(head[24:28], "little"), parts

    def close(self) -> None:
        """Nothing to free."""


def _parts(process: subprocess.Popen[bytes], is_left: Callable[[], bool]) -> Iterator[bytes]:
    assert process.stdout is not None
    try:
        while part := process.stdout.read(PART_BYTES):
            yield part
            if is_left():
                return
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _listed(program: str) -> tuple[str, ...]:
    """The names of its languages, the default first."""
    try:
        output = subprocess.run(
            [program, "--voices"],
            capture_output=True,
            text=True,
            timeout=LIST_TIMEOUT_S,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise ModelLoadError(f"--speech-model {NAME}: the program does not work") from error
    found = sorted({match["name"] for match in VOICE.finditer(output)})
    if not found:
        raise ModelLoadError(f"--speech-model {NAME}: the program has no voices")
    found.sort(key=lambda name: name != DEFAULT)
    return tuple(found)
