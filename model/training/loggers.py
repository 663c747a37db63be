"""Where the numbers of a training stage go while it runs: TensorBoard, and W&B and MLflow where they are named."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from model.training.stages import TrainingError

Log = Callable[[int, Mapping[str, float]], None]
"""Takes the number of a step, from 1, and its values by name."""


@contextmanager
def opened_loggers(names: Sequence[str], folder: Path, run_name: str, settings: Mapping[str, Any]) -> Iterator[Log]:
    """A function that logs a step's values to all loggers, which are closed when the block is left.

    Args:
        names: `tensorboard` (files in `folder/tensorboard`), `wandb`, `mlflow` (configured by their own variables).
        folder: of the stage.
        run_name: what W&B and MLflow call the run.
        settings: of the stage, kept with the run.

    Raises:
        TrainingError: a logger's package is not installed.
    """
    with ExitStack() as stack:
        opened = [stack.enter_context(_OPEN[name](folder, run_name, settings)) for name in names]

        def log(step: int, values: Mapping[str, float]) -> None:
            for one in opened:
                one(step, values)

        yield log


def check_loggers(names: Sequence[str]) -> None:
    """Raises TrainingError where the package of a logger is not installed."""
    for name in names:
        _package(name)


def _package(name: str) -> Any:
    """The module of a logger. Not at module level: most runs need none of the others."""
    try:
        if name == "tensorboard":
            from torch.utils import tensorboard

            return tensorboard
        if name == "wandb":
            import wandb

            return wandb
        import mlflow

        return mlflow
    except ImportError as error:
        raise TrainingError(f"expected the package of logger {name}, it is not installed: install it") from error


@contextmanager
def _tensorboard(folder: Path, run_name: str, settings: Mapping[str, Any]) -> Iterator[Log]:
    with _package("tensorboard").SummaryWriter(str(folder / "tensorboard")) as writer:

        def log(step: int, values: Mapping[str, float]) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, step)

        yield log


@contextmanager
def _wandb(folder: Path, run_name: str, settings: Mapping[str, Any]) -> Iterator[Log]:
    with _package("wandb").init(name=run_name, config=dict(settings), dir=str(folder)) as run:
        yield lambda step, values: run.log(dict(values), step=step)


@contextmanager
def _mlflow(folder: Path, run_name: str, settings: Mapping[str, Any]) -> Iterator[Log]:
    mlflow = _package("mlflow")
    with mlflow.start_run(run_name=run_name):
        mlflow.log_params({name: str(value)[:500] for name, value in settings.items()})
        yield lambda step, values: mlflow.log_metrics(dict(values), step=step)


_OPEN = {"tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow}
