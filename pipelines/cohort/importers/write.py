"""A cohort folder made of a data set: links to its images, and a table of reports."""

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
from numpy.typing import NDArray

from pipelines.cohort.importers.autopet import plan_autopet
from pipelines.cohort.importers.bids import plan_bids
from pipelines.cohort.importers.mapping import (
    AutopetMapping,
    BidsMapping,
    Layout,
    NnunetMapping,
    SetMapping,
    TableMapping,
)
from pipelines.cohort.importers.nnunet import plan_nnunet
from pipelines.cohort.importers.plan import ImportedExam, ImporterError, ImportPlan, image_suffix
from pipelines.cohort.importers.table import plan_table
from pipelines.cohort.table_files import TableFileError, is_blank, read_table_file
from pipelines.tables import atomic
from pipelines.tables.safe_text import error_reason

GIVEN_NAME = "given_masks.csv"
"""What of each given mask is a lesion, and what is said of it."""
IMPORT_NAME = "import.json"
"""Says which data sets a cohort folder was made of, and their exams; a folder without it is not written into."""
_SAME_VOXELS = 0.05
"""Part of a voxel by which a mask may lie beside its PET, as where masks are read."""


def plan_import(layout: Layout, source: Path, mapping: SetMapping) -> ImportPlan:
    """What an importer finds in a data set, without masks whose grid is not the PET's.

    Args:
        layout: which importer.
        source: folder of the data set, of `table` the table.
        mapping: that of the layout.
    """
    if not source.exists():
        raise ImporterError(f"expected a data set at {source}, it is not there: correct the path")
    match mapping:
        case NnunetMapping():
            plan = plan_nnunet(source, mapping)
        case AutopetMapping():
            plan = plan_autopet(source, mapping)
        case BidsMapping():
            plan = plan_bids(source, mapping)
        case TableMapping():
            plan = plan_table(source, mapping)
    exams, problems = [], list(plan.problems)
    for exam in plan.exams:
        faults = {path: _grid_fault(exam.pet, path) for path in dict.fromkeys(mask.path for mask in exam.masks)}
        problems += [f"exam {exam.exam_id}: given mask left out: {fault}" for fault in faults.values() if fault]
        texts = [mask.text for mask in exam.masks if faults[mask.path] and mask.text]
        if texts:
            problems.append(f"exam {exam.exam_id}: {len(texts)} texts of masks that were left out stand in its report")
        findings = "\n".join(filter(None, (exam.findings, *texts))) or None
        masks = tuple(mask for mask in exam.masks if not faults[mask.path])
        exams.append(replace(exam, masks=masks, findings=findings))
    return ImportPlan(tuple(exams), tuple(problems))


def _grid_fault(pet: Path, mask: Path) -> str | None:
    """What tells that a mask is not on the grid of its PET; None where it is, or where a header cannot be compared (the
    exam's reading says what is wrong with it).
    """
    if not all(image_suffix(path) in (".nii.gz", ".nii") for path in (pet, mask)):
        return None
    try:
        (shape, affine), (of_mask, affine_of_mask) = (_grid(path) for path in (pet, mask))
    except Exception:
        return "its header cannot be read"
    if shape != of_mask:
        return f"it has shape {of_mask}, the PET {shape}"
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1)
    apart = float(np.abs((affine - affine_of_mask) @ np.vstack([corners, np.ones(8)])).max())
    most = _SAME_VOXELS * float(np.linalg.norm(affine[:3, :3], axis=0).min())
    return f"it lies up to {apart:.3g} mm beside the PET's grid" if not apart <= most else None


def _grid(path: Path) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """(shape, affine) of a NIfTI once its axes are in RAS+ order, by its header alone."""
    image: Any = nibabel.load(path)
    shape = tuple(int(n) for n in image.shape[:3])
    axes = nibabel.io_orientation(image.affine)
    turned = dict(zip(axes[:, 0].astype(int), shape, strict=True))
    return tuple(turned[axis] for axis in range(3)), image.affine @ nibabel.orientations.inv_ornt_aff(axes, shape)


def write_cohort(plan: ImportPlan, target: Path, layout: Layout, source: Path) -> tuple[str, ...]:
    """Writes the cohort folder of a plan: `exams/<exam>/` with links named as a curation and the external set read
    them, `reports.csv`, `given_masks.csv`, and `import.json`. What comes back tells which exams are left out.

    Writing again replaces what an earlier import of the set wrote, and removes exams that it does not have any more.
    Exams of other sets that were imported into the folder stay.

    Raises:
        ImporterError: the folder holds something else, a file of it cannot be read, or a link cannot be made.
    """
    marker = target / IMPORT_NAME
    if source.is_dir() and target.resolve().is_relative_to(source.resolve()):
        raise ImporterError(
            f"expected a folder outside of the data set, got {target} in {source}: name another by --to"
        )
    if target.is_dir() and any(target.iterdir()) and not marker.is_file():
        raise ImporterError(
            f"expected a new or an imported folder, got {target} with other files: name another by --to"
        )
    sets = _sets(marker)
    own = _Set(layout, str(source.resolve()))
    # Of a set that was moved nothing is left: its exams are those of the one that is imported now.
    others = {one: exams for one, exams in sets.items() if one != own and Path(one.source).exists()}
    owners = {exam_id: one for one, exams in others.items() for exam_id in exams}
    told = [
        f"exam {e.exam_id}: left out, {owners[e.exam_id].source} has it too" for e in plan.exams if e.exam_id in owners
    ]
    exams = [exam for exam in plan.exams if exam.exam_id not in owners]
    wanted = {exam.exam_id for exam in exams}
    gone = {exam_id for known in sets.values() for exam_id in known} - wanted - owners.keys()
    reports = _merged(target / "reports.csv", _REPORT_COLUMNS, _reports(exams), wanted | gone)
    given = _merged(target / GIVEN_NAME, _GIVEN_COLUMNS, _given_masks(exams), wanted | gone)
    try:
        (target / "exams").mkdir(parents=True, exist_ok=True)
        # Before the links: a folder that is half written is one that can be written again.
        atomic.write_bytes(marker, _listed({**others, own: wanted | gone}))
        for exam in exams:
            _write_exam(exam, target / "exams" / exam.exam_id)
        for exam_id in gone:
            _remove_exam(target / "exams" / exam_id)
        atomic.write_bytes(target / "reports.csv", reports)
        atomic.write_bytes(target / GIVEN_NAME, given)
        atomic.write_bytes(marker, _listed({**others, own: wanted}))
    except OSError as error:
        raise ImporterError(f"expected to write links into {target}, failed: {os.strerror(error.errno or 0)}") from None
    return tuple(told)


