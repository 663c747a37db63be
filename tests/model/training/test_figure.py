import io

import numpy as np
from PIL import Image

from model.training.figure import training_figure


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
