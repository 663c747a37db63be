"""The sharded stages on a small phantom: what comes out, and what a second pass does not do again."""

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.cohort.manifest import observe_cohort
from pipelines.curation.run import PHASES, TABLES, open_curation, run_stage, stale_shards
from pipelines.curation.stages import exam_stage as exams_stage
from pipelines.curation.stages import lesion_stage as lesions_stage
from pipelines.curation.stages.incremental import UpdateCounts
from pipelines.imaging.lesions import find_lesions as lesions_module
from pipelines.phantom import add_exam
from pipelines.reports.llm.readers_file import ReadersConfig, load_readers
from pipelines.reports.readers import RulesReader
from pipelines.settings import ConsensusSettings, CurationSettings
from pipelines.tables.curation_version import curation_version
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.shards import N_SHARDS, shard_of

READERS = load_readers()


def curate(home: Home, cohort: Path, settings: CurationSettings | None = None) -> dict[str, UpdateCounts]:
    """Counts by table of bringing every shard up to date."""
    curation = open_curation(home, settings or CurationSettings())
    observe_cohort(cohort, home.manifest)
    counts = {table: UpdateCounts() for table in TABLES}
    for tables in PHASES:
        for shard in stale_shards(curation, tables):
            for table in tables:
                counts[table] += run_stage(curation, table, shard).counts
    return counts


def write_corrections(cohort: Path, *lines: str) -> None:
    (cohort / "corrections.csv").write_text("\n".join(["finding,field,value,who,when", *lines]) + "\n")


def finding(home: Home, finding_id: str) -> dict[str, Any]:
    return Lake(home.lake).read_table("findings").filter(finding_id=finding_id).row(0, named=True)


