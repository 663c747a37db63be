"""The reader study over a home: sheets made from the predictions, ratings read back, figures and a page written."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from model.evaluation.metrics import DEFAULTS
from model.evaluation.reader_study.cases import Study, StudyError, make_study, read_key
from model.evaluation.reader_study.ratings import RatingsRead, read_ratings
from model.evaluation.reader_study.results import results_page, study_results
from model.evaluation.reader_study.sheets import SheetsSummary, write_sheets
from pipelines.settings import ScoreSettings, StudySettings
from pipelines.tables import atomic
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake

RATINGS_NAME = "ratings"


def update_sheets(home: Home, settings: StudySettings) -> tuple[Study, SheetsSummary]:
    """The study of the predictions as they are now, with its sheets below `reader_study/<study>/sheets`.

    Other predictions make another study beside it: ratings that were given stay with the texts that were rated. Raises
    StudyError where there is nothing to rate.
    """
    lake = Lake(home.lake)
    predictions = lake.read_table("predictions")
    model = settings.model or next((m for m in sorted(set(predictions["model"])) if m.startswith("petar")), "")
    study = make_study(predictions, lake.read_table("samples"), lake.read_table("external"), settings, model)
    return study, write_sheets(study, home, home.reader_study / study.study_id)


@dataclass(frozen=True)
class StudyReport:
    """What came of the ratings of a study."""

    study: Study
    read: RatingsRead
    agreement: pl.DataFrame
    text: str
    path: Path
    version: str


def update_results(home: Home, study_id: str = "", settings: ScoreSettings = DEFAULTS) -> StudyReport:
    """Ratings read back from `reader_study/<study>/ratings`, their figures in the lake and as `results.md`.

    Without a name it is the study whose ratings are newest, else the newest study. Raises StudyError where there is
    none.
    """
    folder = home.reader_study / study_id if study_id else _newest(home.reader_study)
    study = read_key(folder)
    read = read_ratings(folder / RATINGS_NAME, study)
    agreement = study_results(read.frame, study, settings)
    lake = Lake(home.lake)
    inputs = {"study": study.study_id, "problems": [str(problem) for problem in read.problems]}
    lake.write_table("ratings", read.frame, inputs)
    lake.write_table("agreement", agreement, inputs)
    text = results_page(agreement, study, _notes(read, study.left_out))
    path = folder / "results.md"
    atomic.write_bytes(path, text.encode())
    return StudyReport(study, read, agreement, text, path, hash_of(text))


def _newest(root: Path) -> Path:
    studies = [p for p in root.glob("*") if (p / "key.json").is_file()]
    if not studies:
        raise StudyError(f"expected a reader study in {root}, got none: materialise reader_study first")

    def age(folder: Path) -> tuple[bool, float]:
        files = list((folder / RATINGS_NAME).glob("*.csv"))
        return bool(files), max(p.stat().st_mtime for p in (files or [folder / "key.json"]))

    return max(studies, key=age)


def _notes(read: RatingsRead, left_out: Mapping[str, int]) -> list[str]:
    counts = (
        (read.n_values_left_out, "values left out (outside 1 to 5, or none)"),
        (read.n_lines_left_out, "lines left out (unknown case, reader or study; two answers of one time)"),
        (read.n_repeated, "lines that repeat another"),
        (read.n_replaced, "answers replaced by a later one"),
        (read.n_unrated, "cases not rated by readers who sent a file"),
    )
    notes = [f"{read.n_files} files of ratings"]
    notes += [f"{n} {what}" for n, what in counts if n]
    notes += [f"{n} lesions {reason}: no case" for reason, n in sorted(left_out.items())]
    return notes + [str(problem) for problem in read.problems]
