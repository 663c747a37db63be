import numpy as np
import polars as pl
import pytest

from model.inputs.anatomy_questions import QUESTIONS, anatomy_samples, answer_of, structures
from pipelines.dataset.samples import parse
from pipelines.imaging.organ_labels import CLASSES
from pipelines.imaging.volume import Volume, save_nifti
from pipelines.tables import schemas
from pipelines.tables.home import Home

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


class TestClasses:
    # Label values of TotalSegmentator v2, task `total`.
    @pytest.mark.parametrize(
        ("label", "name"),
        [(1, "spleen"), (2, "kidney_right"), (5, "liver"), (21, "urinary_bladder"), (25, "sacrum"),
         (27, "vertebrae_L5"), (50, "vertebrae_C1"),
         (51, "heart"), (69, "humerus_left"), (78, "hip_right"),
         (90, "brain"), (92, "rib_left_1"), (115, "rib_right_12"), (117, "costal_cartilages")],
    )  # fmt: skip
    def test_has_totalsegmentators_values(self, label, name):
        assert CLASSES[label] == name

    def test_has_117_different_ones(self):
        assert len(set(CLASSES.values())) == 117

    def test_every_side_in_a_class_name_is_the_structures(self):
        for structure in structures().values():
            for side in ("left", "right"):
                assert (side in structure.class_name.split("_")) == (structure.laterality == side)
                assert (side in structure.name) == (structure.laterality == side)

    def test_answers_are_all_different(self):
        assert len({answer_of(s) for s in structures().values()}) == 117

    def test_the_findings_question_is_answered_in_the_findings_form(self):
        left_lung = next(s for s in structures().values() if s.class_name == "lung_upper_lobe_left")
        assert parse(answer_of(left_lung, QUESTIONS[-1])) == {
            "region": "chest", "organ": "lung", "subsite": "upper lobe", "laterality": "left",
        }  # fmt: skip


@pytest.fixture
def exams(tmp_path):
    save_nifti(Volume(np.zeros((10, 10, 20), np.float32), AFFINE), tmp_path / "volumes/E1/SUV.nii")
    return pl.DataFrame(
        {
            "exam_id": ["E1"],
            "patient_id": ["P1"],
            "status": ["ok"],
            "suv_path": ["volumes/E1/SUV.nii"],
            "ct_path": [None],
        },
        schema_overrides={"ct_path": pl.String},
    )


def write_map(tmp_path, array, affine=AFFINE):
    return {"E1": save_nifti(Volume(array, affine), tmp_path / "TOTALSEG.nii.gz")}


class TestAnatomySamples:
    def test_makes_a_pair_for_each_structure_that_is_large_enough(self, exams, tmp_path):
        array = np.zeros((10, 10, 20), np.uint8)
        array[:4, :4, 5:9] = 5
        array[6:, 6:, 12:16] = 2
        array[5, 5, 5] = 1
        samples, problems = anatomy_samples(exams, write_map(tmp_path, array), Home(tmp_path))
        assert problems == {}
        assert dict(samples.select("organ", "laterality").rows()) == {"kidney": "right", "liver": None}
        good, bad = schemas.validate("samples", samples)
        assert len(good) == 2
        assert bad.is_empty()
        assert set(samples["question"]) <= set(QUESTIONS)

    def test_slice_counts_from_the_head(self, exams, tmp_path):
        array = np.zeros((10, 10, 20), np.uint8)
        array[:4, :4, 17:20] = 5
        samples, _ = anatomy_samples(exams, write_map(tmp_path, array), Home(tmp_path))
        assert samples["slice"].to_list() == [2]

    def test_map_of_a_finer_grid_serves(self, exams, tmp_path):
        array = np.zeros((20, 20, 40), np.int16)
        array[:8, :8, 10:18] = 5
        affine = np.diag([2.0, 2.0, 2.0, 1.0])
        affine[:3, 3] = -1
        samples, problems = anatomy_samples(exams, write_map(tmp_path, array, affine), Home(tmp_path))
        assert samples["mask_label"].to_list() == [5]
        assert problems == {}

    def test_unknown_label_is_told_and_left_out(self, exams, tmp_path):
        array = np.zeros((10, 10, 20), np.uint8)
        array[:4, :4, 5:9] = 5
        array[6:, 6:, 5:9] = 200
        samples, problems = anatomy_samples(exams, write_map(tmp_path, array), Home(tmp_path))
        assert samples["mask_label"].to_list() == [5]
        assert "200" in problems["E1"]

    def test_missing_map_is_told_with_its_exam(self, exams, tmp_path):
        samples, problems = anatomy_samples(exams, {"E1": tmp_path / "none.nii.gz"}, Home(tmp_path))
        assert samples.is_empty()
        assert "E1" in problems["E1"]

    def test_fractions_are_refused(self, exams, tmp_path):
        samples, problems = anatomy_samples(
            exams, write_map(tmp_path, np.full((10, 10, 20), 1.5, np.float32)), Home(tmp_path)
        )
        assert samples.is_empty()
        assert "fractions" in problems["E1"]
