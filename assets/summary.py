"""What a call of the command line ends with: figures of the catalog, work done, where things are."""

import duckdb
import polars as pl

from assets.closing_lines import print_closing, print_lines, work_line
from assets.run_summary import RunSummary
from assets.terminal import print_frame
from assets.unchanged import Printed
from model.training.results import stage_line, stage_results
from pipelines.catalog.build import connect
from pipelines.review.reviews import reviewed
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake

_EXAMPLES = 4
_PROBLEMS = 20
"""Problems of exams that are printed."""
_WIDTH = 160


def print_summary(home: Home, cohort: str, done: RunSummary, *, with_model: bool) -> Printed | None:
    """Prints what a call computed, what the catalog holds, and, with `with_model`, the training and the scoreboard;
    and gives back what of it stays while nothing changes; null where a run failed.
    """
    curation: list[str] = []
    print_lines()
    # What an earlier call published says nothing of one that ended before it computed anything.
    if home.catalog.exists() and not (done.is_cut_short and not done.counts):
        with connect(home) as con:
            curation = _curation(con)
            print_lines(*curation)
            if with_model:
                print_lines(*_model(con, home))
                print_frame(_board(con))
                print_lines(*_not_computed(con), f"  all splits and published rows: {home.root / 'scoreboard.md'}")
    answers = _answers(home) if any(home.reviews.glob("*.csv")) else []
    checks = _checks(done)
    print_lines(*answers, "", work_line(done))
    if checks:
        print_lines("", *checks)
    if done.failed:
        rest = "nothing was run after it" if done.is_cut_short else "everything else is done"
        print_lines(f"FAILED: {', '.join(done.failed)}; why stands above, {rest}")
    print_closing(home, cohort, is_published="catalog" in done.counts)
    if done.failed:
        return None
    return Printed(curation, checks, answers, sorted(done.failed_checks), unusable_exams(home))


def _checks(done: RunSummary) -> list[str]:
    """A line a failed check, errors first, each with what to do."""
    failed = sorted(done.failed_checks.values(), key=lambda check: (not check.is_error, check.name))
    return [
        f"  check     {check.name} ({'error' if check.is_error else 'warning'}): {check.description}"
        for check in failed
    ]


def unusable_exams(home: Home) -> int:
    """How many exams of the lake ended as `problem` or `failed`."""
    return Lake(home.lake).read_table("exams").filter(pl.col("status") != "ok").height


def _without_candidates(con: duckdb.DuckDBPyConnection) -> list[str]:
    """A warning where no report of the cohort gives what a lesion is located by, with what they give instead."""
    told = dict(con.sql("select coalesce(text_evidence, 'neither'), count(*) from findings group by 1").fetchall())
    if told.get("slice+SUV") or told.get("SUV only"):
        return []
    n, *languages = con.sql(
        "select count(distinct exam_id), string_agg(distinct language, ', ' order by language) from sentences"
    ).fetchall()[0]
    gives = ", ".join(f"{k} {count}" for k, count in sorted(told.items())) or "no lesion at all"
    return [
        f"  warning   no report gives an SUVmax that a lesion could be located by; of {n} reports (languages:"
        f" {languages[0] or 'none'}) the mentions give: {gives}. Expected sentences such as 'left axillary node, SUVmax"
        " 4.2 (slice 88)'; `petar query mentions` shows what was read"
    ]


