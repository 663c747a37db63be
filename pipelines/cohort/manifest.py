"""The input folder: which exams and reports are there, and their fingerprints.

A cohort is a folder with `reports.csv` (or `.parquet`) and `exams/<exam_id>/`; README.md has the contract.
"""

import functools
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.cohort.cohort_files import files_below, state_of, state_of_cohort
from pipelines.cohort.corrections import CorrectionsError
from pipelines.cohort.corrections import observe_corrections as _observe_corrections
from pipelines.cohort.given_masks import GivenMask, hidden_name, read_given_masks
from pipelines.cohort.losses import is_other_cohort_folder, losses, note_cohort_folder
from pipelines.cohort.near_ids import archives_beside, folders_too_deep, near_names
from pipelines.cohort.observation import observing, write_observation
from pipelines.cohort.privacy import deidentification, header_identifiers
from pipelines.cohort.privacy.deidentification import NO_DEIDENTIFICATION, Deidentifier
from pipelines.cohort.privacy.header_identifiers import names_in_folder
from pipelines.cohort.report_files import clean_id, file_name_text, find_reports, read_reports, without_empty_report
from pipelines.cohort.review_corrections import review_corrections
from pipelines.tables import atomic
from pipelines.tables.hashing import hash_of, hash_of_files
from pipelines.tables.provenance import code_version
from pipelines.tables.shards import N_SHARDS, shard_of

_HASHING_THREADS = 4


class CohortError(ValueError):
    """The folder is no cohort; the message says what was expected and what to do."""


@dataclass(frozen=True)
class Fingerprint:
    """Hashes of an exam folder's files: `state` (names, sizes, times) detects a change, `content` confirms it."""

    state: str
    content: str


@dataclass(frozen=True)
class ExamEntry:
    """One exam of the cohort.

    `folder` is null where no images are there; `has_report` is false where no report names the exam. An exam without
    a report belongs to a
    patient of its own, named as the exam is, so that it has a shard.
    """

    exam_id: str
    patient_id: str
    folder: str | None
    image_fingerprint: str
    has_report: bool
    report: str
    tracer: str | None
    report_problem: str | None
    report_fingerprint: str
    identifiers: Mapping[str, int] = field(default_factory=dict)
    """How many identifiers of each kind were found in the report, masked or not."""
    study_date: str | None = None
    """Day of the exam (YYYY-MM-DD) as the report gives it, moved where reports are masked."""
    split: str | None = None
    """Split that the cohort gives the exam's patient; null: the split follows from the patient's hash."""
    given: Sequence[Mapping[str, Any]] = ()
    """Its lines of given_masks.csv, as fields of `GivenMask`."""
    near: str | None = None
    """Where nothing matches: which folder or report is nearly named as the exam, as a question."""

    @property
    def shard(self) -> int:
        """Shard (0..63) that holds this exam."""
        return shard_of(self.patient_id)


@dataclass(frozen=True)
class Cohort:
    """Exams and reports of a cohort folder, sorted by exam id."""

    folder: Path
    entries: tuple[ExamEntry, ...]
    fingerprints: Mapping[str, Fingerprint]
    newest_s: float | None
    """When the newest file of the exams or the reports was last changed (seconds since 1970)."""

    def by_shard(self) -> list[tuple[ExamEntry, ...]]:
        """Entries of each of the 64 shards, in shard order."""
        shards: list[list[ExamEntry]] = [[] for _ in range(N_SHARDS)]
        for entry in self.entries:
            shards[entry.shard].append(entry)
        return [tuple(entries) for entries in shards]


_SHOWN = "+"
"""Stands in a report's fingerprint before that of the text as it went on, where the images had a say in it."""


def manifest_version(entries: Iterable[ExamEntry]) -> str:
    """Data version of one shard of the manifest: the hash of its sorted (exam id, fingerprints)."""
    return hash_of(
        sorted(
            (e.exam_id, e.patient_id, e.image_fingerprint, e.report_fingerprint, e.study_date or "", e.near or "")
            + ((e.split or "", hash_of(e.given)) if e.split or e.given else ())
            for e in entries
        )
    )


