"""Pictures of exams in the lake."""

import polars as pl

from pipelines.imaging.lesion_figures import mip_figure
from pipelines.imaging.masks import load_mask
from pipelines.imaging.volume import load_nifti
from pipelines.tables.home import Home


def exam_picture(home: Home, exam_id: str, lesions: pl.DataFrame) -> bytes:
    """PNG of the coronal and sagittal MIP of an exam with its lesions outlined; `lesions` may hold other exams' too."""
    suv = load_nifti(home.file(home.volume_folder(exam_id) / "SUV.nii"))
    own = lesions.filter((pl.col("exam_id") == exam_id) & pl.col("mask_path").is_not_null())
    return mip_figure(suv, [load_mask(home.file(path)) for path in own["mask_path"]])
