"""Given masks of an exam, written beside its volume: a cropped file each lesion, and a list of them for its row."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.cohort.given_masks import mask_file
from pipelines.curation.stages.given_lesions import GivenLesion
from pipelines.imaging.masks import save_mask
from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.given_masks import GivenRegion, read_given_mask
from pipelines.imaging.volume import Volume
from pipelines.tables.exam_problems import ExamProblem
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home

_FOLDER = "given"


def write_given(
    home: Home, exam_id: str, folder: Path, masks: Sequence[Mapping[str, Any]], suv: Volume
) -> dict[str, Any]:
    """Columns of `exams` that say which lesions are given, once their masks are written beside the exam's volume.

    Args:
        home: where they are written.
        exam_id: the exam.
        folder: of its files in the cohort.
        masks: its lines of given_masks.csv, as the manifest has them.
        suv: its PET.
    """
    home.remove_folder(home.volume_folder(exam_id) / _FOLDER)
    if not masks:
        return {"given_masks": None, "given_message": None}
    lesions: dict[str, GivenLesion] = {}
    problems: list[str] = []
    for line in masks:
        try:
            for region in _regions(line, folder, suv):
                one = _lesion(exam_id, line, region, suv)
                target = home.volume_folder(exam_id) / _FOLDER
                path = home.keep(save_mask(region.volume(suv), target, one.finding_id))
                lesions[one.finding_id] = replace(one, mask_path=str(path.relative_to(home.root)))
        except ExamError as error:
            said = "its text is left out too" if line["text"] else ""
            problems.append("; ".join(filter(None, (error.message, said))))
    listed = json.dumps([asdict(one) for one in lesions.values()], ensure_ascii=False) if lesions else None
    return {"given_masks": listed, "given_message": "; ".join(problems) or None}


def _regions(line: Mapping[str, Any], folder: Path, suv: Volume) -> list[GivenRegion]:
    if line["problem"]:
        raise ExamError(ExamProblem.BAD_VALUES, line["problem"])
    return read_given_mask(mask_file(folder, line["mask"]), line["mask"], suv, line["label"], line["lesions"])


def _lesion(exam_id: str, line: Mapping[str, Any], region: GivenRegion, suv: Volume) -> GivenLesion:
    content = hash_of("given mask", line.get("mask_id") or line["mask"], line["label"], region.label, region.number)[:8]
    replaces = f"{exam_id}:{line['finding']}" if line["finding"] else None
    text = line["text"] or _composed(region, suv)
    return GivenLesion(f"{exam_id}:{content}", text, not line["text"], replaces, "")


def _composed(region: GivenRegion, suv: Volume) -> str:
    """A sentence of what is measured on a mask."""
    box: Any = tuple(slice(c, c + n) for c, n in zip(region.corner, region.mask.shape))
    suvmax = float(np.asarray(suv.array[box])[region.mask].max())
    volume_ml = int(region.mask.sum()) * suv.voxel_ml
    return f"Uptake with SUVmax {suvmax:.1f} in a given mask of {volume_ml:.1f} mL."
