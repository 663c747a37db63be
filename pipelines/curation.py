"""The five sharded stages of a curation, each a function of one shard: read the tables below, update the rows whose
key changed, write.

exams -> sentences -> readings -> findings -> localisations. A stage knows the lake and the manifest, and nothing of
who calls it.
"""

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.cohort import ExamEntry, read_manifest
from pipelines.hashing import hash_of
from pipelines.home import Home
from pipelines.imaging import exam as exam_module
from pipelines.imaging import lesions as lesions_module
from pipelines.imaging.conventions import ConventionExam, score_conventions
from pipelines.imaging.exam import ExamError, ExamSettings, read_exam
from pipelines.imaging.lesions import LesionRequest, LesionSettings, find_lesions, write_mask
from pipelines.imaging.volume import SliceGrid, load_nifti, save_nifti
from pipelines.lake import Lake
from pipelines.outcomes import ExamProblem, Outcome
from pipelines.reports import consensus as consensus_module
from pipelines.reports import sentences as sentences_module
from pipelines.reports import structure as structure_module
from pipelines.reports.config import ReadersConfig
from pipelines.reports.consensus import ConsensusSettings, TextFinding, decide_exam
from pipelines.reports.llm_structure import FAILED_NOTE
from pipelines.reports.readers import Reading
from pipelines.reports.sentences import Sentence, split_report
from pipelines.rows import Counts, Rows, update_exams
from pipelines.sharding import N_SHARDS

TABLES = ("exams", "sentences", "readings", "findings", "localisations")
"""The sharded tables in the order in which they are made."""

_ASKED = ("finding_id", "sentence", "slice", "suvmax_reported", "laterality")
"""What of a finding the images are asked for."""

_UPSTREAM = {
    "exams": (),
    "sentences": (),
    "readings": ("sentences",),
    "findings": ("sentences", "readings"),
    "localisations": ("exams", "findings"),
}


@dataclass(frozen=True)
class CurationSettings:
    """Every parameter of a curation. Equal settings and equal inputs give equal tables."""

    exam: ExamSettings = field(default_factory=ExamSettings)
    consensus: ConsensusSettings = field(default_factory=ConsensusSettings)
    lesions: LesionSettings = field(default_factory=LesionSettings)


@dataclass(frozen=True)
class StageReport:
    """What a stage did to one shard: counts in exams, the rows it left, and their content's version."""

    table: str
    shard: int
    counts: Counts
    frame: pl.DataFrame
    version: str
    quarantined: int
    total_rows: int
    """Rows of the table over all shards."""


def stage_inputs(
    home: Home, table: str, shard: int, settings: CurationSettings, readers: ReadersConfig
) -> dict[str, str]:
    """What a shard of a table is made from: manifest version, logic and settings, versions of the tables below.

    Stored with the shard; where it differs from what is stored, the shard is stale.
    """
    inputs = {"logic": _logic_key(table, settings, readers)}
    if table in ("exams", "sentences"):
        inputs["manifest"] = read_manifest(home.manifest, shard)[0]
    lake = Lake(home.lake)
    for upstream in _UPSTREAM[table]:
        meta = lake.shard_meta(upstream, shard)
        inputs[upstream] = meta.rows_digest if meta else ""
    return inputs


def is_current(home: Home, shard: int, settings: CurationSettings, readers: ReadersConfig) -> bool:
    """Whether every table of a shard was made from what lies below it now and no exam failed in it."""
    lake = Lake(home.lake)
    for table in TABLES:
        meta = lake.shard_meta(table, shard)
        if meta is None or meta.inputs.get("failed"):
            return False
        if meta.inputs.get("inputs") != stage_inputs(home, table, shard, settings, readers):
            return False
    return True


def stale_shards(home: Home, settings: CurationSettings, readers: ReadersConfig) -> list[int]:
    """Shards that are not current, in order."""
    return [shard for shard in range(N_SHARDS) if not is_current(home, shard, settings, readers)]


