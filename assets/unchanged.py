"""Whether a curation has nothing to do, found out without Dagster and without reading a table.

A curation that ended well leaves a note of everything that it looked at: the files of the cohort and of the home, the
settings, the readers, the code; and what it printed. While all of that is as it was, the next call has nothing to do:
it prints the same and starts no run. Whatever cannot be compared counts as changed, so that the runs decide.

Of the home's volumes and masks the folders are looked at, of all else the files (names, sizes, times).
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.closing_lines import print_closing, print_lines, work_line
from assets.processes import dead_processes
from assets.run_summary import RunSummary
from pipelines.cohort.cohort_files import files_below, state_of, state_of_cohort
from pipelines.cohort.observation import note_unchanged, read_observation
from pipelines.settings import load_settings
from pipelines.tables import atomic
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home

if TYPE_CHECKING:
    from pipelines.settings import ProjectSettings

_NAME = "unchanged.json"
_SOURCES = Path(__file__).resolve().parents[1]
_CODE = ("assets", "model", "pipelines", "sql")
_WRITTEN_BY_READERS = "answers.sqlite"


@dataclass(frozen=True)
class Place:
    """Where a curation reads and writes, as plain values."""

    cohort: Path
    home: Home
    settings_file: Path | None
    lake: str
    """Where the environment has the tables; empty: where the home has them."""
    files: str
    """Where the environment has the volumes and masks; empty: where the home has them."""
    database: str
    """URL of Dagster's database; empty where it lies in the home."""

    def cohort_state(self) -> str:
        """State of the cohort now.

        Raises:
            OSError: its folder cannot be read.
        """
        return state_of_cohort(self.cohort, self.home.root)

    @classmethod
    def of(cls, cohort: Path, home: Path, settings_file: Path | None, environment: Mapping[str, str]) -> "Place":
        """A place as the command line and the environment name it."""
        settings = settings_file.absolute() if settings_file else None
        lake, database = environment.get("PETAR_LAKE", ""), environment.get("PETAR_POSTGRES_URL", "")
        files = environment.get("PETAR_FILES", "")
        return cls(cohort.absolute(), Home(home.absolute()), settings, lake, files, database)


@dataclass(frozen=True)
class Printed:
    """What the last curation ended with, for a call that finds it unchanged."""

    curation: list[str]
    checks: list[str]
    """A line a failed check, with what to do."""
    answers: list[str]
    """Lines about the reviewers' answers."""
    failed_checks: list[str]
    n_unusable: int
    """Exams that ended as `problem` or `failed`."""


def note_path(home: Home) -> Path:
    """File of the note; it goes with Dagster's instance, whose events it stands for."""
    return home.root / "dagster" / _NAME


def read_unchanged(place: Place, cohort: str) -> Printed | None:
    """What the last curation printed, where nothing has changed since; null where something has or may have.

    The cohort counts as observed then.

    Args:
        cohort: its state now (`state_of_cohort`).
    """
    # What is wrong with the input, the settings or the home is said by the runs.
    with suppress(OSError, ValueError, KeyError, TypeError, RuntimeError):
        note = json.loads(note_path(place.home).read_text())
        if dead_processes(place.home) or note["state"] != state(place, cohort) or _is_stale(place):
            return None
        printed = Printed(**note["printed"])
        note_unchanged(place.home.manifest)
        return printed
    return None


def print_unchanged(place: Place, cohort: str, started: float) -> Printed | None:
    """Prints what the last curation printed and gives it back, where nothing has changed since; see `read_unchanged`.

    Args:
        started: when the call began (`time.monotonic`).
    """
    printed = read_unchanged(place, cohort)
    if printed is not None:
        print_lines()
        print_lines(*printed.curation)
        print_lines(*printed.answers, "", work_line(RunSummary(seconds=time.monotonic() - started)))
        if printed.checks:
            print_lines("", *printed.checks)
        print_closing(place.home, str(place.cohort), is_published=True)
    return printed


