from dataclasses import replace

import pytest
import torch

from model.petar.architecture import Petar, language_model
from model.petar.checkpoints import build_model
from model.petar.config import preset
from model.petar.vision import LesionEncoder, Tower


def images(config, n=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, *config.vision.image_shape, generator=generator)


class TestTower:
    def test_fused_attention_equals_monais_own(self, micro):
        torch.manual_seed(0)
        fused = Tower(micro.vision)
        plain = Tower(replace(micro.vision, attention="plain"))
        plain.load_state_dict(fused.state_dict())
        image = torch.rand(2, 1, *micro.vision.image_shape)
        assert torch.allclose(fused(image), plain(image), atol=1e-5)

    def test_drops_the_cls_token(self, micro):
        z, y, x = micro.vision.grid
        assert Tower(micro.vision)(torch.rand(1, 1, *micro.vision.image_shape)).shape == (
            1,
            z * y * x,
            micro.vision.width,
        )


class TestLesionEncoder:
    def test_untrained_mask_changes_nothing(self, micro):
        torch.manual_seed(0)
        encoder = LesionEncoder(micro)
        crops = images(micro)
        other = crops.clone()
        other[:, 2] = 1 - other[:, 2]
        assert torch.equal(encoder(crops, crops), encoder(other, other))

    def test_is_sum_of_global_and_focal_features(self, micro):
        torch.manual_seed(0)
        encoder = LesionEncoder(micro)
        a, b = images(micro), images(micro, seed=1)
        alone = LesionEncoder(replace(micro, use_focal=False))
        alone.load_state_dict(encoder.state_dict())
        assert torch.allclose(encoder(a, b), alone(a, None) + alone(b, None), atol=1e-5)

    def test_shared_tower_sees_ct_as_pet(self, micro):
        torch.manual_seed(0)
        encoder = LesionEncoder(replace(micro, shared_towers=True, use_mask=False))
        crops = images(micro)
        swapped = crops[:, [1, 0, 2]]
        width = micro.vision.width
        assert torch.allclose(encoder(crops, crops)[..., :width], encoder(swapped, swapped)[..., width:], atol=1e-6)

    def test_token_order_is_z_y_x(self, micro):
        config = replace(micro, use_focal=False, use_ct=False, use_mask=False, pool=1)
        encoder = LesionEncoder(config)
        # Without blocks and positions, a token depends on its own patch alone.
        encoder.pet_tower.blocks = torch.nn.ModuleList()
        torch.nn.init.zeros_(encoder.pet_tower.patch_embedding.position_embeddings)
        crops = torch.zeros(1, 3, *config.vision.image_shape)
        crops[0, 0, 4:, :8, 8:] = torch.rand(4, 8, 8)
        tokens = encoder(crops, None)[0]
        different = [i for i in range(8) if not torch.allclose(tokens[i], tokens[0], atol=1e-6)]
        assert different == [5]

    def test_refuses_images_of_another_shape(self, micro):
        with pytest.raises(ValueError, match="expected images"):
            LesionEncoder(micro)(torch.rand(1, 3, 4, 4, 4), None)


class TestPetar:
    def make(self, micro, tokenizer):
        torch.manual_seed(0)
        return build_model(micro, tokenizer)

    def test_puts_visual_tokens_where_the_image_tokens_stand(self, micro, tokenizer):
        model = self.make(micro, tokenizer)
        crops = images(micro, 1)
        visual = model.projector(model.vision(crops, crops))[0]
        n, image, text = micro.n_visual_tokens, tokenizer.image_id, [5, 6, 7]
        for ids in ([*text, *[image] * n], [*[image] * n, *text], [5, *[image] * n, 6, 7]):
            embedded = model.embed(torch.tensor([ids]), crops, crops)[0]
            places = [i for i, t in enumerate(ids) if t == image]
            assert torch.equal(embedded[places], visual)
            words = [i for i, t in enumerate(ids) if t != image]
            assert torch.equal(embedded[words], model.language.get_input_embeddings()(torch.tensor(text)))

    @pytest.mark.parametrize("change", [-1, 1])
    def test_refuses_another_count_of_image_tokens(self, micro, tokenizer, change):
        model = self.make(micro, tokenizer)
        ids = torch.tensor([[5, *[tokenizer.image_id] * (micro.n_visual_tokens + change)]])
        with pytest.raises(ValueError, match="image tokens"):
            model.embed(ids, images(micro, 1), images(micro, 1))

    def test_loss_equals_cross_entropy_over_full_logits(self, micro, tokenizer):
        model = self.make(micro, tokenizer).eval()
        crops = images(micro, 1)
        ids = torch.tensor([[tokenizer.image_id] * micro.n_visual_tokens + [5, 6, 7, 2]])
        labels = torch.full_like(ids, -100)
        labels[0, -3:] = ids[0, -3:]
        mask = torch.ones_like(ids)
        logits = model(ids, mask, crops, crops)
        expected = torch.nn.functional.cross_entropy(logits[0, -4:-1], ids[0, -3:], reduction="sum")
        assert torch.allclose(model(ids, mask, crops, crops, labels), expected, atol=1e-4)

    def test_generate_refuses_right_padding(self, micro, tokenizer):
        model = self.make(micro, tokenizer)
        ids = torch.tensor([[tokenizer.image_id] * micro.n_visual_tokens + [5, 0]])
        mask = torch.ones_like(ids)
        mask[0, -1] = 0
        with pytest.raises(ValueError, match="padded on the left"):
            model.generate(ids, mask, images(micro, 1), images(micro, 1), max_new_tokens=2, eos_id=2, pad_id=0)


class TestRelease:
    @pytest.mark.parametrize(("shared", "billions"), [(False, 4.01), (True, 3.92)])
    def test_has_the_papers_parameters(self, shared, billions):
        config = preset("petar-4b", shared_towers=shared)
        with torch.device("meta"):
            model = Petar(config, language_model(config.language, config.language.vocab_size), 1)
        counts = model.count_parameters()
        assert round(counts["total"] / 1e9, 2) == pytest.approx(billions, abs=0.011)
        assert round(counts["projector"] / 1e6, 2) == 14.16
        assert len(model.vision.pet_tower.state_dict()) == 138
