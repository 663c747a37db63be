"""Samples a second from a warm exam cache, and what fused attention and input workers bring to a training step.

Run: python -m benchmarks.model_inputs [--exams 4]. One thread; figures are CPU time, so a busy machine tells the same.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import torch

from model.checkpoints import build_model
from model.config import ModelConfig, preset
from model.inputs import LesionDataset, LesionImages, collate
from model.tokenizer import train_tokenizer
from pipelines.imaging.volume import Volume, save_nifti
from pipelines.schemas import frame

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
    images, rng = LesionImages(home, config), np.random.default_rng(0)
    rows = samples.to_dicts()
    return len(rows) / cpu_seconds(lambda: [images.tensors(row, rng) for row in rows], 3)


def step_seconds(samples: pl.DataFrame, config: ModelConfig, home: Path, *, inputs_beside: bool) -> float:
    """CPU seconds that the training process spends on a batch of 16; beside: workers make the inputs meanwhile."""
    tokenizer = train_tokenizer(samples["target"].to_list(), config.language.vocab_size)
    data = LesionDataset(samples, config, tokenizer, home, seed=0)
    torch.manual_seed(0)
    model = build_model(config, tokenizer)
    optimiser = torch.optim.AdamW(model.parameters())
    ready = collate([data[i % len(data)] for i in range(16)], tokenizer.pad_id)

    def step() -> None:
        batch = ready if inputs_beside else collate([data[i % len(data)] for i in range(16)], tokenizer.pad_id)
        model(batch.input_ids, batch.attention_mask, batch.images, batch.focal, batch.labels).backward()
        optimiser.step()
        optimiser.zero_grad()

    return cpu_seconds(step, 5)


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exams", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        samples = write_lake(home, options.exams)
        for name in ("tiny", "petar-4b"):
            for crop in ("whole", "around"):
                config = preset(name)
                config = replace(config, inputs=replace(config.inputs, global_crop=crop))
                print(f"inputs {name:<9}{crop:<7}{input_rate(samples, config, home):7.1f} samples/s a core")
        tiny = preset("tiny")
        plain = replace(tiny, vision=replace(tiny.vision, attention="plain"))
        ours = step_seconds(samples, tiny, home, inputs_beside=True)
        theirs = step_seconds(samples, plain, home, inputs_beside=False)
        print(f"step of 16: {ours * 1e3:.0f} ms, with plain attention and inputs in the process {theirs * 1e3:.0f} ms")
        print(f"training throughput: {theirs / ours:.2f}x")


if __name__ == "__main__":
    main()
