"""Loads and unloads the models of a webui through its own functions, like its Model tab.

The host's functions are looked up by name at each use. Versions of 2023 have neither model settings nor
templates; requests that need them get a 400 that says so.
"""

from __future__ import annotations

import copy
import importlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

from ...errors import InvalidRequest, ModelInUse, ModelLoadFailed, ModelLoading, ModelNotFound
from ..model_manager import FAILED, Loaded, Template, unknown_option
from ..swappable import NOTHING, SwappableEngine

log = logging.getLogger("openedai")

PROTECTED = frozenset({"trust_remote_code", "extra_flags", "filter_by_loader"})
"""Options of the Model tab that a request must not set: they run code, or are not for loaders."""

NONE = "None"  # the host's name for no model


class ChatModelManager:
    """The models and LoRAs in the webui's folders."""

    def __init__(self, engine: SwappableEngine, drain_timeout: float) -> None:
        """Running answers, also in the webui's own UI, get `drain_timeout` seconds to end."""
        self._engine, self._drain_timeout = engine, drain_timeout
        shared = _module("shared")
        # Later versions keep a copy themselves, made before the first model changed it.
        self._start_args: Any = getattr(shared, "original_args", None) or copy.copy(shared.args)

    def loaded(self) -> Loaded:
        shared = _module("shared")
        name = shared.model_name if shared.model is not None else NONE
        loader = str(getattr(shared.args, "loader", None) or "")
        return Loaded(None if name == NONE else name, tuple(shared.lora_names), loader)

    def models(self) -> tuple[str, ...]:
        return _names(_module("utils").get_available_models())

    def load(self, name: str, options: Mapping[str, Any], template: Template) -> None:
        shared = _module("shared")
        if name not in self.models():
            raise ModelNotFound(name[:200])
        chosen = self._checked(options)
        text = _text_of(template)
        with self._generation_stopped():
            _unload()
            try:
                self._configure(name, chosen)
                shared.model, shared.tokenizer = _module("models").load_model(name)
            except (Exception, SystemExit) as error:
                _unload()
                log.exception("the model %s could not be loaded", name)
                raise ModelLoadFailed(FAILED) from error
            if shared.model is None:
                _unload()
                raise ModelLoadFailed(FAILED)
            shared.model_name = name
            if text is not None:
                shared.settings["instruction_template_str"] = text
                if hasattr(shared.tokenizer, "chat_template"):
                    shared.tokenizer.chat_template = text

    def unload(self) -> None:
        with self._generation_stopped():
            _unload()

    def memory(self, name: str) -> int | None:
        return None

    def loads_on_demand(self) -> bool:
        return False

    def reload_if_unloaded(self) -> None:
        """Do nothing: the operator chooses the model in the UI."""

    def loras(self) -> tuple[str, ...]:
        return _names(_module("utils").get_available_loras())

    def apply_loras(self, names: Sequence[str]) -> None:
        shared = _module("shared")
        known = self.loras()
        for name in names:
            if name not in known:
                raise InvalidRequest(
                    f"Unknown LoRA: {name[:200]!r}. GET /v1/internal/lora/list lists them.",
                    param="lora_names",
                    code="invalid_value",
                )
        with self._generation_stopped():
            if shared.model is None:
                raise ModelLoading(NOTHING)
            try:
                _module("LoRA").add_lora_to_model(list(names))
            except (Exception, SystemExit) as error:
                log.exception("the LoRAs could not be applied")
                raise ModelLoadFailed(
                    "The LoRAs could not be applied to this model; the server's log says why."
                ) from error

    @contextmanager
    def _generation_stopped(self) -> Iterator[None]:
        """Neither the API nor the webui's UI uses the model inside the block."""
        lock = _module("shared").generation_lock
        with self._engine.suspended(self._drain_timeout):
            if lock is not None and not lock.acquire(timeout=self._drain_timeout + 1):
                raise ModelInUse(
                    "The model is in use by the webui's own UI. Please try again later."
                )
            try:
                yield
            finally:
                if lock is not None:
                    lock.release()

    def _options(self) -> frozenset[str]:
        """The names of this version's loader options."""
        for place in ("loaders", "ui"):
            listed = getattr(_optional(place), "list_model_elements", None)
            if listed is not None:
                return frozenset(listed()) - PROTECTED
        return frozenset()

    def _checked(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options under the names of the host's arguments. Raises InvalidRequest."""
        known = self._options() if options else frozenset()
        checked = {}
        for given, value in options.items():
            name = given.replace("-", "_")
            if name not in known or not hasattr(self._start_args, name):
                raise unknown_option(given)
            if not _is_allowed(value, getattr(self._start_args, name)):
                raise InvalidRequest(
                    f"Invalid value for 'args.{name}'.", param=f"args.{name}", code="invalid_value"
                )
            checked[name] = value
        return checked

    def _configure(self, name: str, options: Mapping[str, Any]) -> None:
        """Set the host's arguments: those from its start, then the model's own, then `options`."""
        args = _module("shared").args
        for each in self._options() | PROTECTED:
            if hasattr(args, each) and hasattr(self._start_args, each):
                setattr(args, each, getattr(self._start_args, each))
        settings = _optional("models_settings")
        if settings is not None:
            settings.update_model_parameters(settings.get_model_metadata(name))
        for each, value in options.items():
            setattr(args, each, value)


def _module(name: str) -> Any:
    return importlib.import_module(f"modules.{name}")


def _optional(name: str) -> Any:
    """A module that only some versions have; None if it is missing."""
    try:
        return _module(name)
    except ModuleNotFoundError as error:
        if error.name != f"modules.{name}":
            raise
        return None


def _names(listed: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in listed if name != NONE)


def _unload() -> None:
    """Unload the model and its LoRAs."""
    shared = _module("shared")
    _module("models").unload_model()
    shared.model = shared.tokenizer = None
    shared.model_name, shared.lora_names = NONE, []


def _is_allowed(value: Any, before: Any) -> bool:
    """Whether a value may replace another: of the same type, and not a path outside the host's folders."""
    if isinstance(value, str):
        path = PurePath(value)
        inside = not path.is_absolute() and ".." not in path.parts
        return inside and (before is None or isinstance(before, str))
    if isinstance(value, bool) or isinstance(before, bool):
        return isinstance(value, bool) and (before is None or isinstance(before, bool))
    return isinstance(value, int | float) and (before is None or isinstance(before, int | float))


def _text_of(template: Template) -> str | None:
    """The chat template in Jinja2; None for the model's own. Raises InvalidRequest."""
    if template.text is not None or template.name is None:
        return template.text
    listed = getattr(_module("utils"), "get_available_instruction_templates", None)
    if listed is None or template.name not in _names(listed()):
        raise InvalidRequest(
            f"Unknown instruction template: {template.name[:200]!r}.",
            param="instruction_template",
            code="invalid_value",
        )
    for place in ("models_settings", "chat"):
        load = getattr(_optional(place), "load_instruction_template", None)
        if load is not None:
            return str(load(template.name))
    raise InvalidRequest(
        "This version of the webui has no templates to load.",
        param="instruction_template",
        code="unsupported_parameter",
    )
