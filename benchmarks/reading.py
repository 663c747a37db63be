"""How long it takes to read exams, side by side with another version of this project.

usage: python -m benchmarks.reading EXAM... [--against TREE] [--rounds N]

EXAM is a folder as below `exams/` of a cohort; TREE is a checkout of the other version (`git worktree add TREE
COMMIT`). The two take turns, each round in a new process, so that the machine's other work meets both.
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_READ = """
import sys, time
from pipelines.imaging.reading.exam import read_exam
read_exam(sys.argv[1], "E")
times = []
for _ in range(3):
    start = time.process_time()
    read_exam(sys.argv[1], "E")
    times.append(time.process_time() - start)
print(min(times))
"""
"""Reads once for what is loaded and compiled at first, then three times."""


def seconds(tree: Path, exam: Path) -> float:
    """Processor time in which a version reads an exam [s]: the shortest of three.

    Args:
        tree: a checkout of the version.
        exam: the folder of the exam.
    """
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", _READ, str(exam.resolve())]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the median of each exam and version, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("exams", nargs="+", type=Path)
    parser.add_argument("--against", type=Path, help="checkout of another version")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    trees = [_ROOT, *([options.against.resolve()] if options.against else [])]
    for exam in options.exams:
        times: dict[Path, list[float]] = {tree: [] for tree in trees}
        for _ in range(options.rounds):
            for tree in trees:
                times[tree].append(seconds(tree, exam))
        medians = [statistics.median(times[tree]) for tree in trees]
        ratio = f", other {medians[1]:.3f} s, this / other {medians[0] / medians[1]:.3f}" if len(medians) > 1 else ""
        print(f"{exam.name}: this {medians[0]:.3f} s of CPU{ratio}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
