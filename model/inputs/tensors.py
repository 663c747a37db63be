"""Samples of the lake as tensors, made on the fly from memory-mapped exams and deterministic by seed, epoch and
sample.
"""

import resource
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.utils.data import Dataset

from model.inputs.clipped import ExamArrays, clipped_images, flipped
from model.inputs.crops import Crop, MaskBox, focal_crop, global_crop, sample, sample_mask
from model.inputs.numbers import mask_measured_numbers
from model.inputs.windows import Window
from model.petar.config import ModelConfig
from model.petar.tokenizer import Encoded, PetarTokenizer
from pipelines.imaging.volume import Volume, load_nifti, resample_to
from pipelines.tables.errors import reason_of
from pipelines.tables.home import Home

NEEDED_COLUMNS = ("sample_id", "exam_id", "question", "target", "suv_path", "ct_path", "mask_path", "mask_label")
LABEL_IGNORED = -100


def _open_exams() -> int:
    """How many exams may be memory-mapped at a time: each holds two files open, of those that the process may have."""
    return max(16, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 300) // 2)


T = TypeVar("T")


class SampleError(ValueError):
    """A sample that cannot be made into inputs; the message names sample and exam, and what to do."""


@dataclass(frozen=True)
class SampleProblem:
    """Why a sample of a frame cannot be used."""

    sample_id: str
    exam_id: str
    message: str


class _Cache(Generic[T]):
    """The last used values up to a total size in bytes; one value is always kept, however large."""

    def __init__(self, limit_bytes: int, size: Callable[[T], int]) -> None:
        self._limit, self._size, self._used = limit_bytes, size, 0
        self._values: OrderedDict[Any, T] = OrderedDict()

    def get(self, key: Any, make: Callable[[], T]) -> T:
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = make()
        self._values[key] = value
        self._used += self._size(value)
        while self._used > self._limit and len(self._values) > 1:
            _, old = self._values.popitem(last=False)
            self._used -= self._size(old)
        return value


@dataclass(frozen=True)
class _PackedBox:
    """A `MaskBox` with a bit a voxel: all organs of hundreds of exams, which a stage asks for in any order, fit in the
    cache.
    """

    bits: NDArray[np.uint8]
    shape: tuple[int, ...]
    origin: tuple[int, ...]

    @classmethod
    def of(cls, selected: NDArray[np.bool_], origin: tuple[int, ...]) -> "_PackedBox":
        return cls(np.packbits(selected), selected.shape, origin)

    def unpacked(self) -> MaskBox:
        array = np.unpackbits(self.bits, count=int(np.prod(self.shape))).reshape(self.shape)
        return MaskBox(array, self.origin)  # type: ignore[arg-type]  # three axes


@dataclass(frozen=True)
class ExamImages:
    """PET (SUV) of an exam and, where there is one, its CT (HU) on the same grid; arrays are memory maps (i, j, k)."""

    pet: Volume
    ct: Volume | None


def place_mask(mask: Volume, reference: Volume) -> MaskBox:
    """The mask cut to its box on the reference's grid: where it is not 0.

    A mask on the reference's grid, whole or cropped, is placed exactly; one on another grid is resampled to the nearest
    voxel. Raises SampleError where nothing is left.
    """
    offset = reference.to_ijk(mask.affine[:3, 3])
    aligned = np.allclose(mask.affine[:3, :3], reference.affine[:3, :3], atol=1e-3 * min(reference.spacing_mm))
    if not aligned or np.abs(offset - np.round(offset)).max() > 0.1:
        moved = resample_to(mask, reference, order=0)
        if mask.array.any() and not moved.array.any():
            at = ", ".join(f"{v:.0f}" for v in mask.affine[:3, 3])
            raise SampleError(
                f"expected a mask inside the PET of shape {reference.shape}, got one at ({at}) mm outside of it: "
                "the mask belongs to another grid"
            )
        mask, offset = moved, np.zeros(3)
    return _cut(mask.array != 0, tuple(int(o) for o in np.round(offset)), reference)  # type: ignore[arg-type]  # three axes


