"""METEOR by nltk, with WordNet 3.0 from its database files: forms, stems and synonyms in common, in order."""

import functools
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from model.evaluation.metrics.cider import tokenize
from model.evaluation.metrics.pairs import Mean, Pairs
from model.evaluation.metrics.settings import NotComputableError
from pipelines.settings import ScoreSettings

if TYPE_CHECKING:
    # nltk is an eighth of what a run's process imports, and few runs score texts.
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

_NEEDED = (
    "data.noun",
    "data.verb",
    "data.adj",
    "data.adv",
    "index.noun",
    "index.verb",
    "index.adj",
    "index.adv",
    "index.sense",
)
_DEBIAN = Path("/usr/share/wordnet")
# Names of WordNet's lexicographer files by number, from its manual page lexnames(5WN); Debian ships the rest without
# them.
_LEXNAMES = {
    "adj": "all pert",
    "adv": "all",
    "noun": "Tops act animal artifact attribute body cognition communication event feeling food group location motive "
    "object person phenomenon plant possession process quantity relation shape state substance time",
    "verb": "body change cognition communication competition consumption contact creation emotion motion perception "
    "possession social stative weather",
    "adj (participles)": "ppl",
}
_PART_OF_SPEECH = {"noun": 1, "verb": 2, "adj": 3, "adv": 4}


_copies: set[str] = set()
"""Folders that `_as_nltk_has_it` put among nltk's own."""


def find_wordnet(folder: Path | None) -> Path:
    """Folder of WordNet's database files: the given one, nltk's, or Debian's; raises NotComputableError where there is
    none.
    """
    import nltk

    if folder is not None:
        candidates = [folder]
    else:
        # A copy made here is no other WordNet: scores before and after its making are of one version.
        folders = [path for path in nltk.data.path if path not in _copies]
        candidates = [Path(path) / "corpora" / "wordnet" for path in folders] + [_DEBIAN]
    for candidate in candidates:
        if all((candidate / name).is_file() for name in _NEEDED):
            return candidate
    where = f"in {folder}" if folder else "under nltk's data folders or /usr/share/wordnet"
    raise NotComputableError(
        f"needs WordNet 3.0 ({_NEEDED[0]}, ...), none {where}: install Debian's wordnet-base and wordnet-sense-index, "
        "or nltk.download('wordnet'), or set the folder `wordnet`"
    )


@functools.cache
def _wordnet(folder: Path) -> "WordNetCorpusReader":
    import nltk
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    known = str(folder.parent.parent) in nltk.data.path and folder.parent.name == "corpora"
    if not known or not (folder / "lexnames").is_file():
        folder = _as_nltk_has_it(folder)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # That the multilingual functions are not available, which METEOR never asks for.
        return WordNetCorpusReader(str(folder), omw_reader=None)


def _as_nltk_has_it(folder: Path) -> Path:
    """A copy of a WordNet folder at the only place that nltk opens, under corpora/wordnet, until the process ends."""
    import nltk

    root = _temporary(folder).name
    made = Path(root) / "corpora" / "wordnet"
    if not (made / "lexnames").exists():
        made.mkdir(parents=True, exist_ok=True)
        # Debian keeps programs and pictures in folders beside the database.
        for path in (p for p in folder.iterdir() if p.is_file()):
            shutil.copyfile(path, made / path.name)
        if not (made / "lexnames").exists():
            (made / "lexnames").write_text(_lexnames())
    _copies.add(root)
    if root not in nltk.data.path:
        nltk.data.path.insert(0, root)
    return made


def _lexnames() -> str:
    """WordNet's file of lexicographer names: number, name, number of the part of speech."""
    names = [(part.split()[0], name) for part, names in _LEXNAMES.items() for name in names.split()]
    return "".join(
        f"{number:02d}\t{part}.{name}\t{_PART_OF_SPEECH[part]}\n" for number, (part, name) in enumerate(names)
    )


@functools.cache
def _temporary(folder: Path) -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="wordnet-")


def meteor_score(text: str, reference: str, wordnet: Path) -> float:
    """METEOR of a text against a reference, 0..1, nltk's defaults (alpha 0.9, beta 3, gamma 0.5)."""
    from nltk.translate.meteor_score import single_meteor_score

    return float(single_meteor_score(tokenize(reference), tokenize(text), wordnet=_wordnet(wordnet)))


def meteor(pairs: Pairs, settings: ScoreSettings) -> Mean:
    """Mean METEOR of the pairs."""
    import nltk

    folder = find_wordnet(settings.wordnet)
    said = pairs.at(pairs.said)
    each = [meteor_score(t, r, folder) for t, r in zip(said.texts, said.references, strict=True)]
    return Mean(
        pairs.spread(each), f"nltk|METEOR|alpha:0.9|beta:3|gamma:0.5|stem:porter|wordnet:3.0|version:{nltk.__version__}"
    )


def meteor_no_synonyms(pairs: Pairs, settings: ScoreSettings) -> Mean:
    """Mean METEOR of forms and stems alone, which needs no WordNet. It is another metric: lower where words differ and
    mean the same, and never to be compared with published values.
    """
    import nltk
    from nltk.translate.meteor_score import single_meteor_score

    said = pairs.at(pairs.said)
    each = [
        float(single_meteor_score(tokenize(r), tokenize(t), wordnet=_NoSynonyms()))
        for t, r in zip(said.texts, said.references, strict=True)
    ]
    signature = f"nltk|METEOR without synonyms|alpha:0.9|beta:3|gamma:0.5|stem:porter|version:{nltk.__version__}"
    return Mean(pairs.spread(each), signature)


class _NoSynonyms:
    """What METEOR asks of WordNet, where there is none."""

    def synsets(self, word: str) -> tuple[()]:
        return ()
