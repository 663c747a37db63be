"""Training on a GPU: samples a second, memory and model FLOPs utilisation of full finetuning and LoRA over batch and
recomputation of activations, compiled blocks at the best point, and a stage with its loader.

Run: python -m benchmarks.gpu [--preset petar-4b] [--length 330] [--seconds 480] [--json FILE]. Weights are random and
images made up, as large as real ones: neither changes how long a step takes. Needs torch >= 2.11, transformers >= 5.17,
MONAI and PEFT; of this project nothing that reads tables or images. Without a GPU `--preset tiny` runs on the CPU, and
gives no utilisation there. Whatever is measured is in FILE at once, so that a run that is cut off leaves what it has.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader, Dataset

from model.petar.architecture import Petar, language_model
from model.petar.config import ModelConfig, TrainingSettings, preset, training_settings
from model.petar.lora import add_lora
from model.training.compiled import compile_blocks
from model.training.flops import peak_flops, training_flops
from model.training.memory import memory_plan, presets_that_fit
from model.training.optimiser import make_optimiser
from model.training.stages import freeze_for, prepare_for_training, set_recompute

ANSWER_TOKENS = 64
LORA_RANK = 16
BATCHES = (1, 2, 4, 8, 16, 32)
_IMAGE_TOKEN = 5
_IGNORED = -100
VOLUME = (350, 200, 200)
"""Voxels (z, y, x) of a whole-body exam on 3 mm, from which the loader cuts."""


@dataclass(frozen=True)
class Point:
    """What is measured: a way of training at a batch."""

    way: str
    """`full` or `lora`."""
    batch: int
    recompute: bool
    compiled: bool = False
    loader: bool = False


@dataclass(frozen=True)
class Measured:
    """What a point takes on a device."""

    point: Point
    preset: str
    device: str
    length: int
    ran: bool
    step_s: float | None = None
    """Median of the steps."""
    samples_per_s: float | None = None
    tokens_per_s: float | None = None
    memory_gb: float | None = None
    """Largest that was allocated; None on a CPU."""
    planned_gb: float = 0.0
    tflops_per_s: float | None = None
    mfu: float | None = None
    """Part of the device's dense bfloat16 peak, recomputed activations not counted; None where that is not known."""
    note: str = ""

    def line(self) -> str:
        """One line for the terminal."""
        p = self.point
        marks = " ".join(name for name in ("recompute", "compiled", "loader") if getattr(p, name))
        head = f"{p.way:<5}{self.preset:<9} batch {p.batch:<3}{marks:<20}"
        if not self.ran:
            return head + self.note
        memory = "" if self.memory_gb is None else f", {self.memory_gb:.1f} GB (planned {self.planned_gb:.1f})"
        mfu = "" if self.mfu is None else f", {self.mfu:.1%} of the peak"
        return (
            f"{head}{self.step_s:.4f} s a step, {self.samples_per_s:.2f} samples/s, {self.tokens_per_s:,.0f} tokens/s"
            f"{memory}, {self.tflops_per_s:.2f} TFLOP/s{mfu}"
        )


@dataclass(frozen=True)
class Inputs:
    """A made-up batch."""

    ids: Tensor
    labels: Tensor
    images: Tensor
    focal: Tensor

    def to(self, device: torch.device) -> "Inputs":
        """The batch on a device."""
        return Inputs(*(t.to(device, non_blocking=True) for t in (self.ids, self.labels, self.images, self.focal)))


