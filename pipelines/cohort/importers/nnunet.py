"""nnU-Net's raw layout: imagesTr, imagesTs with a file a channel, labelsTr, labelsTs, dataset.json (both versions)."""

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.cohort.importers.mapping import NnunetMapping
from pipelines.cohort.importers.plan import (
    ImportedExam,
    ImportedMask,
    ImporterError,
    ImportPlan,
    image_stem,
    lesion_labels,
    listed,
    plan_of,
    what_lies_in,
)

_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})", re.DOTALL)
_PET_WORD, _CT_WORD = re.compile(r"pet|suv|pt"), re.compile(r"ct(?:res|ac)?")
_FOLDERS = (("imagesTr", "labelsTr", "train"), ("imagesTs", "labelsTs", "test"))
_IGNORED = "ignore"
"""Name of the label that nnU-Net trains and scores nothing on."""


@dataclass(frozen=True)
class _Channels:
    """Which channel is the PET and which the CT, and what is to be told of the others."""

    pet: int
    ct: int | None
    problems: tuple[str, ...] = ()


def plan_nnunet(root: Path, mapping: NnunetMapping) -> ImportPlan:
    """The exams of a raw nnU-Net data set: a case each, its PET in SUV, its CT, and its label map as given mask; what a
    label map ignores is no lesion.

    Raises:
        ImporterError: there is no case, or it cannot be told which channel is the PET.
    """
    about = _dataset_json(root)
    channels = _channels(root, mapping, about)
    labels, no_lesions = lesion_labels(_label_names(about), mapping.lesion, _IGNORED)
    exams, problems = [], list(channels.problems)
    if no_lesions:
        problems.append(f"labels that are no lesions by their names, left out: {', '.join(no_lesions)}")
    held_out, told_of_splits = _held_out(root)
    problems += told_of_splits
    for images, masks_of, split in _FOLDERS:
        cases, told = _cases(root / images)
        masks, told_of_masks = _by_stem(root / masks_of)
        if split == "train":
            _add_listed(root, about, cases, masks)
        if cases and not masks:
            told_of_masks.append(f"{masks_of}: no label maps, the {len(cases)} cases of {images} are imported without")
        problems += [*told, *told_of_masks]
        for case, files in cases.items():
            if channels.pet not in files:
                seen = sorted(p.name for p in files.values())
                problems.append(f"case {case}: no PET (channel {channels.pet:04d}) beside {seen}")
                continue
            if channels.ct is not None and channels.ct not in files:
                problems.append(f"case {case}: no CT (channel {channels.ct:04d}), imported without")
            if case not in masks and masks:
                problems.append(f"case {case}: no label map in {masks_of}, imported without")
            patient, tracer = (re.match(p, case) if p else None for p in (mapping.patient, mapping.tracer))
            given = [ImportedMask(masks[case], mapping.lesions, label) for label in labels] if case in masks else []
            exams.append(
                ImportedExam(
                    case,
                    patient[1] if patient else case,
                    files[channels.pet],
                    files.get(channels.ct) if channels.ct is not None else None,
                    tuple(given),
                    tracer=tracer[1].upper() if tracer else None,
                    split="val" if case in held_out else split,
                )
            )
        problems += [f"label map {case}: no images in {images}" for case in sorted(masks.keys() - cases.keys())]
    if len({exam.split for exam in exams}) == 1:
        # One folder alone divides nothing.
        exams = [replace(exam, split=None) for exam in exams]
    return plan_of(exams, problems, "imagesTr/<case>_0000.nii.gz and <case>_0001.nii.gz", root)


def _cases(folder: Path) -> tuple[dict[str, dict[int, Path]], list[str]]:
    """(case -> channel -> file, what was wrong)."""
    by_stem, problems = _by_stem(folder)
    cases: dict[str, dict[int, Path]] = defaultdict(dict)
    without = []
    for stem, path in by_stem.items():
        if match := _CHANNEL.fullmatch(stem):
            cases[match["case"]][int(match["channel"])] = path
        else:
            without.append(path.name)
    if without:
        problems.append(f"{folder.name}: {len(without)} images without a channel (_0000) left out: {listed(without)}")
    return cases, problems


