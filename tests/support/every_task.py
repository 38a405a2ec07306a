"""An engine that does all tasks but writing, the same every time, in the shapes of real ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from extensions.openai.engines.encoders import EncoderEngine
from extensions.openai.engines.moderators import (
    CATEGORIES,
    Judgement,
    Judgements,
    ModerationSteps,
)
from extensions.openai.engines.pictures import Picture, Pictures, PictureSteps, PictureTask
from extensions.openai.engines.protocol import Capability, EngineInfo
from extensions.openai.engines.sounds import (
    Segment,
    SpeechBytes,
    SpeechTask,
    Transcript,
    TranscriptionTask,
    TranscriptPart,
    Word,
)

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
"""A picture of one pixel."""
INFO = EngineInfo(
    model="tasks",
    created=1,
    owned_by="tests",
    context_length=1,
    sampler="",
    fingerprint="fp_tasks",
    vocabulary_size=0,
    capabilities=(
        Capability.TRANSCRIPTION,
        Capability.SPEECH,
        Capability.IMAGES,
        Capability.MODERATION,
    ),
)


class EveryTaskEngine(EncoderEngine):
    """A transcript tells the size of its file, speech is the text itself."""

    picture = PNG

    @property
    def info(self) -> EngineInfo:
        return INFO

    def transcribe(self, task: TranscriptionTask) -> Transcript:
        yield None
        yield TranscriptPart(language="en", seconds=2.5)
        for at, text in enumerate((f" {len(task.sound.file.read())}", " bytes.")):
            words = (Word(text.strip(), at, at + 1.0),) if task.wants_words else ()
            segment = Segment(float(at), at + 1.0, text, {"tokens": [at], "avg_logprob": -0.5})
            yield TranscriptPart(text, segment, words)

    def speak(self, task: SpeechTask) -> SpeechBytes:
        for character in task.text:
            yield None
            yield character.encode(errors="replace")

    def make_pictures(self, task: PictureTask) -> PictureSteps:
        yield None
        yield Pictures(
            tuple(Picture(self.picture, None, task.prompt) for _ in range(task.count)), 7
        )

    def moderate(self, inputs: Any) -> ModerationSteps:
        texts = inputs if isinstance(inputs, list) and isinstance(inputs[0], str) else [inputs]
        for text in texts:
            is_bad = "bad" in text
            judged = Judgement(
                is_bad, dict.fromkeys(CATEGORIES, is_bad), dict.fromkeys(CATEGORIES, float(is_bad))
            )
            yield Judgements((judged,), 1)

    def tokenize(self, text: str) -> tuple[int, ...]:
        return ()

    def detokenize(self, tokens: Sequence[int]) -> str:
        return ""

    def close(self) -> None:
        """Nothing to free."""