def _curation(con: duckdb.DuckDBPyConnection) -> list[str]:
    exams = con.sql("select count(*), count(*) filter (status = 'ok') from exams").fetchall()[0]
    sentences = con.sql("select count(*), count(*) filter (is_candidate) from sentences").fetchall()[0]
    lesions = con.sql(
        "select count(*), count(distinct patient_id), round(median(mtv_ml), 1), round(median(suvmax), 1) from lesions"
        " where is_physiologic is not true"
    )
    n, patients, volume, suvmax = lesions.fetchall()[0]
    others = con.sql("select count(*) from lesions where is_physiologic").fetchall()[0][0]
    lines = [
        f"exams       {exams[0]}, {exams[1]} with volume",
        f"sentences   {sentences[0]}, {sentences[1]} candidates",
        *_without_candidates(con),
        "findings    " + ", ".join(f"{outcome} {k}" for outcome, k in _pairs(con, "outcome", "findings")),
        f"lesions     {n} of {patients} patients"
        + (f", median {volume} mL and SUVmax {suvmax}" if n else "")
        + (f"; physiologic uptake {others}" if others else ""),
    ]
    problems = con.sql(
        "select exam_id, problem, message from exams where status <> 'ok' or problem = 'no report' "
        "union all select exam_id, 'report', report_message from exams where report_message is not null "
        "order by exam_id"
    ).fetchall()
    lines += [f"  problem   {exam}: {problem}: {message}" for exam, problem, message in problems[:_PROBLEMS]]
    if len(problems) > _PROBLEMS:
        lines.append(f"  problem   and {len(problems) - _PROBLEMS} more: petar query exam_problems")
    return lines


def _answers(home: Home) -> list[str]:
    read, summary = reviewed(home)
    todo = dict(summary.to_fix.group_by("todo").len().iter_rows())
    return [
        "",
        f"answers     {read.frame.height} in {read.n_files} files; {summary.n_stale} to findings made anew since",
        f"  contour on the right lesion  {summary.location}",
        f"  contour right                {summary.contour}",
        f"  rejection right              {summary.rejection}",
        f"  to fix {todo.get('fix', 0)}, to review again {todo.get('review again', 0)}: make query NAME=to_fix",
        *(f"  problem   {problem}" for problem in read.problems),
    ]


def _pairs(con: duckdb.DuckDBPyConnection, column: str, view: str) -> list[tuple[str, int]]:
    return con.sql(f"select {column}, count(*) as n from {view} group by 1 order by n desc, 1").fetchall()


def _model(con: duckdb.DuckDBPyConnection, home: Home) -> list[str]:
    lines = [
        "samples     "
        + ", ".join(
            f"{kind} {split} {n}"
            for kind, split, n in con.sql(
                "select kind, split, count(*) from samples group by all order by all"
            ).fetchall()
        )
    ]
    lines += ["", "training"] + [f"  {stage_line(stage, r)}" for stage, r in stage_results(home).items()]
    lines += ["", *example_texts(con)]
    return [*lines, "", "scoreboard, test split, 95 % interval over patients"]


def example_texts(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Lines with the first texts of the model beside the report's, of held-out lesions that a report describes."""
    held_out = con.sql(
        "select finding_id, reference, coalesce(text_measured, 'no text: ' || error, 'no text') from predictions "
        "where split = 'test' and model like 'petar%' and reference is not null order by finding_id"
    ).fetchall()
    lines = [f"texts on held-out lesions ({min(_EXAMPLES, len(held_out))} of {len(held_out)}):"]
    for finding, reference, predicted in held_out[:_EXAMPLES]:
        lines += [f"  {finding}", f"    report  {reference[:_WIDTH]}", f"    model   {predicted[:_WIDTH]}"]
    return lines


def _not_computed(con: duckdb.DuckDBPyConnection) -> list[str]:
    rows = con.sql("select metric, any_value(note) from scores where status = 'not computed' group by 1 order by 1")
    return [f"  not computed  {metric}: {note}" for metric, note in rows.fetchall()]


def _board(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """The computed scores of the test split, a metric a line and a model a column, the paper's own row last.

    Metrics of words are those of the texts as the model wrote them, as the published ones are.
    """
    rows = con.sql(
        "select metric, model, value, low, high, n, status from scores "
        "where (status = 'computed' and split = 'test' and subset = 'all' "
        "and (numbers = 'raw' or metric not in (select metric from scores where numbers = 'raw'))) "
        "or (status = 'published' and model like 'PETAR%') "
        "order by status, metric, model"
    ).pl()
    interval = pl.format(" [{}, {}]", pl.col("low").round(2), pl.col("high").round(2))
    cell = pl.col("value").round(3).cast(pl.String) + pl.when(pl.col("low").is_null()).then(pl.lit("")).otherwise(
        interval
    )
    return rows.with_columns(cell=cell).pivot("model", index="metric", values="cell", maintain_order=True).fill_null("")
