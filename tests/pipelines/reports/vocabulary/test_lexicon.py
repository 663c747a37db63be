import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.reports.structure import find_anatomy, names_anatomy
from pipelines.reports.vocabulary.errors import VocabularyError
from pipelines.reports.vocabulary.lexicon import COLUMNS, LATERALITIES, REGIONS, Term, load_lexicon

HEADER = ",".join(COLUMNS)


class TestPackage:
    terms = load_lexicon().terms

    def test_regions_are_the_known_ones(self):
        assert {t.region for t in self.terms.values()} <= {*REGIONS, None}

    def test_phrases_are_lower_case(self):
        assert [p for p in self.terms if p != p.lower()] == []

    def test_every_phrase_is_found_in_a_sentence(self):
        assert [p for p in self.terms if not names_anatomy(f"Uptake in the {p} with SUV 4.")] == []

    def test_every_phrase_alone_names_its_term(self):
        for phrase, term in self.terms.items():
            hits = find_anatomy(phrase)
            assert [h.term for h in hits][:1] == [term] or phrase in ("back to",), phrase


class TestAddition:
    def test_a_row_adds_a_phrase_and_replaces_one(self, tmp_path):
        path = tmp_path / "lexicon.csv"
        path.write_text(f"{HEADER}\nsomething new,lung,chest,new lobe,left\nliver,spleen,abdomen/pelvis,,\n")
        terms = load_lexicon(path).terms
        assert terms["something new"] == Term("lung", "chest", "new lobe", "left")
        assert terms["liver"].organ == "spleen"
        assert load_lexicon().terms["liver"].organ == "liver"

    def test_columns_may_stand_in_any_order_and_the_file_may_have_a_mark(self, tmp_path):
        path = tmp_path / "lexicon.csv"
        path.write_text("\ufefforgan,phrase,laterality,subsite,region\r\nlung,new word,,,chest\r\n", newline="")
        assert load_lexicon(path).terms["new word"] == Term("lung", "chest")

    @pytest.mark.parametrize(
        ("rows", "line", "column", "words"),
        [
            ("phrase,organ,region,subsite\nx,lung,chest,\n", 1, 1, ["laterality"]),
            ("phrase,organ,region,subsite,side\nx,lung,chest,,\n", 1, 5, ["laterality", "side"]),
            ("", 1, 1, list(COLUMNS)),
            (f"{HEADER}\nnew word,lung,thorax,,\n", 2, 3, [*REGIONS, "thorax"]),
            (f"{HEADER}\nnew word,lung,chest,,\nother,lung,chest,,both\n", 3, 5, [*LATERALITIES, "both"]),
            (f"{HEADER}\nNew word,lung,chest,,\n", 2, 1, ["lower-case", "New word"]),
            (f"{HEADER}\n,lung,chest,,\n", 2, 1, ["phrase"]),
            (f"{HEADER}\nnew word,,chest,,\n", 2, 2, ["organ", "subsite"]),
            (f"{HEADER}\nnew word,lungs,chest,,\n", 2, 2, ["'lung'", "lungs"]),
            (f"{HEADER}\nnew word,lung,chest\n", 2, 3, ["5 columns"]),
            (f"{HEADER}\nnew word,lung,chest,,,,\n", 2, 7, ["5 columns"]),
            (f"{HEADER}\na,lung,chest,,\n\na,lung,chest,,\n", 4, 1, ["once"]),
            (f'{HEADER}\n"a,lung,chest,,\n', 2, 1, ["CSV"]),
        ],
    )
    def test_wrong_rows(self, tmp_path, rows, line, column, words):
        path = tmp_path / "lexicon.csv"
        path.write_text(rows)
        with pytest.raises(VocabularyError) as error:
            load_lexicon(path)
        message = str(error.value)
        assert f"{path}, line {line}, column {column}: " in message
        assert [word for word in words if word not in message] == []

    def test_bytes_that_are_no_text(self, tmp_path):
        path = tmp_path / "lexicon.csv"
        path.write_bytes(b"\xff\xfe\x00")
        with pytest.raises(VocabularyError, match="UTF-8"):
            load_lexicon(path)

    @settings(deadline=None)
    @given(rows=st.lists(st.lists(st.text(max_size=12), min_size=0, max_size=7), max_size=4))
    def test_any_rows_load_or_are_told(self, tmp_path_factory, rows):
        path = tmp_path_factory.getbasetemp() / "lexicon-any.csv"
        text = "\n".join([HEADER, *(",".join(cells) for cells in rows)])
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        with contextlib.suppress(VocabularyError):
            assert load_lexicon(path)

    @settings(deadline=None)
    @given(
        phrase=st.from_regex(r"[a-z]{4,9}( [a-z]{4,9})?", fullmatch=True).map(lambda p: f"zz{p}"),
        region=st.sampled_from(REGIONS),
        side=st.sampled_from(["", *LATERALITIES]),
    )
    def test_any_phrase_that_is_added_is_found(self, tmp_path_factory, phrase, region, side):
        path = tmp_path_factory.getbasetemp() / "lexicon-phrase.csv"
        path.write_text(f"{HEADER}\n{phrase},lung,{region},,{side}\n")
        lexicon = load_lexicon(path)
        assert lexicon.terms[phrase] == Term("lung", region, None, side or None)
        assert lexicon.phrases_of(side) == [phrase] if side in ("bilateral", "midline") else True
