"""Models without tokens: those of this machine that hear, speak or make pictures."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import NotSupported
from .encoders import EncoderEngine
from .protocol import Capability, EngineInfo

NO_TOKENS = "This model has no tokens."


def tokenless_info(name: str, owner: str, capability: Capability, description: str) -> EngineInfo:
    """What is known of such a model."""
    return EngineInfo(
        model=name,
        created=0,
        owned_by=owner,
        context_length=1,
        sampler="",
        fingerprint=f"fp_{owner}",
        vocabulary_size=0,
        description=description,
        capabilities=(capability,),
    )


class TokenlessEngine(EncoderEngine):
    """The rest of an engine, for those."""

    def __init__(self, info: EngineInfo) -> None:
        self._info = info

    @property
    def info(self) -> EngineInfo:
        return self._info

    def tokenize(self, text: str) -> tuple[int, ...]:
        """Raises NotSupported."""
        raise NotSupported(NO_TOKENS)

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Raises NotSupported."""
        raise NotSupported(NO_TOKENS)
