"""A real PostgreSQL server for tests: a throw-away cluster on loopback, gone when the test session ends.

Use: the fixture `postgres` (tests/conftest.py) is the URL of a server that is empty at the session's start,
`new_database(postgres)` the URL of an empty database in it.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2

START_DEADLINE_S = 60
USER = "madangtest"


def binaries() -> Path | None:
    """The folder of the newest installed server's programs, or None."""
    found = [p.parent for p in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda p: int(re.sub(r"\D.*", "", p.parent.name) or 0))
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


@contextmanager
def running_postgres(programs: Path) -> Iterator[str]:
    """Start a cluster, yield the URL of its database `postgres` (password in it), stop it and delete its files."""
    # Not below pytest's own folder: the server refuses to run as root, and its user could not reach it there.
    folder = Path(tempfile.mkdtemp(prefix="madang-postgres-"))
    user = "postgres" if os.geteuid() == 0 else None
    password = secrets.token_hex(8)
    try:
        (folder / "password").write_text(password)
        if user:
            shutil.chown(folder, user)
            shutil.chown(folder / "password", user)
        data = folder / "data"
        made = subprocess.run(
            [
                *(programs / "initdb", "-D", data, "-U", USER, "-A", "scram-sha-256"),
                *(f"--pwfile={folder / 'password'}", "-E", "UTF8", "--locale=C", "--no-sync"),
            ],
            user=user,
            cwd=folder,
            capture_output=True,
            text=True,
        )
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stderr}")
        port = _free_port()
        with (folder / "log").open("wb") as log:
            settings = ["fsync=off", "unix_socket_directories=", "listen_addresses=127.0.0.1", f"port={port}"]
            server = subprocess.Popen(
                [programs / "postgres", "-D", data, *(a for s in settings for a in ("-c", s))],
                user=user,
                cwd=folder,
                stdout=log,
                stderr=log,
            )
        try:
            url = f"postgresql://{USER}:{password}@127.0.0.1:{port}/postgres"
            _wait(url, server, folder / "log")
            yield url
        finally:
            server.send_signal(signal.SIGINT)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_database(url: str) -> str:
    """An empty database on the server of `url`; returns its URL."""
    name = f"t{secrets.token_hex(6)}"
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
    finally:
        connection.close()
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_DEADLINE_S
    while True:
        try:
            psycopg2.connect(url, connect_timeout=2).close()
        except psycopg2.OperationalError as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {log.read_text(errors='replace')[-2000:]}") from error
            time.sleep(0.1)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
