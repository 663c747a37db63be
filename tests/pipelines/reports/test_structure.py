import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.reports.structure import (
    comparison,
    find_anatomy,
    laterality,
    names_anatomy,
    structure,
    structure_parts,
    without_references,
)
from pipelines.reports.vocabulary.text import clean, lower


class TestPlace:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("Hypermetabolic right upper lobe mass, SUV 4.", ("chest", "lung", "right upper lobe")),
            ("RUL nodule, SUV 4.", ("chest", "lung", "right upper lobe")),
            ("Subcarinal lymph node with SUV 4.", ("chest", "lymph node", "subcarinal")),
            ("Right level IIA node with SUV 4.", ("head/neck", "lymph node", "level II")),
            ("Lytic lesion of the L3 vertebral body, SUV 4.", ("musculoskeletal", "vertebra", "L3")),
            ("Left iliac lymph node SUV 4.", ("abdomen/pelvis", "lymph node", "iliac")),
            ("Sclerotic left iliac lesion SUV 4.", ("musculoskeletal", "pelvic bone", "ilium")),
            ("Node adjacent to the pancreatic head with SUV 4.", ("abdomen/pelvis", "lymph node", None)),
            ("Liver lesion with uptake above the blood pool, SUV 4.", ("abdomen/pelvis", "liver", None)),
            (
                "Left adrenal nodule, larger than the spleen in uptake, SUV 4.",
                ("abdomen/pelvis", "adrenal gland", None),
            ),
            ("Cutaneous nodule of the left calf, SUV 4.", ("musculoskeletal", "leg", "calf")),
            ("Right common iliac LN, SUV 4.", ("abdomen/pelvis", "lymph node", "common iliac")),
            ("Right junction focus SUV 4, bone marrow SUVmean 2.0.", (None, None, None)),
            ("Tumor SUV 24 (L5, slice 219), SUVmean 9.9.", ("musculoskeletal", "vertebra", "L5")),
            ("Mean liver SUV 2.4; mediastinal mass SUV 5.9.", ("chest", "mediastinum", None)),
            ("Nodule of the lower pole of the left thyroid lobe, SUV 4.", ("head/neck", "thyroid", None)),
            ("Uptake in the upper pole of the spleen, SUV 4.", ("abdomen/pelvis", "spleen", None)),
            ("Left lower pole mass, SUV 4.", ("abdomen/pelvis", "kidney", "lower pole")),
            ("Node at the splenic hilum, SUV 4.", ("abdomen/pelvis", "lymph node", "splenic hilum")),
            ("Right fibular head lesion, SUV 4.", ("musculoskeletal", "fibula", "head")),
            ("Lateral ventricle of the brain, SUV 4.", ("head/neck", "brain", "ventricle")),
            ("Nodule of the left parietal pleura, SUV 4.", ("chest", "pleura", None)),
            (
                "Para-aortic node to the left of the aorta at L2, SUV 4.",
                ("abdomen/pelvis", "lymph node", "para-aortic"),
            ),
            ("Lesion at L2, SUV 4.", ("musculoskeletal", "vertebra", "L2")),
            ("Retrocaval node at the level of the renal hilum, SUV 4.", ("abdomen/pelvis", "lymph node", "retrocaval")),
            ("Upper pole of the left kidney, SUV 4.", ("abdomen/pelvis", "kidney", "upper pole")),
            ("Caecal mass, SUV 4.", ("abdomen/pelvis", "colon", "cecum")),
            ("Coeliac node, SUV 4.", ("abdomen/pelvis", "lymph node", "celiac")),
            ("Peri-portal node, SUV 4.", ("abdomen/pelvis", "lymph node", "periportal")),
            ("Focal uptake with SUV 4.", (None, None, None)),
        ],
    )
    def test_region_organ_and_subsite(self, text, expected):
        fields = structure(text)
        assert (fields.region, fields.organ, fields.subsite) == expected

    def test_heading_gives_the_region_that_the_sentence_leaves_open(self):
        assert structure("Focal uptake with SUV 4.", "ABDOMEN/PELVIS").region == "abdomen/pelvis"

    def test_heading_does_not_overrule_the_sentence(self):
        assert structure("Liver lesion with SUV 4.", "CHEST").region == "abdomen/pelvis"

    @pytest.mark.parametrize(
        "phrase",
        ["soft tissue mass", "intramuscular mass", "lymph node", "skin lesion", "ribs", "vertebrae", "axillae"],
    )
    def test_common_words_name_anatomy(self, phrase):
        assert names_anatomy(f"There is a {phrase} with SUV 4.")

    @pytest.mark.parametrize(
        "text", ["A focus with SUV 4.", "The lesion has SUV 4.", "Uptake above the blood pool, SUV 4."]
    )
    def test_text_without_a_place_names_none(self, text):
        assert not names_anatomy(text)


