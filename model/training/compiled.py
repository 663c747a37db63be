"""Compilation of a model's transformer blocks by torch.compile, each by itself: equal blocks share one compilation, and
sharding and recomputation of activations stay outside of it.
"""

from torch import nn

from model.petar.architecture import Petar


def transformer_blocks(model: Petar) -> list[nn.Module]:
    """The blocks of the towers, then the layers of the language model."""
    towers = [model.vision.pet_tower, getattr(model.vision, "ct_tower", None)]
    return [*(b for tower in towers if tower is not None for b in tower.blocks), *model.language.model.layers]


def compile_blocks(model: Petar, backend: str = "inductor") -> int:
    """Compiles every block in place, as a whole: a part that torch cannot trace is an error. Returns how many.

    Args:
        model: on its device, sharded or not.
        backend: of torch.compile.
    """
    blocks = transformer_blocks(model)
    for block in blocks:
        block.compile(fullgraph=True, backend=backend)
    return len(blocks)
