"""An exam and rows of its lesions, for tests of draft reports."""

from typing import Any

from pipelines.exports.exam_report import ReportedExam

EXAM = ReportedExam("E1", "P1", "2023-05-01", "FDG", 200)


def lesion(name: str, k: int, **changes: Any) -> dict[str, Any]:
    row = {
        "finding_id": f"E1:{name}",
        "region": "chest",
        "organ": "lung",
        "subsite": "left upper lobe",
        "laterality": "left",
    }
    row |= {"slice": 200 - k, "peak_i": 5, "peak_j": 6, "peak_k": k, "shares_with": None, "is_physiologic": False}
    row |= {"suvmax": 8.24, "suvmean": 5.0, "suvpeak": 7.0, "mtv_ml": 4.0, "tlg": 20.0, "diameter_mm": 21.0}
    return row | changes


BLADDER = {"organ": "bladder", "subsite": None, "laterality": None, "region": "abdomen/pelvis", "is_physiologic": True}
