"""A page an exam of the review queue: the whole exam to scroll through, from disk, without a server or a network.

`exams/<exam>/` of the gallery holds `index.html`, and `exam.js` with the PET, the CT as the cohort has it, the contours
and the places of the findings. All positions in it are mm along the axes of the PET (its first voxel at 0), in which
its voxels are aligned however the patient lay; `to_ras` leads back to RAS mm.
"""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.exports.exam_report import place_words
from pipelines.imaging.masks import load_mask
from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.own_ct import read_own_ct
from pipelines.imaging.volume import Box, SliceGrid, Volume, load_nifti, slices_of
from pipelines.review import html_page
from pipelines.review.packed_images import PackedImage, block_means, packed, smoothed_outside
from pipelines.review.proposal_rows import OUTCOME as PROPOSAL
from pipelines.settings import ExamSettings, ReviewSettings
from pipelines.tables import atomic
from pipelines.tables.errors import reason_of
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home, folder_name
from pipelines.tables.provenance import code_version
from pipelines.tables.stamped_folders import remove_others, stamp_of, write_stamp

FOLDER = "exams"
"""Folder of the pages in that of the gallery."""
_DATA, _PAGE, _STAMP = "exam.js", "index.html", ".exam.json"
_TEMPLATE = Path(__file__).with_name("viewer.html")
_PARTS = ("head.html", "header.html", "viewer.js", "answers.js", "answers.html", "page.js", "page.css")
"""What is in the template beside its own text."""

SUV_STEP = 0.01
"""Step of the stored SUV: a value is off by half of it at most [SUV]."""
PET_PART = 0.6
"""Part of the page that the PET takes at most where there is a CT."""
FREE_BYTES = 300_000
"""Of the page for all but PET and CT."""
MOST_FACTOR = 4
"""Blocks of so many voxels a side at most."""
KEPT_MM = 15.0
"""Around contours and places the PET is never averaged within this."""
SAME_MM = 0.5
"""Slices of the CT lie where the curation found them, to this."""


@dataclass(frozen=True)
class ExamSources:
    """Where the images of the cohort lie, and how they are read.

    Args:
        folders: exam -> its folder in the cohort; of an exam without one the CT on the PET's grid is shown.
        has_true_dates: whether the table's dates are those of the images.
    """

    folders: Mapping[str, Path] = field(default_factory=dict)
    settings: ExamSettings = field(default_factory=ExamSettings)
    has_true_dates: bool = True


@dataclass(frozen=True)
class PagesSummary:
    """What a call did, in exams; `failed` has the reason by exam."""

    written: int
    reused: int
    removed: int
    failed: Mapping[str, str]


def page_of(exam_id: str) -> str:
    """Address of an exam's page in the gallery."""
    return f"{FOLDER}/{folder_name(exam_id)}/{_PAGE}"


def write_exam_pages(
    folder: Path,
    rows: pl.DataFrame,
    exams: pl.DataFrame,
    home: Home,
    settings: ReviewSettings,
    sources: ExamSources = ExamSources(),
) -> PagesSummary:
    """Brings the pages below a gallery's folder up to the findings of its exams; those of other exams are removed.

    A page is written again where the exam, its findings or this code changed. An exam whose page cannot be written is
    named with the reason, and has none.

    Args:
        folder: of the gallery.
        rows: findings as `finding_rows` gives them, all of each exam of the queue.
        exams: as the table.
        settings: size of a page.
        sources: the cohort.
    """
    log = logging.getLogger(__name__)
    base = folder / FOLDER
    known = {row["exam_id"]: row for row in exams.iter_rows(named=True)}
    written = reused = 0
    failed: dict[str, str] = {}
    by_exam = {str(exam_id): own.to_dicts() for (exam_id,), own in rows.group_by("exam_id", maintain_order=True)}
    wanted = {exam_id: own for exam_id, own in by_exam.items() if (known.get(exam_id) or {}).get("suv_path")}
    removed = remove_others(base, _STAMP, {folder_name(exam_id) for exam_id in wanted})
    code = code_version(__name__)
    for exam_id, own in wanted.items():
        exam, target = known[exam_id], base / folder_name(exam_id)
        shown = [_facts(row) for row in own]
        has_source = exam_id in sources.folders
        key = hash_of(code, exam.get("row_key"), exam["suv_path"], exam.get("ct_path"), shown, settings, has_source)
        if stamp_of(target, _STAMP) == key and (target / _DATA).is_file() and (target / _PAGE).is_file():
            reused += 1
            continue
        shutil.rmtree(target, ignore_errors=True)
        try:
            _write(target, exam, own, home, settings, sources)
        except (ExamError, OSError, ValueError) as error:
            shutil.rmtree(target, ignore_errors=True)
            failed[exam_id] = reason_of(error)
            log.warning("exam %s has no page for review: %s", exam_id, failed[exam_id])
            continue
        write_stamp(target, _STAMP, key)
        written += 1
    return PagesSummary(written, reused, removed, failed)