class _Set(NamedTuple):
    """A data set that was imported into a cohort folder."""

    layout: str
    source: str


def _sets(marker: Path) -> dict[_Set, Set[str]]:
    """Set -> its exams in a cohort folder."""
    if not marker.is_file():
        return {}
    try:
        listed = json.loads(marker.read_text("utf-8"))["sets"]
        return {_Set(one["layout"], one["source"]): frozenset(one["exams"]) for one in listed}
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        raise ImporterError(
            f"expected {marker} as an import wrote it, it cannot be read: import the sets into a new folder"
        ) from None


def _listed(sets: Mapping[_Set, Set[str]]) -> bytes:
    content = [{**one._asdict(), "exams": sorted(exams)} for one, exams in sorted(sets.items())]
    return (json.dumps({"sets": content}, indent=1, ensure_ascii=False) + "\n").encode()


Rows = Iterable[Sequence[str]]


def _merged(path: Path, columns: Sequence[str], rows: Rows, replaced: Set[str]) -> bytes:
    """A table of a cohort with new rows, and those of exams that are not replaced, by exam.

    Raises:
        ImporterError: the table that is there cannot be read.
    """
    before: list[dict[str, str]] = []
    if path.is_file():
        try:
            table = read_table_file(path)
            names = [name.strip().lower() for name in table.header]
            before = [dict(zip(names, row.cells, strict=False)) for row in table.rows if not is_blank(row.cells)]
        except (OSError, TableFileError) as error:
            reason = str(error) if isinstance(error, TableFileError) else error_reason(error)
            raise ImporterError(f"expected {path} as a table, it cannot be read ({reason})") from None
    kept = [row for row in before if row.get(columns[0], "") not in replaced]
    new = [dict(zip(columns, row, strict=True)) for row in rows]
    more = [name for row in kept for name in row if name not in columns]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*columns, *dict.fromkeys(more)], lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(sorted([*kept, *new], key=lambda row: row.get(columns[0], "")))
    return text.getvalue().encode()


def _remove_exam(folder: Path) -> None:
    if folder.is_dir() and not folder.is_symlink():
        _clear(folder)
        with suppress(OSError):  # What somebody else put there stays.
            folder.rmdir()


def _write_exam(exam: ImportedExam, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    _clear(folder)
    name = "SUV" if exam.is_suv else "PET"
    _link(exam.pet, folder, name)
    if exam.sidecar is not None:
        atomic.write_bytes(folder / f"{name}.json", json.dumps(dict(exam.sidecar), indent=1, sort_keys=True).encode())
    if exam.ct is not None:
        _link(exam.ct, folder, "CT")
    for path, name in _mask_names(exam).items():
        (folder / name).symlink_to(path.resolve())


def _mask_names(exam: ImportedExam) -> dict[Path, str]:
    """File of each given mask -> the name of its link."""
    paths = dict.fromkeys(mask.path for mask in exam.masks)
    return {path: f"SEG{f'_{n}' if n > 1 else ''}{image_suffix(path)}" for n, path in enumerate(paths, start=1)}


def _link(path: Path, folder: Path, name: str) -> None:
    (folder / f"{name}{image_suffix(path)}").symlink_to(path.resolve())


def _clear(folder: Path) -> None:
    """Removes the links and the sidecar of an earlier import; other files stay."""
    for path in folder.iterdir():
        if path.is_symlink() or path.name in ("SUV.json", "PET.json"):
            path.unlink()


_REPORT_COLUMNS = ("exam_id", "patient_id", "findings", "study_date", "tracer", "split")
_GIVEN_COLUMNS = ("exam_id", "mask", "label", "lesions", "text")


def _reports(exams: Iterable[ImportedExam]) -> Rows:
    for exam in exams:
        said = (exam.findings, exam.study_date, exam.tracer, exam.split)
        yield (exam.exam_id, exam.patient_id, *(value or "" for value in said))


def _given_masks(exams: Iterable[ImportedExam]) -> Rows:
    for exam in exams:
        names = _mask_names(exam)
        for mask in exam.masks:
            yield (exam.exam_id, names[mask.path], str(mask.label or ""), mask.lesions, mask.text or "")
