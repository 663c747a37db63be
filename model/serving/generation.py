"""Texts for lesions: greedy answers in batches, with the measured numbers put in place of generated ones."""

import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist

from model.inputs.crops import MaskBox
from model.inputs.numbers import Measured, measured_of, put_in_measured
from model.inputs.tensors import ExamImages, Item, LesionDataset, LesionImages, collate, place_mask
from model.inputs.threads import limited_threads
from model.petar.checkpoints import Checkpoint, load_checkpoint
from pipelines.imaging.volume import Volume, resample_to
from pipelines.tables.home import Home
from pipelines.tables.schemas import frame

log = logging.getLogger(__name__)

_SMALL_MODEL = 10_000_000


def answer(
    checkpoint: Checkpoint, items: list[Item], *, max_new_tokens: int = 128, device: torch.device | None = None
) -> list[str]:
    """The model's greedy answers to some samples, as one batch padded on the left."""
    tokenizer = checkpoint.tokenizer
    device = device or torch.device("cpu")
    batch = collate(items, tokenizer.pad_id, pad_left=True).to(device)
    model = checkpoint.model.to(device).eval()
    room = model.config.language.max_positions - batch.input_ids.shape[1]
    # One thread for a tiny model: see `limited_threads`.
    small = sum(p.numel() for p in model.parameters()) < _SMALL_MODEL
    with limited_threads(1 if small else 0):
        tokens = model.generate(
            batch.input_ids,
            batch.attention_mask,
            batch.images,
            batch.focal,
            max_new_tokens=min(max_new_tokens, room),
            eos_id=tokenizer.eos_id,
            pad_id=tokenizer.pad_id,
        )
    return [tokenizer.decode(row.tolist()) for row in tokens]


@dataclass(frozen=True)
class Decoding:
    """How texts are generated."""

    batch_size: int = 16
    """Lesions at once."""
    max_new_tokens: int = 128
    device: str = "cpu"


def generate(
    samples: pl.DataFrame,
    checkpoint: Path | Checkpoint,
    home: Home,
    decoding: Decoding = Decoding(),
    *,
    model_name: str | None = None,
    on_problem: Callable[[str, str], None] | None = None,
) -> pl.DataFrame:
    """A row of `predictions` for every finding of the samples, in their order.

    `text` is the model's answer, `text_measured` the same with the lesion's measured numbers. A sample that cannot
    become inputs has null texts and is logged; the others are described.

    Args:
        samples: rows of the table `samples`.
        checkpoint: the model, or its folder.
        home: the paths in the rows are relative to its root.
        decoding: batch size, length and device.
        model_name: of the rows; None: `petar-<preset>`.
        on_problem: called with sample id and message of a sample that cannot become inputs.
    """
    loaded = checkpoint if isinstance(checkpoint, Checkpoint) else load_checkpoint(Path(checkpoint))
    data = LesionDataset(samples, loaded.contract.config, loaded.tokenizer, home, answers=False)
    texts: dict[int, str] = {}
    for start in range(0, len(data), decoding.batch_size):
        items = []
        for index in range(start, min(start + decoding.batch_size, len(data))):
            try:
                items.append(data[index])
            except (ValueError, OSError) as error:
                sample_id = data.rows[index]["sample_id"]
                log.warning("not described: %s", error)
                if on_problem is not None:
                    on_problem(sample_id, str(error))
        if items:
            answers = answer(
                loaded, items, max_new_tokens=decoding.max_new_tokens, device=torch.device(decoding.device)
            )
            texts |= {item.index: text for item, text in zip(items, answers)}
    name = model_name or f"petar-{loaded.contract.config.name}".replace("petar-petar", "petar")
    rows = [
        {
            "finding_id": row.get("finding_id") or row["sample_id"],
            "exam_id": row["exam_id"],
            "patient_id": row["patient_id"],
            "split": row["split"],
            "model": name,
            "text": texts.get(index),
            "text_measured": put_in_measured(texts[index], measured_of(row)) if index in texts else None,
            "reference": row["target"],
            "checkpoint": str(loaded.folder),
        }
        for index, row in enumerate(data.rows)
    ]
    return frame("predictions", rows)


@dataclass(frozen=True)
class Description:
    """What the model says of one lesion, and what was measured on its mask."""

    text: str
    text_measured: str
    measured: Measured


def measure(pet: Volume, mask: MaskBox) -> Measured:
    """SUVmax, SUVmean, slice of the maximum (from the head, 1-based), volume in mL and largest 3D diameter in mm of a
    mask.
    """
    box = tuple(slice(o, o + n) for o, n in zip(mask.origin, mask.array.shape))
    values = np.where(mask.array > 0, np.asarray(pet.array[box], dtype=np.float64), -np.inf)
    peak_k = int(np.unravel_index(int(values.argmax()), values.shape)[2]) + mask.origin[2]
    inside = values[np.isfinite(values)]
    return Measured(
        suvmax=float(inside.max()),
        suvmean=float(inside.mean()),
        slice=pet.shape[2] - peak_k,
        diameter_mm=_diameter_mm(mask.array, pet.spacing_mm),
        mtv_ml=float(mask.array.sum() * pet.voxel_ml),
    )


def _diameter_mm(array: NDArray[np.uint8], spacing_mm: tuple[float, float, float]) -> float:
    """Largest distance between two voxel centres of a mask."""
    points = np.argwhere(array & ~ndimage.binary_erosion(array)) * np.array(spacing_mm)
    if len(points) > 500:
        # The two farthest points are corners of the hull; a mask in one plane has no hull in 3D and stays as it is.
        with contextlib.suppress(QhullError):
            points = points[ConvexHull(points).vertices]
    return float(pdist(points).max()) if len(points) > 1 else 0.0


def describe(
    pet: Volume,
    ct: Volume | None,
    mask: Volume,
    checkpoint: Path | Checkpoint,
    *,
    question: str | None = None,
    max_new_tokens: int = 128,
    device: str = "cpu",
) -> Description:
    """What the model says of one lesion, for a user with no lake.

    `pet` is in SUV, `ct` (or None) in HU, `mask` not 0 on the lesion; each in its own grid, in one frame of reference:
    CT and mask are brought onto the PET's. Without a question the model is asked what it was trained on.

    Raises SampleError where the mask is empty or lies outside the PET.
    """
    loaded = checkpoint if isinstance(checkpoint, Checkpoint) else load_checkpoint(Path(checkpoint))
    config = loaded.contract.config
    pet = pet.canonical()
    on_grid = None if ct is None else resample_to(ct.canonical(), pet, order=1, fill=-1000.0)
    box = place_mask(mask.canonical(), pet)
    images, focal = _OneLesion(config, ExamImages(pet, on_grid), box).tensors({"suv_path": "", "ct_path": ""})
    item = Item(0, images, focal, loaded.tokenizer.encode(config, question or loaded.contract.questions[0], None))
    text = answer(loaded, [item], max_new_tokens=max_new_tokens, device=torch.device(device))[0]
    measured = measure(pet, box)
    return Description(text, put_in_measured(text, measured), measured)


class _OneLesion(LesionImages):
    """Images of a lesion that is in memory already."""

    def __init__(self, config: Any, exam: ExamImages, box: MaskBox) -> None:
        super().__init__(Home(Path()), config)
        self._exam, self._box = exam, box

    def exam(self, row: Mapping[str, Any]) -> ExamImages:
        return self._exam

    def mask(self, row: Mapping[str, Any], exam: ExamImages) -> MaskBox:
        return self._box
