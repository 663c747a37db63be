"""nnU-Net's raw layout: imagesTr, imagesTs with a file a channel, labelsTr, labelsTs, dataset.json."""

import json
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from pipelines.cohort.importers.mapping import NnunetMapping
from pipelines.cohort.importers.plan import ImportedExam, ImportedMask, ImporterError, ImportPlan, image_stem, plan_of

_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})", re.DOTALL)
_PET_NAMES, _CT_NAMES = ("pet", "suv", "pt"), ("ct",)
_FOLDERS = (("imagesTr", "labelsTr", "train"), ("imagesTs", "labelsTs", "test"))


def plan_nnunet(root: Path, mapping: NnunetMapping) -> ImportPlan:
    """The exams of a raw nnU-Net data set: a case each, its PET in SUV, its CT, and its label map as given mask.

    Raises:
        ImporterError: there is no case, or it cannot be told which channel is the PET.
    """
    pet, ct = _channels(root, mapping)
    exams, problems = [], []
    for images, labels, split in _FOLDERS:
        by_case: dict[str, dict[int, Path]] = defaultdict(dict)
        for path in sorted((root / images).glob("*")):
            if (stem := image_stem(path)) and (match := _CHANNEL.fullmatch(stem)):
                by_case[match["case"]][int(match["channel"])] = path
        masks = {stem: path for path in sorted((root / labels).glob("*")) if (stem := image_stem(path))}
        for case, files in by_case.items():
            if pet not in files:
                problems.append(
                    f"case {case}: no PET (channel {pet:04d}) beside {sorted(p.name for p in files.values())}"
                )
                continue
            if ct is not None and ct not in files:
                problems.append(f"case {case}: no CT (channel {ct:04d}), imported without")
            if case not in masks and masks:
                problems.append(f"case {case}: no label map in {labels}, imported without")
            patient, tracer = (re.match(p, case) if p else None for p in (mapping.patient, mapping.tracer))
            exams.append(
                ImportedExam(
                    case,
                    patient[1] if patient else case,
                    files[pet],
                    files.get(ct) if ct is not None else None,
                    (ImportedMask(masks[case], mapping.lesions),) if case in masks else (),
                    tracer=tracer[1].upper() if tracer else None,
                    split=split,
                )
            )
        problems += [f"label map {case}: no images in {images}" for case in sorted(masks.keys() - by_case.keys())]
    if len({exam.split for exam in exams}) == 1:
        # One folder alone divides nothing.
        exams = [replace(exam, split=None) for exam in exams]
    return plan_of(exams, problems, "imagesTr/<case>_0000.nii.gz and <case>_0001.nii.gz", root)


def _channels(root: Path, mapping: NnunetMapping) -> tuple[int, int | None]:
    """(channel of the PET, of the CT), by the mapping, else by the names in dataset.json."""
    if mapping.pet_channel is not None:
        return mapping.pet_channel, mapping.ct_channel
    path = root / "dataset.json"
    try:
        content = json.loads(path.read_text("utf-8"))
        given = content.get("channel_names") or content.get("modality") or {}
        names = {int(channel): str(name).lower() for channel, name in given.items()}
    except (OSError, ValueError, AttributeError):
        raise ImporterError(
            f"expected dataset.json with channel_names in {root}, got none that can be read: add it, or write"
            " pet_channel and ct_channel into a mapping file"
        ) from None
    pets = [c for c, name in names.items() if any(word in name for word in _PET_NAMES)]
    cts = [c for c, name in names.items() if name in _CT_NAMES]
    if not pets and len(cts) == 1 and len(names) == 2:
        pets = [c for c in names if c not in cts]
    if len(pets) != 1 or len(cts) > 1:
        raise ImporterError(
            f"expected one PET and one CT among the channels of {path}, got {names}: write pet_channel and ct_channel"
            " into a mapping file"
        )
    return pets[0], cts[0] if cts else None
