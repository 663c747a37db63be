"""What the runs of one call did."""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagster import ExecuteInProcessResult


@dataclass(frozen=True)
class FailedCheck:
    """A quality check that failed: its name, whether as an error or as a warning, and what it counted."""

    name: str
    is_error: bool
    description: str


@dataclass
class RunSummary:
    """What the runs of one call did: counts by asset, and the runs that failed."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    failed_checks: dict[str, FailedCheck] = field(default_factory=dict)
    """By name, as they were last run."""
    is_cut_short: bool = False
    """Whether nothing was run after a run that failed."""
    seconds: float = 0.0

    def add(self, result: "ExecuteInProcessResult") -> None:
        """Takes up the metadata of every asset that a run materialised."""
        from dagster import AssetCheckSeverity

        for event in result.get_asset_materialization_events():
            materialization = event.step_materialization_data.materialization
            name = materialization.asset_key.to_user_string()
            counter = self.counts.setdefault(name, Counter())
            for key in ("recomputed", "reused", "removed", "failed"):
                value = materialization.metadata.get(key)
                if value is not None and isinstance(value.value, int):
                    counter[key] += value.value
            counter["runs"] += 1
        for check in result.get_asset_check_evaluations():
            self.failed_checks.pop(check.check_name, None)
            if not check.passed:
                is_error = check.severity is AssetCheckSeverity.ERROR
                self.failed_checks[check.check_name] = FailedCheck(check.check_name, is_error, check.description or "")
