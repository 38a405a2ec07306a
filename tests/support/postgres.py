"""A real PostgreSQL for tests, where the machine has one (Debian: apt-get install postgresql)."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

MISSING = "there is no PostgreSQL (install postgresql) or no package psycopg (pip install psycopg[binary])"


def binaries() -> Path | None:
    """The folder with `initdb` and `pg_ctl`; Debian keeps them off the path."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((each for each in folders if (each / "pg_ctl").exists()), None)


def available() -> bool:
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return False
    return binaries() is not None


class PostgresServer:
    """One server on a unix socket in a folder of its own, without a port. It does not run as root."""

    def __init__(self) -> None:
        found = binaries()
        assert found is not None
        self._binaries = found
        # A socket's path may have 107 bytes only.
        self._folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self._data = self._folder / "data"
        # It refuses to run as root.
        self._user = pwd.getpwnam("nobody") if os.getuid() == 0 else None
        if self._user is not None:
            os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        self._names = itertools.count()
        self._run("initdb", "--no-sync", "--username=tests", "--auth=trust", "--encoding=UTF8")
        self.start()

    def start(self) -> None:
        # There is a database for each of some hundred tests, and it would look them through all the time.
        others = "-c autovacuum=off -c max_connections=200"
        options = f"-k {self._folder} -c listen_addresses='' -c fsync=off {others}"
        self._run("pg_ctl", "start", "-w", "-o", options, "-l", str(self._folder / "log"))

    def stop(self) -> None:
        """End it at once, as a power cut would."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate")

    def close(self) -> None:
        self.stop()  # any other way writes all databases to the disk first
        shutil.rmtree(self._folder)

    def new_database(self) -> str:
        """The URL of an empty one."""
        import psycopg

        name = f"store{next(self._names)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, name: str) -> str:
        return f"postgresql://tests@/{name}?host={self._folder}"

    def _run(self, program: str, *arguments: str) -> None:
        user = self._user
        subprocess.run(
            [str(self._binaries / program), "-D", str(self._data), *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            extra_groups=None if user is None else [],
        )
