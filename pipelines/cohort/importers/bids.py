"""BIDS-PET: sub-*/[ses-*/]pet/*_pet with JSON files, participants.tsv, masks beside them or below derivatives/.

Attributes are inherited as BIDS says: those of a JSON file nearer to the image replace those above it.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.cohort.importers.mapping import BidsMapping
from pipelines.cohort.importers.plan import ImportedExam, ImportedMask, ImportPlan, image_stem, plan_of
from pipelines.cohort.table_files import TableFileError, read_table_file
from pipelines.tables.split_names import SPLIT_WORDS, split_named

_NOT_KNOWN = ("", "n/a")
_NOT_RAW = ("derivatives", "sourcedata", "code")
"""Folders of a data set whose images are not its own."""
_OF_SCAN = ("sub", "ses", "trc", "rec", "run")
"""Entities that tell one PET from another: a mask is of it where none of them differs."""
_KG = {"kg": 1.0, "kilogram": 1.0, "kilograms": 1.0, "g": 1e-3, "gram": 1e-3, "lb": 0.45359237, "lbs": 0.45359237}
"""Unit of a weight as participants.json names it -> kg."""


def plan_bids(root: Path, mapping: BidsMapping) -> ImportPlan:
    """The exams of a BIDS data set: one for every `_pet` image, with the attributes of its JSON files and the weight of
    participants.tsv, from which its SUV is computed when it is read.

    Raises:
        ImporterError: there is none.
    """
    people, problems = _participants(root, mapping)
    images = [path for path in sorted(root.rglob("sub-*")) if image_stem(path)]
    exams = []
    for pet in _raw(images, root):
        stem = str(image_stem(pet))
        if not stem.endswith("_pet"):
            continue
        subject = stem.split("_")[0]
        attributes = _inherited(pet, root, problems)
        if subject in people.weights:
            attributes.setdefault("PatientWeight", people.weights[subject])
        exam_id = stem.removesuffix("_pet")
        ct = _of_scan(pet, _ending(_raw(images, root), mapping.ct), ("sub", "ses"))
        if len(ct) > 1:
            problems.append(f"exam {exam_id}: {len(ct)} CT images, imported without a CT")
        masks = _of_scan(pet, _ending(images, mapping.mask), _OF_SCAN)
        lesions = [path for path in masks if _is_of_lesions(path, mapping)]
        problems += [
            f"exam {exam_id}: {path.name} left out, its label- or desc- is none of {', '.join(mapping.lesion)}"
            for path in masks
            if path not in lesions
        ]
        exams.append(
            ImportedExam(
                exam_id,
                subject,
                pet,
                ct[0] if len(ct) == 1 else None,
                tuple(ImportedMask(mask, "labels" if "_dseg" in mask.name else "components") for mask in lesions),
                is_suv=False,
                sidecar=attributes,
                tracer=str(attributes["TracerName"]) if attributes.get("TracerName") else None,
                split=people.splits.get(subject),
            )
        )
    return plan_of(exams, problems, "sub-*/[ses-*/]pet/*_pet.nii.gz", root)


def _raw(images: Iterable[Path], root: Path) -> list[Path]:
    """Images that are the data set's own."""
    return [path for path in images if not set(path.relative_to(root).parts) & set(_NOT_RAW)]


def _ending(images: Iterable[Path], suffixes: Iterable[str]) -> list[Path]:
    return [path for path in images if str(image_stem(path)).endswith(tuple(f"_{suffix}" for suffix in suffixes))]


def _entities(path: Path) -> dict[str, str]:
    """Entities of a file's name: key -> value."""
    pairs = (part.split("-", 1) for part in str(image_stem(path)).split("_") if "-" in part)
    return {key: value for key, value in pairs}


