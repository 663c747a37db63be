"""BIDS-PET: sub-*/[ses-*/]pet/*_pet with JSON files, participants.tsv, masks beside them or below derivatives/.

Attributes are inherited as BIDS says: those of a JSON file nearer to the image replace those above it.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.cohort.importers.mapping import BidsMapping
from pipelines.cohort.importers.plan import (
    ImportedExam,
    ImportedMask,
    ImportPlan,
    image_paths,
    image_stem,
    lesion_labels,
    plan_of,
)
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
    the session or the participant, from which its SUV is computed when it is read.

    Raises:
        ImporterError: there is none.
    """
    people, problems = _participants(root, mapping)
    images = [path for path in image_paths(root) if path.name.startswith("sub-")]
    exams = []
    for pet in _raw(images, root):
        stem = str(image_stem(pet))
        if not stem.endswith("_pet"):
            continue
        subject = stem.split("_")[0]
        attributes = _inherited(pet, root, problems)
        weight = _session_weight(root, pet, mapping, problems) or people.weights.get(subject)
        if weight is not None:
            attributes.setdefault("PatientWeight", weight)
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
                tuple(one for mask in lesions for one in _given(mask, exam_id, mapping, problems)),
                is_suv=False,
                sidecar=attributes,
                tracer=str(attributes["TracerName"]) if attributes.get("TracerName") else None,
                split=people.splits.get(subject),
            )
        )
    if people.no_weights and not all("PatientWeight" in (exam.sidecar or {}) for exam in exams):
        problems.append(people.no_weights)
    # A file above several images says the same of each.
    return plan_of(exams, dict.fromkeys(problems), "sub-*/[ses-*/]pet/*_pet.nii.gz", root)


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


def _given(mask: Path, exam_id: str, mapping: BidsMapping, problems: list[str]) -> list[ImportedMask]:
    """The given masks of a file; of a `_dseg` with a table of its labels those that its names say are lesions."""
    if "_dseg" not in mask.name:
        return [ImportedMask(mask)]
    table = mask.with_name(f"{image_stem(mask)}.tsv")
    names: dict[int, str] = {}
    if table.is_file():
        rows = _rows_of(table) or []
        names = {int(row["index"]): row.get("name", "") for row in rows if row.get("index", "").isdecimal()}
        if not names:
            problems.append(f"exam {exam_id}: {table.name} has no index and name of a label: every label is a lesion")
    labels, others = lesion_labels(names, mapping.lesion)
    if others:
        problems.append(f"exam {exam_id}: labels of {mask.name} that are no lesions, left out: {', '.join(others)}")
    return [ImportedMask(mask, "labels", label) for label in labels]


@dataclass
class _People:
    """Of each participant the body weight in kg and the split, as far as the set has them."""

    weights: dict[str, float] = field(default_factory=dict)
    no_weights: str = ""
    """Why there are none at all."""
    splits: dict[str, str] = field(default_factory=dict)


def _participants(root: Path, mapping: BidsMapping) -> tuple[_People, list[str]]:
    """(what participants.tsv says, what was wrong)."""
    people = _People()
    problems: list[str] = []
    rows = _rows_of(root / "participants.tsv")
    if not rows:
        people.no_weights = "no participants.tsv with rows that can be read: body weights have to stand in JSON files"
        return people, []
    names = list(rows[0])
    if "participant_id" not in names:
        return people, [f"participants.tsv has no column participant_id, but {', '.join(names)}"]
    if not any(name in names for name in mapping.weight):
        people.no_weights = f"participants.tsv has no column {' or '.join(mapping.weight)}, but {', '.join(names)}"
    people.weights = _weights(rows, "participant_id", "sub-", mapping, root / "participants.json", problems)
    split_column = next((name for name in mapping.split if name in names), None)
    for row in rows if split_column else ():
        name, said = _named(row["participant_id"], "sub-"), row.get(str(split_column), "")
        if (split := split_named(said)) is not None:
            people.splits[name] = split
        elif said not in _NOT_KNOWN:
            problems.append(f"{name}: {split_column} names none of {', '.join(SPLIT_WORDS)}")
    return people, problems


def _session_weight(root: Path, pet: Path, mapping: BidsMapping, problems: list[str]) -> float | None:
    """Weight of the patient in the session of a PET, in kg, by the sessions.tsv of its subject; null where none says
    it."""
    own = _entities(pet)
    subject, session = f"sub-{own.get('sub')}", own.get("ses")
    path = root / subject / f"{subject}_sessions.tsv"
    if session is None or not path.is_file():
        return None
    about = path.with_suffix(".json")
    about = about if about.is_file() else root / "sessions.json"
    return _weights(_rows_of(path) or [], "session_id", "ses-", mapping, about, problems).get(f"ses-{session}")


def _weights(
    rows: Sequence[Mapping[str, str]],
    id_column: str,
    prefix: str,
    mapping: BidsMapping,
    about: Path,
    problems: list[str],
) -> dict[str, float]:
    """Participant or session -> body weight in kg, of those that a table gives one."""
    column = next((name for name in mapping.weight if rows and name in rows[0]), None)
    if column is None or id_column not in rows[0]:
        return {}
    factor = _kg_of(about, column, problems)
    weights = {}
    for row in rows if factor is not None else ():
        name, value = _named(row.get(id_column, ""), prefix), row.get(column, "")
        if value in _NOT_KNOWN:
            continue
        try:
            weights[name] = float(value.replace(",", ".")) * (factor or 1.0)
        except ValueError:
            problems.append(f"{name}: expected a weight in kg in {column}, got another value")
    return weights


def _rows_of(path: Path) -> list[dict[str, str]] | None:
    """Rows of a table by its columns, in lower case and without `(kg)`; null where it cannot be read."""
    try:
        table = read_table_file(path)
        names = [_column(name) for name in table.header]
        return [dict(zip(names, (cell.strip() for cell in row.cells), strict=False)) for row in table.rows]
    except (OSError, TableFileError):
        return None


def _column(name: str) -> str:
    return re.sub(r"\s*[\[(]kg[\])]$", "", name.strip().lower())


def _named(name: str, prefix: str) -> str:
    return name if name.startswith(prefix) else f"{prefix}{name}"


def _kg_of(about: Path, column: str, problems: list[str]) -> float | None:
    """What a weight of the column is times, in kg, by the JSON file beside its table; null where its unit is none of
    mass."""
    try:
        described = json.loads(about.read_text("utf-8-sig"))
        unit = next(value for name, value in described.items() if _column(name) == column)["Units"]
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError, StopIteration):
        return 1.0
    factor = _KG.get(str(unit).strip().lower())
    if factor is None:
        problems.append(f"{about.name}: the unit of {column} is none of {', '.join(_KG)}: its weights are left out")
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
                content = json.loads(path.read_text("utf-8-sig"))
            except (OSError, ValueError, RecursionError):
                problems.append(f"{path.relative_to(root)} is no JSON that can be read, left out")
                continue
            if isinstance(content, Mapping):
                attributes |= content
    return attributes
