import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from model.petar.checkpoints import CheckpointError, build_model, load_checkpoint, read_contract, read_tensors
from model.petar.config import TRAINING_STAGES, TrainingSettings, overridden, preset, training_settings
from model.petar.lora import TARGETS
from model.serving.generation import generate
from model.training.gradients import Gradients
from model.training.request import Hooks, StageRequest, StageSamples
from model.training.schedule import learning_rate_at
from model.training.stages import TrainingError, freeze_for
from model.training.train import train_stage
from pipelines.dataset.text_fields import field_accuracy
from pipelines.imaging.volume import Volume, save_nifti
from pipelines.settings import ModelSettings, SettingsError
from tests.support.petar_release import Release


class KilledError(Exception):
    """Stands for a kill signal."""


def kill_after(step):
    def on_step(entry):
        if entry["step"] == step:
            raise KilledError

    return on_step


def weights(folder):
    return read_tensors(folder / "model.safetensors")


def run(lake, config, settings, out, stage="findings_full", *, on_step=None, samples=None, **options):
    table = lake.samples if samples is None else samples
    request = StageRequest(stage, StageSamples.of(table, lake.home), config, settings, out, **options)
    return train_stage(request, Hooks(on_step))


class TestFreezeFor:
    PREFIX = {"projector": "projector.", "mask": "vision.mask_embedding.", "full": ""}  # noqa: RUF012  # read only

    @pytest.mark.parametrize("stage", TRAINING_STAGES)
    def test_trains_exactly_its_part(self, micro, tokenizer, stage):
        model = build_model(micro, tokenizer)
        freeze_for(model, stage)
        prefix = self.PREFIX[stage.rpartition("_")[2]]
        for name, parameter in model.named_parameters():
            assert parameter.requires_grad == name.startswith(prefix), name

    @pytest.mark.parametrize("stage", TRAINING_STAGES[:2])
    def test_training_moves_exactly_its_part(self, lake, micro, settings, tmp_path, stage):
        start = run(lake, micro, settings, tmp_path / "start", "findings_full").checkpoint
        end = run(lake, micro, settings, tmp_path / "end", stage, init=start).checkpoint
        before, after = weights(start), weights(end)
        moved = {n for n in before if not torch.equal(before[n], after[n])}
        prefix = self.PREFIX[stage.rpartition("_")[2]]
        assert moved
        assert moved <= {n for n in before if n.startswith(prefix)}


class TestLayoutOfWeights:
    def test_a_stage_takes_it_from_the_release_and_the_next_from_the_checkpoint(
        self, lake, micro, tokenizer, settings, tmp_path
    ):
        folder = tmp_path / "release"
        folder.mkdir()
        save_file(Release(micro, tokenizer).state_dict(), folder / "model.safetensors")
        tokenizer.save(folder)
        first = replace(settings, epochs=1, model_weights=str(folder), tokenizer=str(folder))
        start = run(lake, micro, first, tmp_path / "one", "findings_projector").checkpoint
        end = run(lake, micro, replace(settings, epochs=1), tmp_path / "two", "findings_mask", init=start).checkpoint
        for checkpoint in (start, end):
            contract = read_contract(checkpoint)
            assert (contract.config.layout.x_from, contract.config.layout.border) == ("left", "clip")
            asked = {question for record in contract.lineage for question in record.questions}
            assert asked <= set(contract.config.layout.questions)
            assert len(asked) > 1


