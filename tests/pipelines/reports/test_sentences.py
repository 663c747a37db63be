import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.reports.sentences import MANY_SUVS, MAX_UNIT_CHARS, MOST_SUVS, SUV_AND_SLICE, split_report


def texts(report):
    return [s.sentence for s in split_report("E", report)]


PIECES = st.sampled_from(
    [
        "HEAD/NECK:", "CHEST: ", "\n", "\n\n", ". ", ".", "; ", "; and ", "Right node SUV 4.2 (slice 88)", "_x000D_\n",
        " ", "1. ", "2) ", "- ", "\u2022",
        "SUV max of 4.2", "(slice 88)", "image 77", "e.g. ", "i.e.", "3.1", "2.2 x 1.5 cm", "3/4/2020",
        "right lung nodule", "There is a mass", "The SUV is 5", "İ", "ß", "–", "\u00a0", "(", ")", "Dr. ", "No. 3",
        "liver",
    ]
)  # fmt: skip


class TestSpans:
    @given(st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=30).map("".join)))
    @settings(max_examples=200, deadline=None)
    def test_every_unit_is_the_reports_own_text(self, report):
        sentences = split_report("E", report)
        assert all(report[s.start : s.end] == s.sentence and s.sentence.strip() for s in sentences)

    @given(st.lists(PIECES, max_size=30).map("".join))
    @settings(max_examples=200, deadline=None)
    def test_units_are_in_order_and_apart(self, report):
        sentences = split_report("E", report)
        assert all(a.end <= b.start for a, b in itertools.pairwise(sentences))

    @given(st.lists(PIECES, max_size=30).map("".join))
    @settings(max_examples=200, deadline=None)
    def test_no_number_is_lost_between_units_but_list_marks(self, report):
        covered = [False] * len(report)
        for s in split_report("E", report):
            covered[s.start : s.end] = [True] * (s.end - s.start)
        left = "".join(c for c, inside in zip(report, covered, strict=True) if not inside)
        assert "4.2" not in left
        assert "88" not in left

    def test_a_megabyte_without_punctuation_is_cut(self):
        report = "word " * 200_000
        sentences = split_report("E", report)
        assert max(len(s.sentence) for s in sentences) <= MAX_UNIT_CHARS
        assert sum(len(s.sentence.split()) for s in sentences) == 200_000


class TestIds:
    def test_a_repeated_sentence_gets_a_number(self):
        ids = [s.sentence_id for s in split_report("E", "Node seen.\nNode seen.\nOther.")]
        assert ids[1] == ids[0] + "#2"
        assert len(set(ids)) == 3

    def test_an_edit_elsewhere_moves_no_id(self):
        before = split_report("E", "First thing. Left node SUV 4.2 (slice 8).")
        after = split_report("E", "Quite another first thing! Left node SUV 4.2 (slice 8).")
        assert before[-1].sentence_id == after[-1].sentence_id

    def test_ids_begin_with_the_exam(self):
        assert split_report("A-1", "Node.")[0].sentence_id.startswith("A-1:")