def run_stage(
    home: Home,
    table: str,
    shard: int,
    settings: CurationSettings,
    readers: ReadersConfig,
    *,
    only: Sequence[str] = (),
    log: logging.Logger | None = None,
) -> StageReport:
    """Brings one shard of one table up to date and says what that took.

    `only` computes exactly the exams that it names. A killed call loses at most the last 25 exams: the next one goes
    on where it stopped.

    Raises:
        KeyError: `table` is not one of `TABLES`.
        CohortError: the cohort was never observed.
        ValueError: `only` names an exam that is not in this shard.
    """
    log = log or logging.getLogger(__name__)
    lake = Lake(home.lake)
    stage = _STAGES[table](home, lake, shard, settings, readers, log)
    meta = lake.shard_meta(table, shard)
    previous_keys: dict[str, str] = dict(meta.inputs.get("keys", {})) if meta else {}
    previous = lake.read_shard(table, shard)
    inputs = stage_inputs(home, table, shard, settings, readers)

    def save(frame: pl.DataFrame, keys: dict[str, str]) -> None:
        # Without "inputs" the shard stays stale, whatever it holds so far.
        lake.write_shard(table, shard, frame, {"keys": keys})

    update = update_exams(
        stage.keys, previous, previous_keys, stage.compute, only=only, prepare=stage.prepare, save=save
    )
    for exam_id in update.removed:
        stage.forget(exam_id)
    failed = sorted(set(stage.keys) - set(update.keys))
    # Rows of exams that `only` left out may be older than the inputs; then the shard must stay stale.
    whole = all(update.keys.get(exam) == key for exam, key in stage.keys.items() if exam not in failed)
    written = lake.write_shard(
        table, shard, update.frame, {"keys": update.keys, "failed": failed, "inputs": inputs if whole else None}
    )
    frame = lake.read_shard(table, shard)
    metas = [lake.shard_meta(table, path.stem) for path in lake.files(table)]
    total = sum(meta.n_rows for meta in metas if meta is not None)
    return StageReport(table, shard, update.counts, frame, written.rows_digest, written.quarantined, total)


@dataclass(frozen=True)
class _Stage:
    keys: Mapping[str, str]
    compute: Callable[[str], tuple[Rows, bool]]
    forget: Callable[[str], None] = lambda exam_id: None
    prepare: Callable[[Sequence[str]], None] | None = None


def _logic_key(table: str, settings: CurationSettings, readers: ReadersConfig) -> str:
    match table:
        case "exams":
            return hash_of(exam_module.LOGIC_VERSION, settings.exam)
        case "sentences":
            return hash_of(sentences_module.LOGIC_VERSION)
        case "readings":
            return hash_of([(reader.name, reader.version) for reader in readers.readers])
        case "findings":
            structurer = readers.structurer.version if readers.structurer else None
            return hash_of(
                consensus_module.LOGIC_VERSION,
                structure_module.VERSION,
                settings.consensus,
                readers.weights,
                structurer,
            )
        case "localisations":
            return hash_of(lesions_module.LOGIC_VERSION, settings.lesions)
    raise KeyError(table)


# --- exams ------------------------------------------------------------------------------------------------------------
# -----------------


def _exams_stage(
    home: Home, lake: Lake, shard: int, settings: CurationSettings, readers: ReadersConfig, log: logging.Logger
) -> _Stage:
    entries = {e.exam_id: e for e in read_manifest(home.manifest, shard)[1]}
    logic = _logic_key("exams", settings, readers)
    keys = {
        e.exam_id: hash_of(logic, e.image_fingerprint, e.folder is None, e.has_report, e.tracer, e.report_problem)
        for e in entries.values()
    }

    def compute(exam_id: str) -> tuple[Rows, bool]:
        entry = entries[exam_id]
        try:
            return [_exam_row(entry, home, settings)], False
        except ExamError as error:
            return [_problem_row(entry, error.problem, str(error))], False
        except Exception as error:
            log.exception("exam %s failed", exam_id)
            message = f"{type(error).__name__}: {error}; the next run tries again"
            return [_problem_row(entry, ExamProblem.FAILED, message)], True

    def forget(exam_id: str) -> None:
        shutil.rmtree(home.volume_folder(exam_id), ignore_errors=True)

    return _Stage(keys, compute, forget)


