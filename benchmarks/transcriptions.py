"""What a transcription costs beside faster-whisper called directly, in processor time.

    python -m benchmarks.transcriptions --model FOLDER --sound FILE

Both write down the same sound in turn, in one process, with one model each; the ratio is the middle of
the rounds.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from extensions.openai.engines.audio.whisper import WhisperEngine
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app

THREADS = 1
"""More of them wait for each other by spinning, which is processor time, too."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--sound", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    sound, rounds = options.sound.read_bytes(), []
    ours, theirs = _ours(options.model, sound), _directly(options.model, sound)
    for _ in range(options.rounds):
        one, other = _seconds(ours), _seconds(theirs)
        rounds.append(one / other)
        print(f"ours {one:.2f} s, faster-whisper {other:.2f} s, ratio {one / other:.3f}")
    print(f"ratio {statistics.median(rounds):.3f}")


def _ours(folder: Path, sound: bytes) -> Callable[[], str]:
    engine = WhisperEngine(folder, name="w", device="cpu", threads=THREADS, max_minutes=60)
    app = create_app(Settings(store="off", usage_days=0), EchoEngine())
    app.extensions["openai"].models.add("w", engine)
    client = app.test_client()

    def ask() -> str:
        form = {"model": "w", "file": (io.BytesIO(sound), "sound")}
        answer = client.post("/v1/audio/transcriptions", data=form, buffered=True)
        assert answer.json is not None
        return str(answer.json["text"])

    return ask


def _directly(folder: Path, sound: bytes) -> Callable[[], str]:
    from faster_whisper import WhisperModel

    model = WhisperModel(str(folder), device="cpu", cpu_threads=THREADS, local_files_only=True)

    def ask() -> str:
        segments, _ = model.transcribe(io.BytesIO(sound))
        return "".join(each.text for each in segments).strip()

    return ask


def _seconds(ask: Callable[[], str]) -> float:
    began = time.process_time()
    assert ask()
    return time.process_time() - began


if __name__ == "__main__":
    main()
