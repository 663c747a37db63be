"""Texts for lesions: greedy answers in batches, with the measured numbers put in place of generated ones."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import torch

from model.inputs.numbers import measured_of, put_in_measured
from model.inputs.tensors import Item, LesionDataset
from model.petar.checkpoints import Checkpoint, load_checkpoint
from model.serving.engines import Ask, OwnEngine
from model.serving.questions import Description, prepare
from pipelines.imaging.volume import Volume
from pipelines.tables.home import Home
from pipelines.tables.schemas import frame

log = logging.getLogger(__name__)


def answer(
    checkpoint: Checkpoint, items: list[Item], *, max_new_tokens: int = 128, device: torch.device | None = None
) -> list[str]:
    """The model's greedy texts for some samples, as one batch.

    Args:
        checkpoint: the model.
        items: the samples.
        max_new_tokens: of each at most.
        device: where the model computes; None: on the CPU.

    Raises:
        SampleError: a prompt leaves no room for an answer.
    """
    engine = OwnEngine(checkpoint, device or torch.device("cpu"))
    return [said.text for said in engine.answers([Ask(item, max_new_tokens) for item in items])]


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
            said = answer(loaded, items, max_new_tokens=decoding.max_new_tokens, device=torch.device(decoding.device))
            texts |= {item.index: text for item, text in zip(items, said)}
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
    asked = prepare(pet, ct, mask, loaded, question)
    return asked.described(answer(loaded, [asked.item], max_new_tokens=max_new_tokens, device=torch.device(device))[0])