def _exam_row(entry: ExamEntry, home: Home, settings: CurationSettings) -> dict[str, object]:
    if entry.folder is None:
        raise ExamError(
            ExamProblem.NO_FOLDER,
            f"expected a folder exams/{entry.exam_id} for the report of exam {entry.exam_id}, got none: "
            "add its images or remove the report",
        )
    if not entry.has_report:
        raise ExamError(
            ExamProblem.NO_REPORT,
            f"expected a row of reports for exam {entry.exam_id}, got none: add its report, or remove the folder",
        )
    exam = read_exam(Path(entry.folder), entry.exam_id, settings.exam)
    folder = home.volume_folder(entry.exam_id)
    suv_path, ct_path = folder / "SUV.nii", folder / "CT.nii"
    save_nifti(exam.suv, suv_path)
    if exam.ct is not None:
        save_nifti(exam.ct, ct_path)
    else:
        ct_path.unlink(missing_ok=True)
    return {
        **exam.facts.to_row(),
        "exam_id": entry.exam_id,
        "patient_id": entry.patient_id,
        "shard": entry.shard,
        "status": "ok",
        "tracer": entry.tracer or exam.facts.tracer,
        "suv_path": str(suv_path.relative_to(home.root)),
        "ct_path": str(ct_path.relative_to(home.root)) if exam.ct is not None else None,
        "report_message": entry.report_problem,
        "ct_n_slices": exam.ct_slices.n_slices if exam.ct_slices else None,
        "ct_first_mm": exam.ct_slices.first_mm if exam.ct_slices else None,
        "ct_step_mm": exam.ct_slices.step_mm if exam.ct_slices else None,
        "image_fingerprint": entry.image_fingerprint,
    }


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
        "image_fingerprint": entry.image_fingerprint or None,
    }


# --- reports ----------------------------------------------------------------------------------------------------------
# -----------------


def _sentences_stage(
    home: Home, lake: Lake, shard: int, settings: CurationSettings, readers: ReadersConfig, log: logging.Logger
) -> _Stage:
    entries = {e.exam_id: e for e in read_manifest(home.manifest, shard)[1]}
    logic = _logic_key("sentences", settings, readers)
    keys = {e.exam_id: hash_of(logic, e.report_fingerprint, e.patient_id) for e in entries.values()}

    def compute(exam_id: str) -> tuple[Rows, bool]:
        entry = entries[exam_id]
        return [{**asdict(s), "patient_id": entry.patient_id} for s in split_report(exam_id, entry.report)], False

    return _Stage(keys, compute)


def _readings_stage(
    home: Home, lake: Lake, shard: int, settings: CurationSettings, readers: ReadersConfig, log: logging.Logger
) -> _Stage:
    sentences = _sentences_by_exam(home, lake, shard)
    logic = _logic_key("readings", settings, readers)
    keys = {
        exam_id: hash_of(logic, patient_id, [(s.sentence_id, s.sentence) for s in own if s.is_candidate])
        for exam_id, (patient_id, own) in sentences.items()
    }

    answered: dict[tuple[str, str], Reading] = {}

    def prepare(exam_ids: Sequence[str]) -> None:
        # One call a reader for many exams, so that a server always has enough questions to batch.
        candidates = [s for exam_id in exam_ids for s in sentences[exam_id][1] if s.is_candidate]
        answered.clear()
        for reader in readers.readers:

            def progress(done: int, of: int, name: str = reader.name) -> None:
                log.info("reader %s: %d of %d sentences", name, done, of)

            for reading in reader.read(candidates, progress):
                answered[reader.name, reading.sentence_id] = reading

    def compute(exam_id: str) -> tuple[Rows, bool]:
        patient_id, own = sentences[exam_id]
        rows = [
            {
                **asdict(answered[reader.name, s.sentence_id]),
                "exam_id": exam_id,
                "patient_id": patient_id,
                "sentence": s.sentence,
            }
            for reader in readers.readers
            for s in own
            if s.is_candidate
        ]
        errors = [row["error"] for row in rows if row["error"] is not None]
        if errors:
            log.warning("exam %s: %d readings failed, the next run asks again: %s", exam_id, len(errors), errors[0])
        return rows, bool(errors)

    return _Stage(keys, compute, prepare=prepare)


