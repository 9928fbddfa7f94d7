"""A PostgreSQL server of the tests' own, where its programs are installed."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

PASSWORD = "se{cr}e/t@%"
"""With every character that a URL or a template could trip over."""


def programs() -> Path | None:
    """Folder of initdb and pg_ctl; None where there is none."""
    found = shutil.which("initdb") or next(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), None)
    return Path(found).parent if found and Path(found).with_name("pg_ctl").exists() else None


@contextmanager
def server() -> Iterator[str]:
    """URL of a database on loopback; the server and its data are gone afterwards."""
    where = programs()
    assert where is not None, "call it only where the programs are"
    folder = Path(tempfile.mkdtemp(prefix="nas-postgres-", dir="/tmp"))  # short: it holds a socket
    run: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
    if os.getuid() == 0:  # PostgreSQL refuses root
        run |= {"user": "nobody", "group": "nogroup", "extra_groups": []}
        shutil.chown(folder, "nobody", "nogroup")
    (folder / "password").write_text(PASSWORD)
    (folder / "password").chmod(0o644)
    data = str(folder / "data")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    try:
        subprocess.run(
            [where / "initdb", "-D", data, "-U", "watcher", "--auth=scram-sha-256", f"--pwfile={folder}/password"],
            **run,
        )
        subprocess.run([where / "pg_ctl", "-D", data, "-w", "-o", options, "start"], **run)
        yield f"postgresql://watcher:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([where / "pg_ctl", "-D", data, "-m", "immediate", "stop"], **{**run, "check": False})
        shutil.rmtree(folder)
