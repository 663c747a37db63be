"""The fuzz suite: its cases can be made again, and a reader that fails is found."""

from pathlib import Path

import pytest

from benchmarks.fuzz import worker
from benchmarks.fuzz.case import Input
from benchmarks.fuzz.inputs import INPUTS


def fail_with(error: Exception | None) -> Input:
    def read(folder: Path) -> int:
        if error is not None:
            raise error
        return len(list(folder.iterdir()))

    return Input("x", 1, lambda rng: {"a": rng.randbytes(4)}, read, (ValueError,))


class TestRunCase:
    @pytest.mark.parametrize(
        ("error", "kind", "is_other"),
        [
            (None, "rows", False),
            (ValueError("expected"), "error", False),
            (KeyError("x"), "KeyError", True),
            (MemoryError(), "MemoryError", True),
            (RecursionError(), "RecursionError", True),
        ],
    )
    def test_tells_how_a_case_ended(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception | None, kind: str, is_other: bool
    ) -> None:
        monkeypatch.setattr(worker, "INPUTS", {"x": fail_with(error)})
        ending = worker.run_case("x", "1", worker.files_of("x", 1))
        assert (ending.kind, ending.is_other) == (kind, is_other)

    def test_a_case_that_takes_too_long_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(worker, "INPUTS", {"x": fail_with(None)})
        monkeypatch.setattr(worker, "MOST_S", -1.0)
        assert worker.run_case("x", "1", {"a": b""}).kind == "too slow"


class TestFilesOf:
    @pytest.mark.parametrize("name", INPUTS)
    def test_gives_the_same_files_for_a_number(self, name: str) -> None:
        assert worker.files_of(name, 7) == worker.files_of(name, 7)


def test_the_suite_has_ten_thousand_cases() -> None:
    assert sum(one.n_cases for one in INPUTS.values()) >= 10_000


@pytest.mark.parametrize("name", INPUTS)
def test_some_case_of_each_input_is_read(name: str) -> None:
    """An input whose every case ends as the same error looks at one line of its reader."""
    assert any(worker.run_case(name, str(n), worker.files_of(name, n)).kind == "rows" for n in range(60))
