"""The state of a cohort on one page: numbers, attrition, what wants attention, lesions, scores, and where the rest is.

`overview.html` in the home opens from disk, without server and network; it links what jobs have written there.
"""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl

from pipelines.catalog.build import run_query
from pipelines.review.exam_pages import page_of
from pipelines.review.finding_pictures import picture_name
from pipelines.review.finding_rows import finding_rows
from pipelines.review.funnel_figure import funnel_figure
from pipelines.review.quality_check_result import CheckResult
from pipelines.review.quality_checks import remedy_of
from pipelines.tables import atomic
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home, folder_name
from pipelines.tables.lake import Lake
from pipelines.tables.outcomes import Outcome

MAX_ROWS = 10
N_LESIONS = 3
_N_LOOKED_AT = 50
"""Lesions of a region among which one with a picture is looked for."""

_STYLE = Path(__file__).with_name("overview.css")


@dataclass(frozen=True)
class ShownLesion:
    """A lesion of the page: what it is, and paths relative to the home, null where the file is not there."""

    row: dict[str, Any]
    picture: str | None
    exam_page: str | None

    @property
    def caption(self) -> str:
        """Where it is and what was measured."""
        place = " ".join(str(self.row[c]) for c in ("laterality", "organ") if self.row.get(c)) or self.row.get("region")
        return (
            f"{place or 'place not named'}, exam {self.row['exam_id']}: SUVmax {self.row['suvmax']:.1f}, "
            f"MTV {self.row['mtv_ml']:.1f} mL"
        )


@dataclass(frozen=True)
class Overview:
    """What the page shows. Links are (words, path relative to the home)."""

    numbers: tuple[tuple[str, int], ...]
    funnel: pl.DataFrame
    problems: pl.DataFrame
    """Exams with a message that says what to do, in the order of the query `exam_problems`."""
    to_review: tuple[tuple[str, int, str], ...]
    """Findings that a person can decide: (outcome, how many, what to do)."""
    failed_checks: tuple[CheckResult, ...]
    lesions: tuple[ShownLesion, ...]
    scores: tuple[str, ...]
    """Sentences about which model is ahead; empty where none was compared."""
    report: str | None
    """Draft report of one exam."""
    links: tuple[tuple[str, str], ...]

    @property
    def version(self) -> str:
        """Changes with what the page says."""
        return hash_of(markdown_page(self), [s.picture for s in self.lesions], self.report, self.links)


def overview_of(home: Home, checks: Sequence[CheckResult], scores: Sequence[str] = ()) -> Overview:
    """The state of a curated home.

    Args:
        home: has a catalog.
        checks: results of the quality checks.
        scores: sentences that compare the models, where there are some.
    """
    lake = Lake(home.lake)
    exams, lesions = lake.read_table("exams"), lake.read_table("lesions")
    findings = finding_rows(lesions, lake.read_table("findings"))
    located = findings.filter(pl.col("outcome") == Outcome.LESION.value)
    of_disease = located.filter(pl.col("is_physiologic").fill_null(value=False).not_())
    return Overview(
        numbers=(
            ("exams", exams.height),
            ("with images", exams.filter(pl.col("status") == "ok").height),
            ("patients", exams["patient_id"].n_unique()),
            ("findings", findings.height),
            ("lesions", of_disease.height),
            ("physiologic uptake", located.height - of_disease.height),
        ),
        funnel=run_query(home, "funnel"),
        problems=run_query(home, "exam_problems"),
        to_review=_to_review(findings),
        failed_checks=tuple(r for r in checks if not r.passed),
        lesions=tuple(_of_each_region(home, of_disease)),
        scores=tuple(scores),
        report=_first_report(home, of_disease),
        links=tuple(_links(home)),
    )


def _to_review(findings: pl.DataFrame) -> tuple[tuple[str, int, str], ...]:
    what_to_do = {
        Outcome.AMBIGUOUS: "choose among the numbered candidates in the review pages",
        Outcome.NOT_IN_IMAGE: "petar query near_misses; the asset slice_conventions tells whether slices are counted "
        "otherwise",
        Outcome.WRONG_SIDE: "correct the side or the slice in corrections.csv",
    }
    counts = dict(findings.group_by("outcome").len().iter_rows())
    return tuple(
        (outcome.value, counts[outcome.value], words)
        for outcome, words in what_to_do.items()
        if outcome.value in counts
    )


def _of_each_region(home: Home, lesions: pl.DataFrame) -> list[ShownLesion]:
    """Of each region the lesion with the largest TLG, of the largest ones rather one that was drawn; the largest first,
    at most N_LESIONS.
    """
    ordered = lesions.sort(pl.col("tlg").fill_null(0), "finding_id", descending=[True, False])
    largest = []
    for _, rows in ordered.group_by("region", maintain_order=True):
        shown = (_shown(home, row) for row in rows.head(_N_LOOKED_AT).iter_rows(named=True))
        largest.append(next((one for one in shown if one.picture), _shown(home, rows.row(0, named=True))))
    return sorted(largest, key=lambda one: one.picture is None)[:N_LESIONS]


def _shown(home: Home, row: dict[str, Any]) -> ShownLesion:
    picture = home.gallery / "pictures" / f"{picture_name(row)}.png"
    page = home.gallery / page_of(row["exam_id"])
    return ShownLesion(
        row,
        str(picture.relative_to(home.root)) if picture.exists() else None,
        f"{page.relative_to(home.root)}#{row['finding_id']}" if page.exists() else None,
    )