def _by_stem(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """(images of a folder by their names without the ending; the first of those that differ in it alone, told)."""
    found: dict[str, Path] = {}
    problems = []
    others = []
    for path in sorted(folder.glob("*"), reverse=True):  # .nii.gz before .nii
        stem = image_stem(path)
        if stem and stem in found:
            problems.append(f"{folder.name}/{path.name}: left out, {found[stem].name} is there too")
        elif stem:
            found[stem] = path
        elif path.is_file() and not path.name.startswith("."):
            others.append(path.name)
    if others:
        problems.append(f"{folder.name}: {len(others)} files of formats that are not read: {listed(sorted(others))}")
    return dict(sorted(found.items())), problems


def _add_listed(
    root: Path, about: Mapping[str, Any], cases: dict[str, dict[int, Path]], masks: dict[str, Path]
) -> None:
    """Adds the cases that dataset.json lists with their files, which may lie anywhere (version 2, `dataset`)."""
    named = about.get("dataset")
    for case, files in named.items() if isinstance(named, Mapping) else ():
        if not isinstance(files, Mapping) or not isinstance(files.get("images"), list):
            continue
        cases[case] = {n: root / name for n, name in enumerate(files["images"]) if isinstance(name, str)}
        if isinstance(files.get("label"), str):
            masks[case] = root / files["label"]


def _held_out(root: Path) -> tuple[frozenset[str], list[str]]:
    """(cases that splits_final.json keeps for validation, what is to be told). Several folds divide nothing."""
    path = root / "splits_final.json"
    if not path.is_file():
        return frozenset(), []
    try:
        folds = json.loads(path.read_text("utf-8-sig"))
        names = frozenset(name for name in folds[0]["val"] if isinstance(name, str))
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return frozenset(), [f"{path.name} holds no list of train and val, left out"]
    if len(folds) == 1:
        return names, []
    return frozenset(), [f"{path.name} has {len(folds)} folds for cross-validation: no split is taken of them"]


def _dataset_json(root: Path) -> Mapping[str, Any]:
    """dataset.json; empty where there is none that can be read."""
    try:
        content = json.loads((root / "dataset.json").read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, Mapping) else {}


def _numbered(named: object) -> dict[int, str]:
    """Number -> name of channels (version 1 and 2: number to name) or labels (version 2: name to number)."""
    found = {}
    for key, value in named.items() if isinstance(named, Mapping) else ():
        for number, name in ((key, value), (value, key)):
            if str(number).isdecimal():
                found[int(number)] = str(name).strip()
                break
    return found


def _label_names(about: Mapping[str, Any]) -> dict[int, str]:
    """Value of the label maps -> its name; of labels that overlap (version 2, a list of values each) all its names."""
    labels = about.get("labels")
    names = _numbered(labels)
    for name, value in labels.items() if isinstance(labels, Mapping) else ():
        for number in value if isinstance(value, list) else ():
            if str(number).isdecimal():
                names[int(number)] = ", ".join(filter(None, (names.get(int(number)), str(name))))
    return names


def _channels(root: Path, mapping: NnunetMapping, about: Mapping[str, Any]) -> _Channels:
    """The channels by the mapping, else by the names in dataset.json."""
    if mapping.pet_channel is not None:
        return _Channels(mapping.pet_channel, mapping.ct_channel)
    names = _numbered(about.get("channel_names") or about.get("modality"))
    if not names:
        raise ImporterError(
            f"expected dataset.json with channel_names in {root}, got {what_lies_in(root)}: name the folder of the data"
            " set, add the file, or write pet_channel and ct_channel into a mapping file"
        )
    words = {channel: re.split(r"[^a-z]+", name.lower()) for channel, name in names.items()}
    pets = [channel for channel, own in words.items() if any(map(_PET_WORD.fullmatch, own))]
    cts = [channel for channel, own in words.items() if any(map(_CT_WORD.fullmatch, own)) and channel not in pets]
    if not pets and len(cts) == 1 and len(names) == 2:
        pets = [channel for channel in names if channel not in cts]
    if len(pets) != 1 or len(cts) > 1:
        raise ImporterError(
            f"expected one PET and one CT among the channels of {root / 'dataset.json'}, got {names}: write pet_channel"
            " and ct_channel into a mapping file"
        )
    others = [f"{names[channel]!r} ({channel:04d})" for channel in sorted(names.keys() - {*pets, *cts})]
    told = (f"channels that are neither PET nor CT by their names, left out: {', '.join(others)}",) if others else ()
    return _Channels(pets[0], cts[0] if cts else None, told)