class TestParts:
    def test_places_count_in_order_where_all_words_are_shared(self):
        text = "Nodules in the RUL, L3 and left hilum with SUV 3, 4 and 5, respectively."
        parts = structure_parts(text, [(0, len(text))] * 3)
        assert [(p.organ, p.subsite, p.laterality) for p in parts] == [
            ("lung", "right upper lobe", "right"),
            ("vertebra", "L3", None),
            ("lymph node", "hilar", "left"),
        ]

    def test_sides_count_in_order_where_one_place_is_named(self):
        text = "Right and left axillary nodes with SUV 3 and 4, respectively."
        assert [p.laterality for p in structure_parts(text, [(0, len(text))] * 2)] == ["right", "left"]

    def test_part_without_a_place_has_the_place_of_the_words_before(self):
        text = "Uptake in both parotid glands: right SUV 5; left SUV 4."
        cut = text.index(" left")
        second = structure_parts(text, [(0, cut), (cut, len(text))])[1]
        assert (second.organ, second.laterality) == ("parotid gland", "left")

    def test_part_of_a_list_of_places_has_no_place_of_its_neighbours(self):
        text = "Nodes: 4R, SUV 9; 4L, SUV 7; 7, SUV 10."
        first, second = text.index(" 4L"), text.index(" 7, SUV 10")
        third = structure_parts(text, [(0, first), (first, second), (second, len(text))])[2]
        assert (third.region, third.organ, third.subsite, third.laterality) == ("chest", "lymph node", None, None)

    def test_part_without_a_side_has_the_side_of_the_words_before(self):
        text = "A pair of left axillary nodes: SUV 4 and SUV 3."
        cut = text.index(" SUV 3")
        assert structure_parts(text, [(0, cut), (cut, len(text))])[1].laterality == "left"


class TestLaterality:
    @pytest.mark.parametrize(
        ("text", "side"),
        [
            ("Left hilar node.", "left"),
            ("Uptake on the right.", "right"),
            ("Bilateral hilar nodes.", "bilateral"),
            ("Right and left axillary nodes.", "bilateral"),
            ("Midline mass.", "midline"),
            ("Liver lesion.", None),
            ("Left tonsil uptake, compared to the right.", "left"),
            ("Uptake in the right tonsil, greater than the left tonsil.", "right"),
            ("Left ventricular myocardium.", None),
            ("Lesion of the left hepatic lobe.", None),
            ("LUL nodule.", "left"),
            ("Station 4R node.", "right"),
            ("Left parotid uptake while the contralateral right side is normal.", "left"),
        ],
    )
    def test_side_is_the_findings_own(self, text, side):
        assert laterality(lower(clean(text))) == side

    def test_side_within_the_place_comes_first(self):
        flat = "pulmonary nodules bilaterally: rul 8 mm"
        assert laterality(flat, find_anatomy(flat)[-1]) == "right"


