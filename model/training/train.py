"""One training stage, from a checkpoint to a checkpoint."""

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.inputs.tensors import LesionDataset
from model.inputs.threads import limited_threads
from model.petar.architecture import Petar
from model.petar.checkpoints import (
    Contract,
    StageRecord,
    build_model,
    recover_folder,
    save_checkpoint,
    versions,
    write_folder_atomically,
)
from model.petar.devices import pick_device
from model.petar.lora import add_lora, merge_lora, save_adapter
from model.training.gradients import Placement
from model.training.loggers import check_loggers
from model.training.memory import device_plan
from model.training.optimiser import optimiser_class
from model.training.parallel import World, current_world
from model.training.request import Hooks, StageRequest
from model.training.results import StageResult, read_result, write_result
from model.training.samples import check_samples, check_split, data_hash
from model.training.sharding import whole_weights
from model.training.start import (
    StartingModel,
    check_start,
    freeze_and_adapt,
    starting_model,
    with_layout_of_weights,
)
from model.training.state import Progress
from model.training.trainer import Trainer, TrainingData
from pipelines.tables import atomic

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Identified:
    """A request with the hashes that its checkpoint and its saved state carry."""

    request: StageRequest
    data: str
    identity: str
    world: World

    def write(self, start: StartingModel, result: StageResult, *records: StageRecord) -> None:
        """Writes checkpoint and result, in the leading process alone."""
        if not self.world.leads:
            return
        contract = Contract(self.request.config, (*start.lineage, *records), versions())
        save_checkpoint(self.request.checkpoint, start.model, start.tokenizer, contract)
        write_result(self.request.out_dir, result, self.identity)


def train_stage(request: StageRequest, hooks: Hooks = Hooks()) -> StageResult:
    """Trains one stage and returns what it reached; its checkpoint is `request.checkpoint`.

    A killed call made again with an equal request resumes from the last saved state and ends with the same weights (to
    the bit on a CPU with the same number of threads).

    Args:
        request: stage, samples, model, settings, start, output folder.
        hooks: called after each step and each epoch.

    Raises:
        TrainingError: before the first step, for an empty split, samples that cannot be used, or a stage without data.
        CheckpointError: `init` does not fit the configuration, or the disk is full; the last good checkpoint is kept.
    """
    with limited_threads(request.settings.threads):
        return _train_stage(request, hooks)


def _train_stage(request: StageRequest, hooks: Hooks) -> StageResult:
    check_start(request.config, request.settings, request.init)
    request = with_layout_of_weights(request)
    settings, samples, world = request.settings, request.samples, current_world()
    optimiser_class(settings)
    check_loggers(settings.loggers)
    check_split(request.stage, "train", samples.train)
    if settings.validation_samples:
        check_split(request.stage, "val", samples.val)
    data = data_hash(samples.train, samples.home)
    identified = _Identified(request, data, request.identity(data), world)
    recover_folder(request.checkpoint)
    if request.reuse and (result := read_result(request.out_dir, identified.identity)):
        return result
    device = pick_device(request.device)
    if world.leads:
        plan = device_plan(request.config, settings, request.stage, device)
        log.info("stage %s, preset %s: %s", request.stage, request.config.name, plan)
        _write_settings(request, device, world)
    began = time.perf_counter()
    start = starting_model(request, device, reads=world.leads)
    prepared_s = time.perf_counter() - began
    datasets = _datasets(request, start)
    check_samples(request.stage, datasets.train, datasets.val)
    if not freeze_and_adapt(start.model, request):
        result = StageResult(
            stage=request.stage,
            checkpoint=request.checkpoint,
            made_by=request.made_by,
            n_samples=len(datasets.train),
            total_parameters=sum(p.numel() for p in start.model.parameters()),
            note="nothing to train: the configuration has no mask embedding",
        )
        identified.write(start, result)
    else:
        placement = Placement(device, world, settings.sharding == "full" and world.size > 1)
        trainer = Trainer(request, identified.identity, start, datasets, placement, hooks)
        result = _run(trainer, identified, start, prepared_s)
        trainer.state.remove()
    world.wait()
    return result


