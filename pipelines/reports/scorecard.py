"""How well each reader and their ensemble read a labelled set of sentences."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pipelines.reports.consensus import TextFinding, decide_exam
from pipelines.reports.passages import passages_of
from pipelines.reports.reader_weights import Vote, votes_of
from pipelines.reports.readers import Reader, Reading
from pipelines.reports.sentences import Sentence, split_report
from pipelines.reports.vocabulary.vocabulary import Vocabulary
from pipelines.settings import ConsensusSettings
from pipelines.tables.outcomes import Outcome
from pipelines.tables.statistics import wilson_interval

LABELLED_FILE = Path(__file__).parent / "labelled_sentences.csv"
ENSEMBLE = "ensemble"
RIGHT, NOT_READ, WRONG_PAIR = "right", "not read", "wrong pair accepted"
"""Verdicts on one text, in the column `verdict` of `Scorecard.answers`."""

VALUES_ARE_KNOWN = frozenset((Outcome.ACCEPTED, Outcome.SUV_TOO_LOW, Outcome.NO_ANATOMY, Outcome.DUPLICATE))
"""Outcomes of text under which slice and SUVmax are those of a lesion of this exam."""
LABELLED = "labelled"

Pairs = tuple[tuple[int | None, float], ...]


class LabelledError(ValueError):
    """The labelled sentences are not as expected; the message names the file, the line and what to write."""


@dataclass(frozen=True)
class Labelled:
    """A text with the pairs of slice and SUVmax that must be read in it, none where it must be rejected.

    `outcome` is "accepted", the reason of the rejection, or "none" where the text holds no candidate; null where the
    label does not say. `source` tells texts of files from those that reviewers have judged, whose pairs hold the
    lesions without a slice too.
    """

    text: str
    pairs: Pairs
    outcome: str | None
    topic: str
    language: str = "en"
    source: str = LABELLED


@dataclass(frozen=True)
class Scorecard:
    """`scores` has a row for each reader and one for the ensemble; `answers` a row for each of them and labelled text.

    Columns of `scores`: reader, version, n, n_with_pair, n_failed; slice_right, suvmax_right and both_right (what the
    reader reads, as fractions of the texts that have a pair); outcome_right (fraction of all texts whose findings by
    this reader alone are those of the label); wrong_accepted (fraction of all texts from which a pair is accepted that
    is not in the label); rejected_right (fraction of the texts without a pair from which none is accepted).
    """

    scores: pl.DataFrame
    answers: pl.DataFrame


def load_labelled(path: Path = LABELLED_FILE) -> list[Labelled]:
    """Labelled sentences of a CSV with columns sentence, slice, suvmax, and optionally outcome and topic.

    Several lesions of one sentence are parted by `;` in slice and in suvmax; both are empty where the sentence must be
    rejected.

    Raises:
        LabelledError: a column is missing, or a line's values are no numbers or not as many slices as SUVs.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        missing = sorted({"sentence", "slice", "suvmax"} - set(rows.fieldnames or ()))
        if missing:
            raise LabelledError(
                f"expected columns sentence, slice and suvmax in {path}, got none named {', '.join(missing)}: add them"
            )
        out = []
        for row in rows:
            slices, suvs = _parted(row["slice"]), _parted(row["suvmax"])
            try:
                pairs = tuple((int(s), float(v)) for s, v in zip(slices, suvs, strict=True))
            except ValueError as error:
                raise LabelledError(
                    f"expected as many slices as SUVs, as numbers parted by ';', in line {rows.line_num} of {path}, got"
                    f" {row['slice']!r} and {row['suvmax']!r}: correct the line"
                ) from error
            if not (row["sentence"] or "").strip():
                raise LabelledError(
                    f"expected a sentence in line {rows.line_num} of {path}, got none: add it or remove the line"
                )
            out.append(Labelled(row["sentence"], pairs, row.get("outcome") or None, row.get("topic") or ""))
    return out


def _parted(cell: str | None) -> list[str]:
    return [part.strip() for part in (cell or "").split(";") if part.strip()]


