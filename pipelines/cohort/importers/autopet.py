"""Folders of patients and studies, as autoPET has them on TCIA's NIfTI side: SUV, CTres and SEG in each."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.cohort.importers.mapping import AutopetMapping
from pipelines.cohort.importers.plan import ImportedExam, ImportedMask, ImportPlan, image_paths, image_stem, plan_of


def plan_autopet(root: Path, mapping: AutopetMapping) -> ImportPlan:
    """The exams below a folder: every folder that holds a PET by its name; the first folder on the way is the patient.

    Raises:
        ImporterError: there is none.
    """
    exams, problems = [], []
    by_folder: dict[Path, list[Path]] = {}
    for path in image_paths(root):
        by_folder.setdefault(path.parent, []).append(path)
    for folder, paths in sorted(by_folder.items()):
        files = {str(image_stem(path)).lower(): path for path in paths}
        parts = folder.relative_to(root).parts or (root.name,)
        exam_id = "-".join(parts)
        pet, ct, mask = (_first(files, names) for names in (mapping.pet, mapping.ct, mapping.mask))
        if pet is None:
            problems.append(f"folder {'/'.join(parts)}: no {' or '.join(mapping.pet)} beside {sorted(files)}")
            continue
        if ct is None:
            problems.append(f"exam {exam_id}: no {' or '.join(mapping.ct)}, imported without a CT")
        if mask is None:
            problems.append(f"exam {exam_id}: no {' or '.join(mapping.mask)}, imported without a given mask")
        exams.append(
            ImportedExam(
                exam_id,
                parts[0],
                pet,
                ct,
                (ImportedMask(mask),) if mask else (),
                # A PET of another name is in activity: its sidecar says the unit, or its reading is refused.
                is_suv=str(image_stem(pet)).lower().startswith("suv"),
                tracer=mapping.tracer,
            )
        )
    return plan_of(exams, problems, f"<patient>/<study>/{mapping.pet[0]}.nii.gz", root)


def _first(files: Mapping[str, Path], names: Sequence[str]) -> Path | None:
    return next((files[name.lower()] for name in names if name.lower() in files), None)
