"""Every quality check of the tables as an asset check: severity, count and the first wrong rows in the UI.

Plain checks, not partitioned ones, which Dagster still shows as skipped: each looks at a whole table.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from assets.catalog import catalog
from assets.exams import exam_manifest, exams
from assets.followup import lesion_links
from assets.lesions import calibration, lesions, peaks
from assets.partitions import table_sample
from assets.reports import findings, identifiers, readings
from assets.resources import Workspace
from assets.training import samples
from pipelines.review.quality_checks import CHECKS as QUALITY_CHECKS
from pipelines.review.quality_checks import Check, remedy_of

_ASSETS: dict[str, dg.AssetsDefinition | dg.SourceAsset] = {
    "exam_manifest": exam_manifest,
    "identifiers": identifiers,
    "exams": exams,
    "readings": readings,
    "findings": findings,
    "peaks": peaks,
    "calibration": calibration,
    "lesions": lesions,
    "lesion_links": lesion_links,
    "catalog": catalog,
    "samples": samples,
}
_SEVERITIES = {"error": dg.AssetCheckSeverity.ERROR, "warning": dg.AssetCheckSeverity.WARN}


def _asset_checks(name: str, checks: Sequence[Check]) -> dg.AssetChecksDefinition:
    specs = [dg.AssetCheckSpec(c.name, asset=_ASSETS[c.table].key, description=c.description) for c in checks]

    @dg.multi_asset_check(name=name, specs=specs, can_subset=True)
    def run(context: dg.AssetCheckExecutionContext, workspace: Workspace) -> Iterator[dg.AssetCheckResult]:
        wanted = {key.name for key in context.selected_asset_check_keys}
        asked = [check for check in checks if check.name in wanted]
        for check, result in zip(asked, workspace.check_results(asked), strict=True):
            metadata: dict[str, Any] = {"wrong": result.n_bad, "checked": result.n_checked}
            if result.n_opened is not None:
                metadata["opened"] = result.n_opened
            told = f"{result.description}: {result.n_bad:,} of {result.n_checked:,} wrong"
            if not result.passed:
                metadata["what to do"] = remedy_of(check.name)
                told = f"{told}. What to do: {remedy_of(check.name)}"
            if result.n_bad:
                metadata["first wrong rows"] = table_sample(result.sample, limit=result.sample.height)
            yield dg.AssetCheckResult(
                check_name=check.name,
                asset_key=_ASSETS[check.table].key,
                passed=result.passed,
                severity=_SEVERITIES[result.severity],
                description=told,
                metadata=metadata,
            )

    return run


_LATER = ("samples", "lesion_links")
"""Tables of jobs of their own: their checks run with them and not with the curation's."""
curation_checks = _asset_checks("curation_checks", [c for c in QUALITY_CHECKS if c.table not in _LATER])
sample_checks = _asset_checks("sample_checks", [c for c in QUALITY_CHECKS if c.table == "samples"])
link_checks = _asset_checks("link_checks", [c for c in QUALITY_CHECKS if c.table == "lesion_links"])

CHECKS = [curation_checks, sample_checks, link_checks]