class MadeUpSamples(Dataset[Inputs]):
    """Samples of `length` tokens whose last ones are answers; their crops are cut from a volume and resized.

    Raises:
        ValueError: `length` leaves no room for the image tokens and an answer.
    """

    def __init__(self, config: ModelConfig, length: int, n: int) -> None:
        self.answer = min(ANSWER_TOKENS, length // 4)
        if length < config.n_visual_tokens + self.answer + 1:
            least = config.n_visual_tokens + self.answer + 1
            raise ValueError(
                f"expected at least {least} tokens for {config.n_visual_tokens} image tokens, got {length}"
            )
        self.config, self.length, self.n = config, length, n
        self.volume = torch.zeros(3, *VOLUME)

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Inputs:
        generator = torch.Generator().manual_seed(index)
        ids = torch.randint(_IMAGE_TOKEN + 1, self.config.language.vocab_size, (self.length,), generator=generator)
        ids[1 : 1 + self.config.n_visual_tokens] = _IMAGE_TOKEN
        labels = torch.full_like(ids, _IGNORED)
        labels[-self.answer :] = ids[-self.answer :]
        start = int(torch.randint(0, VOLUME[0] - 161, (1,), generator=generator))
        cuts = self.volume[:, start : start + 161], self.volume[:, start : start + 48, 60:108, 60:108]
        shape = self.config.vision.image_shape
        images, focal = (interpolate(cut[None], shape, mode="trilinear")[0] for cut in cuts)
        return Inputs(ids, labels, images, focal)


def together(samples: Sequence[Inputs]) -> Inputs:
    """Samples as one batch."""
    return Inputs(*(torch.stack([getattr(s, name) for s in samples]) for name in ("ids", "labels", "images", "focal")))


class Bench:
    """The model of a way of training on a device, built once for all its points.

    Args:
        way: `full` or `lora`.
        config: the model.
        device: where it is trained.
        length: tokens of a sample.
    """

    def __init__(self, way: str, config: ModelConfig, device: torch.device, length: int) -> None:
        self.way, self.config, self.device, self.length = way, config, device, length
        self.settings = training_settings(config.name, "findings_full", lora_rank=LORA_RANK if way == "lora" else 0)
        self.name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        # Built where it will live: 4 B random weights on the CPU first would take minutes.
        with torch.device(device):
            self.model = Petar(config, language_model(config.language, config.language.vocab_size), _IMAGE_TOKEN)
            if self.settings.lora_rank:
                add_lora(self.model, self.settings.lora_rank, self.settings.lora_alpha)
        freeze_for(self.model, "findings_full")
        prepare_for_training(self.model, replace(self.settings, recompute_activations=True))
        self.model.train()
        self.parameters = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        self.optimiser = make_optimiser(self.parameters, self.settings)

    def measure(self, point: Point, steps: int, warm: int) -> Measured:
        """A point by the clock; one that does not fit the device is told as such."""
        settings = replace(self.settings, batch_size=point.batch, recompute_activations=point.recompute)
        planned = memory_plan(self.config, settings, length=self.length).total_gb
        blank = Measured(point, self.config.name, self.name, self.length, False, planned_gb=planned)
        try:
            seconds, memory_gb = self.time_steps(point, settings, steps, warm)
        except torch.cuda.OutOfMemoryError:
            self.optimiser.zero_grad(set_to_none=True)
            return replace(blank, note=out_of_memory(self.device, planned))
        answer = min(ANSWER_TOKENS, self.length // 4)
        flops = point.batch * training_flops(self.config, self.length, answer, lora=self.way == "lora")
        peak = peak_flops(self.name)
        return replace(
            blank,
            ran=True,
            step_s=seconds,
            samples_per_s=point.batch / seconds,
            tokens_per_s=point.batch * self.length / seconds,
            memory_gb=memory_gb,
            tflops_per_s=flops / seconds / 1e12,
            mfu=None if peak is None else flops / seconds / peak,
        )

    def time_steps(self, point: Point, settings: TrainingSettings, steps: int, warm: int) -> tuple[float, float | None]:
        """(median seconds of a step, largest allocated GB or None on a CPU) of a point."""
        set_recompute(self.model, point.recompute)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        batches = self._batches(point, settings, warm + steps)
        moments = []
        for batch in batches:
            self._step(batch, settings)
            self._wait()
            moments.append(time.perf_counter())
        took = [b - a for a, b in pairwise(moments)][max(warm - 1, 0) :]
        peak = torch.cuda.max_memory_allocated(self.device) / 1e9 if self.device.type == "cuda" else None
        return statistics.median(took), peak

    def _batches(self, point: Point, settings: TrainingSettings, n: int) -> Iterator[Inputs]:
        samples = MadeUpSamples(self.config, self.length, n * point.batch)
        if not point.loader:
            one = together([samples[i] for i in range(point.batch)]).to(self.device)
            yield from (one for _ in range(n))
            return
        loader: DataLoader[Inputs] = DataLoader(
            samples, point.batch, num_workers=settings.workers, collate_fn=together, pin_memory=False
        )
        yield from (batch.to(self.device) for batch in loader)

    def _step(self, batch: Inputs, settings: TrainingSettings) -> None:
        focal = batch.focal if self.config.use_focal else None
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=settings.precision == "bfloat16"):
            loss = self.model(batch.ids, torch.ones_like(batch.ids), batch.images, focal, batch.labels)
        (loss / (batch.labels != _IGNORED).sum()).backward()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), settings.clip_norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def out_of_memory(device: torch.device, planned_gb: float) -> str:
    """What a device that is too small would hold."""
    memory_gb = torch.cuda.get_device_properties(device).total_memory / 1e9
    fitting = ", ".join(presets_that_fit(memory_gb)) or "none"
    return f"out of memory ({memory_gb:.0f} GB, planned {planned_gb:.0f}); fits: {fitting}"


