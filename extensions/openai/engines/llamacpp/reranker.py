"""A rerank model in llama.cpp: scores of documents for a query.

llama.cpp writes the pair as the file says: [CLS] query [SEP] document, with an end token after both texts if
`add_eos_token` is set. Names of special tokens in texts are read as text. BERT's vocabularies are mostly
converted without that key, so the last [SEP] is missing; and both texts have BERT's first type of token.
Models that were trained with these (MiniLM's cross-encoders) score a little differently than where they were
made; XLM-RoBERTa's kind (BGE, Jina) and causal models (Qwen3) do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..callback_bridge import Emit, iterate_callback
from ..encoders import ScoreBatches, Scores
from ..protocol import Capability
from ..tokens.context_length import max_tokens_of
from ..tokens.gguf import GGUFHeader
from .encoder import RANK, LlamaCppEncoder, calls_of

MARKS = 4  # special tokens around and between the two texts
TEMPLATE = "tokenizer.chat_template.rerank"


class LlamaCppReranker(LlamaCppEncoder):
    """One rerank model."""

    capability = Capability.RERANK

    @staticmethod
    def pooling(header: GGUFHeader) -> int | None:
        return RANK

    def __init__(self, model: Path, *, name: str, **options: Any) -> None:
        """`options`: of LlamaCppEncoder."""
        super().__init__(model, name=name, **options)
        # Causal models read an instruction, which llama.cpp takes from the file.
        template = str(self.header.metadata.get(TEMPLATE, ""))
        self._marks = MARKS + len(self.model.tokens_in(template) if template else ())

    def score_documents(self, query: str, documents: Sequence[str]) -> ScoreBatches:
        def produce(emit: Emit[Scores]) -> None:
            around = max_tokens_of(query) + self._marks
            for part in calls_of(documents, lambda text: max_tokens_of(text) + around):
                if emit(self._scores(query, part)):
                    return

        return iterate_callback(produce)

    def pair_tokens(self, query: str, document: str) -> int:
        texts = (query, document)
        return sum(len(self.model.tokens_in(text)) for text in texts) + self._marks

    def _scores(self, query: str, documents: Sequence[str]) -> Scores:
        body = {"query": query, "documents": documents}
        answer = self.call(lambda memory, data: memory.handle_rerank(data), body)
        scores = {int(each["index"]): float(each["relevance_score"]) for each in answer["results"]}
        ordered = tuple(scores[at] for at in range(len(documents)))
        return Scores(ordered, int(answer["usage"]["prompt_tokens"]))
