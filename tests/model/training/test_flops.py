import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from model.petar.architecture import Petar, language_model
from model.petar.config import preset
from model.training.flops import forward_flops, peak_flops, training_flops


class TestForwardFlops:
    def test_is_what_torch_counts(self, micro):
        length, answer = 40, 6
        model = Petar(micro, language_model(micro.language, micro.language.vocab_size), 5)
        ids = torch.full((1, length), 7)
        ids[:, 1 : 1 + micro.n_visual_tokens] = 5
        labels = torch.full_like(ids, -100)
        labels[:, -answer:] = 7
        images = torch.rand(1, 3, *micro.vision.image_shape)
        # The counter does not know the CPU's fused attention.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model(ids, torch.ones_like(ids), images, images, labels)
        assert sum(forward_flops(micro, length, answer)) == pytest.approx(counter.get_total_flops(), rel=0.02)

    def test_petar_4bs_language_takes_two_operations_a_weight_and_token(self):
        vision, language = forward_flops(preset("petar-4b"), 768, 64)
        # 3.7 B weights of the decoder, two operations each, 768 tokens.
        assert language == pytest.approx(2 * 3.7e9 * 768, rel=0.1)
        assert vision < language

    def test_lora_saves_the_gradients_of_frozen_weights(self, micro):
        assert training_flops(micro, 40, 6, lora=True) < training_flops(micro, 40, 6)


class TestPeakFlops:
    @pytest.mark.parametrize(
        ("name", "tflops"),
        [
            ("NVIDIA H100 80GB HBM3", 989),
            ("NVIDIA H100 PCIe", 756),
            ("NVIDIA L40S", 362),
            ("NVIDIA A100-SXM4-40GB", 312),
        ],
    )
    def test_knows_a_gpu_by_its_name(self, name, tflops):
        assert peak_flops(name) == tflops * 1e12

    def test_an_unknown_one_has_none(self):
        assert peak_flops("cpu") is None
