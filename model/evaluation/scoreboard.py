"""The scoreboard as a Markdown page: scores with intervals and counts, published rows beside them, models compared."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from model.evaluation.metrics import LESS_IS_BETTER, METRICS
from model.evaluation.metrics.pairs import ALL_LESIONS
from pipelines.tables import atomic
from pipelines.tables.hashing import hash_of
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake

SIGNIFICANT = 0.05
_NUMBERS = {
    "measured": "Measured numbers in their place: what a user of `text_measured` reads.",
    "masked": "`[#]` for measured numbers in text and reference: the words alone.",
}
_PART_METRICS = ("region", "organ", "laterality", "grounding", "ROUGE-L")

_FOOTNOTE = (
    "Values in brackets: 95 % interval, bootstrap over patients. n: lesions that count; where a metric counts fewer, "
    "its own n stands beside it. Rows marked (paper) are published values on another test set, their variants of the "
    "metrics unknown. GREEN and RaTEScore were trained on chest X-ray and CT: out of their domain on PET."
)
_COMPARED = (
    "Difference: first model less the second, on the lesions that both described. p: two-sided, the models' texts "
    "swapped patient by patient; p (Holm): over the metrics of one question (words; place: region, organ and side; "
    "grounding; numbers) on which the two models differ. Under 0.05 after Holm in bold."
)
_AHEAD = (
    f"On held-out lesions, by the paired test below (p under {SIGNIFICANT:g} after Holm over the metrics of one "
    "question). What is not told apart may differ all the same: few lesions tell little."
)


@dataclass(frozen=True)
class Scoreboard:
    """The scoreboard as Markdown, where it lies, its version, and the rows behind it."""

    text: str
    path: Path
    version: str
    scores: pl.DataFrame
    comparisons: pl.DataFrame


def write_scoreboard(home: Home) -> Scoreboard:
    """The page, written to `scoreboard.md`."""
    lake = Lake(home.lake)
    scores, comparisons = lake.read_table("scores"), lake.read_table("comparisons")
    text = scoreboard_page(scores, comparisons)
    path = home.root / "scoreboard.md"
    atomic.write_bytes(path, text.encode())
    return Scoreboard(text, path, hash_of(text), scores, comparisons)


def scoreboard_page(scores: pl.DataFrame, comparisons: pl.DataFrame) -> str:
    """Rows of `scores` and `comparisons` as one page of Markdown."""
    lines = ["# Scoreboard", ""]
    parts = scores.filter(pl.col("subset") != ALL_LESIONS)
    scores = scores.filter(pl.col("subset") == ALL_LESIONS)
    own = scores.filter(pl.col("status") != "published")
    for cohort, version in own.select("cohort", "data_version").unique().sort("cohort").iter_rows():
        lines += [f"Cohort {cohort or 'without a name'}, data version {version or 'unknown'}.", ""]
    of_words = [name for name, metric in METRICS.items() if metric.is_of_words]
    raw = scores.filter(pl.col("numbers") == "raw")
    lines += ["## Texts", "", "Numbers as the models wrote them, as the published values have them.", ""]
    lines += _score_table(raw, of_words)
    for numbers, words in _NUMBERS.items():
        lines += ["", words, "", *_score_table(own.filter(pl.col("numbers") == numbers), of_words)]
    lines += ["", "## Lesions", "", *_score_table(own, [name for name in METRICS if name not in of_words])]
    lines += ["", _FOOTNOTE, "", *_gaps(own)]
    if not parts.is_empty():
        lines += ["## Parts of the lesions", "", *_part_tables(parts), ""]
    if not comparisons.is_empty():
        lines += ["## Who is ahead", "", _AHEAD, "", *who_is_ahead(comparisons), ""]
        lines += ["## Models compared", "", _COMPARED, "", *_comparison_tables(comparisons)]
    return "\n".join(lines).rstrip() + "\n"


def _score_table(scores: pl.DataFrame, wanted: list[str]) -> list[str]:
    metrics = [m for m in wanted if m in set(scores["metric"])]
    lines = [_row(["model", "split", "n", *metrics]), "|" + " --- |" * (3 + len(metrics))]
    groups = scores.sort("status", "model", "split").group_by("model", "split", maintain_order=True)
    for (model, split), rows in sorted(groups, key=lambda group: _order(group[1])):
        n, left_out = (max((v for v in rows[c] if v is not None), default=0) for c in ("n", "n_left_out"))
        cells = {row["metric"]: _cell(row, n) for row in rows.iter_rows(named=True)}
        counted = f"{n} ({left_out} left out)" if left_out else str(n)
        lines.append(_row([str(model), str(split), counted, *(cells.get(m, "") for m in metrics)]))
    return lines


def _part_tables(parts: pl.DataFrame) -> Iterator[str]:
    """Accuracy of the fields by evidence and by size, a row a model, split and part."""
    metrics = [m for m in _PART_METRICS if m in set(parts["metric"])]
    yield _row(["model", "split", "lesions", "n", *metrics])
    yield "|" + " --- |" * (4 + len(metrics))
    groups = parts.filter(pl.col("metric").is_in(metrics)).sort("split", "model", "subset")
    for (model, split, subset), rows in groups.group_by("model", "split", "subset", maintain_order=True):
        n = max((n for n in rows["n"] if n is not None), default=0)
        cells = {row["metric"]: _cell(row, n) for row in rows.iter_rows(named=True)}
        yield _row([str(model), str(split), str(subset), str(n), *(cells.get(m, "") for m in metrics)])


def _order(rows: pl.DataFrame) -> tuple[bool, str, str]:
    first = rows.row(0, named=True)
    return first["status"] == "published", first["split"], first["model"]


def _gaps(own: pl.DataFrame) -> Iterator[str]:
    """What was left out of the values, and which metrics were not computed, each with its reason."""
    missing = own.filter(pl.col("status") == "not computed").select("metric", "note").unique(maintain_order=True)
    for metric, notes in missing.group_by("metric", maintain_order=True):
        yield f"- not computed: {metric[0]} ({'; '.join(notes['note'])})"
    left_out = own.filter(pl.col("status") == "computed", pl.col("note").is_not_null())
    for (model, split, note), rows in left_out.group_by("model", "split", "note", maintain_order=True):
        which = "" if rows.height > 1 else f", {rows['metric'][0]}"
        yield f"- {model!s}, {split!s}{which}: {note!s}"
    if not own.is_empty():
        yield ""


def who_is_ahead(comparisons: pl.DataFrame, split: str = "test") -> list[str]:
    """A sentence for every couple of models: in which metrics the first is ahead, in which behind, and in which the two
    are not told apart.

    Args:
        comparisons: rows of the table `comparisons`.
        split: whose rows count.
    """
    order = {name: at for at, name in enumerate(METRICS)}
    lines = []
    rows = comparisons.filter(pl.col("split") == split, pl.col("difference").is_not_null())
    for (model, other), couple in rows.group_by("model", "other", maintain_order=True):
        found: dict[str, list[str]] = {"ahead": [], "behind": [], "not told apart": []}
        for row in sorted(couple.iter_rows(named=True), key=lambda row: order.get(row["metric"], len(order))):
            gain = -row["difference"] if row["metric"] in LESS_IS_BETTER else row["difference"]
            is_shown = row["p_holm"] is not None and row["p_holm"] < SIGNIFICANT and gain != 0
            found["not told apart" if not is_shown else "ahead" if gain > 0 else "behind"].append(row["metric"])
        n = max(row["n"] for row in couple.iter_rows(named=True))
        said = "; ".join(f"{how} in {', '.join(names)}" for how, names in found.items() if names)
        lines.append(f"- {model} against {other} ({n} lesions): {said}.")
    return lines


def _comparison_tables(comparisons: pl.DataFrame) -> Iterator[str]:
    groups = comparisons.group_by("split", "model", "other", maintain_order=True)
    # PETAR's own couples first, and the split that counts.
    ordered = sorted(groups, key=lambda group: (group[0][0] != "test", not str(group[0][1]).startswith("petar")))
    for (split, model, other), rows in ordered:
        yield f"### {model} against {other} ({split})"
        yield ""
        yield _row(["metric", "difference", "p", "p (Holm)", "n"])
        yield "|" + " --- |" * 5
        order = {name: at for at, name in enumerate(METRICS)}
        for row in sorted(rows.iter_rows(named=True), key=lambda row: order.get(row["metric"], 99)):
            if row["difference"] is None:
                continue
            mark = "**" if row["p_holm"] is not None and row["p_holm"] < SIGNIFICANT else ""
            words = f"{mark}{row['difference']:+.3f}{_interval(row)}{mark}"
            yield _row([row["metric"], words, _p(row["p"]), _p(row["p_holm"]), str(row["n"])])
        yield ""


def _p(value: float | None) -> str:
    return "" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _cell(row: Mapping[str, Any], n: int) -> str:
    if row["value"] is None:
        return "not computed"
    own = f" (n {row['n']})" if row["n"] is not None and row["n"] != n else ""
    return f"{row['value']:.3f}{_interval(row)}{own}"


def _interval(row: Mapping[str, Any]) -> str:
    return f" [{row['low']:.3f}, {row['high']:.3f}]" if row["low"] is not None and row["high"] is not None else ""