def check_cohort(folder: Path) -> Path:
    """Where the table of reports of a cohort lies.

    Raises:
        CohortError: the folder is not there, or holds no table of reports.
    """
    if not folder.is_dir():
        raise CohortError(
            f"expected a cohort folder, got {folder}, which is not there: set PETAR_COHORT (or COHORT=) to it"
        )
    reports_path = find_reports(folder)
    if reports_path is None:
        raise CohortError(
            f"expected reports.csv (or .xlsx, .parquet, .json) in the cohort folder, got none in {folder}: "
            "add the table (exam_id, patient_id, findings), see 'Bring your own cohort' in README.md"
        )
    return reports_path


def scan_cohort(
    folder: Path,
    known: Mapping[str, Fingerprint] | None = None,
    deidentifier: Deidentifier = NO_DEIDENTIFICATION,
    before: Mapping[str, Mapping[str, Any]] | None = None,
) -> Cohort:
    """The cohort in a folder, de-identified as its settings ask (ids, report texts).

    Only exams whose files' names, sizes or times differ from `known` are read to be hashed, and only reports that
    differ from `before` (entries as an earlier manifest holds them, by exam) are scanned for identifiers.

    Raises:
        CohortError: the folder is not there, holds no table of reports, or the table cannot be read at all.
    """
    known, before = known or {}, before or {}
    reports_path = check_cohort(folder)
    try:
        reports, given = read_reports(reports_path), read_given_masks(folder)
    except ValueError as error:
        raise CohortError(str(error)) from error

    folders = _exam_folders(folder / "exams")
    fingerprints, newest = _fingerprints({deidentifier.exam(name): path for name, path in folders.items()}, known)
    deidentifier.keep_links(folders)

    reported = reports["exam_id"].to_list()
    near = _near_matches(
        folder, [exam for exam in reported if exam not in folders], folders.keys() - set(reported), folders
    )
    near = near if not deidentifier.settings.hash_ids else {exam: _NEAR_UNNAMED for exam in near}
    entries: list[ExamEntry] = []
    # An exam whose lesions are given needs no report.
    only_given = [{**dict.fromkeys(reports.columns), "exam_id": e} for e in given if e not in set(reported)]
    for row in [*reports.iter_rows(named=True), *only_given]:
        exam_id, exam_folder = deidentifier.exam(row["exam_id"]), folders.pop(row["exam_id"], None)
        images = fingerprints[exam_id].content if exam_folder else ""
        own = given.get(row["exam_id"], ())
        problem = without_empty_report(row["problem"]) if own else row["problem"]
        entry = _reported_entry(
            {**row, "given": own, "problem": problem}, exam_folder, images, deidentifier, before.get(exam_id)
        )
        entries.append(replace(entry, near=near.get(row["exam_id"])))
    for name, path in folders.items():
        images = fingerprints[deidentifier.exam(name)].content
        entries.append(replace(_entry_without_report(name, path, images, deidentifier), near=near.get(name)))
    files = [reports_path, *reports_path.rglob("*")] if reports_path.is_dir() else [reports_path]
    newest_s = max([*newest.values(), *(path.lstat().st_mtime for path in files)])
    return Cohort(folder, tuple(sorted(entries, key=lambda e: e.exam_id)), fingerprints, newest_s)


def _exam_folders(exams_folder: Path) -> dict[str, Path]:
    """Folders of exams by exam: their names composed (NFC), as the ids of reports are. Of two folders that differ in
    nothing else the second keeps its name.
    """
    found: dict[str, Path] = {}
    for path in sorted(exams_folder.iterdir()) if exams_folder.is_dir() else ():
        if path.is_dir():
            name = _exam_of(path.name)
            found[name if name not in found else file_name_text(path.name)] = path
    return found


def _exam_of(name: str) -> str:
    """Exam that a folder of this name is of."""
    return clean_id(file_name_text(name)) or file_name_text(name)


_NEAR_UNNAMED = "one of nearly the same name is there: compare case, leading zeros, blanks and the folder's depth"


def _near_matches(
    cohort: Path, without_folder: Sequence[str], without_report: Collection[str], folders: Mapping[str, Path]
) -> dict[str, str]:
    """Exam that lacks its folder or its report -> a question about what is there under nearly its name."""
    deep = folders_too_deep(cohort, set(without_folder), {e: folders[e] for e in without_report}, _exam_of)
    questions = {
        exam: f"did you mean {f'{place}/{name}' if place else name}, which does not lie in exams/ itself"
        for exam, (place, name) in deep.items()
    }
    for exam, name in archives_beside(cohort / "exams", set(without_folder), _exam_of).items():
        questions.setdefault(
            exam, f"did you mean the file exams/{name}, which is to be put or unpacked into that folder"
        )
    for names, others, kind in ((without_folder, without_report, "folder"), (without_report, without_folder, "report")):
        for exam, near in near_names(names, others).items():
            listed = " or ".join(map(repr, near))
            questions.setdefault(exam, f"did you mean the {kind} {listed}")
    return questions


