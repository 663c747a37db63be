"""Names of given masks where nothing is to name anybody."""

from pathlib import Path

from pipelines.cohort.given_masks import hidden_name, mask_file


def test_a_mask_named_after_its_patient_is_found_by_its_place(tmp_path: Path) -> None:
    for name in ("CT.nii.gz", "Zebrowski_Quentin.nii.gz", "SUV.nii.gz"):
        (tmp_path / name).touch()
    entry = hidden_name("Zebrowski_Quentin.nii.gz", tmp_path)
    assert "Zebrowski" not in str(entry)
    assert mask_file(tmp_path, entry["mask"]) == tmp_path / "Zebrowski_Quentin.nii.gz"
    (tmp_path / "AC.nii.gz").touch()
    assert hidden_name("Zebrowski_Quentin.nii.gz", tmp_path)["mask_id"] == entry["mask_id"]


def test_a_name_of_technical_words_stays(tmp_path: Path) -> None:
    assert hidden_name("SEG.nii.gz", tmp_path) == {}
    assert mask_file(tmp_path, "SEG.nii.gz") == tmp_path / "SEG.nii.gz"


def test_of_a_mask_that_is_not_there_no_name_is_kept(tmp_path: Path) -> None:
    entry = hidden_name("Zebrowski.nii.gz", tmp_path)
    assert "Zebrowski" not in str(entry)
    assert not mask_file(tmp_path, entry["mask"]).exists()
