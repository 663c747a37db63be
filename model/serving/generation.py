"""Texts for lesions: greedy answers in batches, with the measured numbers put in place of generated ones."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from model.inputs.crops import MaskBox
from model.inputs.numbers import Measured, measured_of, put_in_measured
from model.inputs.tensors import ExamImages, Item, LesionDataset, LesionImages, SampleError, collate, place_mask
from model.inputs.threads import limited_threads
from model.petar.checkpoints import Checkpoint, load_checkpoint
from model.petar.tokenizer import PetarTokenizer
from pipelines.imaging.lesions.measures import largest_diameter_mm
from pipelines.imaging.volume import Volume, resample_to
from pipelines.tables.home import Home
from pipelines.tables.schemas import frame

log = logging.getLogger(__name__)

_SMALL_MODEL = 10_000_000


@dataclass(frozen=True)
class Answer:
    """What the model said to one question."""

    text: str
    n_tokens: int
    """Generated, an end token included."""
    is_whole: bool
    """It ended by itself, and not at the most tokens that it might have."""


def answer(
    checkpoint: Checkpoint, items: list[Item], *, max_new_tokens: int = 128, device: torch.device | None = None
) -> list[str]:
    """The texts of `answers`."""
    return [said.text for said in answers(checkpoint, items, [max_new_tokens] * len(items), device)]


def answers(
    checkpoint: Checkpoint, items: Sequence[Item], most: Sequence[int], device: torch.device | None = None
) -> list[Answer]:
    """The model's greedy answers to some samples, as one batch padded on the left.

    Args:
        checkpoint: the model.
        items: the samples.
        most: new tokens of each at most.
        device: where the model computes; None: on the CPU.

    Raises:
        SampleError: a prompt leaves no room for an answer.
    """
    tokenizer = checkpoint.tokenizer
    device = device or torch.device("cpu")
    batch = collate(items, tokenizer.pad_id, pad_left=True).to(device)
    model = checkpoint.model.to(device).eval()
    room = model.config.language.max_positions - batch.input_ids.shape[1]
    if room < 1:
        raise SampleError(
            f"expected a prompt under the model's {model.config.language.max_positions} tokens, got "
            f"{batch.input_ids.shape[1]}: ask a shorter question"
        )
    # One thread for a tiny model: see `limited_threads`.
    small = sum(p.numel() for p in model.parameters()) < _SMALL_MODEL
    with limited_threads(1 if small else 0):
        tokens = model.generate(
            batch.input_ids,
            batch.attention_mask,
            batch.images,
            batch.focal,
            max_new_tokens=min(max(most), room),
            eos_id=tokenizer.eos_id,
            pad_id=tokenizer.pad_id,
        )
    return [_answer_of(row.tolist()[:limit], tokenizer) for row, limit in zip(tokens, most, strict=True)]


def _answer_of(ids: list[int], tokenizer: PetarTokenizer) -> Answer:
    is_whole = tokenizer.eos_id in ids
    return Answer(tokenizer.decode(ids), ids.index(tokenizer.eos_id) + 1 if is_whole else len(ids), is_whole)


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


@dataclass(frozen=True)
class Description:
    """What the model says of one lesion, and what was measured on its mask."""

    text: str
    text_measured: str
    measured: Measured
    warnings: tuple[str, ...] = ()
    """What makes the text less trustworthy than those that the model was trained for."""


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
        diameter_mm=largest_diameter_mm(mask.array > 0, pet.spacing_mm),
        mtv_ml=float(mask.array.sum() * pet.voxel_ml),
    )


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


@dataclass(frozen=True)
class Prepared:
    """A question about one lesion, ready for the model, and what does not need it."""

    item: Item
    question: str
    measured: Measured
    warnings: tuple[str, ...]

    @property
    def n_prompt(self) -> int:
        """Tokens of the prompt."""
        return len(self.item.encoded.prompt)

    def described(self, text: str) -> Description:
        """The description with the model's text."""
        return Description(text, put_in_measured(text, self.measured), self.measured, self.warnings)


def prepare(
    pet: Volume, ct: Volume | None, mask: Volume, checkpoint: Checkpoint, question: str | None = None
) -> Prepared:
    """A question about one lesion as inputs, with its measures and warnings; arguments and errors as of `describe`."""
    contract = checkpoint.contract
    asked = question or contract.questions[0]
    warnings = []
    if ct is None and contract.config.use_ct:
        warnings.append("no CT: the model was given air in its place; its text may be wrong where the CT decides")
    if asked not in contract.questions:
        known = "; ".join(contract.questions[:3])
        warnings.append(f"the model was not trained on this question and may not answer it; it knows: {known}")
    pet = pet.canonical()
    on_grid = None if ct is None else resample_to(ct.canonical(), pet, order=1, fill=-1000.0)
    box = place_mask(mask.canonical(), pet)
    images, focal = _OneLesion(contract.config, ExamImages(pet, on_grid), box).tensors({"suv_path": "", "ct_path": ""})
    item = Item(0, images, focal, checkpoint.tokenizer.encode(contract.config, asked, None))
    return Prepared(item, asked, measure(pet, box), tuple(warnings))


class _OneLesion(LesionImages):
    """Images of a lesion that is in memory already."""

    def __init__(self, config: Any, exam: ExamImages, box: MaskBox) -> None:
        super().__init__(Home(Path()), config)
        self._exam, self._box = exam, box

    def exam(self, row: Mapping[str, Any]) -> ExamImages:
        return self._exam

    def mask(self, row: Mapping[str, Any], exam: ExamImages) -> MaskBox:
        return self._box
