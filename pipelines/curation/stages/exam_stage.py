"""Exams: each read to an SUV volume with its CT on the PET's grid, or a row that says why there is none."""

from datetime import date, timedelta
from pathlib import Path

from pipelines.cohort.manifest import ExamEntry, read_manifest
from pipelines.curation.stages.curation import Curation
from pipelines.curation.stages.given_files import write_given
from pipelines.curation.stages.incremental import Rows
from pipelines.curation.stages.stage import ShardContext, ShardStage
from pipelines.imaging.reading.exam import ExamError, read_exam
from pipelines.imaging.volume import save_nifti
from pipelines.tables.exam_problems import ExamProblem
from pipelines.tables.hashing import hash_of


def exams_stage(context: ShardContext) -> ShardStage:
    """One row an exam of the shard."""
    curation, home, deidentifier = context.curation, context.curation.home, context.curation.deidentifier
    entries = {e.exam_id: e for e in read_manifest(home.manifest, context.shard)[1]}
    keys = {
        e.exam_id: hash_of(
            context.logic,
            *(e.image_fingerprint, e.folder is None, e.has_report, e.tracer, e.report_problem, e.near, e.study_date),
            *((e.split, e.given) if e.split or e.given else ()),
            # How dates of images are moved, in a form that does not tell by how much.
            deidentifier.report_fingerprint(e.patient_id) if deidentifier.settings.mask_reports else None,
        )
        for e in entries.values()
    }

    def compute(exam_id: str) -> tuple[Rows, bool]:
        entry = entries[exam_id]
        try:
            return [_exam_row(entry, curation)], False
        except ExamError as error:
            return [_problem_row(entry, error.problem, str(error))], False

    def failed(exam_id: str, message: str) -> Rows:
        row = _problem_row(entries[exam_id], ExamProblem.FAILED, f"{message}; the next run tries again")
        return [{**row, "status": "failed"}]

    def forget(exam_id: str) -> None:
        home.remove_folder(home.volume_folder(exam_id))

    return ShardStage(keys, compute, failed, forget)


def _exam_row(entry: ExamEntry, curation: Curation) -> dict[str, object]:
    home, deidentifier = curation.home, curation.deidentifier
    if entry.folder is None:
        raise ExamError(
            ExamProblem.NO_FOLDER,
            f"expected a folder exams/{entry.exam_id[:_SHOWN]} for the report of exam {entry.exam_id[:_SHOWN]}, got "
            f"none: {_question(entry)}add its images or remove the report",
        )
    day = _study_day(entry, deidentifier.days_back(entry.patient_id))
    exam = read_exam(Path(entry.folder), entry.exam_id, curation.settings.exam, day)
    folder = home.volume_folder(entry.exam_id)
    suv_path, ct_path = folder / "SUV.nii", folder / "CT.nii"
    home.keep(save_nifti(exam.suv, suv_path))
    if exam.ct is not None:
        home.keep(save_nifti(exam.ct, ct_path))
    else:
        home.remove(ct_path)
    return {
        **exam.facts.to_row(),
        "exam_id": entry.exam_id,
        "patient_id": entry.patient_id,
        "shard": entry.shard,
        "status": "ok",
        "problem": None if entry.has_report else ExamProblem.NO_REPORT.value,
        "tracer": entry.tracer or exam.facts.tracer,
        "study_date": entry.study_date or deidentifier.study_date(exam.facts.study_date, entry.patient_id),
        "message": "; ".join(
            filter(None, (_no_report(entry), exam.facts.message, _other_day(day, exam.facts.study_date)))
        )
        or None,
        "suv_path": str(suv_path.relative_to(home.root)),
        "ct_path": str(ct_path.relative_to(home.root)) if exam.ct is not None else None,
        "report_message": entry.report_problem,
        "ct_n_slices": exam.ct_slices.n_slices if exam.ct_slices else None,
        "ct_first_mm": exam.ct_slices.first_mm if exam.ct_slices else None,
        "ct_step_mm": exam.ct_slices.step_mm if exam.ct_slices else None,
        "image_fingerprint": entry.image_fingerprint,
        "split": entry.split,
        **write_given(home, entry.exam_id, Path(entry.folder), entry.given, exam.suv),
    }


def _no_report(entry: ExamEntry) -> str | None:
    """A note on an exam that no report names: it is read, and its lesions can only be proposed."""
    if entry.has_report:
        return None
    return (
        f"expected a row of reports for exam {entry.exam_id[:_SHOWN]}, got none: {_question(entry)}add its report; "
        "without one its lesions are proposed (petar proposals) and not located"
    )


def _study_day(entry: ExamEntry, days_back: int | None) -> date | None:
    """Day of the exam as the images tell it, of the report's date as it was moved."""
    if entry.study_date is None:
        return None
    return date.fromisoformat(entry.study_date) + timedelta(days_back or 0)


def _other_day(day: date | None, in_images: str | None) -> str | None:
    """A note where report and images are of other days: one of them may be another exam's."""
    if day is None or in_images is None or (apart := abs((date.fromisoformat(in_images) - day).days)) == 0:
        return None
    return f"study_date of the report and of the images are {apart} days apart: see whether they are of one exam"


_SHOWN = 80
"""Characters of an exam's id that a message shows."""


def _question(entry: ExamEntry) -> str:
    return f"{entry.near}? Else " if entry.near else ""


def _problem_row(entry: ExamEntry, problem: ExamProblem, message: str) -> dict[str, object]:
    return {
        "exam_id": entry.exam_id,
        "patient_id": entry.patient_id,
        "shard": entry.shard,
        "status": "problem",
        "problem": problem.value,
        "message": message,
        "report_message": entry.report_problem,
        "tracer": entry.tracer,
        "study_date": entry.study_date,
        "image_fingerprint": entry.image_fingerprint or None,
        "split": entry.split,
    }
