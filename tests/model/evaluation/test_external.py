"""An external set in autoPET's layout, written by a phantom: components become lesions with texts and review pages."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from model.evaluation.external import update_external
from model.petar.checkpoints import Contract, build_model, save_checkpoint
from pipelines.dataset.external_set import components, external_folders, read_external
from pipelines.imaging.volume import Volume, load_nifti, save_nifti
from pipelines.tables import schemas
from pipelines.tables.home import Home

AFFINE = np.array([[4.0, 0, 0, -46.0], [0, 4.0, 0, -38.0], [0, 0, 4.0, -700.0], [0, 0, 0, 1]])
SHAPE = (24, 20, 40)


def write_exam(folder: Path, lesions: int = 2, *, ct: bool = True, seg: bool = True) -> None:
    """Folder `<patient>/<study>` as autoPET has it, with its other files too; the label of the lesions is 1."""
    rng = np.random.default_rng(len(str(folder)))
    suv = rng.uniform(0, 1, SHAPE).astype(np.float32)
    labels = np.zeros(SHAPE, np.uint8)
    for n in range(lesions):
        box = (slice(4, 7 - n), slice(6, 9), slice(8 + 9 * n, 11 + 9 * n))
        suv[box] = 6 + n
        labels[box] = 1
    labels[20, 15, 35] = 1  # One voxel, 0.064 mL.
    save_nifti(Volume(suv, AFFINE), folder / "SUV.nii.gz")
    save_nifti(Volume(suv * 3000, AFFINE), folder / "PET.nii.gz")
    if seg:
        save_nifti(Volume(labels, AFFINE), folder / "SEG.nii.gz")
    if ct:
        save_nifti(Volume(np.where(suv > 0.1, 40, -1000).astype(np.int16), AFFINE), folder / "CTres.nii.gz")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "autopet"
    write_exam(root / "PETCT_01" / "study-a")
    write_exam(root / "PETCT_02" / "study-a", 1, ct=False)
    write_exam(root / "PETCT_03" / "study-a", seg=False)
    write_exam(root / "PETCT_04" / "study-a", 0)
    (root / "PETCT_05").mkdir()
    (root / "PETCT_05" / "SUV.nii.gz").write_bytes(b"broken")
    shutil.copy(root / "PETCT_01" / "study-a" / "SEG.nii.gz", root / "PETCT_05")
    return root


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def checkpoint(tmp_path: Path, micro, tokenizer) -> Path:
    save_checkpoint(tmp_path / "checkpoint", build_model(micro, tokenizer), tokenizer, Contract(micro))
    return tmp_path / "checkpoint"


class TestReadExternal:
    def test_components_are_lesions_the_largest_first(self, root: Path, home: Home) -> None:
        folder = root / "PETCT_01" / "study-a"
        exam = read_external("PETCT_01-study-a", folder, root, home, home.external, 0.2)
        assert [(r["lesion_id"], r["suvmax"]) for r in exam.rows] == [
            ("PETCT_01-study-a:1", 6.0),
            ("PETCT_01-study-a:2", 7.0),
        ]
        first = exam.rows[0]
        assert first["mtv_ml"] == pytest.approx(27 * 0.064)
        assert first["patient_id"] == "PETCT_01"
        assert first["slice"] == SHAPE[2] - first["slice_k"]
        assert exam.problems == ("exam PETCT_01-study-a: 1 components under 0.2 mL left out",)

    def test_mask_lies_where_the_label_was(self, root: Path, home: Home) -> None:
        folder = root / "PETCT_01" / "study-a"
        exam = read_external("x", folder, root, home, home.external, 0.2)
        mask = load_nifti(home.root / exam.rows[1]["mask_path"])
        corner = load_nifti(home.root / exam.rows[1]["suv_path"]).to_ijk(mask.affine[:3, 3])
        assert np.rint(corner).tolist() == [4, 6, 17]
        assert mask.shape == (2, 3, 3)


class TestComponents:
    def test_touching_by_a_corner_is_one(self) -> None:
        mask = np.zeros((4, 4, 4), bool)
        mask[0, 0, 0] = mask[1, 1, 1] = mask[3, 3, 3] = True
        found, too_small = components(mask, 1.0, 2.0)
        assert ([int(part.sum()) for _, part in found], too_small) == ([2], 1)


class TestUpdateExternal:
    def test_every_lesion_gets_a_text_and_every_problem_is_told(self, root, home, checkpoint) -> None:
        report = update_external(home, root, checkpoint, "micro")
        assert report.frame["lesion_id"].to_list() == [
            "PETCT_01-study-a:1",
            "PETCT_01-study-a:2",
            "PETCT_02-study-a:1",
        ]
        assert report.frame["text"].null_count() == 0
        assert schemas.validate("external", report.frame)[1].is_empty()
        told = "\n".join(report.problems)
        assert "PETCT_03-study-a: expected SEG.nii.gz" in told
        assert "PETCT_04-study-a: no lesion" in told
        assert "exam PETCT_05: SUV.nii.gz is cut short" in told or "exam PETCT_05: SUV.nii.gz: expected a NIfTI" in told
        assert "PETCT_02-study-a: no CT" in told

    def test_review_pages_show_the_texts(self, root, home, checkpoint) -> None:
        report = update_external(home, root, checkpoint, "micro")
        assert report.gallery is not None
        assert (report.gallery.n_lesions, report.gallery.without_picture) == (3, {})
        page = (report.gallery.index.parent / "data.js").read_text()
        assert "PETCT_01-study-a:1" in page

    def test_only_what_changed_is_read_again(self, root, home, checkpoint) -> None:
        update_external(home, root, checkpoint, "micro")
        assert update_external(home, root, checkpoint, "micro").recomputed == 0
        write_exam(root / "PETCT_06" / "study-b", 1)
        shutil.rmtree(root / "PETCT_01")
        report = update_external(home, root, checkpoint, "micro")
        assert (report.recomputed, report.reused) == (1, 4)
        assert sorted(set(report.frame["patient_id"])) == ["PETCT_02", "PETCT_06"]
        assert not (home.external / "masks" / "PETCT_01-study-a").exists()

    def test_folder_that_is_not_there(self, home, checkpoint, tmp_path) -> None:
        with pytest.raises(FileNotFoundError, match="correct `external`"):
            update_external(home, tmp_path / "nowhere", checkpoint, "micro")

    def test_folder_without_exams(self, home, checkpoint, tmp_path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(FileNotFoundError, match="got none"):
            update_external(home, tmp_path / "empty", checkpoint, "micro")


class TestExternalFolders:
    def test_ids_are_folders_joined(self, root: Path) -> None:
        assert list(external_folders(root))[:2] == ["PETCT_01-study-a", "PETCT_02-study-a"]
