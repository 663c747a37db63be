"""Identifiers in report text: found where they stand, hidden without moving a character or changing what is read."""

import string

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.cohort.privacy.text_identifiers import Identifier, clean, counts_of, is_no_name, mask, scan
from pipelines.reports.passages import passages_of
from pipelines.reports.readers import RulesReader
from pipelines.reports.sentences import split_report
from tests.support.paths import ROOT

LABELLED = ROOT / "pipelines" / "reports" / "labelled_sentences.csv"


def found(text: str, *known: str) -> list[tuple[str, str]]:
    return [(i.kind, text[i.start : i.end]) for i in scan(text, known)]


class TestScan:
    @pytest.mark.parametrize(
        ("text", "kind", "value"),
        [
            ("Discussed with Dr. John A. Smith today.", "name", "John A. Smith"),
            ("Discussed with Smith at 10:30.", "name", "Smith"),
            ("Die Biopsie erfolgte bereits im August 2022.", "date", "August 2022"),
            ("N.º de petición 55810/24, sala PET.", "number", "55810/24"),
            ("Diktiert Brinkmann, freigegeben heute.", "name", "Brinkmann"),
            ("Relu par le médecin et l'interne Thibaud.", "name", "Thibaud"),
            ("Mrs Anna Maria van der Berg was scanned.", "name", "Anna Maria van der Berg"),
            ("Patient: SMITH, JOHN", "name", "SMITH, JOHN"),
            ("Patient Name: DOE^JANE^M", "name", "DOE^JANE^M"),
            ("Electronically signed by Jane Q. Doe, M.D.", "name", "Jane Q. Doe"),
            ("Jane Roe, MD has read this.", "name", "Jane Roe"),
            ("Referring physician: Alan Turing", "name", "Alan Turing"),
            ("Robert Johnson has a nodule.", "name", "Robert Johnson"),
            ("Smith, John is 45.", "name", "Smith, John"),
            ("SMITH, JOHN A", "name", "SMITH, JOHN A"),
            ("Findings reported by J. Doe.", "name", "J. Doe"),
            ("Signed: Roe", "name", "Roe"),
            ("MR. SMITH HAS A NODULE.", "name", "SMITH"),
            ("MRS. O'BRIEN-SMITH", "name", "O'BRIEN-SMITH"),
            ("MRN: 12345678.", "mrn", "12345678"),
            ("Medical record number 00-123-456", "mrn", "00-123-456"),
            ("Patient ID AB12345", "mrn", "AB12345"),
            ("Accession # CT-1234567.", "accession", "CT-1234567"),
            ("SSN 123-45-6789", "ssn", "123-45-6789"),
            ("call 608-555-1234 now", "phone", "608-555-1234"),
            ("at (608) 555-1234.", "phone", "(608) 555-1234"),
            ("pager 4567.", "phone", "4567"),
            ("call +49 30 1234 5678", "phone", "+49 30 1234 5678"),
            ("Email jdoe@hospital.org.", "email", "jdoe@hospital.org"),
            ("see https://hospital.org/x?id=3", "url", "https://hospital.org/x?id=3"),
            ("lives at 123 Main Street, Madison, WI 53792.", "address", "123 Main Street, Madison, WI 53792"),
            ("Compared to 03/14/2023.", "date", "03/14/2023"),
            ("on 2024-01-05", "date", "2024-01-05"),
            ("of 14.03.2022", "date", "14.03.2022"),
            ("12-Feb-2021", "date", "12-Feb-2021"),
            ("January 5, 2024", "date", "January 5, 2024"),
            ("in March 2018", "date", "March 2018"),
            ("the 3rd of May", "date", "3rd of May"),
            ("CT 20230314", "date", "20230314"),
            ("prior exam dated 3/14 shows", "date", "3/14"),
            ("A 94-year-old man", "age", "94"),
            ("Study 1.2.840.113619.2.55.3.604688119", "uid", "1.2.840.113619.2.55.3.604688119"),
        ],
    )
    def test_finds(self, text: str, kind: str, value: str) -> None:
        assert found(text) == [(kind, value)]

    @pytest.mark.parametrize(
        "text",
        [
            "Left lung nodule, SUV max 12.3, slice 145, 1.2 x 0.8 cm.",
            "Node on image 12/230 (series 4/image 123), SUV 3.14.",
            "Images 3/14/23 show a node.",
            "Deauville score improved from 4/5 to 2/5; T11/12 vertebra; segment 4/8.",
            "MR brain, MS patient, Hodgkin lymphoma, Virchow node, Baker cyst.",
            "A 56-year-old man. May represent 3 nodes. Chart 3, patient number 5.",
            "Patient Preparation: fasting. Radiologist: Unchanged. Name: None.",
            "Compared to the prior MR. Left Lower Lobe: none. In 2019 there was none.",
            "SEEN ON MR. THERE IS A NODE. HISTORY OF MS. STABLE. MR ABDOMEN: NONE.",
            "Liver, spleen. Graves disease, Crohn disease, Waldeyer ring, Krukenberg tumour, Rosenmuller node.",
            "Lugano, Deauville 4. Ann Arbor stage. Reported by PET. Signed: no.",
            "Injected 12.4 mCi, glucose 101 mg/dL, 62 minutes uptake, 70.3 kg.",
        ],
    )
    def test_leaves_what_measures_and_what_names_anatomy(self, text: str) -> None:
        assert found(text) == []

    def test_leaves_every_labelled_sentence_but_its_dates(self) -> None:
        sentences = pl.read_csv(LABELLED, infer_schema=False)["sentence"]
        assert {kind for s in sentences for kind, _ in found(s)} <= {"date"}

    def test_finds_the_ids_of_the_report_wherever_they_stand(self) -> None:
        assert found("Exam PT-0042 of p17x.", "PT-0042", "P17X") == [("record id", "PT-0042"), ("record id", "p17x")]

    @pytest.mark.parametrize("text", ["exam px-0001a", "exam PX-0001A", "Prüfung px-0001A", "exam PX-0001ſ"])
    def test_finds_the_ids_of_the_report_in_any_case(self, text: str) -> None:
        # The long s is an s of another case.
        known = "PX-0001S" if text.endswith("ſ") else "PX-0001a"
        assert found(text, known) == [("record id", text.split()[-1])]

    def test_of_ids_without_digits_or_within_words_none(self) -> None:
        assert found("the phantom of B2x0042y", "phantom", "0042") == []

    def test_counts_by_kind(self) -> None:
        assert counts_of(scan("Dr. Roe and Dr. Doe on 1/2/2020")) == {"date": 1, "name": 2}


