"""Exports: the lesions as NIfTI label maps and DICOM SEG, for the viewers people use, and draft reports of exams."""

import dagster as dg

from assets.catalog import catalog
from assets.followup import exam_pairs, lesion_links
from assets.partitions import CURATION_OWNERS
from assets.resources import Workspace
from pipelines.exports import report_files as reports_module
from pipelines.exports import viewer_files as exports_module
from pipelines.exports.report_files import update_reports
from pipelines.exports.viewer_files import export_lesions
from pipelines.tables.curation_version import curation_version
from pipelines.tables.hashing import hash_of
from pipelines.tables.provenance import code_version


@dg.asset(
    deps=[catalog, lesion_links],
    group_name="review",
    owners=CURATION_OWNERS,
    kinds={"nifti", "dicom"},
    code_version=code_version(exports_module.__name__),
)
def exports(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult:
    """A folder an exam under PETAR_HOME/exports: a label map, a DICOM SEG where it came as DICOM, their table."""
    home, settings = workspace.paths, workspace.settings().exports
    days_back = workspace.deidentifier().days_back
    summary = export_lesions(home, workspace.exams_folder, settings, context.log, days_back)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(hash_of(curation_version(home), settings, sorted(summary.failed))),
        metadata={
            "lesions": summary.lesions,
            "DICOM SEG": summary.segs,
            "recomputed": summary.exported,
            "reused": summary.reused,
            "removed": summary.removed,
            "failed": len(summary.failed),
            "why": dg.MetadataValue.json(dict(summary.failed)),
            "path": dg.MetadataValue.path(str(summary.folder)),
        },
    )


@dg.asset(
    deps=[exports, lesion_links],
    group_name="review",
    owners=CURATION_OWNERS,
    kinds={"json", "html", "dicom"},
    code_version=code_version(reports_module.__name__),
)
def exam_reports(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult:
    """A folder an exam under PETAR_HOME/exam_reports: its draft report as JSON, Markdown, HTML, FHIR and DICOM SR."""
    home, settings = workspace.paths, workspace.settings().exports
    summary = update_reports(home, workspace.exams_folder, settings, context.log, workspace.deidentifier().days_back)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(hash_of(curation_version(home), settings, sorted(summary.without_sr))),
        metadata={
            "lesions": summary.lesions,
            "recomputed": summary.written,
            "reused": summary.reused,
            "removed": summary.removed,
            "without DICOM SR": dg.MetadataValue.json(dict(summary.without_sr)),
            "path": dg.MetadataValue.path(str(summary.folder)),
        },
    )


export = dg.define_asset_job(
    "export",
    selection=dg.AssetSelection.assets(exports, exam_pairs, lesion_links, exam_reports),
    description="The lesions as NIfTI and DICOM SEG, and draft reports; only exams that changed are written.",
)

JOBS = [export]
