"""What the benchmarks are made of: rows that keep their contracts, and runs that end well at a small size."""

import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import kills, metrics, warehouse
from benchmarks.figures import Figure
from pipelines.curation.run import TABLES
from pipelines.tables import schemas
from pipelines.tables.shards import shard_of


class TestWarehouse:
    def test_generated_rows_keep_their_contracts(self) -> None:
        patients = [p for p in (f"P{n}" for n in range(3000)) if shard_of(p) == 5]
        size = warehouse.Size(lesions=64_000, sentences=192_000)
        made = dict(warehouse.shard_rows(np.random.default_rng(0), 5, patients, size))
        assert set(made) == set(TABLES)
        for table, frame in made.items():
            good, bad = schemas.validate(table, frame)
            assert (bad.height, good.height > 100) == (0, True), table
        assert made["lesions"].filter(outcome="lesion").height == 1000


class TestMetrics:
    def test_small_run_prints_every_metric(self, capsys: pytest.CaptureFixture[str]) -> None:
        metrics.main(pairs=12, resamples=20)
        out = capsys.readouterr().out
        assert "BLEU" in out
        assert "goal 60, 12 pairs" in out


class TestKills:
    def test_every_kind_of_difference_is_told(self) -> None:
        end = kills.State({"lake/a": "1", "lake/b": "1"}, {"exams": "1"})
        rerun = kills.State({"lake/b": "2", "lake/.b.partial": "1"}, {"exams": "2"}, started=1)
        assert end.differences(rerun) == [
            "missing: lake/a",
            "orphan: lake/.b.partial",
            "differs: lake/b",
            "view exams differs",
            "1 runs stand as started",
        ]

    def test_the_work_that_is_killed_does_not_end(self, tmp_path: Path) -> None:

        def work() -> None:
            time.sleep(5)
            (tmp_path / "done").touch()

        assert kills.in_process(work, kill_after_s=0.05)[0]
        assert not (tmp_path / "done").exists()


class TestFigure:
    @pytest.mark.parametrize(("value", "exact", "missed"), [(5.1, False, True), (4.9, False, False), (4.9, True, True)])
    def test_a_figure_that_misses_its_goal_is_told(self, value: float, exact: bool, missed: bool) -> None:
        figure = Figure("full pass", value, 5.0, exact=exact)
        assert figure.missed == missed
        assert ("MISSED" in figure.line()) == missed
