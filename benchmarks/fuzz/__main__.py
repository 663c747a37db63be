"""Damaged inputs of every kind, read by the functions that read them (not whole curations).

    python -m benchmarks.fuzz [--only "reports: CSV"] [--share 0.1] [--seed 0]

Each case ends as rows, as an error of ours, or as something else, which fails the call; none may take more than 10 s of
a core or 2 GB. Files that once ended otherwise are kept in `kept/` and read first. Those that do now are written to
`build/fuzz`: once what read them is corrected, move them to `kept/<input>/<name>/`.
"""

import concurrent.futures
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.fuzz import worker
from benchmarks.fuzz.inputs import INPUTS
from benchmarks.fuzz.worker import Ending

FAILURES = Path("build/fuzz")
_BATCH = 50
_SHOWN = 20
"""Failures that are printed."""


def _endings(names: Sequence[str], share: float, seed: int, processes: int) -> Iterator[list[Ending]]:
    """Endings of all cases, batch by batch as they are done; a process that dies ends the call."""
    with concurrent.futures.ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=worker.start
    ) as pool:
        jobs = [pool.submit(worker.run_kept, name) for name in names]
        for name in names:
            n_cases, first = max(1, round(INPUTS[name].n_cases * share)), seed * 1_000_000
            for start in range(0, n_cases, _BATCH):
                jobs.append(pool.submit(worker.run_numbers, name, first + start, min(_BATCH, n_cases - start)))
        for job in concurrent.futures.as_completed(jobs):
            yield job.result()


def _store(ending: Ending) -> None:
    """Writes the files of a case that failed, to be looked at and kept."""
    if not ending.name.isdecimal():
        return
    folder = FAILURES / worker.folder_of(ending.input) / ending.name
    for name, data in worker.files_of(ending.input, int(ending.name)).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def _print_table(endings: Sequence[Ending], names: Sequence[str]) -> None:
    print("| input | cases | rows | errors of ours | other | slowest (s of a core) | most memory (MB) |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in (*names, "all"):
        own = [e for e in endings if name in ("all", e.input)]
        kinds = [sum(e.kind == kind for e in own) for kind in ("rows", "error")]
        slowest, most = max((e.cpu_s for e in own), default=0), max((e.peak_mb for e in own), default=0)
        print(
            f"| {name} | {len(own)} | {kinds[0]} | {kinds[1]} | {len(own) - sum(kinds)} | {slowest:.1f} | {most:.0f} |"
        )


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"Input: {', '.join(INPUTS)}; may be repeated.")] = None,
    share: Annotated[float, typer.Option(min=0.0001, help="Part of the cases.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Other cases than those of seed 0.")] = 0,
    processes: Annotated[int, typer.Option(min=1)] = min(2, os.cpu_count() or 1),
) -> None:
    """Reads the cases and prints how they ended; exit code 1 where one ended otherwise than as rows or our error."""
    names = [name for name in INPUTS if not only or name in only]
    if unknown := set(only or ()) - set(INPUTS):
        raise typer.BadParameter(f"expected one of {', '.join(INPUTS)}, got {', '.join(unknown)}")
    started, endings = time.monotonic(), []
    try:
        for batch in _endings(names, share, seed, processes):
            endings += batch
    except BrokenProcessPool:
        print("a process died while it read a case", file=sys.stderr)
        raise typer.Exit(1) from None
    _print_table(endings, names)
    others = [ending for ending in endings if ending.is_other]
    for ending in others:
        _store(ending)
    for ending in others[:_SHOWN]:
        print(f"{ending.input} {ending.name}: {ending.kind}, {ending.cpu_s:.1f} s, {ending.words}")
    print(
        f"{len(endings)} cases in {time.monotonic() - started:.0f} s"
        + (f"; files of {len(others)} in {FAILURES}" if others else "")
    )
    raise typer.Exit(1 if others else 0)


if __name__ == "__main__":
    typer.run(main)
