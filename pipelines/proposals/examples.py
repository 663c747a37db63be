"""What the model of proposals learns from: candidates of the cohort whose answer is known or assumed."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.imaging.candidates.candidates import find_candidates
from pipelines.imaging.lesions.exam_peaks import exam_peaks
from pipelines.imaging.volume import Volume, load_nifti
from pipelines.proposals.answers import NO_LESION, YES
from pipelines.proposals.insertion import Inserted, insert_lesions
from pipelines.proposals.model import Examples
from pipelines.proposals.phantom_examples import phantom_examples
from pipelines.settings import ProjectSettings
from pipelines.tables import atomic
from pipelines.tables.candidate_features import FEATURES
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home, folder_name
from pipelines.tables.provenance import code_version


@dataclass(frozen=True, eq=False)
class LabelledExam:
    """An exam with a report: its candidates, and which of them a lesion of the report is. Further peaks of a lesion's
    group are left out: they may be of it, or of another one that the report does not count.
    """

    exam: Mapping[str, Any]
    candidates: pl.DataFrame
    is_lesion: NDArray[np.bool_]


def labelled_exams(exams: pl.DataFrame, candidates: pl.DataFrame, lesions: pl.DataFrame) -> list[LabelledExam]:
    """The exams in whose image a lesion of their report was found, by id.

    Args:
        exams: the table, those with a report.
        candidates: the table.
        lesions: located lesions with `is_physiologic`: exam_id, peak_i, peak_j, peak_k.
    """
    found: dict[str, set[str]] = {}
    for row in lesions.iter_rows(named=True):
        if not row["is_physiologic"]:
            name = f"{row['exam_id']}:{row['peak_i']}-{row['peak_j']}-{row['peak_k']}"
            found.setdefault(row["exam_id"], set()).add(name)
    by_exam = {str(exam_id): own for (exam_id,), own in candidates.group_by("exam_id", maintain_order=True)}
    rows = {row["exam_id"]: row for row in exams.iter_rows(named=True)}
    made = []
    for exam_id in sorted(set(found) & set(by_exam) & set(rows)):
        own = by_exam[exam_id].sort("suvmax", "candidate_id", descending=[True, False])
        is_lesion = pl.col("candidate_id").is_in(sorted(found[exam_id]))
        groups = own.filter(is_lesion)["group_id"].to_list()
        own = own.filter(is_lesion | ~pl.col("group_id").is_in(groups))
        made.append(LabelledExam(rows[exam_id], own, own.select(is_lesion).to_series().to_numpy()))
    return made


def features_in(candidates: pl.DataFrame) -> NDArray[np.float64]:
    """Features (n, f) of rows of the table; NaN: not known."""
    columns = [candidates[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in FEATURES]
    return np.stack(columns, axis=1) if columns else np.zeros((candidates.height, 0))


@dataclass(frozen=True)
class ExampleSource:
    """Where examples come from."""

    home: Home
    settings: ProjectSettings
    log: logging.Logger

    def examples(
        self, labelled: Sequence[LabelledExam], candidates: pl.DataFrame, answers: Mapping[str, str]
    ) -> Examples | None:
        """All examples of the cohort; null without a located lesion and without an answer: then nothing is learnt.

        Lesions of reports count fully, and so do inserted ones; other candidates of those exams are assumed to be none;
        reviewed proposals count `answer_weight` times; phantoms a third each.

        Args:
            labelled: exams with a located lesion.
            candidates: the table.
            answers: candidate -> what reviewers said.
        """
        wanted = self.settings.proposals
        parts = [_of_exam(one, answers) for one in labelled[: wanted.most_exams]]
        reviewed = candidates.filter(pl.col("candidate_id").is_in(sorted(answers)))
        is_lesion = np.array([answers[c] in YES for c in reviewed["candidate_id"]], bool)
        counted = np.array([answers[c] in (*YES, *NO_LESION) for c in reviewed["candidate_id"]], bool)
        if counted.any():
            weight = np.full(int(counted.sum()), wanted.answer_weight)
            parts.append(Examples(features_in(reviewed)[counted], is_lesion[counted], weight))
        if not parts:
            return None
        parts += list(self._inserted(labelled))
        parts += phantom_examples(self.home.root / "proposals" / "phantoms", self.settings)
        return Examples.joined(parts, _share_of_lesions(labelled, candidates, answers))

    def _inserted(self, labelled: Sequence[LabelledExam]) -> Iterator[Examples]:
        """Lesions put into the exams that have reports."""
        count = self.settings.proposals.inserted
        most = self.settings.proposals.inserted_exams
        chosen = sorted(labelled, key=lambda one: hash_of(one.exam["exam_id"]))[:most]
        for one in chosen:
            exam_id = one.exam["exam_id"]
            key = hash_of(code_version(__name__), one.exam["row_key"], self.settings.candidates, count)
            path = self.home.root / "proposals" / "inserted" / f"{folder_name(exam_id)}.npz"
            features = _load(path, key)
            if features is None:
                self.log.info("exam %s: lesions are put into it for the model of proposals", exam_id)
                features = self._features_of_inserted(one.exam, count)
                _save(path, key, features)
            if len(features):
                yield Examples(features, np.ones(len(features), bool), np.ones(len(features)))

    def _features_of_inserted(self, exam: Mapping[str, Any], count: int) -> NDArray[np.float64]:
        volume = load_nifti(self.home.file(exam["suv_path"]))
        ct = load_nifti(self.home.file(exam["ct_path"])) if exam["ct_path"] else None
        made = [one for one, _ in inserted_features(exam["exam_id"], volume, ct, count, self.settings)]
        found = [features[own[:1]] for features, owns in made for own in owns if len(own)]
        return np.concatenate(found) if found else np.zeros((0, len(FEATURES)))


def inserted_features(
    exam_id: str, volume: Volume, ct: Volume | None, count: int, settings: ProjectSettings, seed: int = 0
) -> Iterator[tuple[tuple[NDArray[np.float64], list[NDArray[np.int64]]], list[Inserted]]]:
    """Features of the candidates of an exam that lesions were put into, and of each lesion its own candidates, the
    hottest first; in rounds of at most `ROUND` lesions.

    Args:
        exam_id: seeds what is drawn.
        volume: SUV, RAS+.
        ct: HU on its grid, or null.
        count: lesions in all rounds.
        settings: of peaks and candidates.
        seed: another one draws other lesions.
    """
    rng = np.random.default_rng([seed, *exam_id.encode("utf-8", "surrogatepass")])
    bare = exam_peaks(volume, settings=settings.lesions.peaks)
    while count > 0:
        changed, lesions = insert_lesions(volume, bare, min(count, ROUND), rng)
        count -= ROUND
        if not lesions:
            return
        exam = exam_peaks(changed, settings=settings.lesions.peaks)
        found = find_candidates(changed, exam, ct, None, settings.candidates)
        ijk = exam.peaks.ijk[found.rows]
        yield (found.features, [np.flatnonzero(lesion.holds(ijk)) for lesion in lesions]), lesions


ROUND = 20
"""Lesions that are put into an exam at once: more would fill it."""


def _of_exam(one: LabelledExam, answers: Mapping[str, str]) -> Examples:
    """Candidates of an exam with a report that nobody reviewed."""
    rest = np.array([c not in answers for c in one.candidates["candidate_id"]], bool)
    return Examples(features_in(one.candidates)[rest], one.is_lesion[rest], np.ones(int(rest.sum())))


def _share_of_lesions(labelled: Sequence[LabelledExam], candidates: pl.DataFrame, answers: Mapping[str, str]) -> float:
    """Lesions among the candidates of the exams that a report or a reviewer speaks of, with Jeffreys' prior."""
    known = {c for one in labelled for c in one.candidates["candidate_id"].filter(pl.Series(one.is_lesion)).to_list()}
    said = {name for name, answer in answers.items() if answer in YES}
    denied = {name for name, answer in answers.items() if answer in NO_LESION}
    exams = {one.exam["exam_id"] for one in labelled}
    of_answers = candidates.filter(pl.col("candidate_id").is_in(sorted(said | denied)))["exam_id"].unique()
    spoken_of = candidates.filter(pl.col("exam_id").is_in(sorted(exams | set(of_answers))))
    lesions = ((known - denied) | said) & set(spoken_of["candidate_id"])
    return (len(lesions) + 0.5) / (spoken_of.height + 1.0)


def _load(path: Path, key: str) -> NDArray[np.float64] | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            return np.asarray(file["features"]) if str(file["key"]) == key else None
    except (OSError, ValueError, KeyError, EOFError):
        return None


def _save(path: Path, key: str, features: NDArray[np.float64]) -> None:
    os.makedirs(path.parent, exist_ok=True)
    with atomic.replacing(path) as temp, temp.open("wb") as file:
        np.savez(file, key=np.array(key), features=features)
