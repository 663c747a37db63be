"""Describes one lesion from files: what `petar describe` calls."""

from pathlib import Path

from model.inputs.tensors import SampleError
from model.petar.devices import pick_device
from model.petar.hub import from_pretrained
from model.serving.generation import describe
from model.serving.questions import Description
from pipelines.imaging.volume import load_nifti


def describe_files(
    checkpoint: str, pet: Path, mask: Path, ct: Path | None = None, question: str | None = None, device: str = "cpu"
) -> Description:
    """What the model says of one lesion, and what was measured.

    Args:
        checkpoint: folder of a trained checkpoint, or its hub id.
        pet: NIfTI in SUV by body weight.
        mask: NIfTI, not 0 on the lesion; its grid may be another, or cropped.
        ct: NIfTI in HU; without one the CT is taken as air.
        question: what the model is asked; None: what it was trained on.
        device: cpu, cuda, cuda:1, ...

    Raises:
        SampleError: a file is not there, or the mask is empty or elsewhere.
        CheckpointError: the checkpoint cannot be read.
        ExamError: a file is no readable NIfTI.
        DeviceError: there is no such device.
    """
    for path in filter(None, (pet, ct, mask)):
        if not path.is_file():
            raise SampleError(f"expected a NIfTI file at {path}, it is not there")
    place = pick_device(device)
    images = load_nifti(pet), load_nifti(ct) if ct else None, load_nifti(mask)
    return describe(*images, from_pretrained(checkpoint), question=question, device=str(place))
