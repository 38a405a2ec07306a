"""The host's model as one request sees it: looked up once, each of its facts determined once."""

from __future__ import annotations

import logging
import threading
import weakref
from typing import Any

from ..tokens.tokenizer_view import TokenizerView
from .findings import findings, supports_stop_event
from .host import Loaded, context_length, host_model, host_module
from .loaders.base import Adapter
from .loaders.registry import adapter_of
from .ui_state import special_texts, template_source

log = logging.getLogger("openedai")

MAX_CACHED_TEXTS = 16


class TokenizerReader:
    """Reads tokenizers, and caches the view of the last one. Thread-safe."""

    def __init__(self) -> None:
        self._last: tuple[Adapter, weakref.ref[Any], TokenizerView] | None = None
        self._lock = threading.Lock()

    def view(self, loaded: Loaded, adapter: Adapter) -> TokenizerView:
        with self._lock:
            last = self._last
            if last is not None and last[0] is adapter and last[1]() is loaded.tokenizer:
                return last[2]
            view = adapter.view(loaded)
            # A tokenizer may be the model itself, which is freed when nothing references it.
            self._last = (adapter, weakref.ref(loaded.tokenizer), view)
        found = findings(parallel_of(loaded, adapter), adapter.findings(loaded))
        log.info("the web UI's model %s (%s): %s", loaded.name, loaded.loader, found)
        return view


def parallel_of(loaded: Loaded, adapter: Adapter) -> int:
    """How many requests the host lets generate at once."""
    return adapter.parallel(loaded) if supports_stop_event() else 1


class KnownModel:
    """Facts about a loaded model. References the model and its tokenizer weakly: a request may wait long, and
    the host must be able to free their memory."""

    def __init__(self, loaded: Loaded, reader: TokenizerReader) -> None:
        self._name, self._loader = loaded.name, loaded.loader
        self._model, self._tokenizer = weakref.ref(loaded.model), weakref.ref(loaded.tokenizer)
        self.adapter = adapter_of(loaded.model)
        self.view = reader.view(loaded, self.adapter)
        self._template: str | None = None
        self._special: dict[str, str] | None = None
        self._context: int | None = None
        self._encoded: dict[str, tuple[int, ...]] = {}

    def loaded(self) -> Loaded | None:
        """The model, if the host still has it loaded; else None."""
        shared = host_module("shared")
        model, tokenizer = shared.model, shared.tokenizer
        if model is None or model is not self._model() or tokenizer is not self._tokenizer():
            return None
        if shared.model_name != self._name:
            return None
        return Loaded(self._name, model, tokenizer, self._loader)

    def template(self, loaded: Loaded) -> str:
        """Its chat template, as Jinja."""
        if self._template is None:
            self._template = template_source(loaded)
        return self._template

    def special(self) -> dict[str, str]:
        """The texts of its start and end token."""
        if self._special is None:
            self._special = special_texts()
        return self._special

    def context(self, loaded: Loaded) -> int:
        """Tokens that a request may use."""
        if self._context is None:
            length, limit = context_length(), self.adapter.context_limit(loaded)
            self._context = min(length, limit) if limit is not None and limit > 0 else length
        return self._context

    def parallel(self, loaded: Loaded) -> int:
        """How many requests the host lets generate at once."""
        return parallel_of(loaded, self.adapter)

    def encode(self, loaded: Loaded, text: str) -> tuple[int, ...]:
        """The tokens of a prompt, cached: they are needed several times, and it may be long."""
        tokens = self._encoded.get(text)
        if tokens is None:
            tokens = self.adapter.encode(loaded, text)
            if len(self._encoded) >= MAX_CACHED_TEXTS:
                self._encoded.clear()
            self._encoded[text] = tokens
        return tokens


class ModelLookup:
    """Looks up the loaded model. If `pinned`, looks it up once, and again only when the host unloads it."""

    def __init__(self, reader: TokenizerReader | None = None, *, pinned: bool = False) -> None:
        self._reader = reader or TokenizerReader()
        self._pinned = pinned
        self._known: KnownModel | None = None

    def now(self) -> tuple[Loaded, KnownModel]:
        """The loaded model. Raises ModelLoading while there is none."""
        known = self._known
        loaded = None if known is None else known.loaded()
        if known is None or loaded is None:
            loaded = host_model()
            known = KnownModel(loaded, self._reader)
            if self._pinned:
                self._known = known
        return loaded, known

    def pin(self) -> ModelLookup:
        """A pinned lookup for one request, already looked up."""
        lookup = ModelLookup(self._reader, pinned=True)
        lookup.now()
        return lookup