def _reported_entry(
    row: Mapping[str, Any],
    folder: Path | None,
    image_fingerprint: str,
    deidentifier: Deidentifier,
    earlier: Mapping[str, Any] | None,
) -> ExamEntry:
    """Entry of an exam of the table of reports; its text is scanned where it or the images differ from `earlier`."""
    patient = deidentifier.patient(row["patient_id"] or row["exam_id"])
    said = (row["findings"], row["tracer"], row["problem"])
    said += (hash_of(row["given"]),) if row["given"] else ()
    fingerprint = deidentifier.report_fingerprint(*said, *([patient] if deidentifier.days_back(patient) else []))
    if (
        earlier is not None
        and earlier["report_fingerprint"].split(_SHOWN)[0] == fingerprint
        and earlier["image_fingerprint"] == image_fingerprint
    ):
        fingerprint = earlier["report_fingerprint"]
        report, identifiers, given = earlier["report"], earlier["identifiers"], earlier.get("given", [])
    else:
        text, ids = row["findings"] or "", (row["exam_id"], row["patient_id"] or "")
        names = names_in_folder(folder) if (text or row["given"]) and folder else frozenset()
        report, identifiers = deidentifier.report(text, ids, names, patient)
        if names and report != deidentifier.report(text, ids, patient=patient)[0]:
            # Names from the image headers are masked, so the text depends on the images.
            fingerprint += f"{_SHOWN}{deidentifier.report_fingerprint(report)}"
        given, of_masks = _given_entries(row["given"], deidentifier, ids, names, patient, folder)
        identifiers = dict(Counter(identifiers) + of_masks)
    return ExamEntry(
        exam_id=deidentifier.exam(row["exam_id"]),
        patient_id=patient,
        folder=str(deidentifier.folder(row["exam_id"], folder)) if folder else None,
        image_fingerprint=image_fingerprint,
        has_report=True,
        report=report,
        tracer=deidentifier.tracer(row["tracer"]),
        report_problem=row["problem"],
        report_fingerprint=fingerprint,
        identifiers=identifiers,
        study_date=deidentifier.study_date(row["study_date"], patient),
        split=row["split"],
        given=given,
    )


