"""The ablation on the scoreboard: each arm trained on whole findings, its texts a part of `predictions`."""

from model.evaluation.ablation import OnMeasure, update_arm
from model.evaluation.ablation_arms import ARMS, ArmResult, arm_named
from model.evaluation.predictions import TableReport
from model.evaluation.scores import ARM_PREFIX
from model.evaluation.text_sources import update_checkpoint_texts
from pipelines.settings import CheckpointSettings
from pipelines.tables.home import Home


def update_ablation(
    home: Home,
    name: str,
    preset_name: str = "tiny",
    effort: float = 1.0,
    on_measure: OnMeasure | None = None,
) -> tuple[ArmResult, TableReport]:
    """An arm trained on the lake's findings, and what it says of every held-out lesion, as `ablation: <arm>`.

    `effort` is the part of the preset's epochs. Nothing is done where nothing changed. Raises ValueError for an unknown
    arm or where no lesion is held out.
    """
    result = update_arm(home, name, preset_name, effort=effort, whole_texts=True, on_measure=on_measure)
    chosen = CheckpointSettings(name=f"{ARM_PREFIX}{name}", folder=result.checkpoint)
    return result, update_checkpoint_texts(home, f"ablation-{arm_named(name).folder_name}", chosen)


def arm_of_folder(folder_name: str) -> str:
    """The name of the arm whose folder is so called: what a partition of the asset is."""
    return next(arm.name for arm in ARMS if arm.folder_name == folder_name)
