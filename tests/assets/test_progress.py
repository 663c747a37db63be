"""What a curation tells of how far it is, where there is no terminal."""

import threading

import pytest

from assets import progress
from assets.progress import CurationProgress, Heartbeat, duration, every
from pipelines.curation.shard_work import ExamAt


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that have passed; the test moves them."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_tells_phase_exams_rate_time_left_and_findings(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    watch = CurationProgress()
    watch.begin("exams to peaks", 3, 40)
    clock[0] += 20
    watch.advance(7, 10, 12)
    clock[0] += 1
    watch.advance(8, 10, 3)
    watch.end()
    assert capsys.readouterr().out.splitlines() == [
        "curate: exams to peaks: 40 exams",
        "curate: exams to peaks: 10/40 exams, 0.5 exams/s, 60 s left, 12 findings",
        "curate: exams to peaks: 20/40 exams, 0.95 exams/s, 21 s left, 15 findings",
    ]


def test_exams_of_a_shard_in_hand_count(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    watch = CurationProgress()
    watch.begin("exams to peaks", 1, 400)
    for n in range(101):
        clock[0] += 1
        watch.at(ExamAt("exams", 7, f"E{n}"))
        watch.at(ExamAt("sentences", 7, f"E{n}"))
    assert capsys.readouterr().out.splitlines()[-1].startswith("curate: exams to peaks: 98/400 exams, 0.99")


def test_reused_exams_count_once_with_their_shard(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    watch = CurationProgress()
    watch.begin("calibration to lesions", 1, 4)
    for n in range(4):
        watch.at(ExamAt("lesions", 7, f"E{n}"))
    clock[0] += 11
    watch.advance(7, 4, 2)
    assert "4/4 exams, 0.36 exams/s, 0 s left" in capsys.readouterr().out


def test_shards_are_told_where_only_they_are_left(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    watch = CurationProgress()
    watch.begin("exams to peaks", 64, 2)
    clock[0] += 11
    watch.advance(7, 2, 5)
    assert "2/2 exams, tables of 1/64 shards written, 5 findings" in capsys.readouterr().out


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (89, "89 s"), (600, "10 min"), (9000, "2.5 h")])
def test_a_duration_has_the_unit_that_suits_it(seconds: float, words: str) -> None:
    assert duration(seconds) == words


class TestHeartbeat:
    def said(self, capsys: pytest.CaptureFixture[str], step: str | None) -> str:
        asked = threading.Event()

        def now_at() -> str | None:
            asked.set()
            return step

        with Heartbeat("publish", now_at, first_s=0, every_s=60):
            assert asked.wait(30)
        return capsys.readouterr().err

    def test_names_the_step_in_hand(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.said(capsys, "overview").startswith("publish: overview, ")

    def test_is_silent_where_the_step_tells_itself(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.said(capsys, None) == ""

    def test_says_a_name_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.said(capsys, "publish").startswith("publish, ")


def test_lines_of_many_runs_are_seconds_apart(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    say = every(10)
    for n in range(25):
        clock[0] += 1
        say(f"shard {n}")
    assert capsys.readouterr().out.split() == ["shard", "9", "shard", "19"]
