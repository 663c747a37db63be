"""The gallery on disk: what is in it, what is drawn again, what a finding's page is told."""

import json
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.imaging.volume import Volume
from pipelines.review.finding_pictures import nearest_slice_k
from pipelines.review.gallery import (
    GallerySettings,
    GallerySummary,
    GalleryTables,
    draw_sample,
    flags_of,
    marked_sentence,
    size_class,
    write_gallery,
)
from pipelines.review.quality_checks import CheckResult
from pipelines.tables.home import Home

AFFINE = np.diag([4.0, 4.0, 5.0, 1.0])
SENTENCES = {
    "E1:aa": "Nodule in the left lung, SUV max 7.2 (slice 12).",
    "E1:bb": "Mass in the right lobe <script>alert(1)</script>, SUV max 9.0 (slice 20).",
    "E1:cc": "Left adrenal nodule, SUV max 23.6 (slice 8).",
    "E1:dd": "Several nodes with SUV max 3.1 to 5.2 (slice 9).",
}


def tables(home: Path) -> dict[str, pl.DataFrame]:
    """A curation of one exam: two lesions, one finding that is not in the image, one rejected by its text."""
    rng = np.random.default_rng(0)
    suv = rng.uniform(0.5, 1, (40, 36, 32)).astype(np.float32)
    (home / "volumes" / "E1").mkdir(parents=True)
    (home / "masks" / "E1").mkdir(parents=True)
    places = {"E1:aa": (12, 18, 20), "E1:bb": (28, 18, 12)}
    for finding_id, (i, j, k) in places.items():
        suv[i - 2 : i + 2, j - 2 : j + 2, k - 2 : k + 2] = 8.0
        affine = AFFINE.copy()
        affine[:3, 3] = AFFINE[:3, :3] @ [i - 2, j - 2, k - 2]
        nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4), np.uint8), affine), home / mask_path(finding_id))
    nibabel.save(nibabel.Nifti1Image(suv, AFFINE), home / "volumes" / "E1" / "SUV.nii")
    common = {"exam_id": "E1", "patient_id": "P1", "row_key": "k1"}
    numbers = {"E1:aa": (12, 7.2), "E1:bb": (20, 9.0), "E1:cc": (8, 23.6), "E1:dd": (9, 3.1)}
    findings = pl.DataFrame(
        [
            {
                **common,
                "finding_id": f,
                "sentence_id": f,
                "sentence": sentence,
                "slice": numbers[f][0],
                "suvmax_reported": numbers[f][1],
                "outcome": "several lesions" if f == "E1:dd" else "accepted",
                "explanation": "a range" if f == "E1:dd" else None,
                "region": None if f == "E1:dd" else "chest",
                "organ": "lung",
            }
            for f, sentence in SENTENCES.items()
        ]
    )
    missed = "SUVmax 23.6 is not on slice 8"
    localisations = pl.DataFrame(
        [
            {
                **common,
                "finding_id": f,
                "outcome": "lesion" if f in places else "not in the image",
                "explanation": "by the published rule" if f in places else missed,
                "sentence": SENTENCES[f],
                "slice": numbers[f][0],
                "suvmax_reported": numbers[f][1],
                "slice_k": 32 - numbers[f][0],
                "suvmax": 8.0 if f in places else None,
                "mtv_ml": 5.12 if f in places else None,
                "mask_path": mask_path(f) if f in places else None,
                "nearest_suvmax_on_slice": None if f in places else 1.0,
                "nearest_slice_with_suvmax": None,
            }
            for f in ("E1:aa", "E1:bb", "E1:cc")
        ]
    )
    said = {"n_lesions": 1, "exam": "current", "role": "lesion", "error": None}
    readings = pl.DataFrame(
        [
            {"sentence_id": f, "reader": reader, "slice": numbers[f][0], "suvmax": numbers[f][1], **said}
            for f in SENTENCES
            for reader in ("rules", "other")
        ]
    )
    exams = pl.DataFrame([{"exam_id": "E1", "tracer": "FDG", "suv_path": "volumes/E1/SUV.nii", "ct_path": None}])
    return {"localisations": localisations, "findings": findings, "readings": readings, "exams": exams}


def mask_path(finding_id: str) -> str:
    return f"masks/E1/{finding_id.split(':')[1]}.nii.gz"


def write(
    home: Path, frames: dict[str, pl.DataFrame], flags: pl.DataFrame | None = None, **options: int
) -> GallerySummary:
    settings = GallerySettings(Home(home), "cur1", **options)
    return write_gallery(home / "review", GalleryTables(**frames, flags=flags), settings)


def entries(home: Path) -> dict[str, dict]:
    text = (home / "review" / "data.js").read_text()
    data = json.loads(text.removeprefix("const GALLERY = ").removesuffix(";\n"))
    return {e["id"]: e for e in data["entries"]}


@pytest.fixture
def frames(tmp_path: Path) -> dict[str, pl.DataFrame]:
    return tables(tmp_path)


