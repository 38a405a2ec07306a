"""The course of the host: options, extensions, model, banner, and then waiting for the end."""

import logging
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from extensions.openai.engines.model_spec import ModelLoadError
from extensions.openai.engines.registry import UPSTREAM, explain
from host import command_line, extension_loader, settings_file, shared, stand_in
from host.errors import HostError, Reported
from host.extension_loader import Extension
from host.folders import ROOT, USER_DATA
from host.lifecycle import HOOK_SECONDS, Lifecycle
from host.models import model_files
from host.models.read_ahead import read_ahead
from host.models.spec import ModelSpec
from host.output import configure, report, say
from host.resident.plan import plan_of

log = logging.getLogger(__name__)

REFUSED = 2
"""The exit status of a start that is refused: bad options, no model, no extension."""


def main(
    argv: Sequence[str] | None = None,
    prog: str = "python server.py",
    reading: Callable[[Sequence[Path]], bool] = read_ahead,
) -> int:
    """Run the host until it is asked to stop; the exit status. `prog`: what the user has typed;
    `reading` reads the model's files before they are loaded.

    0 after a stop by signal, `REFUSED` when the start is refused. Must be called in the main
    thread, once in a process, because it takes over the signals.
    """
    return run(argv, prog, Lifecycle.wait, reading)


def run(
    argv: Sequence[str] | None,
    prog: str,
    work: Callable[[Lifecycle], int],
    reading: Callable[[Sequence[Path]], bool] = read_ahead,
    *,
    banner: bool = True,
) -> int:
    """The same with other `work` than to wait for the stop: it returns the exit status, soon after a stop
    was asked for. `banner`: whether what is served is told before."""
    running: list[Extension] = []
    lifecycle = Lifecycle(
        lambda seconds: extension_loader.stop_all(running, seconds),
        lambda: _reload(running),
    )
    lifecycle.install()
    try:
        given = sys.argv[1:] if argv is None else argv
        if not _start(given, prog, running, lifecycle, reading, banner=banner):
            return 0
    except HostError as error:
        if not lifecycle.stopping:
            if not isinstance(error, Reported):
                report(str(error))
            extension_loader.stop_all(running, HOOK_SECONDS)
            return REFUSED
        # What failed did so because it was being stopped, and that was asked for.
        return lifecycle.wait()
    lifecycle.begin_work()
    status = work(lifecycle)
    if lifecycle.stopping:
        lifecycle.wait()
    else:
        extension_loader.stop_all(running, HOOK_SECONDS)
    return status


def _start(
    argv: Sequence[str],
    prog: str,
    running: list[Extension],
    lifecycle: Lifecycle,
    reading: Callable[[Sequence[Path]], bool],
    *,
    banner: bool,
) -> bool:
    """Everything up to the banner; False if there is nothing to run. Adds to `running` what has to be
    stopped. Raises HostError."""
    configure(argv)
    options, wants_help = command_line.read_early(argv, prog=prog)
    configure(argv, verbose=options.verbose)
    # A script's own folder is on the path already; other callers of main() need it too.
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    settings = settings_file.read(options.settings) if options.settings and not wants_help else {}
    stand_in.install(settings)
    loaded = extension_loader.load_all(options.extensions, ROOT, USER_DATA)
    if not loaded and not wants_help:
        raise Reported("no extension could be loaded")
    options, flags = command_line.read(argv, [extension.flags for extension in loaded], prog=prog)
    shared.args = options
    own = model_files.model_spec(options)
    shared.model = replace(own, plan=plan_of(options, own))
    if options.explain:
        say(_explanations(shared.model))
        return False
    names = [extension.name for extension in loaded]
    stand_in.tell(shared.model.name, names, verbose=options.verbose)
    running.extend(extension_loader.set_up(loaded, flags, settings))
    if not running:
        raise Reported("no extension could be started")
    if shared.model.path and reading(model_files.files_of(shared.model.path)):
        log.info("loading %s", shared.model.name)
    with lifecycle.native():
        extension_loader.load_model(running, shared.model)
    if banner and not lifecycle.stopping:
        say(extension_loader.banners(running))
    return True


def _explanations(own: ModelSpec) -> list[str]:
    """What would be chosen for each model. Raises HostError."""
    others = own.plan.rows if own.plan is not None else ()
    specs = [(row.name, row.spec) for row in others]
    if own.loader != UPSTREAM or not specs:
        specs.insert(0, (own.name, own))
    return [_explained(name, spec) for name, spec in specs]


def _explained(name: str, spec: ModelSpec) -> str:
    """What would be chosen for the model. Raises HostError."""
    try:
        return "\n".join((name, *(f"  {line}" for line in explain(spec))))
    except ModelLoadError as error:
        raise HostError(str(error)) from error


def _reload(running: Sequence[Extension]) -> bool:
    """Begin to read the settings file again for those extensions that can; whether there are any."""
    if not any(extension.hook("reload") for extension in running):
        return False
    path = shared.args.settings if shared.args else None

    def read() -> None:
        try:
            extension_loader.reload_all(running, settings_file.read(path) if path else {})
        except HostError as error:
            log.error("the settings stay as they are: %s", error)

    threading.Thread(target=read, name="reload", daemon=True).start()
    return True