def _cut(selected: NDArray[np.bool_], offset: tuple[int, int, int], reference: Volume) -> MaskBox:
    boxes = ndimage.find_objects(selected.astype(np.uint8), max_label=1)
    if not boxes or boxes[0] is None:
        raise SampleError("expected a mask with voxels, got an empty one: contour the lesion again")
    box = boxes[0]
    array = np.ascontiguousarray(selected[box]).astype(np.uint8)
    origin = tuple(s.start + o for s, o in zip(box, offset))
    if any(o < 0 or o + n > m for o, n, m in zip(origin, array.shape, reference.shape)):
        raise SampleError(
            f"expected a mask inside the PET of shape {reference.shape}, got a box at {origin} of shape {array.shape}: "
            "the mask belongs to another grid"
        )
    return MaskBox(array, origin)  # type: ignore[arg-type]  # three axes


class LesionImages:
    """Crops of lesions of one cohort, with the caches that make them cheap. Cheap to copy to a worker while it is
    empty.
    """

    def __init__(self, home: Home, config: ModelConfig) -> None:
        self.home, self.config = home, config
        self._exams: _Cache[ExamImages] = _Cache(_open_exams(), lambda _: 1)
        self._globals: _Cache[NDArray[np.float32]] = _Cache(512 << 20, lambda a: a.nbytes)
        self._masks: _Cache[MaskBox] = _Cache(128 << 20, lambda m: m.array.nbytes + 200)
        self._label_maps: _Cache[dict[int, _PackedBox]] = _Cache(
            256 << 20, lambda d: sum(m.bits.nbytes + 200 for m in d.values())
        )
        self._pet_window = Window(*config.inputs.pet_window_suv)
        self._ct_window = Window(*config.inputs.ct_window_hu)

    def _path(self, name: str) -> Path:
        path = self.home.file(name)
        if not path.is_file():
            raise SampleError(f"expected the file {path}, it is not there: run the curation of this exam again")
        return path

    def exam(self, row: Mapping[str, Any]) -> ExamImages:
        """The memory-mapped images of a sample's exam."""

        def load() -> ExamImages:
            pet = load_nifti(self._path(row["suv_path"]))
            if not row["ct_path"]:
                return ExamImages(pet, None)
            ct = load_nifti(self._path(row["ct_path"]))
            if not ct.same_grid(pet):
                raise SampleError(
                    f"expected a CT on the PET's grid {pet.shape}, got {ct.shape}: run the curation of this exam again"
                )
            return ExamImages(pet, ct)

        return self._exams.get((row["suv_path"], row["ct_path"]), load)

    def mask(self, row: Mapping[str, Any], exam: ExamImages) -> MaskBox:
        """The mask of a sample: a lesion's own file, or one label of an organ map that is read once an exam."""
        if row.get("kind") != "anatomy":
            return self._masks.get(
                row["mask_path"], lambda: place_mask(load_nifti(self._path(row["mask_path"])), exam.pet)
            )
        labels = self._label_maps.get(
            (row["mask_path"], row["suv_path"]), lambda: self._labels(self._path(row["mask_path"]), exam.pet)
        )
        label = int(row["mask_label"])
        if label not in labels:
            raise SampleError(
                f"expected label {label} in {row['mask_path']}, it has {sorted(labels)}: make the anatomy samples again"
            )
        return labels[label].unpacked()

    @staticmethod
    def _labels(path: Path, reference: Volume) -> dict[int, "_PackedBox"]:
        label_map = load_nifti(path)
        if not label_map.same_grid(reference):
            label_map = resample_to(label_map, reference, order=0)
        array = np.asarray(label_map.array)
        array = array if array.dtype.kind in "iu" else np.round(array).astype(np.int32)
        boxes = ndimage.find_objects(array)
        return {
            value: _PackedBox.of(array[box] == value, tuple(s.start for s in box))
            for value, box in enumerate(boxes, 1)
            if box is not None
        }

    def crops(
        self, row: Mapping[str, Any], rng: np.random.Generator | None = None
    ) -> tuple[Crop, Crop, MaskBox, ExamImages]:
        """Global crop, focal crop, mask and exam of a sample. Raises SampleError where the mask is not in the global
        crop.
        """
        exam = self.exam(row)
        mask = self.mask(row, exam)
        wide = global_crop(exam.pet.shape, exam.pet.spacing_mm, mask, self.config.inputs)
        return wide, focal_crop(exam.pet.spacing_mm, mask, self.config.inputs, rng), mask, exam

    def tensors(self, row: Mapping[str, Any], rng: np.random.Generator | None = None) -> tuple[Tensor, Tensor | None]:
        """Global and focal images (3, z, y, x) in 0..1: PET, CT, mask. A sample without CT has a CT of 0 (-300 HU, air)
        throughout.

        With `rng` the focal crop is jittered. What the configuration switches off is not computed: its channel is 0,
        and without the focal crop the second value is None.
        """
        wide, close, mask, exam = self.crops(row, rng)
        if self.config.layout.border == "clip":
            arrays = ExamArrays(exam.pet.array, None if exam.ct is None else exam.ct.array, exam.pet.spacing_mm)
            images, focal = clipped_images(arrays, mask, self.config, rng)
            return self._jittered(images, rng), focal
        if self.config.inputs.global_crop == "whole":
            # The same for nearly all lesions of an exam.
            pictures = self._globals.get((row["suv_path"], wide), lambda: self._pictures(exam, wide))
        else:
            pictures = self._pictures(exam, wide)
        images = self._jittered(self._with_mask(pictures, mask, exam, wide), rng)
        if not self.config.use_focal:
            return images, None
        return images, self._with_mask(self._pictures(exam, close), mask, exam, close)

    def _jittered(self, images: Tensor, rng: np.random.Generator | None) -> Tensor:
        most = self.config.inputs.global_jitter_voxels
        if rng is None or not most:
            return images
        return _moved(images, *(int(n) for n in rng.integers(-most, most + 1, 2)))

    def _pictures(self, exam: ExamImages, crop: Crop) -> NDArray[np.float32]:
        shape, spacing = self.config.vision.image_shape, exam.pet.spacing_mm
        out = np.zeros((2, *shape), np.float32)
        out[0] = sample(exam.pet.array, spacing, crop, shape, self._pet_window)
        if self.config.use_ct and exam.ct is not None:
            out[1] = sample(exam.ct.array, spacing, crop, shape, self._ct_window)
        return out

    def _with_mask(self, pictures: NDArray[np.float32], mask: MaskBox, exam: ExamImages, crop: Crop) -> Tensor:
        shape = self.config.vision.image_shape
        out = torch.zeros(3, *shape)
        out[:2] = torch.from_numpy(pictures)
        if self.config.use_mask:
            out[2] = torch.from_numpy(sample_mask(mask, exam.pet.shape, exam.pet.spacing_mm, crop, shape))
        return flipped(out, self.config.layout)


