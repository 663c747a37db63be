"""The tables of a curation three ways: through `pipelines.open`, with DuckDB alone, with polars on the Parquet files.

python examples/query_tables.py data
"""

import sys
from pathlib import Path

import duckdb
import polars as pl

import pipelines


def main(home: Path) -> None:
    """Prints the number of lesions by organ, each time."""
    curation = pipelines.open(home)
    print(curation.query("lesions_by_organ"))

    # Any DuckDB client opens the catalog read-only, while a curation runs, too.
    with duckdb.connect(str(home / "petar.duckdb"), read_only=True) as catalog:
        print(
            catalog.sql(
                "SELECT organ, count(*) AS n FROM lesions WHERE NOT is_physiologic GROUP BY organ ORDER BY n DESC"
            ).pl()
        )

    # Text and image of a finding are two tables in the lake, joined by its id; `lesions` has what was not found, too.
    findings = pl.scan_parquet(home / "lake" / "findings" / "*.parquet")
    located = pl.scan_parquet(home / "lake" / "lesions" / "*.parquet").filter(pl.col("outcome") == "lesion")
    joined = located.join(findings.select("finding_id", "organ", "is_physiologic"), on="finding_id")
    print(joined.filter(~pl.col("is_physiologic")).group_by("organ").len("n").sort("n", descending=True).collect())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "data"))