def write_unchanged(place: Place, cohort: str, printed: Printed) -> None:
    """Leaves the note of a curation that ended well: all shards are current and what they hold is published.

    Args:
        cohort: its state (`state_of_cohort`) before it was observed: a change since then is for the next call.
    """
    with suppress(OSError):
        found = {"state": state(place, cohort), "printed": asdict(printed)}
        atomic.write_bytes(note_path(place.home), json.dumps(found).encode())


def state(place: Place, cohort: str) -> str:
    """Hash of everything that a curation looks at, the cohort's own state among it.

    Raises:
        SettingsError: the settings are wrong. PrivacyError: the ids in the home were made with another key.
        OSError: a file that cannot be looked at.
    """
    settings = load_settings(place.settings_file, place.cohort)
    return hash_of(
        hash_of(place.lake, place.files, place.database),
        settings.model_dump(mode="json"),
        [[name, state_of(files_below(_SOURCES / name))] for name in _CODE],
        _readers(place, settings),
        _home(place.home),
        cohort,
    )


def _entries(folder: Path) -> Iterator["os.DirEntry[str]"]:
    with os.scandir(folder) as entries:
        yield from sorted(entries, key=lambda entry: entry.name)


def _readers(place: Place, settings: "ProjectSettings") -> Mapping[str, str]:
    """Versions of the readers where a file names them, whatever they are made of; the rules are code and files of the
    cohort. Ids by another key are refused here, as an observation would.
    """
    if settings.readers_file or settings.privacy.hash_ids or settings.privacy.mask_reports:
        from pipelines.curation.source import CurationSource

        source = CurationSource(str(place.cohort), str(place.home.root), str(place.settings_file or ""))
        source.deidentifier().check_manifest(place.home.manifest)
        return {reader.name: reader.version for reader in source.readers().readers}
    return {}


def _home(home: Home) -> list[Any]:
    """What a curation reads and writes in the home.

    Raises:
        OSError: the tables lie in an object store, which is not looked at here; or something was not published.
    """
    lake = home.lake
    if not isinstance(lake, Path):
        raise OSError("the tables lie in an object store")
    if home.files is not None:
        raise OSError("the volumes lie in a store")
    if home.unpublished.is_dir() and any(home.unpublished.iterdir()):
        raise OSError("something was computed and not published")
    own = [(e.name, e.stat().st_size, e.stat().st_mtime_ns) for e in _entries(home.root) if _counts(e)]
    trees = [state_of(files_below(f)) for f in (lake, home.root / "likelihoods", home.reviews) if f.is_dir()]
    manifest = [f for f in files_below(home.manifest) if f.name.removesuffix(".json").isdecimal()]
    names = [name for name in ("history", "accepted.json") if (home.versions / name).is_file()]
    versions = [(name, (home.versions / name).stat().st_mtime_ns) for name in names]
    return [str(lake), own, trees, state_of(manifest), versions, [_folders(f) for f in (home.volumes, home.masks)]]


def _counts(entry: "os.DirEntry[str]") -> bool:
    """Whether a file directly in the home is what a curation reads or writes."""
    return entry.is_file() and not entry.name.startswith((".", _WRITTEN_BY_READERS)) and "lock" not in entry.name


def _folders(parent: Path) -> str:
    """Hash of the names and times of the folders of exams, which change where a file in them comes or goes."""
    digest = blake2b(digest_size=16)
    if parent.is_dir():
        for entry in _entries(parent):
            digest.update(f"{entry.name}\0{entry.stat().st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _is_stale(place: Place) -> bool:
    """Whether the check of the cohort's freshness, which time alone changes, fails now."""
    quality = load_settings(place.settings_file, place.cohort).quality
    observation = read_observation(place.home.manifest)
    if observation is None:
        return True
    newest = observation.newest_file_at
    age_days = (datetime.now(UTC) - newest).total_seconds() / 86_400 if newest is not None else 0.0
    return 0 < quality.max_exam_age_days < age_days
