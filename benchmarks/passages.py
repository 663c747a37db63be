"""Rules against generated passages: python -m benchmarks.passages [--n 10000] [--seed 0] [--language en] [--show KIND].

Prints for each kind of wording how many lesions were read right and how many passages gave a wrong one; `--show` prints
each disagreement of a kind ("all": of every kind), to be looked at once and to become a cue, a rule or a correction of
the generator.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated

import polars as pl
import typer

from pipelines.phantom.passages.generator import Passage, passages
from pipelines.reports.rules.pairs import extract
from pipelines.reports.sentences import SUV_AND_SLICE, SUV_ONLY, split_report
from pipelines.reports.vocabulary.vocabulary import package_vocabulary

Read = tuple[int | None, float]
"""Slice and SUVmax of a lesion."""


def read_by_rules(text: str) -> set[Read]:
    """The lesions that the rules read in a passage."""
    sentences = (s for s in split_report("generated", text) if s.candidate_reason in (SUV_AND_SLICE, SUV_ONLY))
    words = package_vocabulary()
    found = [extract(s.sentence, words.of(s.language)) for s in sentences]
    # One pair of a sentence that names several lesions is not accepted.
    return {(x.slice, x.suvmax) for e in found if len(e.lesions) == e.n_lesions for x in e.lesions}


def compared(given: Iterable[Passage]) -> Iterator[tuple[Passage, set[Read], set[Read]]]:
    """Each passage with the lesions that it holds and those that the rules read."""
    for passage in given:
        yield passage, {(m.slice, m.suvmax) for m in passage.mentions}, read_by_rules(passage.text)


def errors_by_kind(given: Iterable[Passage]) -> pl.DataFrame:
    """How the rules read passages, a row a kind.

    Columns: kind, passages; pairs, pairs_right (lesions with a slice, and those of them that were read), suv_only,
    suv_only_right (the same without one); wrong_pair, wrong_suv (passages that gave a pair, or an SUV without a slice,
    that they do not hold).
    """
    rows = []
    for passage, held, read in compared(given):
        pairs, only = ({x for x in held if (x[0] is None) is is_only} for is_only in (False, True))
        wrong = read - held
        rows.append(
            {"kind": passage.kind, "passages": 1, "pairs": len(pairs), "pairs_right": len(pairs & read),
             "suv_only": len(only), "suv_only_right": len(only & read),
             "wrong_pair": any(x[0] is not None for x in wrong),
             "wrong_suv": bool({x[1] for x in wrong if x[0] is None} - {x[1] for x in held})}
        )  # fmt: skip
    return pl.DataFrame(rows).group_by("kind", maintain_order=True).agg(pl.exclude("kind").sum())


def _shown(lesions: set[Read]) -> str:
    return ", ".join(f"{suvmax:g} on {number or 'no slice'}" for number, suvmax in sorted(lesions, key=str)) or "none"


def main(
    n: int = 10_000,
    seed: int = 0,
    language: str = "en",
    show: Annotated[str, typer.Option(help="a kind, or all")] = "",
) -> None:
    """Prints the table, and the disagreements where they are asked for."""
    for passage, held, read in compared(passages(n, seed, language)) if show else ():
        if show in (passage.kind, "all") and held != read:
            print(f"{passage.kind}: {passage.text}\n  holds {_shown(held)}, read {_shown(read)}")
    table = errors_by_kind(passages(n, seed, language))
    total = table.select(pl.lit("all").alias("kind"), pl.exclude("kind").sum())
    with pl.Config(tbl_rows=-1, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True, tbl_width_chars=120):
        print(pl.concat([table, total]))


if __name__ == "__main__":
    typer.run(main)