def _first_report(home: Home, lesions: pl.DataFrame) -> str | None:
    """The draft of the exam with most lesions among those that have one."""
    by_exam = lesions.group_by("exam_id").len("n").sort("n", "exam_id", descending=[True, False])
    for exam_id in by_exam["exam_id"]:
        page = home.exam_reports / folder_name(exam_id) / "report.html"
        if page.exists():
            return str(page.relative_to(home.root))
    return None


def _links(home: Home) -> Iterable[tuple[str, str]]:
    for words, path in (
        ("Review pages: all findings, and whole exams to scroll", home.gallery / "index.html"),
        ("Scoreboard: every metric with its interval", home.root / "scoreboard.md"),
        ("Dataset card: attrition, splits, versions, biases", home.root / "dataset_card.md"),
        ("Draft reports, a folder an exam", home.exam_reports),
        ("Exports for viewers, a folder an exam", home.exports),
    ):
        if path.exists():
            yield words, str(path.relative_to(home.root))


def markdown_page(overview: Overview) -> str:
    """The page without pictures, as Markdown."""
    lines = ["# Overview", "", ", ".join(f"{n:,} {what}" for what, n in overview.numbers), ""]
    lines += ["## To do", ""]
    lines += [f"- {words}" for _, words in _todo(overview)] or ["Nothing: every exam was read, every check passed."]
    if overview.lesions:
        lines += ["", "## Lesions", "", *(f"- {s.caption}: {s.row['sentence']}" for s in overview.lesions)]
    if overview.scores:
        lines += ["", "## Which model is ahead", "", *overview.scores]
    return "\n".join(lines) + "\n"


def _todo(overview: Overview) -> list[tuple[str, str]]:
    """What wants attention, errors first: (class of the line, words)."""
    checks = sorted(overview.failed_checks, key=lambda check: (check.severity != "error", check.name))
    lines = [
        (
            check.severity,
            f"Check {check.name}: {check.description}, {check.n_bad:,} of {check.n_checked:,} wrong; "
            f"{remedy_of(check.name)}",
        )
        for check in checks
    ]
    told = overview.problems.head(MAX_ROWS)
    lines += [
        ("warning", f"Exam {row['exam_id']}: {': '.join(str(row[c]) for c in ('problem', 'message') if row[c])}")
        for row in told.iter_rows(named=True)
    ]
    if overview.problems.height > told.height:
        lines.append(
            ("warning", f"{overview.problems.height - told.height:,} further exams: petar query exam_problems")
        )
    return lines + [
        ("soft", f"Findings that are {outcome} ({n:,}): {words}") for outcome, n, words in overview.to_review
    ]


def html_page(overview: Overview) -> str:
    """The page as one file of HTML."""
    body = ["<h1>The cohort at a glance</h1>"]
    body.append("<p class=soft>Research software: masks, texts and reports are to be checked by a physician.</p>")
    numbers = "".join(f"<div><b>{n:,}</b>{escape(what)}</div>" for what, n in overview.numbers)
    body.append(f"<div class=numbers>{numbers}</div>")
    todo = "".join(f"<li class={kind}>{escape(words)}</li>" for kind, words in _todo(overview))
    body.append(
        _section("To do", f"<ul>{todo}</ul>" if todo else "<p class=fine>Every exam was read, every check passed.</p>")
    )
    figure = b64encode(funnel_figure(overview.funnel)).decode()
    body.append(_section("From exams to lesions", f'<img alt="attrition" src="data:image/png;base64,{figure}">'))
    if overview.lesions:
        body.append(_section("Lesions", "".join(_lesion(shown) for shown in overview.lesions)))
    if overview.scores:
        lines = "".join(f"<li>{escape(line.removeprefix('- '))}</li>" for line in overview.scores)
        body.append(_section("Which model is ahead", f"<ul>{lines}</ul>"))
    if overview.report:
        address = escape(quote(overview.report))
        body.append(_section("The draft report of an exam", f'<iframe title="draft report" src="{address}"></iframe>'))
    links = "".join(f'<li><a href="{escape(quote(path))}">{escape(words)}</a></li>' for words, path in overview.links)
    body.append(_section("More", f"<ul>{links}<li>Tables: <code>petar query</code> lists the questions</li></ul>"))
    style = _STYLE.read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Overview of the cohort</title>'
        f'<meta name="viewport" content="width=device-width">\n<style>\n{style}</style></head>\n<body>\n'
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _lesion(shown: ShownLesion) -> str:
    where = (
        f'<a href="{escape(quote(shown.exam_page, safe="/#"))}">scroll through the exam</a>' if shown.exam_page else ""
    )
    picture = (
        f'<img alt="MIP, PET, CT and fusion with the contour" src="{escape(quote(shown.picture))}">'
        if shown.picture
        else "<p class=soft>No picture yet: petar gallery draws it.</p>"
    )
    return (
        f"<figure><figcaption><b>{escape(shown.caption)}</b> {where}<br>{escape(shown.row['sentence'])}</figcaption>"
        f"{picture}</figure>"
    )


def write_overview(home: Home, checks: Sequence[CheckResult], scores: Sequence[str] = ()) -> Overview:
    """The state of a curated home, written to `overview.html` there."""
    overview = overview_of(home, checks, scores)
    atomic.write_bytes(home.overview, html_page(overview).encode())
    return overview
