"""A vLLM server of a checkpoint's language part, for `petar serve --engine vllm`."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from model.petar.checkpoints import Checkpoint
from model.petar.export import save_language
from pipelines.reports.llm.vllm_server import ServerPlan, is_healthy, start, stop
from pipelines.tables.hashing import hash_of

_OPTIONS = ("--enable-prompt-embeds",)
_CPU_OPTIONS = ("--dtype", "float32")
"""The weights' own type, so that the text is the same as that of the model in one process."""


def language_plan(checkpoint: Checkpoint, version: str, base: ServerPlan) -> ServerPlan:
    """The plan of a server of the language part; its folder lies beside the environment's other models.

    Args:
        checkpoint: the model.
        version: hash of its files.
        base: environment, address and whether there is a GPU.
    """
    name = f"petar-language-{hash_of(version)[:12]}"
    return replace(
        base,
        model=str(base.venv / "petar" / name),
        served_name=name,
        max_model_len=checkpoint.contract.config.language.max_positions,
        arguments=(*_OPTIONS, *(() if base.gpu else _CPU_OPTIONS), *base.arguments),
    )


@contextmanager
def language_server(checkpoint: Checkpoint, plan: ServerPlan) -> Iterator[ServerPlan]:
    """The server of a plan of `language_plan`, for as long as the block lasts; one that runs already is left running.

    Raises:
        ServerError: it cannot be made or started.
    """
    if is_healthy(plan):
        start(plan)
        yield plan
        return
    folder = plan.venv / "petar" / plan.name
    if not (folder / "config.json").is_file():
        save_language(checkpoint, folder)
    start(plan)

    # An end by SIGTERM must not leave the server behind.
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield plan
    finally:
        signal.signal(signal.SIGTERM, before)
        stop(plan)
