"""Locks between processes."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipelines.tables.locks import lock

HOLDER = """
import sys, time
from pathlib import Path
from pipelines.tables.locks import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path):
    """A process that holds the lock of the file `lock`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "new" / "lock")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def taken_by(path: Path) -> threading.Thread:
    """A thread that takes a lock and gives it back at once; it ends when it had it."""

    def take() -> None:
        with lock(path):
            pass

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    return thread


def test_another_process_is_waited_for_until_it_is_killed(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    waiting = taken_by(tmp_path / "new" / "lock")
    waiting.join(0.3)
    assert waiting.is_alive()
    os.kill(holder.pid, signal.SIGKILL)
    waiting.join(10)
    assert not waiting.is_alive()


def test_another_thread_is_waited_for(tmp_path: Path) -> None:
    with lock(tmp_path / "lock"):
        waiting = taken_by(tmp_path / "lock")
        waiting.join(0.2)
        assert waiting.is_alive()
    waiting.join(10)
    assert not waiting.is_alive()


def test_an_error_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock(tmp_path / "lock"):
        raise ZeroDivisionError
    waiting = taken_by(tmp_path / "lock")
    waiting.join(10)
    assert not waiting.is_alive()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), lock(tmp_path / "file" / "lock"):
        pass
