"""The proposals of a home: exams without a report, their candidates ranked, the likeliest contoured and listed."""

import csv
import io
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.cohort.privacy.deidentification import is_private_home
from pipelines.imaging.lesions.contour import contour
from pipelines.imaging.lesions.measures import Measures, measure
from pipelines.imaging.masks import save_mask
from pipelines.imaging.volume import Volume, load_nifti
from pipelines.proposals.answers import NO_LESION, PEAK_MM, YES, answers_of
from pipelines.proposals.calibration import LogisticCalibration, calibrated
from pipelines.proposals.examples import ExampleSource, features_in, labelled_exams
from pipelines.proposals.model import ProposalModel, ProposalsExtraError, train
from pipelines.proposals.queue import review_queue
from pipelines.proposals.segmenter import Segmenter, SegmenterError
from pipelines.review.reviews import read_reviews
from pipelines.settings import ProjectSettings
from pipelines.tables import atomic, schemas
from pipelines.tables.curation_version import curation_version
from pipelines.tables.errors import reason_of
from pipelines.tables.exam_problems import ExamProblem
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home, folder_name
from pipelines.tables.lake import Lake, WriteResult
from pipelines.tables.outcomes import Outcome
from pipelines.tables.provenance import code_version
from pipelines.tables.safe_text import without_quotes

CONFIRMED = ("lesion",)
"""Answers with which a draft report takes a proposal: a lesion whose contour nobody calls wrong. One that was marked as
missed is a lesion of the curation, which the report takes from there."""
_MEASURED = ("suvmax", "suvmean", "suvpeak", "mtv_ml", "tlg", "diameter_mm")
LIST_NAME = "to_review.csv"
"""File of the review list, below PETAR_HOME/proposals: filled in, it is put into PETAR_HOME/reviews. In it `finding_id`
is the candidate, `value` the organ of physiologic uptake."""
_LIST_COLUMNS = (
    *("exam_id", "place", "finding_id", "slice", "side", "organ", "suvmax", "mtv_ml", "p", "listed"),
    *("reviewer", "answer", "value", "note"),
)


@dataclass(frozen=True)
class Ranking:
    """What candidates are ordered by: a model, or null for prominence alone, with its calibrations by scanner."""

    model: ProposalModel | None
    version: str | None
    calibrations: Mapping[str, LogisticCalibration] = field(default_factory=dict)


@dataclass(frozen=True)
class ProposalSummary:
    """What an update did: rows by what they are, exams without proposals and why, problems of answers."""

    frame: pl.DataFrame
    written: WriteResult
    n_exams: int
    model: str | None
    problems: Sequence[str]


