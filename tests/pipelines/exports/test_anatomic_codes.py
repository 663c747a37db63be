"""Codes of places: every one is a concept of SNOMED CT that DICOM knows, and every organ of the lexicon has one."""

import pytest
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from pipelines.exports.anatomic_codes import place_code, side_code
from pipelines.reports.vocabulary.vocabulary import package_vocabulary
from pipelines.tables.report_fields import LATERALITIES, REGIONS

TERMS = package_vocabulary().lexicon.terms.values()
ORGANS = sorted({term.organ for term in TERMS if term.organ})


class TestPlaceCode:
    @pytest.mark.parametrize("organ", ORGANS)
    def test_every_organ_of_the_lexicon_has_one(self, organ: str) -> None:
        assert place_code(organ, None) is not None

    @pytest.mark.parametrize("region", REGIONS)
    def test_of_a_region_where_the_organ_has_none(self, region: str) -> None:
        code = place_code("an organ that nobody named", region)
        assert (code is None) == (region == "musculoskeletal")

    def test_every_code_is_one_that_dicom_uses(self) -> None:
        concepts = (getattr(codes.SCT, name) for name in dir(codes.SCT))
        in_dicom = {concept.value for concept in concepts if isinstance(concept, Code)}
        named = {place_code(organ, None) for organ in ORGANS} | {place_code(None, region) for region in REGIONS}
        named |= {side_code(side) for side in LATERALITIES}
        assert [code for code in named if code is not None and code.value not in in_dicom] == []

    def test_of_nothing_there_is_none(self) -> None:
        assert place_code(None, None) is None


class TestSideCode:
    def test_every_side_has_one(self) -> None:
        assert [side for side in LATERALITIES if side_code(side) is None] == []
        assert side_code(None) is None
