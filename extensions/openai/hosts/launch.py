"""Starts this extension in a host: settings, engine, server, model; and stops it."""

from __future__ import annotations

import atexit
import gc
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..access.allowed_hosts import bind_addresses
from ..access.keys import has_keys
from ..configuration.sources import reloaded
from ..engines import model_spec, registry
from ..engines.echo import EchoEngine
from ..engines.folder_model_manager import FolderModelManager, ModelCatalog
from ..engines.model_manager import ModelManager
from ..engines.protocol import Engine
from ..engines.swappable import SwappableEngine
from ..engines.webui.model_manager import ChatModelManager
from ..generation.hooks.extension_hooks import Hooks
from ..observability import logs
from ..outbound.tunnel import tunnel_for
from ..server.server import APIServer
from ..server.start_error import StartError
from ..settings import Settings, SettingsError
from ..web.app import create_app
from ..web.services import Services
from . import audio, encoders, images, webui
from .host_settings import settings_in_force
from .in_process import InProcess
from .running_server import RunningServer

if TYPE_CHECKING:
    from .residents import Plan

log = logging.getLogger("openedai")

RESTART_TIMEOUT_S = 5.0  # for running answers when a webui restarts its UI, and us with it


class ModelSpec(encoders.Spec, Protocol):
    """The model chosen by our own host (`host.models.spec.ModelSpec`)."""

    @property
    def catalog(self) -> ModelCatalog[ModelSpec] | None: ...
    @property
    def plan(self) -> Plan | None: ...


@dataclass(frozen=True, slots=True)
class Status:
    """What a host's UI shows of the server."""

    url: str | None
    """The base URL for clients on this machine; None: the server does not run."""
    public_url: str | None
    """The base URL through the tunnel; None: there is no tunnel."""
    has_key: bool
    problem: str | None
    """Why the server does not run, in one line."""


