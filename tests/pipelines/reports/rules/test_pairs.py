"""Whole way of a text by rules: from a report to findings. Each case is one manner of writing."""

import pytest

from pipelines.reports.consensus import decide_exam
from pipelines.reports.passages import passages_of
from pipelines.reports.readers import RulesReader
from pipelines.reports.sentences import split_report
from pipelines.tables.outcomes import Outcome


def findings_of(text):
    sentences = split_report("E", text)
    return decide_exam(sentences, RulesReader().read(passages_of(sentences)))


def accepted(text):
    """Slice and SUVmax of the findings that give both."""
    found = [f for f in findings_of(text) if f.outcome is Outcome.ACCEPTED and f.slice is not None]
    return [(f.slice, f.suvmax_reported) for f in found]


PAIRS = [
    ("Hypermetabolic right axillary node with SUV 13 (image 88).", [(88, 13)]),
    ("Left adrenal nodule, SUVmax: 4.2, slice 77.", [(77, 4.2)]),
    ("Intense uptake in the sigmoid colon, SUV max of 42 (image 201).", [(201, 42)]),
    ("Right lower lobe mass with max SUV 7.1 (img 88).", [(88, 7.1)]),
    ("Right lower lobe mass with a maximum standardized uptake value of 7.1 on slice #88.", [(88, 7.1)]),
    ("Right hilar node SUVmax = 4,2 (slice 101).", [(101, 4.2)]),
    ("Hypermetabolic liver lesion (series 4, image 112) has SUV max of 9.9.", [(112, 9.9)]),
    ("Thyroid nodule SUV 5.5 on axial image 45/230.", [(45, 5.5)]),
    ("Uptake in the left tonsil on image #102 of series 3, SUV max 6.1.", [(102, 6.1)]),
    ("Splenic lesion, SUV max 4.4, PET slice 101.", [(101, 4.4)]),
    ("Left lung nodule SUV max 6.5 on slice 51, previously SUV 8.8 on slice 40.", [(51, 6.5)]),
    ("Left lung nodule on slice 51 with SUV 5.1 (was 6.3).", [(51, 5.1)]),
    ("Pancreatic tail mass has decreased from 8.8 to 6.5 SUV max (slice 51).", [(51, 6.5)]),
    ("SUV max of the pancreatic tail mass has decreased from 8.8 to 6.5 (slice 51).", [(51, 6.5)]),
    ("Right breast mass SUV max increased to 7.9 (from 5.5), slice 60.", [(60, 7.9)]),
    ("Left inguinal node measures 2.2 x 1.5 cm with SUV max 5.6 (image 77, series 3).", [(77, 5.6)]),
    ("Right axilla: 4.2 (slice 88)", [(88, 4.2)]),
    ("Hypermetabolic nodes:\n- Right axilla: 4.2 (slice 88)\n- Left hilum: 5.5 (slice 66)", [(88, 4.2), (66, 5.5)]),
    ("There is a mass in the left upper lobe (series 3, image 78).  The SUV max of the mass is 3.1.", [(78, 3.1)]),
    (
        "Hypermetabolic nodes in the right axilla and left hilum with SUV max of 4.2 and 5.1 on slices 88 and 92, "
        "respectively.",
        [(88, 4.2), (92, 5.1)],
    ),
    ("Right iliac lesion with SUV max 7.2, slice location minus 595.14.", []),
    ("Right lung nodule SUV 4.2 (coronal slice 60, axial slice 88).", [(88, 4.2)]),
    ("Uptake in the left kidney is SUV 8.8 (slice 140), compared to blood pool SUV of 1.9.", [(140, 8.8)]),
    ("Focal uptake in the liver above background with SUV max of 6.5 (slice 120).", [(120, 6.5)]),
    ("The left adrenal gland has an SUV max of 5.1 (slice 121), compared to liver SUV max of 3.2.", [(121, 5.1)]),
    ("Asymmetric uptake in the left tonsil with SUV 5.5 (slice 40) compared to the right, SUV 3.1.", [(40, 5.5)]),
    ("The SUV max of the left lung nodule was 8.8 (slice 40).", [(40, 8.8)]),
    ("Compared to the prior exam, the right hilar mass has increased with SUV max of 6.5 (slice 26).", [(26, 6.5)]),
    ("Previously described left lung mass has SUV max 6.5 (slice 26).", [(26, 6.5)]),
    ("Right kidney with SUV max 6.5 unchanged from prior study (slice 26).", [(26, 6.5)]),
    (
        "Right lung nodule (2.2 cm, image 77) with SUV max of 5.6, previously 2.8 cm with SUV max of 9.1 on image 80.",
        [(77, 5.6)],
    ),
    ("T12 vertebral body lesion SUV max 12.1 (slice 150).", [(150, 12.1)]),
    ("Level 2A lymph node SUV 4 on slice 42.", [(42, 4)]),
    ("Station 7 node with SUVmax of 6 (image 90).", [(90, 6)]),
    ("Right level IIB node measures 12 mm with SUV of 8 (series 605, image 44).", [(44, 8)]),
    ("Deauville 4 node in the left axilla, SUV max 4.9 (slice 80).", [(80, 4.9)]),
    ("Left axillary node SUV max 4.9 (slice 80), Deauville score 4.", [(80, 4.9)]),
    ("Rectal mass with SUV max of 14.2 on 3/4/2020 and 8.1 today (slice 230).", [(230, 8.1)]),
    ("Rectal mass, SUV max 8.1 (slice 230), was 14.2 on 3/4/2020.", [(230, 8.1)]),
    ("Rectal mass, SUV max 8.1 (slice 230); previously 14.2 on 03/04/2020.", [(230, 8.1)]),
    ("Right lung nodule SUV max 4.2 (slice 88); left lung nodule SUV max 5.1 (slice 92).", [(88, 4.2), (92, 5.1)]),
    (
        "Hypermetabolic nodes in the right axilla with SUV 4.2 (slice 88) and the left axilla with SUV 5.1 (slice 40).",
        [(88, 4.2), (40, 5.1)],
    ),
    (
        "Multiple hypermetabolic liver lesions, the most avid in segment 4 with SUV max of 14.2 (slice 121).",
        [(121, 14.2)],
    ),
    ("1. Right lung nodule, SUV 4.2, slice 88. 2. Left lung nodule, SUV 5.1, slice 92.", [(88, 4.2), (92, 5.1)]),
    (
        "Right lung nodule with SUV max 4.2 (slice 88).Left lung nodule with SUV max 5.1 (slice 92).",
        [(88, 4.2), (92, 5.1)],
    ),
    ("Right lung nodule has SUV max. of 4.2 (image no. 88).", [(88, 4.2)]),
    ("Right lung nodule, SUV max 4.2, measuring 1.2 cm on CT image 90 (PET image 88).", [(88, 4.2)]),
    ("In the right lung there is a nodule (CT series 3, image 90; PET image 88) with SUV max 4.2.", [(88, 4.2)]),
    ("Left femoral neck lesion with an SUV max of 6.5 at 60 minutes (slice 260).", [(260, 6.5)]),
    ("FDG avid left axillary node, 1.1 cm, 6.2 SUVmax, image 87.", [(87, 6.2)]),
    ("A 6.2 SUVmax left axillary node is seen on image 87.", [(87, 6.2)]),
    ("Left axillary node is seen on image 87 (SUV 6.2).", [(87, 6.2)]),
    ("On axial slice 87 there is a left axillary node that is 2 cm in size and whose SUV is 6.2.", [(87, 6.2)]),
    ("Left axillary node with SUVmax 6.2 and SUVmean 3.1 (slice 87).", [(87, 6.2)]),
    ("Left axillary node with peak SUV 6.2 (slice 87).", [(87, 6.2)]),
    ("Right upper lobe nodule, now SUV 2.9, slice 55, from SUV 5.2.", [(55, 2.9)]),
    ("The SUV max measures 4.6 (previously 7.4) in the gastric antrum, image 133.", [(133, 4.6)]),
    ("Gastric antrum uptake, SUV max currently 4.6, previously 7.4, slice 133.", [(133, 4.6)]),
    ("Gastric antrum uptake, SUV max 7.4 on prior and currently 4.6 (slice 133).", [(133, 4.6)]),
    ("Uptake in the prostate: SUVmax 12.0 vs 15.5 on prior (slice 240).", [(240, 12.0)]),
    ("Uptake in the prostate has SUV max of 12 (previously 15), slice 240.", [(240, 12)]),
    ("Uptake in the prostate has SUV max of 12 (15 previously), slice 240.", [(240, 12)]),
    ("Lesion in L4 (slice 180, SUV 9) and L 5 (slice 190, SUV 11).", [(180, 9), (190, 11)]),
    ("The mass is seen in the right thigh. It measures 4 cm. SUV max is 8.8. Image 320.", [(320, 8.8)]),
    ("Left upper lobe nodule (slice 60). Mediastinal blood pool SUV 1.9.", []),
    ("Left upper lobe nodule (slice 60). Right kidney SUV max 5.5.", []),
    ("Left upper lobe nodule (slice 60). Another nodule in the right lung with SUV 5.5.", []),
    ("No abnormal uptake in the liver (slice 118).", []),
    ("Uptake in the right 5th rib, SUV max 4.2 (slice 88).", [(88, 4.2)]),
    ("Right psoas uptake with SUV max of 4.2 g/mL (slice 188).", [(188, 4.2)]),
    ("Right psoas uptake (SUVmax 4.2 / image 188).", [(188, 4.2)]),
    ("Right psoas uptake (SUVmax/mean 4.2/2.1, image 188).", [(188, 4.2)]),
    ("Right psoas uptake (series/image 4/188), SUV 4.2.", [(188, 4.2)]),
    ("Right psoas uptake (series 4/188), SUV 4.2.", [(188, 4.2)]),
    ("Right psoas uptake (se 4, im 188), SUV 4.2.", [(188, 4.2)]),
    ("Right psoas uptake, SUV bw max 4.2, slice no. 188", [(188, 4.2)]),
    ("Right psoas uptake, slice # 188, SUV (max) 4.2", [(188, 4.2)]),
    ("Right psoas uptake, axial 188, SUVmax4.2", [(188, 4.2)]),
    ("Right psoas uptake SUV-max: 4.2; slice: 188.", [(188, 4.2)]),
    (
        "Interval decrease in FDG uptake in the right psoas with an SUV max of 4.2 (slice 188) as compared to an "
        "SUV max of 6.6 on the prior exam from January 5, 2019.",
        [(188, 4.2)],
    ),
    ("The right psoas SUV max was previously 6.6 and is now 4.2 (slice 188).", [(188, 4.2)]),
    ("The right psoas lesion with previous SUV max of 6.6 now has SUV max of 4.2 on slice 188.", [(188, 4.2)]),
    (
        "The right psoas lesion had SUV max of 6.6 on the previous study, and has SUV max of 4.2 on slice 188 today.",
        [(188, 4.2)],
    ),
    ("Soft tissue mass of the right thigh: size 3.3 cm; SUV max 4.2; slice 300; previously SUV max 6.1.", [(300, 4.2)]),
    ("Left neck, 1.5 cm node, SUV max 11.3, axial slice 45 of 299.", [(45, 11.3)]),
    ("Nodule in the right lung measures 8 mm (SUV 3.0, slice 88) and was 6 mm (SUV 2.6) in 2018.", [(88, 3.0)]),
    ("New FDG avid focus in the left iliac bone on image 201 with max SUV of 5.8 g/ml.", [(201, 5.8)]),
    ("Physiologic uptake in the brain, SUV 15.2, slice 12.", [(12, 15.2)]),
    ("Left supraclavicular node,SUV max 4.5,slice 50,new.", [(50, 4.5)]),
    ("Left supraclavicular node\nSUV max 4.5\nslice 50", [(50, 4.5)]),
    (
        "1) Left supraclavicular node\n   SUV max 4.5\n   slice 50\n2) Right axillary node\n   SUV max 3.3\n   "
        "slice 70",
        [(50, 4.5), (70, 3.3)],
    ),
    ("There is a left supraclavicular\nnode with an SUV max of\n4.5 on slice\n50. The liver is normal.", [(50, 4.5)]),
    ("RUL nodule, 14 mm, SUVmax 6.8 (4/112).", [(112, 6.8)]),
    ("Right breast mass (10:30), SUVmax 6.6 (3:98).", [(98, 6.6)]),
    ("Left adrenal nodule (605/44), SUVmax 3.9, prev 5.5.", [(44, 3.9)]),
    ("Left external iliac node (image 3-241), SUVmax 18.9.", [(241, 18.9)]),
    ("left lung nodule suv max 4.8 img 27 prev 5.5", [(27, 4.8)]),
    ("SUV max: current 4.2, previous 8.0. Left lung mass, slice 88.", [(88, 4.2)]),
    ("SE: 4 IM: 122. Focus in the right iliac wing with SUVmax of 9.3.", [(122, 9.3)]),
    ("Series 4, image 270. Right femoral neck lesion. Max SUV 4.8.", [(270, 4.8)]),
    (
        "Left axillary node. Image 80. 1.2 cm. SUVmax 4.0. Neck node. Image 44. 9 mm. SUVmax 3.2.",
        [(80, 4.0), (44, 3.2)],
    ),
    ("LEFT HILAR NODE, SUV MAX 4.8, IMAGE 90.", [(90, 4.8)]),
    ("Left psoas mass SUVmax/SULmax 6.1/4.9, TBR 2.1, image 210.", [(210, 6.1)]),
    ("Tail mass, SUVmax to background ratio of 3.0 and SUVmax 4.8 +/- 0.3, pancreas, slice 170.", [(170, 4.8)]),
    ("Pelvic node decreased from 16 mm, SUVmax 8.8 to 11 mm, SUVmax 5.1 (image 142).", [(142, 5.1)]),
    ("Pelvic node SUVmax 4.0, image 85, unchanged compared to 12/04/2020 (SUVmax 3.9).", [(85, 4.0)]),
    ("Pelvic node, image 85: 12-Apr-2020 SUVmax 3.9; 06/11/2021 SUVmax 4.0 (current).", [(85, 4.0)]),
    ("SUVmax 4.0 in the pelvic node (image 85); this was 11.1 in March.", [(85, 4.0)]),
    ("The pelvic node, image 70 of the current study and image 66 of the prior study, has SUVmax 9.1.", [(70, 9.1)]),
    ("Pelvic node SUVmax has halved from 15.5 to 9.1, image 70.", [(70, 9.1)]),
    ("T4 and L3 metastases with respective SUVmax of 8.1 and 12.5 on images 85 and 176.", [(85, 8.1), (176, 12.5)]),
    ("Lung nodules with SUVmax 2.1-8.8, the largest on image 101 with SUVmax 8.8.", [(101, 8.8)]),
    ("Left seminal vesicle focus (image 262) with SUVmax 8.8 next to the bladder with SUVmax 55.", [(262, 8.8)]),
    ("Asymmetric uptake in the left vocal cord (SUVmax 4.9, image 70), right vocal cord SUVmax 2.1.", [(70, 4.9)]),
    ("Mean liver SUV 2.4; MBP SUVmax 1.9; mediastinal mass SUVmax 5.9 on image 90.", [(90, 5.9)]),
    ("Mediastinal mass with SUVmax 5.9, nearly twice liver (3.3), image 90.", [(90, 5.9)]),
    ("Left psoas mass SUVmax 5.9 (image 210), against liver 3.3 and mediastinum 1.7.", [(210, 5.9)]),
    ("Left psoas mass, 22 mm, SUVmax 5.9, 4/210.", [(210, 5.9)]),
    ("Left psoas mass (22 mm; 4/210) with SUVmax 5.9.", [(210, 5.9)]),
    ("Left psoas mass with SUVmax 5.9 (IMA 210).", [(210, 5.9)]),
    ("Left psoas mass with SUVmax 5.9, axial cut 210.", [(210, 5.9)]),
    ("Left psoas mass with S U V max of 5.9 on axial section 210.", [(210, 5.9)]),
    ("The left psoas mass measures now 5.9 versus 7.7 SUVmax (image 210).", [(210, 5.9)]),
    ("Left psoas mass with maximum SUV of 5.9 and peak SUV of 4.8, image 210.", [(210, 5.9)]),
    ("Left psoas mass, image 210, SUVmax 5.9 (prev. 7.7).", [(210, 5.9)]),
    ("SUVmax of the left psoas mass rose to 5.9 (image 210), having been 4.4.", [(210, 5.9)]),
    ("Left psoas mass, SUVmax 5.9, stable (5.8), image 210.", [(210, 5.9)]),
    ("Left psoas mass, image 210, SUVmax 5.9 (C2D1: 7.7; screening: 9.0).", [(210, 5.9)]),
    ("Left psoas mass with SUVmax 5.9 on slice 210, formally 7.7 on slice 212.", [(210, 5.9)]),
    ("Left psoas mass with SUV of 5.9 on image 210, more than the 4.4 that was obtained a year ago.", [(210, 5.9)]),
    ("Left psoas mass, SUVmax 5.9 (image 210), at a white cell count of 12.1.", [(210, 5.9)]),
    (
        "Left psoas mass with SUVmax of 5.9 (im 210), right iliac nodes with SUVmax between 3.3 and 4.1 (im 230-241).",
        [(210, 5.9)],
    ),
    (
        "Nodes on slices 230 and 241 present respectively SUVmax of 3.3 and 4.1, against 7.2 and 8.4 before therapy.",
        [(230, 3.3), (241, 4.1)],
    ),
    ("The splenic lesion has an SUVmax of 6. It is located at the lower pole, image 137.", [(137, 6)]),
    ("There is a density in the left breast, image 88. There is a clip within it. SUV max 2.6.", [(88, 2.6)]),
    (
        "Plaque along the right diaphragm on slice 146. SUVmax at this site is 2.5, less than the liver (SUVmax 3.4).",
        [(146, 2.5)],
    ),
    ("Intense uptake of the sigmoid colon. The maximum SUV here is 14.9. Please see slice 231.", [(231, 14.9)]),
    ("Multiple rib lesions with SUV max up to 4.2 (left 5th rib, slice 88).", [(88, 4.2)]),
]

