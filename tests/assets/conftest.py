"""Fixtures of the assets' tests: the UI as `make ui` starts it, and a real PostgreSQL server."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

START_TIMEOUT_S = 180


@dataclass(frozen=True)
class Ask:
    """A running UI: called with a query it asks its GraphQL; `url` is what a browser opens."""

    url: str

    def __call__(self, query: str) -> dict[str, Any]:
        """Data of the answer."""
        return _ask(self.url, query)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ask(url: str, query: str) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{url}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["data"]


@contextmanager
def _open_ui(home: Path, **variables: str) -> Iterator[Ask]:
    port = _free_port()
    environment = {**os.environ, "PETAR_COHORT": str(home / "cohort"), **variables}
    home.mkdir(parents=True, exist_ok=True)
    command = ["ui", "--home", str(home), "--port", str(port)]
    with (home / "ui.log").open("w") as log:
        # As in a shell script: without the default handling of INT the servers below would outlive their parent.
        process = subprocess.Popen(
            ["env", "--default-signal=INT", sys.executable, "-m", "assets.cli", *command],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while True:
                try:
                    if _ask(url, "{ version }"):
                        break
                except (urllib.error.URLError, ConnectionError, TimeoutError):
                    assert process.poll() is None, (home / "ui.log").read_text()
                    assert time.monotonic() < deadline, (home / "ui.log").read_text()
                    time.sleep(0.5)
            yield Ask(url)
        finally:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def open_ui() -> Callable[..., AbstractContextManager[Ask]]:
    """(home, **variables of the environment) -> a UI over that home, as a function that asks its GraphQL."""
    return _open_ui


def _program(name: str) -> str | None:
    """Where a program of PostgreSQL lies; Debian keeps them off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


@dataclass
class Postgres:
    """A server on loopback that a test can stop and start."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        """Where its one database is reached."""
        return f"postgresql://petar:petar@127.0.0.1:{self.port}/postgres"

    def _call(self, name: str, *arguments: str) -> None:
        program = _program(name)
        assert program is not None
        # PostgreSQL refuses to run as root.
        user = "postgres" if os.geteuid() == 0 else None
        subprocess.run(
            [program, *arguments], user=user, group=user, cwd="/", check=True, stdout=subprocess.DEVNULL, timeout=60
        )

    def make(self) -> None:
        """Makes the database's files."""
        (self.folder / "password").write_text("petar")
        data = str(self.folder / "data")
        password = str(self.folder / "password")
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
        self._call("initdb", "-D", data, "-U", "petar", "-A", "md5", f"--pwfile={password}", "--no-sync")

    def start(self) -> None:
        """Starts the server and waits for it."""
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder} -c fsync=off"
        log = str(self.folder / "log")
        self._call("pg_ctl", "-D", str(self.folder / "data"), "-l", log, "-w", "-o", options, "start")

    def stop(self) -> None:
        """Stops the server at once, whoever is connected."""
        self._call("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop")


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL server with an empty database."""
    if _program("initdb") is None:
        pytest.skip("needs a PostgreSQL server (Debian: postgresql)")
    # pytest's own folders are closed to the server's user.
    folder = Path(tempfile.mkdtemp(prefix="petar-postgres-"))
    server = Postgres(folder, _free_port())
    try:
        server.make()
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
