"""The six stages of training, each from a checkpoint to a checkpoint, each of which goes on where a kill stopped it."""

import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from model.inputs.numbers import mask_measured_numbers
from model.inputs.tensors import (
    LABEL_IGNORED,
    NEEDED_COLUMNS,
    Batch,
    Item,
    LesionDataset,
    collate,
    epoch_batches,
    target_text,
)
from model.inputs.threads import limited_threads, made_ahead
from model.petar.architecture import Petar
from model.petar.checkpoints import (
    Contract,
    StageRecord,
    build_model,
    load_checkpoint,
    load_weights,
    read_contract,
    read_tensors,
    recover_folder,
    save_checkpoint,
    versions,
    write_folder_atomically,
)
from model.petar.config import QUESTION, ModelConfig, Stage, TrainingSettings
from model.petar.hub import local_path
from model.petar.lora import add_lora, merge_lora
from model.petar.tokenizer import PetarTokenizer, load_tokenizer, train_tokenizer
from model.petar.weights import DTYPES, load_public_weights
from model.training.language import teach_language
from model.training.parallel import current_world
from model.training.plan import memory_plan, presets_that_fit
from model.training.schedule import learning_rate_at
from model.training.sharding import as_number, put_optimiser, put_weights, shard, whole_optimiser, whole_weights
from model.training.stages import TrainingError, freeze_for
from pipelines.tables import atomic
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home

log = logging.getLogger(__name__)

TRAINING_VERSION = "training-2"
"""Raised when the same settings and data would give other weights: no state saved before is then gone on with."""

_SMALL_FILE_BYTES = 1 << 20
_PROGRESS, _WEIGHTS, _OPTIMISER = "progress.json", "weights.safetensors", "optimiser.pt"

OnStep = Callable[[Mapping[str, float]], None]
OnEpoch = Callable[[Petar, PetarTokenizer, int], None]
"""Called with the model as it is and the number of the epoch that ended, from 1."""


@dataclass(frozen=True)
class StageResult:
    """What a stage did. Losses are nats per answer token; None where nothing was trained or measured."""

    stage: str
    checkpoint: Path
    loss_first: float | None
    """Mean over the first steps (a fifth of all, at least one)."""
    loss_last: float | None
    """Mean over as many last steps."""
    val_loss: float | None
    """On the validation samples, after the last step."""
    curve: list[dict[str, float]]
    """One entry a step: step, epoch, loss, learning_rate, grad_norm, samples_per_s, seconds, and val_loss at the end of
    an epoch.
    """
    seconds: float
    """Of training, over all runs of it: teaching the language, steps and validation; no saving."""
    n_samples: int
    steps: int
    trainable_parameters: int
    total_parameters: int
    resumed_from_step: int = 0
    reused: bool = False
    """True when the checkpoint was there already, from the same data, settings and start."""
    note: str = ""


def data_hash(samples: pl.DataFrame, home: Home) -> str:
    """Hash of what a stage sees: the samples' rows in order, and its files by size and, under 1 MiB, by content."""
    columns = [c for c in NEEDED_COLUMNS if c in samples.columns]
    rows = samples.select(columns).rows()
    names = sorted(
        {
            n
            for c in ("suv_path", "ct_path", "mask_path")
            if c in columns
            for n in samples[c].drop_nulls().unique().to_list()
        }
    )
    files = []
    for name in names:
        path = home.root / name
        size = path.stat().st_size if path.is_file() else -1
        content = blake2b(path.read_bytes(), digest_size=8).hexdigest() if 0 <= size <= _SMALL_FILE_BYTES else ""
        files.append([name, size, content])
    return hash_of(columns, [list(r) for r in rows], files)[:16]


@dataclass
class _Progress:
    """Where a run stands: what is saved and gone on from."""

    step: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    best_val_loss: float | None = None
    epochs_since_best: int = 0
    stopped: bool = False


