"""Whether a curation has nothing to do: what counts as a change."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from assets.processes import processes_of
from assets.unchanged import Place, Printed, print_unchanged, read_unchanged, write_unchanged
from pipelines.cohort.cohort_files import CHANGE_LIST
from pipelines.cohort.observation import read_observation, write_observation
from pipelines.tables.home import Home

PRINTED = Printed(["exams       2"], ["  check     files"], [], ["files"], 1)


def put(path: Path, text: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A cohort of one exam and a home with its files, as a curation would have left them."""
    cohort, home = tmp_path / "cohort", tmp_path / "home"
    for name in ("reports.csv", "exams/E1/SUV.nii.gz", "exams/E1/ct/1.dcm"):
        put(cohort / name)
    for name in (
        "lake/exams/00.parquet",
        "petar.duckdb",
        "masks/E1/a.nii.gz",
        "volumes/E1/SUV.nii",
        "manifest/00.json",
    ):
        put(home / name)
    write_observation(home / "manifest", datetime(2026, 1, 1, tzinfo=UTC).timestamp(), 1)
    return Place.of(cohort, home, None, {})


def replace_report(place: Place) -> None:
    """Another file of the same name, size and time."""
    path = place.cohort / "reports.csv"
    status = path.stat()
    put(path.with_suffix(".new"), "y")
    os.utime(path.with_suffix(".new"), ns=(status.st_atime_ns, status.st_mtime_ns))
    path.with_suffix(".new").replace(path)


CHANGES: dict[str, Callable[[Place], object]] = {
    "a report": lambda place: put(place.cohort / "reports.csv", "other"),
    "the table of reports by another one": replace_report,
    "a setting": lambda place: put(place.cohort / "petar.toml", "[consensus]\nmin_suvmax = 3.0\n"),
    "corrections": lambda place: put(place.cohort / "corrections.csv"),
    "an image": lambda place: put(place.cohort / "exams" / "E1" / "ct" / "1.dcm", "longer"),
    "an exam": lambda place: put(place.cohort / "exams" / "E2" / "SUV.nii.gz"),
    "a table": lambda place: put(place.home.root / "lake" / "exams" / "00.parquet", "other"),
    "an answer of a reviewer": lambda place: put(place.home.reviews / "a.csv"),
    "a mask that is gone": lambda place: (place.home.mask_folder("E1") / "a.nii.gz").unlink(),
    "a volume that is gone": lambda place: (place.home.volume_folder("E1") / "SUV.nii").unlink(),
    "the catalog": lambda place: place.home.catalog.unlink(),
    "rows that were not published": lambda place: put(place.home.unpublished / "00.json"),
    "a process that died": lambda place: put(processes_of(place.home) / "0123"),
}


class TestReadUnchanged:
    def test_gives_what_was_printed_and_counts_as_an_observation(self, place: Place) -> None:
        state = place.cohort_state()
        write_unchanged(place, state, PRINTED)
        before = read_observation(place.home.manifest)
        assert read_unchanged(place, state) == PRINTED
        after = read_observation(place.home.manifest)
        assert before is not None
        assert after is not None
        assert (after.newest_file_at, after.n_exams) == (before.newest_file_at, before.n_exams)
        assert after.observed_at >= before.observed_at

    @pytest.mark.parametrize("name", CHANGES)
    def test_a_change_is_for_the_runs(self, place: Place, name: str) -> None:
        write_unchanged(place, place.cohort_state(), PRINTED)
        CHANGES[name](place)
        assert read_unchanged(place, place.cohort_state()) is None

    @pytest.mark.parametrize("variable", ["PETAR_LAKE", "PETAR_POSTGRES_URL"])
    def test_another_place_of_the_tables_or_the_events_is_for_the_runs(self, place: Place, variable: str) -> None:
        state = place.cohort_state()
        write_unchanged(place, state, PRINTED)
        other = Place.of(place.cohort, place.home.root, None, {variable: "elsewhere"})
        assert read_unchanged(other, state) is None

    def test_a_cohort_that_got_nothing_new_for_too_long_is_for_the_runs(self, place: Place) -> None:
        put(place.cohort / "petar.toml", "[quality]\nmax_exam_age_days = 1\n")
        state = place.cohort_state()
        write_unchanged(place, state, PRINTED)
        assert read_unchanged(place, state) is None

    def test_a_home_in_the_cohorts_folder_is_no_part_of_it(self, place: Place) -> None:
        inside = Place.of(place.home.root.parent, place.home.root, None, {})
        state = inside.cohort_state()
        put(inside.home.root / "dagster" / "runs.db")
        assert inside.cohort_state() == state

    def test_a_change_list_says_which_exams_are_looked_at(self, place: Place) -> None:
        put(place.cohort / CHANGE_LIST, "exam_id\nE1\n../E1\n")
        put(place.cohort / "exams" / "E2" / "SUV.nii.gz")
        state = place.cohort_state()
        put(place.cohort / "exams" / "E2" / "SUV.nii.gz", "longer")
        assert place.cohort_state() == state
        put(place.cohort / "exams" / "E1" / "SUV.nii.gz", "longer")
        after = place.cohort_state()
        assert after != state
        put(place.cohort / CHANGE_LIST, "exam_id\nE1\nE2\n")
        assert place.cohort_state() != after

    def test_without_a_note_nothing_is_known(self, place: Place) -> None:
        assert read_unchanged(place, place.cohort_state()) is None


def test_prints_the_checks_that_failed_with_the_rest(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    state = place.cohort_state()
    write_unchanged(place, state, PRINTED)
    assert print_unchanged(place, state, 0.0) == PRINTED
    out = capsys.readouterr().out
    assert PRINTED.curation[0] in out
    assert PRINTED.checks[0] in out
    assert "nothing to recompute" in out


def test_home_of_relative_path_is_the_same(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.home.root.parent)
    assert Place.of(Path("cohort"), Path("home"), None, {}) == place
    assert place.home == Home(place.home.root)
