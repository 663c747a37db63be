"""Results of quality checks."""

from dataclasses import dataclass
from typing import Literal

import polars as pl

Severity = Literal["error", "warning"]

MAX_SAMPLE_ROWS = 10


@dataclass(frozen=True)
class CheckResult:
    """Result of a check: how many of how many rows are wrong, and the first of them."""

    name: str
    passed: bool
    severity: Severity
    n_bad: int
    n_checked: int
    sample: pl.DataFrame
    """At most MAX_SAMPLE_ROWS wrong rows, with what is wrong."""
    description: str
    n_opened: int | None = None
    """Of a check that opens files: how many it opened; the others are as they were when they were last right."""


def result_of(name: str, severity: Severity, description: str, bad: pl.DataFrame, n_checked: int) -> CheckResult:
    """The result of a check, passed where no row is bad; its sample is the first rows by their first two columns."""
    shown = bad.sort(bad.columns[:2]).head(MAX_SAMPLE_ROWS)
    return CheckResult(name, bad.is_empty(), severity, bad.height, n_checked, shown, description)