def _given_entries(
    masks: Sequence[GivenMask],
    deidentifier: Deidentifier,
    ids: tuple[str, ...],
    names: frozenset[str],
    patient: str,
    folder: Path | None,
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """(given masks with their texts as they go on, identifiers found in these by kind)."""
    entries: list[dict[str, Any]] = []
    found: Counter[str] = Counter()
    for one in masks:
        text, counts = deidentifier.report(one.text, ids, names, patient) if one.text else (None, {})
        found += Counter(counts)
        entry = {name: value for name, value in vars(one).items() if name != "exam_id"} | {"text": text}
        if deidentifier.is_private:
            entry |= hidden_name(one.mask, folder)
        entries.append(entry)
    return entries, found


def _entry_without_report(name: str, folder: Path, image_fingerprint: str, deidentifier: Deidentifier) -> ExamEntry:
    return ExamEntry(
        exam_id=deidentifier.exam(name),
        patient_id=deidentifier.patient(name),
        folder=str(deidentifier.folder(name, folder)),
        image_fingerprint=image_fingerprint,
        has_report=False,
        report="",
        tracer=None,
        report_problem=None,
        report_fingerprint="",
    )


def cohort_state(folder: Path) -> str:
    """`state_of_cohort`: cheap, for a sensor that asks whether to look closer.

    Raises:
        CohortError: the folder is not there.
    """
    if not folder.is_dir():
        raise CohortError(f"expected a cohort folder, got {folder}, which is not there: set PETAR_COHORT to it")
    return state_of_cohort(folder)


def _fingerprints(
    folders: Mapping[str, Path], known: Mapping[str, Fingerprint]
) -> tuple[dict[str, Fingerprint], dict[str, float]]:
    """(fingerprint, time of the newest file) of every folder by its exam; a folder without files has no time."""
    newest: dict[str, float] = {}

    def of(name: str) -> Fingerprint:
        files = files_below(folders[name])
        if files:
            newest[name] = max(file.mtime_ns for file in files) / 1e9
        state = state_of(files)
        before = known.get(name)
        if before is not None and before.state == state:
            return before
        return Fingerprint(state, hash_of_files((file.name, file.path) for file in files))

    # Hashing releases the interpreter lock, so threads read several exams at once.
    with ThreadPoolExecutor(_HASHING_THREADS) as pool:
        return dict(zip(folders, pool.map(of, folders), strict=True)), newest


# --- the observed manifest ---


def observe_cohort(
    cohort_folder: Path,
    manifest_folder: Path,
    deidentifier: Deidentifier = NO_DEIDENTIFICATION,
    *,
    accept_removals: bool = False,
    reviews: Path | None = None,
) -> dict[int, str]:
    """Scans a cohort, writes the manifest of each shard that changed, and gives the data version of every shard.

    The stages read the manifest written here and never the folder's listing, so one shard's run costs nothing of the
    others. Corrections are observed too, and when an exam was first missed is noted.

    Args:
        accept_removals: many exams may leave at once (`pipelines/cohort/losses.py`); else nothing is written then.
        reviews: folder of the files that reviewers saved, for the corrections in them.

    Raises:
        CohortError: see `scan_cohort`; or corrections.csv can not be read; or more exams left than may unasked.
        PrivacyError: the manifest that is there was made with other ids.
    """
    with observing(manifest_folder):
        deidentifier.check_manifest(manifest_folder)
        return _observe(cohort_folder, manifest_folder, deidentifier, accept_removals, reviews)


def _observe(
    cohort_folder: Path,
    manifest_folder: Path,
    deidentifier: Deidentifier,
    accept_removals: bool,
    reviews: Path | None,
) -> dict[int, str]:
    fingerprints_path = manifest_folder / "fingerprints.json"
    before = [_read_payload(_shard_path(manifest_folder, shard)) for shard in range(N_SHARDS)]
    cohort = scan_cohort(cohort_folder, _read_fingerprints(fingerprints_path), deidentifier, _scanned_before(before))
    lost = losses((entry for payload in before for entry in payload.get("entries", ())), cohort.entries)
    refusal = lost.refusal(is_other_cohort_folder(cohort_folder, manifest_folder))
    if refusal and not accept_removals:
        raise CohortError(f"{cohort_folder}: {refusal}")
    note_cohort_folder(cohort_folder, manifest_folder)
    patients = {e.exam_id: e.patient_id for e in cohort.entries}
    _corrections_by_shard(cohort_folder, manifest_folder, patients, deidentifier, reviews)
    shards = cohort.by_shard()
    _note_departures(manifest_folder, shards, before)
    deidentifier.note_manifest(manifest_folder)
    versions: dict[int, str] = {}
    for shard, entries in enumerate(shards):
        versions[shard] = manifest_version(entries)
        payload = {
            "version": versions[shard],
            "scanned": _scan_version(),
            "entries": [vars(e) for e in entries],
        }
        if payload != before[shard]:
            atomic.write_bytes(_shard_path(manifest_folder, shard), json.dumps(payload).encode())
    atomic.write_bytes(fingerprints_path, json.dumps({k: vars(v) for k, v in cohort.fingerprints.items()}).encode())
    write_observation(manifest_folder, cohort.newest_s, len(cohort.entries))
    return versions


def _read_payload(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def _scan_version() -> str:
    """Version of the code that finds identifiers in reports; another one scans them again."""
    return code_version(deidentification.__name__, header_identifiers.__name__)


def _scanned_before(payloads: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Entries of the last observation whose reports were scanned by the rules of today, by exam."""
    found: dict[str, Mapping[str, Any]] = {}
    for payload in payloads:
        if payload.get("scanned") == _scan_version():
            found |= {entry["exam_id"]: entry for entry in payload["entries"]}
    return found


def observe_corrections(
    cohort_folder: Path,
    manifest_folder: Path,
    deidentifier: Deidentifier = NO_DEIDENTIFICATION,
    reviews: Path | None = None,
) -> dict[int, str]:
    """Reads corrections.csv of a cohort, and what reviewers corrected in the pages, for the shards that they concern,
    and gives each shard's version of it.

    Args:
        reviews: folder of the files that reviewers saved.

    Raises:
        CohortError: the folder is no cohort, or corrections.csv can not be read.
    """
    try:
        reports = read_reports(check_cohort(cohort_folder))
    except ValueError as error:
        raise CohortError(str(error)) from error
    patients = {
        deidentifier.exam(row["exam_id"]): deidentifier.patient(row["patient_id"] or row["exam_id"])
        for row in reports.iter_rows(named=True)
    }
    with observing(manifest_folder):
        return _corrections_by_shard(cohort_folder, manifest_folder, patients, deidentifier, reviews)


def _corrections_by_shard(
    cohort_folder: Path,
    manifest_folder: Path,
    patients: Mapping[str, str],
    deidentifier: Deidentifier,
    reviews: Path | None,
) -> dict[int, str]:
    of_reviews = review_corrections(reviews) if reviews is not None else []
    try:
        return _observe_corrections(
            cohort_folder,
            manifest_folder,
            patients,
            deidentifier,
            of_reviews,
        )
    except CorrectionsError as error:
        raise CohortError(str(error)) from error


def _note_departures(
    manifest_folder: Path, shards: Sequence[Sequence[ExamEntry]], before: Sequence[Mapping[str, Any]]
) -> None:
    """Notes of every exam that a shard lost since the last observation when that was seen, and where it went."""
    now = {entry.exam_id: entry for entries in shards for entry in entries}
    noted = read_departures(manifest_folder)
    found = dict(noted)
    for shard, (entries, payload) in enumerate(zip(shards, before, strict=True)):
        here = {entry.exam_id for entry in entries}
        for exam_id in (entry["exam_id"] for entry in payload.get("entries", ())):
            if exam_id not in here:
                moved = now.get(exam_id)
                reason = "the cohort holds it no longer" if moved is None else f"it is now patient {moved.patient_id}'s"
                found[f"{shard:02d}/{exam_id}"] = {
                    "at": datetime.now(UTC).isoformat(timespec="seconds"),
                    "reason": reason,
                }
    if found != noted:
        atomic.write_bytes(manifest_folder / "departures.json", json.dumps(found, indent=1).encode())


def read_departures(manifest_folder: Path) -> dict[str, dict[str, str]]:
    """When (`at`, UTC) each exam was first missed in a shard, and why (`reason`), by `<shard>/<exam>`."""
    path = manifest_folder / "departures.json"
    return json.loads(path.read_text()) if path.exists() else {}


def read_manifest(manifest_folder: Path, shard: int) -> tuple[str, tuple[ExamEntry, ...]]:
    """Data version and entries of one shard as last observed.

    Raises:
        CohortError: the cohort was never observed.
    """
    path = _shard_path(manifest_folder, shard)
    if not path.exists():
        raise CohortError(
            f"expected the manifest of shard {shard:02d}, got none in {manifest_folder}: observe exam_manifest first"
        )
    status = path.stat()
    return _manifest(path, (status.st_mtime_ns, status.st_size, status.st_ino))


@functools.lru_cache(maxsize=N_SHARDS)
def _manifest(path: Path, signature: tuple[int, ...]) -> tuple[str, tuple[ExamEntry, ...]]:
    """What a shard's manifest holds, remembered until it is replaced: every stage of a shard reads it."""
    payload = json.loads(path.read_text())
    return payload["version"], tuple(ExamEntry(**entry) for entry in payload["entries"])


def read_whole_manifest(manifest_folder: Path) -> tuple[ExamEntry, ...]:
    """Entries of all shards as last observed, sorted by exam id."""
    found: dict[str, ExamEntry] = {}
    for shard in range(N_SHARDS):
        for entry in read_manifest(manifest_folder, shard)[1]:
            found[entry.exam_id] = entry
    return tuple(found[k] for k in sorted(found))


def _shard_path(manifest_folder: Path, shard: int) -> Path:
    return manifest_folder / f"{shard:02d}.json"


def _read_fingerprints(path: Path) -> dict[str, Fingerprint]:
    if not path.exists():
        return {}
    return {name: Fingerprint(**value) for name, value in json.loads(path.read_text()).items()}
