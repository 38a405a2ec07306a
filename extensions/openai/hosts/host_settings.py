"""The settings in force in a host: its settings file, the environment and flags, and a webui's additions."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ..access.allowed_hosts import bind_addresses
from ..configuration.sources import load
from ..generation.sampling.policy import read_policy
from ..settings import Settings, SettingsError
from . import webui

log = logging.getLogger("openedai")


def settings_in_force(params: Mapping[str, Any], flags: Mapping[str, Any]) -> Settings:
    """The settings in force; in a webui with its presets, unless a preset folder is set."""
    settings = _without_presets(params, flags)
    folder = webui.preset_folder()
    if folder is None or settings.preset_folder is not None:
        return settings
    with_presets = settings.model_copy(update={"preset_folder": folder})
    try:
        read_policy(with_presets)
    except SettingsError as error:
        log.warning("the web UI's presets are ignored: %s", error)
        return settings
    return with_presets


def _without_presets(params: Mapping[str, Any], flags: Mapping[str, Any]) -> Settings:
    """The settings in force; in a webui its flags count too. Raises SettingsError."""
    if not webui.inside():
        return load(params, flags)
    webui_flags = webui.flags()
    settings = load(params, {**webui_flags, **flags})
    if webui_flags.keys().isdisjoint({"listen", "listen_host"}):
        return settings
    try:
        bind_addresses(settings)
    except SettingsError as error:
        # The flag is also for the webui's own UI, which needs no key.
        log.warning("the OpenAI API listens on this machine only: %s", error)
        local = {k: value for k, value in webui_flags.items() if not k.startswith("listen")}
        settings = load(params, {**local, **flags})
    return settings
