"""A vision-language model over HTTP, against a stub: what is sent, what is kept, and every failure with its reason."""

import base64
import io
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from model.evaluation.predictions import samples_version
from model.evaluation.text_sources import update_vlm_texts
from model.evaluation.vlm import vlm_texts
from pipelines.imaging.slices import PLANES, lesion_slices
from pipelines.imaging.volume import Volume, load_nifti
from pipelines.reports.llm.answers import AnswerCache
from pipelines.settings import VlmSettings
from pipelines.tables import schemas
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake
from tests.support import stub_server

ANSWER = "Region: chest. Organ: lung. Laterality: left. SUVmax: 3.3. Slice: 2. Findings: Avid nodule."


def settings(url: str, **changes: Any) -> VlmSettings:
    quick = {"max_retries": 1, "timeout_s": 10.0, "concurrency": 4}
    return VlmSettings(**{"name": "vlm", "model": "stub", "base_url": url} | quick | changes)


def serving(say):
    count = {"n": -1}

    def behave(text, n):
        count["n"] += 1
        return say(count["n"])

    return stub_server.serving(stub_server.Stub(behave))


@pytest.fixture
def tables(lake) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Held-out samples (exam E0 with CT, E1 without), their localisations and exams."""
    held_out = lake.samples.filter(pl.col("exam_id").is_in(["E0", "E1"])).with_columns(split=pl.lit("test"))
    lesions = [
        {"finding_id": f, "row_key": "k", "centroid_x_mm": -20.0, "centroid_k": 10.0, "mtv_ml": 1.7}
        for f in held_out["finding_id"]
    ]
    exams = [{"exam_id": e, "tracer": "FDG", "shape_k": 40} for e in ("E0", "E1")]
    return held_out, schemas.frame("lesions", lesions), schemas.frame("exams", exams)


class TestVlmTexts:
    def test_sends_three_pictures_with_the_lesion_outlined(self, lake, tables) -> None:
        with serving(lambda n: (200, ANSWER, "stop")) as stub:
            vlm_texts(*tables, lake.home, settings(stub.url))
        content = stub.bodies[0]["messages"][0]["content"]
        assert [part["text"] for part in content if part["type"] == "text"][:3] == [f"{plane}:" for plane in PLANES]
        urls = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
        assert len(urls) == 3
        for url in urls:
            assert url.startswith("data:image/png;base64,")
            pixels = np.array(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"))
            assert (pixels == [0xE6, 0x19, 0x4B]).all(axis=2).any()
        assert "FDG PET/CT" in content[-1]["text"]
        assert "response_format" not in stub.bodies[0]

    def test_gives_a_text_a_lesion_with_measured_numbers(self, lake, tables) -> None:
        with serving(lambda n: (200, ANSWER, "stop")) as stub:
            frame = vlm_texts(*tables, lake.home, settings(stub.url))
        good, bad = schemas.validate("predictions", frame)
        assert (good.height, bad.height) == (6, 0)
        row = frame.row(0, named=True)
        assert (row["model"], row["text"], row["error"]) == ("vlm", ANSWER, None)
        assert f"SUVmax: {tables[0]['suvmax'][0]:.1f}." in row["text_measured"]

    def test_is_asked_once_a_lesion_over_all_runs(self, lake, tables, tmp_path) -> None:
        with serving(lambda n: (200, ANSWER, "stop")) as stub, AnswerCache(tmp_path / "a.sqlite") as cache:
            for _ in range(2):
                vlm_texts(*tables, lake.home, settings(stub.url), cache=cache)
            assert len(stub.bodies) == 6
            # Changed code alone makes another key of a row, and no other question.
            same = tables[1].with_columns(row_key=pl.lit("other"))
            vlm_texts(tables[0], same, tables[2], lake.home, settings(stub.url), cache=cache)
            assert len(stub.bodies) == 6
            told_more = tables[2].with_columns(tracer=pl.lit("another tracer"))
            vlm_texts(*tables[:2], told_more, lake.home, settings(stub.url), cache=cache)
            assert len(stub.bodies) == 12

    def test_several_are_in_flight(self, lake, tables) -> None:
        stub = stub_server.Stub(lambda text, n: (200, ANSWER, "stop"), delay_s=0.2)
        with stub_server.serving(stub):
            vlm_texts(*tables, lake.home, settings(stub.url, concurrency=6))
        assert stub.most_in_flight > 1

    @pytest.mark.parametrize(
        ("reply", "told"),
        [
            ((400, "this model takes no images", "stop"), "this model takes no images"),
            ((200, " ", "stop"), "answered nothing"),
            ((200, "Region: ch", "length"), "cut off after"),
            ((503, "overloaded", "stop"), "overloaded (tried 2 times)"),
        ],
    )
    def test_failure_is_a_row_with_its_reason(self, lake, tables, reply, told) -> None:
        with serving(lambda n: reply) as stub:
            frame = vlm_texts(*tables, lake.home, settings(stub.url))
        assert frame["text"].null_count() == 6
        assert all(told in error for error in frame["error"])

    def test_what_can_pass_is_tried_again(self, lake, tables) -> None:
        with serving(lambda n: (503, "busy", "stop") if n == 0 else (200, ANSWER, "stop")) as stub:
            frame = vlm_texts(*tables, lake.home, settings(stub.url, concurrency=1))
        assert frame["error"].null_count() == 6

    def test_server_that_is_not_there(self, lake, tables) -> None:
        frame = vlm_texts(*tables, lake.home, settings("http://127.0.0.1:9/v1", max_retries=0))
        assert all("cannot be reached" in error for error in frame["error"])

    def test_lesion_that_cannot_be_drawn_fails_alone(self, lake, tables) -> None:
        held_out = tables[0].with_columns(
            mask_path=pl.when(pl.col("finding_id") == "E0:0").then(pl.lit("nowhere.nii.gz")).otherwise("mask_path")
        )
        with serving(lambda n: (200, ANSWER, "stop")) as stub:
            frame = vlm_texts(held_out, *tables[1:], lake.home, settings(stub.url))
        assert frame.filter(pl.col("text").is_null())["finding_id"].to_list() == ["E0:0"]
        assert "exam E0: the slices cannot be drawn" in frame.filter(finding_id="E0:0")["error"][0]

    def test_model_without_eyes_gets_the_measurements(self, lake, tables) -> None:
        with serving(lambda n: (200, ANSWER, "stop")) as stub:
            vlm_texts(*tables, lake.home, settings(stub.url, images=False))
        asked = stub.bodies[0]["messages"][0]["content"]
        assert isinstance(asked, str)
        assert "side left, 25 % of the way" in asked
        assert "volume 1.7 mL" in asked


class TestUpdateVlmTexts:
    @pytest.fixture
    def home(self, lake, tables, tmp_path) -> Home:
        """A home with a lake of tables and the images of the shared one."""
        home = Home(tmp_path)
        Lake(home.lake).write_table("samples", tables[0])
        for name in ("volumes", "masks"):
            (tmp_path / name).symlink_to(lake.home.root / name)
        return home

    def test_asks_only_for_what_failed_before(self, home) -> None:
        with serving(lambda n: (400, "no", "stop") if n == 2 else (200, ANSWER, "stop")) as stub:
            first = update_vlm_texts(home, [settings(stub.url, concurrency=1)])
            again = update_vlm_texts(home, [settings(stub.url, concurrency=1)])
            assert len(stub.bodies) == 7
            third = update_vlm_texts(home, [settings(stub.url, concurrency=1)])
        assert first.problems[0].startswith("vlm: 1 of 6 lesions")
        assert (again.problems, third.recomputed, len(stub.bodies)) == ((), 0, 7)
        assert samples_version(home)

    def test_a_model_that_is_no_longer_named_leaves(self, home) -> None:
        with serving(lambda n: (200, ANSWER, "stop")) as stub:
            update_vlm_texts(home, [settings(stub.url)])
            other = settings(stub.url).changed(name="other")
            assert set(update_vlm_texts(home, [other]).frame["model"]) == {"other"}
        assert [p.stem.split("-")[1] for p in home.texts.iterdir()] == ["other"]


class TestLesionSlices:
    def test_left_is_on_the_right_and_the_head_is_up(self) -> None:
        array = np.zeros((20, 30, 40), np.float32)
        array[2, 25, 36] = 10  # The patient's left, front, head.
        affine = np.diag([3.0, 3.0, 3.0, 1.0])
        mask_affine = affine.copy()
        mask_affine[:3, 3] = [6, 75, 108]
        mask = Volume(np.ones((1, 1, 1), np.uint8), mask_affine)
        pictures = lesion_slices(Volume(array, affine), mask)
        places = {}
        for plane in PLANES:
            pixels = np.array(Image.open(io.BytesIO(pictures[plane])).convert("RGB"))
            outline = np.argwhere((pixels == [0xE6, 0x19, 0x4B]).all(axis=2))
            row, column = outline.mean(axis=0) / pixels.shape[:2]
            places[plane] = ("up" if row < 0.5 else "down", "left" if column < 0.5 else "right")
        assert places == {"sagittal": ("up", "left"), "coronal": ("up", "right"), "axial": ("up", "right")}

    def test_empty_mask_is_refused(self, lake) -> None:
        suv = load_nifti(lake.home.root / lake.samples["suv_path"][0])
        with pytest.raises(ValueError, match="empty"):
            lesion_slices(suv, Volume(np.zeros((2, 2, 2), np.uint8), suv.affine))
