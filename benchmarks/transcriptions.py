"""What a transcription costs beside faster-whisper called directly, in processor time.

    python -m benchmarks --parts transcriptions                           as a part of `make bench`
    python -m benchmarks.transcriptions --model FOLDER --sound FILE       with a model and a sound of yours

Both write down the same sound in turn, in one process, with one model each; the ratio is taken within a
round. Without a model, a small one with random weights hears a tone: the less a model does, the more of the
time is ours.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import tempfile
import time
import wave
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from math import pi, sin
from pathlib import Path

THREADS = 1
"""More of them wait for each other by spinning, which is processor time, too."""
RATE, TONE_SECONDS, HERTZ = 16_000, 5, 440
REQUESTS = 3
"""Of each kind in a round; the least counts."""


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds of processor time."""

    ours: float
    directly: float


def is_possible() -> bool:
    """Whether faster-whisper is installed."""
    return find_spec("faster_whisper") is not None


def measured(
    rounds: int,
    tell: Callable[[str], None],
    model: Path | None = None,
    sound: bytes | None = None,
) -> list[Round]:
    """Without `model` and `sound`: those that are made here."""
    with tempfile.TemporaryDirectory() as folder:
        if model is None:
            from tests.support.random_whisper import write_whisper

            model = write_whisper(Path(folder) / "whisper")
        sound = tone() if sound is None else sound
        ours, theirs = _ours(model, sound), _directly(model, sound)
        found = []
        for number in range(rounds):
            found.append(Round(_seconds(ours), _seconds(theirs)))
            tell(f"transcriptions, round {number + 1} of {rounds}")
        return found


def table(found: Sequence[Round]) -> str:
    """The middle of all rounds, and of their ratios."""
    ours, theirs = [each.ours for each in found], [each.directly for each in found]
    ratio = statistics.median(each.ours / each.directly for each in found)
    cells = (f"{1000 * statistics.median(each):.1f}" for each in (ours, theirs))
    return (
        "| ms of processor time: `POST /v1/audio/transcriptions` | faster-whisper | ratio |\n"
        f"| ---: | ---: | ---: |\n| {' | '.join((*cells, f'{ratio:.3f}'))} |"
    )


def tone() -> bytes:
    """A WAV file."""
    samples = (int(16_000 * sin(2 * pi * HERTZ * at / RATE)) for at in range(TONE_SECONDS * RATE))
    data = array("h", samples)
    if sys.byteorder == "big":
        data.byteswap()
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(RATE)
        written.writeframes(data.tobytes())
    return file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--sound", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    sound = None if options.sound is None else options.sound.read_bytes()
    found = measured(
        options.rounds, lambda line: print(line, file=sys.stderr), options.model, sound
    )
    print(table(found))


def _ours(folder: Path, sound: bytes) -> Callable[[], object]:
    from extensions.openai.engines.audio.whisper import WhisperEngine
    from extensions.openai.engines.echo import EchoEngine
    from extensions.openai.settings import Settings
    from extensions.openai.web.app import create_app

    engine = WhisperEngine(folder, name="w", device="cpu", threads=THREADS, max_minutes=60)
    app = create_app(Settings(store="off", usage_days=0), EchoEngine())
    app.extensions["openai"].models.add("w", engine)
    client = app.test_client()

    def ask() -> object:
        form = {"model": "w", "file": (io.BytesIO(sound), "sound")}
        answer = client.post("/v1/audio/transcriptions", data=form, buffered=True)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return answer.json

    return ask


def _directly(folder: Path, sound: bytes) -> Callable[[], object]:
    from faster_whisper import WhisperModel

    model = WhisperModel(str(folder), device="cpu", cpu_threads=THREADS, local_files_only=True)

    def ask() -> object:
        segments, _ = model.transcribe(io.BytesIO(sound))
        return "".join(each.text for each in segments).strip()

    return ask


def _seconds(ask: Callable[[], object]) -> float:
    """The least of some requests."""
    times = []
    for _ in range(REQUESTS):
        began = time.process_time()
        ask()
        times.append(time.process_time() - began)
    return min(times)


if __name__ == "__main__":
    main()