@dataclass(frozen=True)
class _Plan:
    """The steps of a stage: each a list of batches of (epoch, position)."""

    steps: list[list[list[tuple[int, int]]]]
    epoch_ends: set[int]

    @classmethod
    def make(cls, n: int, settings: TrainingSettings) -> "_Plan":
        steps: list[list[list[tuple[int, int]]]] = []
        ends = set()
        for epoch in range(settings.epochs):
            batches = list(epoch_batches(n, settings.batch_size, settings.seed, epoch, settings.samples_per_epoch))
            steps += [batches[i : i + settings.accumulation] for i in range(0, len(batches), settings.accumulation)]
            ends.add(len(steps))
        return cls(steps, ends)


def pick_device(name: str = "auto") -> torch.device:
    """The named device; `auto` is the first GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def train_stage(
    stage: Stage,
    train: pl.DataFrame,
    val: pl.DataFrame,
    config: ModelConfig,
    settings: TrainingSettings,
    home: Home,
    out_dir: Path,
    init: Path | None = None,
    on_step: OnStep | None = None,
    *,
    texts: Iterable[str] = (),
    reuse: bool = True,
    device: str = "auto",
    on_epoch: OnEpoch | None = None,
    curation: str = "",
) -> StageResult:
    """Trains one stage and returns what came of it; its checkpoint is `out_dir/checkpoint`.

    `train` and `val` are rows of the `samples` table. `init` is the checkpoint folder that the stage starts from;
    without one the model starts from `settings`' weights or random, with a tokenizer trained on the samples' texts and
    on `texts`. A killed call made again with the same arguments goes on from the last saved state and ends with the
    same weights (to the bit on a CPU with the same number of threads). With `reuse` a finished checkpoint of the same
    arguments is returned as it is. `curation` is the version of the curation that the samples are of; the checkpoint
    names it.

    Raises:
        TrainingError: before the first step, for an empty split, samples that cannot be used, or a stage without data.
        CheckpointError: `init` does not fit the configuration, or the disk is full; the last good checkpoint is kept.
    """
    with limited_threads(settings.threads):
        return _train_stage(
            stage,
            train,
            val,
            config,
            settings,
            home,
            Path(out_dir),
            init,
            on_step,
            texts=list(texts),
            reuse=reuse,
            device=device,
            on_epoch=on_epoch,
            curation=curation,
        )


def _train_stage(
    stage: Stage,
    train: pl.DataFrame,
    val: pl.DataFrame,
    config: ModelConfig,
    settings: TrainingSettings,
    home: Home,
    out_dir: Path,
    init: Path | None,
    on_step: OnStep | None,
    *,
    texts: Sequence[str],
    reuse: bool,
    device: str,
    on_epoch: OnEpoch | None,
    curation: str,
) -> StageResult:
    world = current_world()
    if settings.optimiser == "adamw8bit":
        _adamw_8bit()
    _check_split(stage, "train", train)
    if settings.validation_samples:
        _check_split(stage, "val", val)
    data = data_hash(train, home)
    identity = _identity(
        stage, data, data_hash(_spread(val, settings.validation_samples), home), config, settings, init, texts
    )
    final, result_path = out_dir / "checkpoint", out_dir / "result.json"
    if reuse and (done := _finished(result_path, final, identity)):
        return done

    target_device = pick_device(device)
    if world.leads:
        log.info("stage %s, preset %s: %s", stage, config.name, _plan_in_words(config, settings, stage, target_device))
    began = time.perf_counter()
    model, tokenizer, lineage = _start(config, settings, train, init, texts, target_device)
    prepared_s = time.perf_counter() - began
    needs_ct = settings.without_ct == "refuse"
    train_set = LesionDataset(train, config, tokenizer, home, seed=settings.seed, needs_ct=needs_ct)
    val_set = LesionDataset(_spread(val, settings.validation_samples), config, tokenizer, home, needs_ct=needs_ct)
    _check_samples(stage, train_set, val_set)

    if settings.lora_rank and stage.endswith("_full"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            add_lora(model, settings.lora_rank, settings.lora_alpha)
    names = freeze_for(model, stage)
    prepare_for_training(model, settings)
    total = sum(p.numel() for p in model.parameters())
    if not names:
        # Only the leading process writes; the others return the same result.
        result = StageResult(
            stage,
            final,
            None,
            None,
            None,
            [],
            0.0,
            len(train_set),
            0,
            0,
            total,
            note="nothing to train: the configuration has no mask embedding",
        )
        if world.leads:
            save_checkpoint(final, model, tokenizer, Contract(config, lineage, versions()))
            _write_result(result_path, result, identity)
        world.wait()
        return result

    run = _Run(
        stage,
        model.to(target_device),
        tokenizer,
        train_set,
        val_set,
        settings,
        out_dir,
        identity,
        target_device,
        on_step,
        on_epoch,
        prepared_s,
    )
    progress, resumed = run.go()
    trainable = sum(p.numel() for p in run.parameters.values())
    if run.sharded:
        model = _put_together(model, config, tokenizer, settings)
    losses = [entry["loss"] for entry in progress.curve]
    window = max(1, len(losses) // 5)
    first, last = float(np.mean(losses[:window])), float(np.mean(losses[-window:]))
    val_loss = next((e["val_loss"] for e in reversed(progress.curve) if "val_loss" in e), None)
    own = StageRecord(stage, data, len(train_set), progress.step, first, last, val_loss, settings.to_dict(), curation)
    merge_lora(model.cpu())
    result = StageResult(
        stage,
        final,
        first,
        last,
        val_loss,
        progress.curve,
        progress.seconds,
        len(train_set),
        progress.step,
        trainable,
        total,
        resumed,
    )
    if world.leads:
        save_checkpoint(final, model, tokenizer, Contract(config, (*lineage, own), versions()))
        _write_result(result_path, result, identity)
        run.forget()
    world.wait()
    return result


def _put_together(model: Petar, config: ModelConfig, tokenizer: PetarTokenizer, settings: TrainingSettings) -> Petar:
    """The whole model on the CPU, of one that is shared out; in a process that does not lead, its weights are void."""
    weights = whole_weights(model)
    vocab_size = model.language.config.vocab_size
    with torch.random.fork_rng(devices=[]):
        whole = build_model(config, tokenizer, vocab_size)
    if any(".lora_" in name for name, _ in model.named_parameters()):
        add_lora(whole, settings.lora_rank, settings.lora_alpha)
    whole.load_state_dict(weights, strict=bool(weights), assign=True)
    return whole


def _plan_in_words(config: ModelConfig, settings: TrainingSettings, stage: Stage, device: torch.device) -> str:
    """The plan of memory, and what would fit where the device is too small for it."""
    plan = memory_plan(config, settings, stage)
    memory_gb = _memory_gb(device)
    if memory_gb is None or plan.total_gb <= memory_gb:
        return plan.summary()
    fitting = ", ".join(presets_that_fit(memory_gb)) or "none"
    return f"{plan.summary()}\nthe device has {memory_gb:.0f} GB, this may not fit; presets that would: {fitting}"


def _memory_gb(device: torch.device) -> float | None:
    """Memory of a GPU; None for a CPU."""
    return torch.cuda.get_device_properties(device).total_memory / 1e9 if device.type == "cuda" else None


def _spread(samples: pl.DataFrame, limit: int) -> pl.DataFrame:
    """At most `limit` samples, evenly from the whole frame: its first ones would be of few exams."""
    n = len(samples)
    return samples if n <= limit else samples[[i * n // limit for i in range(limit)]]


def prepare_for_training(model: Petar, settings: TrainingSettings) -> None:
    """Stores trained and frozen weights in the dtypes of the settings, and sets recomputation of activations."""
    if settings.recompute_activations:
        _recompute_activations(model)
    for name, parameter in model.named_parameters():
        kind = settings.weights_dtype if parameter.requires_grad and ".lora_" not in name else settings.frozen_dtype
        parameter.data = parameter.data.to(torch.float32 if ".lora_" in name else DTYPES[kind])


def _recompute_activations(model: Petar) -> None:
    model.language.activation_checkpointing_enable()
    for tower in (model.vision.pet_tower, getattr(model.vision, "ct_tower", None)):
        if tower is not None:
            tower.recompute_activations = True


def _check_split(stage: str, name: str, samples: pl.DataFrame) -> None:
    missing = [c for c in NEEDED_COLUMNS if c not in samples.columns]
    if missing:
        raise TrainingError(
            f"stage {stage}, split {name}: expected the columns of the samples table, got a frame without "
            f"{', '.join(missing)}"
        )
    if samples.is_empty():
        raise TrainingError(
            f"stage {stage}: expected samples in the split {name}, got none: curate more patients or change the "
            "shares of the splits" + (" (validation_samples=0 trains without validation)" if name == "val" else "")
        )


def _check_samples(stage: str, *datasets: LesionDataset) -> None:
    problems = [problem for dataset in datasets for problem in dataset.problems()]
    if not problems:
        return
    shown = "; ".join(f"sample {p.sample_id} of exam {p.exam_id}: {p.message}" for p in problems[:5])
    more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
    count = sum(len(d) for d in datasets)
    raise TrainingError(
        f"stage {stage}: {len(problems)} of {count} samples cannot be used: {shown}{more}. Drop or mend them "
        "before training"
    )


def _identity(
    stage: str,
    train: str,
    val: str,
    config: ModelConfig,
    settings: TrainingSettings,
    init: Path | None,
    texts: Iterable[str],
) -> str:
    # What does not change the weights does not make another run.
    fixed = replace(settings, workers=0, threads=0, save_every_steps=1).to_dict()
    start = None if init is None else read_contract(Path(init)).to_dict()
    return hash_of(TRAINING_VERSION, stage, train, val, config.to_dict(), fixed, start, sorted(set(texts)))


def _finished(result_path: Path, final: Path, identity: str) -> StageResult | None:
    recover_folder(final)
    if not (result_path.is_file() and final.is_dir()):
        return None
    stored = json.loads(result_path.read_text())
    if stored.pop("identity", None) != identity:
        return None
    return StageResult(**{**stored, "checkpoint": final, "reused": True})


def _write_result(path: Path, result: StageResult, identity: str) -> None:
    stored = {**asdict(result), "checkpoint": str(result.checkpoint), "identity": identity}
    atomic.write_bytes(path, json.dumps(stored).encode())


def _start(
    config: ModelConfig,
    settings: TrainingSettings,
    train: pl.DataFrame,
    init: Path | None,
    texts: Sequence[str],
    device: torch.device,
) -> tuple[Petar, PetarTokenizer, tuple[StageRecord, ...]]:
    """Model, tokenizer and lineage that a stage begins with."""
    if init is not None:
        loaded = load_checkpoint(Path(init), expected=config)
        return loaded.model, loaded.tokenizer, loaded.contract.lineage
    texts = [mask_measured_numbers(text) for text in texts] if config.mask_numbers else list(texts)
    own = [text for row in train.iter_rows(named=True) for text in (row["question"], target_text(row, config))]
    if settings.tokenizer:
        tokenizer = load_tokenizer(local_path(settings.tokenizer))
    else:
        tokenizer = train_tokenizer([*own, *texts], config.language.vocab_size)
    # A tokenizer with weights to it has more rows than tokens (Phi-3: 32,064); one of our own has exactly its tokens.
    vocab_size = max(len(tokenizer), config.language.vocab_size) if settings.tokenizer else len(tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = build_model(config, tokenizer, vocab_size)
    for source in (settings.language_weights, settings.vision_weights, settings.model_weights):
        if source:
            report = load_public_weights(model, local_path(source), allow_unexpected=True)
            log.info("weights of %s: %s", source, report.summary())
    if settings.language_steps and not (settings.language_weights or settings.model_weights):
        pairs = [(row["question"], target_text(row, config)) for row in train.iter_rows(named=True)]
        asked = {QUESTION, *train["question"]}
        pairs += [(QUESTION, text) for text in texts if text not in asked]
        teach_language(model, tokenizer, pairs, settings.language_steps, seed=settings.seed, device=device)
    return model, tokenizer, ()


def make_optimiser(parameters: Mapping[str, nn.Parameter], settings: TrainingSettings) -> torch.optim.Optimizer:
    """AdamW; vectors (norms, biases) do not decay, and language model and mask embedding learn at their own share of
    the rate.
    """
    shares = {"language.": settings.language_rate, "vision.mask_embedding.": settings.mask_rate}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        decay = settings.weight_decay if parameter.ndim >= 2 else 0.0
        share = next((share for part, share in shares.items() if name.startswith(part)), 1.0)
        groups.setdefault((decay, share), []).append(parameter)
    # Fused: one pass over all weights, where a loop over a tiny model's many small ones takes longer than they do.
    kind = _adamw_8bit() if settings.optimiser == "adamw8bit" else partial(torch.optim.AdamW, fused=True)
    return kind(
        [{"params": found, "weight_decay": decay, "share": share} for (decay, share), found in groups.items()],
        lr=settings.learning_rate,
        betas=(0.9, settings.beta2),
    )


def _adamw_8bit() -> Callable[..., torch.optim.Optimizer]:
    try:
        from bitsandbytes.optim import AdamW8bit  # type: ignore[import-not-found]  # an extra
    except ImportError as error:
        raise TrainingError(
            "expected bitsandbytes for optimiser 'adamw8bit', it is not installed: install it or use 'adamw'"
        ) from error
    return AdamW8bit


def _collate_share(items: Sequence[Item], pad_id: int) -> Batch | None:
    """A batch; None for no items, as where more processes than samples share one."""
    return collate(items, pad_id) if items else None


class _Run:
    """The loop of one stage: step, log, validate, save, and go on after a kill."""

    def __init__(
        self,
        stage: str,
        model: Petar,
        tokenizer: PetarTokenizer,
        train_set: LesionDataset,
        val_set: LesionDataset,
        settings: TrainingSettings,
        out_dir: Path,
        identity: str,
        device: torch.device,
        on_step: OnStep | None,
        on_epoch: OnEpoch | None,
        prepared_s: float,
    ) -> None:
        self.stage, self.model, self.tokenizer = stage, model, tokenizer
        self.train_set, self.val_set, self.settings = train_set, val_set, settings
        self.out_dir, self.identity, self.device, self.on_step = out_dir, identity, device, on_step
        self.on_epoch, self.world, self.prepared_s = on_epoch, current_world(), prepared_s
        self.state_dir, self.best_dir, self.log_path = out_dir / "resume", out_dir / "best", out_dir / "log.jsonl"
        self.sharded = settings.sharding == "full" and self.world.size > 1
        if self.sharded:
            if on_epoch is not None:
                raise TrainingError(
                    "expected no measuring between epochs with sharding 'full', where no process has it all"
                )
            shard(model, self.world, device)
        self.parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.optimiser = make_optimiser(self.parameters, settings)
        self.plan = _Plan.make(len(train_set), settings)
        self._pool: ThreadPoolExecutor | None = None
        out_dir.mkdir(parents=True, exist_ok=True)

    def go(self) -> tuple[_Progress, int]:
        """(progress at the end, step that it went on from)."""
        progress = self._resume()
        resumed = progress.step
        self._begin_log(progress)
        try:
            with self._side_by_side():
                self._loop(progress)
        except torch.cuda.OutOfMemoryError as error:
            raise TrainingError(self._out_of_memory(error)) from error
        self.world.wait()
        if self.settings.early_stop_epochs and self.best_dir.is_dir():
            self._put(self.best_dir, "the best epoch")
        return progress, resumed

    @contextmanager
    def _side_by_side(self) -> Iterator[None]:
        """Threads for the parts of a batch, as long as the block lasts; none on a GPU or for one part."""
        if self.settings.cpu_parts == 1 or self.device.type != "cpu":
            yield
            return
        with ThreadPoolExecutor(self.settings.cpu_parts, "parts", torch.set_num_threads, (1,)) as self._pool:
            yield
        self._pool = None

    def _out_of_memory(self, error: Exception) -> str:
        """What did not fit, and which preset would."""
        memory_gb = _memory_gb(self.device) or 0.0
        fitting = ", ".join(presets_that_fit(memory_gb)) or "none"
        return (
            f"stage {self.stage}: expected batch {self.settings.batch_size} of preset {self.model.config.name} "
            "to fit the device of "
            f"{memory_gb:.0f} GB, it ran out of memory ({error}): lower batch_size and raise accumulation, set "
            "recompute_activations or "
            f"lora_rank, or take a preset that fits ({fitting}). The last saved state is kept"
        )

    def _loop(self, progress: _Progress) -> None:
        total = len(self.plan.steps)
        batches = self._batches(progress.step)
        for step in range(progress.step, total):
            if progress.stopped:
                break
            began = time.perf_counter()
            group = [next(batches) for _ in self.plan.steps[step]]
            entry = self._step(group, step, total)
            epoch_ends = step + 1 in self.plan.epoch_ends
            if epoch_ends and len(self.val_set):
                # Shared-out weights are put together by all processes in step, so all of them validate.
                own = self._validate() if self.world.leads or self.sharded else 0.0
                entry["val_loss"] = self.world.from_leader(own, self.device)
            seconds = time.perf_counter() - began
            progress.step, progress.seconds = step + 1, progress.seconds + seconds
            entry |= {"samples_per_s": sum(map(len, self.plan.steps[step])) / seconds, "seconds": progress.seconds}
            if self.device.type == "cuda":
                entry["gpu_memory_gb"] = torch.cuda.max_memory_allocated(self.device) / 1e9
            progress.curve.append(entry)
            self._log(entry)
            if "val_loss" in entry and self.settings.early_stop_epochs:
                self._judge(progress, entry["val_loss"])
            if epoch_ends and self.on_epoch is not None and self.world.leads:
                self.on_epoch(self.model, self.tokenizer, int(entry["epoch"]))
            if (step + 1) % self.settings.save_every_steps == 0 and step + 1 < total:
                self._save(progress)

    def _step(self, group: Sequence[Batch | None], step: int, total: int) -> dict[str, float]:
        rate = learning_rate_at(step, total, self.settings.learning_rate, self.settings.warmup_fraction)
        for part in self.optimiser.param_groups:
            part["lr"] = rate * part["share"]
        if not self.model.training:
            # Walks all modules, which takes a tiny model as long as a part of its step.
            self.model.train()
        tokens = self.world.summed(sum(batch.n_answer_tokens for batch in group if batch), self.device)
        loss_sum = 0.0
        for batch in group:
            if batch is not None:
                loss_sum += self._backward(batch, tokens)
            elif self.sharded:
                self._backward(self._silent(), tokens)
        loss_sum = self.world.summed(loss_sum, self.device)
        if not self.sharded:
            self.world.sum_gradients(self.parameters.values())
        if not math.isfinite(loss_sum):
            raise TrainingError(
                f"stage {self.stage}, step {step + 1}: expected a finite loss, got {loss_sum}: lower learning_rate"
            )
        norm = as_number(nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.clip_norm))
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        epoch = self.plan.steps[step][0][0][0]
        return {"step": step + 1, "epoch": epoch + 1, "loss": loss_sum, "learning_rate": rate, "grad_norm": norm}

    def _backward(self, batch: Batch, tokens: float) -> float:
        """Adds a batch's gradients to the parameters' and returns its share of the loss."""
        if self._pool is None:
            loss = self._loss(batch) / tokens
            # FSDP averages over processes what is to be added up.
            (loss * (self.world.size if self.sharded else 1)).backward()
            return loss.item()

        def part(rows: Batch) -> tuple[float, Sequence[Tensor | None]]:
            loss = self._loss(rows) / tokens
            return loss.item(), torch.autograd.grad(loss, parameters, allow_unused=True)

        parameters = list(self.parameters.values())
        loss_sum = 0.0
        # In the order of the parts, whichever ends first.
        for share, gradients in self._pool.map(part, batch.parts(self.settings.cpu_parts)):
            loss_sum += share
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
        return loss_sum

    def _silent(self) -> Batch:
        """A sample without answer, for a process that has none where all must go through the model together."""
        batch = collate([self.train_set[0]], self.tokenizer.pad_id)
        return replace(batch, labels=torch.full_like(batch.labels, LABEL_IGNORED))

    def _loss(self, batch: Batch) -> Tensor:
        batch = batch.to(self.device)
        with self._autocast():
            return self.model(batch.input_ids, batch.attention_mask, batch.images, batch.focal, batch.labels)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.settings.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _validate(self) -> float:
        self.model.eval()
        total, tokens = 0.0, 0
        with torch.no_grad():
            for start in range(0, len(self.val_set), self.settings.batch_size):
                items = [
                    self.val_set[i] for i in range(start, min(start + self.settings.batch_size, len(self.val_set)))
                ]
                batch = collate(items, self.tokenizer.pad_id)
                total += float(self._loss(batch))
                tokens += batch.n_answer_tokens
        return total / tokens

    def _batches(self, from_step: int) -> Iterator[Batch | None]:
        """This process's share of every batch; None where it has none."""
        keys = [self.world.share(batch) for step in self.plan.steps[from_step:] for batch in step]
        make = partial(_collate_share, pad_id=self.tokenizer.pad_id)
        if not self.settings.workers:
            # A thread and no process: it shares the exam cache, and nothing is forked in a process that has threads.
            return made_ahead(keys, lambda batch: make([self.train_set[key] for key in batch]))
        loader: DataLoader[Any] = DataLoader(
            self.train_set,
            batch_sampler=keys,  # type: ignore[arg-type]  # torch types it as lists of int; ours are (epoch, position)
            collate_fn=make,
            num_workers=self.settings.workers,
            pin_memory=self.device.type == "cuda",
            prefetch_factor=4,
        )
        return iter(loader)

    def _judge(self, progress: _Progress, val_loss: float) -> None:
        if progress.best_val_loss is None or val_loss < progress.best_val_loss:
            progress.best_val_loss, progress.epochs_since_best = val_loss, 0
            weights = self._trained()
            if self.world.leads:
                write_folder_atomically(self.best_dir, lambda part: save_file(weights, str(part / _WEIGHTS)))
            return
        progress.epochs_since_best += 1
        progress.stopped = progress.epochs_since_best >= self.settings.early_stop_epochs

    def _trained(self) -> dict[str, Tensor]:
        """What the stage trains, on the CPU; empty in a process that does not lead where weights are shared out."""
        if self.sharded:
            return {n: t.contiguous() for n, t in whole_weights(self.model).items() if n in self.parameters}
        return {n: p.detach().contiguous().cpu() for n, p in self.parameters.items()}

    def _save(self, progress: _Progress) -> None:
        if not (self.world.leads or self.sharded):
            return
        weights = self._trained()
        state = whole_optimiser(self.model, self.optimiser) if self.sharded else self.optimiser.state_dict()
        if not self.world.leads:
            return

        def write(part: Path) -> None:
            save_file(weights, str(part / _WEIGHTS))
            torch.save(state, part / _OPTIMISER)
            (part / _PROGRESS).write_text(json.dumps({"identity": self.identity, **asdict(progress)}))

        write_folder_atomically(self.state_dir, write)

    def _put(self, folder: Path, source: str) -> None:
        """Puts the trained weights of a folder into the model; what the stage freezes is as it started."""
        weights = read_tensors(folder / _WEIGHTS)
        if self.sharded:
            put_weights(self.model, weights)
        else:
            load_weights(self.model, weights, allow_missing=True, source=source)

    def _resume(self) -> _Progress:
        """The saved state of this very run, put into model and optimiser; a fresh one where there is none."""
        recover_folder(self.state_dir)
        path = self.state_dir / _PROGRESS
        stored = json.loads(path.read_text()) if path.is_file() else {}
        if stored.pop("identity", None) != self.identity:
            # Another run's best epoch must not end as this one's.
            self.world.wait()
            self.forget()
            return _Progress(seconds=self.prepared_s)
        self._put(self.state_dir, "the saved state")
        state = torch.load(self.state_dir / _OPTIMISER, map_location=self.device, weights_only=True)
        if self.sharded:
            put_optimiser(self.model, self.optimiser, state)
        else:
            self.optimiser.load_state_dict(state)
        return _Progress(**stored)

    def _begin_log(self, progress: _Progress) -> None:
        if not self.world.leads:
            return
        self.log_path.write_text("".join(json.dumps(entry) + "\n" for entry in progress.curve))

    def _log(self, entry: dict[str, float]) -> None:
        if not self.world.leads:
            return
        with self.log_path.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        if self.on_step is not None:
            self.on_step(entry)

    def forget(self) -> None:
        """Drops the saved state once the checkpoint is there."""
        if not self.world.leads:
            return
        shutil.rmtree(self.state_dir, ignore_errors=True)
        shutil.rmtree(self.best_dir, ignore_errors=True)
