"""Dagster's UI over a home, for benchmarks that time it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.tables.home import Home

_ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def open_ui(home: Home, cohort: Path, patience_s: float) -> Iterator[int]:
    """Port of the UI, with its daemon, as `petar ui` starts it; its log is `ui.log` of the home."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    where = ["--home", str(home.root), "--cohort", str(cohort), "--port", str(port)]
    command = ["env", "--default-signal=INT", sys.executable, "-m", "assets.cli", "ui", *where]
    with (home.root / "ui.log").open("w") as log:
        server = subprocess.Popen(command, cwd=_ROOT, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait_for(port, server, patience_s)
            yield port
        finally:
            os.killpg(server.pid, signal.SIGINT)
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)


def ask(port: int, query: str) -> Any:
    """Data of the answer to a GraphQL query."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["data"]


def _wait_for(port: int, server: subprocess.Popen[bytes], patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            ask(port, "{ version }")
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the UI did not come up") from None
            time.sleep(0.5)
