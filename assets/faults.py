"""Failures that a retry cannot change (wrong settings or files), told apart from those that it can (a full disk)."""

import contextlib
from collections.abc import Iterator

import dagster as dg

from pipelines.catalog.versions import VersionError
from pipelines.cohort.manifest import CohortError
from pipelines.cohort.privacy.deidentification import PrivacyError
from pipelines.curation.engines.ray_cluster import RayClusterError
from pipelines.curation.engines.worker_pool import WorkerDiedError
from pipelines.curation.stages.stopping import CurationStoppedError
from pipelines.reports.llm.readers_file import ReadersError
from pipelines.reports.vocabulary.errors import VocabularyError
from pipelines.settings import SettingsError
from pipelines.tables.home import HomeError
from pipelines.tables.lake import LakeError

RETRY = dg.RetryPolicy(max_retries=3, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""For what can pass: a full disk, a file system or a server that is away for a moment. At most 2 + 4 + 8 s, half more
or less."""

_PERMANENT: tuple[type[Exception], ...] = (
    CohortError,
    PrivacyError,
    SettingsError,
    ReadersError,
    VocabularyError,
    LakeError,
    HomeError,
    VersionError,
    CurationStoppedError,
    WorkerDiedError,
    RayClusterError,
)


class PermanentFailure(dg.Failure):
    """A failure that a rerun cannot change: reported with its reason and not retried."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, allow_retries=False)


@contextlib.contextmanager
def permanent(*more: type[Exception]) -> Iterator[None]:
    """Raises errors of wrong input, settings and files, and those named, as PermanentFailure with the same message."""
    lasting: tuple[type[Exception], ...] = (*_PERMANENT, *more)
    try:
        yield
    except lasting as error:
        # Dagster keeps the words of causes too, and those of other libraries may quote a patient's data.
        raise PermanentFailure(str(error)) from None


def is_permanent(error: Exception) -> bool:
    """Whether a rerun cannot change an error."""
    return isinstance(error, _PERMANENT)