_SHOWN = (
    *("finding_id", "image_outcome", "organ", "laterality", "subsite", "is_physiologic", "slice_k", "mask_path"),
    *("peak_i", "peak_j", "peak_k", "peak_x_mm", "peak_y_mm", "peak_z_mm", "n_voxels", "suvmax", "mtv_ml"),
    *("threshold_suv", "candidates"),
)


def _facts(row: Mapping[str, Any]) -> list[Any]:
    return [row.get(name) for name in _SHOWN]


def _write(
    target: Path,
    exam: Mapping[str, Any],
    own: Sequence[Mapping[str, Any]],
    home: Home,
    settings: ReviewSettings,
    sources: ExamSources,
) -> None:
    pet = load_nifti(home.file(exam["suv_path"]))
    masks = {row["finding_id"]: load_mask(home.file(row["mask_path"])) for row in own if row.get("mask_path")}
    findings = _findings(own, pet, masks)
    room = int(settings.page_mb * 1e6) - FREE_BYTES - len(html_page.render(_TEMPLATE))
    room -= sum(len(f["mask"]["data"]) for f in findings if f["mask"])
    ct, note = _ct_of(exam, home, pet, sources)
    pet_json = _packed_pet(pet, _kept_boxes(findings, pet), room if ct is None else int(PET_PART * room))
    data = {
        "exam": exam["exam_id"],
        "pet": pet_json,
        "to_ras": (pet.affine @ np.diag([*(1 / s for s in pet.spacing_mm), 1.0]))[:3].round(9).ravel().tolist(),
        "ct": None if ct is None else _packed_ct(ct, pet, room - len(pet_json["data"])),
        "ct_note": note,
        "findings": findings,
    }
    text = f"const EXAM = {json.dumps(data, ensure_ascii=True, separators=(',', ':'))};\n"
    atomic.write_bytes(target / _DATA, text.encode())
    atomic.write_bytes(target / _PAGE, html_page.render(_TEMPLATE))


def _ct_of(exam: Mapping[str, Any], home: Home, pet: Volume, sources: ExamSources) -> tuple[Volume | None, str | None]:
    """The CT as the cohort has it, else on the PET's grid, and why."""
    if not exam.get("ct_path"):
        return None, exam.get("ct_message") or "no CT"
    copy = home.file(exam["ct_path"])
    folder = sources.folders.get(exam["exam_id"])
    why = "the cohort's folder of the exam is not there"
    if folder is not None and folder.is_dir():
        day = exam.get("study_date") if sources.has_true_dates else None
        read = read_own_ct(folder, pet, sources.settings, date.fromisoformat(day) if day else None)
        if read.ct is not None and _is_that_of(exam, slices_of(read.ct)):
            return read.ct, None
        why = read.message or "the cohort holds another CT than the curation saw"
    return load_nifti(copy), f"CT on the PET's grid: {why}"


def _is_that_of(exam: Mapping[str, Any], slices: SliceGrid) -> bool:
    """Whether a CT has the slices that the curation noted."""
    if exam.get("ct_n_slices") is None:
        return True
    first, step = exam["ct_first_mm"] - slices.first_mm, exam["ct_step_mm"] - slices.step_mm
    return slices.n_slices == exam["ct_n_slices"] and abs(first) < SAME_MM and abs(step) < SAME_MM


def _findings(own: Sequence[Mapping[str, Any]], pet: Volume, masks: Mapping[str, Volume]) -> list[dict[str, Any]]:
    """What the page shows of each finding; those with a contour are numbered from the head."""
    height = {f: _ijk(pet, mask.to_ras_mm((np.array(mask.shape) - 1) / 2))[2] for f, mask in masks.items()}
    number = {f: n for n, f in enumerate(sorted(height, key=lambda f: (-height[f], f)), start=1)}
    found = []
    for row in own:
        mask = masks.get(row["finding_id"])
        at = [row.get(f"peak_{axis}_mm") for axis in "xyz"]
        peak = _frame_mm(pet, at) if None not in at else None
        if peak is None and row.get("peak_i") is not None:
            peak = [float(row[f"peak_{axis}"] * s) for axis, s in zip("ijk", pet.spacing_mm)]
        place = place_words(row.get("organ"), row.get("subsite"), row.get("laterality"))
        found.append(
            {
                "id": row["finding_id"],
                "number": number.get(row["finding_id"]),
                "name": place or ("focus" if row.get("image_outcome") == PROPOSAL else "lesion"),
                "physiologic": bool(row.get("is_physiologic")),
                "peak": peak if peak is not None or mask is None else _hottest(pet, mask),
                "suvmax": row.get("suvmax"),
                "slice_k": row.get("slice_k"),
                "candidates": [
                    {"n": c["n"], "at": _frame_mm(pet, [c["x_mm"], c["y_mm"], c["z_mm"]]), "suv": c["suv"]}
                    for c in json.loads(row.get("candidates") or "[]")
                ],
                "mask": _placed(pet, mask) if mask is not None else None,
            }
        )
    return sorted(found, key=lambda f: (f["number"] is None, f["number"] or 0))


