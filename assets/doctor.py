"""What is missing on this machine, and what each part would enable. Looks at metadata and paths; imports no package."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from urllib.parse import urlsplit

_ENOUGH_DISK_GB = 20
"""Free gigabytes below which a cohort of some hundred exams may not fit: volumes are kept uncompressed, some 0.1 GB an
exam of 200 x 200 x 335 voxels in PET and CT."""
_NLTK = "corpora/wordnet"
_HELD = 3


@dataclass(frozen=True)
class Finding:
    """One part of the machine: whether it is there, what was found, and what it is needed for."""

    part: str
    is_there: bool
    found: str
    enables: str
    is_needed: bool = False


def examine(home: Path) -> list[Finding]:
    """Every part that some command makes use of, the needed ones first.

    Args:
        home: PETAR_HOME; it may not exist yet.
    """
    return [
        *_packages(),
        *_programs(),
        _gpu(),
        _vllm(),
        _wordnet(),
        _database(),
        _disk(home),
        _locks(home),
        _dagster_home(home),
    ]


def _packages() -> list[Finding]:
    """The packages that the project requires, and those of each extra."""
    try:
        wanted = requires("petar") or []
    except PackageNotFoundError:
        return [Finding("petar", False, "not installed: pip install --editable .", "every command", is_needed=True)]
    extras: dict[str, list[str]] = {"": []}
    for requirement in wanted:
        match = re.search(r"extra == ['\"](.+?)['\"]", requirement)
        name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        extras.setdefault(match[1] if match else "", []).append(name)
    enables = {
        "": "every command",
        "postgres": "Dagster's storage in PostgreSQL (PETAR_POSTGRES_URL)",
        "presidio": "names that Presidio finds beside the rules (docs/privacy.md)",
        "proposals": "proposals ranked by a model (petar propose)",
        "ray": "curation by a Ray cluster (--engine ray)",
        "s3": "tables in an object store (PETAR_LAKE)",
        "dev": "make test, make lint",
    }
    found = []
    for extra, names in extras.items():
        missing = [name for name in names if not _version(name)]
        state = f"missing: {', '.join(missing)}" if missing else f"{len(names)} installed"
        part = f"packages of extra {extra}" if extra else "packages"
        remedy = f"; pip install 'petar[{extra}]'" if missing and extra else ""
        found.append(Finding(part, not missing, state, enables.get(extra, extra) + remedy, is_needed=not extra))
    return found


def _programs() -> list[Finding]:
    wanted = {
        "chromium": "tests of the review pages (with chromedriver)",
        "chromedriver": "tests of the review pages (with chromium)",
    }
    paths = {name: shutil.which(name) for name in wanted}
    return [Finding(name, bool(path), path or "not on the PATH", wanted[name]) for name, path in paths.items()]


def _gpu() -> Finding:
    """CUDA: a driver, and a torch that is not the CPU build."""
    torch, driver = _version("torch"), shutil.which("nvidia-smi")
    is_there = bool(driver and torch) and "+cpu" not in torch
    state = f"torch {torch or 'missing'}, {'nvidia-smi found' if driver else 'no nvidia-smi'}"
    return Finding("GPU", is_there, state, "training and serving petar-4b; tiny and small need none")


def _vllm() -> Finding:
    from pipelines.reports.llm.vllm_server import DEFAULT_VENV

    is_there = (DEFAULT_VENV / "bin" / "python").exists()
    state = str(DEFAULT_VENV) if is_there else f"none at {DEFAULT_VENV}: petar vllm start makes it"
    return Finding("vLLM environment", is_there, state, "language models as readers of reports")


def _wordnet() -> Finding:
    roots = [*os.environ.get("NLTK_DATA", "").split(os.pathsep), str(Path.home() / "nltk_data"), "/usr/share/nltk_data"]
    folders = [Path("/usr/share/wordnet"), *(Path(root) / _NLTK for root in roots if root)]
    found = next((folder for folder in folders if (folder / "data.noun").exists()), None)
    state = str(found or "none: Debian's wordnet-base and wordnet-sense-index, or nltk's wordnet")
    return Finding(
        "WordNet",
        found is not None,
        state,
        "the metric METEOR; without it `meteor_no_synonyms`, which no published value is of",
    )


def _database() -> Finding:
    url = os.environ.get("PETAR_POSTGRES_URL", "")
    place = urlsplit(url)
    state = f"{place.hostname}{place.path}" if url else "PETAR_POSTGRES_URL is not set: SQLite in the home"
    return Finding("PostgreSQL", bool(url), state, "one UI for a team, on several machines")


def _disk(home: Path) -> Finding:
    there = _nearest_folder(home)
    free_gb = shutil.disk_usage(there).free / 1e9
    state = f"{free_gb:.0f} GB free at {there}"
    return Finding("disk", free_gb > _ENOUGH_DISK_GB, state, f"volumes of a cohort; expected {_ENOUGH_DISK_GB} GB")


_TRY_LOCK = """
import fcntl, sys
with open(sys.argv[1]) as handle:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(3)
"""
"""Exit code 0: the lock was free, 3: another process holds it, 1: there are no locks."""


def _locks(home: Path) -> Finding:
    """Whether locks hold between two processes on the file system of the home, and go with their holder."""
    there = _nearest_folder(home)
    enables = "several processes, jobs of a cluster, or users that curate one home (docs/clusters.md)"

    def tried(name: str) -> int:
        return subprocess.run(
            [sys.executable, "-S", "-c", _TRY_LOCK, name], capture_output=True, check=False
        ).returncode

    try:
        with tempfile.NamedTemporaryFile(prefix=".petar-lock-", dir=there) as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_kept_out = tried(held.name) == _HELD
            fcntl.flock(held, fcntl.LOCK_UN)
            is_free = tried(held.name) == 0
    except OSError as error:
        return Finding("locks", False, f"none at {there}: {error.strerror}", enables)
    kind = _file_system(there)
    if is_kept_out and is_free:
        return Finding("locks", True, f"flock holds between two processes at {there} ({kind})", enables)
    wrong = "does not keep a second process out" if not is_kept_out else "stays when it was let go"
    return Finding("locks", False, f"flock {wrong} at {there} ({kind}): see docs/clusters.md", enables)


def _file_system(folder: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """Kind of the file system that a folder lies on, as the kernel calls it."""
    try:
        entries = [line.split()[1:3] for line in mounts.read_text().splitlines()]
    except OSError:
        return "unknown file system"
    real = folder.resolve()
    holding = [(Path(place.replace("\\040", " ")), kind) for place, kind in entries]
    inside = [(len(place.parts), kind) for place, kind in holding if place == real or place in real.parents]
    return max(inside, default=(0, "unknown file system"), key=lambda found: found[0])[1]


def _nearest_folder(home: Path) -> Path:
    """The home, or the first folder above it that is there."""
    return next(folder for folder in (home.absolute(), *home.absolute().parents) if folder.exists())


def _dagster_home(home: Path) -> Finding:
    named, own = os.environ.get("DAGSTER_HOME", ""), home.absolute() / "dagster"
    state = named or f"not set: petar uses {own}"
    return Finding("DAGSTER_HOME", not named or Path(named) == own, state, f"dg beside petar: {own}")


def _version(name: str) -> str:
    """Version of an installed distribution, empty where there is none."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def python_version() -> str:
    """Version and place of the interpreter."""
    return f"Python {sys.version.split()[0]} at {sys.executable}"