class TestWriteGallery:
    def test_every_finding_has_its_page(self, tmp_path, frames):
        summary = write(tmp_path, frames)
        assert (summary.n_lesions, summary.n_rejected) == (2, 2)
        assert {e["id"]: e["outcome"] for e in entries(tmp_path).values()} == {
            "E1:aa": "lesion",
            "E1:bb": "lesion",
            "E1:cc": "not in the image",
            "E1:dd": "several lesions",
        }

    def test_what_the_images_were_asked_for_has_a_picture_and_a_thumbnail(self, tmp_path, frames):
        write(tmp_path, frames)
        shown = {e["id"]: e["picture"] for e in entries(tmp_path).values()}
        assert shown["E1:dd"] is None
        for finding_id in ("E1:aa", "E1:bb", "E1:cc"):
            for suffix in (".png", "-thumb.png"):
                assert (tmp_path / "review" / f"{shown[finding_id]}{suffix}").read_bytes().startswith(b"\x89PNG")

    def test_it_asks_for_nothing_from_a_network(self, tmp_path, frames):
        summary = write(tmp_path, frames)
        page = summary.index.read_text() + (tmp_path / "review" / "data.js").read_text()
        assert "http://" not in page
        assert "https://" not in page

    def test_a_second_call_draws_nothing(self, tmp_path, frames):
        first, second = write(tmp_path, frames), write(tmp_path, frames)
        assert (first.n_drawn, second.n_drawn, second.n_reused) == (3, 0, 3)

    def test_an_exam_made_anew_is_drawn_anew_and_its_old_pictures_go(self, tmp_path, frames):
        write(tmp_path, frames)
        keys = {name: f.with_columns(row_key=pl.lit("k2")) for name, f in frames.items() if "row_key" in f.columns}
        second = write(tmp_path, frames | keys)
        assert (second.n_drawn, second.n_removed) == (3, 6)

    def test_near_misses_are_told(self, tmp_path, frames):
        write(tmp_path, frames)
        entry = entries(tmp_path)["E1:cc"]
        assert entry["explanation"] == "SUVmax 23.6 is not on slice 8"
        assert entry["near"] == ["nearest maximum on slice 8: SUV 1.0"]

    def test_the_votes_of_all_readers_are_told(self, tmp_path, frames):
        write(tmp_path, frames)
        votes = entries(tmp_path)["E1:aa"]["votes"]
        assert [(v["reader"], v["slice"], v["suvmax"]) for v in votes] == [("rules", 12, 7.2), ("other", 12, 7.2)]

    def test_a_volume_that_is_gone_is_a_reason_and_the_page_is_made(self, tmp_path, frames):
        (tmp_path / "volumes" / "E1" / "SUV.nii").unlink()
        summary = write(tmp_path, frames)
        assert set(summary.without_picture) == {"E1:aa", "E1:bb", "E1:cc"}
        assert "exam E1 cannot be read" in entries(tmp_path)["E1:aa"]["no_picture"]

    def test_a_mask_that_is_gone_is_the_reason_of_one_page(self, tmp_path, frames):
        (tmp_path / mask_path("E1:aa")).unlink()
        summary = write(tmp_path, frames)
        assert set(summary.without_picture) == {"E1:aa"}
        assert summary.n_drawn == 2

    def test_the_view_of_lesions_will_do_where_the_near_misses_are_not_there(self, tmp_path, frames):
        view = frames["localisations"].filter(pl.col("outcome") == "lesion")
        view = view.drop("outcome", "nearest_suvmax_on_slice", "nearest_slice_with_suvmax")
        findings = frames["findings"].filter(pl.col("finding_id").is_in(view["finding_id"].implode()))
        write(tmp_path, frames | {"localisations": view, "findings": findings})
        assert {e["outcome"] for e in entries(tmp_path).values()} == {"lesion"}

    def test_flags_of_a_finding_and_of_its_exam_are_shown(self, tmp_path, frames):
        flags = pl.DataFrame(
            [("E1:aa", None, "laterality", "error", "says left"), (None, "E1", "suv_range", "warning", "over 1000")],
            schema=["finding_id", "exam_id", "check", "severity", "reason"],
            orient="row",
        )
        write(tmp_path, frames, flags)
        shown = {e["id"]: [f["check"] for f in e["flags"]] for e in entries(tmp_path).values()}
        assert shown["E1:aa"] == ["laterality", "suv_range"]
        assert shown["E1:bb"] == ["suv_range"]

    def test_only_the_sample_is_in_it(self, tmp_path, frames):
        summary = write(tmp_path, frames, n_lesions=1, n_rejected=1)
        assert (summary.n_lesions, summary.n_rejected) == (1, 1)
        assert len(entries(tmp_path)) == 2

    def test_an_empty_curation_gives_an_empty_gallery(self, tmp_path, frames):
        summary = write(tmp_path, {name: f.clear() for name, f in frames.items()})
        assert (summary.n_lesions, summary.n_rejected, entries(tmp_path)) == (0, 0, {})