class Launcher:
    """Starts and stops the server of one process. Used by the host's main thread."""

    def __init__(self, running: RunningServer | None = None) -> None:
        self.running = running
        self.listens = True
        """Whether there is a server; else only this process can ask. Set before `setup`."""
        self.batch_scope: str | None = None
        """Which batches are answered here where there is no server. Set before `setup`."""
        self._problem: str | None = None
        self._companions: tuple[tuple[str, Any], ...] = ()

    def setup(self, params: Mapping[str, Any], flags: Mapping[str, Any]) -> None:
        """Start the server. It answers 503 until a model is loaded, which in mock mode is at once.

        For a wrong setting or a port in use, raises SystemExit with one line, which our own host prints;
        other hosts would show a traceback, so there the line is logged.
        """
        if webui.inside():
            webui.join_log()
        try:
            settings = settings_in_force(params, flags)
            logs.configure(settings.log_format, own_host=_under_own_host())
            if self.running is not None:
                if settings == self.running.services.settings:
                    return
                self.stop(RESTART_TIMEOUT_S)
            running = self._prepare(settings, flags)
        except (SettingsError, StartError) as error:
            if _under_own_host():
                raise SystemExit(str(error)) from error
            self._problem = str(error)
            log.error("the OpenAI API did not start: %s", error)
            return
        self._start(running)
        self.running, self._problem = running, None
        # Our own host prints the URL once a model is loaded.
        level = logging.DEBUG if _under_own_host() else logging.INFO
        log.log(level, "OpenAI API: %s", running.url)
        if settings.api_key is None and settings.password is None and has_keys(settings):
            log.info("requests need a named key (%s)", _keys_command())
        if webui.inside():
            webui.keep_alive(running.server.wait)
            webui.at_end(self._stop_at_end)

    def _prepare(self, settings: Settings, flags: Mapping[str, Any]) -> RunningServer:
        """The server, bound to its port. Raises SettingsError, StartError."""
        engine = SwappableEngine()
        if settings.use_mock_api:
            engine.set(EchoEngine())
        elif webui.inside():
            engine.set(_webui_engine(settings))
        tunnel = tunnel_for(settings) if self.listens else None
        app = create_app(settings, engine, tunnel)
        services = app.extensions["openai"]
        services.hooks = self._hooks()
        services.store.batch_scope = self.batch_scope
        if webui.inside() or settings.use_mock_api:
            _serve_upstreams(services)
        if webui.inside() and not settings.use_mock_api:
            services.model_manager = ChatModelManager(engine, settings.drain_timeout)
            if settings.load_on_request:
                _load_on_request(services, services.model_manager)
            encoders.load_webui_embedder(services)
            audio.load_webui_audio(services)
            images.load_webui_images(services)
        server = APIServer(app, settings) if self.listens else InProcess(app)
        return RunningServer(flags, services, engine, server, tunnel)

    def _start(self, running: RunningServer) -> None:
        settings = running.services.settings
        if settings.debug:
            log.setLevel(logging.DEBUG)
        running.server.start()
        running.services.store.start()
        running.services.batches.start()
        if running.tunnel is not None:
            running.tunnel.start(running.server.url.removesuffix(settings.api_prefix))
            # For hosts that end without calling `stop`.
            atexit.register(running.tunnel.stop)

    def use_extensions(self, extensions: Sequence[tuple[str, Any]]) -> None:
        """Apply the hooks of our own host's extensions, pairs of name and module, to requests."""
        self._companions = tuple(extensions)

    def _hooks(self) -> Hooks:
        """The hooks of the host's other extensions."""
        if not webui.inside():
            return Hooks(lambda: self._companions, replies=True)
        from ..engines.webui import findings, ui_state

        return Hooks(ui_state.extensions, ui_state.ui_settings, findings.applied_hooks)

    def status(self) -> Status:
        """The API's URL, or why it does not run."""
        if self.running is None:
            return Status(None, None, False, self._problem)
        running = self.running
        locked = has_keys(running.services.settings)
        return Status(running.url, running.public_url, locked, None)

    def reload(self, params: Mapping[str, Any]) -> None:
        """Apply the settings that may change while the server runs. An invalid one is logged and changes
        nothing."""
        if self.running is None:
            return
        services = self.running.services
        try:
            new = reloaded(services.settings, settings_in_force(params, self.running.flags))
            bind_addresses(new.settings)
            services.reload(new.settings)
        except SettingsError as error:
            log.error("the settings stay as they are: %s", error)
            return
        _reload_upstreams(services)
        log.info("settings read again; changed: %s", ", ".join(new.changed) or "none")
        if new.kept:
            log.warning("these settings need a restart to change: %s", ", ".join(new.kept))

    def load_model(self, spec: ModelSpec) -> None:
        """Load the model and serve it. Raises SystemExit with one line if it cannot be loaded."""
        if self.running is None or self.running.services.settings.use_mock_api:
            return
        services = self.running.services
        if services.settings.load_on_request:
            raise SystemExit("--load-on-request is for a webui; here --models names models to load")
        kinds = (each.wanted(services.settings) for each in (encoders, audio, images))
        services.models.expect([capability for named in kinds for capability in named])
        self._load(services, spec)
        services.models.expect(())

    def _load(self, services: Services, spec: ModelSpec) -> None:
        """The chat model, and those beside it. Raises SystemExit."""
        assert self.running is not None
        try:
            upstreams = _serve_upstreams(services)
        except SettingsError as error:
            raise SystemExit(str(error)) from error
        others = upstreams + _serve_residents(services, spec)
        try:
            audio.load_audio(services)
            images.load_images(services)
        except model_spec.ModelLoadError as error:
            raise SystemExit(str(error)) from error
        if spec.loader == registry.UPSTREAM:
            if not others:
                raise SystemExit(
                    "--loader upstream needs --upstreams FILE or --models, and a model in it"
                )
            models = services.models
            writing = (name for name in others if models.find(name).writes)
            models.lead(next(writing, others[0]))
            return

        def make(spec: ModelSpec) -> Engine:
            return registry.make(spec, services.settings)

        # A full collection scans every object of every library, 30 ms in the middle of an answer. The objects
        # that exist by now are permanent, so exclude them from later collections.
        gc.collect()
        gc.freeze()
        try:
            encoders.load_encoders(services, spec)
            self.running.engine.set(make(spec))
        except model_spec.ModelLoadError as error:
            raise SystemExit(str(error)) from error
        if spec.catalog is not None:
            drain_timeout, engine = services.settings.drain_timeout, self.running.engine
            model_manager = FolderModelManager(
                *(engine, spec.catalog, make, drain_timeout),
                fault=registry.fault,
                memory=lambda spec: registry.outline(spec).bytes,
            )
            model_manager.begin(spec)
            services.model_manager = model_manager

    def banner(self) -> str:
        """The text for the operator once the model is loaded."""
        return "" if self.running is None else self.running.banner()

    def stop(self, timeout: float) -> None:
        """End answers and stop the server, in about `timeout` seconds if `drain_timeout` is shorter."""
        if self.running is not None:
            running, self.running = self.running, None
            running.stop(timeout)

    def _stop_at_end(self) -> None:
        self.stop(RESTART_TIMEOUT_S)


