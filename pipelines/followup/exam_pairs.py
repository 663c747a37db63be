"""Pairs of exams: each exam with the patient's last one of the same tracer before it, registered on each other."""

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from pipelines.followup.registration import Registration, RegistrationError, register
from pipelines.imaging.problems import ExamError
from pipelines.imaging.volume import Volume
from pipelines.settings import FollowupSettings
from pipelines.tables import schemas
from pipelines.tables.hashing import hash_of
from pipelines.tables.pair_reasons import PairReason
from pipelines.tables.provenance import code_version

_ASKED = ("exam_id", "patient_id", "row_key", "status", "study_date", "tracer")


def exam_pairs(
    exams: pl.DataFrame,
    volume_of: Callable[[Mapping[str, Any]], Volume],
    settings: FollowupSettings,
    before: pl.DataFrame | None = None,
    log: logging.Logger | None = None,
) -> pl.DataFrame:
    """Rows of `exam_pairs`, one an exam: the exam before it and where that lies on it, or why there is none.

    Args:
        exams: rows of `exams`.
        volume_of: row of `exams` -> its PET in SUV.
        settings: how exams are registered.
        before: rows of an earlier call; those with the same inputs, parameters and code are taken over.
        log: is told of pairs that cannot be registered.
    """
    log = log or logging.getLogger(__name__)
    known = {} if before is None else {row["row_key"]: row for row in before.iter_rows(named=True)}
    by_id = {row["exam_id"]: row for row in exams.iter_rows(named=True)}
    rows = []
    for exam, prior, reason in _paired(by_id.values()):
        asked = [None if one is None else [one[name] for name in _ASKED] for one in (exam, prior)]
        key = hash_of(code_version(__name__), settings, asked, reason)
        if key in known:
            rows.append(known[key])
            continue
        row = {"exam_id": exam["exam_id"], "patient_id": exam["patient_id"], "row_key": key, "reason": reason}
        if prior is not None:
            row |= {"prior_exam_id": prior["exam_id"], "days": (_day(exam) - _day(prior)).days}
            row |= _registered(exam, prior, volume_of, settings, log)
        rows.append(row)
    return schemas.frame("exam_pairs", sorted(rows, key=lambda row: str(row["exam_id"])))


def registration_of(row: Mapping[str, Any]) -> Registration | None:
    """The registration that a row of `exam_pairs` keeps; null where it has none."""
    if row["matrix"] is None:
        return None
    matrix = np.vstack([np.array(row["matrix"].split(), float).reshape(3, 4), [0.0, 0.0, 0.0, 1.0]])
    blocks = np.array((row["block_shifts"] or "").split(), float).reshape(-1, 6)
    return Registration(matrix, row["correlation"], row["residual_mm"], blocks[:, :3], blocks[:, 3:])


def _paired(
    exams: Iterable[Mapping[str, Any]],
) -> Iterable[tuple[Mapping[str, Any], Mapping[str, Any] | None, str | None]]:
    """(exam, the one before it, why there is none) of every exam, by patient and day."""
    patients: dict[str, list[Mapping[str, Any]]] = {}
    for exam in exams:
        patients.setdefault(exam["patient_id"], []).append(exam)
    for own in patients.values():
        usable = [exam for exam in own if exam["status"] == "ok" and exam["study_date"] is not None]
        for exam in own:
            if exam["status"] != "ok":
                yield exam, None, PairReason.NO_VOLUME
            elif exam["study_date"] is None:
                yield exam, None, PairReason.NO_DATE
            else:
                earlier = [other for other in usable if _day(other) < _day(exam)]
                alike = [other for other in earlier if other["tracer"] == exam["tracer"]]
                if alike:
                    yield exam, max(alike, key=lambda other: (_day(other), other["exam_id"])), None
                elif earlier:
                    yield exam, None, PairReason.OTHER_TRACER
                else:
                    alone = all(_day(other) != _day(exam) for other in usable if other is not exam)
                    yield exam, None, PairReason.FIRST_EXAM if alone else PairReason.SAME_DAY


def _day(exam: Mapping[str, Any]) -> date:
    return date.fromisoformat(exam["study_date"])


def _registered(
    exam: Mapping[str, Any],
    prior: Mapping[str, Any],
    volume_of: Callable[[Mapping[str, Any]], Volume],
    settings: FollowupSettings,
    log: logging.Logger,
) -> dict[str, Any]:
    """The columns of a registration, or why there is none."""
    try:
        found = register(volume_of(exam), volume_of(prior), settings)
    except (RegistrationError, ExamError, OSError) as error:
        said = str(error) if isinstance(error, RegistrationError) else "its volume cannot be read: curate it again"
        log.warning("exams %s and %s are not registered: %s", prior["exam_id"], exam["exam_id"], said)
        return {"reason": PairReason.NOT_REGISTERED, "explanation": said}
    blocks = np.hstack([found.block_mm, found.block_shift_mm])
    return {
        "matrix": " ".join(f"{value:.6g}" for value in found.matrix[:3].ravel()),
        "rotation_deg": found.rotation_deg,
        "correlation": found.correlation,
        "residual_mm": found.residual_mm,
        "block_shifts": " ".join(f"{value:.0f}" for value in blocks.ravel()) or None,
    }