REJECTED = [
    ("The liver is homogeneous without focal lesion, with SUVmax 3.4 on slice 150.", "template"),
    ("The node described on the outside PET/CT (slice 44, SUVmax 6.0) is small.", "not the current exam"),
    ("Bilateral hilar nodes with SUV max up to 4.2 (slice 88).", "several lesions"),
    ("Numerous hilar nodes show SUVs as high as 4.2 on slice 88.", "several lesions"),
    ("Between image 140 and image 158 there is a retroperitoneal mass with SUVmax of 8.8.", "no slice"),
    ("On the sagittal reconstruction (image 58) there is uptake in T10, SUV max 4.2.", "no slice"),
    ("On the prior study the hilar node was at slice 79 with SUVmax of 9.1.", "not the current exam"),
    (
        "In the preliminary examination a lesion of segment 4a (img 144, SUVmax 7.4) was described.",
        "not the current exam",
    ),
    ("The previous study, image no. 120, had shown a pleural deposit with SUV max of 5.8.", "not the current exam"),
    (
        "On the examination of 03/14/2022 the hilar mass measured 3.9 cm with SUVmax of 6.2 (image 66).",
        "not the current exam",
    ),
    ("Previously noted right hilar activity with SUVmax 5.7 on image 86 has normalised.", "not the current exam"),
    ("LLL nodule on prior (im 119, SUV 3.3): resolved.", "not the current exam"),
    ("The segment 8 metastasis (SUVmax 7.2, slice 152) has since been ablated.", "not the current exam"),
    ("Right level III node was SUV-max 10.6 (im 53) pre treatment.", "not the current exam"),
    ("Several mediastinal nodes with SUV max ranging from 3.2 to 5.6 (slice 90).", "several lesions"),
    ("Mediastinal nodes with SUV 3.2-5.6 (slices 90-95).", "several lesions"),
    ("Mediastinal nodes with SUV max 3.2 to 5.6 (slice 90).", "several lesions"),
    ("Right lung nodule SUV 4.2 (coronal slice 88).", "no slice"),
    ("Blood pool SUV max 2.1 (slice 92).", "template"),
    ("Liver background SUVmean 2.4 (slice 118).", "template"),
    ("For reference, the liver SUV max is 3.1 on image 118.", "template"),
    ("Reference mediastinal blood pool: SUVmax 1.9, slice 92", "template"),
    ("On the prior exam the left lung nodule had SUV max of 8.8 on slice 40.", "not the current exam"),
    ("Previously, the SUV max of the left lung nodule was 8.8 (slice 40).", "not the current exam"),
    ("Focus with SUV max 4.2 (slice 88).", "no anatomy named"),
    ("Two lung nodules with SUV max of 4.2 (slice 88).", "several lesions"),
    ("Left axillary node with SUVmean 3.1 (slice 87).", "no SUVmax"),
    ("Left axillary node, SUV > 10 (slice 87).", "no SUVmax"),
    ("Right upper lobe nodule SUV 1.9 (slice 55).", "SUVmax below threshold"),
    ("Right psoas lesion on slices 188-192, SUV 4.2.", "no slice"),
    ("Right psoas lesion, SULmax 4.9, SUVmean 3.0, slice 188.", "no SUVmax"),
    ("Right psoas lesion with SUV 4 to 9, the most avid part of the slice 188.", "several lesions"),
    ("Liver shows homogeneous uptake with SUVmax 3.3 (image 140).", "template"),
    ("Hypermetabolic activity in the distal esophagus (slice 100-104) has SUV 7.0.", "no slice"),
]


