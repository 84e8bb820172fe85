"""A real PostgreSQL for tests: a cluster of its own in a temporary folder, listening on this machine only."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

USER = "postgres"
NOT_HERE = "PostgreSQL is not installed: apt install postgresql"


def binaries() -> Path | None:
    """The folder of PostgreSQL's programs, if it is installed. Debian does not put them on the path."""
    found = [Path(path) for path in (shutil.which("initdb"),) if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    return found[0].resolve().parent if found else None


@dataclass(frozen=True)
class Postgres:
    """A running cluster."""

    port: int
    programs: Path

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"polycall_{uuid.uuid4().hex}"
        at = ["-h", "127.0.0.1", "-p", str(self.port), "-U", USER]
        subprocess.run([self.programs / "createdb", *at, name], check=True, capture_output=True)
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{name}"


@contextmanager
def running_postgres(programs: Path) -> Iterator[Postgres]:
    """A cluster that is gone afterwards. PostgreSQL refuses to run as root, so root lends it to its own user."""
    folder = Path(tempfile.mkdtemp(prefix="polycall-postgres-"))
    user = []
    if os.geteuid() == 0:
        account = pwd.getpwnam(USER)
        os.chown(folder, account.pw_uid, account.pw_gid)
        user = ["runuser", "-u", USER, "--"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(*command: str | Path) -> None:
        subprocess.run([*user, *command], check=True, capture_output=True, cwd=folder)

    data, log = folder / "data", folder / "log"
    # what is lost with the machine's power does not matter here; what is lost with a client's process does
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=50"
    try:
        run(programs / "initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync")
        run(programs / "pg_ctl", "-D", data, "-l", log, "-o", options, "-w", "start")
        try:
            yield Postgres(port=port, programs=programs)
        finally:
            run(programs / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
