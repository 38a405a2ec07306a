"""The door of the store: whether anything is kept, where, and how it is opened."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import StoreOff, StoreUnavailable
from ..settings import Settings, SettingsError
from ..system.data_folder import data_folder
from . import migrations
from .databases import sqlite_file

if TYPE_CHECKING:
    from .chat_completions import ChatCompletions
    from .conversations import Conversations
    from .database import Backend, Database
    from .idempotency import Idempotency
    from .plots import Plots
    from .responses import Responses
    from .retention import Retention
    from .sessions import Sessions

log = logging.getLogger("openedai")

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class StoreTimes:
    """Seconds."""

    before_first_sweep: float = 2.0
    """A start has other things to do."""
    between_sweeps: float = 60.0
    busy: float = sqlite_file.BUSY
    """To wait for another process that writes to the file."""


DEFAULT_TIMES = StoreTimes()


@dataclass(frozen=True, slots=True)
class StoreSize:
    """How much is stored."""

    by_kind: Mapping[str, tuple[int, int]]
    """Objects, and bytes of them."""
    database_bytes: int | None
    """What the database takes; None where that is not ours to know."""


class Store:
    """Thread-safe. It is opened by its first use; `prepare` says before whether that can work."""

    def __init__(self, settings: Settings, times: StoreTimes = DEFAULT_TIMES) -> None:
        self._settings = settings
        self._times = times
        self._where = _where(settings)
        self._lock = threading.RLock()
        self._database: Database | None = None
        self._chats: ChatCompletions | None = None
        self._plots: Plots | None = None
        self._responses: Responses | None = None
        self._conversations: Conversations | None = None
        self._sessions: Sessions | None = None
        self._idempotency: Idempotency | None = None
        self._sweeps = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def keeps(self) -> bool:
        """Whether anything is kept."""
        return self._where != "off"

    @property
    def kind(self) -> Literal["sqlite", "postgresql", "memory", "off"]:
        """Where it is, without what is secret in that."""
        match self._where:
            case "sqlite" | "memory" | "off" as kind:
                return kind
        return "postgresql"

    @property
    def path(self) -> Path | None:
        """The file, where it is one."""
        return data_folder(self._settings) / sqlite_file.FILE if self._where == "sqlite" else None

    @property
    def problem(self) -> str | None:
        """Why nothing can be written now, in a few words; None where nothing is known to be wrong."""
        return None if self._database is None else self._database.problem

    def measure(self) -> StoreSize | None:
        """How much it holds, if it is open: this opens nothing. None also where it cannot be read."""
        if self._database is None:
            return None
        from .objects import sums

        try:
            with self._database.read() as connection:
                by_kind = sums(connection)
            return StoreSize(by_kind, self._database.size())
        except StoreUnavailable:
            return None

    @property
    def chat_completions(self) -> ChatCompletions:
        """Raises StoreOff, StoreUnavailable."""
        if self._chats is None:
            with self._lock:
                from .chat_completions import ChatCompletions

                self._chats = ChatCompletions(self.database)
        return self._chats

    @property
    def plots(self) -> Plots:
        """Raises StoreOff, StoreUnavailable."""
        if self._plots is None:
            with self._lock:
                from .plots import Plots

                self._plots = Plots(self.database)
        return self._plots

    @property
    def responses(self) -> Responses:
        """Raises StoreOff, StoreUnavailable."""
        if self._responses is None:
            with self._lock:
                from .responses import Responses

                self._responses = Responses(self.database)
        return self._responses

    @property
    def conversations(self) -> Conversations:
        """Raises StoreOff, StoreUnavailable."""
        if self._conversations is None:
            with self._lock:
                from .conversations import Conversations

                self._conversations = Conversations(self.database)
        return self._conversations

    @property
    def sessions(self) -> Sessions:
        """Raises StoreOff, StoreUnavailable."""
        if self._sessions is None:
            with self._lock:
                from .sessions import Sessions

                self._sessions = Sessions(self.database)
        return self._sessions

    @property
    def idempotency(self) -> Idempotency:
        """Raises StoreOff, StoreUnavailable."""
        if self._idempotency is None:
            with self._lock:
                if self._idempotency is None:
                    from .idempotency import Idempotency

                    self._idempotency = Idempotency(self.database)
        return self._idempotency

    @property
    def database(self) -> Database:
        """Raises StoreOff, StoreUnavailable."""
        if self._database is None:
            with self._lock:
                if self._database is None:
                    self._database = self._open()
                    self._begin_sweeping()
        return self._database

    def prepare(self) -> None:
        """Find out whether the store can be used, and bring it to the newest schema. Costs next to nothing
        where there is no store yet, or a file that is as it should be. Raises SettingsError."""
        if self._where == "sqlite":
            path = self.path
            assert path is not None
            try:
                sqlite_file.check_place(path.parent)
            except SettingsError as error:
                if self._settings.store is not None:
                    raise
                log.warning("nothing is stored: %s", error)
                self._where = "off"
                return
            found = sqlite_file.revision_in(path)
            if found is not None and migrations.missing(found):
                self._backend_prepared().close()
        elif self._where not in ("off", "memory"):
            from .database import Database

            self._database = Database(self._backend_prepared())

    def start(self) -> None:
        """The server runs: delete from now on what may not be kept any longer."""
        with self._lock:
            self._sweeps = True
            path = self.path
            if self._database is not None or (path is not None and path.exists()):
                self._begin_sweeping()

    def configure(self, settings: Settings) -> None:
        """These settings from now on."""
        self._settings = settings

    def close(self) -> None:
        """The server has ended; no call may come after it."""
        self._stop.set()
        if self._idempotency is not None:
            self._idempotency.close()
        if self._thread is not None:
            self._thread.join(5)
        if self._database is not None:
            self._database.close()

    def _open(self) -> Database:
        from .database import Database

        if not self.keeps:
            raise StoreOff
        try:
            return Database(self._backend_prepared())
        except SettingsError as error:
            log.error("the store cannot be opened: %s", error)
            raise StoreUnavailable(
                "The store cannot be opened; the operator can find details in the log."
            ) from None

    def _backend_prepared(self) -> Backend:
        backend = self._backend()
        try:
            backend.prepare()
        except BaseException:
            backend.close()
            raise
        return backend

    def _backend(self) -> Backend:
        path = self.path
        if path is not None:
            from .databases.sqlite import SqliteFile

            return SqliteFile(path, self._settings.store_synchronous, self._times.busy)
        if self._where == "memory":
            from .databases.sqlite import Memory

            return Memory()
        from .databases.postgres import Postgres

        return Postgres(self._where)

    def _begin_sweeping(self) -> None:
        if self._sweeps and self._thread is None:
            self._thread = threading.Thread(
                target=self._sweep, name="openai-store-sweeper", daemon=True
            )
            self._thread.start()

    def _sweep(self) -> None:
        from .retention import Sweeper

        pause = self._times.before_first_sweep
        while not self._stop.wait(pause):
            try:
                Sweeper(self.database, self._retention).sweep(self._stop)
            except StoreUnavailable:
                pass  # it is in the log
            pause = self._times.between_sweeps

    def _retention(self) -> Retention:
        from .retention import Retention

        settings = self._settings
        bytes_per_owner = {kind: mb * MEBIBYTE for kind, mb in settings.store_megabytes.items()}
        return Retention(settings.store_days, bytes_per_owner)


def _where(settings: Settings) -> str:
    """`sqlite`, `memory`, `off`, or the URL of a database."""
    if settings.store is not None:
        return settings.store.get_secret_value()
    return "memory" if settings.use_mock_api else "sqlite"