def _webui_engine(settings: Settings) -> Engine:
    """The engine for the loaded model of the webui that runs us."""
    from ..engines.webui.engine import WebuiEngine

    return WebuiEngine(message_repair=settings.message_repair == "on")


def _load_on_request(services: Services, manager: ModelManager) -> None:
    from ..engines.resident.host_models import HostModels

    services.host_models = HostModels(manager, services.engine)


def _serve_upstreams(services: Services) -> list[str]:
    """Serve the models of upstreams, and return their names. Raises SettingsError."""
    settings = services.settings
    if settings.upstreams is None:
        return []
    from ..engines.upstreams_file import UpstreamModels

    services.upstreams = UpstreamModels()
    services.upstreams.read(settings.upstreams)
    for each in services.upstreams.models:
        services.models.add(each.name, each.engine, each.aliases)
    return [each.name for each in services.upstreams.models]


def _reload_upstreams(services: Services) -> None:
    """Read the file of upstreams again. An invalid one is logged and changes nothing."""
    upstreams, path = services.upstreams, services.settings.upstreams
    if upstreams is None or path is None:
        return
    before = [each.name for each in upstreams.models]
    try:
        upstreams.read(path)
    except SettingsError as error:
        log.error("the upstreams stay as they are: %s", error)
        return
    now = [(each.name, each.engine, each.aliases) for each in upstreams.models]
    services.models.change(before, now)
    log.info("upstreams read again; models: %s", ", ".join(name for name, *_ in now) or "none")


def _serve_residents(services: Services, spec: ModelSpec) -> list[str]:
    """Serve the models that are loaded on request, and return their names. Raises SystemExit."""
    if spec.plan is None:
        return []
    from .residents import ServedResidents

    try:
        served = ServedResidents(services, spec.plan, spec)
    except model_spec.ModelLoadError as error:
        raise SystemExit(f"--models: {error}") from error
    except SettingsError as error:
        raise SystemExit(str(error)) from error
    services.residents, services.library = served.residents, served
    served.residents.preload()
    return list(served.residents.names())


def _under_own_host() -> bool:
    return "host.shared" in sys.modules


def _keys_command() -> str:
    """The command that lists the named keys, whatever this folder is called."""
    if _under_own_host():
        return "openedai keys list"
    folder = Path(__file__).resolve().parents[1]
    return f"in {folder.parent.parent}: python -m {folder.parent.name}.{folder.name} keys list"


launcher = Launcher()
"""The process's launcher: hosts call functions of a module (`script.py`)."""
