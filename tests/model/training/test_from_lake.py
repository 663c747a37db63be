import json
from dataclasses import replace

import polars as pl
import pytest

from model.petar.checkpoints import load_checkpoint, read_contract
from model.petar.config import TRAINING_STAGES, preset, training_settings
from model.training.from_lake import LakeStage, checkpoint_before, reason_to_leave_out, stage_settings, train_from_lake
from model.training.stages import TrainingError
from pipelines.catalog.versions import ProvenanceError
from pipelines.settings import ModelSettings, StageTables, TrainingTable
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake


class TestStageSettings:
    def test_effort_shortens_epochs_and_language_warm_up(self):
        full, half = (stage_settings("findings_full", ModelSettings(effort=effort)) for effort in (1.0, 0.5))
        assert full == training_settings("tiny", "findings_full")
        assert (half.epochs, half.language_steps) == (full.epochs // 2, full.language_steps // 2)
        assert stage_settings("anatomy_mask", ModelSettings(effort=0.001)).epochs == 1

    def test_what_is_set_is_taken_as_it_is_a_stages_own_first(self):
        stages = StageTables(findings_full=TrainingTable(learning_rate=0.01))
        model = ModelSettings(effort=0.5, training=TrainingTable(epochs=3, learning_rate=0.1), stages=stages)
        assert [stage_settings(s, model).learning_rate for s in ("findings_mask", "findings_full")] == [0.1, 0.01]
        assert stage_settings("findings_full", model).epochs == 3


@pytest.fixture
def home(lake, tmp_path):
    for name in ("volumes", "masks"):
        (tmp_path / name).symlink_to(lake.home.root / name)
    home = Home(tmp_path)
    Lake(home.lake).write_table("samples", lake.samples)
    return home


class TestCheckpointBefore:
    def test_is_that_of_the_stage_before(self, home, lake):
        organs = lake.samples.with_columns(kind=pl.lit("anatomy"), sample_id="organ-" + pl.col("sample_id"))
        Lake(home.lake).write_table("samples", pl.concat([lake.samples, organs.select(lake.samples.columns)]))
        found = [checkpoint_before(home, stage, preset("tiny")) for stage in TRAINING_STAGES]
        assert found[0] is None
        assert [path.parent.name for path in found[1:]] == list(TRAINING_STAGES[:-1])

    def test_anatomy_is_left_out_where_it_is_switched_off(self, home):
        off = preset("tiny", use_anatomy_pretraining=False)
        assert reason_to_leave_out(home, "anatomy_full", off) == "use_anatomy_pretraining is false"
        assert checkpoint_before(home, "findings_projector", off) is None

    def test_anatomy_is_left_out_where_no_exam_has_organs(self, home):
        reasons = [reason_to_leave_out(home, stage, preset("tiny")) for stage in TRAINING_STAGES]
        assert ["label map of organs" in (reason or "") for reason in reasons] == [True] * 3 + [False] * 3
        assert checkpoint_before(home, "findings_projector", preset("tiny")) is None
        assert checkpoint_before(home, "findings_mask", preset("tiny")) == home.checkpoint("findings_projector")


class TestTrainFromLake:
    SETTINGS = training_settings("tiny", "findings_full", epochs=1, language_steps=1, validation_samples=2)

    def test_trains_tokenizer_and_model_on_the_training_split(self, home):
        result = train_from_lake(home, LakeStage("findings_full", preset("tiny"), self.SETTINGS))
        assert result.checkpoint == home.checkpoints / "findings_full/checkpoint"
        assert json.loads((home.checkpoints / "findings_full/result.json").read_text())["steps"] == result.steps == 1
        assert [record.stage for record in read_contract(result.checkpoint).lineage] == ["findings_full"]
        assert load_checkpoint(result.checkpoint).tokenizer.decode([]) == ""

    def test_start_from_other_samples_is_refused_or_logged(self, home, lake, caplog):
        first = train_from_lake(home, LakeStage("findings_full", preset("tiny"), self.SETTINGS)).checkpoint
        Lake(home.lake).write_table("samples", lake.with_row(0, target="right liver lesion"))
        with pytest.raises(ProvenanceError, match="findings_full saw 9 training samples"):
            train_from_lake(home, LakeStage("findings_projector", preset("tiny"), self.SETTINGS, first))
        # Dagster, which other tests run in this process, sets levels of loggers.
        with caplog.at_level("WARNING", "model.training.from_lake"):
            result = train_from_lake(home, LakeStage("findings_projector", preset("tiny"), self.SETTINGS, first, True))
        assert result.steps == 1
        assert "goes on from other samples, as allowed" in caplog.text

    def test_adopts_what_the_command_line_made_and_never_overwrites_it(self, home):
        made = LakeStage("findings_full", preset("tiny"), self.SETTINGS, made_by="command line")
        train_from_lake(home, replace(made, settings=replace(self.SETTINGS, learning_rate=1e-4)))
        folder = home.checkpoints / "findings_full"
        before = (folder / "checkpoint/model.safetensors").read_bytes()
        asked = replace(made, made_by="asset")
        assert train_from_lake(home, asked).reused
        with pytest.raises(TrainingError, match="move that folder away"):
            train_from_lake(home, replace(asked, reuse=False))
        with pytest.raises(TrainingError, match="that the command line made with other settings"):
            train_from_lake(home, replace(asked, config=preset("tiny", use_ct=False)))
        assert (folder / "checkpoint/model.safetensors").read_bytes() == before

    def test_what_was_trained_on_other_samples_is_not_adopted(self, home, lake):
        made = LakeStage("findings_full", preset("tiny"), self.SETTINGS, made_by="command line")
        train_from_lake(home, made)
        Lake(home.lake).write_table("samples", lake.with_row(0, target="right liver lesion"))
        with pytest.raises(ProvenanceError, match="saw 9 training samples"):
            train_from_lake(home, replace(made, made_by="asset"))

    def test_no_samples_is_a_clear_error(self, tmp_path):
        with pytest.raises(TrainingError, match="curate the cohort first"):
            train_from_lake(Home(tmp_path), LakeStage("findings_full", preset("tiny"), self.SETTINGS))
