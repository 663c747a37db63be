"""Layouts of public weights: whose names a file's tensors carry, and what such weights expect of their inputs."""

from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

from model.petar.checkpoints import CheckpointError
from model.petar.config import LayoutConfig


class Layout(StrEnum):
    """Whose names the tensors of a file carry."""

    OWN = "own"
    PETAR = "petar"
    """`model.vision_tower.vision_tower.*`, `...ct_tower.*`, `...patch_embedding_mask.*`,
    `model.mm_projector.projector.*`.
    """
    M3D = "m3d"
    """M3D-LaMed and M3D-RAD: the same with one tower and no mask."""
    M3D_CLIP = "m3d-clip"
    """`pretrained_ViT.bin`: one tower, bare or under `vision_encoder.`."""
    PHI3 = "phi3"
    """`model.layers.*`, `lm_head.weight`; also Llama's, whose layers have query, key and value, gate and up apart."""


RELEASE_TOWERS = "model.vision_tower."
_TOWER_PREFIXES = ("vision_encoder.", "vision_tower.", "")
_FIRST_OF_A_TOWER = ("patch_embedding.", "blocks.", "norm.", "cls_token")


def detect_layout(names: Iterable[str]) -> Layout:
    """The layout that a file's tensor names are of. Raises CheckpointError where they are of none."""
    names = list(names)
    if any(n.startswith("vision.pet_tower.") for n in names):
        return Layout.OWN
    if any(n.startswith(RELEASE_TOWERS) for n in names):
        release = any(".ct_tower." in n or ".patch_embedding_mask." in n for n in names)
        return Layout.PETAR if release else Layout.M3D
    if any(n.startswith("model.layers.") for n in names):
        return Layout.PHI3
    if any(tower_name(n) for n in names):
        return Layout.M3D_CLIP
    raise CheckpointError(
        f"expected tensors of {', '.join(Layout)}, got names like {', '.join(names[:3]) or 'none'}: give another file"
    )


def tower_name(name: str) -> str | None:
    """The name within a ViT tower, or None for a tensor of no tower."""
    for prefix in _TOWER_PREFIXES:
        if name.startswith(prefix) and name[len(prefix) :].startswith(_FIRST_OF_A_TOWER):
            return name[len(prefix) :]
    return None


@lru_cache(maxsize=1)
def release_questions() -> tuple[str, ...]:
    """The questions that the PETAR release was trained on and asks, one of them at random.

    They are part of its weights as its tokens are: another wording is an input that it has never seen. Source:
    `inference.py` of github.com/DanyalMaq/petar-release.
    """
    return tuple(Path(__file__).with_name("release_questions.txt").read_text(encoding="utf-8").splitlines())


def expected_inputs(names: Iterable[str]) -> LayoutConfig | None:
    """What weights with these tensor names expect of their inputs; None where they leave it to the configuration (a
    tower or a language model alone, a checkpoint of ours, whose contract says it).

    The PETAR release was trained on volumes whose x axis begins at the patient's left, on crops that are clipped at the
    image's border, cut to PET > 0 and stretched, with a CT tower that has no CLS token; M3D on radiological axes. Both
    tokenise a sample as one text.

    Raises:
        CheckpointError: the names are of no layout.
    """
    names = list(names)
    layout = detect_layout(names)
    if layout is Layout.M3D:
        return LayoutConfig(text="joint")
    if layout is not Layout.PETAR:
        return None
    return LayoutConfig(
        x_from="left",
        border="clip",
        resize="trilinear",
        foreground_crop=True,
        ct_class_token=any(name.endswith(".ct_tower.cls_token") for name in names),
        text="joint",
        questions=release_questions(),
    )
