"""Hard cases through the whole curation: what a physician would take each sentence for, from report to table."""

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from pipelines.cohort.manifest import observe_cohort
from pipelines.curation.convention_trial import better_convention
from pipelines.curation.run import TABLES, open_curation, run_stage
from pipelines.imaging.volume import Volume, save_nifti
from pipelines.reports.llm.readers_file import load_readers
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from pipelines.tables.shards import shard_of

READERS = load_readers()
SHAPE, SPACING_MM = (100, 80, 30), 4.0
RIGHT, LEFT, SPINE, STERNUM = (70, 30), (25, 45), (50, 26), (50, 58)
K = 14
"""Slice of all lesions, number 16 from the head."""

CASES = {
    "values": (
        [(RIGHT, 8.1), (LEFT, 8.0)],
        {"A rib lesion with SUV max of 8.1 (slice 16).": RIGHT, "A lung nodule with SUV max of 8.0 (slice 16).": LEFT},
    ),
    "sides": (
        [(RIGHT, 8.0), (LEFT, 8.0)],
        {
            "A right lung nodule with SUV max of 8.0 (slice 16).": RIGHT,
            "A left breast mass with SUV max of 8.0 (slice 16).": LEFT,
        },
    ),
    "places": (
        [(SPINE, 8.0), (STERNUM, 8.0)],
        {"A lytic lesion of the T6 vertebral body with SUV max of 8.0 (slice 16).": SPINE},
    ),
    "nothing": ([(RIGHT, 8.0), (LEFT, 8.0)], {"A lung nodule with SUV max of 8.0 (slice 16).": "ambiguous"}),
    "outside": (
        [(RIGHT, 8.0)],
        {
            "A right lung nodule with SUV max of 8.0 (slice 31).": "slice outside the image",
            "A right hilar node with SUV max of 8.0 (slice 3).": "not in the image",
        },
    ),
}
"""Exam -> its lesions (voxel, SUVmax), and each sentence with the lesion or the outcome that it must have."""


def body(lesions: list[tuple[tuple[int, int], float]]) -> Volume:
    """A body of SUV 1 with blurred lesions on slice K."""
    array = np.full(SHAPE, 0.01, dtype=np.float32)
    array[8:92, 14:66] = 1.0
    for (i, j), suvmax in lesions:
        focus = np.zeros(SHAPE, dtype=np.float32)
        focus[i - 2 : i + 3, j - 2 : j + 3, K - 2 : K + 3] = 1.0
        focus = gaussian_filter(focus, 1.0)
        array += (suvmax - 1.0) * focus / focus.max()
    affine = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])
    affine[:3, 3] = (-198.0, -158.0, -58.0)
    return Volume(array, affine)


def curate(tmp_path: Path, exams: dict[str, Volume], texts: dict[str, str]) -> Home:
    cohort, home = tmp_path / "cohort", Home(tmp_path / "home")
    for exam_id, volume in exams.items():
        save_nifti(volume, cohort / "exams" / exam_id / "SUV.nii.gz")
    with (cohort / "reports.csv").open("w", newline="") as file:
        rows = [(exam_id, "P", text) for exam_id, text in texts.items()]
        csv.writer(file).writerows([("exam_id", "patient_id", "findings"), *rows])
    observe_cohort(cohort, home.manifest)
    curation = open_curation(home)
    for table in TABLES:
        run_stage(curation, table, shard_of("P"))
    return home


def test_each_sentence_becomes_the_lesion_that_it_means_or_a_reason(tmp_path: Path) -> None:
    home = curate(
        tmp_path,
        {exam_id: body(lesions) for exam_id, (lesions, _) in CASES.items()},
        {exam_id: " ".join(sentences) for exam_id, (_, sentences) in CASES.items()},
    )
    rows = Lake(home.lake).read_table("lesions").iter_rows(named=True)
    found = {(row["exam_id"], row["sentence"]): row for row in rows}
    expected = {(exam, text): meant for exam, (_, texts) in CASES.items() for text, meant in texts.items()}
    assert set(found) == set(expected)
    for key, meant in expected.items():
        row = found[key]
        if isinstance(meant, str):
            assert row["outcome"] == meant, (key, row["explanation"])
        else:
            assert (row["outcome"], row["peak_i"], row["peak_j"], row["peak_k"]) == ("lesion", *meant, K), key


@pytest.mark.parametrize(("slice_", "advice"), [(25, None), (24, "base = 0"), (15, 'origin = "feet"')])
def test_another_way_of_counting_is_told(tmp_path: Path, slice_: int, advice: str | None) -> None:
    short = body([(RIGHT, 8.0)])
    volume = Volume(np.concatenate([short.array, short.array[:, :, -9:]], axis=2), short.affine)
    home = curate(tmp_path, {"E1": volume}, {"E1": f"A right lung nodule with SUV max of 8.0 (slice {slice_})."})
    told = better_convention(open_curation(home))
    assert (told is None) if advice is None else advice in told
