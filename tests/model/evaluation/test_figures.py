import io
from pathlib import Path

import numpy as np
from PIL import Image

from model.evaluation.ablation_arms import ArmResult, Point
from model.evaluation.figures import ablation_figure, training_figure


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


CURVE = [{"step": n, "loss": 3.0 - n, "learning_rate": 1e-3, "grad_norm": 1.0, "samples_per_s": 90.0} for n in (1, 2)]


class TestTrainingFigure:
    def test_has_a_panel_for_gpu_memory_only_where_it_was_measured(self):
        on_gpu = [entry | {"gpu_memory_gb": 10.0} for entry in CURVE]
        narrow, wide = (pixels(training_figure(curve)).shape[1] for curve in (CURVE, on_gpu))
        assert wide > narrow

    def test_shows_validation(self):
        assert training_figure(CURVE) != training_figure([CURVE[0], CURVE[1] | {"val_loss": 2.0}])


class TestAblationFigure:
    def test_shows_every_arm_and_survives_none(self):
        def arm(name, last):
            return ArmResult(name, 20, 0.2, (Point(1, 1.0, 0.3, 0.5, 0.5), Point(2, 2.0, last, 0.9, 0.9)), Path("x"))

        one, two = [arm("none", 0.2)], [arm("none", 0.2), arm("mask, focal", 0.97)]
        colours = {tuple(c) for c in pixels(ablation_figure(two)).reshape(-1, 3)}
        assert len({ablation_figure(found) for found in ([], one, two)}) == 3
        assert len(colours) > 2
