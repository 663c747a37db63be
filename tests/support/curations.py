"""Small curations without Dagster: only the shards that hold exams are made."""

from pathlib import Path

import numpy as np

from pipelines.cohort.manifest import observe_cohort, read_whole_manifest
from pipelines.cohort.privacy.deidentification import NO_DEIDENTIFICATION, Deidentifier
from pipelines.curation.run import PHASES, open_curation, run_stage
from pipelines.imaging.volume import Volume, save_nifti
from pipelines.settings import CurationSettings
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake

_AFFINE = np.diag([5.0, 5.0, 5.0, 1.0])


def write_exam_with_mask(cohort: Path) -> None:
    """The images of exam E1: a body of SUV 1 with one lesion of SUV 9, and its mask as SEG.nii.gz."""
    array = np.full((20, 20, 12), 0.01, dtype=np.float32)
    array[3:17, 3:17] = 1.0
    array[5:7, 8:10, 5:7] = 9.0
    folder = cohort / "exams" / "E1"
    save_nifti(Volume(array, _AFFINE), folder / "SUV.nii.gz")
    save_nifti(Volume((array > 5).astype(np.uint8), _AFFINE), folder / "SEG.nii.gz")


def curate_small(home: Home, cohort: Path, deidentifier: Deidentifier = NO_DEIDENTIFICATION) -> Lake:
    """The lake of a cohort, once every shard with an exam is up to date."""
    observe_cohort(cohort, home.manifest, deidentifier, reviews=home.reviews)
    curation = open_curation(home, CurationSettings(), deidentifier=deidentifier)
    shards = sorted({entry.shard for entry in read_whole_manifest(home.manifest)})
    for tables in PHASES:
        for shard in shards:
            for table in tables:
                run_stage(curation, table, shard)
    return curation.lake
