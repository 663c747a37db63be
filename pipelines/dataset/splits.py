"""Which split a patient is in: by a hash of the id, so that a patient never moves when the cohort grows."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class SplitSettings:
    """Shares of validation and test patients; the rest trains. The paper: 80/10/10."""

    val: float = 0.1
    test: float = 0.1
    salt: str = ""
    """Another salt deals the patients anew."""

    def __post_init__(self) -> None:
        if self.val < 0 or self.test < 0 or self.val + self.test >= 1:
            raise ValueError(
                f"expected shares >= 0 with something left to train on, got val {self.val}, test {self.test}"
            )


def split_of(patient_id: str, settings: SplitSettings = SplitSettings()) -> Split:
    """The patient's split: the hash of salt and id as a number in 0..1, test at the low end, validation next to it."""
    digest = blake2b(f"{settings.salt}\0{patient_id}".encode(), digest_size=8).digest()
    place = int.from_bytes(digest) / 2**64
    if place < settings.test:
        return "test"
    return "val" if place < settings.test + settings.val else "train"
