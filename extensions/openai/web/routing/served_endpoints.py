"""Which endpoints are enabled: the settings `endpoints` and `disabled_endpoints`."""

from __future__ import annotations

from collections.abc import Collection

from ...errors import NotFound
from ...settings import Settings, SettingsError

MESSAGE = "message"
"""Off unless the operator turns it on."""


def served_endpoints(settings: Settings, known: Collection[str]) -> frozenset[str]:
    """Their public names. Raises SettingsError for an unknown name."""
    off = {MESSAGE} - ({MESSAGE} if settings.message_endpoint else set(settings.endpoints))
    for setting in ("endpoints", "disabled_endpoints"):
        unknown = set(getattr(settings, setting)) - set(known)
        if unknown:
            raise SettingsError(
                f"setting {setting}: there is no endpoint {', '.join(sorted(unknown))}; "
                f"there are {', '.join(sorted(known))}"
            )
    return frozenset(settings.endpoints or known) - set(settings.disabled_endpoints) - off


def switched_off(name: str) -> NotFound:
    """The error for an endpoint that is disabled."""
    switches = "--message-endpoint, " if name == MESSAGE else ""
    return NotFound(
        f"The endpoint '{name}' is switched off on this server (its settings {switches}--endpoints and "
        "--disabled-endpoints say so).",
        code="endpoint_disabled",
    )
