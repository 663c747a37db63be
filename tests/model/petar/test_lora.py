import torch

from model.petar.checkpoints import build_model
from model.petar.lora import add_lora, merge_lora
from model.training.stages import freeze_for


def make(micro, tokenizer):
    torch.manual_seed(0)
    return build_model(micro, tokenizer).eval()


class TestLora:
    def logits(self, model):
        ids = torch.tensor([[5, 6, 7, 8]])
        with torch.no_grad():
            return model.language(input_ids=ids).logits

    def test_untrained_changes_nothing(self, micro, tokenizer):
        model = make(micro, tokenizer)
        before = self.logits(model)
        assert add_lora(model, 4, 8) == 4 * micro.language.layers
        assert torch.equal(self.logits(model), before)

    def test_merged_says_the_same_under_the_old_names(self, micro, tokenizer):
        model = make(micro, tokenizer)
        names = set(model.state_dict())
        add_lora(model, 4, 8)
        for name, parameter in model.named_parameters():
            if ".lora_b" in name:
                torch.nn.init.normal_(parameter, std=0.1)
        trained = self.logits(model)
        merge_lora(model)
        assert set(model.state_dict()) == names
        assert torch.allclose(self.logits(model), trained, atol=1e-4)
        assert not torch.allclose(trained, self.logits(make(micro, tokenizer)), atol=1e-2)

    def test_full_stage_trains_it_instead_of_the_language_model(self, micro, tokenizer):
        model = make(micro, tokenizer)
        add_lora(model, 4, 8)
        names = freeze_for(model, "findings_full")
        assert all(".lora_" in n for n in names if n.startswith("language."))
        assert any(n.startswith("vision.") for n in names)
        assert any(".lora_a" in n for n in names)
