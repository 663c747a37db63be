"""Masks as files: the cropped box of a lesion with its affine, so that a mask costs a millisecond and finds its
place."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.imaging.problems import ExamError
from pipelines.imaging.volume import Volume, load_nifti, save_nifti
from pipelines.tables.exam_problems import ExamProblem


def mask_name(finding_id: str) -> str:
    """File name of a finding's mask: what follows the exam in its id, with letters that every file system takes."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", finding_id.rsplit(":", 1)[-1]).strip("-.") + ".nii.gz"


def save_mask(mask: Volume, folder: Path, finding_id: str) -> Path:
    """The path of a mask (cropped, uint8, 0 and 1) written under a folder. Raises ValueError for an empty mask."""
    if not mask.array.any():
        raise ValueError(f"expected a mask with voxels for finding {finding_id}, got an empty one")
    return save_nifti(Volume(np.asarray(mask.array, dtype=np.uint8), mask.affine), folder / mask_name(finding_id))


def place_mask(mask: Volume, grid: Volume) -> NDArray[np.bool_]:
    """A cropped mask put back on a whole grid (i, j, k). Raises ExamError(BAD_GEOMETRY) where it is not of that
    grid."""
    corner = grid.to_ijk(mask.affine[:3, 3])
    at = np.rint(corner).astype(int)
    if np.abs(corner - at).max() > 0.05 or not np.allclose(mask.affine[:3, :3], grid.affine[:3, :3], atol=1e-3):
        raise ExamError(ExamProblem.BAD_GEOMETRY, "the mask is not on the image's grid: make both from one exam")
    end = at + np.array(mask.shape)
    if (at < 0).any() or (end > np.array(grid.shape)).any():
        raise ExamError(ExamProblem.BAD_GEOMETRY, "the mask reaches beyond the image: make both from one exam")
    whole = np.zeros(grid.shape, dtype=bool)
    whole[at[0] : end[0], at[1] : end[1], at[2] : end[2]] = mask.array > 0
    return whole


def load_mask(path: Path) -> Volume:
    """A mask as it was written, its box and affine in RAS+."""
    return load_nifti(path)