def _ijk(pet: Volume, ras_mm: Any) -> NDArray[np.float64]:
    return np.asarray(pet.to_ijk(ras_mm))


def _frame_mm(pet: Volume, ras_mm: Any) -> list[float]:
    """A place as the page counts it: mm along the PET's axes."""
    return [round(float(v), 3) for v in _ijk(pet, ras_mm) * pet.spacing_mm]


def _corner(pet: Volume, mask: Volume) -> NDArray[np.int64]:
    return np.asarray(np.rint(_ijk(pet, mask.affine[:3, 3])), dtype=np.int64)


def _hottest(pet: Volume, mask: Volume) -> list[float]:
    corner = _corner(pet, mask)
    box = tuple(slice(c, c + n) for c, n in zip(corner, mask.shape))
    inside = np.where(mask.array > 0, pet.array[box], -np.inf)
    ijk = np.array(np.unravel_index(int(inside.argmax()), inside.shape)) + corner
    return [round(float(v), 3) for v in ijk * pet.spacing_mm]


def _placed(pet: Volume, mask: Volume) -> dict[str, Any]:
    """A mask's box on the PET's grid."""
    return {**packed((mask.array > 0).astype(np.uint8)).to_json(), "corner": _corner(pet, mask).tolist()}


def _kept_boxes(findings: Sequence[Mapping[str, Any]], pet: Volume) -> list[Box]:
    """Boxes (voxels) around contours, peaks and candidates in which the PET stays as it is."""
    spacing = np.array(pet.spacing_mm)
    ends = []
    for one in findings:
        if one["mask"]:
            low = np.array(one["mask"]["corner"])
            ends.append((low, low + one["mask"]["shape"]))
        for place in [one["peak"], *(c["at"] for c in one["candidates"])]:
            if place is not None:
                at = np.rint(np.array(place) / spacing).astype(int)
                ends.append((at, at + 1))
    margin = np.ceil(KEPT_MM / spacing).astype(int)
    boxes: list[Box] = []
    for low, high in ends:
        i, j, k = (slice(max(0, int(a)), max(0, int(b))) for a, b in zip(low - margin, high + margin))
        boxes.append((i, j, k))
    return boxes


def _packed_pet(pet: Volume, kept: list[Box], room: int) -> dict[str, Any]:
    """The PET for the page; where it has not the room, means of blocks stand for it away from the findings."""
    array = np.asarray(pet.array, np.float32)
    highest = float(np.abs(array).max())
    kind = np.int16 if highest / SUV_STEP <= np.iinfo(np.int16).max else np.int32
    factor, found = 0, None
    while found is None or (len(found.data) > room and factor < MOST_FACTOR):
        factor += 1
        found = packed(np.rint(smoothed_outside(array, factor, kept) / np.float32(SUV_STEP)).astype(kind))
    return {
        **found.to_json(),
        "spacing": list(pet.spacing_mm),
        "step": SUV_STEP,
        "max": float(array.max()),
        "block": factor,
    }


def _packed_ct(ct: Volume, pet: Volume, room: int) -> dict[str, Any]:
    """The CT for the page on its own grid; where it has not the room, on one of blocks of its voxels."""
    ct = replace(ct, array=np.asarray(ct.array))
    factors = [1, 1, 1]
    while True:
        fewer = (factors[0], factors[1], factors[2])
        size = int(np.prod([n // f for n, f in zip(ct.shape, fewer)]))
        is_last = max(factors) >= 2 * MOST_FACTOR
        if size <= MOST_VOXELS_A_BYTE * room or is_last:
            found = _packed_hu(shown := block_means(ct, fewer))
            if len(found.data) <= room or is_last:
                break
        edges = np.array(ct.spacing_mm) * factors
        # Both axes of a slice together, and the slices where they are thinner than these.
        for axis in np.flatnonzero(edges <= edges.min() * 1.05):
            factors[axis] += 1
    to_page = np.diag([*pet.spacing_mm, 1.0]) @ np.linalg.inv(pet.affine) @ shown.affine
    return {
        **found.to_json(),
        "spacing": list(shown.spacing_mm),
        "affine": to_page[:3].round(6).ravel().tolist(),
        "block": factors,
    }


MOST_VOXELS_A_BYTE = 3
"""No CT takes less than a byte of the page for so many voxels: a larger one is not tried."""


def _packed_hu(ct: Volume) -> PackedImage:
    return packed(np.clip(np.rint(ct.array), -32768, 32767).astype(np.int16))
