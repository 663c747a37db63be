"""Small curations without Dagster: only the shards that hold exams are made."""

from pathlib import Path

from pipelines.cohort.manifest import observe_cohort, read_whole_manifest
from pipelines.cohort.privacy.deidentification import NO_DEIDENTIFICATION, Deidentifier
from pipelines.curation.run import PHASES, open_curation, run_stage
from pipelines.settings import CurationSettings
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake


def curate_small(home: Home, cohort: Path, deidentifier: Deidentifier = NO_DEIDENTIFICATION) -> Lake:
    """The lake of a cohort, once every shard with an exam is up to date."""
    observe_cohort(cohort, home.manifest, deidentifier, reviews=home.reviews)
    curation = open_curation(home, CurationSettings(), deidentifier=deidentifier)
    shards = sorted({entry.shard for entry in read_whole_manifest(home.manifest)})
    for tables in PHASES:
        for shard in shards:
            for table in tables:
                run_stage(curation, table, shard)
    return curation.lake