def score(
    labelled: Sequence[Labelled],
    readers: Sequence[Reader],
    settings: ConsensusSettings | None = None,
    vocabulary: Vocabulary | None = None,
) -> Scorecard:
    """Scores of each reader alone and, with two or more, of their ensemble under the settings.

    A reader alone goes the whole way to findings by itself, so that its wrong pairs are counted after grounding and
    filters, as in use.
    """
    settings = settings or ConsensusSettings()
    read = read_labelled(labelled, readers, vocabulary)
    names = {reader.name: reader.version for reader in readers}
    voices: list[tuple[tuple[str, ...], str, str]] = [((name,), name, version) for name, version in names.items()]
    if len(readers) > 1:
        voices.append((tuple(names), ENSEMBLE, "+".join(names)))
    rows = []
    for voters, name, version in voices:
        for item, (own, by_reader) in zip(labelled, read, strict=True):
            readings = [r for voter in voters for r in by_reader.get(voter, ())]
            findings = decide_exam(own, readings, settings, vocabulary)
            said = _known(findings) if len(voters) > 1 else _read(readings)
            rows.append(_row(item, name, version, said, findings, readings))
    answers = pl.DataFrame(rows, schema=_ANSWERS)
    return Scorecard(_scores(answers), answers)


def read_labelled(
    labelled: Sequence[Labelled], readers: Sequence[Reader], vocabulary: Vocabulary | None = None
) -> list[tuple[list[Sentence], dict[str, list[Reading]]]]:
    """Sentences of each text, and what each reader reads in them."""
    cut = [split_report(f"labelled-{n:04d}", item.text, vocabulary) for n, item in enumerate(labelled, start=1)]
    passages = [p for own in cut for p in passages_of(own, vocabulary)]
    given: dict[str, dict[str, list[Reading]]] = {}
    for reader in readers:
        for passage, reading in zip(passages, reader.read(passages), strict=True):
            given.setdefault(passage.exam_id, {}).setdefault(reader.name, []).append(reading)
    return [(own, given.get(f"labelled-{n:04d}", {})) for n, own in enumerate(cut, start=1)]


def labelled_votes(
    labelled: Sequence[Labelled], readers: Sequence[Reader], vocabulary: Vocabulary | None = None
) -> list[Vote]:
    """What the readers say of each pair of the labelled texts, to measure their weights by."""
    read = read_labelled(labelled, readers, vocabulary)
    return [
        vote
        for item, (_, by_reader) in zip(labelled, read, strict=True)
        for vote in votes_of([r for own in by_reader.values() for r in own], item.pairs, with_slice=True)
    ]


_ANSWERS = pl.Schema(
    dict.fromkeys(
        ("reader", "version", "sentence", "topic", "label", "read", "accepted", "outcome", "verdict"), pl.String
    )
    | dict.fromkeys(("has_pair", "slice_right", "suvmax_right", "both_right", "wrong_accepted"), pl.Boolean)
    | {"error": pl.String}
)


def _read(readings: Sequence[Reading]) -> tuple[list[int], list[float], Pairs]:
    """Slices, SUVs and pairs that a reader gives of this exam's lesions, over all passages of a text."""
    found = [m for r in readings for m in r.mentions if m.is_finding and m.refused is None]
    slices = [m.axial_slice for m in found if m.axial_slice is not None]
    suvs = [m.suvmax for m in found if m.suvmax is not None]
    pairs = tuple((m.axial_slice, m.suvmax) for m in found if m.axial_slice is not None and m.suvmax is not None)
    return slices, suvs, pairs


def _known(findings: Sequence[TextFinding]) -> tuple[list[int], list[float], Pairs]:
    pairs = tuple(
        (f.slice, f.suvmax_reported)
        for f in findings
        if f.outcome in VALUES_ARE_KNOWN and f.slice is not None and f.suvmax_reported is not None
    )
    return [s for s, _ in pairs], [v for _, v in pairs], pairs


def _row(
    item: Labelled,
    reader: str,
    version: str,
    said: tuple[list[int], list[float], Pairs],
    findings: Sequence[TextFinding],
    readings: Sequence[Reading],
) -> dict[str, object]:
    slices, suvs, pairs = said
    accepted = [(f.slice, f.suvmax_reported) for f in findings if f.outcome is Outcome.ACCEPTED and f.slice is not None]
    errors = [r.error for r in readings if r.error is not None]
    is_wrong = any(pair not in item.pairs for pair in accepted)
    is_right = sorted(_known(findings)[2]) == sorted(item.pairs) if item.pairs else not accepted
    return {
        "reader": reader,
        "version": version,
        "sentence": item.text,
        "topic": item.topic,
        "label": _shown(item.pairs) or item.outcome or "rejected",
        "read": _shown(pairs),
        "accepted": _shown(tuple((s, v) for s, v in accepted if s is not None and v is not None)),
        "outcome": "; ".join(_outcome(f).value for f in findings) or "no candidate",
        "verdict": WRONG_PAIR if is_wrong else RIGHT if is_right else NOT_READ,
        "has_pair": bool(item.pairs),
        "slice_right": sorted(slices) == sorted(s for s, _ in item.pairs if s is not None),
        "suvmax_right": sorted(suvs) == sorted(v for _, v in item.pairs),
        "both_right": sorted(pairs) == sorted(item.pairs),
        "wrong_accepted": is_wrong,
        "error": "; ".join(errors) or None,
    }


