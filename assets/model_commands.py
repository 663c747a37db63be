"""The commands `petar model`: a stage of training by itself, and checkpoints from and to others."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from assets.command_options import DEFAULT_HOME, Checkpoint, Cohort, Device, Home, Settings, fail

app = typer.Typer(no_args_is_help=True, help="A stage of training by itself; checkpoints from and to others.")
_FOLDER = typer.Option("--to", help="Folder to write.")
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="A line of [model] as TOML: 'training.epochs = 3'; may be repeated."),
]


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Errors of wrong input, settings and weights end the command with a line."""
    from model.petar.checkpoints import CheckpointError
    from model.petar.devices import DeviceError
    from model.petar.tokenizer import TokenizerError
    from model.training.stages import TrainingError
    from pipelines.catalog.versions import ProvenanceError
    from pipelines.settings import SettingsError

    expected = (CheckpointError, TokenizerError, TrainingError, ProvenanceError, SettingsError, DeviceError, ValueError)
    try:
        yield
    except expected as error:
        fail(f"cannot {what}: {error}")


@app.command("train", epilog="Example: petar model train --stage findings_full --cohort scans --home curated")
def train(
    stage: Annotated[str, typer.Option(help="anatomy_projector, anatomy_mask, anatomy_full, findings_projector, ...")],
    cohort: Cohort = None,
    home: Home = DEFAULT_HOME,
    settings: Settings = None,
    change: Set = None,
    init: Annotated[
        Path | None, typer.Option(help="Checkpoint to start from. [default: that of the stage before, if there]")
    ] = None,
    device: Device = "auto",
    allow_other_samples: Annotated[
        bool, typer.Option("--allow-other-samples", help="Start from a checkpoint that saw other samples.")
    ] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Print parameters, memory and hours, train nothing.")] = False,
    processes: Annotated[
        int, typer.Option(min=1, envvar="WORLD_SIZE", show_envvar=False, help="Processes that --plan counts.")
    ] = 1,
) -> None:
    """Train one stage from the samples of a curated home, also by several processes of torchrun."""
    import logging

    from model.petar.config import TRAINING_STAGES, model_config
    from model.petar.devices import pick_device
    from model.training.from_lake import stage_settings
    from model.training.launch import LaunchedStage, launch
    from model.training.plan import stage_plan
    from pipelines.settings import load_settings, overlaid, parse
    from pipelines.tables.home import Home as HomeFolders

    chosen = next((known for known in TRAINING_STAGES if known == stage), None)
    if chosen is None:
        fail(f"expected a stage of {', '.join(TRAINING_STAGES)}, got {stage!r}: name one of them")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    with _told(f"train {stage}"):
        place = pick_device(device)
        project = load_settings(settings, cohort)
        model = overlaid(project, {"model": parse("\n".join(change or []), "--set")}, "--set").model
        if plan:
            planned = stage_plan(
                model_config(model), stage_settings(chosen, model), chosen, place, processes, HomeFolders(home)
            )
            print(planned.summary())
            return
        result = launch(LaunchedStage(chosen, model, HomeFolders(home), init, device, allow_other_samples))
    if result is not None:
        shown = {name: value for name, value in vars(result).items() if name != "curve"}
        print(dumps(shown, default=str, indent=1))


@app.command("convert", epilog="Example: petar model convert --weights user/petar-release --to petar")
def convert(
    weights: Annotated[list[str], typer.Option(help="File, folder or hub id of a release; may be repeated.")],
    to: Annotated[Path, _FOLDER],
    tokenizer: Annotated[str | None, typer.Option(help="Folder or hub id. [default: beside the weights]")] = None,
    preset: Annotated[str, typer.Option(help="petar-4b, small-lm, small or tiny.")] = "petar-4b",
    change: Set = None,
    dtype: Annotated[str, typer.Option(help="bfloat16 or float32.")] = "bfloat16",
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Parts without weights start untrained.")
    ] = False,
) -> None:
    """Make a checkpoint of a public release."""
    from model.petar.convert import convert as convert_release
    from model.petar.convert import released_config
    from model.petar.weights import DTYPES
    from pipelines.settings import parse

    if dtype not in DTYPES:
        fail(f"expected --dtype {' or '.join(DTYPES)}, got {dtype}: name one of them")
    with _told(f"convert {', '.join(weights)}"):
        config = released_config(preset, parse("\n".join(change or []), "--set"))
        report = convert_release(weights, to, config, tokenizer=tokenizer, allow_missing=allow_missing, dtype=dtype)
    print(f"{report.summary()}: {to}")
    _print_names("missing", report.missing)
    _print_names("unexpected", report.unexpected)


def _print_names(kind: str, names: Sequence[str]) -> None:
    if names:
        print(f"{kind}: {', '.join(names)}")


@app.command("export", epilog="Example: petar model export --checkpoint model --to folder")
def export(
    checkpoint: Checkpoint,
    to: Annotated[Path, _FOLDER],
    language: Annotated[
        bool, typer.Option("--language", help="The language part alone, as a Phi-3 folder for vLLM.")
    ] = False,
) -> None:
    """Write a checkpoint as a folder that transformers loads by itself, with a model card."""
    from model.petar.export import own_scores, save_language, save_pretrained
    from model.petar.hub import from_pretrained

    with _told(f"export {checkpoint}"):
        loaded = from_pretrained(checkpoint)
        print(save_language(loaded, to) if language else save_pretrained(loaded, to, own_scores(loaded)))


Repo = Annotated[str, typer.Option(help="user/name on the hub (pull: user/name@revision, too).")]


@app.command("push", epilog="Example: petar model push --checkpoint model --repo clinic/petar")
def push(
    checkpoint: Annotated[Path, typer.Option(help="Folder of a trained checkpoint.")],
    repo: Repo,
    public: Annotated[bool, typer.Option("--public", help="Anybody may read it; without, only you.")] = False,
) -> None:
    """Upload a checkpoint to a hub, with a model card."""
    from model.petar.hub import push_to_hub

    with _told("push"):
        print(push_to_hub(checkpoint, repo, private=not public))


@app.command("pull", epilog="Example: petar model pull --repo clinic/petar --to petar")
def pull(repo: Repo, to: Annotated[Path, _FOLDER]) -> None:
    """Download a checkpoint from a hub."""
    from model.petar.hub import pull_from_hub

    with _told("pull"):
        print(pull_from_hub(repo, to))
