"""Options that commands of `petar` share, and how a command ends with an error."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

_COHORT = typer.Option(
    "--cohort", envvar="PETAR_COHORT", help="Input folder with reports and exams. [default: HOME/phantom]"
)
Cohort = Annotated[Path | None, _COHORT]
CohortNeeded = Annotated[
    Path, typer.Option("--cohort", envvar="PETAR_COHORT", help="Input folder with reports and exams.")
]
Home = Annotated[Path, typer.Option("--home", envvar="PETAR_HOME", help="Folder that everything is written to.")]
Settings = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        envvar="PETAR_SETTINGS",
        help="TOML with parameters that differ from the defaults. [default: COHORT/petar.toml]",
    ),
]
Checkpoint = Annotated[str, typer.Option(help="Folder of a trained checkpoint, or its hub id.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")]
DEFAULT_HOME = Path("data")


def fail(message: str) -> NoReturn:
    """Ends the command with a message and exit code 1."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(1)
