"""Pictures of what the lake holds."""

import nibabel
import numpy as np
import polars as pl

from pipelines.home import Home
from pipelines.imaging.pictures import mip_figure
from pipelines.imaging.volume import Volume, load_nifti


def read_mask(home: Home, mask_path: str) -> Volume:
    """A lesion's mask as saved: bool array cropped to its box, with its own affine."""
    image = nibabel.load(home.root / mask_path)
    return Volume(np.asarray(image.dataobj) > 0, image.affine)


def exam_picture(home: Home, exam_id: str, lesions: pl.DataFrame) -> bytes:
    """PNG of the coronal and sagittal MIP of an exam with its lesions outlined; `lesions` may hold other exams' too."""
    suv = load_nifti(home.volume_folder(exam_id) / "SUV.nii")
    own = lesions.filter((pl.col("exam_id") == exam_id) & pl.col("mask_path").is_not_null())
    return mip_figure(suv, [read_mask(home, path) for path in own["mask_path"]])
