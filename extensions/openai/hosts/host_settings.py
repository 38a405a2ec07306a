"""The settings in force under a host: its settings file, the environment and flags, and what a webui adds."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ..access.allowed_hosts import bind_address
from ..configuration.sources import load
from ..generation.sampling.policy import read_policy
from ..settings import Settings, SettingsError
from . import webui

log = logging.getLogger("openedai")


def settings_in_force(params: Mapping[str, Any], flags: Mapping[str, Any]) -> Settings:
    """The settings in force; in a webui with its presets, unless there are others."""
    settings = _without_presets(params, flags)
    folder = webui.preset_folder()
    if folder is None or settings.preset_folder is not None:
        return settings
    with_presets = settings.model_copy(update={"preset_folder": folder})
    try:
        read_policy(with_presets)
    except SettingsError as error:
        log.warning("the web UI's presets are left out: %s", error)
        return settings
    return with_presets


def _without_presets(params: Mapping[str, Any], flags: Mapping[str, Any]) -> Settings:
    """The settings in force; in a webui its command line has a say. Raises SettingsError."""
    if not webui.inside():
        return load(params, flags)
    theirs = webui.flags()
    settings = load(params, {**theirs, **flags})
    if theirs.keys().isdisjoint({"listen", "listen_host"}):
        return settings
    try:
        bind_address(settings)
    except SettingsError as error:
        # There the flag is about the webui's own UI, too, which needs no key.
        log.warning("the OpenAI API stays on this machine: %s", error)
        rest = {name: value for name, value in theirs.items() if not name.startswith("listen")}
        settings = load(params, {**rest, **flags})
    return settings
