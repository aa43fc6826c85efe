"""A real PostgreSQL for the length of a test, on loopback, with a password."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.cluster_files.programs import absent
from tests.servers import free_port


def _programs() -> Path:
    """Where Debian keeps the newest server; skips the test where there is none, and fails it under CI."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4]))
    if not found:
        absent("no PostgreSQL on this machine; on Debian: apt-get install postgresql")
    return found[-1].parent


@contextmanager
def postgresql(user: str, database: str) -> Iterator[dict[str, str]]:
    """The environment in which clients of libpq, and so psycopg and MLflow, find the database."""
    programs, folder, port = _programs(), Path(tempfile.mkdtemp(prefix="pg")), free_port()
    # It refuses to run as root, who may lend its folder to another user.
    owner: dict[str, str] = {"user": "nobody"} if os.geteuid() == 0 else {}
    if owner:
        os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
    environment = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": user, "PGPASSWORD": "a word for tests"}
    (folder / "password").write_text(environment["PGPASSWORD"])
    (folder / "password").chmod(0o644)

    def call(program: str, *arguments: str) -> None:
        place = [str(programs / program), "--pgdata", str(folder / "data")]
        subprocess.run([*place, *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL, **owner)  # type: ignore[call-overload]

    try:
        call("initdb", "--username", user, "--auth", "scram-sha-256", "--pwfile", str(folder / "password"))
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}"
        call("pg_ctl", "start", "--wait", "--log", str(folder / "log"), "--options", options)
        try:
            with psycopg.connect(
                host="127.0.0.1", port=port, user=user, password=environment["PGPASSWORD"], dbname="postgres"
            ) as connection:
                connection.autocommit = True
                connection.execute(f'CREATE DATABASE "{database}"'.encode())
            yield environment
        finally:
            call("pg_ctl", "stop", "--mode", "immediate")
    finally:
        shutil.rmtree(folder)