def _write_settings(request: StageRequest, device: torch.device, world: World) -> None:
    """What the stage is trained with, every setting with its value, beside its checkpoint."""
    resolved = {
        "stage": request.stage,
        "preset": request.config.name,
        "init": None if request.init is None else str(request.init),
        "made_by": request.made_by,
        "device": str(device),
        "processes": world.size,
        "training": request.settings.to_dict(),
        "model": request.config.to_dict(),
        "versions": versions(),
    }
    atomic.write_bytes(request.out_dir / "settings.json", json.dumps(resolved, indent=1).encode())


def _datasets(request: StageRequest, start: StartingModel) -> TrainingData:
    settings, samples = request.settings, request.samples
    needs_ct = settings.without_ct == "refuse"
    return TrainingData(
        LesionDataset(
            samples.train, request.config, start.tokenizer, samples.home, seed=settings.seed, needs_ct=needs_ct
        ),
        LesionDataset(request.validation, request.config, start.tokenizer, samples.home, needs_ct=needs_ct),
    )


def _run(trainer: Trainer, identified: _Identified, start: StartingModel, prepared_s: float) -> StageResult:
    """Trains, and writes the checkpoint."""
    request = identified.request
    total = sum(p.numel() for p in start.model.parameters())
    progress, resumed = trainer.run(prepared_s)
    trainable = sum(p.numel() for p in trainer.gradients.parameters.values())
    losses = [entry["loss"] for entry in progress.curve]
    window = max(1, len(losses) // 5)
    result = StageResult(
        stage=request.stage,
        checkpoint=request.checkpoint,
        made_by=request.made_by,
        loss_first=float(np.mean(losses[:window])),
        loss_last=float(np.mean(losses[-window:])),
        val_loss=next((e["val_loss"] for e in reversed(progress.curve) if "val_loss" in e), None),
        best_epoch=progress.best_epoch,
        best_fields=_best_fields(progress),
        curve=progress.curve,
        seconds=progress.seconds,
        n_samples=len(trainer.data.train),
        steps=progress.step,
        trainable_parameters=trainable,
        total_parameters=total,
        resumed_from_step=resumed,
    )
    if trainer.placement.sharded:
        weights = whole_weights(start.model)
    if not identified.world.leads:
        return result
    model = _whole_model(request, start, weights) if trainer.placement.sharded else start.model.cpu()
    rank, alpha = request.settings.lora_rank, request.settings.lora_alpha
    if rank and request.stage.endswith("_full"):
        write_folder_atomically(request.out_dir / "adapter", lambda folder: save_adapter(folder, model, rank, alpha))
    merge_lora(model)
    record = StageRecord(
        stage=request.stage,
        data=identified.data,
        n_samples=result.n_samples,
        steps=result.steps,
        loss_first=result.loss_first,
        loss_last=result.loss_last,
        val_loss=result.val_loss,
        settings=request.settings.to_dict(),
        curation=request.samples.curation,
        questions=trainer.data.train.questions,
    )
    identified.write(StartingModel(model, start.tokenizer, start.lineage), result, record)
    return result


def _best_fields(progress: Progress) -> float | None:
    ends = {entry["epoch"]: entry.get("val_fields") for entry in progress.curve if "val_loss" in entry}
    return None if progress.best_epoch is None else ends.get(progress.best_epoch)


def _whole_model(request: StageRequest, start: StartingModel, weights: Mapping[str, Tensor]) -> Petar:
    """The whole model on the CPU, of the weights of a sharded one."""
    with torch.random.fork_rng(devices=[]):
        whole = build_model(request.config, start.tokenizer, start.model.language.config.vocab_size)
    if any(".lora_" in name for name, _ in start.model.named_parameters()):
        add_lora(whole, request.settings.lora_rank, request.settings.lora_alpha)
    is_tied = request.config.language.tied_embeddings
    whole.load_state_dict(weights, assign=True, strict=not is_tied)
    if is_tied:
        whole.language.tie_weights()
    return whole
