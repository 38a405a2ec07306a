"""The file of the store, as the standard library sees it: what can be known and done without SQLAlchemy."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Literal

from ...settings import SettingsError
from ...system.data_folder import make_private
from .. import migrations

FILE = "store.sqlite3"
BUSY = 5.0  # seconds to wait for another process that writes
LOG_PAGES = 8192
"""Pages in the write-ahead log, of 4 KiB, after which a write brings them into the file and waits for the
disk."""
MOUNTS = Path("/proc/self/mountinfo")
NETWORK = frozenset(
    "nfs nfs4 cifs smb2 smb3 smbfs ncpfs afs ceph glusterfs lustre gpfs beegfs orangefs ocfs2 gfs2 "
    "fuse.sshfs fuse.glusterfs fuse.ceph fuse.s3fs fuse.rclone fuse.gcsfuse fuse.blobfuse2".split()
)
"""Types of file systems that other machines may write to as well. The write-ahead log needs memory that all
processes with the file share."""

Synchronous = Literal["normal", "full"]


class StoreFileError(SettingsError):
    """The file cannot be used; the message is one line that says what to do."""


class StoreNotOpen(StoreFileError):
    """The file cannot be opened now, for reasons that may pass: permissions, or the disk."""


def connect(
    path: Path, synchronous: Synchronous = "normal", busy: float = BUSY
) -> sqlite3.Connection:
    """Open the file, and make it where there is none. Raises OSError, sqlite3.Error."""
    make_private(path.parent)
    path.touch(mode=0o600)  # the log beside it gets the same mode
    connection = sqlite3.connect(path, timeout=busy, isolation_level=None, check_same_thread=False)
    try:
        configure(connection)
        if _write_ahead(connection, busy) != "wal":
            raise sqlite3.OperationalError("the file system does not support a write-ahead log")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
    except BaseException:
        connection.close()
        raise
    return connection


def _write_ahead(connection: sqlite3.Connection, busy: float) -> str:
    """Switch to a write-ahead log. Where another process does so at the same time, SQLite does not wait by
    itself: each would wait for the other."""
    end = time.monotonic() + busy
    while True:
        try:
            return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.01)


def configure(connection: sqlite3.Connection) -> None:
    """What holds for a database in memory, too."""
    for pragma in (
        "auto_vacuum = INCREMENTAL",  # before there is a table
        "foreign_keys = ON",
        "secure_delete = ON",  # what is deleted is overwritten
        "temp_store = MEMORY",  # nothing of a request gets into temporary files
        "journal_size_limit = 67108864",
    ):
        connection.execute(f"PRAGMA {pragma}")


def check_place(folder: Path) -> None:
    """Raises StoreFileError for a folder on a network file system."""
    kind = _file_system(folder)
    if kind in NETWORK:
        raise StoreFileError(
            f"setting store: {folder} is on a network file system ({kind}), where SQLite may lose data; give "
            "--data-folder a local folder, or --store a PostgreSQL database, memory or off"
        )


def revision_in(path: Path) -> str | None:
    """The step of the schema that a file has reached; None for one that is empty or not there.

    Raises StoreFileError for what is no store, damaged or newer, StoreNotOpen for what cannot be read.
    """
    if not path.exists() or not path.stat().st_size:
        return None
    try:
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY)
        ) as db:
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
            if not tables:
                return None
            if "alembic_version" not in tables:
                raise StoreFileError(f"setting store: {path} is a database of another program")
            row = db.execute("SELECT version_num FROM alembic_version").fetchone()
            revision = None if row is None else str(row[0])
        migrations.missing(revision)
    except migrations.NewerSchema:
        raise StoreFileError(
            f"setting store: {path} was written by a newer version of this program; install that version, or "
            "move the file away"
        ) from None
    except sqlite3.OperationalError as error:
        raise StoreNotOpen(f"setting store: cannot open {path}: {error}") from None
    except sqlite3.DatabaseError as error:
        raise StoreFileError(
            f"setting store: {path} is damaged ({error}); put a backup in its place, or move it away"
        ) from None
    return revision


def is_encrypted(path: Path) -> bool:
    """Whether a store has encrypted contents, or had some. `revision_in` has found that it is one."""
    if not path.exists() or not path.stat().st_size:
        return False
    with closing(
        sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY)
    ) as db:
        there = "SELECT 1 FROM sqlite_master WHERE name = 'data_keys'"
        return bool(
            db.execute(there).fetchone() and db.execute("SELECT 1 FROM data_keys").fetchone()
        )


def copy(source: Path, target: Path) -> None:
    """Copy a database that may be in use, as it is at one moment; only its owner may read the copy.

    Raises OSError (FileExistsError where there is a file already), sqlite3.Error.
    """
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with closing(sqlite3.connect(source, timeout=BUSY)) as original:
            with closing(sqlite3.connect(target)) as made:
                original.backup(made)
                # One file, without a log beside it.
                made.execute("PRAGMA journal_mode = DELETE")
            _sync(target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def size(path: Path) -> int:
    """Bytes that the file and its log take."""
    found = 0
    for each in (path, path.with_name(path.name + "-wal")):
        try:
            found += each.stat().st_size
        except FileNotFoundError:
            pass  # there is no log while the file is not in use
    return found


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _file_system(folder: Path) -> str | None:
    """The type of the file system that a folder is, or would be, on; None where the system does not say."""
    place = folder.resolve()
    found, kind = 0, None
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None  # not Linux
    for line in lines:
        before, _, after = line.partition(" - ")
        mounted = before.split()[4].encode().decode("unicode_escape")
        # A later mount hides an earlier one at the same place.
        if len(mounted) >= found and place.is_relative_to(mounted):
            found, kind = len(mounted), after.split()[0]
    return kind