class TestTrainStage:
    @pytest.mark.parametrize("name", ["petar-4b", "small-lm"])
    def test_refuses_a_language_model_without_weights_before_anything_is_loaded(self, lake, tmp_path, name):
        settings = training_settings(name, "anatomy_projector", language_weights="")
        with pytest.raises(TrainingError, match="from_scratch = true"):
            run(lake, preset(name), settings, tmp_path, "anatomy_projector")
        assert not list(tmp_path.iterdir())

    def test_refuses_weights_without_a_tokenizer(self, lake, micro, settings, tmp_path):
        save_file({"model.norm.weight": torch.ones(32)}, tmp_path / "model.safetensors")
        with pytest.raises(TrainingError, match="expected a tokenizer beside"):
            run(lake, micro, replace(settings, language_weights=str(tmp_path)), tmp_path / "out")

    def test_tied_embeddings_that_are_trained_resume(self, lake, micro, settings, tmp_path):
        tied = replace(micro, language=replace(micro.language, tied_embeddings=True))
        with pytest.raises(KilledError):
            run(lake, tied, settings, tmp_path, on_step=kill_after(3))
        assert run(lake, tied, settings, tmp_path).resumed_from_step == 2

    def test_loss_falls(self, lake, micro, tmp_path):
        settings = TrainingSettings(epochs=15, batch_size=9, learning_rate=1e-2, validation_samples=3, without_ct="air")
        result = run(lake, micro, settings, tmp_path / "out")
        assert result.loss_last < 0.5 * result.loss_first
        assert result.steps == 15

    def test_killed_and_resumed_gives_the_same_weights_to_the_bit(self, lake, micro, settings, tmp_path):
        whole = run(lake, micro, settings, tmp_path / "whole")
        for step in (2, 4):
            with pytest.raises(KilledError):
                run(lake, micro, settings, tmp_path / "cut", on_step=kill_after(step))
        resumed = run(lake, micro, settings, tmp_path / "cut")
        assert resumed.resumed_from_step == 3
        assert [e["loss"] for e in resumed.curve] == [e["loss"] for e in whole.curve]
        a, b = weights(whole.checkpoint), weights(resumed.checkpoint)
        assert all(torch.equal(a[n], b[n]) for n in a)

    def test_frozen_part_is_the_same_after_a_resume(self, lake, micro, settings, tmp_path):
        taught = replace(settings, language_steps=3)
        whole = run(lake, micro, taught, tmp_path / "whole", "anatomy_projector")
        with pytest.raises(KilledError):
            run(lake, micro, taught, tmp_path / "cut", "anatomy_projector", on_step=kill_after(3))
        resumed = run(lake, micro, taught, tmp_path / "cut", "anatomy_projector")
        a, b = weights(whole.checkpoint), weights(resumed.checkpoint)
        assert all(torch.equal(a[n], b[n]) for n in a)

    def test_saved_state_of_other_settings_is_not_gone_on_with(self, lake, micro, settings, tmp_path):
        with pytest.raises(KilledError):
            run(lake, micro, settings, tmp_path / "out", on_step=kill_after(3))
        result = run(lake, micro, replace(settings, learning_rate=1e-3), tmp_path / "out")
        assert result.resumed_from_step == 0

    def test_workers_give_the_same_weights(self, lake, micro, settings, tmp_path):
        alone = run(lake, micro, settings, tmp_path / "a")
        helped = run(lake, micro, replace(settings, workers=1), tmp_path / "b")
        a, b = weights(alone.checkpoint), weights(helped.checkpoint)
        assert all(torch.equal(a[n], b[n]) for n in a)

    def test_parts_side_by_side_train_what_one_trains(self, lake, micro, settings, tmp_path):
        # 9 samples in batches of 4: the last batch has one sample, so one part of it.
        whole = run(lake, micro, settings, tmp_path / "a")
        parts = run(lake, micro, replace(settings, cpu_parts=2), tmp_path / "b")
        assert [e["loss"] for e in parts.curve] == pytest.approx([e["loss"] for e in whole.curve], rel=1e-4)
        assert [e["grad_norm"] for e in parts.curve] == pytest.approx([e["grad_norm"] for e in whole.curve], rel=1e-3)

    def test_parts_side_by_side_resume_to_the_bit(self, lake, micro, settings, tmp_path):
        parts = replace(settings, cpu_parts=2)
        whole = run(lake, micro, parts, tmp_path / "whole")
        with pytest.raises(KilledError):
            run(lake, micro, parts, tmp_path / "cut", on_step=kill_after(3))
        resumed = run(lake, micro, parts, tmp_path / "cut")
        a, b = weights(whole.checkpoint), weights(resumed.checkpoint)
        assert resumed.resumed_from_step == 2
        assert all(torch.equal(a[n], b[n]) for n in a)

    def test_accumulation_equals_a_larger_batch(self, lake, micro, settings, tmp_path):
        large = run(lake, micro, replace(settings, batch_size=9, epochs=1), tmp_path / "a")
        parts = run(lake, micro, replace(settings, batch_size=3, accumulation=3, epochs=1), tmp_path / "b")
        assert parts.curve[0]["loss"] == pytest.approx(large.curve[0]["loss"], rel=1e-5)
        assert parts.curve[0]["grad_norm"] == pytest.approx(large.curve[0]["grad_norm"], rel=1e-4)

    def test_finished_stage_is_reused_and_says_so(self, lake, micro, settings, tmp_path):
        first = run(lake, micro, settings, tmp_path / "out")
        again = run(lake, micro, settings, tmp_path / "out", on_step=kill_after(1))
        assert again.reused
        assert not first.reused
        assert again.loss_last == first.loss_last

    def test_log_file_has_a_line_a_step(self, lake, micro, settings, tmp_path):
        result = run(lake, micro, settings, tmp_path / "out")
        lines = [json.loads(line) for line in (tmp_path / "out/log.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == list(range(1, result.steps + 1))
        assert {"loss", "learning_rate", "grad_norm", "samples_per_s"} <= set(lines[0])
        assert "val_loss" in lines[-1]

    def test_stages_build_up_a_lineage(self, lake, micro, settings, tmp_path):
        first = run(lake, micro, settings, tmp_path / "a", "anatomy_projector")
        second = run(lake, micro, settings, tmp_path / "b", "anatomy_mask", init=first.checkpoint)
        lineage = read_contract(second.checkpoint).lineage
        assert [r.stage for r in lineage] == ["anatomy_projector", "anatomy_mask"]
        assert len({r.data for r in lineage}) == 1

    def test_early_stop_keeps_the_best_epoch(self, lake, micro, tmp_path):
        settings = TrainingSettings(
            epochs=30, batch_size=9, learning_rate=0.3, validation_samples=3, early_stop_epochs=1, without_ct="air"
        )
        result = run(lake, micro, settings, tmp_path / "out")
        assert result.steps < 30
        curve = [e["val_loss"] for e in result.curve]
        assert curve[-1] > min(curve)

    def test_fields_choose_another_epoch_than_the_loss(self, lake, micro, tmp_path, monkeypatch):
        """The texts of the second epoch are the best, while the loss falls on: each choice keeps its own epoch."""
        settings = TrainingSettings(epochs=4, batch_size=9, learning_rate=3e-3, validation_samples=3, without_ct="air")
        kept = {}
        for choice in ("loss", "fields"):
            shares = iter((0.2, 0.9, 0.5, 0.5))
            monkeypatch.setattr("model.training.trainer.text_accuracy", lambda *_, shares=shares: next(shares))
            epochs = {}

            def remember(model, words, epoch, epochs=epochs):
                epochs[epoch] = model.projector.state_dict()["projector.0.weight"].clone()

            request = StageRequest(
                "findings_full",
                StageSamples.of(lake.samples, lake.home),
                micro,
                replace(settings, select_by=choice),
                tmp_path / choice,
            )
            result = train_stage(request, Hooks(on_epoch=remember))
            kept[choice] = result.best_epoch, result.best_fields
            weight = weights(result.checkpoint)["projector.projector.0.weight"]
            assert torch.equal(weight, epochs[result.best_epoch])
        assert kept == {"loss": (4, None), "fields": (2, 0.9)}

    def test_of_epochs_that_few_samples_cannot_tell_apart_the_last_is_kept(self, lake, micro, tmp_path, monkeypatch):
        shares = iter((0.5, 0.9, 0.8, 0.6))
        monkeypatch.setattr("model.training.trainer.text_accuracy", lambda *_: next(shares))
        settings = TrainingSettings(
            epochs=4, batch_size=9, learning_rate=3e-3, validation_samples=3, select_by="fields", without_ct="air"
        )
        # The standard error of 0.9 on three samples is 0.17.
        result = run(lake, micro, settings, tmp_path / "out")
        assert (result.best_epoch, result.best_fields) == (3, 0.8)

    def test_text_accuracy_is_that_of_the_texts_that_generate_writes(self, lake, micro, tmp_path):
        settings = TrainingSettings(
            epochs=12, batch_size=9, learning_rate=1e-2, validation_samples=3, select_by="fields", without_ct="air"
        )
        result = run(lake, micro, settings, tmp_path / "out")
        said = generate(lake.val, result.checkpoint, lake.home)
        expected = field_accuracy(said["text"].to_list(), said["reference"].to_list())
        assert result.best_fields == pytest.approx(expected)
        assert expected > 0

    @pytest.mark.parametrize("change", [{"sharding": "full"}, {"sharding": "full", "select_by": "fields"}])
    def test_a_sharded_model_generates_no_texts_to_be_chosen_by(self, change):
        table = ModelSettings.model_validate({"preset": "petar-4b", "training": change})
        base = training_settings("petar-4b", "findings_full")
        assert base.measure == "fields"
        if "select_by" in change:
            with pytest.raises(SettingsError, match="expected select_by 'loss' or 'last' with sharding 'full'"):
                overridden(base, table, "findings_full")
        else:
            assert overridden(base, table, "findings_full").measure == "loss"

    def test_without_mask_embedding_the_mask_stage_passes_its_start_on(self, lake, no_mask, settings, tmp_path):
        start = run(lake, no_mask, settings, tmp_path / "a", "anatomy_projector")
        result = run(lake, no_mask, settings, tmp_path / "b", "anatomy_mask", init=start.checkpoint)
        assert result.steps == 0
        assert result.loss_first is None
        assert "nothing to train" in result.note
        a, b = weights(start.checkpoint), weights(result.checkpoint)
        assert all(torch.equal(a[n], b[n]) for n in a)


class TestErrorsBeforeTraining:
    def test_empty_split(self, lake, micro, settings, tmp_path):
        with pytest.raises(TrainingError, match="split train, got none"):
            run(lake, micro, settings, tmp_path, samples=lake.val)
        with pytest.raises(TrainingError, match="split val"):
            run(lake, micro, settings, tmp_path, samples=lake.train)

    def test_unusable_samples_are_named(self, lake, micro, settings, tmp_path):
        bad = lake.with_row(1, target="left lung " * 90)
        with pytest.raises(TrainingError, match=r"1 of \d+ samples.*E0:1 of exam E0"):
            run(lake, micro, settings, tmp_path, samples=bad)

    def test_a_mask_of_another_grid_names_its_sample(self, lake, micro, settings, tmp_path):
        far = np.diag([4.0, 4.0, 4.0, 1.0])
        far[:3, 3] = 9000
        save_nifti(Volume(np.ones((3, 3, 3), np.uint8), far), tmp_path / "far.nii.gz")
        bad = lake.with_row(2, mask_path=str(tmp_path / "far.nii.gz"))
        with pytest.raises(TrainingError, match=r"E0:2 of exam E0.*another grid"):
            run(lake, micro, settings, tmp_path / "out", samples=bad)

    def test_a_lesion_without_ct_is_refused_unless_air_will_do(self, lake, micro, settings, tmp_path):
        strict = replace(settings, without_ct="refuse")
        with pytest.raises(TrainingError, match=r"3 of \d+ samples.*E1:0 of exam E1: expected a CT"):
            run(lake, micro, strict, tmp_path / "out")
        assert run(lake, replace(micro, use_ct=False), strict, tmp_path / "pet").steps
        assert run(lake, micro, settings, tmp_path / "air").steps

    def test_says_what_memory_it_will_take(self, lake, micro, settings, tmp_path, caplog):
        with caplog.at_level("INFO", "model.training.train"):
            run(lake, micro, settings, tmp_path / "out")
        assert "memory: about" in caplog.text

    def test_unknown_stage(self, lake, micro, settings, tmp_path):
        with pytest.raises(TrainingError, match="expected a stage"):
            run(lake, micro, settings, tmp_path, "findings")

    def test_start_of_another_shape(self, lake, micro, settings, tmp_path):
        start = run(lake, micro, settings, tmp_path / "a").checkpoint
        other = replace(micro, language=replace(micro.language, layers=2))
        with pytest.raises(CheckpointError, match="layers 2"):
            run(lake, other, settings, tmp_path / "b", init=start)
        assert load_checkpoint(start)

    def test_frame_without_a_column(self, lake, micro, settings, tmp_path):
        with pytest.raises(TrainingError, match="without mask_path"):
            run(lake, micro, settings, tmp_path, samples=lake.samples.drop("mask_path"))


class TestErrorsWhileTraining:
    def test_a_full_disk_keeps_the_last_state_and_is_gone_on_from(self, lake, micro, settings, tmp_path, monkeypatch):
        whole = run(lake, micro, settings, tmp_path / "whole")
        saved = []

        def fill_up(tensors, path):
            if len(saved) == 2:
                Path(path).write_bytes(b"half of")
                raise OSError(errno.ENOSPC, "No space left on device")
            saved.append(path)
            save_file(tensors, path)

        monkeypatch.setattr("model.training.state.save_file", fill_up)
        with pytest.raises(CheckpointError, match="make room"):
            run(lake, micro, settings, tmp_path / "out")
        monkeypatch.undo()
        resumed = run(lake, micro, settings, tmp_path / "out")
        assert resumed.resumed_from_step == 2
        a, b = weights(whole.checkpoint), weights(resumed.checkpoint)
        assert all(torch.equal(a[n], b[n]) for n in a)

    def test_a_gpu_that_is_too_small_says_which_preset_would_fit(self, lake, micro, settings, tmp_path, monkeypatch):
        def too_much(*_, **__):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr("model.training.trainer.device_memory_gb", lambda device: 24.0)
        monkeypatch.setattr(Gradients, "loss", too_much)
        fitting = r"24 GB.*lora_rank, or take a preset that fits \(small-lm, small, tiny\)"
        with pytest.raises(TrainingError, match=fitting):
            run(lake, micro, settings, tmp_path / "out")


class TestLearningRateAt:
    def test_warms_up_then_falls_to_nothing(self):
        rates = [learning_rate_at(s, 100, 1.0, 0.1) for s in range(100)]
        assert rates[9] == rates[10] == max(rates) == 1.0
        assert rates[:10] == sorted(rates[:10])
        assert rates[10:] == sorted(rates[10:], reverse=True)
        assert rates[-1] < 0.01


class TestVariants:
    def test_recomputed_activations_give_the_same_gradients(self, lake, micro, settings, tmp_path):
        plain = run(lake, micro, settings, tmp_path / "a")
        again = run(lake, micro, replace(settings, recompute_activations=True), tmp_path / "b")
        assert [e["grad_norm"] for e in again.curve] == pytest.approx([e["grad_norm"] for e in plain.curve], rel=1e-4)

    def test_lora_leaves_a_checkpoint_of_the_models_own_names(self, lake, micro, settings, tmp_path):
        start = run(lake, micro, settings, tmp_path / "a").checkpoint
        result = run(lake, micro, replace(settings, lora_rank=2), tmp_path / "b", init=start)
        a, b = weights(start), weights(result.checkpoint)
        assert set(a) == set(b)
        changed = {n for n in a if n.startswith("language.") and not torch.equal(a[n], b[n])}
        adapted = {n for n in a if n.removesuffix(".weight").endswith(TARGETS)}
        assert changed == {"language.lm_head.weight", "language.model.embed_tokens.weight"} | adapted

    def test_lora_resumes_to_the_bit(self, lake, micro, settings, tmp_path):
        lora = replace(settings, lora_rank=2)
        whole = run(lake, micro, lora, tmp_path / "a")
        with pytest.raises(KilledError):
            run(lake, micro, lora, tmp_path / "b", on_step=kill_after(3))
        resumed = run(lake, micro, lora, tmp_path / "b")
        a, b = weights(whole.checkpoint), weights(resumed.checkpoint)
        assert all(torch.equal(a[n], b[n]) for n in a)

    def test_bfloat16_trains(self, lake, micro, tmp_path):
        settings = TrainingSettings(
            epochs=15, batch_size=9, learning_rate=1e-2, validation_samples=3, precision="bfloat16", without_ct="air"
        )
        result = run(lake, micro, settings, tmp_path / "out")
        assert result.loss_last < 0.6 * result.loss_first

    def test_8_bit_optimiser_without_its_package_is_a_clear_error(self, lake, micro, settings, tmp_path):
        with pytest.raises(TrainingError, match="bitsandbytes"):
            run(lake, micro, replace(settings, optimiser="adamw8bit"), tmp_path / "out")

    def test_starts_from_public_weights(self, lake, micro, settings, tmp_path):
        source = run(lake, micro, settings, tmp_path / "a").checkpoint
        tower = {
            n.removeprefix("vision.pet_tower."): t
            for n, t in weights(source).items()
            if n.startswith("vision.pet_tower.")
        }
        torch.save(tower, tmp_path / "pretrained_ViT.bin")
        given = replace(settings, vision_weights=str(tmp_path / "pretrained_ViT.bin"))
        result = run(lake, micro, given, tmp_path / "b", "anatomy_projector")
        after = weights(result.checkpoint)
        for name, tensor in tower.items():
            assert torch.equal(after[f"vision.ct_tower.{name}"], tensor)
