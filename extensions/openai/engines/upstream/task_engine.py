"""A model of another server that does something else than writing text: vectors, scores, transcripts, speech,
pictures, moderation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import NotSupported
from ..encoders import EmbeddingTask, EncoderEngine, ScoreBatches, VectorBatches
from ..moderators import ModerationSteps
from ..pictures import PictureSteps, PictureTask
from ..protocol import EngineInfo
from ..remote.estimates import tokens_in
from ..remote.http_client import HttpClient
from ..sounds import SpeechBytes, SpeechTask, Transcript, TranscriptionTask
from .engine import NO_TOKENIZER, upstream_info
from .kinds import KINDS
from .listing import Listed
from .rows import Kind, Upstream, UpstreamModel
from .tasks import moderations, pictures, sounds, vectors
from .tasks.exchange import Exchanges


class UpstreamTaskEngine(EncoderEngine):
    """One such model of one server; its capabilities say what it does. Thread-safe."""

    def __init__(
        self,
        upstream: Upstream,
        model: UpstreamModel,
        client: HttpClient,
        kind: Kind = "openai",
        listed: Listed | None = None,
    ) -> None:
        """As those of UpstreamEngine."""
        self._info = upstream_info(upstream, model, kind, listed)
        self._kind, self._client = KINDS[kind], client
        self._exchanges = Exchanges(upstream.name, model.there, client, upstream.fields)

    @property
    def info(self) -> EngineInfo:
        return self._info

    def embed_remotely(self, task: EmbeddingTask) -> VectorBatches:
        """As in RemoteEmbedder."""
        return vectors.embed(task, self._exchanges, self._kind)

    def score_documents(self, query: str, documents: Sequence[str]) -> ScoreBatches:
        """As in Reranker."""
        return vectors.score(query, documents, self._exchanges, self._kind)

    def pair_tokens(self, query: str, document: str) -> int:
        """An estimate."""
        return tokens_in(query) + tokens_in(document)

    def transcribe(self, task: TranscriptionTask) -> Transcript:
        """As in Transcriber."""
        return sounds.transcribe(task, self._exchanges)

    def speak(self, task: SpeechTask) -> SpeechBytes:
        """As in Speaker."""
        return sounds.speak(task, self._exchanges)

    def make_pictures(self, task: PictureTask) -> PictureSteps:
        """As in PictureMaker."""
        return pictures.make_pictures(task, self._exchanges)

    def moderate(self, inputs: Any) -> ModerationSteps:
        """As in Moderator."""
        return moderations.moderate(inputs, self._exchanges)

    def tokenize(self, text: str) -> tuple[int, ...]:
        """Raises NotSupported."""
        raise NotSupported(NO_TOKENIZER)

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Raises NotSupported."""
        raise NotSupported(NO_TOKENIZER)

    def close(self) -> None:
        self._client.close()
