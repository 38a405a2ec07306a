"""The operator's policy for parameters: defaults, forced values, limits, and named presets."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from ...engines.protocol import EngineInfo
from ...errors import InvalidRequest
from ...schemas import bad_request
from ...schemas.validation import check
from ...settings import Settings, SettingsError
from ..request import NO_LIMIT, GenerationRequest
from .profiles import ROLE_STOPS, profile_of
from .table import ROWS

log = logging.getLogger("openedai")

Body = TypeVar("Body", bound=GenerationRequest)
ALIASES: Mapping[str, str] = {alias: row.name for row in ROWS.values() for alias in row.aliases}
LIMITED_COUNTS = ("n", "best_of")  # can be limited, besides the rows of the sampler table


class _Stopping(Protocol):
    """Anything that has stop strings."""

    @property
    def stops(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Policy:
    """Applied to every request; immutable."""

    defaults: Mapping[str, Any] = field(default_factory=dict)
    forced: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    default_max_tokens: int = 0
    max_tokens_limit: int = 0
    streaming: bool = True
    strict: bool = False
    """Whether to refuse what the reference does not allow."""
    lenient_limits: bool = False
    """`max_tokens: -1` is no limit."""
    thinking_budgets: Mapping[str, int] = field(default_factory=dict)
    """The thinking budget in tokens for each reasoning effort; -1 is no limit."""
    role_stops: Literal["auto", "always", "never"] = "auto"
    model_defaults: bool = True
    """Whether the defaults in a model's files hold."""
    fingerprint_salt: str = ""
    """Changes whenever a setting that shapes answers changes; empty if there is none."""
    _by_model: dict[str, tuple[Mapping[str, Any], Policy]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def with_fingerprint(self, info: EngineInfo) -> EngineInfo:
        """The info with a fingerprint that includes the operator's settings."""
        if not self.fingerprint_salt:
            return info
        both = hashlib.sha256((info.fingerprint + self.fingerprint_salt).encode()).hexdigest()
        return replace(info, fingerprint="fp_" + both[:10])

    def for_model(self, info: EngineInfo) -> Policy:
        """The policy with the defaults that the model's files have, behind the operator's own."""
        if not info.sampling or not self.model_defaults:
            return self
        known = self._by_model.get(info.model)
        if known is None or known[0] is not info.sampling:
            own = _of_files(info, self.limits)
            known = info.sampling, replace(self, defaults={**own, **self.defaults})
            self._by_model[info.model] = known
        return known[1]

    def with_defaults(self, values: Mapping[str, Any], max_tokens: int) -> Policy:
        """The policy with these values where a request gives none, before the operator's own defaults;
        `max_tokens` 0: with the operator's."""
        return replace(
            self,
            defaults={**self.defaults, **values},
            default_max_tokens=max_tokens or self.default_max_tokens,
        )

    def apply(self, body: Body) -> Body:
        """Apply the policy to a request: its own values override preset and defaults, and forced values
        override everything.

        Raises InvalidRequest for an unknown preset, a value above its limit, and a stream if streaming is
        off.
        """
        if body.stream and not self.streaming:
            raise bad_request.unsupported(
                "stream", "was switched off by the operator of this server."
            )
        body.check_limits(strict=self.strict, lenient=self.lenient_limits)
        given = {name for name in body.model_fields_set if getattr(body, name) is not None}
        added = {**self.defaults, **self._preset(body.preset)}
        update = {name: value for name, value in added.items() if name not in given}
        update.update(self.forced)
        if update:
            body = body.model_copy(update=update)
        for name, limit in self.limits.items():
            value = getattr(body, name, None)
            if value is not None and value > limit:
                raise bad_request.out_of_range(name, value, low=None, high=limit)
        return body

    def max_tokens(self, requested: int | None, default: int | None, param: str) -> int | None:
        """The token limit of an answer, None for as many as fit; `default` is the reference's.

        Raises InvalidRequest for more than the operator allows.
        """
        limit = self.max_tokens_limit or None
        if requested == NO_LIMIT:
            return limit
        if requested is None:
            chosen = self.default_max_tokens or default
            return limit if chosen is None else min(chosen, limit or chosen)
        if limit is not None and requested > limit:
            raise bad_request.out_of_range(param, requested, low=None, high=limit)
        return requested

    def stops(self, request: _Stopping, info: EngineInfo) -> tuple[str, ...]:
        """The request's stop strings, and the role strings if they are in force."""
        roles = {"auto": profile_of(info).role_stops, "always": ROLE_STOPS, "never": ()}
        return tuple(dict.fromkeys(request.stops + roles[self.role_stops]))

    def _preset(self, name: str | None) -> Mapping[str, Any]:
        if name is None:
            return {}
        if name not in self.presets:
            raise bad_request.not_one_of("preset", name, sorted(self.presets))
        return self.presets[name]


def read_policy(settings: Settings) -> Policy:
    """Read the policy from settings and preset files. Raises SettingsError with one clear line."""
    limits = dict(settings.sampling_limits)
    for name, limit in limits.items():
        if name not in LIMITED_COUNTS and not (name in ROWS and _is_number(ROWS[name].default)):
            raise SettingsError(f"setting sampling_limits: {name} cannot be limited")
        if not _is_number(limit):
            raise SettingsError(f"setting sampling_limits: {name} needs a number")
    defaults = _values(settings.sampling_defaults, "setting sampling_defaults")
    forced = _values(settings.sampling_forced, "setting sampling_forced")
    presets = _presets(settings.preset_folder)
    shaping = (defaults, forced, presets, settings.role_stops, settings.model_defaults)
    policy = Policy(
        defaults,
        forced,
        limits,
        presets,
        settings.default_max_tokens,
        settings.max_tokens_limit,
        settings.streaming,
        settings.strict_parameters,
        settings.lenient_limits,
        settings.thinking_budgets,
        settings.role_stops,
        settings.model_defaults == "on",
        "" if shaping == ({}, {}, {}, "auto", "on") else repr(shaping),
    )
    _check_limits(policy.defaults, limits, "setting sampling_defaults")
    _check_limits(policy.forced, limits, "setting sampling_forced")
    for name, values in policy.presets.items():
        _check_limits(values, limits, f"preset {name}")
    if 0 < settings.max_tokens_limit < settings.default_max_tokens:
        raise SettingsError("setting default_max_tokens: it is above max_tokens_limit")
    return policy


def checked_values(
    given: Mapping[str, Any], limits: Mapping[str, float], where: str
) -> Mapping[str, Any]:
    """Parameters by the sampler table's names, within these limits. Raises SettingsError."""
    values = _values(given, where)
    _check_limits(values, limits, where)
    return values


def _of_files(info: EngineInfo, limits: Mapping[str, float]) -> Mapping[str, Any]:
    """Those of a model's values that can be used; the log names the others."""
    where = f"the sampling in the files of {info.model}"
    found: dict[str, Any] = {}
    for name, value in info.sampling.items():
        try:
            found.update(checked_values({name: value}, limits, where))
        except SettingsError as error:
            log.warning("%s; not used", error)
    return found


def _check_limits(values: Mapping[str, Any], limits: Mapping[str, float], where: str) -> None:
    for name, limit in limits.items():
        if values.get(name) is not None and values[name] > limit:
            raise SettingsError(f"{where}: {name} is above its limit in sampling_limits, {limit}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _values(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Parameters under the sampler table's names, validated like those of a request."""
    named = {ALIASES.get(name, name): value for name, value in given.items()}
    unknown = sorted(set(named) - set(ROWS))
    if unknown:
        raise SettingsError(f"{where}: not a known sampler parameter: {', '.join(unknown)}")
    try:
        body = check(GenerationRequest, named)
    except InvalidRequest as error:
        raise SettingsError(f"{where}: {error.message}") from error
    return {name: getattr(body, name) for name in named}


def _presets(folder: str | None) -> dict[str, dict[str, Any]]:
    """Presets by file name, `NAME.yaml`, in webuis' format."""
    if folder is None:
        return {}
    if not Path(folder).is_dir():
        raise SettingsError("setting preset_folder: there is no such folder")
    import yaml

    presets: dict[str, dict[str, Any]] = {}
    for file in sorted(Path(folder).glob("*.yaml")):
        try:
            values = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
            raise SettingsError(f"preset {file.name} cannot be read") from error
        if not isinstance(values, dict):
            raise SettingsError(f"preset {file.name} is not a mapping of names to values")
        known = {name: value for name, value in values.items() if ALIASES.get(name, name) in ROWS}
        if len(known) < len(values):
            log.warning(
                "preset %s: unknown and ignored: %s",
                file.stem,
                ", ".join(sorted(str(name) for name in set(values) - set(known))),
            )
        presets[file.stem] = _values(known, f"preset {file.name}")
    return presets
