"""Describes one lesion from files.

python -m model.serving.describe --checkpoint DIR --pet SUV.nii.gz --mask MASK.nii.gz [--ct CT.nii.gz]
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from model.inputs.tensors import SampleError
from model.petar.checkpoints import CheckpointError
from model.petar.hub import from_pretrained
from model.serving.generation import describe
from pipelines.imaging.problems import ExamError
from pipelines.imaging.volume import load_nifti
from pipelines.settings import QUESTION


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 with the description on standard output, 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(
        prog="python -m model.serving.describe", description="Describe one lesion of a PET, given its mask."
    )
    parser.add_argument("--checkpoint", required=True, help="folder of a trained checkpoint, or its hub id")
    parser.add_argument("--pet", type=Path, required=True, help="NIfTI in SUV by body weight")
    parser.add_argument("--ct", type=Path, help="NIfTI in HU; without one the CT is taken as air")
    parser.add_argument(
        "--mask", type=Path, required=True, help="NIfTI, not 0 on the lesion; its grid may be another, or cropped"
    )
    parser.add_argument("--question", default=QUESTION)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="text, text_measured and the measured values as JSON")
    options = parser.parse_args(arguments)
    try:
        for path in filter(None, (options.pet, options.ct, options.mask)):
            if not path.is_file():
                raise SampleError(f"expected a NIfTI file at {path}, it is not there")
        ct = None if options.ct is None else load_nifti(options.ct)
        said = describe(
            load_nifti(options.pet),
            ct,
            load_nifti(options.mask),
            from_pretrained(options.checkpoint),
            question=options.question,
            device=options.device,
        )
    except (SampleError, CheckpointError, ExamError) as error:
        print(f"cannot describe the lesion: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(said), indent=1) if options.json else said.text_measured)
    return 0


if __name__ == "__main__":
    sys.exit(main())
