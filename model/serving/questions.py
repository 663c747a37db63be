"""Questions about a lesion as inputs of the model, with what was measured on its mask."""

import threading
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from model.inputs.crops import MaskBox
from model.inputs.numbers import Measured, put_in_measured
from model.inputs.tensors import ExamImages, Item, LesionImages, place_mask
from model.petar.checkpoints import Checkpoint
from model.petar.config import ModelConfig
from pipelines.imaging.lesions.measures import largest_diameter_mm
from pipelines.imaging.volume import Volume, resample_to
from pipelines.tables.home import Home


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


@dataclass(frozen=True)
class Lesion:
    """A lesion as the model sees it."""

    images: Tensor
    focal: Tensor | None
    measured: Measured
    has_ct: bool

    @property
    def n_bytes(self) -> int:
        """Of its images."""
        return self.images.nbytes + (0 if self.focal is None else self.focal.nbytes)


class OpenExam:
    """An exam whose lesions are asked about: PET and CT on one grid, and the crops that its lesions share. Threads may
    ask at the same time.

    Args:
        pet: in SUV.
        ct: in HU, on any grid in the PET's frame of reference; None: air.
        config: of the model.
    """

    def __init__(self, pet: Volume, ct: Volume | None, config: ModelConfig) -> None:
        pet = pet.canonical()
        self._exam = ExamImages(pet, None if ct is None else resample_to(ct.canonical(), pet, order=1, fill=-1000.0))
        self._images = _OneExam(config, self._exam)
        self._lock = threading.Lock()

    @property
    def n_bytes(self) -> int:
        """Of its volumes."""
        return sum(volume.array.nbytes for volume in (self._exam.pet, self._exam.ct) if volume is not None)

    def lesion(self, mask: Volume) -> Lesion:
        """A lesion by its mask (not 0 on it, on any grid). Raises SampleError where the mask is empty or lies outside
        the PET.
        """
        pet = self._exam.pet
        box = place_mask(mask.canonical(), pet)
        with self._lock:
            images, focal = self._images.of_mask(box)
        return Lesion(images, focal, measure(pet, box), self._exam.ct is not None)


@dataclass(frozen=True)
class Prepared:
    """A question about one lesion, ready for the model, and what does not need it."""

    item: Item
    question: str
    measured: Measured
    warnings: tuple[str, ...]
    images_key: Hashable = field(default_factory=object)
    """Equal for questions about one lesion."""

    @property
    def n_prompt(self) -> int:
        """Tokens of the prompt."""
        return len(self.item.encoded.prompt)

    def described(self, text: str) -> Description:
        """The description with the model's text."""
        return Description(text, put_in_measured(text, self.measured), self.measured, self.warnings)


def ask(lesion: Lesion, checkpoint: Checkpoint, question: str | None = None, key: Hashable | None = None) -> Prepared:
    """A question about a lesion.

    Args:
        lesion: as the checkpoint's model sees it.
        checkpoint: the model.
        question: None: what the model was trained on.
        key: equal for questions about one lesion; None: about no other.
    """
    contract = checkpoint.contract
    asked = question or contract.questions[0]
    warnings = []
    if not lesion.has_ct and contract.config.use_ct:
        warnings.append("no CT: the model was given air in its place; its text may be wrong where the CT decides")
    if asked not in contract.questions:
        known = "; ".join(contract.questions[:3])
        warnings.append(f"the model was not trained on this question and may not answer it; it knows: {known}")
    item = Item(0, lesion.images, lesion.focal, checkpoint.tokenizer.encode(contract.config, asked, None))
    return Prepared(item, asked, lesion.measured, tuple(warnings), object() if key is None else key)


def prepare(
    pet: Volume, ct: Volume | None, mask: Volume, checkpoint: Checkpoint, question: str | None = None
) -> Prepared:
    """A question about one lesion as inputs, with its measures and warnings.

    Args:
        pet: in SUV.
        ct: in HU, or None.
        mask: not 0 on the lesion; each in its own grid, in one frame of reference.
        checkpoint: the model.
        question: None: what the model was trained on.

    Raises:
        SampleError: the mask is empty or lies outside the PET.
    """
    return ask(OpenExam(pet, ct, checkpoint.contract.config).lesion(mask), checkpoint, question)


_ROW = {"suv_path": "", "ct_path": ""}


class _OneExam(LesionImages):
    """Images of an exam that is in memory already."""

    def __init__(self, config: ModelConfig, exam: ExamImages) -> None:
        super().__init__(Home(Path()), config)
        self._exam = exam

    def of_mask(self, box: MaskBox) -> tuple[Tensor, Tensor | None]:
        """Global and focal images of a mask."""
        return self.tensors({**_ROW, "box": box})

    def exam(self, row: Mapping[str, Any]) -> ExamImages:
        return self._exam

    def mask(self, row: Mapping[str, Any], exam: ExamImages) -> MaskBox:
        box: MaskBox = row["box"]
        return box
