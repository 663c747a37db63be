"""Organs as questions and answers: the classes of the label dictionary in words, and samples made from label maps."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl

from pipelines.dataset.samples import compose
from pipelines.dataset.splits import split_of_exam
from pipelines.imaging.organ_labels import CLASSES, LABEL_SCHEME
from pipelines.imaging.problems import ExamError
from pipelines.imaging.volume import Volume, load_nifti, resample_to
from pipelines.settings import QUESTION, SplitSettings
from pipelines.tables.errors import reason_of
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home
from pipelines.tables.report_fields import REGIONS
from pipelines.tables.schemas import frame

DEFAULT_SPLITS = SplitSettings()


LABEL_MAP_NAME = "TOTALSEG.nii.gz"
"""File of a label map in an exam's folder of the cohort."""


HEAD_NECK, CHEST, ABDOMEN_PELVIS, MUSCULOSKELETAL = REGIONS
"""As the findings name them, so that one word is learnt for one region."""

_REGIONS: tuple[tuple[str, str], ...] = (
    (r"brain|thyroid|carotid|spinal_cord", HEAD_NECK),
    (r"lung|esophagus|trachea|heart|aorta|pulmonary|brachiocephalic|subclavian|atrial|superior_vena", CHEST),
    (
        r"vertebrae|sacrum|humerus|scapula|clavicula|femur|hip_|gluteus|autochthon|iliopsoas|skull|rib_|sternum|costal",
        MUSCULOSKELETAL,
    ),
    (r"", ABDOMEN_PELVIS),
)

_WORDS: Mapping[str, tuple[str, str | None]] = {
    # Class stem -> (organ, sub-site) where the class name is not itself the words of a report.
    "lung_upper_lobe": ("lung", "upper lobe"),
    "lung_middle_lobe": ("lung", "middle lobe"),
    "lung_lower_lobe": ("lung", "lower lobe"),
    "kidney_cyst": ("kidney", "cyst"),
    "iliac_vena": ("iliac vein", None),
    "clavicula": ("clavicle", None),
    "hip": ("hip bone", None),
    "autochthon": ("autochthonous back muscle", None),
    "gluteus_maximus": ("gluteus muscle", "maximus"),
    "gluteus_medius": ("gluteus muscle", "medius"),
    "gluteus_minimus": ("gluteus muscle", "minimus"),
    "iliopsoas": ("iliopsoas muscle", None),
    "atrial_appendage": ("heart", "atrial appendage"),
    "pulmonary_vein": ("pulmonary veins", None),
}

_ORDINALS = (
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
)


@dataclass(frozen=True)
class Structure:
    """A class of the label dictionary in a report's words."""

    label: int
    class_name: str
    name: str
    """With its side: "left kidney", "T12 vertebra"."""
    region: str
    organ: str
    subsite: str | None
    laterality: str | None


@lru_cache(maxsize=1)
def structures() -> Mapping[int, Structure]:
    """Every class of the dictionary in words, by label value."""
    return {label: _structure(label, name) for label, name in CLASSES.items()}


def _structure(label: int, class_name: str) -> Structure:
    region = next(region for pattern, region in _REGIONS if re.search(pattern, class_name))
    side = re.search(r"(?:^|_)(left|right)(?=_|$)", class_name)
    laterality = side[1] if side else None
    if vertebra := re.fullmatch(r"vertebrae_([A-Z]\d+)", class_name):
        return Structure(label, class_name, f"{vertebra[1]} vertebra", region, "vertebra", vertebra[1], None)
    if rib := re.fullmatch(r"rib_(left|right)_(\d+)", class_name):
        ordinal = _ORDINALS[int(rib[2]) - 1]
        return Structure(label, class_name, f"{rib[1]} {ordinal} rib", region, "rib", ordinal, rib[1])
    stem = re.sub(r"_(left|right)(?=_|$)", "", class_name)
    organ, subsite = _WORDS.get(stem, (stem.replace("_", " "), None))
    if organ == "lung":
        words = f"{subsite} of the {laterality} lung"
    elif subsite is not None and organ != "gluteus muscle":
        words = f"{laterality} {organ} {subsite}" if organ == "kidney" else f"{laterality} {subsite}"
    elif organ == "gluteus muscle":
        words = f"{laterality} gluteus {subsite} muscle"
    else:
        words = f"{laterality} {organ}" if laterality else organ
    return Structure(label, class_name, words, region, organ, subsite, laterality)


QUESTIONS = (
    "Which structure is highlighted in the PET image?",
    "Please name the highlighted structure.",
    "What anatomical structure does the mask show?",
    QUESTION,
)
"""Asked in turn, by a hash of the sample; the last one is the findings' own, so that one prompt serves both."""

_IN_REGION = {
    HEAD_NECK: "in the head and neck",
    CHEST: "in the chest",
    ABDOMEN_PELVIS: "in the abdomen and pelvis",
    MUSCULOSKELETAL: "of the musculoskeletal system",
}


