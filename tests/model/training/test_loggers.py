import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from model.training.loggers import check_loggers, opened_loggers
from model.training.stages import TrainingError


def test_tensorboard_reads_what_was_logged(tmp_path):
    with opened_loggers(["tensorboard"], tmp_path, "tiny findings_full", {"epochs": 2}) as log:
        for step in (1, 2):
            log(step, {"loss": 3.0 / step, "learning_rate": 0.1})
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 3.0), (2, 1.5)]


def test_without_loggers_nothing_is_written(tmp_path):
    with opened_loggers([], tmp_path, "tiny findings_full", {}) as log:
        log(1, {"loss": 1.0})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_logger_that_is_not_installed_is_named(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(TrainingError, match=f"package of logger {name}"):
        check_loggers(["tensorboard", name])
