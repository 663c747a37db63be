from dataclasses import replace

import pytest
import torch
from monai.networks.nets import ViT
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from model.petar.checkpoints import CheckpointError, build_model
from model.petar.config import VisionConfig
from model.petar.layouts import Layout, detect_layout, expected_inputs
from model.petar.tokenizer import PetarTokenizer
from model.petar.vision import Tower
from model.petar.weights import load_public_weights, read_weights, start_new_rows
from tests.support.petar_release import Release


def make(config, tokenizer, seed=0):
    torch.manual_seed(seed)
    return build_model(config, tokenizer)


def plain_vit(config, seed=5):
    """MONAI's own ViT as M3D-CLIP configures it, without what the checkpoint lacks."""
    torch.manual_seed(seed)
    vit = ViT(
        in_channels=1, img_size=config.image_shape, patch_size=config.patch_shape, hidden_size=config.width,
        mlp_dim=config.mlp_width,
        num_layers=config.layers, num_heads=config.heads, proj_type="perceptron", classification=True,
    )  # fmt: skip
    state = {n: t for n, t in vit.state_dict().items() if "norm_cross_attn" not in n and "classification_head" not in n}
    return vit, state


class TestM3dClip:
    def test_138_of_138_load_at_full_size(self):
        with torch.device("meta"):
            tower = Tower(VisionConfig())
            _, state = plain_vit(VisionConfig())
        assert len(state) == 138
        assert set(state) == set(tower.state_dict())
        assert all(tower.state_dict()[n].shape == t.shape for n, t in state.items())

    @pytest.mark.parametrize("prefix", ["", "vision_encoder."])
    def test_towers_give_what_the_reference_gives(self, micro, tokenizer, prefix):
        reference, state = plain_vit(micro.vision)
        model = make(micro, tokenizer)
        report = load_public_weights(model, {prefix + n: t for n, t in state.items()})
        assert len(report.loaded) == 2 * len(state)
        image = torch.rand(2, 1, *micro.vision.image_shape)
        # The reference's own forward ends in its classifier; its features are the normed last state.
        expected = reference.norm(reference(image)[1][-1])[:, 1:]
        for tower in (model.vision.pet_tower, model.vision.ct_tower):
            assert torch.allclose(tower(image), expected, atol=1e-5)

    def test_text_side_of_clip_is_unexpected(self, micro, tokenizer):
        _, state = plain_vit(micro.vision)
        tensors = {**{f"vision_encoder.{n}": t for n, t in state.items()}, "language_encoder.x": torch.zeros(1)}
        with pytest.raises(CheckpointError, match=r"language_encoder\.x"):
            load_public_weights(make(micro, tokenizer), tensors)
        report = load_public_weights(make(micro, tokenizer), tensors, allow_unexpected=True)
        assert report.unexpected == ("language_encoder.x",)

    def test_tower_of_another_depth_is_an_error(self, micro, tokenizer):
        _, state = plain_vit(replace(micro.vision, layers=2))
        with pytest.raises(CheckpointError, match=r"blocks\.1\."):
            load_public_weights(make(micro, tokenizer), state)


class TestPetarRelease:
    def released(self, micro, tokenizer):
        return replace(micro, layout=expected_inputs(Release(micro, tokenizer).state_dict()))

    def test_every_tensor_finds_its_part(self, micro, tokenizer):
        release = Release(micro, tokenizer)
        config = self.released(micro, tokenizer)
        model = build_model(config, tokenizer, release.language.config.vocab_size)
        report = load_public_weights(model, release.state_dict())
        assert report.missing == report.unexpected == ()
        assert "vision.ct_tower.cls_token" not in model.state_dict()

    def test_features_are_what_the_release_computes(self, micro, tokenizer):
        release = Release(micro, tokenizer)
        model = build_model(self.released(micro, tokenizer), tokenizer, release.language.config.vocab_size)
        load_public_weights(model, release.state_dict())
        images, focal = torch.rand(2, 2, 3, *micro.vision.image_shape)
        ours = model.projector(model.vision(images, focal))
        theirs = release.projector(release.towers(images) + release.towers(focal))
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))

    def test_missing_ct_tower_is_an_error(self, micro, tokenizer):
        release = Release(micro, tokenizer)
        tensors = {n: t for n, t in release.state_dict().items() if "ct_tower" not in n}
        model = build_model(micro, tokenizer, release.language.config.vocab_size)
        with pytest.raises(CheckpointError, match=r"lacks vision\.ct_tower"):
            load_public_weights(model, tensors, layout=Layout.PETAR)


