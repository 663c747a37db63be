from dataclasses import replace

import pytest

from model.petar.config import PRESETS, TRAINING_STAGES, ModelConfig, TrainingSettings, preset, training_settings


class TestModelConfig:
    @pytest.mark.parametrize("name", sorted(PRESETS))
    def test_comes_back_equal_from_its_dict(self, name):
        assert ModelConfig.from_dict(preset(name).to_dict()) == preset(name)

    def test_digest_changes_with_a_nested_setting(self):
        config = preset("tiny")
        other = replace(config, inputs=replace(config.inputs, focal_jitter=0.1))
        assert config.digest != other.digest
        assert config.digest == preset("tiny").digest

    def test_refuses_an_unknown_setting(self):
        with pytest.raises(ValueError, match="use_masks"):
            ModelConfig.from_dict({"use_masks": True})

    def test_refuses_a_grid_that_cannot_be_pooled(self):
        with pytest.raises(ValueError, match="multiple of pool 3"):
            preset("tiny", pool=3)

    def test_release_takes_256_visual_tokens(self):
        assert preset("petar-4b").n_visual_tokens == 256

    def test_unknown_preset_names_the_known_ones(self):
        with pytest.raises(ValueError, match="petar-4b"):
            preset("huge")


class TestTrainingSettings:
    @pytest.mark.parametrize("name", sorted(PRESETS))
    @pytest.mark.parametrize("stage", TRAINING_STAGES)
    def test_comes_back_equal_from_its_dict(self, name, stage):
        settings = training_settings(name, stage)
        assert TrainingSettings.from_dict(settings.to_dict()) == settings

    def test_refuses_no_epochs(self):
        with pytest.raises(ValueError, match="epochs"):
            TrainingSettings(epochs=0)
