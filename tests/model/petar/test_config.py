from dataclasses import asdict, fields, replace

import pytest

from model.petar.config import (
    PRESETS,
    TRAINING_STAGES,
    InputsConfig,
    LanguageConfig,
    LayoutConfig,
    ModelConfig,
    TrainingSettings,
    VisionConfig,
    check_model,
    model_config,
    preset,
    training_settings,
)
from pipelines.settings import (
    InputsTable,
    LanguageTable,
    LayoutTable,
    ModelSettings,
    SettingsError,
    TrainingTable,
    VisionTable,
)


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
            TrainingTable(epochs=0)


class TestModelSettings:
    TABLES = (
        (TrainingTable, TrainingSettings),
        (InputsTable, InputsConfig),
        (LayoutTable, LayoutConfig),
        (VisionTable, VisionConfig),
        (LanguageTable, LanguageConfig),
    )

    @pytest.mark.parametrize(("table", "kind"), TABLES)
    def test_every_field_can_be_set_and_the_presets_values_are_allowed(self, table, kind) -> None:
        assert list(table.model_fields) == [f.name for f in fields(kind)]
        made = [training_settings(name, stage) for name in PRESETS for stage in TRAINING_STAGES]
        made += [
            part
            for config in PRESETS.values()
            for part in (config.inputs, config.layout, config.vision, config.language)
        ]
        own = [one for one in made if isinstance(one, kind)]
        assert own
        for one in own:
            assert dict(table(**asdict(one))) == asdict(one)

    def test_switches_and_parts_replace_the_presets(self) -> None:
        settings = ModelSettings(use_ct=False, max_length=128, inputs=InputsTable(spacing_mm=4.0))
        config = model_config(settings)
        assert (config.use_ct, config.max_length, config.inputs.spacing_mm) == (False, 128, 4.0)
        assert config.vision == preset("tiny").vision
        assert {f.name for f in fields(ModelConfig)} - {"name"} <= set(ModelSettings.model_fields)

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            (ModelSettings(vision=VisionTable(heads=7)), "multiple of heads 7: correct .model"),
            (ModelSettings(training=TrainingTable(frozen_dtype="bfloat16")), "precision bfloat16 .* .model.training"),
        ],
    )
    def test_refuses_what_does_not_fit_together(self, settings: ModelSettings, said: str) -> None:
        with pytest.raises(SettingsError, match=said):
            check_model(settings)
