"""What fails for good and what is tried again: a rerun does not change a wrong setting, but a full disk is emptied."""

import contextlib
from collections.abc import Iterator

import dagster as dg

from pipelines.catalog.versions import VersionError
from pipelines.cohort.manifest import CohortError
from pipelines.cohort.privacy.deidentification import PrivacyError
from pipelines.reports.llm.readers_file import ReadersError
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
    LakeError,
    HomeError,
    VersionError,
)


class PermanentFailure(dg.Failure):
    """A failure that a rerun cannot change: it is told with its reason and not tried again."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, allow_retries=False)


@contextlib.contextmanager
def permanent(*more: type[Exception]) -> Iterator[None]:
    """Turns the errors of wrong input, settings and files, and those named, into a PermanentFailure of their words."""
    lasting: tuple[type[Exception], ...] = (*_PERMANENT, *more)
    try:
        yield
    except lasting as error:
        raise PermanentFailure(str(error)) from error