class TestExpectedInputs:
    def test_the_release_is_clipped_from_the_left_and_asks_15_questions(self, micro, tokenizer):
        layout = expected_inputs(Release(micro, tokenizer).state_dict())
        assert (layout.x_from, layout.border, layout.resize, layout.text) == ("left", "clip", "trilinear", "joint")
        assert layout.foreground_crop
        assert not layout.ct_class_token
        assert len(set(layout.questions)) == 15
        assert all(question.strip() == question for question in layout.questions)

    def test_m3d_is_radiological_and_encodes_jointly(self):
        layout = expected_inputs(["model.vision_tower.vision_tower.cls_token", "model.layers.0.x"])
        assert (layout.x_from, layout.text) == ("right", "joint")

    def test_parts_leave_it_to_the_configuration(self):
        assert expected_inputs(["model.layers.0.x"]) is None
        assert expected_inputs(["vision_encoder.cls_token"]) is None


class TestM3dLamed:
    NAMES = (
        ("vision.pet_tower.", "model.vision_tower.vision_tower."),
        ("projector.", "model.mm_projector."),
        ("language.", ""),
    )

    def tensors(self, config, tokenizer):
        """A model of one tower under the names of M3D-LaMed."""
        state = make(replace(config, use_ct=False, use_mask=False), tokenizer, 3).state_dict()
        return {
            theirs + name[len(ours) :]: tensor
            for name, tensor in state.items()
            for ours, theirs in self.NAMES
            if name.startswith(ours)
        }

    def test_one_tower_serves_both_and_the_projector_starts_anew(self, micro, tokenizer):
        model = make(micro, tokenizer)
        projector = model.projector.projector[0].weight.clone()
        report = load_public_weights(model, self.tensors(micro, tokenizer))
        pet, ct = model.vision.pet_tower.state_dict(), model.vision.ct_tower.state_dict()
        assert all(torch.equal(pet[n], ct[n]) for n in pet)
        assert torch.equal(model.projector.projector[0].weight, projector)
        assert "projector.projector.0.weight" in report.missing

    def test_a_ct_tower_without_cls_token_takes_the_rest(self, micro, tokenizer):
        model = make(replace(micro, layout=replace(micro.layout, ct_class_token=False)), tokenizer)
        report = load_public_weights(model, self.tensors(micro, tokenizer))
        assert not [name for name in report.missing if "tower" in name]

    def test_projector_loads_where_there_is_no_ct(self, micro, tokenizer):
        model = make(replace(micro, use_ct=False), tokenizer)
        report = load_public_weights(model, self.tensors(micro, tokenizer))
        assert "projector.projector.0.weight" in report.loaded

    def test_segmentation_head_is_dropped_only_where_allowed(self, micro, tokenizer):
        tensors = {**self.tensors(micro, tokenizer), "model.seg_module.x": torch.zeros(1)}
        with pytest.raises(CheckpointError, match="seg_module"):
            load_public_weights(make(micro, tokenizer), tensors)
        report = load_public_weights(make(micro, tokenizer), tensors, allow_unexpected=True)
        assert "model.seg_module.x" in report.unexpected