def sweep(bench: Bench, steps: int, warm: int, deadline: float) -> Iterator[Measured]:
    """Every batch without and with recomputation until it does not fit, then the best one compiled and with a loader.

    Args:
        bench: the model.
        steps: that are timed.
        warm: steps before them.
        deadline: of `time.monotonic`; a point that would pass it by twice the last one's time is left out.
    """
    best: Measured | None = None
    for recompute in (False, True):
        last = 0.0
        for batch in BATCHES:
            if time.monotonic() + 2 * last > deadline:
                break
            began = time.monotonic()
            found = bench.measure(Point(bench.way, batch, recompute), steps, warm)
            last = time.monotonic() - began
            yield found
            if not found.ran:
                break
            if best is None or (found.samples_per_s or 0) > (best.samples_per_s or 0):
                best = found
    if best is None:
        return
    yield bench.measure(replace(best.point, loader=True), steps, warm)
    if time.monotonic() < deadline:
        compile_blocks(bench.model)
        yield bench.measure(replace(best.point, compiled=True), steps, warm)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a line a point; exit code 0, or 2 for arguments that do not fit."""
    has_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser("python -m benchmarks.gpu", description="Training on a GPU.")
    parser.add_argument("--preset", default="petar-4b" if has_gpu else "tiny")
    parser.add_argument("--ways", default="full,lora")
    parser.add_argument("--length", type=int, default=330, help="tokens of a sample, image tokens included")
    parser.add_argument("--steps", type=int, default=20, help="of which the median is taken")
    parser.add_argument("--warm", type=int, default=5, help="steps before them")
    parser.add_argument("--seconds", type=float, default=450.0, help="after which no further point is begun")
    parser.add_argument("--device", default="cuda" if has_gpu else "cpu")
    parser.add_argument("--json", type=Path, help="file of all points")
    options = parser.parse_args(arguments)
    config, device = preset(options.preset), torch.device(options.device)
    length = min(options.length, config.max_length)
    ways = options.ways.split(",")
    began, found = time.monotonic(), []
    for n, way in enumerate(ways, start=1):
        deadline = began + options.seconds * n / len(ways)
        bench = Bench(way, config, device, length)
        for one in sweep(bench, options.steps, options.warm, deadline):
            print(one.line(), flush=True)
            found.append(asdict(one))
            if options.json:
                options.json.write_text(json.dumps(found, indent=1))
        del bench
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main())
