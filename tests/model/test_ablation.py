from dataclasses import replace

import polars as pl
import pytest

from model.ablation import ARMS, Arm, fields_right, run_arm, with_short_targets
from model.config import TrainingSettings
from pipelines.samples import parse


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


class TestArms:
    def test_none_has_no_switch_and_all_has_every(self, micro):
        none, every = (arm.applied_to(micro) for arm in (ARMS[0], ARMS[-1]))
        assert not any((none.use_mask, none.use_ct, none.use_focal, none.use_anatomy_pretraining))
        assert all((every.use_mask, every.use_ct, every.use_focal, every.use_anatomy_pretraining))

    def test_are_the_papers_eight(self):
        assert len({replace(arm, name="") for arm in ARMS}) == 8


class TestRunArm:
    def test_measures_on_held_out_patients_as_it_learns(self, lake, micro, tmp_path):
        samples = lake.samples.with_columns(
            region=pl.lit("Chest"),
            organ=pl.lit("lung"),
            split=pl.when(pl.col("exam_id") == "E2").then(pl.lit("test")).otherwise(pl.col("split")),
        )
        samples = with_short_targets(samples)
        assert parse(samples["target"][0]) == {"region": "Chest", "organ": "lung", "laterality": "left"}
        settings = TrainingSettings(epochs=4, batch_size=4, learning_rate=3e-3, validation_samples=2)
        seen = []
        arm = Arm("mask", ct=False, focal=False, anatomy=False)
        result = run_arm(
            arm,
            samples,
            samples.clear(),
            micro,
            settings,
            lake.home,
            tmp_path,
            measure_epochs=2,
            on_measure=lambda *point: seen.append(point),
        )
        assert len(result.curve) == 2
        assert list(result.curve) == seen
        assert result.curve[-1][1] == result.accuracy
        assert result.n == 3

    def test_no_held_out_patient_is_a_clear_error(self, lake, micro, settings, tmp_path):
        with pytest.raises(ValueError, match="split test"):
            run_arm(ARMS[0], lake.samples, lake.samples.clear(), micro, settings, lake.home, tmp_path)
