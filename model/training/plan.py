"""What a stage of training will take: parameters, memory of each process, hours."""

import time
from dataclasses import dataclass

import polars as pl
import torch

from model.petar.config import ModelConfig, TrainingSettings, TrainingStage
from model.training.flops import peak_flops, training_flops
from model.training.memory import MemoryPlan, memory_plan
from model.training.provenance import sample_kinds
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake

UTILISATION = 0.4
"""Part of a device's peak that training is planned to reach. Source: PaLM (Chowdhery 2022) reached 0.46."""

_TEXT_TOKENS, _ANSWER_TOKENS = 72, 64
"""Of a sample beside the image tokens, and of its answer: with 256 image tokens about 330 in all, as in PETARSeg-11K.
"""
_MATMUL = 1024


@dataclass(frozen=True)
class StagePlan:
    """A stage of training before it is started."""

    memory: MemoryPlan
    processes: int
    samples_per_s: float
    """Over all processes, as planned."""
    epochs: int
    samples_per_epoch: int | None
    """None where the lake holds no samples yet."""

    @property
    def hours(self) -> float | None:
        """Of all epochs; None where the samples are not known."""
        if self.samples_per_epoch is None:
            return None
        return self.epochs * self.samples_per_epoch / self.samples_per_s / 3600

    def summary(self) -> str:
        """A few lines for a terminal."""
        if self.hours is None:
            took = f"{1000 * self.epochs / self.samples_per_s / 3600:.2g} h for {self.epochs} epochs of 1,000 samples"
        else:
            took = f"{self.hours:.2g} h for {self.epochs} epochs of {self.samples_per_epoch:,} samples"
        several = "processes" if self.processes > 1 else "process"
        return (
            f"{self.memory.summary()}\n"
            f"time: about {took} ({self.samples_per_s:.3g} samples/s by {self.processes} {several}, at "
            f"{UTILISATION:.0%} of the device's peak)"
        )


def stage_plan(
    config: ModelConfig,
    settings: TrainingSettings,
    stage: TrainingStage,
    device: torch.device,
    processes: int,
    home: Home,
) -> StagePlan:
    """The plan of a stage; nothing is built or read but the samples' table.

    Args:
        config: the model.
        settings: of the stage.
        stage: which one.
        device: of each process.
        processes: how many train together, >= 1.
        home: whose lake holds the samples, if there are any yet.
    """
    length = min(config.n_visual_tokens + _TEXT_TOKENS, config.max_length)
    flops = training_flops(config, length, min(_ANSWER_TOKENS, length), lora=settings.lora_rank > 0)
    rate = processes * UTILISATION * _device_flops(device) / flops
    lake, epoch = Lake(home.lake), None
    if lake.has_shard("samples"):
        of_stage = pl.col("kind").is_in(sample_kinds(stage))
        rows = lake.read_table("samples").filter(pl.col("split") == "train", of_stage)
        epoch = min(rows.height, settings.samples_per_epoch or rows.height)
    memory = memory_plan(config, settings, stage, length, processes=processes)
    return StagePlan(memory, processes, rate, settings.epochs, epoch)


def _device_flops(device: torch.device) -> float:
    """Operations a second at a device's peak: from the table of GPUs, else a product of matrices by the clock."""
    if device.type == "cuda" and (peak := peak_flops(torch.cuda.get_device_name(device))) is not None:
        return peak
    a = torch.rand(_MATMUL, _MATMUL, device=device)
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        # A number leaves the device only when it is computed.
        float((a @ a)[0, 0])
        best = min(best, time.perf_counter() - began)
    return 2 * _MATMUL**3 / best