def answer_of(structure: Structure, question: str = QUESTIONS[0]) -> str:
    """The target text of a structure: its name, side and region in one sentence; to the findings' own question, the
    fields of a finding.

    In the findings' form what is learnt of region and side serves the stages that follow word for word.
    """
    if question == QUESTION:
        return compose(asdict(structure))
    return f"The {structure.name}, {_IN_REGION[structure.region]}."


class AnatomyError(ValueError):
    """A label map that cannot be used; the message names exam and remedy."""


def anatomy_samples(
    exams: pl.DataFrame,
    label_maps: Mapping[str, Path],
    home: Home,
    *,
    splits: SplitSettings = DEFAULT_SPLITS,
    min_ml: float = 0.5,
) -> tuple[pl.DataFrame, dict[str, str]]:
    """(samples, problems): a question-answer pair for every structure of every label map, as rows of the `samples`
    table.

    `exams` are rows of the table `exams`; only those with status `ok` and a label map (exam id -> file) give samples. A
    map on another grid than the PET's is compared by volume in its own and placed when inputs are made. Structures
    under `min_ml` and labels outside the dictionary are left out, the latter as a problem. `problems` maps an exam to
    what is wrong with its map; the other exams are done.
    """
    rows: list[dict[str, object]] = []
    problems: dict[str, str] = {}
    for exam in exams.sort("exam_id").iter_rows(named=True):
        path = label_maps.get(exam["exam_id"])
        if path is None or exam.get("status", "ok") != "ok":
            continue
        try:
            present, unknown = _labels_of(Path(path), load_nifti(home.file(exam["suv_path"])), min_ml)
        except (AnatomyError, ExamError, OSError) as error:
            problems[exam["exam_id"]] = f"exam {exam['exam_id']}: {reason_of(error)}"
            continue
        if unknown:
            problems[exam["exam_id"]] = (
                f"exam {exam['exam_id']}: expected labels 1..{len(CLASSES)} ({LABEL_SCHEME}), got {unknown} "
                "too, which are left out"
            )
        rows += [_row(exam, structures()[label], Path(path), splits, slice_number) for label, slice_number in present]
    return frame("samples", rows), problems


def _labels_of(path: Path, reference: Volume, min_ml: float) -> tuple[list[tuple[int, int]], list[int]]:
    """((label, slice of its middle) of every large enough structure, labels outside the dictionary)."""
    if not path.is_file():
        raise AnatomyError(
            f"expected a label map at {path}, it is not there: run TotalSegmentator, or drop the exam from the list"
        )
    label_map = load_nifti(path)
    array = np.asarray(label_map.array)
    if array.dtype.kind not in "iu":
        if not np.array_equal(array, np.round(array)):
            raise AnatomyError(
                f"expected whole numbers as labels in {path}, got fractions: save the label map without interpolation"
            )
        array = np.round(array).astype(np.int32)
    if not label_map.same_grid(reference):
        array = np.asarray(resample_to(Volume(array, label_map.affine), reference, order=0).array)
    # One pass for all labels: how many voxels of each lie in each slice.
    n_slices = array.shape[2]
    low, high = int(array.min()), int(array.max())
    if low < 0:
        raise AnatomyError(f"expected labels from 0 up in {path}, got {low}")
    counts = np.stack([np.bincount(array[:, :, k].ravel(), minlength=high + 1) for k in range(n_slices)], axis=1)
    totals = counts.sum(axis=1)
    found = [int(v) for v in np.flatnonzero(totals) if v > 0]
    large = [v for v in found if v in CLASSES and totals[v] * reference.voxel_ml >= min_ml]
    middles = [int(np.searchsorted(np.cumsum(counts[v]), totals[v] / 2)) for v in large]
    return [(v, n_slices - k) for v, k in zip(large, middles)], [v for v in found if v not in CLASSES]


def _row(
    exam: Mapping[str, object], structure: Structure, path: Path, splits: SplitSettings, slice_number: int
) -> dict[str, object]:
    sample_id = f"{exam['exam_id']}:{structure.class_name}"
    question = QUESTIONS[int(hash_of(sample_id), 16) % len(QUESTIONS)]
    return {
        "sample_id": sample_id,
        "kind": "anatomy",
        "exam_id": exam["exam_id"],
        "patient_id": exam["patient_id"],
        "split": split_of_exam(exam, splits),
        "question": question,
        "target": answer_of(structure, question),
        "suv_path": exam["suv_path"],
        "ct_path": exam.get("ct_path"),
        "mask_path": str(path),
        "mask_label": structure.label,
        "region": structure.region,
        "organ": structure.organ,
        "subsite": structure.subsite,
        "laterality": structure.laterality,
        "slice": slice_number,
    }
