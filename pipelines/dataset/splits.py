"""Which split a patient is in: by a hash of the id, so that a patient never moves when the cohort grows."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Literal

from pipelines.settings import SplitSettings

Split = Literal["train", "val", "test"]


def split_of(patient_id: str, settings: SplitSettings = SplitSettings()) -> Split:
    """The patient's split: the hash of salt and id as a number in 0..1, test at the low end, validation next to it."""
    digest = blake2b(f"{settings.salt}\0{patient_id}".encode(), digest_size=8).digest()
    place = int.from_bytes(digest) / 2**64
    if place < settings.test:
        return "test"
    return "val" if place < settings.test + settings.val else "train"


def split_of_exam(exam: Mapping[str, Any], settings: SplitSettings = SplitSettings()) -> Split:
    """The split of an exam (`patient_id`, and `split` where its cohort comes with one): the given one, else the
    patient's."""
    given = exam.get("split")
    return given if given is not None else split_of(str(exam["patient_id"]), settings)
