import numpy as np
import torch

from model.petar.checkpoints import build_model
from model.training.language import warm_up_language

PAIRS = [("What is it?", f"{side} {organ}") for side in ("left", "right") for organ in ("lung", "kidney", "rib")]


def negative_log_likelihood(model, tokenizer, answer, hint):
    encoded = tokenizer.encode(model.config, "What is it?", answer)
    ids = torch.tensor([[*encoded.prompt, *encoded.answer]])
    table = model.language.get_input_embeddings()
    word = table(torch.tensor(tokenizer.encode(model.config, "", hint).answer[:-1])).mean(0)
    embedded = table(ids).masked_scatter(
        (ids == tokenizer.image_id).unsqueeze(-1), word.repeat(model.config.n_visual_tokens, 1)
    )
    with torch.no_grad():
        logits = model.language(inputs_embeds=embedded).logits[0]
    start = len(encoded.prompt)
    return float(torch.nn.functional.cross_entropy(logits[start - 1 : -1], ids[0, start:]))


class TestWarmUpLanguage:
    def test_answers_follow_the_hint_at_the_image_tokens(self, micro, tokenizer):
        torch.manual_seed(0)
        model = build_model(micro, tokenizer)
        losses = warm_up_language(model, tokenizer, PAIRS, 150)
        assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:5])
        for told, other in (("left lung", "right lung"), ("right rib", "right kidney")):
            assert negative_log_likelihood(model, tokenizer, told, told) < negative_log_likelihood(
                model, tokenizer, told, other
            )

    def test_touches_the_language_model_alone(self, micro, tokenizer):
        torch.manual_seed(0)
        model = build_model(micro, tokenizer)
        before = {n: p.clone() for n, p in model.named_parameters()}
        warm_up_language(model, tokenizer, PAIRS, 2)
        moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
        assert moved
        assert all(n.startswith("language.") for n in moved)
