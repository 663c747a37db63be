"""Follow-up: pairs of exams of a patient, registered, and the lesions that are the same in both."""

import dagster as dg

from assets.catalog import catalog
from assets.partitions import CURATION_OWNERS, table_metadata, table_sample
from assets.resources import Workspace
from pipelines.followup import exam_pairs as exam_pairs_module
from pipelines.followup import lesion_links as lesion_links_module
from pipelines.followup.from_lake import update_exam_pairs, update_lesion_links
from pipelines.tables.provenance import code_version


@dg.asset(
    deps=[catalog],
    group_name="followup",
    owners=CURATION_OWNERS,
    kinds={"parquet", "nifti"},
    code_version=code_version(exam_pairs_module.__name__),
    metadata=table_metadata("exam_pairs"),
)
def exam_pairs(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult:
    """One row an exam: the patient's last exam of the same tracer before it, and the rigid registration of the two."""
    frame, written, anew = update_exam_pairs(workspace.paths, workspace.settings().followup, context.log)
    counted = frame.group_by("reason").len("exams").sort("reason")
    return dg.MaterializeResult(
        data_version=dg.DataVersion(written.rows_digest),
        metadata={
            "dagster/row_count": frame.height,
            "pairs": frame["matrix"].count(),
            "recomputed": anew,
            "reused": frame.height - anew,
            "without a pair": table_sample(counted.drop_nulls(), limit=20),
        },
    )


@dg.asset(
    deps=[exam_pairs, catalog],
    group_name="followup",
    owners=CURATION_OWNERS,
    kinds={"parquet"},
    code_version=code_version(lesion_links_module.__name__),
    metadata=table_metadata("lesion_links"),
)
def lesion_links(workspace: Workspace) -> dg.MaterializeResult:
    """What became of each lesion between two exams: persisting, new, gone, split, merged or not linked, and the changes
    of its measures.
    """
    frame, written = update_lesion_links(workspace.paths, workspace.settings().followup)
    states = frame.group_by("state").len("links").sort("state")
    return dg.MaterializeResult(
        data_version=dg.DataVersion(written.rows_digest),
        metadata={
            "dagster/row_count": frame.height,
            "states": table_sample(states, limit=20),
            "first rows": table_sample(frame),
        },
    )


followup = dg.define_asset_job(
    "followup",
    selection=dg.AssetSelection.assets(exam_pairs, lesion_links),
    description="Pairs of exams and links of lesions over time; only pairs whose exams changed are registered.",
)

JOBS = [followup]
