"""Dates: which forms are found, what they are after they were moved, and that intervals stay."""

from datetime import date, timedelta
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.cohort.privacy.dates import (
    LEAST_DAYS,
    MOST_DAYS,
    date_of,
    days_back,
    find_dates,
    known_year,
    moved_date,
)

DAYS = st.integers(LEAST_DAYS, MOST_DAYS)


def moved(text: str, days: int = 100) -> str:
    dates = find_dates(text)
    for found in reversed(dates):
        text = text[: found.start] + found.moved(text, days, known_year(dates)) + text[found.end :]
    return text


class TestForms:
    @pytest.mark.parametrize(
        ("text", "earlier"),
        [
            ("2023-03-14", "2022-12-04"),
            ("20230314", "20221204"),
            ("20230314103000", "20221204103000"),
            ("2023-03-14T10:21:33+01:00", "2022-12-04T10:21:33+01:00"),
            ("14.03.2023", "04.12.2022"),
            ("14. 3. 2023", "04. 12. 2022"),
            ("3/14/2023", "12/04/2022"),
            ("3/14/23", "12/04/22"),
            ("14/III/2023", "04/XII/2022"),
            ("14 March 2023", "04 December 2022"),
            ("March 14, 2023", "December 04, 2022"),
            ("Mar 14", "Dec 04"),
            ("14-MAR-2023", "04-DEC-2022"),
            ("14MAR2023", "04DEC2022"),
            ("14th of May, 2023", "03rd of February, 2023"),
            ("May 2023", "February 2023"),
            ("Jan '23", "Oct '22"),
            ("in May", "in February"),
            ("3/2023", "12/2022"),
            ("2023-03", "2022-12"),
            ("on 3/14", "on 12/04"),
            ("vom 14.03.", "vom 04.12."),
            ("1. Mai 2023", "21. Januar 2023"),
            ("5 août 2021", "27 avril 2021"),
            ("14 de mayo de 2023", "03 de febrero de 2023"),
            ("2023年3月14日", "2022年12月04日"),
            ("29.02.2024", "21.11.2023"),
            ("Monday, June 3, 2019", "Saturday, February 23, 2019"),
            ("Di., 15.02.22", "So., 07.11.21"),
            ("lundi 14 fevrier 2022", "samedi 06 novembre 2021"),
            ("2019-03-14 (Thu)", "2018-12-04 (Tue)"),
            ("on Mon. 2/21", "on Sat. 11/13"),
            ("discussed on Tuesday at noon", "discussed on Sunday at noon"),
            ("besproken op woensdag 5 mei", "besproken op maandag 25 januari"),
            ("am Donnerstag besprochen", "am Dienstag besprochen"),
            ("Sa, so, mar und di", "Sa, so, mar und di"),
            ("10 Jan 21", "02 Oct 20"),
            ("July of 2022", "April of 2022"),
            ("3 May 12 mm", "23 January 12 mm"),
            ("Q3 2019", "Q2 2019"),
            ("4Q21", "3Q21"),
            ("2019-Q1", "2018-Q4"),
            ("second quarter of 2018", "first quarter of 2018"),
            ("1st quarter 2021", "4th quarter 2020"),
            ("3. Quartal 2019", "2. Quartal 2019"),
            ("spring 2017", "winter 2017"),
            ("Sommer 2015", "Frühjahr 2015"),
            ("wk 14/2021", "wk 53/2020"),
            ("March 12-19, 2021", "December 02-09, 2020"),
            ("12.–19.03.2021", "02.–09.12.2020"),
            ("3/14 to 3/19/2023", "12/04 to 12/09/2022"),
        ],
    )
    def test_are_moved_and_stay_what_they_are(self, text: str, earlier: str) -> None:
        assert moved(text) == earlier

    @pytest.mark.parametrize(
        "text",
        [
            "image 4/77",
            "slices 10-12, series 3",
            "SUV 8.2-4.1 and 3.4/5.6",
            "10/14 nodes",
            "it may 5 times be so",
            "1.2.840.10008.5.1.4",
            "3 nodes of 12 mm",
            "Deauville 4/5",
            "in the liver",
            "2.5 x 3.1 x 4.0 cm",
            "the upper outer quarter 2 lesions",
            "T2 2019 lesions",
            "spring is late",
            "at week 12 of therapy",
            "a fall 2 m high",
        ],
    )
    def test_other_numbers_are_none(self, text: str) -> None:
        assert find_dates(text) == []

    def test_the_texts_other_dates_tell_which_number_is_the_day(self) -> None:
        assert [(d.month, d.day) for d in find_dates("03/04/2023, before 25/12/2022")] == [(4, 3), (12, 25)]
        assert [(d.month, d.day) for d in find_dates("03/04/2023, before 12/25/2022")] == [(3, 4), (12, 25)]

    def test_a_date_without_a_year_is_of_the_latest_year_of_its_text(self) -> None:
        assert moved("on 3/1, since 2/29/2024", 60) == "on 1/1, since 12/31/2023"


class TestMoving:
    @given(st.dates(date(1900, 12, 31), date(2100, 1, 1)), DAYS)
    def test_never_keeps_a_month(self, day: date, days: int) -> None:
        assert (day - timedelta(days)).month != day.month

    @given(st.dates(date(1900, 12, 31), date(2100, 1, 1)), st.dates(date(1900, 12, 31), date(2100, 1, 1)), DAYS)
    def test_keeps_intervals(self, one: date, other: date, days: int) -> None:
        new = [date_of(moved_date(day.strftime("%Y%m%d"), days)) for day in (one, other)]
        assert new[0] is not None
        assert new[1] is not None
        assert new[0] - new[1] == one - other

    def test_of_a_value_that_is_no_day_is_nothing(self) -> None:
        assert [moved_date(v, 40) for v in (None, "", "Miller", "2023", "March 2023", "seen on 2023-03-14")] == [
            None
        ] * 6

    def test_is_by_one_number_a_patient_and_secret(self) -> None:
        numbers = {(s, p): days_back(s, p) for s in (b"one", b"other") for p in ("P1", "P2")}
        assert len(set(numbers.values())) == len(numbers)
        assert all(LEAST_DAYS <= n <= MOST_DAYS for n in numbers.values())
        assert days_back(b"one", "P1") == numbers[b"one", "P1"]


@pytest.mark.parametrize("text", ["1/", "12 ", "a", "March ", "1. ", "12 of ", "2023-", "1 de ", "in May"])
def test_time_grows_with_the_length_alone(text: str) -> None:
    def seconds(n: int) -> float:
        start = process_time()
        find_dates(text * (n // len(text)))
        return process_time() - start

    seconds(1000)
    assert seconds(200_000) < 40 * max(seconds(20_000), 1e-3)
