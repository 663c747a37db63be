from dataclasses import replace

import pytest

from model.petar.config import IMAGE_TOKEN, NUMBER_TOKEN, SPECIAL_TOKENS, LayoutConfig
from model.petar.tokenizer import TokenizerError, load_tokenizer


class TestPetarTokenizer:
    def test_spells_any_text(self, tokenizer, micro):
        text = "Größe 3,5 µm – 12 left"
        assert tokenizer.decode(tokenizer.encode(micro, "q", text).answer) == text

    def test_knows_each_special_token_as_one(self, tokenizer):
        for token in (*SPECIAL_TOKENS, NUMBER_TOKEN):
            assert len(tokenizer.tokenizer.encode(token, add_special_tokens=False)) == 1

    def test_number_token_survives_decoding(self, tokenizer, micro):
        assert tokenizer.decode(tokenizer.encode(micro, "q", "SUVmax [#].").answer) == "SUVmax [#]."

    def test_prompt_holds_exactly_the_visual_tokens_even_if_the_question_spells_one(self, tokenizer, micro):
        prompt = tokenizer.encode(micro, f"what is {IMAGE_TOKEN}?", None).prompt
        assert prompt.count(tokenizer.image_id) == micro.n_visual_tokens

    def test_joint_text_is_the_tokens_of_the_whole(self, tokenizer, micro):
        joint = replace(micro, layout=LayoutConfig(text="joint"))
        encoded = tokenizer.encode(joint, "Which organ?", "left lung")
        whole = tokenizer.tokenizer(f"{IMAGE_TOKEN * micro.n_visual_tokens}Which organ? left lung")["input_ids"]
        # The tokenizer adds no BOS: the first image token is a word, and the visual tokens take the place of the next.
        n = micro.n_visual_tokens
        assert encoded.prompt == [tokenizer.image_id] * (n + 1) + whole[n + 1 : len(encoded.prompt)]
        assert encoded.answer == [*whole[len(encoded.prompt) :], tokenizer.eos_id]
        assert tokenizer.encode(joint, "Which organ?", None).prompt == encoded.prompt

    def test_joint_text_drops_an_image_token_that_is_spelled(self, tokenizer, micro):
        joint = replace(micro, layout=LayoutConfig(text="joint"))
        encoded = tokenizer.encode(joint, f"Which {IMAGE_TOKEN} organ?", f"left {IMAGE_TOKEN} lung")
        assert [*encoded.prompt, *encoded.answer].count(tokenizer.image_id) == micro.n_visual_tokens + 1

    def test_comes_back_equal_from_disk(self, tokenizer, micro, tmp_path):
        tokenizer.save(tmp_path)
        again = load_tokenizer(tmp_path)
        assert len(again) == len(tokenizer)
        assert again.encode(micro, "Which?", "SUVmax [#] left") == tokenizer.encode(micro, "Which?", "SUVmax [#] left")

    def test_missing_folder_is_an_error(self, tmp_path):
        with pytest.raises(TokenizerError, match="expected a folder"):
            load_tokenizer(tmp_path / "nothing")
