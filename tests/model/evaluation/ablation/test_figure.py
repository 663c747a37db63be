import io
from pathlib import Path

import numpy as np
from PIL import Image

from model.evaluation.ablation.conditions import ConditionResult, Point
from model.evaluation.ablation.figure import ablation_figure


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


class TestAblationFigure:
    def test_shows_every_condition_and_survives_none(self):
        def condition(name, last):
            return ConditionResult(
                name, 20, 0.2, (Point(1, 1.0, 0.3, 0.5, 0.5), Point(2, 2.0, last, 0.9, 0.9)), Path("x")
            )

        one, two = [condition("none", 0.2)], [condition("none", 0.2), condition("mask, focal", 0.97)]
        colours = {tuple(c) for c in pixels(ablation_figure(two)).reshape(-1, 3)}
        assert len({ablation_figure(found) for found in ([], one, two)}) == 3
        assert len(colours) > 2
