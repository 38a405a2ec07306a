"""Which endpoints are enabled: the settings `endpoints` and `disabled_endpoints`."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ...errors import NotFound
from ...settings import Settings, SettingsError

OPT_IN: Mapping[str, str] = {
    "message": "message_endpoint",
    "ollama": "ollama_api",
    "kobold": "kobold_api",
}
"""Endpoints that are off unless the operator turns them on, and the settings that do."""


def served_endpoints(settings: Settings, known: Collection[str]) -> frozenset[str]:
    """Their public names. Raises SettingsError for an unknown name."""
    off = {name for name, setting in OPT_IN.items() if not getattr(settings, setting)}
    for setting in ("endpoints", "disabled_endpoints"):
        unknown = set(getattr(settings, setting)) - set(known)
        if unknown:
            raise SettingsError(
                f"setting {setting}: there is no endpoint {', '.join(sorted(unknown))}; "
                f"there are {', '.join(sorted(known))}"
            )
    return (
        frozenset(settings.endpoints or known)
        - set(settings.disabled_endpoints)
        - (off - set(settings.endpoints))
    )


def switched_off(name: str) -> NotFound:
    """The error for an endpoint that is disabled."""
    switches = f"--{OPT_IN[name].replace('_', '-')}, " if name in OPT_IN else ""
    return NotFound(
        f"The endpoint '{name}' is switched off on this server (its settings {switches}--endpoints and "
        "--disabled-endpoints say so).",
        code="endpoint_disabled",
    )
