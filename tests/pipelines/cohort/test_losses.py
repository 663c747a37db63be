"""What a cohort may lose unasked, and what stops an observation."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.cohort.manifest import CohortError, observe_cohort, read_whole_manifest

N_EXAMS = 20


def write_cohort(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / "exams" / name).mkdir(parents=True)
        (folder / "exams" / name / "SUV.nii.gz").write_bytes(name.encode())
    write_reports(folder, names)


def write_reports(folder: Path, names: list[str], text: str = "Text.") -> None:
    rows = "".join(f"{name},P{name},{text}\n" for name in names)
    (folder / "reports.csv").write_text("exam_id,patient_id,findings\n" + rows)


def names_of(n: int, prefix: str = "E") -> list[str]:
    return [f"{prefix}{i:02d}" for i in range(n)]


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Twenty exams, observed once."""
    write_cohort(tmp_path / "cohort", names_of(N_EXAMS))
    observe_cohort(tmp_path / "cohort", tmp_path / "home" / "manifest")
    return tmp_path / "cohort"


@pytest.fixture
def manifest(cohort: Path) -> Path:
    return cohort.parent / "home" / "manifest"


def unmount(cohort: Path) -> None:
    (cohort / "exams").rename(cohort / "elsewhere")


def unmount_to_empty(cohort: Path) -> None:
    unmount(cohort)
    (cohort / "exams").mkdir()


def empty_every_folder(cohort: Path) -> None:
    for path in (cohort / "exams").glob("*/*"):
        path.unlink()


def cut_reports(cohort: Path) -> None:
    write_reports(cohort, names_of(3))


def lose_the_texts(cohort: Path) -> None:
    write_reports(cohort, names_of(N_EXAMS), text="")


def replace_all(cohort: Path) -> None:
    shutil.rmtree(cohort)
    write_cohort(cohort, names_of(N_EXAMS, "F"))


class TestObserveCohort:
    @pytest.mark.parametrize(
        "lose", [unmount, unmount_to_empty, empty_every_folder, cut_reports, lose_the_texts, replace_all]
    )
    def test_stops_at_a_loss_and_changes_nothing(
        self, cohort: Path, manifest: Path, lose: Callable[[Path], None]
    ) -> None:
        before = read_whole_manifest(manifest)
        lose(cohort)
        with pytest.raises(CohortError, match=r"20 exams of the last observation.*--accept-removals"):
            observe_cohort(cohort, manifest)
        assert read_whole_manifest(manifest) == before

    def test_takes_a_loss_that_is_accepted(self, cohort: Path, manifest: Path) -> None:
        unmount(cohort)
        observe_cohort(cohort, manifest, accept_removals=True)
        assert {entry.folder for entry in read_whole_manifest(manifest)} == {None}
        observe_cohort(cohort, manifest)

    def test_withdrawn_exams_leave(self, cohort: Path, manifest: Path) -> None:
        for name in names_of(5):
            shutil.rmtree(cohort / "exams" / name)
        write_reports(cohort, names_of(N_EXAMS)[5:])
        observe_cohort(cohort, manifest)
        assert len(read_whole_manifest(manifest)) == N_EXAMS - 5

    def test_images_that_were_never_there_are_no_loss(self, tmp_path: Path) -> None:
        write_reports(tmp_path, names_of(N_EXAMS))
        for _ in range(2):
            observe_cohort(tmp_path, tmp_path / "home" / "manifest")
        assert len(read_whole_manifest(tmp_path / "home" / "manifest")) == N_EXAMS

    def test_a_home_knows_its_cohort(self, tmp_path: Path) -> None:
        write_cohort(tmp_path / "one", names_of(3))
        write_cohort(tmp_path / "two", names_of(4, "F"))
        observe_cohort(tmp_path / "one", tmp_path / "home" / "manifest")
        with pytest.raises(CohortError, match="curated from another cohort folder"):
            observe_cohort(tmp_path / "two", tmp_path / "home" / "manifest")

    def test_a_cohort_may_move(self, cohort: Path, manifest: Path) -> None:
        moved = cohort.rename(cohort.with_name("moved"))
        observe_cohort(moved, manifest)
        assert len(read_whole_manifest(manifest)) == N_EXAMS