SENTENCES = pl.read_csv(LABELLED, infer_schema=False)["sentence"].to_list()
_WORD = st.text(string.ascii_lowercase, min_size=4, max_size=9).map(str.capitalize)
SURNAMES = (_WORD | st.builds("{}-{}".format, _WORD, _WORD)).filter(lambda n: not is_no_name(n))


class TestNamesOfTheImages:
    @settings(max_examples=40)
    @given(name=SURNAMES, shout=st.booleans())
    def test_are_found_where_they_stand_bare(self, name: str, shout: bool) -> None:
        text = f"The uptake of {name.upper() if shout else name} is stable; {name.lower()}s are none."
        (one,) = scan(text, names={name})
        assert (one.kind, one.start, one.end) == ("name", 14, 14 + len(name))

    @given(sentence=st.sampled_from(SENTENCES), names=st.sets(SURNAMES, max_size=4))
    def test_leave_sentences_that_do_not_hold_them(self, sentence: str, names: set[str]) -> None:
        names = {n for n in names if n.lower() not in sentence.lower()}
        assert scan(sentence, names=names) == scan(sentence)

    @pytest.mark.parametrize("name", ["Virchow", "Hodgkin", "Graves", "Liver", "Left", "Al", "X1"])
    def test_that_are_words_of_every_report_are_left(self, name: str) -> None:
        assert scan(f"{name} node, slice 12; near the {name} node.", names={name}) == ()

    def test_that_are_words_are_names_inside_a_sentence_alone(self) -> None:
        text = "Small focus seen in Small with a small node. SMALL"
        assert [i.start for i in scan(text, names={"Small"})] == [20]
        assert scan("SMALL NODE IN THE NECK", names={"Small"}) == ()

    def test_change_nothing_that_is_read_of_any_labelled_sentence(self) -> None:
        """Surnames that are words, which these sentences begin with or hold."""
        names = {"Small", "Large", "Left", "Neck", "Stable", "New", "Short", "Colon", "Bone", "Hill", "Mass", "Young"}
        assert {i.kind for s in SENTENCES for i in scan(s, names=names)} <= {"date"}


class TestMask:
    def test_keeps_length_and_shape(self) -> None:
        text = "Dr. John O'Neil on March 14, 2023 and 3/14/23, MRN AB-12345, j.d@x.org."
        assert clean(text) == "Dr. Xxxx X'Xxxx on March 00, 2023 and 0/00/00, MRN XX-00000, x.x@x.xxx."

    def test_leaves_the_rest_at_its_place(self) -> None:
        assert mask("a Smith b", [Identifier("name", 2, 7)]) == "a Xxxxx b"

    def test_hidden_texts_hold_nothing_more_to_hide_but_the_shapes(self) -> None:
        hidden = clean("Dated 03/14/2023, MRN 12345678, call 608-555-1234, 123 Main Street, Jane Roe, MD")
        assert not any(word in hidden for word in ("14", "1234", "Main", "Roe", "555"))

    def test_changes_nothing_that_is_read(self) -> None:
        """Spans, slices and SUVs of every labelled sentence among identifiers are those without a mask."""
        before = "Discussed with Dr. John Smith (608-555-1234) on 03/14/2023, MRN 1234567. "
        after = " Comparison: PET/CT of January 5, 2021. Signed by Jane Doe, MD."
        reader = RulesReader()
        for sentence in pl.read_csv(LABELLED, infer_schema=False)["sentence"]:
            report = before + sentence + after
            plain, hidden = split_report("E", report), split_report("E", clean(report))
            assert [(s.start, s.end, s.is_candidate) for s in hidden] == [
                (s.start, s.end, s.is_candidate) for s in plain
            ], sentence
            read = [
                [
                    (m.slice, m.suv, m.exam, m.role, m.count)
                    for r in reader.read(passages_of(units))
                    for m in r.mentions
                    if m.suv is not None
                ]
                for units in (plain, hidden)
            ]
            assert read[0] == read[1], sentence