# What may as well be something else than series and slice: a total, a score, a time, counted nodes.
NO_PAIR = ["(98/263)", "(Deauville 4/5)", "(4/5)", "(10:30)", "(2/14 nodes)"]


class TestRules:
    @pytest.mark.parametrize(("text", "pairs"), PAIRS)
    def test_reads_the_pair_of_the_current_finding(self, text, pairs):
        assert accepted(text) == pairs

    @pytest.mark.parametrize(("text", "outcome"), REJECTED)
    def test_rejects_with_the_reason(self, text, outcome):
        told = ["no slice" if f.text_evidence == "SUV only" else f.outcome.value for f in findings_of(text)]
        assert told == [outcome]

    @pytest.mark.parametrize("aside", NO_PAIR)
    def test_does_not_take_other_pairs_of_numbers_for_series_and_slice(self, aside):
        assert accepted(f"Right breast mass with SUV max of 6.6 {aside}.") == []


def test_lesions_that_are_counted_share_the_slice_before_them():
    assert accepted("Two right lung nodules on image 88, SUVmax 3.4 and 5.1.") == [(88, 3.4), (88, 5.1)]
    assert accepted("Three right lung nodules on image 88, SUVmax 3.4 and 5.1.") == []


@pytest.mark.parametrize("verb", ["varies between 4 to 5.2", "ranges from 4 to 5.2", "is between 4 and 5.2"])
def test_the_end_of_a_range_is_no_value_of_its_own(verb):
    assert accepted(f"The SUVmax of the liver lesion {verb} (slice 130).") == []


