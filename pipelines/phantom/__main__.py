"""Writes a phantom cohort: python -m pipelines.phantom FOLDER --exams 24 --patients 16 --seed 0 [--size small].

Hard exams: python -m pipelines.phantom FOLDER --hard slices --exams 24 --seed 0 [--scale 1.02 --slice-offset 1].
"""

import argparse
import sys
from pathlib import Path

from pipelines.phantom.cohort import PhantomSettings, write_cohort
from pipelines.phantom.hard.settings import TRACERS, HardSettings, Workstation


def _hard_of(options: argparse.Namespace) -> HardSettings | None:
    if options.hard is None:
        return None
    station = Workstation(
        options.scale, options.slice_offset, options.origin, options.jitter, options.suv_step, options.cut
    )
    return HardSettings(options.hard, station, options.spacing, tuple(options.tracer or TRACERS), options.organ_maps)


def main(arguments: list[str] | None = None) -> int:
    """Writes the cohort and prints one summary line; 1 where the folder or the settings do not allow it."""
    defaults = PhantomSettings()
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.phantom", description="Writes a phantom cohort with its truth."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--exams", type=int, default=defaults.n_exams)
    parser.add_argument("--patients", type=int, help=f"default: {defaults.n_patients}; of hard exams, one for each")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--size", choices=["demo", "small", "varied"], default=defaults.size)
    parser.add_argument("--with-faults", action="store_true", help="also exams and reports with something wrong")
    hard = parser.add_argument_group("hard exams")
    hard.add_argument(
        "--hard",
        choices=["slices", "suv", "mixed"],
        help="what reports give of a lesion: slice and SUV, SUV, or either",
    )
    hard.add_argument("--spacing", type=float, help="voxel edge in mm (default: usual grids, drawn)")
    hard.add_argument("--tracer", choices=TRACERS, action="append", help="repeatable (default: all)")
    hard.add_argument("--organ-maps", type=float, default=0.5, help="share of exams with a label map of the organs")
    hard.add_argument("--scale", type=float, default=1.0, help="SUV of the reports over SUV of the image")
    hard.add_argument("--slice-offset", type=int, default=0, help="slices added to each slice number")
    hard.add_argument("--origin", choices=["head", "feet"], default="head", help="where slice 1 lies")
    hard.add_argument("--jitter", type=float, default=0.0, help="relative deviation of each SUV")
    hard.add_argument("--suv-step", type=float, default=0.1, help="SUV are multiples of it")
    hard.add_argument("--cut", action="store_true", help="digits of SUV are cut off and not rounded")
    options = parser.parse_args(arguments)
    try:
        patients = options.exams if options.patients is None else options.patients
        if options.patients is None and options.hard is None:
            patients = min(defaults.n_patients, options.exams)
        settings = PhantomSettings(
            patients, options.exams, options.seed, options.size, options.with_faults, _hard_of(options)
        )
        cohort = write_cohort(options.folder, settings)
    except ValueError as error:
        print(f"phantom: {error}", file=sys.stderr)
        return 1
    print(cohort.summary())
    return 0


if __name__ == "__main__":
    sys.exit(main())
