"""Reviews: answers of physicians saved from the gallery, and the accuracies computed from them.

A review file is the CSV that the gallery saves: `finding_id, reviewer, answer, note, curation, seen, answered_at,
value`. A line whose id is that of a proposal judges the proposal, the others judge findings.
Files come twice, are edited by hand and name findings of older curations; every line is either taken or named as a
problem with its file and line, and no file is ever changed. An answer belongs to the finding as it was seen: where
the finding changed since, the answer is kept, marked as stale and not counted.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from pipelines.cohort.privacy.deidentification import is_private_home
from pipelines.cohort.privacy.text_identifiers import clean, place_alone
from pipelines.cohort.table_files import TableFileError, is_blank, read_table_file, without_lone_surrogates
from pipelines.reports.vocabulary.vocabulary import package_vocabulary
from pipelines.review.finding_rows import answer_holds, finding_fingerprint, finding_rows
from pipelines.tables import schemas
from pipelines.tables.answer_kinds import CLICKS, JUDGEMENTS, Subject, subject_of
from pipelines.tables.curation_version import curation_version
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.safe_text import error_reason, is_technical, without_quotes
from pipelines.tables.statistics import wilson_interval

COLUMNS = ("finding_id", "reviewer", "answer", "note", "curation", "seen", "answered_at", "value")
REQUIRED = ("finding_id", "reviewer", "answer")
LOCATED = ("accept", "wrong contour", "physiologic")
"""Answers that say: the contour is on the lesion that the sentence means. A misread sentence means another one."""


@dataclass(frozen=True)
class ReviewProblem:
    """A line of a review file that could not be taken, and what to do about it."""

    file: str
    line: int
    """Line of the file, the header being 1; 0 for the file as a whole."""
    message: str

    def without_words(self, place: int) -> "ReviewProblem":
        """The same where nothing may name anybody: the file by its place among those of its folder, by name."""
        file = self.file if is_technical(Path(self.file).stem) else f"file {place}"
        return replace(self, file=file, message=without_quotes(self.message))

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"


@dataclass(frozen=True)
class ReviewsRead:
    """The reviews that were taken (table `reviews`), how many lines were repetitions, and what could not be taken."""

    frame: pl.DataFrame
    n_files: int
    n_repeated: int
    n_outdated: int
    """Answers of a reviewer that a later answer of the same reviewer replaced."""
    problems: tuple[ReviewProblem, ...]


@dataclass(frozen=True)
class _Answer:
    file: str
    line: int
    finding_id: str
    reviewer: str
    answer: str
    note: str
    curation: str
    seen: str
    answered_at: str
    value: str

    @property
    def content(self) -> tuple[str, str, str]:
        return self.answer, self.note, self.value


def read_reviews(
    source: Path | Iterable[Path],
    findings: pl.DataFrame,
    localisations: pl.DataFrame,
    curation: str = "",
    *,
    is_private: bool = False,
) -> ReviewsRead:
    """The answers in review files (a folder's *.csv, or the files given), one row a finding and reviewer.

    `findings` and `localisations` as the tables, `curation` the version that they are of. The same line twice counts
    once. Of several answers of one reviewer the later `answered_at` stands; one to the finding as it is now goes before
    one to the finding as it was. What cannot be taken (unknown finding, unknown answer, no reviewer, two answers of one
    time, an unreadable file) is a problem, and the rest is taken. Where the home `is_private` notes are masked,
    organs keep words of places in the body alone, and problems quote nothing.
    """
    if isinstance(source, Path):
        # A folder that nobody saved an answer to yet is not there, and holds no files.
        files = [source] if source.suffix.lower() == ".csv" else sorted(source.glob("*.csv"))
    else:
        files = sorted(source)
    known = set(findings["finding_id"])
    problems: list[ReviewProblem] = []
    answers: list[_Answer] = []
    for path in files:
        found, wrong = _read_file(path, known)
        answers += found
        problems += wrong
    named = pl.col("finding_id").is_in(sorted({a.finding_id for a in answers}))
    judged = finding_rows(localisations.filter(named), findings.filter(named))
    now = {row["finding_id"]: finding_fingerprint(row) for row in judged.iter_rows(named=True)}

    def is_stale(answer: _Answer) -> bool:
        if subject_of(answer.finding_id) is Subject.PROPOSAL:
            return False  # Its peak is in its id; the curation that a hand-written line names is another one's.
        if not answer.seen:  # Written by hand: of today, unless it names another curation.
            return answer.curation not in ("", curation)
        return not answer_holds(answer.answer, answer.seen, now[answer.finding_id])

    chosen = _latest(answers, is_stale)
    rows = [
        {
            "finding_id": a.finding_id,
            "reviewer": a.reviewer,
            "answer": a.answer,
            "value": (_place_alone(a.value) if is_private else a.value) or None,
            "note": (clean(a.note) if is_private else a.note) or None,
            "curation": a.curation or None,
            "seen": a.seen or None,
            "is_stale": is_stale(a),
        }
        for a in chosen.answers
    ]
    problems += chosen.problems
    if is_private:
        places = {path.name: n for n, path in enumerate(files, start=1)}
        problems = [problem.without_words(places[problem.file]) for problem in problems]
    frame = schemas.frame("reviews", rows)
    return ReviewsRead(frame, len(files), chosen.n_repeated, chosen.n_outdated, tuple(problems))


def _place_alone(value: str) -> str:
    """The organ that a reviewer typed without words that name no place in the body."""
    return place_alone(value, package_vocabulary().lexicon.words)


@dataclass(frozen=True)
class _Latest:
    """One answer a finding and reviewer, how many were repeated or outdated, and those that contradict each other."""

    answers: list[_Answer]
    n_repeated: int
    n_outdated: int
    problems: list[ReviewProblem]


def _latest(answers: Iterable[_Answer], is_stale: Callable[[_Answer], bool]) -> _Latest:
    kept: dict[tuple[str, str], _Answer] = {}
    clashes: set[tuple[str, str]] = set()
    problems: list[ReviewProblem] = []
    n_repeated = n_outdated = 0
    for answer in sorted(answers, key=lambda a: (not is_stale(a), a.answered_at, a.file, a.line)):
        key = (answer.finding_id, answer.reviewer)
        earlier = kept.get(key)
        if earlier is None:
            kept[key] = answer
        elif earlier.content == answer.content:
            n_repeated += 1
            kept[key] = answer
        elif is_stale(earlier) != is_stale(answer) or earlier.answered_at != answer.answered_at:
            n_outdated += 1
            clashes.discard(key)
            kept[key] = answer
        else:
            clashes.add(key)
            problems.append(
                ReviewProblem(
                    answer.file,
                    answer.line,
                    f"reviewer {answer.reviewer} says {answer.answer!r} of {answer.finding_id}, but "
                    f"{earlier.answer!r} in {earlier.file}, "
                    f"line {earlier.line}, with nothing to tell which came later: delete one of the two lines",
                )
            )
    chosen = [answer for key, answer in sorted(kept.items()) if key not in clashes]
    return _Latest(chosen, n_repeated, n_outdated, problems)


def read_lines(
    path: Path, columns: Sequence[str], required: Sequence[str], source: str
) -> tuple[list[tuple[int, dict[str, str], bool]], list[ReviewProblem]]:
    """(number, values by column, whether it has more values than the header) of every line of a CSV that people saved
    and may have edited, empty ones left out; or the problem of the file.

    Args:
        columns: what the values are taken from; missing ones are empty.
        required: columns without which the file cannot be taken.
        source: where the file is saved from, for the message.
    """
    try:
        table = read_table_file(path)
        if table.note and "UTF-16" not in table.note:
            message = f"expected UTF-8, got another encoding ({table.note.split(':')[0]}): save it as CSV UTF-8"
            return [], [ReviewProblem(path.name, 0, message)]
        names = [name.strip().lower() for name in table.header]
        missing = [c for c in required if c not in names]
        if missing:
            message = (
                f"expected the columns {', '.join(columns)}, got {', '.join(names)[:200] or 'none'}: "
                f"{', '.join(missing)} missing; save it from {source} again"
            )
            return [], [ReviewProblem(path.name, 0, message)]
        rows = [row for row in table.rows if not is_blank(row.cells)]
    except TableFileError as error:
        return [], [ReviewProblem(path.name, 0, str(error))]
    except OSError as error:
        return [], [ReviewProblem(path.name, 0, f"it cannot be read ({error_reason(error)}): copy it again")]
    lines, problems = [], []
    for row in rows:
        cells = dict(zip(names, row.cells, strict=False))
        values = {column: without_lone_surrogates(cells.get(column, "").strip()) for column in columns}
        if row.problem:
            problems.append(ReviewProblem(path.name, row.number, row.problem))
        elif any(values.values()):
            lines.append((row.number, values, len(row.cells) > len(names)))
    return lines, problems


def _read_file(path: Path, known: set[str]) -> tuple[list[_Answer], list[ReviewProblem]]:
    """The lines of one file that make sense, and a problem for each other one."""
    lines, problems = read_lines(path, COLUMNS, REQUIRED, "the gallery")
    answers: list[_Answer] = []
    for line, value, has_more in lines:
        value["answer"] = " ".join(value["answer"].lower().split())
        if value["answer"] in CLICKS:
            continue  # A correction: the observation of the cohort takes it, and the table of corrections tells of it.
        reason = _wrong(value, known, extra=has_more)
        if reason:
            problems.append(ReviewProblem(path.name, line, reason))
        else:
            answers.append(_Answer(path.name, line, **value))
    return answers, problems


def _wrong(value: dict[str, str], known: set[str], extra: bool) -> str | None:
    """Why a line cannot be taken, and what to do."""
    if extra:
        return "it has more values than the header: put notes that hold a comma into quotes"
    subject = subject_of(value["finding_id"])
    if value["answer"] not in JUDGEMENTS[subject]:
        known_answers = ", ".join(JUDGEMENTS[subject])
        return f"expected an answer of {known_answers}, got {value['answer']!r}: fix or delete the line"
    if not value["reviewer"]:
        return "expected a reviewer, got none: write a name or initials"
    if subject is Subject.FINDING and value["finding_id"] not in known:
        return (
            f"expected a finding of this curation, got {value['finding_id']!r}: keep the file for the curation that "
            f"it was made with "
            f"({value['curation'] or 'not named'}), or delete the line"
        )
    return None


@dataclass(frozen=True)
class Accuracy:
    """A share with its 95 % Wilson interval. `share` is None where nothing was judged."""

    n_right: int
    n: int
    share: float | None
    low: float
    high: float
    n_unsure: int
    n_split: int
    """Findings on which as many reviewers said right as wrong; they are not in `n`."""

    def __str__(self) -> str:
        if self.share is None:
            return "not judged yet"
        return f"{self.share:.1%} ({self.n_right} of {self.n}; 95 % interval {self.low:.1%} to {self.high:.1%})"


def _accuracy(votes: dict[str, list[bool | None]]) -> Accuracy:
    """One judgement a finding: the majority of its reviewers, those who were unsure left out."""
    n_right = n = n_unsure = n_split = 0
    for said in votes.values():
        sure = Counter(v for v in said if v is not None)
        if not sure:
            n_unsure += 1
        elif sure[True] == sure[False]:
            n_split += 1
        else:
            n += 1
            n_right += sure[True] > sure[False]
    low, high = wilson_interval(n_right, n)
    return Accuracy(n_right, n, n_right / n if n else None, low, high, n_unsure, n_split)


@dataclass(frozen=True)
class ReviewSummary:
    """Accuracies of location, contour and rejection, and the findings to fix."""

    location: Accuracy
    """Of the reviewed lesions, those whose contour is on the lesion that the sentence means (published: 98 %)."""
    contour: Accuracy
    """Of the lesions with the contour on the right one, those whose contour was accepted too."""
    rejection: Accuracy
    """Of the reviewed rejections, those that were right."""
    n_stale: int
    """Answers to findings that changed since; not counted in the three accuracies."""
    to_fix: pl.DataFrame
    """finding_id, exam_id, outcome, todo, reviewer, answer, note: `fix` for every answer but `accept`, `unsure` and
    `physiologic` (which the curation applies); `review again` for every stale one of a finding that nobody has judged
    as it is now.
    """


def to_review_again(reviews: pl.DataFrame) -> dict[str, list[dict[str, str | None]]]:
    """Finding -> the answers (reviewer, answer, note) to it as it was, for findings that were made anew since and that
    nobody has judged as they are now. `reviews` as the table.
    """
    found: dict[str, list[dict[str, str | None]]] = {}
    for row in _again(reviews).sort("finding_id", "reviewer").iter_rows(named=True):
        found.setdefault(row["finding_id"], []).append({name: row[name] for name in ("reviewer", "answer", "note")})
    return found


def _again(reviews: pl.DataFrame) -> pl.DataFrame:
    return reviews.filter("is_stale").join(reviews.filter(~pl.col("is_stale")), on="finding_id", how="anti")


def summarise(reviews: pl.DataFrame, findings: pl.DataFrame) -> ReviewSummary:
    """The accuracies of a curation by its reviews, and the findings to fix.

    `reviews` as the table; `findings` with finding_id, exam_id and outcome (`lesion`, or why it is none). Of a
    lesion, `accept` and `wrong contour` mean that it was found; of a rejection, `accept` means that it was right.
    Stale answers are not counted.
    """
    about = findings.select("finding_id", "exam_id", "outcome")
    joined = reviews.filter(~pl.col("is_stale")).join(about, on="finding_id", how="inner")
    location: dict[str, list[bool | None]] = {}
    contour: dict[str, list[bool | None]] = {}
    rejection: dict[str, list[bool | None]] = {}
    for row in joined.sort("finding_id", "reviewer").iter_rows(named=True):
        unsure, answer = row["answer"] == "unsure", row["answer"]
        if row["outcome"] != "lesion":
            is_no_lesion = answer in ("accept", "physiologic")
            rejection.setdefault(row["finding_id"], []).append(None if unsure else is_no_lesion)
            continue
        location.setdefault(row["finding_id"], []).append(None if unsure else answer in LOCATED)
        if answer in LOCATED and answer != "physiologic":  # Of normal uptake the outline is not judged.
            contour.setdefault(row["finding_id"], []).append(answer == "accept")
    fix = joined.filter(~pl.col("answer").is_in(["accept", "unsure", "physiologic"])).with_columns(todo=pl.lit("fix"))
    again = _again(reviews).join(about, on="finding_id", how="inner").with_columns(todo=pl.lit("review again"))
    to_fix = (
        pl.concat([fix, again])
        .select("finding_id", "exam_id", "outcome", "todo", "reviewer", "answer", "note")
        .sort("todo", "answer", "finding_id", "reviewer")
    )
    return ReviewSummary(
        _accuracy(location), _accuracy(contour), _accuracy(rejection), reviews.filter("is_stale").height, to_fix
    )


def reviewed(home: Home) -> tuple[ReviewsRead, ReviewSummary]:
    """The answers in a home's folder `reviews`, and what they say of what is curated there now."""
    lake = Lake(home.lake)
    findings, localisations = lake.read_table("findings"), lake.read_table("lesions")
    is_private = is_private_home(home.manifest)
    read = read_reviews(home.reviews, findings, localisations, curation_version(home), is_private=is_private)
    return read, summarise(read.frame, finding_rows(localisations, findings))
