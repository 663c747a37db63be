import ast
import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.reports.vocabulary.cues import CUES_FILE, load_cues
from pipelines.reports.vocabulary.errors import VocabularyError

REPORTS = CUES_FILE.parents[1]


def write(folder: Path, text: str) -> Path:
    path = folder / "cues.toml"
    path.write_text(text)
    return path


def loads(folder: Path, text: str):
    return load_cues(write(folder, text))


class TestPackage:
    cues = load_cues()

    def test_every_category_is_used_and_every_name_that_is_used_is_a_category(self):
        referred = set(re.findall(r"\{!?([a-z_]+)\}", re.sub(r"(?m)^#.*$", "", CUES_FILE.read_text()))) - {"cue"}
        in_code = {
            node.value
            for path in REPORTS.rglob("*.py")
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        sides = {f"side_{side}" for side in ("left", "right", "bilateral", "midline")}
        assert set(self.cues.categories) - referred - in_code - sides == set()
        assert referred - set(self.cues.categories) == set()

    def test_every_category_says_what_it_means(self):
        assert [c.name for c in self.cues.categories.values() if not c.means] == []

    def test_no_cue_stands_twice_in_a_category(self):
        for category in self.cues.categories.values():
            assert len(set(category.literals)) == len(category.literals), category.name

    def test_every_example_is_found_by_its_category(self):
        for category in self.cues.categories.values():
            if category.direction == "both":
                for example in category.examples:
                    assert self.cues[category.name].search(example), (category.name, example)


class TestAddition:
    def test_cues_of_a_cohort_add_to_the_packages(self, tmp_path):
        cues = loads(
            tmp_path, '[prior]\ncues = ["induction"]\npatterns = [{ pattern = \'wk\\d+\', example = "wk12" }]\n'
        )
        assert cues["prior_word"].search("the induction ")
        assert cues["prior_word"].search("wk12 ")
        assert cues["prior_word"].search("previous ")
        assert not load_cues()["prior_word"].search("the induction ")

    @pytest.mark.parametrize(
        ("text", "line", "column", "words"),
        [
            ('[prior]\ncues = ["induction"\n[x]\n', 3, 1, ["TOML"]),
            ('[piror]\ncues = ["induction"]\n', 1, 2, ["prior", "piror", "one of"]),
            ('# ours\n[prior]\nwords = ["induction"]\n', 3, 1, ["cues", "patterns", "words"]),
            ('[prior]\ndirection = "forward"\n', 2, 1, ["cues", "patterns"]),
            ('[prior]\ncues = "induction"\n', 2, 1, ["list"]),
            ('[prior]\ncues = ["wk 2",\n    "Induction"]\n', 3, 5, ["lower case", "Induction"]),
            ('[prior]\ncues = [""]\n', 2, 9, ["lower case"]),
            ('[prior]\ncues = ["wk", 3]\n', 2, 15, ["lower case", "3"]),
            ("[prior]\npatterns = ['a', 'wk(']\n", 2, 18, ["regular expression", "wk("]),
            ("[prior]\npatterns = ['{month}', '{moon}']\n", 2, 24, ["category", "moon"]),
            ("[prior]\npatterns = [{ pattern = 'wk' }]\n", 2, 13, ["example"]),
            ("[prior]\npatterns = [{ pattern = 'wk', example = 'xy' }]\n", 2, 41, ["example", "xy"]),
            ('prior = ["induction"]\n', 1, 1, ["table"]),
        ],
    )
    def test_wrong_rows(self, tmp_path, text, line, column, words):
        path = write(tmp_path, text)
        with pytest.raises(VocabularyError) as error:
            load_cues(path)
        message = str(error.value)
        assert f"{path}, line {line}, column {column}: " in message
        assert [word for word in words if word not in message] == []

    @settings(deadline=None)
    @given(text=st.text(max_size=200))
    def test_any_text_loads_or_is_told(self, tmp_path_factory, text):
        path = tmp_path_factory.getbasetemp() / "cues-any.toml"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        with contextlib.suppress(VocabularyError):
            assert load_cues(path)

    @settings(deadline=None)
    @given(
        cue=st.from_regex(r"[a-z]{3,8}( [a-z]{2,6})?", fullmatch=True).filter(lambda c: "now" not in c),
        blanks=st.sampled_from([" ", "  ", "\n"]),
    )
    def test_any_literal_is_found_as_a_whole_word_alone(self, tmp_path_factory, cue, blanks):
        path = tmp_path_factory.getbasetemp() / "cues-literal.toml"
        path.write_text(f'[change]\ncues = ["{cue}"]\n')
        pattern = load_cues(path)["change"]
        assert pattern.search(f"the {cue.replace(' ', blanks)}, so")
        own = load_cues()["change"]
        inside = f"xx{cue.replace(' ', '')}xx"
        assert bool(pattern.search(inside)) == bool(own.search(inside))
