"""A label map of organs that an exam brings: checked, and placed on the grid of its PET."""

import numpy as np

from pipelines.imaging.problems import ExamError
from pipelines.imaging.volume import SliceGrid, Volume, resample_to, slices_of
from pipelines.tables.exam_problems import ExamProblem

MAX_LABEL = 255
LEAST_OVERLAP = 0.5
"""Part of the narrower field of view that the other one covers across the body, where both show one patient."""


class OrganMapError(ExamError):
    """A label map that cannot be used or does not belong to the image; the message says why."""


def whole_labels(volume: Volume, name: str, exam_id: str) -> Volume:
    """A label map as uint8, on its own grid.

    Args:
        volume: labels of TotalSegmentator's task `total`, in any type.
        name: of its file, for messages.
        exam_id: for messages.

    Raises:
        OrganMapError: it holds something else than whole numbers from 0 to 255.
    """
    array = np.asarray(volume.array)
    whole = np.rint(array)
    if not np.array_equal(whole, array) or whole.min() < 0 or whole.max() > MAX_LABEL:
        raise OrganMapError(
            ExamProblem.BAD_VALUES,
            f"expected whole labels 0..{MAX_LABEL} in {name} of exam {exam_id}, "
            f"got {array.min()}..{array.max()}: save the map of TotalSegmentator's task `total` with ml=True",
        )
    return Volume(whole.astype(np.uint8), volume.affine)


def on_pet_grid(labels: Volume, pet: Volume, ct: SliceGrid | None, exam_id: str) -> Volume:
    """A label map on the grid of the PET, RAS+ uint8; labels are resampled by nearest neighbour.

    It belongs to the exam where it covers the height of the exam's PET or of its CT, to a slice at each end, and lies
    over the PET across the body.

    Args:
        labels: uint8 labels in any orientation.
        pet: the exam's PET, RAS+.
        ct: slices of the exam's CT as it was stored; null without a CT.
        exam_id: for messages.

    Raises:
        OrganMapError: it belongs to another exam; the message holds both shapes.
    """
    labels = labels.canonical()
    if labels.same_grid(pet):
        return Volume(labels.array, pet.affine)
    own = slices_of(labels)
    if not any(_one_height(own, grid) for grid in (slices_of(pet), ct) if grid is not None) or not _lies_over(
        labels, pet
    ):
        raise OrganMapError(
            ExamProblem.BAD_VALUES,
            f"expected a label map that covers the PET {pet.shape} or the CT, got one of {labels.shape} that covers "
            f"{_extent(own)} where the PET covers {_extent(slices_of(pet))}, in exam {exam_id}: give the map that was "
            "made of this exam",
        )
    return resample_to(labels, pet, order=0, fill=0, dtype=np.uint8)


def _ends_mm(grid: SliceGrid) -> tuple[float, float]:
    """RAS z of the outer sides of the lowest and the highest slice."""
    low = grid.first_mm - grid.step_mm / 2
    return low, low + grid.n_slices * grid.step_mm


def _one_height(a: SliceGrid, b: SliceGrid) -> bool:
    tolerance_mm = max(abs(a.step_mm), abs(b.step_mm))
    return all(abs(x - y) <= tolerance_mm for x, y in zip(_ends_mm(a), _ends_mm(b)))


def _lies_over(labels: Volume, pet: Volume) -> bool:
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in labels.shape])).reshape(3, -1).T
    ijk = pet.to_ijk(labels.to_ras_mm(corners))
    for axis in (0, 1):
        low, high = ijk[:, axis].min(), ijk[:, axis].max()
        common = min(high, pet.shape[axis] - 0.5) - max(low, -0.5)
        if common < LEAST_OVERLAP * min(high - low, pet.shape[axis]):
            return False
    return True


def _extent(grid: SliceGrid) -> str:
    low, high = _ends_mm(grid)
    return f"{low:.0f} to {high:.0f} mm"
