from dataclasses import replace

import pytest
import torch
from peft import PeftModel

from model.petar.checkpoints import build_model
from model.petar.lora import add_lora, is_trained_beside_lora, merge_lora, save_adapter
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
            if ".lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
        trained = self.logits(model)
        merge_lora(model)
        assert set(model.state_dict()) == names
        assert torch.allclose(self.logits(model), trained, atol=1e-4)
        assert not torch.allclose(trained, self.logits(make(micro, tokenizer)), atol=1e-2)

    def test_full_stage_trains_it_with_embedding_and_output_layer(self, micro, tokenizer):
        model = make(micro, tokenizer)
        add_lora(model, 4, 8)
        names = freeze_for(model, "findings_full")
        own = [n for n in names if n.startswith("language.") and ".lora_" not in n]
        assert own == ["language.lm_head.weight", "language.model.embed_tokens.weight"]
        assert any(n.startswith("vision.") for n in names)
        assert any(".lora_A" in n for n in names)

    @pytest.mark.parametrize("is_tied", [False, True])
    def test_peft_reads_the_adapter_over_the_model_that_it_started_from(self, micro, tokenizer, tmp_path, is_tied):
        config = replace(micro, language=replace(micro.language, tied_embeddings=is_tied))
        start, model = make(config, tokenizer), make(config, tokenizer)
        add_lora(model, 4, 8)
        with torch.no_grad():
            for name, parameter in model.language.named_parameters():
                if is_trained_beside_lora(f".{name}"):
                    parameter += 0.1 * torch.randn_like(parameter)
        trained = self.logits(model)
        save_adapter(tmp_path, model, 4, 8)
        adapted = PeftModel.from_pretrained(start.language, str(tmp_path)).eval()
        with torch.no_grad():
            assert torch.allclose(adapted(input_ids=torch.tensor([[5, 6, 7, 8]])).logits, trained, atol=1e-5)
