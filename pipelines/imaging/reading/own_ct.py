"""The CT of an exam on its own grid, as the cohort has it."""

import warnings
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.ct import ExamCt, read_ct
from pipelines.imaging.reading.dicom import series_of
from pipelines.imaging.reading.exam import where_images_lie
from pipelines.imaging.reading.files import exam_files
from pipelines.imaging.reading.nifti_pet import images_by_convention, named_images
from pipelines.imaging.reading.series_choice import of_one_study, pick_pet
from pipelines.imaging.volume import Volume
from pipelines.settings import ExamSettings
from pipelines.tables.errors import reason_of


@dataclass(frozen=True, eq=False)
class OwnCt:
    """The CT in RAS+ order with the voxels that it was stored with, null where there is none; `message` says why."""

    ct: Volume | None
    message: str | None = None


def read_own_ct(folder: Path, pet: Volume, settings: ExamSettings, study_date: date | None = None) -> OwnCt:
    """The CT in an exam's folder that belongs to its PET, judged as when the exam was read.

    Never raises for a CT that cannot be read: the message says what is wrong, without words of a header.

    Args:
        pet: as it was read of that folder.
        study_date: of the exam; where several studies lie in the folder, that of this date counts.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with where_images_lie(exam_files(folder), settings) as (source, _):
                found = series_of(source, settings)
                images = named_images(source)
                if images.pet is None and not found.series and not found.damaged:
                    images = images_by_convention(source, settings)
                series = of_one_study(found.series, study_date)[0] if found.series else found.series
                has_pet = any(s.modality == "PT" for s in series)
                own = pick_pet(series).series if has_pet and images.pet is None else None
                read = read_ct(ExamCt(images.ct, found.series, own), pet, settings)
    except ExamError as error:
        return OwnCt(None, error.message)
    except Exception as error:
        # A file can be damaged in more ways than are checked; the copy on the PET's grid is still there.
        return OwnCt(None, f"it cannot be read again ({reason_of(error)})")
    return OwnCt(read.stored, None if read.stored is not None else read.message)