def _findings_stage(
    home: Home, lake: Lake, shard: int, settings: CurationSettings, readers: ReadersConfig, log: logging.Logger
) -> _Stage:
    sentences = _sentences_by_exam(home, lake, shard)
    readings: dict[str, list[Reading]] = {exam_id: [] for exam_id in sentences}
    names = [f.name for f in fields(Reading)]
    for row in lake.read_shard("readings", shard).iter_rows(named=True):
        if row["exam_id"] in readings:
            readings[row["exam_id"]].append(Reading(**{name: row[name] for name in names}))
    logic = _logic_key("findings", settings, readers)
    consensus = replace(settings.consensus, weights={**readers.weights, **settings.consensus.weights})
    keys = {
        exam_id: hash_of(logic, patient_id, [s for s in own if s.is_candidate], readings[exam_id])
        for exam_id, (patient_id, own) in sentences.items()
    }

    decided: dict[str, list[TextFinding]] = {}

    def prepare(exam_ids: Sequence[str]) -> None:
        decided.clear()
        for exam_id in exam_ids:
            candidates = [s for s in sentences[exam_id][1] if s.is_candidate]
            decided[exam_id] = decide_exam(candidates, readings[exam_id], consensus)
        if readers.structurer is not None:
            # One call for many exams, so that the server always has enough questions to batch.
            for finding in readers.structurer.apply([f for found in decided.values() for f in found]):
                found = decided[finding.exam_id]
                found[[f.finding_id for f in found].index(finding.finding_id)] = finding

    def compute(exam_id: str) -> tuple[Rows, bool]:
        patient_id, _ = sentences[exam_id]
        found = decided[exam_id]
        failed = [f.explanation for f in found if FAILED_NOTE in f.explanation]
        if failed:
            log.warning("exam %s: %d findings keep the rules' fields, the next run asks again", exam_id, len(failed))
        return [{**asdict(f), "exam_id": exam_id, "patient_id": patient_id} for f in found], bool(failed)

    return _Stage(keys, compute, prepare=prepare)


def _sentences_by_exam(home: Home, lake: Lake, shard: int) -> dict[str, tuple[str, list[Sentence]]]:
    """Patient and sentences of each exam of a shard; exams whose report holds no sentence stand here too."""
    found: dict[str, tuple[str, list[Sentence]]] = {
        e.exam_id: (e.patient_id, []) for e in read_manifest(home.manifest, shard)[1]
    }
    names = [f.name for f in fields(Sentence)]
    for row in lake.read_shard("sentences", shard).iter_rows(named=True):
        if row["exam_id"] in found:
            found[row["exam_id"]][1].append(Sentence(**{name: row[name] for name in names}))
    return found


# --- lesions ----------------------------------------------------------------------------------------------------------
# -----------------


def _localisations_stage(
    home: Home, lake: Lake, shard: int, settings: CurationSettings, readers: ReadersConfig, log: logging.Logger
) -> _Stage:
    exams = {row["exam_id"]: row for row in lake.read_shard("exams", shard).iter_rows(named=True)}
    accepted: dict[str, list[dict[str, Any]]] = {exam_id: [] for exam_id in exams}
    for row in lake.read_shard("findings", shard).iter_rows(named=True):
        if row["outcome"] == Outcome.ACCEPTED and row["exam_id"] in accepted:
            accepted[row["exam_id"]].append(row)
    logic = _logic_key("localisations", settings, readers)
    keys = {
        exam_id: hash_of(logic, row["row_key"], row["status"], [[f[k] for k in _ASKED] for f in accepted[exam_id]])
        for exam_id, row in exams.items()
    }

    def compute(exam_id: str) -> tuple[Rows, bool]:
        exam, findings = exams[exam_id], accepted[exam_id]
        identity = {f["finding_id"]: {"exam_id": exam_id, "patient_id": exam["patient_id"]} for f in findings}
        requests = [LesionRequest(**{k: f[k] for k in _ASKED}) for f in findings]
        if exam["status"] != "ok":
            explanation = f"{exam['problem']}: {exam['message']}"
            return [_unlocated_row(r, identity, Outcome.EXAM_PROBLEM, explanation) for r in requests], False
        if not requests:
            _remove_masks(home, exam_id, keep=())
            return [], False
        try:
            suv = load_nifti(home.root / exam["suv_path"])
            results = find_lesions(suv, requests, settings.lesions, _ct_slices(exam))
            rows: list[dict[str, object]] = []
            paths: list[Path] = []
            for result in results:
                row = {**result.to_row(), **identity[result.request.finding_id]}
                if result.outcome == Outcome.SLICE_OUTSIDE:
                    row["slice_k"] = None  # No slice of this image has that index.
                if result.outcome == Outcome.LESION:
                    path = write_mask(result, home.mask_folder(exam_id))
                    paths.append(path)
                    row["mask_path"] = str(path.relative_to(home.root))
                rows.append(row)
            _remove_masks(home, exam_id, keep=paths)
            return rows, False
        except Exception as error:
            log.exception("lesions of exam %s failed", exam_id)
            explanation = f"{type(error).__name__}: {error}; the next run tries again"
            return [_unlocated_row(r, identity, Outcome.EXAM_PROBLEM, explanation) for r in requests], True

    def forget(exam_id: str) -> None:
        shutil.rmtree(home.mask_folder(exam_id), ignore_errors=True)

    return _Stage(keys, compute, forget)


