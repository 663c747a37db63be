"""Identifiers of DICOM headers: which values count, and texts without them."""

from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from pipelines.cohort.privacy.header_identifiers import header_identifiers, names_in_folder, scrub


def header(**values: str) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


class TestHeaderIdentifiers:
    def test_are_names_in_parts_numbers_places_and_dates(self) -> None:
        values = {"PatientName": "Smith^John", "PatientID": "H-1234", "StudyDate": "20190611", "StationName": "PT11"}
        found = header_identifiers([[header(**values)]])
        assert found == {"Smith^John", "Smith", "John", "H-1234", "20190611", "PT11"}

    def test_are_found_in_sequences(self) -> None:
        outer = header()
        outer.RequestAttributesSequence = [header(RequestedProcedureID="RP-991")]
        assert header_identifiers([[outer]]) == {"RP-991"}

    def test_are_those_of_every_file_where_patients_are_mixed(self) -> None:
        files = [header(PatientName="Roe^Jane"), header(PatientName="Doe^Jim", PatientID="H-2")]
        assert {"Roe", "Jane", "Doe", "Jim", "H-2"} <= header_identifiers([files])

    @pytest.mark.parametrize("name", ["PET^PHANTOM", "Anonymous", "", "X"])
    def test_are_no_words_of_any_series(self, name: str) -> None:
        assert not header_identifiers([[header(PatientName=name)]]) - {"PET^PHANTOM"}


def write_dicom(path: Path, **values: str) -> None:
    dataset = header(SOPClassUID=CTImageStorage, SOPInstanceUID="1.2.3", **values)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


class TestNamesInFolder:
    def test_are_those_of_the_people_around_the_exam_in_parts(self, tmp_path: Path) -> None:
        write_dicom(tmp_path / "a" / "1.dcm", PatientName="Smith^John", OperatorsName="Roe", StationName="PT11")
        assert names_in_folder(tmp_path) == {"Smith^John", "Smith", "John", "Roe"}

    def test_other_files_are_passed_over(self, tmp_path: Path) -> None:
        (tmp_path / "README").write_text("no DICOM")
        (tmp_path / "SUV.nii.gz").write_bytes(b"x")
        write_dicom(tmp_path / "b.dcm", PatientName="Smith^John")
        assert "Smith" in names_in_folder(tmp_path)

    def test_of_images_without_headers_are_none(self, tmp_path: Path) -> None:
        (tmp_path / "SUV.nii.gz").write_bytes(b"x")
        assert names_in_folder(tmp_path) == frozenset()


class TestScrub:
    def test_removes_values_as_words_in_any_case(self) -> None:
        text = "PET WB SMITH_JOHN h-1234 smithsonian"
        assert scrub(text, ["Smith", "John", "H-1234"]) == "PET WB [removed]_[removed] [removed] smithsonian"

    def test_removes_uids_and_what_report_texts_are_masked_for(self) -> None:
        assert scrub("of 1.2.840.113619.2.55.3 seen by Dr. Roe", ()) == "of [removed] seen by Dr. Xxx"

    def test_leaves_other_texts_as_they_are(self) -> None:
        text = "picked WB 3D MAC (217 files) of 2 PET series; set aside NAC: not attenuation-corrected"
        assert scrub(text, ["Smith", "20190611"]) == text