class TestNearestSlice:
    @pytest.mark.parametrize("from_head", [True, False])
    def test_is_the_one_that_holds_the_value_however_the_report_counts(self, from_head: bool) -> None:
        array = np.ones((4, 4, 30), np.float32)
        near = 10 if from_head else 20
        array[1, 1, near] = 7.0
        row = {"slice": 16, "slice_k": 15, "nearest_slice_with_suvmax": 21, "suvmax_reported": 7.0}
        assert nearest_slice_k(row, Volume(array, np.eye(4))) == near

    def test_is_none_where_the_table_names_none(self) -> None:
        assert (
            nearest_slice_k(
                {"slice": 16, "slice_k": 15, "nearest_slice_with_suvmax": None}, Volume(np.ones((2, 2, 2)), np.eye(4))
            )
            is None
        )


class TestFlagsOf:
    def test_rows_of_checks_become_flags(self):
        bad = pl.DataFrame([{"finding_id": "E1:aa", "exam_id": "E1", "reason": "outside"}])
        result = CheckResult("border", False, "warning", 1, 9, bad, "Masks at the border")
        assert flags_of([result]).rows() == [("E1:aa", None, "border", "warning", "outside")]

    def test_a_check_without_a_reason_column_shows_its_values(self):
        bad = pl.DataFrame([{"exam_id": "E1", "suv_max": 2.0}])
        result = CheckResult("suv_range", False, "warning", 1, 9, bad, "")
        assert flags_of([result]).rows() == [(None, "E1", "suv_range", "warning", "suv_max 2.0")]


def population(n: int) -> pl.DataFrame:
    regions = ["chest"] * 6 + ["abdomen"] * 3 + ["head"]
    rows = [
        {"finding_id": f"E{i}:x", "region": regions[i % 10], "size": "small" if i % 4 else "large"} for i in range(n)
    ]
    return pl.DataFrame(rows, schema=["finding_id", "region", "size"])


class TestDrawSample:
    def test_all_are_taken_where_there_are_no_more(self):
        assert draw_sample(population(5), ("region",), 9, seed=0) == [f"E{i}:x" for i in range(5)]

    def test_strata_have_their_shares(self):
        chosen = draw_sample(population(1000), ("region",), 100, seed=0)
        region = dict(population(1000).select("finding_id", "region").iter_rows())
        assert Counter(region[c] for c in chosen) == {"chest": 60, "abdomen": 30, "head": 10}

    def test_another_seed_draws_others(self):
        assert draw_sample(population(100), ("region",), 20, 0) != draw_sample(population(100), ("region",), 20, 1)

    @settings(max_examples=40, deadline=None)
    @given(n=st.integers(1, 120), wanted=st.integers(1, 60), seed=st.integers(0, 9))
    def test_size_and_strata_and_order(self, n, wanted, seed):
        frame = population(n)
        chosen = draw_sample(frame, ("region", "size"), wanted, seed)
        assert len(chosen) == len(set(chosen)) == min(n, wanted)
        assert chosen == draw_sample(frame.reverse(), ("region", "size"), wanted, seed)
        strata = dict(frame.select("finding_id", pl.concat_str("region", "size")).iter_rows())
        if wanted >= len(set(strata.values())):
            assert {strata[c] for c in chosen} == set(strata.values())

    def test_one_more_finding_changes_few(self):
        before = set(draw_sample(population(300), ("region", "size"), 60, seed=3))
        after = set(draw_sample(population(301), ("region", "size"), 60, seed=3))
        assert len(before ^ after) <= 4


class TestMarkedSentence:
    def test_numbers_and_side_are_marked(self):
        pieces = marked_sentence("Left lobe nodule, 7 mm, SUV max 7.2 (slice 72), previously 8.8.", 72, 7.2)
        assert [p for p in pieces if p[1]] == [("Left", "side"), ("7.2", "suv"), ("72", "slice")]

    def test_equal_numbers_are_told_apart_by_their_decimals(self):
        assert [p for p in marked_sentence("SUV 12.0 on slice 12", 12, 12.0) if p[1]] == [
            ("12.0", "suv"),
            ("12", "slice"),
        ]

    @settings(max_examples=60, deadline=None)
    @given(st.text(alphabet="ab left right0123456789. <&", max_size=60), st.integers(0, 99), st.floats(0, 99))
    def test_the_pieces_join_to_the_sentence(self, sentence, slice_number, suvmax):
        assert "".join(text for text, _ in marked_sentence(sentence, slice_number, suvmax)) == sentence


@pytest.mark.parametrize(("mtv_ml", "name"), [(0.5, "small"), (2.0, "medium"), (10.0, "large"), (None, "unknown")])
def test_size_classes(mtv_ml, name):
    assert size_class(mtv_ml) == name
