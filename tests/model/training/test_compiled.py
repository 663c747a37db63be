import torch

from model.inputs.tensors import LesionDataset, collate
from model.petar.checkpoints import build_model
from model.training.compiled import compile_blocks
from model.training.stages import prepare_for_training


def test_blocks_are_traced_as_a_whole_and_give_the_same_loss(lake, micro, tokenizer, settings):
    data = LesionDataset(lake.train.head(2), micro, tokenizer, lake.home)
    batch = collate([data[0], data[1]], tokenizer.pad_id)
    losses = []
    for compiles in (False, True):
        torch.manual_seed(0)
        model = build_model(micro, tokenizer).train()
        prepare_for_training(model, settings)
        if compiles:
            # A part that cannot be traced is an error.
            assert compile_blocks(model, backend="eager") == 3
        loss = model(batch.input_ids, batch.attention_mask, batch.images, batch.focal, batch.labels)
        loss.backward()
        losses.append(float(loss))
    assert losses[0] == losses[1]


def test_the_whole_model_is_one_graph(lake, micro, tokenizer):
    data = LesionDataset(lake.train.head(2), micro, tokenizer, lake.home)
    batch = collate([data[0], data[1]], tokenizer.pad_id)
    model = build_model(micro, tokenizer).eval()
    given = (batch.input_ids, batch.attention_mask, batch.images, batch.focal, batch.labels)
    # How many tokens are answers is known to no graph before.
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True), torch.no_grad():
        loss = torch.compile(model, fullgraph=True, backend="eager")(*given)
    torch.testing.assert_close(loss, model(*given))
