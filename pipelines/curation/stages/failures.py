"""Exceptions of our own code, exam by exam: each fails its exam alone, and says where it was raised."""

import logging
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.curation.stages.incremental import Rows
from pipelines.curation.stages.stage import ShardStage
from pipelines.reports.llm.answers import CacheError
from pipelines.reports.llm.prompting import PromptError
from pipelines.tables.lake import LakeError
from pipelines.tables.outcomes import Outcome
from pipelines.tables.safe_text import places_of

_PACKAGE = Path(__file__).resolve().parents[2]
_OF_THE_RUN = (LakeError, CacheError, PromptError)
"""Say what is wrong with the home or the readers, whatever the exam: they end the run."""


def failure_message(error: Exception) -> str:
    """Type of an exception and the innermost line of ours that raised it, as "ValueError at pipelines.x.y:12".

    Of the words of an exception only the system's own are told (a full disk): others may quote a patient's data.
    """
    ours = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(_PACKAGE)]
    frame = ours[-1]
    module = ".".join(Path(frame.filename).relative_to(_PACKAGE.parent).with_suffix("").parts)
    words = f" ({os.strerror(error.errno)})" if isinstance(error, OSError) and error.errno else ""
    return f"{type(error).__name__}{words} at {module}:{frame.lineno}"


@dataclass(frozen=True)
class ComputedExam:
    """What became of an exam that another process computed, for the one that writes its shard."""

    key: str
    """The exam's key there; the rows stand only for the same key."""
    rows: Rows
    again: bool
    """Whether the next run must compute it again."""
    failure: str | None
    is_decided_here: bool
    """Whether something else than a problem of the input decided its rows."""
    note: Any


class GuardedStage:
    """Computes the exams of a stage; one whose computation raises, here or in a table below, gets the stage's rows of a
    failure.

    Args:
        stage: how the rows are made.
        below: exam -> message, of the exams that failed in a table below.
        log: gets the places of the traceback of every exception, without its words.
        at: called with each exam before it is computed.
        computed: exams that other processes have computed; they are taken over.
    """

    def __init__(
        self,
        stage: ShardStage,
        below: Mapping[str, str],
        log: logging.Logger,
        at: Callable[[str], None] = lambda exam_id: None,
        computed: Mapping[str, ComputedExam] | None = None,
    ) -> None:
        self._stage, self._below, self._log, self._at = stage, below, log, at
        self._computed = {e: c for e, c in (computed or {}).items() if stage.keys.get(e) == c.key}
        self._prepares_alone = False
        self.touched: set[str] = set()
        """Exams that were computed."""
        self.failures: dict[str, str] = {}
        """Exam -> message, of the computed exams that failed."""
        self.outcomes: dict[str, str | None] = {}
        """Exam -> message, null where it was computed well, of the exams that were computed here and gave rows that no
        problem of the input decided."""

    def prepare(self, exam_ids: Sequence[str]) -> None:
        """What is cheaper done for many exams at once; where that raises, each exam is prepared alone."""
        self._prepares_alone = False
        try:
            self._prepare(exam_ids)
        except _OF_THE_RUN:
            raise
        except Exception:
            self._prepares_alone = True

    def _prepare(self, exam_ids: Sequence[str]) -> None:
        known = [exam_id for exam_id in exam_ids if exam_id not in self._below and exam_id not in self._computed]
        if self._stage.prepare is not None and known:
            self._stage.prepare(known)

    def compute(self, exam_id: str) -> tuple[Rows, bool]:
        """(rows, whether the next run must compute the exam again)."""
        self.touched.add(exam_id)
        if exam_id in self._below:
            return self._failed(exam_id, self._below[exam_id])
        if exam_id in self._computed:
            return self._taken(exam_id, self._computed[exam_id])
        self._at(exam_id)
        try:
            if self._prepares_alone:
                self._prepare([exam_id])
            rows, again = self._stage.compute(exam_id)
        except _OF_THE_RUN:
            raise
        except Exception as error:
            # Its place alone: the words of an exception may quote a patient's data.
            self._log.error("exam %s failed: %s\n%s", exam_id, failure_message(error), places_of(error))
            self.outcomes[exam_id] = failure_message(error)
            return self._failed(exam_id, failure_message(error))
        if any(_is_decided_here(row) for row in rows):
            self.outcomes[exam_id] = None
        return rows, again

    def computed(self, exam_id: str) -> ComputedExam:
        """An exam's rows with what the process that writes the shard must know of them."""
        rows, again = self.compute(exam_id)
        return ComputedExam(
            key=self._stage.keys[exam_id],
            rows=rows,
            again=again,
            failure=self.failures.get(exam_id),
            is_decided_here=exam_id in self.outcomes,
            note=self._stage.notes.get(exam_id),
        )

    def _taken(self, exam_id: str, computed: ComputedExam) -> tuple[Rows, bool]:
        if computed.failure is not None:
            self.failures[exam_id] = computed.failure
        if computed.is_decided_here:
            self.outcomes[exam_id] = computed.failure
        self._stage.notes.pop(exam_id, None)
        if computed.note is not None:
            self._stage.notes[exam_id] = computed.note
        return computed.rows, computed.again

    def _failed(self, exam_id: str, message: str) -> tuple[Rows, bool]:
        self.failures[exam_id] = message
        return self._stage.failed(exam_id, message), True


def _is_decided_here(row: Mapping[str, Any]) -> bool:
    """Whether no problem of the input stands for a result."""
    return row.get("status") != "problem" and row.get("outcome") != Outcome.EXAM_PROBLEM