@pytest.mark.parametrize(
    ("picture", "number"), [("key image 3", None), ("saved image 12", None), ("key image 166", 166)]
)
def test_the_number_of_a_saved_picture_is_no_slice(picture, number):
    (found,) = findings_of(f"Right breast mass with SUVmax 11.2 ({picture}).")
    assert (found.slice, found.suvmax_reported, found.outcome) == (number, 11.2, Outcome.ACCEPTED)


@pytest.mark.parametrize(
    "text",
    [
        "Spleen with SUVmax 2.6 without focal lesion.",
        "Liver with homogeneous uptake, SUVmax 2.8.",
        "Milz mit SUVmax 2,6 ohne Herd, sonst ist die Leber unauffällig.",
        "Hígado con captación homogénea (SUVmáx 3,0).",
        "Lever met homogene opname, SUVmax 2,8.",
    ],
)
def test_a_normal_liver_or_spleen_is_no_finding(text):
    assert [f for f in findings_of(text) if f.outcome is Outcome.ACCEPTED] == []


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("La lesión suprarrenal izquierda ha aumentado de SUVmáx 4,0 a 7,2 (corte 168).", (168, 7.2)),
        ("De laesie in de linker schildklierkwab is toegenomen van SUVmax 3,1 naar 5,6 (coupe 75).", (75, 5.6)),
        ("Épaississement pleural gauche hypermétabolique : SUVmax = 6,2 (coupe n° 131).", (131, 6.2)),
    ],
)
def test_changes_and_numbered_slices_of_other_languages(text, pair):
    assert accepted(text) == [pair]


@pytest.mark.parametrize(
    "text",
    [
        "Bladder: intense tracer activity (SUVmax 45.0).",
        "Uptake in the transverse colon is diffuse and felt to be metformin-related (SUVmax 9.7, image 141).",
    ],
)
def test_uptake_of_urine_and_of_drugs_is_physiologic(text):
    (found,) = [f for f in findings_of(text) if f.outcome is Outcome.ACCEPTED]
    assert found.is_physiologic


def test_both_organs_of_a_pair_are_bilateral():
    (found,) = findings_of("Uptake in both testes, SUVmax 3.1 (image 14).")
    assert found.laterality == "bilateral"
