"""A process that reads cases, one after another, and says of each how it ended."""

import contextlib
import logging
import os
import random
import resource
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from benchmarks.fuzz.case import Files
from benchmarks.fuzz.inputs import INPUTS
from pipelines.reports.vocabulary.vocabulary import package_vocabulary

_KEPT = Path(__file__).parent / "kept"
MOST_S = 10.0
"""Time of a case, of one core."""
MOST_MB = 2048
"""Memory of a case, on top of the process's own."""
_ADDRESSES_MB = 4 * MOST_MB
"""What a case may reserve beyond what the process has: more is refused by the system, so that no machine goes down."""


@dataclass(frozen=True)
class Ending:
    """How a case ended: "row", "error of ours", or what else happened, in the words of the first line."""

    input: str
    name: str
    """Its number, or the file that is kept of it."""
    kind: str
    rows: int
    cpu_s: float
    peak_mb: float
    words: str = ""

    @property
    def is_other(self) -> bool:
        """Whether it ended as it must not."""
        return self.kind not in ("rows", "error")


class TooSlowError(BaseException):
    """A case took longer than it may; no reader catches it."""


def files_of(name: str, number: int) -> Files:
    """The files of a case: the same for the same number."""
    return INPUTS[name].make(random.Random(f"{name}:{number}"))


def run_numbers(name: str, first: int, count: int) -> list[Ending]:
    """Endings of the cases with these numbers."""
    return [run_case(name, str(n), files_of(name, n)) for n in range(first, first + count)]


def run_kept(name: str) -> list[Ending]:
    """Endings of the cases that are kept as files, because they once ended as they must not."""
    folder = _KEPT / folder_of(name)
    endings = []
    for case in sorted(folder.iterdir()) if folder.is_dir() else ():
        files = {str(p.relative_to(case)): p.read_bytes() for p in sorted(case.rglob("*")) if p.is_file()}
        endings.append(run_case(name, case.name, files))
    return endings


def folder_of(name: str) -> str:
    """Folder of an input's kept cases."""
    return name.replace(": ", "-").replace(" ", "-").lower()


def start() -> None:
    """Prepares the process: readers are loaded, warnings and logs are silent, memory is bounded."""
    warnings.simplefilter("ignore")
    package_vocabulary()
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, _too_slow)
    limit = _status_mb("VmSize") + _ADDRESSES_MB
    resource.setrlimit(resource.RLIMIT_AS, (int(limit) << 20, resource.getrlimit(resource.RLIMIT_AS)[1]))


def run_case(name: str, label: str, files: Files) -> Ending:
    """Reads one case in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for path, data in files.items():
            target = Path(folder) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        return _read(name, label, Path(folder))


def _read(name: str, label: str, folder: Path) -> Ending:
    one, kind, words, rows = INPUTS[name], "rows", "", 0
    before_mb, started = _reset_peak(), time.process_time()
    signal.alarm(int(MOST_S * 6))
    try:
        with _quiet():
            rows = one.read(folder)
    except one.errors as error:
        kind, words = "error", str(error)[:200]
    except TooSlowError:
        kind = "too slow"
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        kind = type(error).__name__
        words = f"{str(error)[:160]!r} at {Path(where.filename).name}:{where.lineno}"
    finally:
        signal.alarm(0)
    cpu_s, peak_mb = time.process_time() - started, max(0.0, _status_mb("VmHWM") - before_mb)
    if kind in ("rows", "error") and cpu_s > MOST_S:
        kind = "too slow"
    if kind in ("rows", "error") and peak_mb > MOST_MB:
        kind = "too large"
    return Ending(name, label, kind, rows, cpu_s, peak_mb, words)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Libraries write to standard error what they think of a file."""
    logging.disable(logging.CRITICAL)
    with open(os.devnull, "w") as nothing, contextlib.redirect_stderr(nothing), contextlib.redirect_stdout(nothing):
        yield


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise TooSlowError


def _reset_peak() -> float:
    """Memory of the process now, from which its peak is counted anew where the system allows it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status_mb("VmRSS")


def _status_mb(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    return 0.0