class TestPhi3:
    def test_added_tokens_keep_their_start(self, micro, tokenizer):
        source, target = make(micro, tokenizer, 1), make(micro, tokenizer, 2)
        tensors = {n.removeprefix("language."): t for n, t in source.state_dict().items() if n.startswith("language.")}
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            tensors[name] = tensors[name][:-5]
        kept = target.language.lm_head.weight[-5:].clone()
        report = load_public_weights(target, tensors)
        assert torch.equal(target.language.lm_head.weight[:-5], source.language.lm_head.weight[:-5])
        assert torch.equal(target.language.lm_head.weight[-5:], kept)
        assert all(not n.startswith("language.") for n in report.missing)


class TestReadWeights:
    def test_reads_shards_of_a_folder(self, tmp_path):
        save_file({"a": torch.ones(1)}, tmp_path / "m-1.safetensors")
        save_file({"b": torch.zeros(1)}, tmp_path / "m-2.safetensors")
        (tmp_path / "model.safetensors.index.json").write_text(
            '{"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}'
        )
        assert set(read_weights(tmp_path)) == {"a", "b"}

    def test_reads_a_bin(self, tmp_path):
        torch.save({"a": torch.ones(2)}, tmp_path / "w.bin")
        assert read_weights(tmp_path / "w.bin")["a"].sum() == 2

    @pytest.mark.parametrize("content", [b"no tensors", b""])
    def test_damaged_file_is_a_clear_error(self, tmp_path, content):
        (tmp_path / "w.bin").write_bytes(content)
        with pytest.raises(CheckpointError, match="cannot read"):
            read_weights(tmp_path / "w.bin")

    def test_empty_folder_and_missing_file_are_clear_errors(self, tmp_path):
        with pytest.raises(CheckpointError, match="found none"):
            read_weights(tmp_path)
        with pytest.raises(CheckpointError, match="not there"):
            read_weights(tmp_path / "w.bin")

    def test_names_of_no_layout_are_refused(self):
        with pytest.raises(CheckpointError, match="names like foo"):
            detect_layout(["foo.weight"])


class TestLlama:
    def test_its_layers_join_to_phi3s_and_tied_embeddings_serve_twice(self, micro, tokenizer):
        language = replace(micro.language, heads=4, kv_heads=2, tied_embeddings=True, rope_theta=5e4)
        config = replace(micro, language=language)
        llama = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1,
                num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128, rms_norm_eps=1e-5,
                rope_parameters={"rope_type": "default", "rope_theta": 5e4}, tie_word_embeddings=True,
            )
        ).eval()  # fmt: skip
        model = make(config, tokenizer).eval()
        report = load_public_weights(model, {n: t for n, t in llama.state_dict().items() if n != "lm_head.weight"})
        assert not [n for n in (*report.missing, *report.unexpected) if n.startswith("language.")]
        ids = torch.arange(20)[None]
        with torch.inference_mode():
            assert torch.allclose(model.language(ids).logits, llama(ids).logits, atol=1e-6)

    def test_refuses_two_tables_for_a_tied_model(self, micro, tokenizer):
        tied = replace(micro, language=replace(micro.language, tied_embeddings=True))
        tensors = {n.removeprefix("language."): t for n, t in make(micro, tokenizer).state_dict().items()}
        with pytest.raises(CheckpointError, match="tied_embeddings = false"):
            load_public_weights(make(tied, tokenizer), tensors, layout=Layout.PHI3)


class TestStartNewRows:
    def test_are_the_mean_of_the_known_ones_and_the_number_that_of_the_digits(self, micro, tokenizer):
        model = make(micro, tokenizer)
        words = PetarTokenizer(tokenizer.tokenizer, [7, tokenizer.number_id])
        known = [i for i in range(len(words) - 2) if i not in words.new_ids]
        digits = [words.tokenizer.get_vocab()[digit] for digit in "0123456789"]
        for table in (model.language.lm_head.weight, model.language.model.embed_tokens.weight):
            before = table.detach().clone()
            start_new_rows(model, words)
            assert torch.allclose(table[7], before[known].mean(dim=0), atol=1e-6)
            assert torch.allclose(table[words.number_id], before[digits].mean(dim=0), atol=1e-6)
            assert torch.equal(table[known], before[known])
