"""Given masks as lesions: each region that a file holds, divided as its set defines, on the grid of the PET."""

from dataclasses import dataclass
from pathlib import Path

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.expert_masks import read_dicom_masks
from pipelines.imaging.reading.image_files import image_suffix, load_image
from pipelines.imaging.volume import Volume
from pipelines.settings import ExamSettings
from pipelines.tables.errors import listed
from pipelines.tables.exam_problems import ExamProblem

SAME_GRID_VOXELS = 0.05
"""Part of a voxel by which the corners of a mask may lie beside those of its PET: rounding of headers."""


_ROUNDING = 1e-3
"""By which a label may differ from a whole number: the scale in a header (scl_slope) is rounded."""


@dataclass(frozen=True, eq=False)
class GivenRegion:
    """One lesion of a given mask: its value in the file, its number among the lesions of that value (from 1, largest
    first), and its mask, a box of the PET's grid whose first voxel is at `corner`."""

    label: int
    number: int
    corner: tuple[int, int, int]
    mask: NDArray[np.bool_]

    def volume(self, reference: Volume) -> Volume:
        """The mask with its affine, as it is saved."""
        affine = reference.affine.copy()
        affine[:3, 3] = reference.to_ras_mm(self.corner)
        return Volume(self.mask.astype(np.uint8), affine)


def read_given_mask(path: Path, name: str, reference: Volume, label: int | None, lesions: str) -> list[GivenRegion]:
    """The lesions of a mask file (NIfTI, NRRD, MetaImage, DICOM SEG or RTSTRUCT).

    Args:
        path: the file.
        name: how messages name it.
        reference: the PET, RAS+; its grid is the mask's.
        label: value that is meant; null: every value but 0.
        lesions: `whole`, `labels` or `components` (see `pipelines.cohort.given_masks.GivenMask`).

    Raises:
        ExamError: the file is not there or damaged, is on another grid, holds no voxel or not that label.
    """
    if not path.exists():
        raise ExamError(ExamProblem.UNREADABLE, f"expected the given mask {name}, it is not there: add it or its line")
    labels = _labels(path, name, reference)
    values = [int(v) for v in np.unique(labels[labels > 0])]
    if label is not None and label not in values:
        held = listed(values, 8) or "none"
        raise ExamError(
            ExamProblem.BAD_VALUES,
            f"expected label {label} in the given mask {name}, it holds {held}: correct the label",
        )
    if not values:
        raise ExamError(ExamProblem.BAD_VALUES, f"the given mask {name} is empty: it gives no lesion")
    if lesions == "whole":
        chosen = labels == label if label is not None else labels > 0
        return [_region(chosen, label or 1)]
    wanted = values if label is None else [label]
    if lesions == "labels":
        return [_region(labels == value, value) for value in wanted]
    return [region for value in wanted for region in _components(labels == value, value)]


def connected_parts(mask: NDArray[np.bool_]) -> list[tuple[tuple[slice, ...], NDArray[np.bool_]]]:
    """(box and mask of every connected part, by 26 neighbours), largest first."""
    labels = cc3d.connected_components(mask, connectivity=26)
    found = [
        (box, np.ascontiguousarray(labels[box] == value)) for value, box in enumerate(ndimage.find_objects(labels), 1)
    ]
    # Of equally large ones the one that lies first along the axes: the order must not depend on the library's.
    return sorted(found, key=lambda part: (-int(part[1].sum()), [s.start for s in part[0]]))


def _components(mask: NDArray[np.bool_], label: int) -> list[GivenRegion]:
    return [
        GivenRegion(label, number, _corner(box), part) for number, (box, part) in enumerate(connected_parts(mask), 1)
    ]


def _region(mask: NDArray[np.bool_], label: int) -> GivenRegion:
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    return GivenRegion(label, 1, _corner(box), np.ascontiguousarray(mask[box]))


def _corner(box: tuple[slice, ...]) -> tuple[int, int, int]:
    i, j, k = (int(s.start) for s in box)
    return i, j, k


def _labels(path: Path, name: str, reference: Volume) -> NDArray[np.int32]:
    if not image_suffix(path):
        return _dicom_labels(path, reference)
    volume = load_image(path, name, ExamSettings().largest_image_bytes).canonical()
    _check_grid(volume, name, reference)
    array = np.asarray(volume.array)
    if array.dtype.kind == "f":
        whole = np.rint(array)
        if not (np.isfinite(array).all() and (np.abs(array - whole) <= _ROUNDING).all()):
            raise ExamError(
                ExamProblem.BAD_VALUES,
                f"expected whole numbers in the given mask {name}, got others: save it as labels",
            )
        array = whole
    return np.asarray(array, dtype=np.int32)


def _dicom_labels(path: Path, reference: Volume) -> NDArray[np.int32]:
    """The segments of a DICOM file, numbered from 1; where two lie in one voxel the later one has it."""
    labels = np.zeros(reference.shape, dtype=np.int32)
    for number, region in enumerate(read_dicom_masks(path, reference), 1):
        labels[region.mask] = number
    return labels


def _check_grid(mask: Volume, name: str, reference: Volume) -> None:
    if mask.shape != reference.shape:
        raise ExamError(
            ExamProblem.BAD_GEOMETRY,
            f"the given mask {name} has shape {mask.shape}, the PET {reference.shape}: resample it to the PET's grid",
        )
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in mask.shape])).reshape(3, -1).T
    apart_mm = np.abs(mask.to_ras_mm(corners) - reference.to_ras_mm(corners)).max()
    if not apart_mm <= SAME_GRID_VOXELS * min(reference.spacing_mm):
        raise ExamError(
            ExamProblem.BAD_GEOMETRY,
            f"the given mask {name} lies up to {apart_mm:.3g} mm beside the PET's grid: resample it to that grid",
        )
