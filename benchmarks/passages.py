"""Rules against generated passages: python -m benchmarks.passages [--n 10000] [--seed 0] [--language en] [--show KIND].

Prints for each kind of wording how many pairs of slice and SUVmax were read right and how many passages gave a wrong
one; `--show` prints each disagreement of a kind ("all": of every kind), to be looked at once and to become a cue, a
rule or a correction of the generator.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated

import polars as pl
import typer

from pipelines.phantom.passages.generator import Passage, passages
from pipelines.reports.rules.pairs import extract
from pipelines.reports.sentences import split_report

Pair = tuple[int, float]


def pairs_by_rules(text: str) -> set[Pair]:
    """The pairs that the rules give for a passage."""
    sentences = split_report("generated", text)
    return {(x.slice, x.suvmax) for s in sentences if s.is_candidate for x in extract(s.sentence).lesions}


def compared(given: Iterable[Passage]) -> Iterator[tuple[Passage, set[Pair], set[Pair]]]:
    """Each passage with the pairs that it holds and those that the rules read."""
    for passage in given:
        held = {(m.slice, m.suvmax) for m in passage.mentions if m.slice is not None}
        yield passage, held, pairs_by_rules(passage.text)


def errors_by_kind(given: Iterable[Passage]) -> pl.DataFrame:
    """Columns kind, passages, pairs, right (pairs that were read), wrong (passages with a pair that they lack)."""
    rows = [
        {"kind": p.kind, "passages": 1, "pairs": len(held), "right": len(held & read), "wrong": bool(read - held)}
        for p, held, read in compared(given)
    ]
    return pl.DataFrame(rows).group_by("kind", maintain_order=True).agg(pl.exclude("kind").sum())


def main(
    n: int = 10_000,
    seed: int = 0,
    language: str = "en",
    show: Annotated[str, typer.Option(help="a kind, or all")] = "",
) -> None:
    """Prints the table, and the disagreements where they are asked for."""
    for passage, held, read in compared(passages(n, seed, language)) if show else ():
        if show in (passage.kind, "all") and held != read:
            print(f"{passage.kind}: {passage.text}\n  holds {sorted(held)}, read {sorted(read)}")
    table = errors_by_kind(passages(n, seed, language))
    total = table.select(pl.lit("all").alias("kind"), pl.exclude("kind").sum())
    with pl.Config(tbl_rows=-1, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True):
        print(pl.concat([table, total]))


if __name__ == "__main__":
    typer.run(main)
