from dataclasses import replace

import polars as pl
import pytest

from model.evaluation.ablation.conditions import (
    CONDITIONS,
    Condition,
    ConditionResult,
    Point,
    ablation_table,
    condition_of_folder,
    fields_right,
    read_ablation,
    write_condition,
)
from model.evaluation.ablation.training import ConditionRequest, balanced, run_condition, with_short_targets
from model.petar.config import TrainingSettings
from pipelines.dataset.samples import parse
from pipelines.tables.home import Home


class TestFieldsRight:
    REFERENCE = "Region: Chest. Organ: lung. Laterality: left."

    @pytest.mark.parametrize(
        ("text", "right"),
        [
            ("Region: Chest. Organ: rib. Laterality: left.", True),
            ("Region: Chest. Organ: lung. Laterality: right.", False),
            ("Region: Chest. Organ: lung.", False),
            ("Region: Head/Neck. Laterality: left.", False),
            (None, False),
        ],
    )
    def test_needs_region_and_side(self, text, right):
        assert fields_right(text, self.REFERENCE) is right


class TestConditions:
    def test_none_has_no_switch_and_all_has_every(self, micro):
        none, every = (condition.applied_to(micro) for condition in (CONDITIONS[0], CONDITIONS[-1]))
        assert not any((none.use_mask, none.use_ct, none.use_focal, none.use_anatomy_pretraining))
        assert all((every.use_mask, every.use_ct, every.use_focal, every.use_anatomy_pretraining))

    @pytest.mark.parametrize("condition", CONDITIONS, ids=lambda condition: condition.folder_name)
    def test_are_found_by_their_folder(self, condition):
        assert condition_of_folder(condition.folder_name) == condition

    def test_are_the_papers_eight(self):
        assert len({replace(condition, name="") for condition in CONDITIONS}) == 8


@pytest.fixture
def findings(lake):
    samples = lake.samples.with_columns(
        region=pl.lit("chest"),
        organ=pl.lit("lung"),
        split=pl.when(pl.col("exam_id") == "E2").then(pl.lit("test")).otherwise(pl.col("split")),
    )
    return with_short_targets(samples)


SETTINGS = TrainingSettings(
    epochs=4, batch_size=4, learning_rate=3e-3, validation_samples=2, save_every_s=0, without_ct="air"
)
CONDITION = Condition("mask", ct=False, focal=False, anatomy=False)


class TestRunCondition:
    def run(self, findings, micro, lake, tmp_path, on_measure=None):
        request = ConditionRequest(
            CONDITION, findings, findings.clear(), lake.home, micro, SETTINGS, tmp_path, measure_epochs=2
        )
        return run_condition(request, on_measure)

    def test_measures_on_held_out_patients_as_it_learns(self, findings, lake, micro, tmp_path):
        seen = []
        result = self.run(findings, micro, lake, tmp_path, on_measure=seen.append)
        assert parse(findings["target"][0]) == {"region": "chest", "organ": "lung", "laterality": "left"}
        assert len(result.curve) == 2
        assert list(result.curve) == seen
        assert result.curve[0].minutes < result.curve[1].minutes
        assert result.n == 3

    def test_an_equal_run_that_ended_is_returned_as_it_is(self, findings, lake, micro, tmp_path):
        first = self.run(findings, micro, lake, tmp_path)
        again = self.run(findings, micro, lake, tmp_path)
        assert again == replace(first, reused=True)

    def test_a_killed_run_keeps_what_it_had_measured(self, findings, lake, micro, tmp_path):
        whole = self.run(findings, micro, lake, tmp_path / "whole")

        def kill(point):
            if point.epoch == 4:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            self.run(findings, micro, lake, tmp_path / "killed", on_measure=kill)
        seen = []
        result = self.run(findings, micro, lake, tmp_path / "killed", on_measure=seen.append)
        assert [p.epoch for p in seen] == [4]
        assert [replace(p, minutes=0) for p in result.curve] == [replace(p, minutes=0) for p in whole.curve]

    def test_no_held_out_patient_is_a_clear_error(self, lake, micro, settings, tmp_path):
        with pytest.raises(ValueError, match="split test"):
            run_condition(
                ConditionRequest(
                    CONDITIONS[0], lake.samples, lake.samples.clear(), lake.home, micro, settings, tmp_path
                )
            )


class TestBalanced:
    def test_no_region_and_side_has_much_more_than_the_mean(self):
        rows = [("train", "chest", "left")] * 30 + [("train", "chest", None)] * 6 + [("train", "head/neck", "left")] * 6
        frame = pl.DataFrame(
            {
                "sample_id": [str(n) for n in range(len(rows))],
                **{name: [row[i] for row in rows] for i, name in enumerate(("split", "region", "laterality"))},
            }
        )
        counts = dict(balanced(frame).group_by("laterality", "region").len().select("region", "len").rows())
        assert sorted(balanced(frame).group_by("region", "laterality").len()["len"]) == [6, 6, 21]
        assert counts["head/neck"] == 6

    def test_keeps_the_same_ones_in_any_order(self, findings):
        assert balanced(findings).equals(balanced(findings.reverse()))


class TestResultsOnDisk:
    def test_are_read_in_the_order_of_the_ablation(self, tmp_path):
        home = Home(tmp_path)
        for name in ("all", "none"):
            write_condition(home.checkpoints / "ablation" / name, replace(self.result(tmp_path), name=name), "x")
        assert [r.name for r in read_ablation(home)] == ["none", "all"]
        assert "| yes | yes | yes | yes | 75.0% | 80.0% |" in ablation_table(read_ablation(home))

    def result(self, tmp_path):
        return ConditionResult(
            "all", 20, 0.15, (Point(5, 1.0, 0.5, 0.6, 0.7), Point(10, 2.0, 0.75, 0.8, 0.9)), tmp_path
        )

    def test_an_unknown_condition_lists_those_there_are(self):
        with pytest.raises(ValueError, match="mask_focal"):
            condition_of_folder("everything")
