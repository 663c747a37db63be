"""The FHIR bundle: right as it is made, and each thing that is broken on purpose is found."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from pipelines.exports.anatomic_codes import place_code, side_code
from pipelines.exports.exam_report import ReportedExam, exam_report
from pipelines.exports.fhir_report import check_bundle, fhir_bundle, is_loinc, is_snomed
from pipelines.reports.vocabulary.vocabulary import package_vocabulary
from tests.support.report_rows import BLADDER, EXAM, lesion

REPORT = exam_report(EXAM, [lesion("a", 150), lesion("b", 20, **BLADDER, suvmax=66.0)])
Break = Callable[[dict[str, Any]], object]


def bundle(study_uid: str | None = "1.2.840.99") -> dict[str, Any]:
    return fhir_bundle(REPORT, study_uid, {"1.2.840.100": "PT", "2.25.7": "SEG"})


def resources(made: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [e["resource"] for e in made["entry"] if e["resource"]["resourceType"] == kind]


class TestBundle:
    def test_passes_its_checks_and_is_json(self) -> None:
        assert check_bundle(json.loads(json.dumps(bundle()))) == []

    def test_has_the_same_ids_twice(self) -> None:
        assert bundle() == bundle()

    def test_holds_every_measure_of_a_lesion(self) -> None:
        (lung,) = [
            o for o in resources(bundle(), "Observation") if o.get("bodySite", {}).get("text") == "left upper lobe"
        ]
        values = {c["code"].get("text"): c["valueQuantity"]["value"] for c in lung["component"] if "valueQuantity" in c}
        assert values["SUVmax"] == 8.24
        assert values["Metabolic volume"] == 4.0
        assert values["Total lesion glycolysis"] == 20.0

    def test_of_an_exam_without_dicom_has_no_imaging_study(self) -> None:
        made = bundle(None)
        assert resources(made, "ImagingStudy") == []
        assert "imagingStudy" not in resources(made, "DiagnosticReport")[0]
        assert check_bundle(made) == []

    def test_of_an_exam_without_a_date_has_none(self) -> None:
        made = fhir_bundle(exam_report(ReportedExam("E1", "P1", None, None, 200), []), None)
        assert "effectiveDateTime" not in resources(made, "DiagnosticReport")[0]
        assert check_bundle(made) == []


def observation(made: dict[str, Any]) -> dict[str, Any]:
    return resources(made, "Observation")[0]


def quantity(made: dict[str, Any], at: int = 0) -> dict[str, Any]:
    return observation(made)["component"][at]["valueQuantity"]


def twice(made: dict[str, Any]) -> None:
    results = resources(made, "DiagnosticReport")[0]["result"]
    results.append(results[0])


def is_patient(entry: dict[str, Any]) -> bool:
    return entry["resource"]["resourceType"] == "Patient"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda b: observation(b).update(status="done"), "value set"),
        (lambda b: observation(b).pop("subject"), "lacks subject"),
        (lambda b: observation(b).update(subject={"reference": "urn:uuid:0"}), "no Patient of the bundle"),
        (lambda b: resources(b, "DiagnosticReport")[0]["result"].append({"reference": "x"}), "no Observation"),
        (lambda b: resources(b, "DiagnosticReport")[0]["code"]["coding"][0].update(code="44139-5"), "LOINC"),
        (lambda b: observation(b)["bodySite"]["coding"][0].update(code="39607009"), "SNOMED"),
        (lambda b: observation(b)["component"][0]["code"]["coding"][0].update(code="999"), "is not in"),
        (lambda b: observation(b)["component"][0]["valueQuantity"].update(code="g/l"), "UCUM"),
        (lambda b: observation(b)["component"][0]["valueQuantity"].update(value="8"), "no number"),
        (lambda b: observation(b).update(effectiveDateTime="01.05.2023"), "no day"),
        (lambda b: b["entry"].append(b["entry"][0]), "every fullUrl once"),
        (lambda b: b["entry"][1].update(fullUrl="urn:uuid:1"), "UUID"),
        (lambda b: b["entry"][1]["resource"].update(resourceType="Person"), "expected one of"),
        (lambda b: resources(b, "ImagingStudy")[0]["series"][0].update(uid="1.02.3"), "no UID"),
        (lambda b: b.update(type="batch"), "of type collection"),
        (lambda b: quantity(b).update(value=float("nan")), "no number"),
        (lambda b: quantity(b).update(value=-1.0), "below 0"),
        (lambda b: quantity(b).update(code="mL", unit="mL"), "not that of SUVbw"),
        (lambda b: quantity(b).update(unit="g"), "UCUM"),
        (lambda b: quantity(b, 3).update(code="g", unit="g"), "not that of Metabolic Volume"),
        (lambda b: observation(b)["component"][0]["code"]["coding"][0].update(display="Volume"), "does not mean"),
        (lambda b: observation(b)["component"][0].pop("code"), "lacks code"),
        (lambda b: observation(b)["component"][0].pop("valueQuantity"), "expected one value"),
        (lambda b: observation(b)["component"][0].update(valueInteger=3), "expected one value"),
        (lambda b: observation(b).pop("component"), "lacks component"),
        (lambda b: observation(b).update(status="final"), "a draft is preliminary"),
        (lambda b: observation(b)["bodySite"]["coding"][0].update(code="22298006"), "is not in"),
        (lambda b: observation(b)["code"]["coding"][0].update(system="http://snomed.org"), "is not in"),
        (lambda b: observation(b).update(subject="Patient"), "no Patient of the bundle"),
        (lambda b: resources(b, "DiagnosticReport")[0]["result"].pop(), "expected one result"),
        (twice, "expected one result"),
        (lambda b: resources(b, "DiagnosticReport")[0].update(conclusion="Normal."), "draft"),
        (lambda b: resources(b, "DiagnosticReport")[0]["code"]["coding"][0].update(code="24627-2"), "is not in"),
        (lambda b: resources(b, "ImagingStudy")[0]["series"][0].update(uid="1." + "2" * 64), "no UID"),
        (lambda b: resources(b, "ImagingStudy")[0]["series"][0].pop("uid"), "no UID"),
        (lambda b: resources(b, "Patient")[0]["identifier"][0].update(value=""), "lacks its value"),
        (lambda b: b["entry"].append({"fullUrl": "urn:uuid:00000000-0000-0000-0000-000000000000"}), "a resource"),
        (lambda b: b["entry"].pop(next(n for n, e in enumerate(b["entry"]) if is_patient(e))), "expected one Patient"),
    ],
)
def test_what_is_broken_on_purpose_is_found(damage: Break, words: str) -> None:
    made = copy.deepcopy(bundle())
    damage(made)
    assert any(words in fault for fault in check_bundle(made)), check_bundle(made)


class TestCheckDigits:
    @pytest.mark.parametrize("code", ["44139-4", "2160-0", "24627-2"])
    def test_of_loinc(self, code: str) -> None:
        assert is_loinc(code)
        assert not is_loinc(code[:-1] + str((int(code[-1]) + 1) % 10))

    def test_of_every_place_are_right(self) -> None:
        organs = {term.organ for term in package_vocabulary().lexicon.terms.values()}
        codes = [place_code(organ, None) for organ in organs] + [
            side_code(side) for side in ("left", "right", "midline")
        ]
        assert [code for code in codes if code is not None and not is_snomed(code.value)] == []

    def test_of_snomed_find_exchanged_digits(self) -> None:
        assert is_snomed("39607008")
        assert not is_snomed("36907008")
