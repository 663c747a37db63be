"""Samples a second from a warm exam cache, and training throughput of `tiny` beside a plain loop.

Run: python -m benchmarks.model_inputs [--exams 4] [--rounds 3]. The input figures are CPU time of one core. The
throughput is by the clock, in turns: a stage as it is trained (fused attention, inputs made ahead by a thread, the
parts of a batch side by side), and the same model with MONAI's plain attention and inputs made in the main process,
once with one thread and once with as many as there are cores. Meant for a quiet machine.
"""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl
import torch
import typer

from model.inputs.tensors import LesionDataset, LesionImages, collate
from model.inputs.threads import limited_threads
from model.petar.checkpoints import build_model
from model.petar.config import ModelConfig, preset, training_settings
from model.petar.tokenizer import train_tokenizer
from model.training.request import StageRequest, StageSamples
from model.training.train import train_stage
from pipelines.imaging.volume import Volume, save_nifti
from pipelines.tables.home import Home
from pipelines.tables.schemas import frame

BATCH, WARM_STEPS = 16, 10
SHAPE, SPACING_MM = (200, 200, 335), (3.65, 3.65, 3.27)
"""A whole-body PET as scanners store it."""


def write_lake(home: Path, n_exams: int) -> pl.DataFrame:
    """Samples of noise with four boxes an exam, from a lesion's size to an organ's; as the lake stores them."""
    rng = np.random.default_rng(0)
    affine = np.diag([*SPACING_MM, 1.0])
    rows = []
    for e in range(n_exams):
        pet = rng.random(SHAPE, dtype=np.float32)
        save_nifti(Volume(pet, affine), home / f"volumes/{e}/SUV.nii")
        save_nifti(Volume((pet * 1000 - 500).astype(np.int16), affine), home / f"volumes/{e}/CT.nii")
        for n in range(4):
            size = (4, 8, 20, 40)[n]
            corner = rng.integers(20, 150, 3)
            moved = affine.copy()
            moved[:3, 3] = affine[:3, :3] @ corner
            save_nifti(Volume(np.ones((size,) * 3, np.uint8), moved), home / f"masks/{e}/{n}.nii.gz")
            rows.append(
                {
                    "sample_id": f"{e}:{n}",
                    "kind": "finding",
                    "finding_id": f"{e}:{n}",
                    "exam_id": str(e),
                    "patient_id": str(e),
                    "split": "train",
                    "question": "Please describe the region highlighted in the PET image.",
                    "target": "Region: Chest. Organ: lung. Laterality: left.",
                    "suv_path": f"volumes/{e}/SUV.nii",
                    "ct_path": f"volumes/{e}/CT.nii",
                    "mask_path": f"masks/{e}/{n}.nii.gz",
                    "mask_label": 1,
                }
            )
    return frame("samples", rows)


def cpu_seconds(run: Callable[[], object], times: int) -> float:
    """CPU seconds of one run, after one that warms up."""
    run()
    start = time.process_time()
    for _ in range(times):
        run()
    return (time.process_time() - start) / times


def input_rate(samples: pl.DataFrame, config: ModelConfig, home: Path) -> float:
    """Samples a second of one core."""
    images, rng = LesionImages(Home(home), config), np.random.default_rng(0)
    rows = samples.to_dicts()
    return len(rows) / cpu_seconds(lambda: [images.tensors(row, rng) for row in rows], 3)


def stage_rate(samples: pl.DataFrame, home: Path, steps: int) -> float:
    """Samples a second of `train_stage` with the preset's settings, waiting for inputs included, without its first
    steps.
    """
    settings = training_settings(
        "tiny", "findings_full", epochs=steps, samples_per_epoch=0, language_steps=0, validation_samples=0,
        save_every_s=3600.0,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as out:
        data = StageSamples(samples, samples.clear(), Home(home))
        result = train_stage(StageRequest("findings_full", data, preset("tiny"), settings, Path(out)))
    curve = result.curve
    return BATCH * (len(curve) - WARM_STEPS) / (curve[-1]["seconds"] - curve[WARM_STEPS - 1]["seconds"])


def plain_rate(samples: pl.DataFrame, home: Path, steps: int, threads: int) -> float:
    """Samples a second of a plain loop: MONAI's plain attention, inputs made in the main process."""
    config = preset("tiny")
    config = replace(config, vision=replace(config.vision, attention="plain"))
    tokenizer = train_tokenizer(samples["target"].to_list(), config.language.vocab_size)
    data = LesionDataset(samples, config, tokenizer, Home(home), seed=0)
    torch.manual_seed(0)
    model = build_model(config, tokenizer)
    optimiser = torch.optim.AdamW(model.parameters())
    began = 0.0
    with limited_threads(threads):
        for step in range(steps):
            if step == WARM_STEPS:
                began = time.perf_counter()
            batch = collate([data[(step, i % len(data))] for i in range(BATCH)], tokenizer.pad_id)
            loss = model(batch.input_ids, batch.attention_mask, batch.images, batch.focal, batch.labels)
            (loss / batch.n_answer_tokens).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
    return BATCH * (steps - WARM_STEPS) / (time.perf_counter() - began)


def main(exams: int = 4, rounds: int = 3, steps: int = 50) -> None:
    """Prints the figures."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        samples = write_lake(home, exams)
        with limited_threads(1):
            for name in ("tiny", "petar-4b"):
                for crop in ("whole", "around"):
                    config = preset(name)
                    config = replace(config, inputs=replace(config.inputs, global_crop=crop))
                    print(
                        f"inputs {name:<9}{crop:<7}{input_rate(samples, config, home):7.1f} samples/s a core",
                        flush=True,
                    )
        cores = len(os.sched_getaffinity(0))
        rates: dict[str, list[float]] = {}
        for _ in range(rounds):
            rates.setdefault("stage", []).append(stage_rate(samples, home, steps))
            for threads in sorted({1, cores}):
                rate = plain_rate(samples, home, steps, threads)
                rates.setdefault(f"plain, {threads} threads", []).append(rate)
        ours = median(rates["stage"])
        for name, found in rates.items():
            each = ", ".join(f"{rate:.0f}" for rate in found)
            print(f"{name:<18}{median(found):6.0f} samples/s ({each}); the stage is {ours / median(found):.2f}x")


if __name__ == "__main__":
    typer.run(main)
