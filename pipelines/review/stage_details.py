"""What the UI shows of a shard's rows beside their number: counts, first rows, a picture; made where the shard is."""

from typing import Any

import polars as pl

from pipelines.curation.run import ShardReport
from pipelines.curation.stages.curation import Curation
from pipelines.review.exam_picture import exam_picture
from pipelines.tables.exam_problems import ExamProblem

SAMPLE_ROWS = 5


def stage_details(curation: Curation, report: ShardReport) -> dict[str, Any]:
    """Counts of a table by name, `first rows` (a frame), `warnings` (texts for the log), and of lesions that were
    computed a `picture` with its `caption`.
    """
    frame = report.frame
    details: dict[str, Any] = {"first rows": frame.head(SAMPLE_ROWS)} if frame.height else {}
    match report.table:
        case "exams":
            told = frame.filter((pl.col("status") == "problem") | (pl.col("problem") == ExamProblem.NO_REPORT.value))
            problems = told.select("exam_id", "problem", "message").rows()
            details["problems"] = frame.filter(pl.col("status") == "problem").height
            details["warnings"] = [f"exam {exam}: {problem}: {message}" for exam, problem, message in problems]
        case "sentences":
            details["candidates"] = frame.filter("is_candidate").height
        case "readings":
            details["errors"] = frame["error"].drop_nulls().len()
        case "findings":
            accepted = frame.filter(pl.col("outcome") == "accepted").height
            corrected = frame["corrected"].drop_nulls().len()
            details |= {"accepted": accepted, "rejected": frame.height - accepted, "corrected": corrected}
        case "peaks":
            left_out = frame.drop_nulls("organ_map_message").select("exam_id", "organ_map_message").rows()
            details["without frame"] = frame.filter(pl.col("frame_confidence") == 0).height
            details["warnings"] = [f"exam {exam}: label map left out: {message}" for exam, message in left_out]
        case "calibration":
            assumed = frame.filter(pl.col("calibration_source").is_in(["assumed", "none"]))
            details["not decided"] = assumed.height
            rows = assumed.select("exam_id", "calibration_source").rows()
            details["warnings"] = [f"exam {exam}: calibration {source}" for exam, source in rows]
        case "candidates":
            details["vetoed"] = frame["is_vetoed"].sum()
        case "lesions":
            found = frame.filter(pl.col("outcome") == "lesion")
            details |= {"lesions": found.height, "not located": frame.height - found.height}
            if found.height and report.counts.recomputed:
                exam_id = found["exam_id"][0]
                details["picture"] = exam_picture(curation.home, exam_id, found)
                details["caption"] = f"MIP of exam {exam_id} with its lesions"
    return details
