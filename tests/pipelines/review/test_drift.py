"""Drift between two curations: large changes of large groups are told, small ones and those of small groups are not."""

from pathlib import Path

import polars as pl
import pytest

from pipelines.catalog.build import build_catalog
from pipelines.catalog.versions import accept
from pipelines.review.drift import check_reject_drift, check_yield_drift, outcomes
from pipelines.review.quality_checks import run_checks
from pipelines.tables import schemas
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.shards import shard_of


def curation(groups: dict[tuple[str, str], dict[str, int]]) -> pl.DataFrame:
    """(tracer, region) -> outcome -> how many; `template` is a reason of the text stage, the others are of the image
    stage.
    """
    rows = [
        {"tracer": tracer, "region": region, "outcome": outcome, "is_accepted": outcome != "template"}
        for (tracer, region), counts in groups.items()
        for outcome, n in counts.items()
        for _ in range(n)
    ]
    types = {"tracer": pl.String, "region": pl.String, "outcome": pl.String, "is_accepted": pl.Boolean}
    return pl.DataFrame(rows, schema=types)


GOOD = {"lesion": 80, "not in the image": 20, "template": 50}
BEFORE = curation({("FDG", "chest"): GOOD, ("DOTATATE", "abdomen"): GOOD})


class TestYieldDrift:
    def test_same_curation_passes(self) -> None:
        result = check_yield_drift(BEFORE, BEFORE)
        assert (result.passed, result.n_checked) == (True, 4)

    def test_tracer_that_yields_less_is_named(self) -> None:
        worse = {"lesion": 50, "not in the image": 50, "template": 50}
        now = curation({("FDG", "chest"): GOOD, ("DOTATATE", "abdomen"): worse})
        result = check_yield_drift(BEFORE, now)
        assert result.sample["group"].to_list() == ["region: abdomen", "tracer: DOTATATE"]
        assert result.sample.select("share_before", "share_now").row(0) == (0.8, 0.5)

    def test_small_change_passes(self) -> None:
        slightly = {"lesion": 74, "not in the image": 26}
        assert check_yield_drift(BEFORE, curation({("FDG", "chest"): slightly})).passed

    def test_small_group_is_not_judged(self) -> None:
        result = check_yield_drift(BEFORE, curation({("FDG", "chest"): {"lesion": 1, "not in the image": 20}}))
        assert (result.passed, result.n_checked) == (True, 0)

    def test_change_that_chance_explains_passes(self) -> None:
        now = curation({("FDG", "chest"): {"lesion": 21, "not in the image": 10}})
        assert check_yield_drift(BEFORE, now).passed


class TestRejectDrift:
    def test_same_curation_passes(self) -> None:
        assert check_reject_drift(BEFORE, BEFORE).passed

    @pytest.mark.parametrize("reason", ["template", "ambiguous"])
    def test_reason_that_rejects_more_is_named(self, reason: str) -> None:
        now = curation({("FDG", "chest"): GOOD | {reason: 150}})
        assert reason in check_reject_drift(BEFORE, now).sample["reason"].to_list()

    def test_reason_that_is_gone_is_named(self) -> None:
        now = curation({("FDG", "chest"): {"lesion": 200}})
        assert check_reject_drift(BEFORE, now).sample["reason"].to_list() == ["not in the image", "template"]

    def test_nothing_before_passes(self) -> None:
        assert check_reject_drift(BEFORE.clear(), BEFORE).passed


class TestOverVersions:
    def write(self, home: Home, n_lesions: int, n_missed: int) -> None:
        keys = {"exam_id": "E1", "patient_id": "P1", "row_key": "k"}
        shard, lake = shard_of("P1"), Lake(home.root / "lake")
        exam = keys | {"shard": shard, "status": "ok", "tracer": "FDG", "n_slices": 9, "suv_path": "s"}
        exam |= {f"spacing_{a}_mm": 3.0 for a in "ijk"}
        names = [f"E1:{i}" for i in range(n_lesions + n_missed)]
        said = {"sentence": "x", "slice": 3, "suvmax_reported": 5.0, "outcome": "accepted", "region": "chest"}
        findings = [keys | said | {"finding_id": n, "sentence_id": n} for n in names]
        outcome = ["ambiguous"] * n_lesions + ["not in the image"] * n_missed
        found = [keys | {"finding_id": n, "outcome": o} for n, o in zip(names, outcome, strict=True)]
        for table, rows in (("exams", [exam]), ("findings", findings), ("lesions", found)):
            lake.write_shard(table, shard, schemas.frame(table, rows), {})
        build_catalog(home)

    def test_check_compares_with_the_version_before(self, tmp_path: Path) -> None:
        self.write(Home(tmp_path), 90, 10)
        results = {r.name: r for r in run_checks(Home(tmp_path), "catalog")}
        assert results["reject_drift"].passed
        self.write(Home(tmp_path), 50, 50)
        results = {r.name: r for r in run_checks(Home(tmp_path), "catalog")}
        assert results["reject_drift"].sample["reason"].to_list() == ["ambiguous", "not in the image"]

    def test_check_compares_with_the_version_that_was_last_accepted(self, tmp_path: Path) -> None:
        self.write(Home(tmp_path), 90, 10)
        accept(Home(tmp_path), "good", "an auditor")
        self.write(Home(tmp_path), 52, 48)
        self.write(Home(tmp_path), 50, 50)
        (result,) = (r for r in run_checks(Home(tmp_path), "catalog") if r.name == "reject_drift")
        assert result.sample["reason"].to_list() == ["ambiguous", "not in the image"]
        assert "since the accepted version good" in result.description

    def test_outcomes_are_those_of_the_stage_that_decided(self) -> None:
        findings = schemas.frame(
            "findings",
            [
                {"exam_id": "E1", "finding_id": "a", "outcome": "accepted", "region": "chest"},
                {"exam_id": "E1", "finding_id": "b", "outcome": "template"},
                {"exam_id": "E2", "finding_id": "c", "outcome": "accepted"},
            ],
        )
        found = schemas.frame("lesions", [{"finding_id": "a", "outcome": "lesion"}])
        exams = schemas.frame("exams", [{"exam_id": "E1", "tracer": "FDG"}])
        assert outcomes(exams, findings, found).rows() == [
            ("FDG", "chest", "lesion", True),
            ("FDG", "(unknown)", "template", False),
            ("(unknown)", "(unknown)", "accepted", True),
        ]
