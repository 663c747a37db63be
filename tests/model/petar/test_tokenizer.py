import pytest

from model.petar.config import IMAGE_TOKEN, NUMBER_TOKEN, SPECIAL_TOKENS
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

    def test_comes_back_equal_from_disk(self, tokenizer, micro, tmp_path):
        tokenizer.save(tmp_path)
        again = load_tokenizer(tmp_path)
        assert len(again) == len(tokenizer)
        assert again.encode(micro, "Which?", "SUVmax [#] left") == tokenizer.encode(micro, "Which?", "SUVmax [#] left")

    def test_missing_folder_is_an_error(self, tmp_path):
        with pytest.raises(TokenizerError, match="expected a folder"):
            load_tokenizer(tmp_path / "nothing")