class ProposalUpdate:
    """An update of the proposals of a home."""

    def __init__(self, home: Home, settings: ProjectSettings, log: logging.Logger) -> None:
        self._home, self._settings, self._log = home, settings, log
        self._lake = Lake(home.lake)
        self._exams = self._lake.read_table("exams").filter(pl.col("status") == "ok")
        self._candidates = self._lake.read_table("candidates")
        self._before = {row["candidate_id"]: row for row in self._lake.read_table("proposals").iter_rows(named=True)}
        named = pl.concat([self._candidates.select(_PLACE), self._lake.read_table("proposals").select(_PLACE)]).unique(
            "candidate_id", keep="first", maintain_order=True
        )
        located, findings = self._lake.read_table("lesions"), self._lake.read_table("findings")
        self._located = located.filter(pl.col("outcome") == Outcome.LESION.value)
        self._unreported = self._exams.filter(pl.col("problem") == ExamProblem.NO_REPORT.value).sort("exam_id")
        marked = self._located.join(self._unreported, on="exam_id", how="semi")
        is_private = is_private_home(home.manifest)
        read = read_reviews(home.reviews, findings, located, curation_version(home), is_private=is_private)
        self._answers = answers_of(read.frame, marked, named)
        said = [without_quotes(problem) if is_private else problem for problem in self._answers.problems]
        self._problems = [*map(str, read.problems), *said]

    def run(self) -> ProposalSummary:
        """Brings table, masks and review list up to the candidates and the answers.

        Raises:
            SegmenterError: `[proposals] command` is wrong.
        """
        segmenter = Segmenter(self._settings.proposals) if self._settings.proposals.command else None
        ranking = Ranking(None, segmenter.version) if segmenter else self._ranking()
        rows: list[dict[str, Any]] = []
        for exam in self._unreported.iter_rows(named=True):
            rows += self._of_exam(exam, ranking, segmenter)
        self._remove_others({str(row["exam_id"]) for row in rows})
        frame = schemas.frame("proposals", rows)
        written = self._lake.write_table("proposals", frame)
        self._write_list(frame)
        return ProposalSummary(frame, written, self._unreported.height, ranking.version, self._problems)

    def _ranking(self) -> Ranking:
        """The model of the cohort; none where there is nothing to learn from."""
        physiologic = self._lake.read_table("findings").select("finding_id", "is_physiologic")
        located = self._located.join(physiologic, on="finding_id", how="left")
        # Of an exam without a report only what a person marked is known, not that the rest is none.
        reported = self._exams.join(self._unreported, on="exam_id", how="anti")
        labelled = labelled_exams(reported, self._candidates, located)
        source = ExampleSource(self._home, self._settings, self._log)
        try:
            examples = source.examples(labelled, self._candidates, self._answers.by_candidate)
            if examples is None:
                self._log.info("no exam with a located lesion and no answer: proposals go by prominence alone")
                return Ranking(None, None)
            model = train(examples)
        except (ProposalsExtraError, ValueError) as error:
            self._log.warning("proposals go by prominence alone: %s", error)
            return Ranking(None, None)
        return Ranking(model, examples.version, self._calibrations(model))

    def _calibrations(self, model: ProposalModel) -> dict[str, LogisticCalibration]:
        """By scanner, of those with enough answers."""
        said = {name: answer for name, answer in self._answers.by_candidate.items() if answer in (*YES, *NO_LESION)}
        scanners = dict(self._exams.select("exam_id", "scanner").iter_rows())
        rows = self._candidates.filter(pl.col("candidate_id").is_in(sorted(said))).with_columns(
            scanner=pl.col("exam_id").replace_strict(scanners, default=None, return_dtype=pl.String)
        )
        made = {}
        for (scanner,), own in rows.drop_nulls("scanner").group_by("scanner", maintain_order=True):
            p = self._probability(model, own)
            is_lesion = np.array([said[name] in YES for name in own["candidate_id"]], bool)
            one = calibrated(p, is_lesion, own["exam_id"].to_list())
            if one is not None:
                made[str(scanner)] = one
        return made

    def _probability(self, model: ProposalModel, rows: pl.DataFrame) -> NDArray[np.float64]:
        return np.minimum(model.probability(features_in(rows)) / self._settings.proposals.mentioned, 1.0)

    def _of_exam(self, exam: Mapping[str, Any], ranking: Ranking, segmenter: Segmenter | None) -> list[dict[str, Any]]:
        own = self._candidates.filter(pl.col("exam_id") == exam["exam_id"])
        own = own.sort("prominence_suv", "candidate_id", descending=[True, False])
        volume = load_nifti(self._home.file(exam["suv_path"]))
        if segmenter is not None:
            return self._of_command(exam, volume, own, segmenter)
        names = own["candidate_id"].to_list()
        p = None if ranking.model is None else self._probability(ranking.model, own)
        calibration = ranking.calibrations.get(exam["scanner"] or "")
        score = own["prominence_suv"].to_numpy()
        if ranking.model is not None:
            score = ranking.model.probability(features_in(own))
        # What lies in an organ with uptake of its own comes last: it has a place in the list only where room is left.
        order = score - 1e6 * own["is_vetoed"].to_numpy()
        said = self._answers.by_candidate
        open_ = [n for n, name in enumerate(names) if name not in said and (p is not None or not own["is_vetoed"][n])]
        known = p if p is None or calibration is None else calibration(p)
        chances = None if known is None else [float(known[n]) for n in open_]
        groups = [own["group_id"][n] for n in open_]
        # A probability that is not calibrated orders candidates, and is no reason to leave one out.
        wanted = self._settings.proposals if calibration else self._settings.proposals.changed(least_p=0.0)
        listed = review_queue([names[n] for n in open_], [float(order[n]) for n in open_], chances, wanted, groups)
        ranked = sorted(range(len(names)), key=lambda n: (-order[n], names[n]))
        place = {names[n]: k for k, n in enumerate(ranked, start=1)}
        kept = [n for n in ranked if names[n] in listed or names[n] in said or self._is_sure(p, n, calibration, own)]
        rows = []
        for n in kept:
            candidate = own.row(n, named=True)
            row = self._contoured(exam, volume, candidate, self._rivals(own[kept], candidate))
            row |= {
                "source": "prominence" if p is None else "model",
                "model": ranking.version,
                "p": None if p is None else float(p[n]),
                "p_calibrated": None if p is None or calibration is None else float(calibration(p[n : n + 1])[0]),
                "calibration": "not calibrated" if calibration is None else "calibrated",
                "listed": listed.get(names[n]),
                "place": place[names[n]],
                "answer": said.get(names[n]),
                "organ": self._answers.organs.get(names[n]) or candidate["organ"],
            }
            is_sure = names[n] not in said and self._is_sure(p, n, calibration, own)
            row["is_accepted"] = row["mask_path"] is not None and (row["answer"] in CONFIRMED or is_sure)
            rows.append(row)
        return rows

    def _is_sure(
        self, p: NDArray[np.float64] | None, n: int, calibration: LogisticCalibration | None, own: pl.DataFrame
    ) -> bool:
        """Whether a draft report may take a candidate that nobody reviewed; of a group the hottest alone."""
        if p is None or calibration is None or not own["has_organ_map"][n] or own["is_vetoed"][n]:
            return False
        if own["group_id"][n] != own["candidate_id"][n]:
            return False
        return bool(calibration(p[n : n + 1])[0] >= self._settings.proposals.accepted_p)

    def _rivals(self, kept: pl.DataFrame, candidate: Mapping[str, Any]) -> NDArray[np.int64]:
        """Peaks (n, 3) that a candidate's contour may not take: those of other groups, and of its own group those that
        a reviewer called a lesion.
        """
        said = self._answers.by_candidate
        lesions = [name for name in kept["candidate_id"] if said.get(name) in YES]
        is_rival = (pl.col("group_id") != candidate["group_id"]) | pl.col("candidate_id").is_in(lesions)
        others = kept.filter(is_rival & (pl.col("candidate_id") != candidate["candidate_id"]))
        return others.select("peak_i", "peak_j", "peak_k").to_numpy().astype(np.int64).reshape(-1, 3)

    def _contoured(
        self, exam: Mapping[str, Any], volume: Volume, candidate: Mapping[str, Any], others: NDArray[np.int64]
    ) -> dict[str, Any]:
        """The contour of a candidate, measured and saved as a mask."""
        settings = self._settings.lesions.contour
        key = hash_of(
            code_version("pipelines.imaging.lesions.contour"), exam["row_key"], candidate["candidate_id"], settings,
            sorted(map(tuple, others.tolist())),
        )  # fmt: skip
        kept = ("candidate_id", "exam_id", "patient_id", "slice", "side", "suvmax")
        row: dict[str, Any] = {name: candidate[name] for name in kept}
        row |= {f"peak_{axis}": candidate[f"peak_{axis}"] for axis in (*"ijk", "x_mm", "y_mm", "z_mm")}
        row["row_key"] = key
        before = self._before.get(candidate["candidate_id"])
        if before is not None and before["row_key"] == key and self._home.is_kept(before["mask_path"]):
            return row | {name: before[name] for name in (*_MEASURED, "stop_reason", "mask_path")}
        peak = (candidate["peak_i"], candidate["peak_j"], candidate["peak_k"])
        made = contour(volume, peak, others, settings)
        row |= {"stop_reason": made.stop_reason.value, "mask_path": None}
        if not made.mask.any():
            return row
        measured = measure(volume, made.mask, made.corner)
        return row | self._saved(exam["exam_id"], candidate["candidate_id"], volume, measured, (made.mask, made.corner))

    def _saved(
        self,
        exam_id: str,
        name: str,
        volume: Volume,
        measured: Measures,
        region: tuple[NDArray[np.bool_], tuple[int, int, int]],
    ) -> dict[str, Any]:
        mask, corner = region
        low = (measured.box_i0, measured.box_j0, measured.box_k0)
        high = (measured.box_i1, measured.box_j1, measured.box_k1)
        inner = tuple(slice(a - c, b - c) for a, b, c in zip(low, high, corner))
        box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
        cropped = Volume(mask[inner].astype(np.uint8), volume.crop(box).affine)
        path = save_mask(cropped, self._home.root / "proposals" / "masks" / folder_name(exam_id), name)
        found = measured.to_row()
        return {name: found[name] for name in _MEASURED} | {"mask_path": str(path.relative_to(self._home.root))}

    def _of_command(
        self, exam: Mapping[str, Any], volume: Volume, own: pl.DataFrame, segmenter: Segmenter
    ) -> list[dict[str, Any]]:
        """What the command finds, the hottest first, at most as many as are reviewed, and what was answered before."""
        exam_id = exam["exam_id"]
        try:
            ct = load_nifti(self._home.file(exam["ct_path"])) if exam["ct_path"] else None
            components = segmenter.components(volume, ct, exam_id)
        except (SegmenterError, ValueError, OSError) as error:
            self._problems.append(f"exam {exam_id}: {reason_of(error)}")
            self._log.warning("exam %s: nothing is proposed: %s", exam_id, reason_of(error))
            return []
        said = self._answers.by_candidate
        rows: list[dict[str, Any]] = []
        n_listed = 0
        for place, ijk in enumerate(components, start=1):
            values = volume.array[tuple(ijk.T)]
            peak = ijk[int(values.argmax())]
            name = f"{exam_id}:{'-'.join(str(int(v)) for v in peak)}"
            match = own.filter(pl.col("candidate_id") == name)
            low = ijk.min(axis=0)
            mask = np.zeros(ijk.max(axis=0) - low + 1, bool)
            mask[tuple((ijk - low).T)] = True
            corner = (int(low[0]), int(low[1]), int(low[2]))
            measured = measure(volume, mask, corner)
            ras = volume.to_ras_mm(peak)
            is_listed = name not in said and n_listed < self._settings.proposals.most_an_exam
            n_listed += is_listed
            row: dict[str, Any] = {
                "candidate_id": name,
                "exam_id": exam_id,
                "patient_id": exam["patient_id"],
                "row_key": hash_of(segmenter.version, exam["row_key"], name),
                "source": "command",
                "model": segmenter.version,
                "calibration": "not calibrated",
                "listed": "top" if is_listed else None,
                "place": place,
                "answer": said.get(name),
                "organ": self._answers.organs.get(name) or (match["organ"][0] if match.height else None),
                "side": match["side"][0] if match.height else None,
                "slice": exam["n_slices"] - int(peak[2]),
                **{f"peak_{axis}": int(v) for axis, v in zip("ijk", peak)},
                **{f"peak_{axis}_mm": float(v) for axis, v in zip("xyz", ras)},
                "is_accepted": said.get(name) in CONFIRMED,
                "stop_reason": None,
            }
            row |= self._saved(exam_id, name, volume, measured, (mask, corner))
            rows.append(row)
        return rows

    def _remove_others(self, exam_ids: set[str]) -> None:
        """Takes away the masks of exams without proposals."""
        folder = self._home.root / "proposals" / "masks"
        wanted = {folder_name(exam_id) for exam_id in exam_ids}
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name not in wanted:
                shutil.rmtree(path, ignore_errors=True)

    def _write_list(self, frame: pl.DataFrame) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, _LIST_COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in frame.drop_nulls("listed").sort("exam_id", "place").iter_rows(named=True):
            rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}
            writer.writerow(rounded | {"finding_id": row["candidate_id"], "answer": None})
        atomic.write_bytes(self._home.root / "proposals" / LIST_NAME, text.getvalue().encode())


_PLACE = ("candidate_id", "exam_id", *PEAK_MM)


def update_proposals(home: Home, settings: ProjectSettings, log: logging.Logger) -> ProposalSummary:
    """The table `proposals` of a home as it is now, its masks, and the list that reviewers fill in.

    Args:
        home: folders below PETAR_HOME.
        settings: of the project.
        log: gets what could not be proposed or read.

    Raises:
        SegmenterError: `[proposals] command` is wrong.
    """
    return ProposalUpdate(home, settings, log).run()
