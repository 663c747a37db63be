"""When a cohort was last observed."""

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipelines.tables import atomic
from pipelines.tables.locks import lock

_NAME = "observed.json"


@dataclass(frozen=True)
class Observation:
    """When the cohort was last observed, and when its newest file was changed (both UTC)."""

    observed_at: datetime
    newest_file_at: datetime | None
    n_exams: int


def observing(manifest_folder: Path) -> AbstractContextManager[None]:
    """One observer at a time; a second one waits."""
    return lock(manifest_folder / ".lock")


def write_observation(manifest_folder: Path, newest_s: float | None, n_exams: int) -> None:
    """Notes an observation of now.

    Args:
        newest_s: when the newest file of the cohort was changed (seconds since 1970).
    """
    newest = None if newest_s is None else datetime.fromtimestamp(newest_s, UTC).isoformat(timespec="seconds")
    _write(manifest_folder, newest, n_exams)


def note_unchanged(manifest_folder: Path) -> None:
    """Notes that the cohort was looked at now and is as it was when it was last observed."""
    with observing(manifest_folder):
        payload = json.loads((manifest_folder / _NAME).read_text())
        _write(manifest_folder, payload["newest_file_at"], payload["n_exams"])


def _write(manifest_folder: Path, newest_file_at: str | None, n_exams: int) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    observed = {"observed_at": now, "newest_file_at": newest_file_at, "n_exams": n_exams}
    atomic.write_bytes(manifest_folder / _NAME, json.dumps(observed).encode())


def read_observation(manifest_folder: Path) -> Observation | None:
    """When the cohort was last observed; None where it never was."""
    path = manifest_folder / _NAME
    if not path.exists():
        return None
    payload = json.loads(path.read_text())
    newest = payload["newest_file_at"]
    return Observation(
        datetime.fromisoformat(payload["observed_at"]),
        datetime.fromisoformat(newest) if newest else None,
        payload["n_exams"],
    )
