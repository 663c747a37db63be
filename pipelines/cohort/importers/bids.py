"""BIDS-PET: sub-*/[ses-*/]pet/*_pet with JSON files, participants.tsv.

Attributes are inherited as BIDS says: those of a JSON file nearer to the image replace those above it.
"""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.cohort.importers.mapping import BidsMapping
from pipelines.cohort.importers.plan import ImportedExam, ImportedMask, ImportPlan, image_stem, plan_of
from pipelines.tables.split_names import SPLIT_WORDS, split_named

_NOT_KNOWN = ("", "n/a")


def plan_bids(root: Path, mapping: BidsMapping) -> ImportPlan:
    """The exams of a BIDS data set: one for every `_pet` image, with the attributes of its JSON files and the weight of
    participants.tsv, from which its SUV is computed when it is read.

    Raises:
        ImporterError: there is none.
    """
    people, splits, problems = _participants(root, mapping)
    exams = []
    found = [p for p in sorted(root.rglob("sub-*")) if (stem := image_stem(p)) and stem.endswith("_pet")]
    for pet in found:
        stem = str(image_stem(pet)).removesuffix("_pet")
        entities = stem.split("_")
        subject = entities[0]
        folder = pet.parent.parent
        attributes = _inherited(pet, root, problems)
        weight = people.get(subject)
        if weight is not None:
            attributes.setdefault("PatientWeight", weight)
        session = next((e for e in entities if e.startswith("ses-")), None)
        of_scan = {subject, session} - {None}
        ct, masks = (_beside(folder, of_scan, suffixes) for suffixes in (mapping.ct, mapping.mask))
        if len(ct) > 1:
            problems.append(f"exam {stem}: {len(ct)} CT images, imported without a CT")
        exams.append(
            ImportedExam(
                stem,
                subject,
                pet,
                ct[0] if len(ct) == 1 else None,
                tuple(ImportedMask(mask, "labels" if "_dseg" in mask.name else "components") for mask in masks),
                is_suv=False,
                sidecar=attributes,
                tracer=str(attributes["TracerName"]) if attributes.get("TracerName") else None,
                split=splits.get(subject),
            )
        )
    return plan_of(exams, problems, "sub-*/[ses-*/]pet/*_pet.nii.gz", root)


def _participants(root: Path, mapping: BidsMapping) -> tuple[dict[str, float], dict[str, str], list[str]]:
    """(body weight in kg by participant, split by participant, what was wrong)."""
    path, problems = root / "participants.tsv", []
    weights: dict[str, float] = {}
    try:
        rows = list(csv.DictReader(path.read_text("utf-8-sig").splitlines(), delimiter="\t"))
    except (OSError, UnicodeError, csv.Error):
        return (
            {},
            {},
            ["no participants.tsv that can be read: body weights have to stand in JSON files (PatientWeight)"],
        )
    column = next((name for name in mapping.weight if rows and name in rows[0]), None)
    if column is None:
        seen = ", ".join(rows[0]) if rows else "no row"
        problems.append(f"participants.tsv has no column {' or '.join(mapping.weight)}, but {seen}")
    split_column = next((name for name in mapping.split if rows and name in rows[0]), None)
    splits = {}
    for row in rows if split_column else ():
        said = (row.get(str(split_column)) or "").strip()
        if (split := split_named(said)) is not None:
            splits[str(row.get("participant_id"))] = split
        elif said not in _NOT_KNOWN:
            problems.append(f"{row.get('participant_id')}: {split_column} names none of {', '.join(SPLIT_WORDS)}")
    for row in rows if column else ():
        value = (row.get(str(column)) or "").strip()
        if value in _NOT_KNOWN:
            continue
        try:
            weights[str(row.get("participant_id"))] = float(value)
        except ValueError:
            problems.append(f"{row.get('participant_id')}: expected a weight in kg in {column}, got another value")
    return weights, splits, problems


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


def _beside(folder: Path, entities: set[str | None], suffixes: tuple[str, ...]) -> list[Path]:
    """Images below a session's folder that end in one of the suffixes and are of the same subject and session."""
    found = []
    for path in sorted(folder.rglob("sub-*")):
        stem = image_stem(path)
        if stem and stem.endswith(tuple(f"_{suffix}" for suffix in suffixes)) and entities <= set(stem.split("_")):
            found.append(path)
    return found
