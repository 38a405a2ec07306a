"""What happens when a host starts this extension: settings, engine, server, model, end."""

from __future__ import annotations

import atexit
import gc
import logging
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..access.allowed_hosts import bind_address
from ..access.keys import has_keys
from ..configuration.sources import load, reloaded
from ..engines import model_spec, registry
from ..engines.echo import EchoEngine
from ..engines.folder_model_manager import FolderModelManager, ModelCatalog
from ..engines.protocol import Engine
from ..engines.swappable import SwappableEngine
from ..engines.webui.model_manager import WebuiModelManager
from ..generation.hooks.extension_hooks import Hooks
from ..generation.sampling.policy import read_policy
from ..observability import logs
from ..outbound.tunnel import Tunnel, tunnel_for
from ..server.server import APIServer, StartError
from ..settings import Settings, SettingsError
from ..web.app import create_app
from ..web.lifecycle import Lifecycle
from ..web.services import Services
from . import webui

log = logging.getLogger("openedai")


class ModelSpec(model_spec.ModelSpec, Protocol):
    """The model that our own host has chosen (`host.spec.ModelSpec`)."""

    @property
    def catalog(self) -> ModelCatalog[ModelSpec] | None: ...


@dataclass(frozen=True, slots=True)
class _Running:
    flags: Mapping[str, Any]
    services: Services
    engine: SwappableEngine
    server: APIServer
    tunnel: Tunnel | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """What a host's page shows of the server."""

    url: str | None
    """The base URL for clients on this machine; None when the server does not run."""
    has_key: bool
    problem: str | None
    """Why it does not run, in one line."""


_running: _Running | None = None
_problem: str | None = None

RESTART = 5.0  # seconds that answers get to end when a webui restarts its page, and us


def setup(params: Mapping[str, Any], flags: Mapping[str, Any]) -> None:
    """Start the server. It answers 503 until there is a model, but in mock mode there is one at once.

    A wrong setting or a port that is taken raises SystemExit with one line under our own host, which
    prints it; other hosts would show a traceback, so there the line goes to the log.
    """
    global _running, _problem
    if webui.inside():
        webui.join_log()
    try:
        settings = _settings(params, flags)
        logs.configure(settings.log_format, own_host=_under_own_host())
        if _running is not None:
            if settings == _running.services.settings:
                return
            stop(RESTART)
        engine = SwappableEngine()
        if settings.use_mock_api:
            engine.set(EchoEngine())
        elif webui.inside():
            engine.set(_webui_engine(settings))
        lifecycle = Lifecycle()
        tunnel = tunnel_for(settings)
        app = create_app(settings, engine, lifecycle, tunnel)
        app.extensions["openai"].hooks = _hooks()
        if webui.inside() and not settings.use_mock_api:
            model_manager = WebuiModelManager(engine, settings.drain_timeout)
            app.extensions["openai"].model_manager = model_manager
        server = APIServer(app, settings, lifecycle)
    except (SettingsError, StartError) as error:
        if _under_own_host():
            raise SystemExit(str(error)) from error
        _problem = str(error)
        log.error("the OpenAI API did not start: %s", error)
        return
    if settings.debug:
        log.setLevel(logging.DEBUG)
    server.start()
    app.extensions["openai"].store.start()
    if tunnel is not None:
        tunnel.start(server.url.removesuffix(settings.api_prefix))
        # For hosts that end without a word.
        atexit.register(tunnel.stop)
    _running = _Running(flags, app.extensions["openai"], engine, server, tunnel)
    _problem = None
    # Our own host says it once there is a model, too.
    log.log(logging.DEBUG if _under_own_host() else logging.INFO, "OpenAI API: %s/v1", server.url)
    if settings.api_key is None and settings.password is None and has_keys(settings):
        log.info("requests need a named key (%s)", _keys_command())
    if webui.inside():
        webui.keep_alive(server.wait)
        webui.at_end(_stop_at_end)


def _keys_command() -> str:
    """How the operator lists the named keys, whatever name a host has imported this folder under."""
    folder = Path(__file__).resolve().parents[1]
    return f"in {folder.parent.parent}: python -m {folder.parent.name}.{folder.name} keys list"


def use_extensions(extensions: Sequence[tuple[str, Any]]) -> None:
    """Let these extensions of our own host, by name and module, act on requests."""
    global _companions
    _companions = tuple(extensions)


_companions: tuple[tuple[str, Any], ...] = ()


def _hooks() -> Hooks | None:
    """Those of the host's other extensions."""
    if not webui.inside():
        return Hooks(lambda: _companions)
    from ..engines.webui import findings, ui_state

    return Hooks(ui_state.extensions, ui_state.page_settings, findings.applied_hooks)


def _webui_engine(settings: Settings) -> Engine:
    """The model of the webui around us, whichever it has loaded."""
    from ..engines.webui.engine import WebuiEngine

    return WebuiEngine(message_repair=settings.message_repair == "on")


