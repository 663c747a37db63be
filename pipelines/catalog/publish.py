"""The publication of a curation: the gate, the catalog, and the files that no table names any more."""

from dataclasses import dataclass

from pipelines.catalog.build import CatalogError, CatalogSummary, build_catalog
from pipelines.catalog.versions import read_history, read_manifest
from pipelines.curation.gate import forget_outcomes, of_all_shards, read_outcomes, refusal
from pipelines.curation.run import stale_shards
from pipelines.curation.stages.curation import Curation
from pipelines.curation.unreferenced_files import collect_files
from pipelines.tables.curation_version import curation_version
from pipelines.tables.home import Home


@dataclass(frozen=True)
class Publication:
    """What was published, and how many files were taken away."""

    catalog: CatalogSummary
    n_collected: int


def publish(home: Home) -> Publication:
    """Swaps in the catalog of what the lake holds now.

    Raises:
        CatalogError: too many of the exams that were computed since the last publication failed; or the catalog can
            not be built. What was published stays.
    """
    noted = read_outcomes(home)
    if reason := refusal(of_all_shards(noted)):
        raise CatalogError(reason)
    summary = build_catalog(home)
    forget_outcomes(home, noted)
    return Publication(summary, collect_files(home))


def is_settled(curation: Curation) -> bool:
    """Whether every shard is current and what they hold is published."""
    history = read_history(curation.home)
    if not history or stale_shards(curation):
        return False
    return bool(read_manifest(curation.home, history[-1]).get("curation") == curation_version(curation.home))