def _ct_slices(exam: Mapping[str, Any]) -> SliceGrid | None:
    if exam["ct_n_slices"] is None:
        return None
    return SliceGrid(exam["ct_n_slices"], exam["ct_first_mm"], exam["ct_step_mm"])


def try_conventions(home: Home, settings: CurationSettings) -> pl.DataFrame:
    """How each slice convention does over the accepted findings of the cohort, the best first.

    Columns: origin, base, grid, n, matched, on_peak (findings), rate, peak_rate (null without findings), in_use.
    """
    lake = Lake(home.lake)
    accepted = lake.read_table("findings").filter(pl.col("outcome") == Outcome.ACCEPTED.value)
    by_exam = {str(exam_id): rows for (exam_id,), rows in accepted.group_by("exam_id")}

    def exams() -> Iterator[ConventionExam]:
        for exam in lake.read_table("exams").filter(pl.col("status") == "ok").iter_rows(named=True):
            if exam["exam_id"] in by_exam:
                rows = by_exam[exam["exam_id"]].iter_rows(named=True)
                requests = [LesionRequest(**{name: row[name] for name in _ASKED}) for row in rows]
                yield ConventionExam(load_nifti(home.root / exam["suv_path"]), requests, _ct_slices(exam))

    scores = score_conventions(exams(), settings=settings.lesions.locate)
    return pl.DataFrame(
        [
            {
                "origin": s.convention.origin.value,
                "base": s.convention.base,
                "grid": s.convention.grid.value,
                "n": s.n,
                "matched": s.matched,
                "on_peak": s.on_peak,
                "rate": s.rate,
                "peak_rate": s.peak_rate,
                "in_use": s.convention == settings.lesions.convention,
            }
            for s in scores
        ]
    )


def _unlocated_row(
    request: LesionRequest, identity: Mapping[str, Mapping[str, object]], outcome: Outcome, explanation: str
) -> dict[str, object]:
    return {
        **identity[request.finding_id],
        "finding_id": request.finding_id,
        "sentence": request.sentence,
        "slice": request.slice,
        "suvmax_reported": request.suvmax_reported,
        "outcome": outcome.value,
        "explanation": explanation,
    }


def _remove_masks(home: Home, exam_id: str, keep: Sequence[Path]) -> None:
    for path in home.mask_folder(exam_id).glob("*.nii.gz"):
        if path not in keep:
            path.unlink()


_STAGES = {
    "exams": _exams_stage,
    "sentences": _sentences_stage,
    "readings": _readings_stage,
    "findings": _findings_stage,
    "localisations": _localisations_stage,
}


def curation_version(home: Home) -> str:
    """Version of what is curated now: the hash of the rows of all sharded tables."""
    lake = Lake(home.lake)
    digests = {}
    for table in TABLES:
        for path in lake.files(table):
            meta = lake.shard_meta(table, path.stem)
            # An empty shard counts as one that was never written.
            if meta is not None and meta.n_rows:
                digests[f"{table}/{path.stem}"] = meta.rows_digest
    return hash_of(digests)
