"""Row-level reuse."""

import polars as pl
import pytest

from pipelines.curation.stages.incremental import UpdateCounts, update_exams

EMPTY = pl.DataFrame(schema={"exam_id": pl.String, "value": pl.Int64, "row_key": pl.String})


class Recorder:
    """Computes one row an exam and remembers for which it was asked."""

    def __init__(self, failing: frozenset[str] = frozenset(), without_rows: frozenset[str] = frozenset()) -> None:
        self.asked: list[str] = []
        self.failing, self.without_rows = failing, without_rows

    def __call__(self, exam_id: str) -> tuple[list[dict[str, object]], bool]:
        self.asked.append(exam_id)
        rows = [] if exam_id in self.without_rows else [{"exam_id": exam_id, "value": len(self.asked)}]
        return rows, exam_id in self.failing


class TestUpdateExams:
    def test_computes_every_exam_at_first(self) -> None:
        compute = Recorder()
        update = update_exams({"a": "1", "b": "1"}, EMPTY, {}, compute)
        assert (compute.asked, update.counts) == (["a", "b"], UpdateCounts(recomputed=2))

    def test_asks_for_nothing_when_no_key_changed(self) -> None:
        first = update_exams({"a": "1", "b": "1"}, EMPTY, {}, Recorder())
        compute = Recorder()
        second = update_exams({"a": "1", "b": "1"}, first.frame, first.keys, compute)
        assert (compute.asked, second.counts) == ([], UpdateCounts(reused=2))
        assert second.frame.equals(first.frame)

    def test_computes_exactly_the_exam_whose_key_changed(self) -> None:
        first = update_exams({"a": "1", "b": "1"}, EMPTY, {}, Recorder())
        compute = Recorder()
        update_exams({"a": "1", "b": "2"}, first.frame, first.keys, compute)
        assert compute.asked == ["b"]

    def test_reuses_an_exam_that_gave_no_row(self) -> None:
        silent = frozenset({"a"})
        first = update_exams({"a": "1"}, EMPTY, {}, Recorder(without_rows=silent))
        compute = Recorder(without_rows=silent)
        assert update_exams({"a": "1"}, first.frame, first.keys, compute).counts == UpdateCounts(reused=1)

    def test_drops_the_rows_of_an_exam_that_is_gone(self) -> None:
        first = update_exams({"a": "1", "b": "1"}, EMPTY, {}, Recorder())
        second = update_exams({"b": "1"}, first.frame, first.keys, Recorder())
        assert second.frame["exam_id"].to_list() == ["b"]
        assert (second.removed, second.counts.removed) == (("a",), 1)

    def test_tries_a_failed_exam_again(self) -> None:
        first = update_exams({"a": "1"}, EMPTY, {}, Recorder(failing=frozenset({"a"})))
        compute = Recorder()
        update_exams({"a": "1"}, first.frame, first.keys, compute)
        assert (first.counts.failed, compute.asked) == (1, ["a"])

    def test_computes_only_the_exams_that_are_named(self) -> None:
        first = update_exams({"a": "1", "b": "1"}, EMPTY, {}, Recorder())
        compute = Recorder()
        update = update_exams({"a": "1", "b": "2"}, first.frame, first.keys, compute, only=["a"])
        assert compute.asked == ["a"]
        assert update.keys == {"a": "1", "b": "1"}

    def test_refuses_to_compute_an_exam_of_another_shard(self) -> None:
        with pytest.raises(ValueError, match="only_exams"):
            update_exams({"a": "1"}, EMPTY, {}, Recorder(), only=["z"])

    def test_takes_a_number_where_text_belongs_as_text(self) -> None:
        columns = pl.DataFrame(schema={"exam_id": pl.String, "tracer": pl.String, "row_key": pl.String})
        update = update_exams({"a": "1"}, columns, {}, lambda exam_id: ([{"exam_id": exam_id, "tracer": 18}], False))
        assert update.frame["tracer"].to_list() == ["18"]

    def test_saves_as_it_goes_so_that_a_killed_shard_resumes(self) -> None:
        saved: list[tuple[pl.DataFrame, dict[str, str]]] = []
        keys = {f"e{i}": "1" for i in range(5)}
        update_exams(keys, EMPTY, {}, Recorder(), save=lambda f, k: saved.append((f, k)), save_every=2)
        frame, done = saved[0]
        compute = Recorder()
        update_exams(keys, frame, done, compute)
        assert compute.asked == ["e2", "e3", "e4"]
