"""Loads the models that only read, beside the chat model: for embeddings and rerank."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from ..engines import model_spec, registry
from ..engines.protocol import Capability
from ..settings import Settings
from ..web.services import Services

log = logging.getLogger("openedai")

SELF = "self"
"""Names the chat model's own file."""


class Spec(model_spec.ModelSpec, Protocol):
    """The chat model, and how to find others (`host.models.spec.ModelSpec`)."""

    @property
    def beside(self) -> Callable[[str], model_spec.ModelSpec] | None: ...


def wanted(settings: Settings) -> Mapping[Capability, str]:
    """The models that the operator names."""
    named = {
        Capability.EMBEDDINGS: settings.embedding_model,
        Capability.RERANK: settings.rerank_model,
    }
    return {capability: name for capability, name in named.items() if name}


def load_encoders(services: Services, spec: Spec) -> None:
    """Load them and serve them. Raises ModelLoadError, and what the host raises for a name that is none."""
    settings, taken = services.settings, {spec.name}
    for capability, name in wanted(settings).items():
        if name == SELF and capability is Capability.RERANK:
            raise model_spec.ModelLoadError(
                "--rerank-model cannot be self: a chat model has no scores"
            )
        if name != SELF and spec.beside is None:
            raise model_spec.ModelLoadError(
                f"the loader {spec.loader} loads no models for {capability}"
            )
        found = spec if name == SELF or spec.beside is None else spec.beside(name)
        public = found.name if found.name not in taken else f"{found.name}-{capability}"
        taken.add(public)
        services.models.add(public, registry.make_encoder(found, capability, settings, public))
        log.info("%s: %s", capability, public)


def load_webui_embedder(services: Services) -> None:
    """The same in a webui, with sentence-transformers. A model that cannot be loaded is logged."""
    settings = services.settings
    if not settings.embedding_model:
        return
    from ..engines.webui.embeddings import SentenceTransformersEmbedder

    try:
        engine = SentenceTransformersEmbedder(
            settings.embedding_model,
            device=settings.embedding_device,
            shortening=settings.embedding_dimensions,
        )
    except model_spec.ModelLoadError as error:
        log.error("no embeddings: %s", error)
        return
    services.models.add(engine.info.model, engine)
