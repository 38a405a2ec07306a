"""The door of the store: whether anything is kept, where, and how it is opened."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import StoreOff, StoreUnavailable
from ..settings import Settings, SettingsError
from ..system.data_folder import data_folder
from . import migrations
from .databases import sqlite_file
from .keyring import keyring_file, keyring_of

if TYPE_CHECKING:
    from .agents import StoredAgents
    from .batches import Batches
    from .chat_completions import ChatCompletions
    from .conversations import Conversations
    from .database import Backend, Database
    from .files import Files
    from .idempotency import Idempotency
    from .memories import Memories
    from .plots import Plots
    from .responses import Responses
    from .retention import Retention
    from .sessions import Sessions
    from .stored_batch import BatchTotals
    from .uploads import Uploads

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
        self.batch_scope: str | None = None
        """Which batches this process answers (`Batches`). Set before the first use."""
        self._lock = threading.RLock()
        self._database: Database | None = None
        self._agents: StoredAgents | None = None
        self._chats: ChatCompletions | None = None
        self._plots: Plots | None = None
        self._responses: Responses | None = None
        self._conversations: Conversations | None = None
        self._sessions: Sessions | None = None
        self._memories: Memories | None = None
        self._files: Files | None = None
        self._uploads: Uploads | None = None
        self._batches: Batches | None = None
        self._idempotency: Idempotency | None = None
        self._unopened: str | None = None
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
    def is_there(self) -> bool:
        """Whether there may be anything in it; where there is no file yet, reading would make one."""
        if self._database is not None:
            return True
        path = self.path
        return self.kind == "postgresql" if path is None else path.exists()

    @property
    def problem(self) -> str | None:
        """Why nothing can be written now, in a few words; None where nothing is known to be wrong."""
        return self._unopened if self._database is None else self._database.problem

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

    def batch_totals(self) -> BatchTotals | None:
        """Of batches and their files, if it is open. None also where it cannot be read."""
        if self._database is None:
            return None
        try:
            return self.batches.totals()
        except StoreUnavailable:
            return None

    @property
    def agents(self) -> StoredAgents:
        """Raises StoreOff, StoreUnavailable."""
        if self._agents is None:
            with self._lock:
                from .agents import StoredAgents

                self._agents = StoredAgents(self.database)
        return self._agents

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
    def memories(self) -> Memories:
        """Raises StoreOff, StoreUnavailable."""
        if self._memories is None:
            with self._lock:
                from .memories import Memories

                self._memories = Memories(self.database)
        return self._memories

    @property
    def files(self) -> Files:
        """Raises StoreOff, StoreUnavailable."""
        if self._files is None:
            with self._lock:
                from .files import Files

                self._files = Files(self.database)
        return self._files

    @property
    def uploads(self) -> Uploads:
        """Raises StoreOff, StoreUnavailable."""
        if self._uploads is None:
            with self._lock:
                from .uploads import Uploads

                self._uploads = Uploads(self.database, self.files)
        return self._uploads

    @property
    def batches(self) -> Batches:
        """Raises StoreOff, StoreUnavailable."""
        if self._batches is None:
            with self._lock:
                from .batches import Batches

                self._batches = Batches(self.database, scope=self.batch_scope)
        return self._batches

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
        where there is no store yet, or a file that is as it should be. A file that cannot be opened now is no
        reason not to answer. Raises SettingsError."""
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
            try:
                self._prepare_file(path)
            except sqlite_file.StoreNotOpen as error:
                self._note_unopened(error)
        elif self._where not in ("off", "memory"):
            self._database = self._opened()
        if self._where not in ("off", "memory"):
            try:
                self._check_keys()
            except SettingsError:
                self.close()
                raise

    def _prepare_file(self, path: Path) -> None:
        found = sqlite_file.revision_in(path)
        if found is not None and migrations.missing(found):
            self._backend_prepared().close()
        if sqlite_file.is_encrypted(path):
            self._database = self._opened()

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
        """The server has ended; later calls raise StoreUnavailable."""
        self._stop.set()
        if self._idempotency is not None:
            self._idempotency.close()
        if self._thread is not None:
            self._thread.join(5)
        if self._database is not None:
            self._database.close()

    def _opened(self) -> Database:
        """Raises SettingsError."""
        from .database import Database
        from .encryption import Encryption

        encrypts = self._settings.store_encryption
        encryption = Encryption(partial(keyring_of, self._settings), encrypts=encrypts)
        return Database(self._backend_prepared(), encryption)

    def _check_keys(self) -> None:
        """Raises SettingsError where what is stored could not be decrypted, or what is to be encrypted not
        after a restart."""
        file = keyring_file(self._settings)
        if self._database is not None:
            from .encryption import check_keys

            with self._database.read() as connection:
                check_keys(connection, file)
        if self._settings.store_encryption and not file.lasts():
            raise SettingsError(f"setting store_encryption: cannot write the key to {file.path}")

    def _open(self) -> Database:
        if not self.keeps:
            raise StoreOff
        if self._stop.is_set():
            raise StoreUnavailable("The store is closed.")
        try:
            opened = self._opened()
        except SettingsError as error:
            self._note_unopened(error)
            raise StoreUnavailable(
                "The store cannot be opened; the operator can find details in the log."
            ) from None
        if self._unopened is not None:
            log.info("the store is open now")
            self._unopened = None
        return opened

    def _note_unopened(self, error: SettingsError) -> None:
        if self._unopened is None:
            log.error("the store cannot be opened: %s", error)
        self._unopened = "it cannot be opened; the log says why"

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
            except Exception:
                log.exception("what may not be kept any longer could not be deleted")
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
