"""The table `reports`, and dates as exams take them."""

from datetime import date
from pathlib import Path

from pipelines.cohort.manifest import observe_cohort, scan_cohort
from pipelines.cohort.privacy.deidentification import Deidentifier
from pipelines.cohort.reports_table import update_reports
from pipelines.settings import PrivacySettings
from pipelines.tables.home import Home

REPORTS = """\
exam_id,patient_id,findings,study_date
E1,P1,Node of Dr. Alice Miller.,04.03.2021
E2,P1,,2021-04-03
E3,P2,Node.,someday
"""


def write(folder: Path) -> Path:
    (folder / "exams" / "E4").mkdir(parents=True)
    (folder / "reports.csv").write_text(REPORTS)
    return folder


class TestUpdateReports:
    def test_holds_every_report_as_it_is_read(self, tmp_path: Path) -> None:
        home = Home(tmp_path / "home")
        observe_cohort(write(tmp_path / "cohort"), home.manifest)
        frame, _ = update_reports(home)
        assert frame.select("exam_id", "study_date", "n_characters").rows() == [
            ("E1", "2021-03-04", 25),
            ("E2", "2021-04-03", 0),
            ("E3", None, 5),
        ]
        assert [m is None for m in frame["message"]] == [True, False, False]
        assert "study_date names no day" in frame["message"][2]

    def test_masked_reports_have_masked_texts_and_moved_dates(self, tmp_path: Path) -> None:
        home = Home(tmp_path / "home")
        deidentifier = Deidentifier(PrivacySettings(mask_reports=True), secret=b"0123456789abcdef")
        observe_cohort(write(tmp_path / "cohort"), home.manifest, deidentifier)
        frame, _ = update_reports(home)
        assert "Miller" not in frame["text"][0]
        first, second = (date.fromisoformat(day) for day in frame["study_date"][:2])
        assert (second - first).days == 30
        assert first != date(2021, 3, 4)


class TestScanCohort:
    def test_a_changed_date_changes_the_version(self, tmp_path: Path) -> None:
        before = scan_cohort(write(tmp_path)).entries
        (tmp_path / "reports.csv").write_text(REPORTS.replace("04.03.2021", "05.03.2021"))
        assert [a.study_date != b.study_date for a, b in zip(before, scan_cohort(tmp_path).entries, strict=True)] == [
            True,
            *[False] * 3,
        ]
