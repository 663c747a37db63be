"""What Dagster keeps of a failure that a retry cannot change: our message, and no word of another library's."""

import pytest

from assets.faults import PermanentFailure, permanent
from pipelines.cohort.manifest import CohortError


def refuse() -> None:
    try:
        int("Zebrowski")
    except ValueError as error:
        raise CohortError("expected a cohort, got none") from error


def test_keeps_our_message_and_no_cause() -> None:
    with pytest.raises(PermanentFailure, match="expected a cohort") as caught, permanent():
        refuse()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
