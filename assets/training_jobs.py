"""Training by jobs of a Slurm cluster: one that curates and makes the samples, one a stage, one that scores.

    samples -> (ok) torchrun of each stage in turn -> (ok) texts and scores

A stage that is ended (time limit, a node that goes away) keeps its last state, and those behind it are cancelled;
submitting again is the resume: finished stages are reused, the one that was ended goes on.
"""

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from assets.resources import Workspace
from model.petar.config import TRAINING_STAGES, model_config
from model.training.from_lake import stage_settings
from pipelines.curation.engines.batch import new_folder
from pipelines.curation.engines.slurm import (
    Script,
    SlurmOptions,
    check_cluster,
    job_name,
    petar_command,
    printed,
    submit_from,
)
from pipelines.settings import overlaid, parse

_DRY = "<folder of the submission>"
_PORTS, _FIRST_PORT = 40_000, 20_000
"""Ports that the processes of a job meet at, by its number: jobs that share a node have one each."""


@dataclass(frozen=True)
class TrainingCall:
    """How a training is handed to a cluster.

    Args:
        options: what each node of a job is asked for.
        nodes: of each stage, at least 1.
        gpus: of each node; 0: one process a node, on its processors.
        changes: lines of [model] as TOML, over the settings.
    """

    options: SlurmOptions
    nodes: int = 1
    gpus: int = 1
    changes: Sequence[str] = ()


def training_scripts(workspace: Workspace, call: TrainingCall, folder: Path) -> list[Script]:
    """The scripts of a training, in the order in which they are submitted; each waits for the one before.

    Args:
        workspace: the cohort and its home.
        call: what is asked for.
        folder: where scripts and logs lie.

    Raises:
        SettingsError: the settings of the model, or of a stage, are wrong.
    """
    model = overlaid(workspace.settings(), {"model": parse("\n".join(call.changes), "--set")}, "--set").model
    model_config(model)
    for stage in TRAINING_STAGES:
        stage_settings(stage, model)
    home, cohort = workspace.paths.root.resolve(), workspace.cohort_folder.resolve()
    common = [f"--job-name={job_name(home, 'train')}", *call.options.directives(folder), "--open-mode=append"]
    chained = [*common, "--kill-on-invalid-dep=yes"]
    places = ["--cohort", str(cohort), "--home", str(home)]
    settings = str(Path(workspace.settings_file).resolve()) if workspace.settings_file else ""
    changes = [part for change in call.changes for part in ("--set", change)]
    chosen = ["--settings", settings] if settings else []
    gpus = [f"--gpus-per-node={call.gpus}"] if call.gpus else []
    stages = [
        Script(
            stage,
            [*chained, f"--nodes={call.nodes}", "--ntasks-per-node=1", *gpus, "--requeue"],
            _torchrun(
                call,
                ["--stage", stage, *places, *chosen, *changes],
            ),
            after="afterok",
        )
        for stage in TRAINING_STAGES
    ]
    one_gpu = ["--gpus-per-node=1"] if call.gpus else []
    return [
        Script("samples", common, [petar_command("batch", "samples", *places, *chosen)]),
        *stages,
        Script("scores", [*chained, *one_gpu], [petar_command("train", *places, *chosen, *changes)], after="afterok"),
    ]


def _torchrun(call: TrainingCall, arguments: Sequence[str]) -> list[str]:
    """Lines of a script that train a stage with a process a GPU, on all nodes of the job."""
    processes = max(1, call.gpus)
    run = f"{shlex.quote(sys.executable)} -m torch.distributed.run --nnodes={call.nodes} --nproc-per-node={processes}"
    meet = '--rdzv-backend=c10d --rdzv-id="$SLURM_JOB_ID" --rdzv-endpoint="$head:$port"'
    return [
        'head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
        f"port=$(({_FIRST_PORT} + SLURM_JOB_ID % {_PORTS}))",
        f"srun --kill-on-bad-exit=1 --cpus-per-task={call.options.cpus} {run} {meet} -m assets.cli model train"
        f" {shlex.join(arguments)}",
    ]


def submit_training(workspace: Workspace, call: TrainingCall, say: Callable[[str], None]) -> Path:
    """Folder of the submitted jobs.

    Args:
        workspace: the cohort and its home.
        call: what is asked for.
        say: gets a line a step.

    Raises:
        SlurmError: no sbatch, a node that does not see the home, or options that the cluster refuses; nothing is left
            in the queue.
        SettingsError: see `training_scripts`.
    """
    home = workspace.paths
    training_scripts(workspace, call, home.batches)  # What is wrong with the settings is said first.
    check_cluster(home.root, [workspace.cohort_folder], call.options, say)
    folder = new_folder(home.batches, "train")
    submit_from(folder, training_scripts(workspace, call, folder), say)
    return folder


def dry_run(workspace: Workspace, call: TrainingCall) -> str:
    """The scripts that would be submitted."""
    return printed(training_scripts(workspace, call, workspace.paths.batches / _DRY))