def _of_scan(pet: Path, images: Iterable[Path], keys: Iterable[str]) -> list[Path]:
    """Images of a PET's subject and session, in none of whose keys they differ; of equal names the first."""
    own = _entities(pet)
    needed = {key: own[key] for key in ("sub", "ses") if key in own}
    found: dict[str, Path] = {}
    for path in images:
        theirs = _entities(path)
        is_same = all(theirs.get(key, own.get(key)) == own.get(key) for key in keys)
        if is_same and all(theirs.get(key) == value for key, value in needed.items()):
            found.setdefault(path.name, path)
    return list(found.values())


def _is_of_lesions(path: Path, mapping: BidsMapping) -> bool:
    """Whether a mask's `label-` or `desc-`, where it has one, says that it shows lesions."""
    said = [value for key, value in _entities(path).items() if key in ("label", "desc")]
    return not said or any(word in value.lower() for value in said for word in mapping.lesion)


@dataclass
class _People:
    """Of each participant the body weight in kg and the split, as far as the set has them."""

    weights: dict[str, float] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)


def _participants(root: Path, mapping: BidsMapping) -> tuple[_People, list[str]]:
    """(what participants.tsv says, what was wrong)."""
    people, problems = _People(), []
    try:
        table = read_table_file(root / "participants.tsv")
        names = [re.sub(r"\s*[\[(]kg[\])]$", "", name.strip().lower()) for name in table.header]
        rows = [dict(zip(names, (cell.strip() for cell in row.cells), strict=False)) for row in table.rows]
    except (OSError, TableFileError):
        why = "no participants.tsv that can be read: body weights have to stand in JSON files (PatientWeight)"
        return people, [why]
    column, split_column, of_people = (
        next((name for name in wanted if name in names), None)
        for wanted in (mapping.weight, mapping.split, ("participant_id",))
    )
    if of_people is None:
        return people, [f"participants.tsv has no column participant_id, but {', '.join(names)}"]
    if column is None:
        problems.append(f"participants.tsv has no column {' or '.join(mapping.weight)}, but {', '.join(names)}")
    factor = _kg_of(root, table.header[names.index(column)].strip(), problems) if column else None
    for row in rows:
        name = row.get(of_people, "")
        name = name if name.startswith("sub-") else f"sub-{name}"
        said = row.get(split_column, "") if split_column else ""
        if (split := split_named(said)) is not None:
            people.splits[name] = split
        elif said not in _NOT_KNOWN:
            problems.append(f"{name}: {split_column} names none of {', '.join(SPLIT_WORDS)}")
        value = row.get(column, "") if column else ""
        if value in _NOT_KNOWN or factor is None:
            continue
        try:
            people.weights[name] = float(value.replace(",", ".")) * factor
        except ValueError:
            problems.append(f"{name}: expected a weight in kg in {column}, got another value")
    return people, problems


def _kg_of(root: Path, column: str, problems: list[str]) -> float | None:
    """What a weight of the column is times, in kg, by participants.json; null where its unit is none of mass."""
    try:
        about = json.loads((root / "participants.json").read_text("utf-8-sig"))
        unit = about[column]["Units"]
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return 1.0
    factor = _KG.get(str(unit).strip().lower())
    if factor is None:
        problems.append(
            f"participants.json: the unit of {column} is none of {', '.join(_KG)}: its weights are left out"
        )
    return factor


def _inherited(pet: Path, root: Path, problems: list[str]) -> dict[str, Any]:
    """Attributes of a PET: of every JSON file on its way from the root whose entities it has."""
    own = set(str(image_stem(pet)).split("_"))
    folders = [folder for folder in reversed(pet.parents) if folder == root or root in folder.parents]
    attributes: dict[str, Any] = {}
    for folder in folders:
        for path in sorted(folder.glob("*pet.json"), key=lambda p: len(p.name)):
            if not set(path.stem.split("_")) <= own:
                continue
            try:
                content = json.loads(path.read_text("utf-8"))
            except (OSError, ValueError, RecursionError):
                problems.append(f"{path.relative_to(root)} is no JSON that can be read, left out")
                continue
            if isinstance(content, Mapping):
                attributes |= content
    return attributes
