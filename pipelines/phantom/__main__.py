"""Writes a phantom cohort: python -m pipelines.phantom FOLDER --exams 24 --patients 16 --seed 0 [--size small]."""

import argparse
import sys
from pathlib import Path

from pipelines.phantom.cohort import PhantomError, PhantomSettings, write_cohort


def main(arguments: list[str] | None = None) -> int:
    """Writes the cohort and prints one summary line; 1 where the folder or the settings do not allow it."""
    defaults = PhantomSettings()
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.phantom", description="Writes a phantom cohort with its truth."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--exams", type=int, default=defaults.n_exams)
    parser.add_argument("--patients", type=int, default=defaults.n_patients)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--size", choices=["demo", "small"], default=defaults.size)
    parser.add_argument("--with-faults", action="store_true", help="also exams and reports with something wrong")
    options = parser.parse_args(arguments)
    try:
        settings = PhantomSettings(options.patients, options.exams, options.seed, options.size, options.with_faults)
        cohort = write_cohort(options.folder, settings)
    except PhantomError as error:
        print(f"phantom: {error}", file=sys.stderr)
        return 1
    print(cohort.summary())
    return 0


if __name__ == "__main__":
    sys.exit(main())
