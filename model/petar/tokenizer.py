"""Words to token ids: a small BPE tokenizer trained on the cohort's texts, or Phi-3's, with PETAR's special tokens in
both.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from model.petar.config import IMAGE_TOKEN, NUMBER_TOKEN, SPECIAL_TOKENS, ModelConfig
from pipelines.settings import QUESTION

BOS, EOS, PAD = "<s>", "</s>", "<pad>"


class TokenizerError(ValueError):
    """A tokenizer that cannot serve this model."""


@dataclass(frozen=True)
class Encoded:
    """One sample as token ids: the prompt (image tokens included) and the answer with its end token."""

    prompt: list[int]
    answer: list[int]


class PetarTokenizer:
    """A tokenizer of transformers that knows the image token, and how prompt and answer stand in a row."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, new_ids: Sequence[int] = ()) -> None:
        self.tokenizer = tokenizer
        self.new_ids = tuple(new_ids)
        """Tokens that were added to what was loaded: weights that belong to it do not know them."""
        self.image_id = self._single_id(IMAGE_TOKEN)
        self.number_id = self._single_id(NUMBER_TOKEN)
        known = tokenizer.get_vocab()
        self.digit_ids = tuple(known[digit] for digit in "0123456789" if digit in known)
        """Tokens that are one digit: what `[#]` takes the place of."""
        eos = tokenizer.eos_token_id
        if not isinstance(eos, int):
            raise TokenizerError("expected a tokenizer with an end-of-text token, got one without")
        self.eos_id = eos
        # Phi-3 pads with its end token in some releases; the attention mask tells them apart.
        self.pad_id = tokenizer.pad_token_id if isinstance(tokenizer.pad_token_id, int) else eos
        self.bos_id = tokenizer.bos_token_id if isinstance(tokenizer.bos_token_id, int) else None

    def _single_id(self, token: str) -> int:
        ids = self.tokenizer.encode(token, add_special_tokens=False)
        if len(ids) != 1:
            raise TokenizerError(f"expected {token!r} to be one token, got ids {ids}: add PETAR's special tokens first")
        return ids[0]

    def __len__(self) -> int:
        return len(self.tokenizer)

    def encode(self, config: ModelConfig, question: str, answer: str | None) -> Encoded:
        """Token ids of a sample: prompt with image tokens | answer [EOS]; the answer is empty where there is none.

        A prompt has the same ids in training and in generation. How the parts are joined says `config.layout.text`.
        """
        if config.layout.text == "joint":
            return self._encode_joint(config.n_visual_tokens, question, answer)
        start = [] if self.bos_id is None else [self.bos_id]
        prompt = [*start, *[self.image_id] * config.n_visual_tokens, *self._text_ids(question)]
        return Encoded(prompt, [] if answer is None else [*self._text_ids(" " + answer.strip()), self.eos_id])

    def _encode_joint(self, n_visual: int, question: str, answer: str | None) -> Encoded:
        """As M3D and the PETAR release encode: one text, BOS where the tokenizer adds one."""
        images = IMAGE_TOKEN * n_visual
        question = question.replace(IMAGE_TOKEN, "")
        prompt = self._whole_ids(images + question)
        said = "" if answer is None else f" {answer.replace(IMAGE_TOKEN, '').strip()}"
        whole = self._whole_ids(images + question + said) if said else prompt
        rest = whole[len(prompt) :]
        if prompt[0] == self.image_id:
            # The release puts the visual tokens after the first token. Without a BOS that is an image token, which
            # stays as a word, and the last visual token takes the place of the question's first.
            prompt = [self.image_id, *prompt[:n_visual], *prompt[n_visual + 1 :]]
        return Encoded(prompt, [] if answer is None else [*rest, self.eos_id])

    def _whole_ids(self, text: str) -> list[int]:
        """Ids of a text with the start token that the tokenizer adds, without an end token."""
        ids = list(self.tokenizer(text)["input_ids"])
        return ids[:-1] if ids[-1:] == [self.eos_id] else ids

    def _text_ids(self, text: str) -> list[int]:
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        # A text that spells the image token would take a place meant for a visual token.
        return [i for i in ids if i != self.image_id]

    def decode(self, ids: Sequence[int]) -> str:
        """The text up to the first end token, without special tokens."""
        ids = list(ids)
        if self.eos_id in ids:
            ids = ids[: ids.index(self.eos_id)]
        drop = {self.pad_id, self.bos_id, self.image_id}
        return str(self.tokenizer.decode([i for i in ids if i not in drop], skip_special_tokens=True)).strip()

    def save(self, folder: Path) -> None:
        """Writes the tokenizer's files into a folder, as transformers reads them."""
        self.tokenizer.save_pretrained(folder)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PetarTokenizer:
    """A byte-level BPE tokenizer of at most `vocab_size` tokens, trained on the texts; it can spell any text."""
    tokenizer = Tokenizer(models.BPE())
    # Digits one by one: a number is then spelled, not one token of many that were seen once.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL_TOKENS) - 1,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=2,
        show_progress=False,
    )
    unique = sorted({QUESTION, *texts})
    # Both forms, for an answer is encoded with a space before it.
    tokenizer.train_from_iterator([form for text in unique for form in (text, " " + text)], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD)
    return PetarTokenizer(add_petar_tokens(fast))


def add_petar_tokens(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer with the release's special tokens and `[#]` as one token each; those it knows already stay as they
    are.
    """
    known = tokenizer.get_vocab()
    new = [AddedToken(t, normalized=False, special=True) for t in SPECIAL_TOKENS if t not in known]
    tokenizer.add_tokens(new, special_tokens=True)
    # Not special: a special token vanishes when an answer is decoded.
    tokenizer.add_tokens([AddedToken(NUMBER_TOKEN, normalized=False, special=False)])
    return tokenizer


def has_tokenizer(source: Path) -> bool:
    """Whether `load_tokenizer` finds one in a folder or file."""
    return _gguf_of(source) is not None or (source / "tokenizer_config.json").is_file()


def load_tokenizer(source: Path) -> PetarTokenizer:
    """The tokenizer of a checkpoint, or Phi-3's own from its folder, with PETAR's tokens added where they are
    missing.

    Args:
        source: a folder, or a GGUF file, which holds its tokenizer too.
    """
    gguf = _gguf_of(source)
    if gguf is not None:
        loaded = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name, local_files_only=True)
    elif source.is_dir():
        loaded = AutoTokenizer.from_pretrained(str(source), local_files_only=True)
    else:
        raise TokenizerError(
            f"expected a folder with a tokenizer (tokenizer.json, tokenizer_config.json) or a GGUF file, got {source}"
        )
    known = set(loaded.get_vocab().values())
    added = add_petar_tokens(loaded)
    return PetarTokenizer(added, sorted(set(added.get_vocab().values()) - known))


def _gguf_of(source: Path) -> Path | None:
    """The GGUF file of a source whose tokenizer is in no file of its own."""
    if source.suffix == ".gguf" and source.is_file():
        return source
    found = [] if (source / "tokenizer_config.json").is_file() else sorted(source.glob("*.gguf"))
    return found[0] if found else None