def _moved(images: Tensor, y: int, x: int) -> Tensor:
    """Images (channels, z, y, x) moved by whole voxels; what comes in from beyond is 0, as beyond the exam."""
    height, width = images.shape[2:]
    out = torch.zeros_like(images)
    out[:, :, max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)] = images[
        :, :, max(-y, 0) : height - max(y, 0), max(-x, 0) : width - max(x, 0)
    ]
    return out


@dataclass(frozen=True)
class Item:
    """One sample, ready to be put into a batch."""

    index: int
    images: Tensor
    focal: Tensor | None
    encoded: Encoded


@dataclass(frozen=True)
class Batch:
    """Padded token ids and images of some samples; labels are -100 on everything but the answer."""

    indices: list[int]
    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    images: Tensor
    focal: Tensor | None

    @property
    def n_answer_tokens(self) -> int:
        """Tokens that the loss is taken over."""
        return int((self.labels[:, 1:] != LABEL_IGNORED).sum())

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        focal = None if self.focal is None else move(self.focal)
        ids, mask, labels = move(self.input_ids), move(self.attention_mask), move(self.labels)
        return Batch(self.indices, ids, mask, labels, move(self.images), focal)

    def parts(self, n: int) -> list["Batch"]:
        """The batch's rows in order, in at most `n` parts of nearly equal size; each is padded as the batch is."""
        edges = np.linspace(0, len(self.indices), min(n, len(self.indices)) + 1).round().astype(int)
        spans = [slice(int(a), int(b)) for a, b in pairwise(edges)]
        return [
            Batch(
                self.indices[s],
                self.input_ids[s],
                self.attention_mask[s],
                self.labels[s],
                self.images[s],
                None if self.focal is None else self.focal[s],
            )
            for s in spans
        ]


def target_text(row: Mapping[str, Any], config: ModelConfig) -> str:
    """What the model should answer for a sample; measured numbers are `[#]` where the configuration says so."""
    return mask_measured_numbers(row["target"]) if config.mask_numbers else row["target"]


