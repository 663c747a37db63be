"""What the log is told of an exception: its place, and none of its words."""

import logging

import pytest

from pipelines.curation.stages.failures import GuardedStage
from pipelines.curation.stages.incremental import Rows
from pipelines.curation.stages.stage import ShardStage


def test_of_an_exception_the_log_gets_the_place_and_no_word(caplog: pytest.LogCaptureFixture) -> None:
    name = "".join(["Zeb", "rowski"])  # The log shows lines of code.

    def compute(exam_id: str) -> tuple[Rows, bool]:
        try:
            raise KeyError(name)
        except KeyError as error:
            raise ValueError(name) from error

    guarded = GuardedStage(ShardStage({"E1": "key"}, compute), {}, logging.getLogger("stage"))
    guarded.compute("E1")
    assert name not in caplog.text
    assert "exam E1 failed: ValueError at pipelines.curation.stages.failures" in caplog.text
    assert "test_failures.py" in caplog.text
    assert name not in str(guarded.failures)
