"""Changed masks: moved as far as they say, within the image, and the curve over a small lake."""

import numpy as np
import polars as pl
import pytest

from model.evaluation.robustness import (
    Box,
    Variant,
    changed_samples,
    dice,
    move_edge,
    shift,
    update_robustness,
    variants_of,
)
from model.evaluation.robustness_figure import robustness_figure
from model.petar.checkpoints import Contract, build_model, save_checkpoint
from pipelines.settings import RobustnessSettings, ScoreSettings
from pipelines.tables import schemas
from pipelines.tables.home import Home
from pipelines.tables.lake import Lake

SPACING_MM = (2.0, 2.0, 4.0)
SHAPE = (60, 60, 40)


def ball(radius_mm: float, centre: tuple[int, int, int] = (30, 30, 20)) -> Box:
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), axis=-1)
    inside = (((grid - centre) * SPACING_MM) ** 2).sum(axis=-1) <= radius_mm**2
    corner = np.argwhere(inside).min(axis=0)
    end = np.argwhere(inside).max(axis=0) + 1
    return Box(inside[tuple(slice(a, b) for a, b in zip(corner, end, strict=True))], tuple(int(c) for c in corner))


class TestMoveEdge:
    @pytest.mark.parametrize("margin_mm", [-6.0, -3.0, 3.0, 6.0, 12.0])
    def test_a_ball_becomes_a_ball_of_another_radius(self, margin_mm: float) -> None:
        moved = move_edge(ball(16), SHAPE, SPACING_MM, margin_mm)
        assert moved is not None
        radius = (moved.array.sum() * np.prod(SPACING_MM) * 3 / (4 * np.pi)) ** (1 / 3)
        assert radius == pytest.approx(16 + margin_mm, abs=1.3)

    def test_small_lesion_is_eroded_away(self) -> None:
        assert move_edge(ball(4), SHAPE, SPACING_MM, -6.0) is None

    def test_grows_no_further_than_the_image(self) -> None:
        moved = move_edge(ball(10, (3, 30, 20)), SHAPE, SPACING_MM, 12.0)
        assert moved is not None
        assert min(moved.origin) >= 0
        assert all(o + n <= m for o, n, m in zip(moved.origin, moved.array.shape, SHAPE, strict=True))


class TestShift:
    def test_moves_so_far_in_a_direction_of_the_lesion(self) -> None:
        own = ball(10)
        moved = shift(own, SHAPE, SPACING_MM, 20.0, "E1:a")
        assert moved is not None
        way = (np.subtract(moved.origin, own.origin)) * SPACING_MM
        assert np.linalg.norm(way) == pytest.approx(20, abs=3)
        assert moved.origin == shift(own, SHAPE, SPACING_MM, 20.0, "E1:a").origin
        assert moved.origin != shift(own, SHAPE, SPACING_MM, 20.0, "E2:b").origin

    def test_out_of_the_image_there_is_none(self) -> None:
        assert shift(ball(4, (2, 2, 2)), (5, 5, 5), SPACING_MM, 400.0, "E1:a") is None


class TestDice:
    def test_of_equal_half_and_apart(self) -> None:
        a = Box(np.ones((4, 4, 4), bool), (0, 0, 0))
        assert dice(a, a) == 1
        assert dice(a, Box(np.ones((4, 4, 4), bool), (2, 0, 0))) == 0.5
        assert dice(a, Box(np.ones((4, 4, 4), bool), (9, 0, 0))) == 0


class TestChangedSamples:
    def test_another_lesion_is_the_nearest_of_the_exam(self, lake, tmp_path) -> None:
        own = lake.samples.filter(sample_id="E0:0")
        folder = lake.home.root / "robustness-test"
        changed = changed_samples(own, lake.samples, Variant("another lesion"), lake.home, folder)
        assert changed.dice == {"E0:0": 0}
        assert changed.samples["suvmax"].to_list() == [7.0]
        assert (lake.home.root / changed.samples["mask_path"][0]).is_file()

    def test_lesion_alone_in_its_exam_is_named(self, lake) -> None:
        own = lake.samples.filter(sample_id="E0:0")
        changed = changed_samples(own, own, Variant("another lesion"), lake.home, lake.home.root / "robustness-test")
        assert changed.left_out == {"alone in their exam": ["E0:0"]}

    def test_its_own_mask_stays_as_it_is(self, lake) -> None:
        own = lake.samples.filter(sample_id="E0:0")
        changed = changed_samples(own, lake.samples, Variant("none"), lake.home, lake.home.root / "nowhere")
        assert changed.samples.equals(own)

    def test_mask_that_cannot_be_read_is_named(self, lake) -> None:
        own = lake.with_row(0, mask_path="masks/none.nii.gz").head(1)
        changed = changed_samples(own, own, Variant("edge", 3.0), lake.home, lake.home.root / "robustness-test")
        ((reason, found),) = changed.left_out.items()
        assert reason.startswith("without a readable mask")
        assert found == ["E0:0"]


class TestUpdateRobustness:
    def test_every_variant_and_metric_has_a_row_and_the_curve_a_picture(self, lake, micro, tokenizer, tmp_path) -> None:
        home = Home(tmp_path)
        for name in ("volumes", "masks"):
            (tmp_path / name).symlink_to(lake.home.root / name)
        Lake(home.lake).write_table("samples", lake.samples)
        checkpoint = tmp_path / "checkpoint"
        save_checkpoint(checkpoint, build_model(micro, tokenizer), tokenizer, Contract(micro))
        settings = RobustnessSettings(split="train", margins_mm=(-9.0, 4.0), shifts_mm=(8.0,), n_lesions=4)
        report = update_robustness(home, checkpoint, "micro", settings, ScoreSettings(n_resamples=20))
        assert set(report.frame["variant"]) == {v.name for v in variants_of(settings)}
        eroded = report.frame.filter(variant="edge -9 mm", metric="BLEU").row(0, named=True)
        assert (eroded["n"], eroded["n_left_out"], eroded["note"], eroded["value"]) == (0, 4, "4 eroded away", None)
        own = report.frame.filter(variant="none", metric="BLEU").row(0, named=True)
        assert (own["n"], own["dice"]) == (4, 1)
        assert schemas.validate("robustness", report.frame)[1].is_empty()
        assert update_robustness(home, checkpoint, "micro", settings, ScoreSettings(n_resamples=20)).recomputed == 0
        assert robustness_figure(report.frame).startswith(b"\x89PNG")

    def test_split_without_findings(self, lake, tmp_path) -> None:
        home = Home(tmp_path)
        Lake(home.lake).write_table("samples", lake.samples.filter(pl.col("split") == "val"))
        (tmp_path / "c").mkdir()
        (tmp_path / "c" / "model.json").write_text("{}")
        with pytest.raises(ValueError, match="got none of 3"):
            update_robustness(home, tmp_path / "c", "micro")
