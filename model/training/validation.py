"""Accuracy of a model's texts on validation samples while it is trained."""

import torch

from model.inputs.tensors import Item, LesionDataset, collate
from model.petar.architecture import Petar
from model.petar.config import TrainingSettings
from model.petar.tokenizer import Encoded, PetarTokenizer
from model.training.stages import TrainingError
from pipelines.dataset.text_fields import field_accuracy

_ROOM = 1.25
"""New tokens of a text at most, over those of the longest reference."""


@torch.inference_mode()
def text_accuracy(
    model: Petar, data: LesionDataset, tokenizer: PetarTokenizer, settings: TrainingSettings, device: torch.device
) -> float:
    """Share of right fields (`field_accuracy`) of greedy texts for validation samples, 0 to 1.

    Args:
        model: on its device.
        data: the samples with their answers.
        tokenizer: of the model.
        settings: batch size and precision.
        device: of the model.

    Raises:
        TrainingError: no reference says region, organ or side.
    """
    model.eval()
    most = int(_ROOM * max(len(one.answer) for one in data.encoded))
    room = model.config.language.max_positions - max(len(one.prompt) for one in data.encoded)
    ends = {"eos_id": tokenizer.eos_id, "pad_id": tokenizer.pad_id, "max_new_tokens": min(most, room)}
    texts = []
    for start in range(0, len(data), settings.batch_size):
        items = [data[i] for i in range(start, min(start + settings.batch_size, len(data)))]
        asked = [Item(item.index, item.images, item.focal, Encoded(item.encoded.prompt, [])) for item in items]
        batch = collate(asked, tokenizer.pad_id, pad_left=True).to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=settings.precision == "bfloat16"):
            tokens = model.generate(batch.input_ids, batch.attention_mask, batch.images, batch.focal, **ends)
        texts += [tokenizer.decode(row) for row in tokens.tolist()]
    found = field_accuracy(texts, [str(row["target"]) for row in data.rows])
    if found is None:
        raise TrainingError(
            "expected validation answers that say region, organ or side, to choose an epoch by fields; got none: set "
            "select_by = 'loss'"
        )
    return found
