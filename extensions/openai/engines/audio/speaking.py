"""An engine that speaks with voices of this machine."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence

from ...errors import InvalidRequest
from ...schemas import bad_request
from ..callback_bridge import Emit, iterate_callback
from ..sounds import SpeechBytes, SpeechTask
from ..tokenless import TokenlessEngine
from .encoding import encoded
from .voices import chosen, sentences


class SpeakingEngine(TokenlessEngine):
    """Speaks sentence by sentence. Thread-safe."""

    @property
    @abstractmethod
    def voices(self) -> Sequence[str]:
        """The names of the voices, at least one."""

    @property
    def speeds(self) -> tuple[float, float]:
        """The slowest and the fastest."""
        return 0.25, 4.0

    @abstractmethod
    def samples(
        self, text: str, voice: str, speed: float, is_left: Callable[[], bool]
    ) -> tuple[int, Iterator[bytes]]:
        """The samples a second, and the parts of a spoken sentence: 16 bits, little-endian, mono. Ends early
        once `is_left` says that no client waits. Raises EngineFailed."""

    def speak(self, task: SpeechTask) -> SpeechBytes:
        """As in Speaker."""
        voice = chosen(task.voice, self.voices)
        low, high = self.speeds
        if not low <= task.speed <= high:
            raise bad_request.out_of_range("speed", task.speed, low=low, high=high)
        if task.instructions is not None:
            raise bad_request.unsupported("instructions", "is nothing that this voice takes.")
        said = sentences(task.text)
        if not said:
            raise InvalidRequest(
                "Invalid 'input': there is nothing to speak.", param="input", code="invalid_value"
            )

        def work(emit: Emit[bytes | None]) -> None:
            def is_left() -> bool:
                return emit(None)

            rate, first = self.samples(said[0], voice, task.speed, is_left)

            def all_parts() -> Iterator[bytes]:
                yield from first
                for text in said[1:]:
                    yield b""
                    yield from self.samples(text, voice, task.speed, is_left)[1]

            for part in encoded(all_parts(), rate, task.format):
                if emit(part or None):
                    return

        return iterate_callback(work)