class LesionDataset(Dataset[Item]):
    """Samples of a frame as items. An index is a pair (epoch, position): the same pair gives the same item in any
    process.
    """

    def __init__(
        self,
        samples: pl.DataFrame,
        config: ModelConfig,
        tokenizer: PetarTokenizer,
        home: Home,
        *,
        seed: int | None = None,
        answers: bool = True,
        needs_ct: bool = False,
    ) -> None:
        missing = [c for c in NEEDED_COLUMNS if c not in samples.columns]
        if missing:
            raise SampleError(
                f"expected a samples frame with {', '.join(NEEDED_COLUMNS)}, got one without {', '.join(missing)}"
            )
        self.rows: list[dict[str, Any]] = samples.to_dicts()
        self.config, self.tokenizer, self.seed = config, tokenizer, seed
        self.needs_ct = needs_ct and config.use_ct
        self.images = LesionImages(home, config)
        asked = [config.question_for(row["sample_id"], row["question"]) for row in self.rows]
        self.questions = tuple(question for question, _ in Counter(asked).most_common())
        """What is asked of the samples, the most frequent first."""
        self.encoded = [
            tokenizer.encode(config, question, target_text(row, config) if answers else None)
            for question, row in zip(asked, self.rows)
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int | tuple[int, int]) -> Item:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        row = self.rows[index]
        try:
            images, focal = self.images.tensors(row, self._rng(epoch, row["sample_id"]))
        except SampleError as error:
            raise SampleError(f"sample {row['sample_id']} of exam {row['exam_id']}: {error}") from error
        return Item(index, images, focal, self.encoded[index])

    def _rng(self, epoch: int, sample_id: str) -> np.random.Generator | None:
        if self.seed is None:
            return None
        digest = blake2b(f"{self.seed}\0{epoch}\0{sample_id}".encode(), digest_size=8).digest()
        return np.random.default_rng(int.from_bytes(digest))

    def problems(self) -> list[SampleProblem]:
        """The samples that cannot be used, each with its reason, found without making any input: for before
        training.
        """
        found = []
        for row, encoded in zip(self.rows, self.encoded):
            message = None
            length = len(encoded.prompt) + len(encoded.answer)
            if length > self.config.max_length:
                message = (
                    f"expected at most {self.config.max_length} tokens, got {length} ({len(encoded.answer)} of "
                    "them the answer): "
                    "shorten the target or raise max_length"
                )
            elif not str(row["target"] or "").strip():
                message = "expected a target text, got an empty one: drop the sample or structure its finding again"
            elif self.needs_ct and not row["ct_path"]:
                message = (
                    "expected a CT, the exam has none: drop the sample, set use_ct=False, or without_ct='air' to train "
                    "on air in its place"
                )
            else:
                try:
                    self.images.crops(row)
                except (ValueError, OSError) as error:
                    message = reason_of(error)
            if message is not None:
                found.append(SampleProblem(row["sample_id"], row["exam_id"], message))
        return found


def padded_tokens(encoded: Sequence[Encoded], pad_id: int, *, pad_left: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, attention mask and labels (samples, length) of prompts with their answers, on one length."""
    length = max(len(one.prompt) + len(one.answer) for one in encoded)
    input_ids = torch.full((len(encoded), length), pad_id)
    attention_mask = torch.zeros(len(encoded), length, dtype=torch.long)
    labels = torch.full((len(encoded), length), LABEL_IGNORED)
    for i, one in enumerate(encoded):
        row = [*one.prompt, *one.answer]
        start = length - len(row) if pad_left else 0
        input_ids[i, start : start + len(row)] = torch.tensor(row)
        attention_mask[i, start : start + len(row)] = 1
        answer = start + len(one.prompt)
        labels[i, answer : answer + len(one.answer)] = torch.tensor(one.answer, dtype=torch.long)
    return input_ids, attention_mask, labels


def collate(items: Sequence[Item], pad_id: int, *, pad_left: bool = False) -> Batch:
    """Items as one batch, padded on the right for training and on the left for generation."""
    tokens = padded_tokens([item.encoded for item in items], pad_id, pad_left=pad_left)
    focal = None if items[0].focal is None else torch.stack([item.focal for item in items if item.focal is not None])
    return Batch([item.index for item in items], *tokens, torch.stack([item.images for item in items]), focal)


def epoch_batches(n: int, batch_size: int, seed: int, epoch: int, limit: int = 0) -> Iterator[list[tuple[int, int]]]:
    """The batches of an epoch, as (epoch, position) pairs in an order fixed by seed and epoch; `limit` > 0 takes the
    first so many.
    """
    order = np.random.default_rng([seed, epoch]).permutation(n)
    order = order[:limit] if limit else order
    for start in range(0, len(order), batch_size):
        yield [(epoch, int(i)) for i in order[start : start + batch_size]]