@pytest.fixture(scope="module")
def curated(small_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(cohort, home) curated once; copied by tests that change it."""
    home = tmp_path_factory.mktemp("home")
    curate(Home(home), small_cohort)
    return small_cohort, home


@pytest.fixture
def own(curated: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Home]:
    """A copy of a curated cohort and its home, to be changed."""
    cohort, home = tmp_path / "cohort", tmp_path / "home"
    shutil.copytree(curated[0], cohort)
    shutil.copytree(curated[1], home)
    return cohort, Home(home)


class TestACuration:
    def test_has_a_row_for_every_exam_with_a_reason_where_there_is_no_volume(self, curated: tuple[Path, Path]) -> None:
        exams = Lake(Home(curated[1]).lake).read_table("exams")
        problems, usable = (exams.filter(pl.col("status") == status) for status in ("problem", "ok"))
        assert usable["problem"].null_count() == 6
        assert usable["problem"].drop_nulls().to_list() == ["no report"]
        assert problems.height > 0
        assert problems["message"].str.len_chars().min() > 20

    def test_gives_every_candidate_sentence_an_outcome(self, curated: tuple[Path, Path]) -> None:
        lake = Lake(Home(curated[1]).lake)
        candidates = lake.read_table("sentences").filter("is_candidate")["sentence_id"]
        assert set(candidates) <= set(lake.read_table("findings")["sentence_id"])

    def test_gives_every_accepted_finding_a_localisation(self, curated: tuple[Path, Path]) -> None:
        lake = Lake(Home(curated[1]).lake)
        accepted = lake.read_table("findings").filter(pl.col("outcome") == "accepted")["finding_id"]
        assert sorted(accepted) == sorted(lake.read_table("lesions")["finding_id"])

    def test_puts_no_row_in_quarantine(self, curated: tuple[Path, Path]) -> None:
        assert Lake(Home(curated[1]).lake).read_table("quarantine").height == 0

    def test_names_the_finding_that_two_lesions_may_mean(self, curated: tuple[Path, Path]) -> None:
        truth = pl.read_csv(curated[0] / "truth.csv").filter(pl.col("outcome") == "ambiguous")
        rows = Lake(Home(curated[1]).lake).read_table("lesions").filter(pl.col("outcome") == "ambiguous")
        assert rows.select("exam_id", "slice").rows() == truth.select("exam_id", "slice").rows()
        assert rows["explanation"].str.contains("2 peaks").all()

    def test_saves_a_mask_for_every_lesion_and_no_other(self, curated: tuple[Path, Path]) -> None:
        home = Home(curated[1])
        paths = Lake(home.lake).read_table("lesions")["mask_path"].drop_nulls().to_list()
        assert sorted(paths) == sorted(str(p.relative_to(home.root)) for p in home.masks.rglob("*.nii.gz"))


class TestASecondPass:
    def test_finds_every_shard_current(self, curated: tuple[Path, Path]) -> None:
        counts = curate(Home(curated[1]), curated[0])
        assert set(counts.values()) == {UpdateCounts()}

    def test_opens_no_volume_and_asks_no_reader_when_forced(
        self, own: tuple[Path, Home], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*args: object, **kwargs: object) -> None:
            raise AssertionError("a volume was opened")

        class Silent(RulesReader):
            def read(self, *args: object, **kwargs: object) -> list:  # type: ignore[type-arg]
                raise AssertionError("a reader was asked")

        _, home = own
        silent = ReadersConfig((Silent(),))
        monkeypatch.setattr(exams_stage, "read_exam", refuse)
        monkeypatch.setattr(lesions_stage, "load_nifti", refuse)
        counts = UpdateCounts()
        for shard in range(N_SHARDS):
            for table in TABLES:
                counts += run_stage(open_curation(home, readers=silent), table, shard).counts
        assert (counts.recomputed, counts.failed, counts.removed) == (0, 0, 0)
        assert counts.reused > 0


class TestAChange:
    def test_of_one_exam_more_computes_that_exam_alone(self, own: tuple[Path, Home]) -> None:
        cohort, home = own
        add_exam(cohort)
        counts = curate(home, cohort)
        # What it adds to the cohort's likelihood may decide how the others are read (test_location_inputs.py).
        assert [counts[table].recomputed for table in PHASES[0]] == [1] * len(PHASES[0])

    def test_of_a_report_computes_its_findings_and_no_volume(
        self, own: tuple[Path, Home], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cohort, home = own
        reports = pl.read_csv(cohort / "reports.csv", infer_schema=False)
        exam_id = reports["exam_id"][0]
        longer = pl.when(pl.col("exam_id") == exam_id).then(pl.lit("\nNo further abnormality.")).otherwise(pl.lit(""))
        reports.with_columns(pl.col("findings") + longer).write_csv(cohort / "reports.csv")
        monkeypatch.setattr(exams_stage, "read_exam", None)
        counts = curate(home, cohort)
        assert counts["exams"].recomputed == 0
        assert counts["sentences"].recomputed == 1

    def test_that_names_an_exam_twice_says_so_in_its_row(self, own: tuple[Path, Home]) -> None:
        cohort, home = own
        reports = pl.read_csv(cohort / "reports.csv", infer_schema=False)
        pl.concat([reports, reports.head(1)]).write_csv(cohort / "reports.csv")
        curate(home, cohort)
        said = Lake(home.lake).read_table("exams").filter(pl.col("report_message").is_not_null())
        assert said["exam_id"].to_list() == reports["exam_id"].head(1).to_list()
        assert "2 times" in said["report_message"][0]

    def test_of_a_parameter_of_the_text_touches_no_exam_whose_findings_stay(self, own: tuple[Path, Home]) -> None:
        cohort, home = own
        counts = curate(home, cohort, CurationSettings(consensus=ConsensusSettings(min_suvmax=2.4)))
        assert counts["exams"].recomputed == counts["readings"].recomputed == 0
        assert counts["findings"].recomputed > 0

    def test_of_a_contour_parameter_touches_no_report(self, own: tuple[Path, Home]) -> None:
        cohort, home = own
        settings = CurationSettings()
        lesions = settings.lesions.changed(midline_mm=settings.lesions.midline_mm + 1)
        counts = curate(home, cohort, settings.changed(lesions=lesions))
        assert {t: c.recomputed for t, c in counts.items() if t != "lesions"} == dict.fromkeys(TABLES[:-1], 0)
        assert counts["lesions"].recomputed > 0

    def test_that_takes_an_exam_away_removes_its_rows_volumes_and_masks(self, own: tuple[Path, Home]) -> None:
        cohort, home = own
        exam_id = Lake(home.lake).read_table("lesions").filter(pl.col("outcome") == "lesion")["exam_id"][0]
        shutil.rmtree(cohort / "exams" / exam_id)
        reports = pl.read_csv(cohort / "reports.csv", infer_schema=False)
        reports.filter(pl.col("exam_id") != exam_id).write_csv(cohort / "reports.csv")
        curate(home, cohort)
        left = [t for t in TABLES if exam_id in Lake(home.lake).read_table(t)["exam_id"]]
        assert (left, home.volume_folder(exam_id).exists(), home.mask_folder(exam_id).exists()) == ([], False, False)

    def test_and_back_gives_equal_tables(self, own: tuple[Path, Home]) -> None:
        cohort, home = own
        before = curation_version(home)
        settings = CurationSettings()
        curate(home, cohort, settings.changed(consensus=ConsensusSettings(min_suvmax=9.0)))
        changed = curation_version(home)
        curate(home, cohort, settings)
        assert (changed != before, curation_version(home)) == (True, before)

    def test_of_one_sentence_touches_one_finding(self, own: tuple[Path, Home], monkeypatch: pytest.MonkeyPatch) -> None:
        cohort, home = own
        lake = Lake(home.lake)
        found = lake.read_table("lesions").filter(pl.col("outcome") == "lesion")
        exam_id = found.group_by("exam_id").len().sort("len", "exam_id")["exam_id"][-1]
        sentence = found.filter(pl.col("exam_id") == exam_id)["sentence"][0]
        reports = pl.read_csv(cohort / "reports.csv", infer_schema=False)
        edited = pl.when(pl.col("exam_id") == exam_id).then(
            pl.col("findings").str.replace(sentence, "Indeed, " + sentence, literal=True)
        )
        reports.with_columns(edited.otherwise(pl.col("findings"))).write_csv(cohort / "reports.csv")
        asked: list[str] = []
        contoured: list[tuple[int, ...]] = []

        class Recorder(RulesReader):
            def read(self, passages, progress=None):  # type: ignore[no-untyped-def]
                asked.extend(p.passage_id for p in passages)
                return super().read(passages, progress)

        contour = lesions_module.contour

        def record(volume, peak_ijk, *args):  # type: ignore[no-untyped-def]
            contoured.append(tuple(peak_ijk))
            return contour(volume, peak_ijk, *args)

        monkeypatch.setattr(lesions_module, "contour", record)
        observe_cohort(cohort, home.manifest)
        shard = shard_of(found.filter(pl.col("exam_id") == exam_id)["patient_id"][0])
        readers = ReadersConfig((Recorder(),))
        curation = open_curation(home, readers=readers)
        rows = {t: run_stage(curation, t, shard).rows_recomputed for t in TABLES}
        # A passage is read as a whole.
        assert rows.pop("readings") >= 1
        assert rows == {"exams": 0, "sentences": 1, "findings": 1, "peaks": 1, "calibration": 0, "lesions": 1}
        # One that is no lesion has no mask; whether it overlaps another is only known from its contour.
        others = lake.read_table("lesions").filter(pl.col("outcome") != "lesion")
        rejected = set(others.select("peak_i", "peak_j", "peak_k").iter_rows())
        assert (len(asked), len(set(contoured) - rejected)) == (1, 1)

    def test_of_a_prompt_asks_every_passage_and_opens_no_volume(
        self, own: tuple[Path, Home], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class NewPrompt(RulesReader):
            version = "rules with another prompt"

        _, home = own
        monkeypatch.setattr(exams_stage, "read_exam", None)
        monkeypatch.setattr(lesions_stage, "load_nifti", None)
        readers = ReadersConfig((NewPrompt(),))
        counts = {t: UpdateCounts() for t in TABLES}
        curation = open_curation(home, readers=readers)
        for shard in stale_shards(curation):
            for table in TABLES:
                counts[table] += run_stage(curation, table, shard).counts
        assert counts["readings"].recomputed > 0
        assert (counts["exams"].recomputed, counts["lesions"].recomputed, counts["lesions"].failed) == (
            0,
            0,
            0,
        )


class TestARemovedExam:
    def test_leaves_its_rows_in_the_table_of_removals_with_the_time_it_was_missed(self, own: tuple[Path, Home]) -> None:
        cohort, home = own
        lake = Lake(home.lake)
        exam_id = lake.read_table("lesions")["exam_id"][0]
        before = {t: lake.read_table(t).filter(pl.col("exam_id") == exam_id).height for t in TABLES}
        shutil.rmtree(cohort / "exams" / exam_id, ignore_errors=True)
        reports = pl.read_csv(cohort / "reports.csv", infer_schema=False)
        reports.filter(pl.col("exam_id") != exam_id).write_csv(cohort / "reports.csv")
        curate(home, cohort)
        removals = lake.read_table("removals")
        assert dict(removals.group_by("table").len().iter_rows()) == {t: n for t, n in before.items() if n}
        assert removals["exam_id"].unique().to_list() == [exam_id]
        assert removals["removed_at"].str.starts_with("20").all()

    def test_of_a_renamed_patient_keeps_its_volumes(self, own: tuple[Path, Home]) -> None:
        cohort, home = own
        exams = Lake(home.lake).read_table("exams").filter(pl.col("status") == "ok")
        exam_id, shard = exams["exam_id"][0], exams["shard"][0]
        # A patient of an earlier shard: the exam arrives there before it leaves the old one.
        patient = next(f"Q{n}" for n in range(10_000) if shard_of(f"Q{n}") < shard)
        reports = pl.read_csv(cohort / "reports.csv", infer_schema=False)
        renamed = pl.when(pl.col("exam_id") == exam_id).then(pl.lit(patient)).otherwise(pl.col("patient_id"))
        reports.with_columns(patient_id=renamed).write_csv(cohort / "reports.csv")
        curate(home, cohort)
        row = Lake(home.lake).read_table("exams").filter(pl.col("exam_id") == exam_id).row(0, named=True)
        assert (row["patient_id"], (home.root / row["suv_path"]).is_file()) == (patient, True)


class TestACorrection:
    @pytest.fixture
    def accepted(self, own: tuple[Path, Home]) -> pl.DataFrame:
        return Lake(own[1].lake).read_table("lesions").filter(pl.col("outcome") == "lesion")

    def test_of_what_no_location_needs_recomputes_the_findings_of_its_exam_and_opens_no_volume(
        self, own: tuple[Path, Home], accepted: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cohort, home = own
        finding_id = accepted["finding_id"][0]
        write_corrections(cohort, f"{finding_id},comparison,new,Dr A,2026-01-02")
        monkeypatch.setattr(lesions_stage, "load_nifti", None)
        counts = curate(home, cohort)
        assert [counts[t].recomputed for t in TABLES] == [0, 0, 0, 1, 0, 0, 0]
        row = finding(home, finding_id)
        assert (row["comparison"], "Dr A, 2026-01-02" in row["corrected"]) == ("new", True)

    def test_survives_other_parameters(self, own: tuple[Path, Home], accepted: pl.DataFrame) -> None:
        cohort, home = own
        finding_id = accepted["finding_id"][0]
        write_corrections(cohort, f"{finding_id},region,chest,Dr A,2026-01-02")
        curate(home, cohort, CurationSettings(consensus=ConsensusSettings(min_suvmax=2.4)))
        assert finding(home, finding_id)["region"] == "chest"

    def test_that_rejects_takes_the_lesion_and_its_mask_away(
        self, own: tuple[Path, Home], accepted: pl.DataFrame
    ) -> None:
        cohort, home = own
        finding_id, mask = accepted["finding_id"][0], accepted["mask_path"][0]
        write_corrections(cohort, f"{finding_id},outcome,reject,Dr A,2026-01-02")
        curate(home, cohort)
        left = Lake(home.lake).read_table("lesions")["finding_id"]
        assert (finding(home, finding_id)["outcome"], finding_id in left) == ("rejected by a correction", False)
        assert not (home.root / mask).exists()

    def test_that_accepts_makes_a_lesion_of_a_contour_that_the_images_rejected(self, own: tuple[Path, Home]) -> None:
        cohort, home = own
        rejected = Lake(home.lake).read_table("lesions").filter(pl.col("outcome") == "on the other side")
        finding_id = rejected["finding_id"][0]
        write_corrections(cohort, f"{finding_id},outcome,accept,Dr A,2026-01-02")
        curate(home, cohort)
        row = Lake(home.lake).read_table("lesions").filter(finding_id=finding_id).row(0, named=True)
        assert (row["outcome"], "accepted by Dr A" in row["explanation"]) == ("lesion", True)
        assert (home.root / row["mask_path"]).is_file()

    def test_that_is_taken_back_leaves_the_tables_as_they_were(
        self, own: tuple[Path, Home], accepted: pl.DataFrame
    ) -> None:
        cohort, home = own
        before = curation_version(home)
        write_corrections(cohort, f"{accepted['finding_id'][0]},slice,1,Dr A,2026-01-02")
        curate(home, cohort)
        changed = curation_version(home)
        (cohort / "corrections.csv").unlink()
        curate(home, cohort)
        assert (changed != before, curation_version(home)) == (True, before)

    def test_that_can_not_be_taken_is_named_and_the_others_are(
        self, own: tuple[Path, Home], accepted: pl.DataFrame
    ) -> None:
        cohort, home = own
        finding_id = accepted["finding_id"][0]
        write_corrections(
            cohort,
            f"{finding_id},colour,red,Dr A,2026-01-02",
            f"{finding_id},slice,twelve,Dr A,2026-01-02",
            f"{finding_id}x,organ,spleen,Dr A,2026-01-02",
            f"{finding_id},organ,spleen,Dr A,2026-01-02",
        )
        curate(home, cohort)
        rows = Lake(home.lake).read_table("corrections")
        assert dict(rows.group_by("status").len().iter_rows()) == {"applied": 1, "not applied": 2, "unknown finding": 1}
        assert finding(home, finding_id)["organ"] == "spleen"


class TestOnlyExams:
    def test_computes_the_named_exam_and_leaves_the_others(self, own: tuple[Path, Home]) -> None:
        _, home = own
        row = Lake(home.lake).read_table("exams").filter(pl.col("status") == "ok").row(0, named=True)
        report = run_stage(open_curation(home), "lesions", row["shard"], only=[row["exam_id"]])
        assert report.counts.recomputed == 1


class TestAFailure:
    def test_of_one_exam_is_a_row_and_is_tried_again(
        self, own: tuple[Path, Home], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cohort, home = own
        exam_id = add_exam(cohort)
        with monkeypatch.context() as patch:

            def explode(*args: object, **kwargs: object) -> None:
                raise RuntimeError("the disk is on fire")

            patch.setattr(exams_stage, "read_exam", explode)
            counts = curate(home, cohort)
        row = Lake(home.lake).read_table("exams").filter(pl.col("exam_id") == exam_id).row(0, named=True)
        assert (counts["exams"].failed, row["status"], row["problem"]) == (1, "failed", "failed")
        assert row["message"].startswith("RuntimeError at pipelines.curation.stages.exam_stage:")
        assert curate(home, cohort)["exams"].recomputed == 1
