"""Scores of phantom cohorts: each reported lesion gets its fate, and nothing accepted is counted twice."""

import json
from pathlib import Path

import duckdb
import nibabel
import numpy as np
import pytest

from benchmarks.phantom_scores import joined, score

HEAD = "exam_id,slice,suvmax_reported,outcome,peak_ras_mm,mask,lesion_id,volume_ml,touches,necrotic,organ\n"
AS_DOUBLE = "replace (suvmax_reported::double as suvmax_reported)"


def save_mask(path: Path, start_mm: float, n: int) -> None:
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = start_mm
    path.parent.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.ones((n, n, n), np.uint8), affine), path)


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    folder = tmp_path / "cohort"
    folder.mkdir()
    rows = [
        "E1,10,5.0,lesion,10 10 10,a,one,1.0,,False,lung",
        "E1,20,6.0,lesion,50 50 50,a,two,150,one,True,lung",
        "E1,30,7.0,lesion,90 90 90,a,three,20,,False,lung",
        "E1,40,8.0,lesion,95 95 95,a,four,20,,False,",
        "E1,50,9.0,not in the image,,,,,,,",
    ]
    (folder / "truth.csv").write_text(HEAD + "\n".join(rows) + "\n")
    save_mask(folder / "truth" / "a.nii.gz", 10, 4)
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    save_mask(folder / "masks" / "one.nii.gz", 12, 3)
    candidates = json.dumps([{"x_mm": 0, "y_mm": 0, "z_mm": 0}, {"x_mm": 92, "y_mm": 90, "z_mm": 91}])
    with duckdb.connect(str(folder / "petar.duckdb")) as db:
        db.execute(f"""create table lesions as select * {AS_DOUBLE} from (values
            ('E1', 10, 5.0, 10.0, 11.0, 10.0, 'masks/one.nii.gz'),
            ('E1', 20, 6.0, 80.0, 50.0, 50.0, null),
            ('E1', 50, 9.0, 0.0, 0.0, 0.0, null)
            ) t(exam_id, slice, suvmax_reported, peak_x_mm, peak_y_mm, peak_z_mm, mask_path)""")
        db.execute(
            f"""create table findings as select * {AS_DOUBLE} from (values
            ('E1', 30, 7.0, 'ambiguous', ?), ('E1', 10, 5.0, 'lesion', null)
            ) t(exam_id, slice, suvmax_reported, outcome, candidates)""",
            [candidates],
        )
    return folder


def test_each_reported_lesion_has_its_fate(home, cohort):
    found = score(home, cohort)
    assert [f.how for f in found.fates] == ["located", "elsewhere", "candidate", "not read"]
    assert found.share("located") == 0.25
    assert found.share("located", "candidate") == 0.5


def test_what_is_accepted_and_not_right_is_wrong(home, cohort):
    found = score(home, cohort)
    assert (found.n_accepted, len(found.wrong)) == (3, 2)
    assert joined([found, found]).wrongly == pytest.approx(2 / 3)


def test_dice_of_boxes_is_that_of_their_voxels_and_0_where_lost(home, cohort):
    found = score(home, cohort)
    assert found.dices == pytest.approx([2 * 27 / (27 + 64), 0, 0])
    assert found.fates[0].volume_ratio == pytest.approx(27 / 64)


def test_kinds_tell_size_chain_necrosis_and_what_is_no_lesion(home, cohort):
    kinds = [f.reported.kinds for f in score(home, cohort).fates]
    assert kinds == [("under 2 mL", "chain"), ("over 100 mL", "chain", "necrotic"), ("2 to 100 mL",), ("physiologic",)]