class TestComparison:
    @pytest.mark.parametrize(
        ("text", "change"),
        [
            ("Left node with SUV 4.", "none"),
            ("New left node with SUV 4.", "new"),
            ("No new node; the left one has SUV 4.", "none"),
            ("Left node with increased FDG uptake, SUV 4.", "none"),
            ("Left node has increased in size, SUV 4.", "increased"),
            ("Left node, interval decrease in uptake, SUV 4.", "decreased"),
            ("Left node unchanged from prior, SUV 4.", "stable"),
            ("Left node without significant change, SUV 4.", "stable"),
            ("Left node with SUV 4.0, previously 6.1.", "decreased"),
            ("Left node with SUV 7.0, previously 6.1.", "increased"),
            ("Left node with SUV 6.1, previously 6.1.", "stable"),
            ("Left node with SUV 4.0, blood pool 2.1.", "none"),
            ("Left node not seen on the prior exam, SUV 4.", "new"),
            ("Left node, SUV fell to 4.", "decreased"),
            ("Left node with uptake less than liver (SUV 2.9 vs 3.3).", "none"),
            ("Left node with SUV 6.3, previously 6.1.", "stable"),
            ("Left node with SUV 6.8, previously 6.1.", "increased"),
            ("Left node, not appreciated on the earlier scan, SUV 4.", "new"),
            ("Left node with SUV 4 has arisen since the last scan.", "new"),
            ("Left node, SUV 4, which the former examination did not show.", "new"),
            ("Left node, SUV 4, nothing here on the comparison PET.", "new"),
            ("Left node not seen on CT, SUV 4.", "none"),
            ("New baseline study: left node, SUV 4.", "none"),
            ("Left node, SUV 4, larger and hotter.", "increased"),
            ("Left node unchanged in size, its SUV has climbed from 5.0 to 8.6.", "increased"),
            ("Left node, SUV 2.9, lower than the 5.4 recorded before.", "decreased"),
            ("Left node, SUV 4, no meaningful interval change.", "stable"),
            ("Left node, SUV 4, unaltered.", "stable"),
            ("Left node, SUV 4, shows no meaningful change from the prior SUV of 4.2.", "stable"),
            ("Left node of decreased attenuation, SUV 4.", "none"),
            ("Left node, SUV 4, hotter than before.", "increased"),
            ("Stable surgical clips; the left node has SUV 4.", "none"),
        ],
    )
    def test_change_by_words_then_numbers(self, text, change):
        assert comparison(lower(clean(text))) == change


class TestWithoutReferences:
    @pytest.mark.parametrize(
        ("text", "short"),
        [
            ("Left node with SUV 4.2 (series 3, image 78).", "Left node with SUV 4.2."),
            ("Left node with SUV 4.2 on axial slice 78.", "Left node with SUV 4.2."),
            ("Left node (SUV 4.2, slice 78) is new.", "Left node (SUV 4.2) is new."),
            ("1. Left node, SUV 4.2 (previously 5.1 on image 70).", "Left node, SUV 4.2 (previously 5.1)."),
            ("Left node SUV max (4.2) on slice 78.", "Left node SUV max (4.2)."),
            ("Left node (4/78), 9 mm, SUV 4.2.", "Left node, 9 mm, SUV 4.2."),
            ("Image 78: left node SUV 4.2.", "left node SUV 4.2."),
            ("A left node is noted on image 78. SUV 4.2.", "A left node is noted. SUV 4.2."),
            ("Left node with SUV 4.2. It is best seen on slice 78.", "Left node with SUV 4.2."),
            ("Left node - SUV 4.2 - image 78", "Left node - SUV 4.2"),
            ("Left nodes, SUV 4 and 5 (slices 78 and 80, respectively).", "Left nodes, SUV 4 and 5."),
            ("Left mass, SUV 4.2, slice 78, extends to slice 90.", "Left mass, SUV 4.2, extends to slice 90."),
            ("Left\nnode.", "Left node."),
        ],
    )
    def test_slices_go_and_the_rest_stays(self, text, short):
        assert without_references(text) == short

    @given(st.text(alphabet="abc SUV().,;0123456789-slice\n", max_size=120))
    @settings(max_examples=100, deadline=None)
    def test_any_text_is_one_line(self, text):
        assert "\n" not in without_references(text)