def _settings(params: Mapping[str, Any], flags: Mapping[str, Any]) -> Settings:
    """The settings in force; in a webui with its presets, unless there are others."""
    settings = _own_settings(params, flags)
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


def _own_settings(params: Mapping[str, Any], flags: Mapping[str, Any]) -> Settings:
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
        # There the flag is about the webui's own page, too, which needs no key.
        log.warning("the OpenAI API stays on this machine: %s", error)
        rest = {name: value for name, value in theirs.items() if not name.startswith("listen")}
        settings = load(params, {**rest, **flags})
    return settings


def status() -> Status:
    """Where the API is, or why it is nowhere."""
    if _running is None:
        return Status(None, False, _problem)
    settings = _running.services.settings
    return Status(f"{_running.server.url}/v1", has_keys(settings), None)


def public_url() -> str | None:
    """The base URL for clients everywhere, through the tunnel; None while there is none."""
    if _running is None or _running.tunnel is None or _running.tunnel.url is None:
        return None
    return f"{_running.tunnel.url}{_running.services.settings.api_prefix}/v1"


def _under_own_host() -> bool:
    return "host.shared" in sys.modules


def reload(params: Mapping[str, Any]) -> None:
    """Take over those settings that may change while the server runs. A mistake in them changes nothing
    and is one line in the log."""
    if _running is None:
        return
    services = _running.services
    try:
        new = reloaded(services.settings, _settings(params, _running.flags))
        bind_address(new.settings)
        services.reload(new.settings)
    except SettingsError as error:
        log.error("the settings stay as they are: %s", error)
        return
    log.info("settings read again; changed: %s", ", ".join(new.changed) or "none")
    if new.kept:
        log.warning("these settings need a restart to change: %s", ", ".join(new.kept))


def load_model(spec: ModelSpec) -> None:
    """Load the model and serve it. A file that cannot be loaded raises SystemExit with one line."""
    if _running is None or _running.services.settings.use_mock_api:
        return
    services = _running.services

    def make(spec: ModelSpec) -> Engine:
        return registry.make(spec, services.settings)

    # A full collection looks at every object of every library, 30 ms long, in the middle of a client's
    # answer. What is there by now stays, so it need not be looked at again.
    gc.collect()
    gc.freeze()
    try:
        _running.engine.set(make(spec))
    except model_spec.ModelLoadError as error:
        raise SystemExit(str(error)) from error
    if spec.catalog is not None:
        drain_timeout, engine = services.settings.drain_timeout, _running.engine
        model_manager = FolderModelManager(
            engine, spec.catalog, make, drain_timeout, fault=registry.fault
        )
        model_manager.begin(spec)
        services.model_manager = model_manager


def banner() -> str:
    """The base URL, the model, and a curl line that works when pasted; no key is shown. One line where the
    log is for programs."""
    if _running is None:
        return ""
    info, url = _running.engine.info, _running.server.url
    model = f"{info.model}, context of {info.context_length} tokens"
    if _running.services.settings.log_format == "json":
        return f"ready: {url}/v1 serves {model}"
    return "\n".join(
        (
            f"Base URL   {url}/v1",
            *_public_line(),
            textwrap.fill(
                f"Model      {model}. {info.description}", 79, subsequent_indent=" " * 11
            ),
            f"Docs       {url}/docs",
            *_curl_lines(url, info.model),
        )
    )


def _curl_lines(url: str, model: str) -> tuple[str, ...]:
    assert _running is not None
    locked = has_keys(_running.services.settings)
    key = '  -H "Authorization: Bearer $OPENAI_API_KEY" \\'
    return (
        f"Try        curl {url}/v1/chat/completions \\",
        *((" " * 11 + key,) if locked else ()),
        f'             -H \'Content-Type: application/json\' -d \'{{"model": "{model}",',
        '             "messages": [{"role": "user", "content": "Hello!"}]}\'',
    )


def _public_line() -> tuple[str, ...]:
    assert _running is not None
    if _running.tunnel is None:
        return ()
    tunnel = _running.tunnel.state
    where = public_url() or "at the address of your tunnel"
    if tunnel.state != "up":
        where = tunnel.problem or "the tunnel is being opened; the log will show its address"
    return (f"Public URL {where}",)


def stop(timeout: float) -> None:
    """End answers and server; at most about `timeout` seconds when `drain_timeout` allows for it."""
    global _running
    if _running is None:
        return
    running, _running = _running, None
    running.server.stop(timeout)
    running.services.usage_store.flush()
    running.services.store.close()
    if running.tunnel is not None:
        running.tunnel.stop()
        atexit.unregister(running.tunnel.stop)
    running.engine.close()


def _stop_at_end() -> None:
    stop(RESTART)
