"""The deidentifier: what goes on of ids and texts, with which key, and what it refuses."""

import csv
from datetime import date, timedelta
from pathlib import Path

import pytest

from pipelines.cohort import manifest as cohort_module
from pipelines.cohort.manifest import observe_cohort, read_whole_manifest
from pipelines.cohort.privacy.deidentification import (
    NO_DEIDENTIFICATION,
    Deidentifier,
    PrivacyError,
    Pseudonyms,
    open_secret,
    read_key,
)
from pipelines.dataset.splits import split_of
from pipelines.settings import PrivacySettings
from pipelines.tables.home import Home

KEY = b"0123456789abcdef0123456789abcdef"
REPORT = "Dr. Jane Roe saw exam ACC-0042. Left node, SUVmax 8.0, slice 13, was 6.1 on 03/14/2023."


def hashing(tmp_path: Path, key: bytes = KEY, **settings: bool) -> Deidentifier:
    return Deidentifier(PrivacySettings(hash_ids=True, **settings), Pseudonyms(key), tmp_path / "home.links")


def write_cohort(folder: Path, report: str = REPORT) -> Path:
    (folder / "exams" / "ACC-0042").mkdir(parents=True)
    (folder / "exams" / "ACC-0042" / "SUV.nii.gz").write_bytes(b"image")
    with (folder / "reports.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([["exam_id", "patient_id", "findings"], ["ACC-0042", "MRN-77", report]])
        rows.writerow(["ACC-0043", "MRN-77", "Nothing."])
    return folder


class TestPseudonyms:
    def test_are_equal_for_equal_ids_and_differ_by_key_and_kind(self) -> None:
        one, other = Pseudonyms(KEY), Pseudonyms(KEY[::-1])
        assert one.patient("P1") == one.patient("P1")
        assert len({one.patient("P1"), one.patient("P2"), other.patient("P1"), one.exam("P1")}) == 4

    def test_do_not_show_the_key(self) -> None:
        assert KEY.decode() not in repr(Pseudonyms(KEY))


class TestObservation:
    def test_lets_ids_and_texts_through_and_counts_by_default(self, tmp_path: Path) -> None:
        observe_cohort(write_cohort(tmp_path / "cohort"), tmp_path / "home" / "manifest")
        entry = read_whole_manifest(tmp_path / "home" / "manifest")[0]
        assert (entry.exam_id, entry.patient_id, entry.report) == ("ACC-0042", "MRN-77", REPORT)
        assert entry.identifiers == {"date": 1, "name": 1, "record id": 1}

    def test_masks_without_moving_a_character(self, tmp_path: Path) -> None:
        manifest = tmp_path / "home" / "manifest"
        observe_cohort(write_cohort(tmp_path / "cohort"), manifest, Deidentifier(PrivacySettings(mask_reports=True)))
        report = read_whole_manifest(manifest)[0].report
        assert report == "Dr. Xxxx Xxx saw exam XXX-0000. Left node, SUVmax 8.0, slice 13, was 6.1 on 00/00/2023."
        assert len(report) == len(REPORT)

    def test_masks_the_names_that_the_exams_own_images_give(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Other images with another name are another text, and a new look at the report that did not change."""
        cohort = write_cohort(tmp_path / "cohort", "Uptake of Stone is stable, Rivers is well.")
        manifest, deidentifier = tmp_path / "home" / "manifest", Deidentifier(PrivacySettings(mask_reports=True))
        seen = []
        for name in ("Stone", "Rivers", "Rivers"):
            monkeypatch.setattr(cohort_module, "names_in_folder", lambda _, name=name: frozenset({name}))
            (cohort / "exams" / "ACC-0042" / "SUV.nii.gz").write_bytes(name.encode())
            observe_cohort(cohort, manifest, deidentifier)
            entry = read_whole_manifest(manifest)[0]
            assert entry.identifiers == {"name": 1}
            seen.append((entry.report, entry.report_fingerprint))
        assert [report for report, _ in seen[:2]] == [
            "Uptake of Xxxxx is stable, Rivers is well.",
            "Uptake of Stone is stable, Xxxxxx is well.",
        ]
        assert seen[0][1] != seen[1][1]
        assert seen[1] == seen[2]
        assert "Rivers" not in "".join(p.read_text() for p in manifest.glob("*.json")).replace("Rivers is well", "")

    def test_hashes_ids_everywhere_and_links_to_the_folders(self, tmp_path: Path) -> None:
        manifest = tmp_path / "home" / "manifest"
        observe_cohort(write_cohort(tmp_path / "cohort"), manifest, hashing(tmp_path))
        first, second = sorted(read_whole_manifest(manifest), key=lambda e: e.folder is None)
        assert first.patient_id == second.patient_id
        assert first.folder == str(tmp_path / "home.links" / first.exam_id)
        assert (Path(first.folder) / "SUV.nii.gz").read_bytes() == b"image"
        written = b"".join(p.read_bytes() for p in (tmp_path / "home").rglob("*") if p.is_file())
        assert [word for word in (b"ACC-0042", b"MRN-77", KEY) if word in written] == []

    def test_leaves_shard_and_split_of_a_patient_where_they_are(self, tmp_path: Path) -> None:
        cohort, manifest = write_cohort(tmp_path / "cohort"), tmp_path / "home" / "manifest"
        observe_cohort(cohort, manifest, hashing(tmp_path))
        before = {(e.exam_id, e.patient_id, e.shard, split_of(e.patient_id)) for e in read_whole_manifest(manifest)}
        with (cohort / "reports.csv").open("a") as file:
            file.write("ACC-0044,MRN-78,None.\n")
        observe_cohort(cohort, manifest, hashing(tmp_path))
        assert before < {
            (e.exam_id, e.patient_id, e.shard, split_of(e.patient_id)) for e in read_whole_manifest(manifest)
        }

    def test_removes_the_link_of_an_exam_that_left(self, tmp_path: Path) -> None:
        cohort, manifest = write_cohort(tmp_path / "cohort"), tmp_path / "home" / "manifest"
        observe_cohort(cohort, manifest, hashing(tmp_path))
        (cohort / "exams" / "ACC-0042" / "SUV.nii.gz").unlink()
        (cohort / "exams" / "ACC-0042").rmdir()
        observe_cohort(cohort, manifest, hashing(tmp_path))
        assert list((tmp_path / "home.links").iterdir()) == []

    def test_scans_a_report_again_only_when_it_changed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        cohort, manifest = write_cohort(tmp_path / "cohort"), tmp_path / "home" / "manifest"
        scanned: list[str] = []
        report = Deidentifier.report
        monkeypatch.setattr(
            Deidentifier, "report", lambda self, text, *a: scanned.append(text) or report(self, text, *a)
        )
        observe_cohort(cohort, manifest)
        observe_cohort(cohort, manifest)
        assert scanned == [REPORT, "Nothing."]
        observe_cohort(cohort, manifest, Deidentifier(PrivacySettings(mask_reports=True)))
        assert len(scanned) == 4


class TestStudyDate:
    MASKED = Deidentifier(PrivacySettings(mask_reports=True), secret=b"drawn")

    def test_stays_where_reports_are_not_masked(self, tmp_path: Path) -> None:
        assert NO_DEIDENTIFICATION.study_date("14.03.2023", "P1") == "14.03.2023"
        assert hashing(tmp_path).study_date("14.03.2023", "P1") == "14.03.2023"

    def test_is_moved_by_one_number_a_patient(self) -> None:
        days = self.MASKED.days_back("P1")
        assert days is not None
        assert self.MASKED.study_date("14.03.2023", "P1") == (date(2023, 3, 14) - timedelta(days)).isoformat()
        assert self.MASKED.days_back("P2") != days

    def test_is_hidden_where_it_is_no_date_or_there_is_no_secret(self) -> None:
        assert self.MASKED.study_date("seen by Miller", "P1") is None
        assert Deidentifier(PrivacySettings(mask_reports=True)).study_date("14.03.2023", "P1") is None

    def test_is_moved_by_the_key_where_there_is_one(self, tmp_path: Path) -> None:
        with_key = hashing(tmp_path, mask_reports=True)
        assert with_key.days_back("P1") != self.MASKED.days_back("P1")

    def test_is_moved_by_a_secret_beside_the_home_that_is_drawn_once(self, tmp_path: Path) -> None:
        home = Home(tmp_path / "home")
        assert open_secret(home) == open_secret(home) != open_secret(Home(tmp_path / "other"))
        assert home.secret.stat().st_mode & 0o077 == 0
        assert not home.secret.is_relative_to(home.root)


class TestTracer:
    @pytest.mark.parametrize(
        ("value", "goes_on"),
        [
            ("FDG", "FDG"),
            ("18F-FDG for Zebrowski", "18F-FDG for"),
            ("Zebrowski", None),
            (None, None),
            ("Ga-68 PSMA", "Ga-68 PSMA"),
        ],
    )
    def test_keeps_words_of_radiopharmaceuticals_where_reports_are_masked(
        self, value: str | None, goes_on: str | None
    ) -> None:
        assert Deidentifier(PrivacySettings(mask_reports=True)).tracer(value) == goes_on
        assert NO_DEIDENTIFICATION.tracer(value) == value


class TestMaskedReports:
    def test_have_their_dates_moved_with_the_column(self, tmp_path: Path) -> None:
        manifest, secret = tmp_path / "home" / "manifest", b"drawn"
        deidentifier = Deidentifier(PrivacySettings(mask_reports=True), secret=secret)
        observe_cohort(write_cohort(tmp_path / "cohort"), manifest, deidentifier)
        entry = read_whole_manifest(manifest)[0]
        days = deidentifier.days_back(entry.patient_id)
        assert days is not None
        assert f"on {date(2023, 3, 14) - timedelta(days):%m/%d/%Y}." in entry.report

    def test_have_their_corrections_masked(self, tmp_path: Path) -> None:
        cohort, manifest = write_cohort(tmp_path / "cohort"), tmp_path / "home" / "manifest"
        (cohort / "corrections.csv").write_text(
            "finding,field,value,who,when\n"
            "ACC-0042:0123abcd,text,Node seen by Dr. Okonkwo,reader 1,2026-01-31\n"
            "ACC-0042:0123abcd,slice,asked Dr. Okonkwo,reader 1,2026-01-31\n"
        )
        observe_cohort(cohort, manifest, Deidentifier(PrivacySettings(mask_reports=True), secret=b"drawn"))
        written = "".join(p.read_text() for p in manifest.rglob("*.json"))
        assert "Okonkwo" not in written
        assert "Node seen by Dr. Xxxxxxx" in written
        assert "expected a whole number" in written

    def test_are_masked_again_under_another_secret(self, tmp_path: Path) -> None:
        cohort, manifest = write_cohort(tmp_path / "cohort"), tmp_path / "home" / "manifest"
        texts = []
        for secret in (b"drawn", b"drawn again"):
            observe_cohort(cohort, manifest, Deidentifier(PrivacySettings(mask_reports=True), secret=secret))
            texts.append(read_whole_manifest(manifest)[0].report)
        assert texts[0] != texts[1]


class TestRefusals:
    def test_hashed_ids_without_a_key(self) -> None:
        with pytest.raises(PrivacyError, match=r"expected a key, for hash_ids is on.*PETAR_ID_KEY_FILE"):
            Deidentifier(PrivacySettings(hash_ids=True))

    def test_another_key_than_the_home_was_curated_with(self, tmp_path: Path) -> None:
        cohort, manifest = write_cohort(tmp_path / "cohort"), tmp_path / "home" / "manifest"
        observe_cohort(cohort, manifest, hashing(tmp_path))
        before = {p: p.read_bytes() for p in manifest.iterdir()}
        with pytest.raises(PrivacyError, match="expected the key that"):
            observe_cohort(cohort, manifest, hashing(tmp_path, KEY[::-1]))
        assert {p: p.read_bytes() for p in manifest.iterdir()} == before

    @pytest.mark.parametrize("hashed_first", [True, False])
    def test_plain_beside_hashed_ids(self, tmp_path: Path, hashed_first: bool) -> None:
        cohort, manifest = write_cohort(tmp_path / "cohort"), tmp_path / "home" / "manifest"
        first, second = (hashing(tmp_path), NO_DEIDENTIFICATION)[:: 1 if hashed_first else -1]
        observe_cohort(cohort, manifest, first)
        with pytest.raises(PrivacyError, match="into a new PETAR_HOME"):
            observe_cohort(cohort, manifest, second)


class TestKey:
    def test_comes_from_a_variable_or_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "key").write_bytes(KEY + b"\n")
        home = tmp_path / "home"
        assert read_key({"PETAR_ID_KEY_FILE": str(tmp_path / "key")}, Home(home)) == KEY
        assert read_key({"PETAR_ID_KEY": KEY.decode()}, Home(home)) == KEY
        assert read_key({}, Home(home)) is None

    def test_too_short(self, tmp_path: Path) -> None:
        with pytest.raises(PrivacyError, match="at least 16 characters, got 6"):
            read_key({"PETAR_ID_KEY": "secret"}, Home(tmp_path))

    def test_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(PrivacyError, match="No such file"):
            read_key({"PETAR_ID_KEY_FILE": str(tmp_path / "none")}, Home(tmp_path / "home"))

    def test_file_inside_the_home(self, tmp_path: Path) -> None:
        (tmp_path / "key").write_bytes(KEY)
        with pytest.raises(PrivacyError, match="outside of"):
            read_key({"PETAR_ID_KEY_FILE": str(tmp_path / "key")}, Home(tmp_path))
