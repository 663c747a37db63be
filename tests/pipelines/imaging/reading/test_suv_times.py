"""From the injection to the scan: dates, times of day, offsets, and what is refused."""

from datetime import datetime

import pytest

from pipelines.imaging.problems import ExamError
from pipelines.imaging.reading.suv_times import uptake_of

F18, CU64, ZR89, C11 = 6586.2, 45723.6, 282276.0, 1221.8
SCAN = datetime(2026, 1, 2, 11)
HOUR = 3600.0


@pytest.mark.parametrize(
    ("stamp", "time", "zone", "half_life", "seconds", "words"),
    [
        ("20260102100000", "", "", F18, HOUR, ""),
        ("", "100000", "", F18, HOUR, ""),
        ("", "10:00:00", "", F18, HOUR, ""),
        ("20260102080000+0000", "", "+0200", F18, HOUR, ""),
        ("20260102100000+0200", "", "+0200", F18, HOUR, ""),
        ("20260102080000+0000", "100000", "", F18, HOUR, ""),  # no zone of the scanner: its own clock decides
        ("20190817100000", "", "", F18, HOUR, "date of injection"),  # moved in one place
        ("20260102000000", "100000", "", F18, HOUR, ""),  # a date whose time was filled up with zeros
        ("20251229100000", "", "", ZR89, 97 * HOUR, ""),
        ("20251229000000", "100000", "", ZR89, 97 * HOUR, ""),
        ("", "100000", "", CU64, HOUR, "is assumed"),
        ("", "110030", "", F18, 0.0, "dynamic"),
        ("20260102030000", "", "", F18, 8 * HOUR, "more than usual"),
        ("20260102095000", "100000", "", F18, 4200.0, "is not the time of"),
        ("", "093000", "", C11, 5400.0, ""),
    ],
)
def test_seconds_of_an_uptake(stamp, time, zone, half_life, seconds, words):
    uptake = uptake_of(SCAN, stamp, time, zone, half_life)
    assert uptake.seconds == pytest.approx(seconds)
    assert words in uptake.note
    assert bool(words) == bool(uptake.note)


@pytest.mark.parametrize(
    ("stamp", "time", "zone", "half_life", "tag"),
    [
        ("", "", "", F18, "0018,1078"),
        ("", "110500", "", F18, "0018,1072"),  # minutes after the scan is no day before
        ("20260102110500", "", "", F18, "0018,1078"),
        ("20260102120000", "100000", "", F18, "0018,1078"),  # the two contradict one another
        ("20260102080000+0000", "", "", F18, "0008,0201"),
        ("", "100000", "", ZR89, "0018,1078"),
        ("20190817100000", "", "", ZR89, "0018,1078"),
        ("20190817100000", "", "", CU64, "0018,1078"),
        ("20260101100000", "120000", "", F18, "0018,1078"),
        ("", "not a time", "", F18, "0018,1072"),
    ],
)
def test_what_cannot_be_is_refused_with_the_tag(stamp, time, zone, half_life, tag):
    with pytest.raises(ExamError, match=tag):
        uptake_of(SCAN, stamp, time, zone, half_life)


def test_midnight_lies_between_injection_and_scan():
    assert uptake_of(datetime(2026, 1, 2, 0, 30), "", "233000", "", F18).seconds == HOUR
