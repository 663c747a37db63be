from dataclasses import replace

import pytest

from model.petar.config import TrainingSettings, preset
from model.training.memory import memory_plan, presets_that_fit

ONE = TrainingSettings(batch_size=1, precision="bfloat16", recompute_activations=True)


class TestMemoryPlan:
    # Ranges measured on GPUs with batch 1 and 768 tokens.
    @pytest.mark.parametrize(
        ("changes", "low_gb", "high_gb"),
        [
            ({}, 64, 77),
            ({"lora_rank": 16, "frozen_dtype": "bfloat16"}, 11, 27),
        ],
    )
    def test_petar_4b_needs_what_was_measured(self, changes, low_gb, high_gb):
        assert low_gb <= memory_plan(preset("petar-4b"), replace(ONE, **changes)).total_gb <= high_gb

    @pytest.mark.parametrize(
        ("stage", "millions"), [("findings_projector", 14.16), ("findings_mask", 2.36), ("findings_full", 4012.38)]
    )
    def test_counts_what_a_stage_trains(self, stage, millions):
        assert memory_plan(preset("petar-4b"), ONE, stage).trainable / 1e6 == pytest.approx(millions, abs=0.01)

    def test_recomputing_saves_activations(self):
        without = memory_plan(preset("petar-4b"), replace(ONE, recompute_activations=False))
        assert memory_plan(preset("petar-4b"), ONE).activations_gb < 0.5 * without.activations_gb

    def test_summary_names_parts(self):
        assert "4,012.38 M" in memory_plan(preset("petar-4b"), ONE).summary()


class TestPresetsThatFit:
    @pytest.mark.parametrize(
        ("memory_gb", "expected"),
        [(90, ["petar-4b", "small-lm", "small", "tiny"]), (8, ["small-lm", "small", "tiny"]), (0.001, [])],
    )
    def test_names_them_largest_first(self, memory_gb, expected):
        assert presets_that_fit(memory_gb) == expected
