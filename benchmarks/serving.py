"""CPU time of eight questions that come together, against the same asked one after the other.

Run: python -m benchmarks.serving [--exams 8] [--tokens 64] [--preset tiny]. Each time by a server that has seen nothing
yet, with questions about one lesion, about the lesions of one exam, and about one lesion of each of eight exams (PET of
200 x 200 x 335 voxels, the CT on its grid, or finer: `--ct own`). CPU time of the process, so that other work beside
changes little; HTTP is left out.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import polars as pl
import torch
import typer

from benchmarks.model_inputs import write_lake
from model.petar.checkpoints import Checkpoint, Contract, LoadReport, build_model
from model.petar.config import preset
from model.petar.tokenizer import train_tokenizer
from model.serving.server import Service
from pipelines.imaging.volume import Volume, load_nifti, save_nifti

QUESTION = "Please describe the region highlighted in the PET image."
N = 8


def random_checkpoint(preset_name: str, texts: Sequence[str]) -> Checkpoint:
    """A checkpoint of random weights."""
    config = preset(preset_name)
    tokenizer = train_tokenizer([QUESTION, *texts], config.language.vocab_size)
    torch.manual_seed(0)
    return Checkpoint(build_model(config, tokenizer), tokenizer, Contract(config), LoadReport((), (), ()), Path())


def request(row: Mapping[str, Any], tokens: int) -> dict[str, Any]:
    """A chat request about a sample."""
    images = {name: {"path": row[f"{name}_path"]} for name in ("pet", "ct", "mask")}
    return {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": tokens, **images}


def seconds(service: Service, asked: Sequence[Mapping[str, Any]], at_once: int) -> float:
    """CPU seconds of the questions, so many at a time."""
    with ThreadPoolExecutor(at_once) as pool:
        start = time.process_time()
        list(pool.map(service.chat, asked))
        return time.process_time() - start


def finer(folder: Path, row: Mapping[str, Any]) -> None:
    """Writes the exam's CT anew, on a grid of its own."""
    path = folder / row["ct_path"]
    ct = load_nifti(path)
    affine = ct.affine @ np.diag([0.5, 0.5, 1.0, 1.0])
    save_nifti(Volume(np.repeat(np.repeat(np.asarray(ct.array), 2, 0), 2, 1), affine), path)


def main(
    exams: int = N,
    tokens: int = 64,
    rounds: int = 3,
    preset_name: Annotated[str, typer.Option("--preset")] = "tiny",
    ct: Annotated[str, typer.Option(help="pet: the CT on the PET's grid; own: finer.")] = "pet",
) -> None:
    """Prints the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        samples = write_lake(folder, exams).rename({"suv_path": "pet_path"})
        first = samples.unique("exam_id", maintain_order=True).to_dicts()
        if ct == "own":
            for row in first:
                finer(folder, row)
        checkpoint = random_checkpoint(preset_name, samples["target"].to_list())
        sets: dict[str, list[dict[str, Any]]] = {
            "one lesion": first[:1] * N,
            "one exam": (samples.filter(pl.col("exam_id") == "0").to_dicts() * N)[:N],
            "eight exams": (first * N)[:N],
        }
        seconds(Service(checkpoint, "petar", folder), [request(first[0], tokens)], 1)
        for what, rows in sets.items():
            asked = [request(row, tokens) for row in rows]
            found = [
                [seconds(Service(checkpoint, "petar", folder), asked, size) / N for size in (1, N)]
                for _ in range(rounds)
            ]
            alone, together = (median(pair[i] for pair in found) for i in (0, 1))
            print(f"{what:<12}{alone:7.3f} s each alone, {together:6.3f} at once, {alone / together:5.1f}x", flush=True)


if __name__ == "__main__":
    typer.run(main)
