"""What reaches the location of a curation beside the findings: label maps of organs, candidates that reviewers pick,
and the calibration of the cohort."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipelines.catalog.build import build_catalog
from pipelines.catalog.versions import accept
from pipelines.cohort.manifest import observe_cohort
from pipelines.curation.run import PHASES, TABLES, open_curation, run_stage, stale_shards
from pipelines.imaging.organ_labels import LABELS
from pipelines.imaging.volume import Volume, save_nifti
from pipelines.settings import CalibrationSettings, CurationSettings, LesionSettings
from pipelines.tables.accepted_versions import VersionError
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.shards import shard_of
from tests.pipelines.curation.test_hard_exams import LEFT, RIGHT, SHAPE, K, body

TEXT = "A right lung nodule with SUV max of 8.0 (slice 16)."
SPOTS = [(30, 30), (70, 50), (45, 40), (60, 24), (35, 55)]
"""Places of lesions of drawn exams (i, j)."""


def write(cohort: Path, exams: dict[str, tuple[Volume, str]], labels: dict[str, Volume] | None = None) -> None:
    """A cohort of these exams, each of a patient of its own."""
    for exam_id, (volume, _) in exams.items():
        save_nifti(volume, cohort / "exams" / exam_id / "SUV.nii.gz")
    for exam_id, volume in (labels or {}).items():
        save_nifti(volume, cohort / "exams" / exam_id / "TOTALSEG.nii.gz")
    rows = [f'{exam_id},{exam_id},"{text}"' for exam_id, (_, text) in exams.items()]
    (cohort / "reports.csv").write_text("\n".join(["exam_id,patient_id,findings", *rows]) + "\n")


def curate(cohort: Path, home: Home, accepted: str | None = None) -> dict[str, int]:
    """Brings a home up to date; how many exams that took, by table. accepted: version whose calibrations are kept."""
    observe_cohort(cohort, home.manifest)
    calibration = CalibrationSettings(accepted=accepted)
    curation = open_curation(home, CurationSettings(lesions=LesionSettings(calibration=calibration)))
    n = dict.fromkeys(TABLES, 0)
    for tables in PHASES:
        for shard in stale_shards(curation, tables):
            for table in tables:
                n[table] += run_stage(curation, table, shard).counts.recomputed
    return n


def lesion(home: Home, exam_id: str = "E1") -> dict[str, object]:
    rows = Lake(home.lake).read_shard("lesions", shard_of(exam_id)).filter(exam_id=exam_id)
    return rows.row(0, named=True)


class TestALabelMap:
    @pytest.fixture
    def volume(self) -> Volume:
        return body([(RIGHT, 8.0)])

    def liver(self, volume: Volume) -> Volume:
        """A liver that holds the lesion on the right."""
        labels = np.zeros(SHAPE, np.uint8)
        labels[RIGHT[0] - 8 : RIGHT[0] + 8, RIGHT[1] - 8 : RIGHT[1] + 8] = LABELS["liver"]
        return Volume(labels, volume.affine)

    def curated(self, tmp_path: Path, volume: Volume, labels: Volume) -> Home:
        write(tmp_path / "cohort", {"E1": (volume, TEXT)}, {"E1": labels})
        home = Home(tmp_path / "home")
        curate(tmp_path / "cohort", home)
        return home

    def test_reaches_the_contour(self, tmp_path: Path, volume: Volume) -> None:
        found = lesion(self.curated(tmp_path, volume, self.liver(volume)))
        assert (found["outcome"], found["organs_met"]) == ("lesion", "liver")

    def test_of_another_exam_is_told_and_left_out(self, tmp_path: Path, volume: Volume) -> None:
        other = self.liver(volume)
        short = Volume(other.array[:, :, :20], other.affine)
        home = self.curated(tmp_path, volume, short)
        (said,) = Lake(home.lake).read_table("peaks")["organ_map_message"]
        assert str(SHAPE) in said
        assert str(short.shape) in said
        assert (lesion(home)["outcome"], lesion(home)["organs_met"]) == ("lesion", None)


class TestAPickedCandidate:
    def test_makes_an_ambiguous_finding_a_lesion(self, tmp_path: Path) -> None:
        write(
            tmp_path / "cohort",
            {"E1": (body([(RIGHT, 8.0), (LEFT, 8.0)]), "A lung nodule with SUV max of 8.0 (slice 16).")},
        )
        home = Home(tmp_path / "home")
        curate(tmp_path / "cohort", home)
        before = lesion(home)
        assert before["outcome"] == "ambiguous"
        line = f"{before['finding_id']},candidate,2,Dr A,2026-01-02"
        (tmp_path / "cohort" / "corrections.csv").write_text(f"finding,field,value,who,when\n{line}\n")
        curate(tmp_path / "cohort", home)
        after = lesion(home)
        (second,) = pl.read_json(str(before["candidates"]).encode()).filter(n=2).iter_rows(named=True)
        assert (after["outcome"], after["evidence"]) == ("lesion", "review")
        assert after["peak_x_mm"] == pytest.approx(second["x_mm"], abs=0.1)


class TestOneMoreExam:
    def exam(self, n: int) -> tuple[Volume, str]:
        """An exam with two lesions of its own, in a workstation's numbers: 2 % more, one slice further."""
        rng = np.random.default_rng(n)
        spots = rng.permutation(len(SPOTS))[:2]
        values = rng.uniform(4, 15, 2).round(2)
        volume = body([(SPOTS[s], float(v)) for s, v in zip(spots, values)])
        text = " ".join(f"A lung nodule with SUV max of {v * 1.02:.1f} (slice {SHAPE[2] - K + 1})." for v in values)
        return volume, text

    def test_leaves_calibrations_of_an_accepted_version(self, tmp_path: Path) -> None:
        exams = {f"E{n}": self.exam(n) for n in range(9)}
        write(tmp_path / "cohort", {"E0": exams["E0"]})
        home = Home(tmp_path / "home")
        curate(tmp_path / "cohort", home)
        build_catalog(home)
        accept(home, "first", "a reader")
        before = lesion(home, "E0")
        write(tmp_path / "cohort", exams)
        n = curate(tmp_path / "cohort", home, accepted="first")
        calibrations = {row["exam_id"]: row for row in Lake(home.lake).read_table("calibration").to_dicts()}
        assert calibrations["E8"]["calibration_source"] in ("scanner", "cohort")
        assert lesion(home, "E0") == before
        assert (calibrations["E0"]["suv_scale"], n["lesions"]) == (before["suv_scale"], 8)

    def test_of_a_version_that_nobody_accepted_is_told(self, tmp_path: Path) -> None:
        write(tmp_path / "cohort", {"E0": self.exam(0)})
        with pytest.raises(VersionError, match="accepted are: none"):
            curate(tmp_path / "cohort", Home(tmp_path / "home"), accepted="first")

    def test_computes_nothing_else_again(self, tmp_path: Path) -> None:
        exams = {f"E{n}": self.exam(n) for n in range(9)}
        last = exams.pop("E8")
        write(tmp_path / "cohort", exams)
        home = Home(tmp_path / "home")
        curate(tmp_path / "cohort", home)
        before = Lake(home.lake).read_table("calibration").sort("exam_id")
        assert set(before["calibration_source"]) <= {"scanner", "cohort", "exam"}
        assert before["suv_scale"].to_list() == pytest.approx([1.02] * 8, abs=0.006)
        write(tmp_path / "cohort", {**exams, "E8": last})
        n = curate(tmp_path / "cohort", home)
        assert n == dict.fromkeys(TABLES, 1)
