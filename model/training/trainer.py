"""The loop of a training stage: steps, log, validation, early stopping, and saving what a killed run resumes from."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import nn

from model.inputs.tensors import LABEL_IGNORED, Batch, LesionDataset, collate
from model.petar.config import TrainingSettings
from model.training.batches import Batches, StepPlan
from model.training.compiled import compile_blocks
from model.training.gradients import Gradients, Placement
from model.training.loggers import Log, opened_loggers
from model.training.memory import device_memory_gb, presets_that_fit
from model.training.optimiser import make_optimiser
from model.training.request import Hooks, StageRequest
from model.training.schedule import learning_rate_at
from model.training.sharding import as_number
from model.training.stages import TrainingError
from model.training.start import StartingModel
from model.training.state import Progress, SavedState
from model.training.validation import text_accuracy


@dataclass(frozen=True)
class TrainingData:
    """What a stage reads its batches from."""

    train: LesionDataset
    val: LesionDataset


class Trainer:
    """Trains the model of one stage.

    Args:
        request: the stage, its settings and its folder.
        identity: of the request; a state saved under another one is not resumed.
        start: the model, frozen where the stage does not train it, and its tokenizer.
        data: the datasets.
        placement: device and processes.
        hooks: called after each step and each epoch.
    """

    def __init__(
        self,
        request: StageRequest,
        identity: str,
        start: StartingModel,
        data: TrainingData,
        placement: Placement,
        hooks: Hooks,
    ) -> None:
        if placement.sharded and hooks.on_epoch is not None:
            raise TrainingError(
                "expected no measuring between epochs with sharding 'full', where no process has the whole model"
            )
        self.request, self.hooks = request, hooks
        self.settings: TrainingSettings = request.settings
        self.placement, self.world = placement, placement.world
        self.tokenizer, self.data = start.tokenizer, data
        # Model and optimiser.
        self.model = placement.place(start.model)
        if self.settings.compile:
            compile_blocks(self.model)
        self.gradients = Gradients(self.model, self.settings, placement)
        self.optimiser = make_optimiser(self.gradients.parameters, self.settings)
        # Batches and state.
        self.plan = StepPlan.of(len(data.train), self.settings)
        self.train_batches, self.val_batches = (
            Batches(dataset, start.tokenizer.pad_id, self.settings) for dataset in (data.train, data.val)
        )
        request.out_dir.mkdir(parents=True, exist_ok=True)
        self.state = SavedState(request.out_dir, identity, self.model, self.optimiser, self.world)
        self.log_path = request.out_dir / "log.jsonl"
        self._send: Log = lambda step, values: None

    def run(self, prepared_s: float) -> tuple[Progress, int]:
        """Trains to the end; returns the progress and the step that it resumed from.

        Args:
            prepared_s: seconds that preparing the model took; part of the stage's time.
        """
        progress = self.state.load() or Progress(seconds=prepared_s)
        resumed = progress.step
        if self.world.leads:
            self.log_path.write_text("".join(json.dumps(entry) + "\n" for entry in progress.curve))
        try:
            with self.gradients.cpu_threads(), self._loggers() as self._send:
                self._loop(progress)
        except torch.cuda.OutOfMemoryError as error:
            raise TrainingError(self._out_of_memory()) from error
        self.world.wait()
        if self.settings.measure is not None:
            self.state.load_best()
        return progress, resumed

    def _loop(self, progress: Progress) -> None:
        total, saved = len(self.plan.steps), time.monotonic()
        if self.hooks.on_start is not None and self.world.leads:
            self.hooks.on_start(progress.step, total)
        on_gpu = self.placement.device.type == "cuda"
        batches = self.train_batches.of_plan(self.plan, progress.step, self.world, pin_memory=on_gpu)
        for step in range(progress.step, total):
            if progress.stopped:
                break
            began = time.perf_counter()
            n_batches = self.plan.n_batches(step, self.settings, self.world)
            entry = self._step([next(batches) for _ in range(n_batches)], step)
            epoch_ends = step + 1 in self.plan.epoch_ends
            if epoch_ends and len(self.data.val):
                entry |= self._validated()
            seconds = time.perf_counter() - began
            progress.step, progress.seconds = step + 1, progress.seconds + seconds
            entry |= {"samples_per_s": self.plan.n_samples(step) / seconds, "seconds": progress.seconds}
            if on_gpu:
                entry["gpu_memory_gb"] = torch.cuda.max_memory_allocated(self.placement.device) / 1e9
            progress.curve.append(entry)
            self._log(entry)
            if "val_loss" in entry and self.settings.measure is not None:
                self._select(progress, entry)
            if epoch_ends and self.hooks.on_epoch is not None and self.world.leads:
                self.hooks.on_epoch(self.model, self.tokenizer, int(entry["epoch"]))
            if step + 1 < total and self._is_due(time.monotonic() - saved):
                self.state.save(progress)
                saved = time.monotonic()

    def _is_due(self, seconds: float) -> bool:
        """Whether the state is to be saved now, by the leading process's clock, the same in every process."""
        due = float(seconds >= self.settings.save_every_s)
        return bool(self.world.from_leader(due, self.placement.device))

    def _step(self, batches: Sequence[Batch | None], step: int) -> dict[str, float]:
        settings = self.settings
        rate = learning_rate_at(step, len(self.plan.steps), settings.learning_rate, settings.warmup_fraction)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["share"]
        if not self.model.training:
            # Walks all modules, which takes a tiny model as long as a part of its step.
            self.model.train()
        silent = self._silent() if None in batches else None
        loss = self.gradients.of_step(batches, silent)
        if not math.isfinite(loss):
            raise TrainingError(
                f"stage {self.request.stage}, step {step + 1}: expected a finite loss, got {loss}: lower learning_rate"
            )
        norm = as_number(nn.utils.clip_grad_norm_(self.gradients.parameters.values(), settings.clip_norm))
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        epoch = self.plan.epoch(step)
        return {"step": step + 1, "epoch": epoch, "loss": loss, "learning_rate": rate, "grad_norm": norm}

    def _silent(self) -> Batch:
        """A sample without answer, for a process that has none where all must go through the model together."""
        batch = collate([self.data.train[0]], self.tokenizer.pad_id)
        return replace(batch, labels=torch.full_like(batch.labels, LABEL_IGNORED))

    def _validation_loss(self) -> float:
        """Loss on the validation samples in nats per answer token, the same in every process."""
        mean = 0.0
        # A sharded model is gathered by all processes in step, so all of them validate.
        if self.world.leads or self.placement.sharded:
            self.model.eval()
            total, tokens = 0.0, 0
            with torch.no_grad():
                for batch in self.val_batches.in_order():
                    total += float(self.gradients.loss(batch))
                    tokens += batch.n_answer_tokens
            mean = total / tokens
        return self.world.from_leader(mean, self.placement.device)

    def _validated(self) -> dict[str, float]:
        """Loss and, where epochs are compared by them, right fields on the validation samples."""
        found = {"val_loss": self._validation_loss()}
        if self.settings.measure == "fields":
            mean = 0.0
            if self.world.leads:
                mean = text_accuracy(self.model, self.data.val, self.tokenizer, self.settings, self.placement.device)
            found["val_fields"] = self.world.from_leader(mean, self.placement.device)
        return found

    def _select(self, progress: Progress, entry: Mapping[str, float]) -> None:
        """Keeps the weights of the best epoch, of fields those of the last epoch that is within one standard error of
        it (Breiman et al. 1984: what few samples cannot tell apart is noise, and the rate falls from epoch to epoch);
        and stops after `early_stop_epochs` that were not better.
        """
        # Of equal fields the lower loss.
        found = [entry["val_fields"], -entry["val_loss"]] if "val_fields" in entry else [-entry["val_loss"]]
        is_best = progress.best is None or found > progress.best
        if is_best:
            progress.best = found
        if is_best or self._is_within_error(found, progress):
            progress.best_epoch = int(entry["epoch"])
            self.state.save_best()
        progress.epochs_since_best = 0 if is_best else progress.epochs_since_best + 1
        most = self.settings.early_stop_epochs
        progress.stopped = bool(most) and progress.epochs_since_best >= most

    def _is_within_error(self, found: Sequence[float], progress: Progress) -> bool:
        """Whether right fields are within one standard error of the best ones."""
        if self.settings.measure != "fields" or progress.best is None:
            return False
        best = progress.best[0]
        return found[0] >= best - math.sqrt(best * (1 - best) / len(self.data.val))

    def _loggers(self) -> AbstractContextManager[Log]:
        """The loggers of the settings, in the leading process."""
        request, settings = self.request, self.settings
        names = settings.loggers if self.world.leads else ()
        return opened_loggers(names, request.out_dir, f"{request.config.name} {request.stage}", settings.to_dict())

    def _log(self, entry: Mapping[str, float]) -> None:
        if not self.world.leads:
            return
        with self.log_path.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        self._send(int(entry["step"]), {name: value for name, value in entry.items() if name != "step"})
        if self.hooks.on_step is not None:
            self.hooks.on_step(entry)

    def _out_of_memory(self) -> str:
        """What did not fit, and which preset would."""
        memory_gb = device_memory_gb(self.placement.device) or 0.0
        fitting = ", ".join(presets_that_fit(memory_gb)) or "none"
        return (
            f"stage {self.request.stage}: expected batch {self.settings.batch_size} of preset "
            f"{self.request.config.name} to fit the device of {memory_gb:.0f} GB, it ran out of memory: "
            "lower batch_size and raise accumulation, set recompute_activations or lora_rank, or take a preset that "
            f"fits ({fitting}). The last saved state is kept"
        )