class TestCutting:
    @pytest.mark.parametrize(
        ("report", "expected"),
        [
            ("Likely muscular.No FDG avid nodes.", ["Likely muscular.", "No FDG avid nodes."]),
            ("Nodes seen, e.g. in the neck. Liver normal.", ["Nodes seen, e.g. in the neck.", "Liver normal."]),
            ("Nodes seen, e.g., in the neck, i.e. left.", ["Nodes seen, e.g., in the neck, i.e. left."]),
            ("It is 4.2 cm. SUV is 3.1.", ["It is 4.2 cm.", "SUV is 3.1."]),
            ("HEAD/NECK: Normal.\nCHEST: Normal too.", ["Normal.", "Normal too."]),
            ("First line._x000D_\nSecond line.", ["First line.", "Second line."]),
            ("1. Left node.\n2. Right node.", ["Left node.", "Right node."]),
            ("1. Left node. 2. Right node.", ["Left node.", "Right node."]),
            ("- Left node\n- Right node", ["Left node", "Right node"]),
            ("There is a large\nmass in the lung.", ["There is a large\nmass in the lung."]),
            ("Compared to 1/2/2020. Stable.", ["Compared to 1/2/2020.", "Stable."]),
            ("Seen by Dr. Smith on No. 3 today. Done.", ["Seen by Dr. Smith on No. 3 today.", "Done."]),
            ("Uptake (SUV max. 4.2). Next.", ["Uptake (SUV max. 4.2).", "Next."]),
            ("", []),
            ("  \n _x000D_ ", []),
        ],
    )
    def test_cuts_where_a_reader_would(self, report, expected):
        assert texts(report) == expected

    def test_semicolon_parts_two_findings(self):
        assert texts("Left node SUV 4 (slice 8); right node SUV 5 (slice 9).") == [
            "Left node SUV 4 (slice 8)",
            "right node SUV 5 (slice 9).",
        ]

    def test_semicolon_parts_lesions_that_name_no_place(self):
        assert len(texts("A nodule, SUV 3.1 (slice 40); a mass, SUV 5.2 (slice 44).")) == 2

    def test_semicolon_before_another_exams_value_stays(self):
        assert len(texts("Left node now SUV 4 (slice 8); prior SUV 5 (slice 9).")) == 1

    def test_semicolon_within_one_finding_stays(self):
        assert len(texts("Left node; SUV 4; slice 8.")) == 1

    def test_section_is_the_heading_above(self):
        sections = [s.section for s in split_report("E", "Intro.\nCHEST: One. Two.\nAbdomen/Pelvis:\nThree.")]
        assert sections == [None, "CHEST", "CHEST", "Abdomen/Pelvis"]

    def test_heading_may_end_in_a_dash(self):
        (sentence,) = split_report("E", "Thorax -  Left node seen.")
        assert (sentence.section, sentence.sentence) == ("Thorax", "Left node seen.")

    def test_a_label_that_says_where_is_no_heading(self):
        assert texts("Right axilla: 4.2 (slice 88)") == ["Right axilla: 4.2 (slice 88)"]


class TestMerging:
    def test_slice_and_suv_in_neighbours_are_one_unit(self):
        report = "Mass in the left upper lobe (image 78).  The SUV max of the mass is 3.1.  Liver normal."
        assert texts(report) == [
            "Mass in the left upper lobe (image 78).  The SUV max of the mass is 3.1.",
            "Liver normal.",
        ]

    def test_another_lesion_is_not_drawn_in(self):
        assert len(texts("Mass in the left upper lobe (image 78). Another nodule has SUV 3.1.")) == 2

    def test_a_reference_region_is_not_drawn_in(self):
        assert len(texts("Mass in the left upper lobe (image 78). Mediastinal blood pool SUV is 2.1.")) == 2

    def test_another_section_is_not_drawn_in(self):
        assert len(texts("CHEST: Mass in the left upper lobe (image 78).\nABDOMEN: SUV max is 3.1.")) == 2


class TestCandidates:
    @pytest.mark.parametrize(
        ("sentence", "reason"),
        [
            ("Left node SUV 4.2 (slice 8).", "SUV and slice"),
            ("Left node SUV 4.2.", "SUV without slice"),
            ("Left node (slice 8).", "slice without SUV"),
            ("Left node of 8 mm.", "no SUV and no slice"),
            ("The most SUV avid node.", "no SUV and no slice"),
        ],
    )
    def test_reason_says_what_the_sentence_holds(self, sentence, reason):
        (found,) = split_report("E", sentence)
        assert (found.candidate_reason, found.is_candidate) == (reason, reason == "SUV and slice")


class TestLists:
    def test_a_sentence_names_so_many_suvs(self):
        listed = [f"SUV max of {n / 10 + 3} (slice {n + 5})" for n in range(MOST_SUVS + 1)]
        most, more = (split_report("E", "Nodes with " + ", ".join(listed[:n])) for n in (MOST_SUVS, MOST_SUVS + 1))
        assert [s.candidate_reason for s in most] == [SUV_AND_SLICE]
        assert [s.candidate_reason for s in more] == [MANY_SUVS]