def _outcome(finding: TextFinding) -> Outcome:
    """Outcome of a finding as labels name it: they ask for pairs of slice and SUVmax."""
    if finding.outcome is Outcome.NOTHING_TO_LOCATE_BY and finding.suvmax_reported is None:
        return Outcome.NO_SUVMAX
    if finding.outcome in (Outcome.ACCEPTED, Outcome.NOTHING_TO_LOCATE_BY) and finding.slice is None:
        return Outcome.NO_SLICE
    return finding.outcome


def _shown(pairs: Pairs) -> str:
    return "; ".join(f"SUVmax {v:g} on slice {s}" for s, v in pairs)


def _scores(answers: pl.DataFrame) -> pl.DataFrame:
    with_pair = pl.col("has_pair")
    return answers.group_by("reader", "version", maintain_order=True).agg(
        n=pl.len().cast(pl.Int64),
        n_with_pair=with_pair.sum().cast(pl.Int64),
        slice_right=pl.col("slice_right").filter(with_pair).mean(),
        suvmax_right=pl.col("suvmax_right").filter(with_pair).mean(),
        both_right=pl.col("both_right").filter(with_pair).mean(),
        outcome_right=(pl.col("verdict") == RIGHT).mean(),
        wrong_accepted=pl.col("wrong_accepted").mean(),
        rejected_right=(pl.col("accepted") == "").filter(~with_pair).mean(),
        n_failed=pl.col("error").is_not_null().sum().cast(pl.Int64),
    )


def rows_of_figure(card: Scorecard) -> pl.DataFrame:
    """The scores as rows of a figure of scores: a model a reader, with 95 % Wilson intervals over the texts."""
    rows: list[dict[str, object]] = []
    for row in card.scores.iter_rows(named=True):
        for metric, title, n in (
            ("both_right", "both values right", row["n_with_pair"]),
            ("slice_right", "slice right", row["n_with_pair"]),
            ("suvmax_right", "SUVmax right", row["n_with_pair"]),
            ("wrong_accepted", "wrong pair accepted", row["n"]),
        ):
            value = row[metric]
            low, high = (None, None) if value is None else wilson_interval(round(value * n), n)
            rows.append(
                {"model": row["reader"], "split": f"{row['n']} texts", "metric": title, "value": value, "low": low,
                 "high": high, "status": "computed" if value is not None else "not computed"}
            )  # fmt: skip
    return pl.DataFrame(rows, schema_overrides={"value": pl.Float64, "low": pl.Float64, "high": pl.Float64})


def table_of_scores(card: Scorecard) -> pl.DataFrame:
    """The scores as they are shown: the shares first, rounded."""
    shares = ("both_right", "slice_right", "suvmax_right", "wrong_accepted", "outcome_right", "rejected_right")
    return card.scores.select(
        "reader", *(pl.col(s).round(3) for s in shares), "n", "n_with_pair", "n_failed", "version"
    )


def by_topic(card: Scorecard) -> pl.DataFrame:
    """How each reader does on each topic of the labels, as it is shown.

    Columns: topic, n, and one a reader, "62 %, 21 wrong pairs": the texts whose outcome is right, and how many gave a
    wrong pair. The topics that are read worst come first.
    """
    rows = card.answers.group_by("reader", "topic", maintain_order=True).agg(
        n=pl.len().cast(pl.Int64),
        right=(pl.col("verdict") == RIGHT).mean(),
        n_wrong=pl.col("wrong_accepted").sum().cast(pl.Int64),
    )
    worst_first = (
        rows.group_by("topic", maintain_order=True).agg(pl.col("right").min()).sort("right")["topic"].to_list()
    )
    shown = rows.with_columns(
        shown=pl.format(
            "{} %{}",
            (pl.col("right") * 100).round(0).cast(pl.Int64),
            pl.when(pl.col("n_wrong") > 0).then(pl.format(", {} wrong pairs", "n_wrong")).otherwise(pl.lit("")),
        )
    ).pivot(on="reader", index=["topic", "n"], values="shown")
    return shown.sort(pl.col("topic").replace_strict({t: i for i, t in enumerate(worst_first)}))


def not_right(card: Scorecard) -> pl.DataFrame:
    """The texts whose outcome is not right, wrong pairs first, with what to compare side by side."""
    columns = ("sentence", "label", "accepted", "read", "verdict", "reader", "topic", "outcome", "error")
    return card.answers.filter(pl.col("verdict") != RIGHT).sort(pl.col("verdict") != WRONG_PAIR).select(columns)
