"""The contract of every table of the lake: column, type, unit, nullability, range and a line of description.

The schemas are the one source for what is validated on write (`validate`), what an empty table looks like (`empty`),
the column schema in the UI and the comments of the DuckDB catalog (`describe`), and the data dictionary page.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import PurePath
from typing import Any

import dataframely as dy
import polars as pl

from pipelines.tables.answer_kinds import JUDGEMENTS, MISSED, Subject
from pipelines.tables.candidate_features import FEATURES
from pipelines.tables.errors import first_line
from pipelines.tables.exam_problems import ExamProblem
from pipelines.tables.hashing import hash_of
from pipelines.tables.identifier_kinds import IDENTIFIER_KINDS
from pipelines.tables.outcomes import Outcome
from pipelines.tables.pair_reasons import LinkState, PairReason
from pipelines.tables.report_fields import (
    CERTAINTIES,
    COMPARISONS,
    EXAMS,
    LATERALITIES,
    PLANES,
    ROLES,
    SUV_KINDS,
    TEXT_EVIDENCE,
)
from pipelines.tables.shards import N_SHARDS

SPLITS = ("train", "val", "test")
MASK_SOURCES = ("grown", "given", "corrected", "edited", "marked")
TEXT_SOURCES = ("report", "given", "composed")
STOP_REASONS = ("converged", "leak", "border", "flat", "too small", "no liver found")
SCORE_NUMBERS = ("measured", "raw", "masked")
SCORE_STATUSES = ("computed", "not computed", "published")
CORRECTION_STATUSES = ("applied", "superseded", "unknown finding", "not applied")
MASK_CHANGES = ("none", "edge", "shift", "another lesion")
PREFERENCES = ("model", "tie", "report")
REVIEW_ANSWERS = tuple(dict.fromkeys(name for names in JUDGEMENTS.values() for name in names))
"""What a reviewer says of a finding, or of a proposal."""
PROPOSAL_ANSWERS = (*JUDGEMENTS[Subject.PROPOSAL], MISSED)
"""What a reviewer says of a proposal; the last of a lesion that nothing proposed."""
EVIDENCE = ("slice+SUV", "SUV+organ", "SUV+zone", "SUV", "review", "given mask")
CALIBRATION_SOURCES = ("setting", "exam", "scanner", "cohort", "assumed", "none")
EXAM_STATUSES = ("ok", "problem", "failed")
IMAGE_OUTCOMES = (
    Outcome.LESION,
    Outcome.EXAM_PROBLEM,
    Outcome.FAILED,
    Outcome.SLICE_OUTSIDE,
    Outcome.NOT_CALIBRATED,
    Outcome.NOT_IN_IMAGE,
    Outcome.AMBIGUOUS,
    Outcome.WRONG_SIDE,
    Outcome.LEAK,
    Outcome.FLAT,
    Outcome.TOO_SMALL,
    Outcome.BORDER,
    Outcome.NO_LIVER,
    Outcome.NOTHING_TO_LOCATE_BY,
)
_EITHER_STAGE = (Outcome.FAILED, Outcome.NOTHING_TO_LOCATE_BY)
TEXT_OUTCOMES = tuple(o for o in Outcome if o in _EITHER_STAGE or o not in IMAGE_OUTCOMES)


def _meta(unit: str | None, choices: Iterable[str] | None = None) -> dict[str, Any]:
    return {
        key: value for key, value in (("unit", unit), ("choices", None if choices is None else tuple(choices))) if value
    }


def string(description: str, *, null: bool = False, key: bool = False, empty: bool = False) -> dy.String:
    """A column of text; empty strings break the contract unless `empty`, for an unknown text is null."""
    return dy.String(nullable=null, primary_key=key, min_length=None if empty else 1, description=description)


def choice(description: str, values: Iterable[str], *, null: bool = False, key: bool = False) -> dy.String:
    """A column of text with a closed set of values. Stored as text, so that a new value is no new type of file."""
    values = tuple(str(v) for v in values)
    return dy.String(
        nullable=null,
        primary_key=key,
        check={"choices": lambda c: c.is_in(list(values))},
        description=description,
        metadata=_meta(None, values),
    )


def integer(
    description: str, *, null: bool = True, low: int | None = None, high: int | None = None, unit: str | None = None
) -> dy.Int64:
    """A column of whole numbers in low..high, both included."""
    return dy.Int64(nullable=null, min=low, max=high, description=description, metadata=_meta(unit))


def real(
    description: str,
    unit: str | None = None,
    *,
    null: bool = True,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
) -> dy.Float64:
    """A column of finite real numbers, at least `low` or strictly above `above`, at most `high`."""
    return dy.Float64(
        nullable=null, min=low, min_exclusive=above, max=high, description=description, metadata=_meta(unit)
    )


def flag(description: str, *, null: bool = True) -> dy.Bool:
    """A column of true or false."""
    return dy.Bool(nullable=null, description=description)


def _present_when(condition: pl.Expr, *columns: str) -> pl.Expr:
    """True where the condition does not hold or all columns are there; a null condition counts as not holding."""
    return ~condition.fill_null(False) | pl.all_horizontal(pl.col(c).is_not_null() for c in columns)


# The rules below take the class, as dataframely calls them; the linter sees methods (hence N805).


class ShardRow(dy.Schema):
    """Leading columns of every sharded table."""

    exam_id = string("Exam, as the cohort names it")
    patient_id = string("Patient, as the cohort names it; decides the shard and the split")
    row_key = string("Hash of the row's inputs, code version and parameters; a row with an equal key is reused")


class Exams(ShardRow):
    """One row an exam of the cohort, usable or not."""

    # All three again, for the key keeps its place only among columns that are declared together.
    exam_id = string("Exam, as the cohort names it", key=True)
    patient_id = string("Patient, as the cohort names it; decides the shard and the split")
    row_key = string("Hash of the row's inputs, code version and parameters; a row with an equal key is reused")
    shard = integer("Shard of the patient", null=False, low=0, high=N_SHARDS - 1)
    status = choice("Whether the exam gave a volume; `failed`: our own code raised", EXAM_STATUSES, null=False)
    problem = choice("Why it gave none, or what is wrong with it", ExamProblem, null=True)
    message = string("What was expected, what came, what to do", null=True, empty=True)
    source = choice("How the PET was stored", ("dicom", "nifti"), null=True)
    tracer = string("Radiopharmaceutical, FDG, DOTATATE and so on; null where unknown", null=True)
    study_date = string(
        "Day of the exam (YYYY-MM-DD): the report's, else the image's; moved where reports are masked", null=True
    )
    scanner = string("Manufacturer and model of the scanner", null=True)
    reconstruction = string("Method of reconstruction and filter of the PET", null=True)
    series_description = string("Description of the PET series that was picked", null=True, empty=True)
    units = string("Units of the stored PET: BQML, GML, CNTS, SUV", null=True)
    suv_rule = string("How SUV was made: which tags, which decay", null=True)
    decay_correction = string("DecayCorrection of the series: START, ADMIN, NONE", null=True)
    injected_dose_bq = real("Injected activity", "Bq", above=0)
    half_life_s = real("Half-life of the radionuclide", "s", above=0)
    weight_kg = real("Weight of the patient", "kg", above=0, high=1000)
    uptake_s = real("Time from injection to scan", "s", low=0)
    sul_ratio = real(
        "SUV by lean body mass (Janmahasatian) over the SUV of the volume, by height, sex and weight of the header, of "
        "which height and sex are not kept",
        None,
        above=0,
    )
    sul_james_ratio = real("The same by the formula of James", None, above=0)
    n_slices = integer("Axial slices of the PET", low=1)
    shape_i = integer("Voxels to the patient's right", low=1)
    shape_j = integer("Voxels to the front", low=1)
    shape_k = integer("Voxels from the feet to the head", low=1)
    spacing_i_mm = real("Voxel size along i", "mm", above=0, high=100)
    spacing_j_mm = real("Voxel size along j", "mm", above=0, high=100)
    spacing_k_mm = real("Voxel size along k", "mm", above=0, high=100)
    voxel_ml = real("Volume of a voxel", "mL", above=0)
    suv_max = real("Largest SUV of the exam", "SUV", low=0)
    has_ct = flag("Whether a CT is there on the PET's grid")
    ct_message = string("Why there is no CT", null=True, empty=True)
    report_message = string("What was wrong with the exam's report", null=True)
    ct_n_slices = integer("Axial slices of the CT as it was stored", low=1)
    ct_first_mm = real("Lowest of them (RAS z)", "mm")
    ct_step_mm = real("From each of them to the next, feet to head", "mm", above=0)
    suv_path = string("SUV volume, under PETAR_HOME", null=True)
    ct_path = string("CT volume on the PET's grid, under PETAR_HOME", null=True)
    image_fingerprint = string("Hash of the image files", null=True)
    split = choice("Split that the cohort gives its patient; null: drawn by the patient's hash", SPLITS, null=True)
    given_masks = string("Lesions whose masks came with it, as JSON: finding, text, file", null=True)
    given_message = string("Which given masks were left out, and why", null=True)

    @dy.rule()
    def ok_has_volume(cls) -> pl.Expr:  # noqa: N805
        return _present_when(
            pl.col("status") == "ok", "n_slices", "spacing_i_mm", "spacing_j_mm", "spacing_k_mm", "suv_path"
        )

    @dy.rule()
    def problem_has_reason(cls) -> pl.Expr:  # noqa: N805
        return _present_when(pl.col("status") != "ok", "problem", "message")

    @dy.rule()
    def slices_are_shape_k(cls) -> pl.Expr:  # noqa: N805
        return pl.col("n_slices") == pl.col("shape_k")


class Reports(dy.Schema):
    """One row a report of the cohort, as it is read: masked and with its dates moved where that is set."""

    exam_id = string("Exam, as the cohort names it", key=True)
    patient_id = string("Patient, as the cohort names it")
    study_date = string(
        "Day of the exam (YYYY-MM-DD), as the table of reports has it; moved where reports are masked", null=True
    )
    tracer = string("Radiopharmaceutical, as the table of reports has it", null=True)
    text = string("Findings of the report; null where it has none", null=True)
    n_characters = integer("Length of the text", null=False, low=0, unit="characters")
    message = string("What is wrong with the report", null=True)


class Sentences(ShardRow):
    """One row a sentence of a report, candidate or not."""

    sentence_id = string("<exam_id>:<8 hex of the text>, #2 for a repetition", key=True)
    sentence = string("The sentence as it stands in the report")
    start = integer("First character in the report", null=False, low=0, unit="characters")
    end = integer("One past its last character", null=False, low=0, unit="characters")
    section = string("Section or heading that it stands under", null=True, empty=True)
    is_candidate = flag("Whether it may name a lesion: an SUV and a slice", null=False)
    candidate_reason = string("Why it is a candidate or is not", null=True, empty=True)
    language = string("Language of the report (ISO 639-1), und where its words do not tell", null=True)

    @dy.rule()
    def span_in_order(cls) -> pl.Expr:  # noqa: N805
        return pl.col("start") < pl.col("end")


class Readings(ShardRow):
    """One row a mention of a reader in a passage, or one without values where it read none, also without images."""

    passage_id = string("Passage that was read: a heading with its sentences", key=True)
    reader = string("Name of the reader", key=True)
    mention = dy.Int64(
        primary_key=True,
        min=0,
        description="Number of the mention in the passage, from 1; 0 where the reader gives none",
    )
    sentence_id = string("Sentence that holds the mention's SUV, else its first; of none, the passage's first")
    sentence = string("That sentence as it was read")
    sentence_ids = string("All sentences that say the mention, parted by commas")
    passage_sentence_ids = string("All sentences of the passage, parted by commas")
    reader_version = string("Version of the reader: its rules, or its model and prompt")
    lesion = string("What the text calls the lesion", null=True)
    slice = integer("Axial slice that it read, as the report counts", low=0)
    series = integer("Series of the slice", low=0)
    plane = choice("Plane of the slice; null counts as axial", PLANES, null=True)
    suvmax = real("SUVmax that it read", "SUV", low=0)
    suv = real("The SUV that it read, of whatever kind", "SUV", low=0)
    suv_kind = choice("Kind of the SUV", SUV_KINDS, null=True)
    size_cm = real("Largest diameter that the text gives", "cm", low=0)
    exam = choice("Exam that the mention is of", EXAMS, null=True)
    role = choice("What the mention is; lesions and physiologic uptake are findings", ROLES, null=True)
    n_lesions = integer("How many lesions the mention stands for", low=0)
    region = string("Region of the body", null=True)
    organ = string("Organ", null=True)
    subsite = string("Part of the organ", null=True)
    laterality = choice("Side that the text names", LATERALITIES, null=True)
    comparison = choice("Change since the prior exam", COMPARISONS, null=True)
    prior_suv = real("SUV of the same lesion at an earlier exam", "SUV", low=0)
    certainty = choice("Whether the text is certain of it", CERTAINTIES, null=True)
    part_start = integer("First character of the mention's part of the sentence; null where it has it all", low=0)
    part_end = integer("One past its last character", low=0)
    note = string("Why a value is missing, in words", null=True)
    refused = string("Why the mention does not count: what of it does not stand in the text", null=True)
    error = string("Why the reader failed, null where it did not", null=True)
    answer = string("What a language model said, word for word", null=True, empty=True)


class Findings(ShardRow):
    """One row a finding of a report, or a candidate sentence that gave none, with the reason."""

    finding_id = string("<exam_id>:<8 hex of the text>, #2 for a repetition", key=True)
    sentence_id = string("Sentence that it comes from")
    sentence = string("Text of the finding as it stands in the report")
    start = integer("First character in the report", low=0, unit="characters")
    end = integer("One past its last character", low=0, unit="characters")
    slice = integer("Reported axial slice, from the head, 1-based by default", low=0)
    suvmax_reported = real("Reported SUVmax", "SUV", low=0)
    outcome = choice("`accepted`, or why the text stage rejected it", TEXT_OUTCOMES, null=False)
    explanation = string("What exactly decided", null=True, empty=True)
    votes = integer("Readers that agree on the accepted values", low=0)
    readers = string("Names of the readers that agree", null=True, empty=True)
    agreement = real(
        "Share of the readers that did not fail which agree; null where nothing was voted on", low=0, high=1
    )
    region = string("Region of the body", null=True)
    organ = string("Organ", null=True)
    subsite = string("Part of the organ", null=True)
    laterality = choice("Side that the text names", LATERALITIES, null=True)
    comparison = choice("Change since the prior exam", COMPARISONS, null=True)
    text = string("The sentence without its references to slices; stands in the target text", null=True, empty=True)
    text_evidence = choice("Which of slice and SUVmax the text gives", TEXT_EVIDENCE, null=True)
    is_physiologic = flag("Whether the text calls the uptake normal for its organ")
    size_cm = real("Largest diameter that the text gives", "cm", low=0)
    n_lesions = integer("How many lesions the text names in it", low=0)
    prior_suvmax = real("SUV of the same lesion at an earlier exam", "SUV", low=0)
    certainty = choice("Whether the text is certain of it", CERTAINTIES, null=True)
    candidate = string(
        "Peak that corrections.csv picks: number of a candidate, or its position as x y z (RAS mm)", null=True
    )
    joined_at = string("Places (x y z, RAS mm; parted by ;) that a reviewer joined with it", null=True)
    cut_at = string("Places that a reviewer cut off it", null=True)
    corrected = string("What corrections.csv changed, by whom and when; null where nothing", null=True)
    accepted_by = string("Who accepted it in corrections.csv, null where nobody did", null=True)
    mask_source = choice("Where its mask comes from", MASK_SOURCES, null=True)
    text_source = choice(
        "Where its text comes from: the report, the given mask's own, or a sentence of what is measured on it",
        TEXT_SOURCES,
        null=True,
    )

    @dy.rule()
    def accepted_has_values(cls) -> pl.Expr:  # noqa: N805
        is_grown = pl.col("mask_source").fill_null("grown") == "grown"
        return _present_when((pl.col("outcome") == Outcome.ACCEPTED.value) & is_grown, "suvmax_reported")

    @dy.rule()
    def span_in_order(cls) -> pl.Expr:  # noqa: N805
        return pl.col("start") < pl.col("end")


class Peaks(ShardRow):
    """One row an exam with a volume: its peaks, its body frame, and how its label map was taken."""

    exam_id = string("Exam, as the cohort names it", key=True)
    patient_id = string("Patient, as the cohort names it; decides the shard and the split")
    row_key = string("Hash of the row's inputs, code version and parameters; a row with an equal key is reused")
    scanner = string("Scanner, else how its PET is stored and its voxels: exams of one kind are calibrated together")
    n_peaks = integer("Local maxima that stand out", null=False, low=0)
    shoulder_z_mm = real("Top of the shoulders, RAS z; null where the image does not show it", "mm")
    bladder_z_mm = real("Bladder, RAS z; null where the image does not show it", "mm")
    frame_confidence = real("1 with both, 0.5 with one, 0 with none of the two", None, null=False, low=0, high=1)
    n_organs = integer("Classes of the exam's label map; null without one", low=0)
    organ_map_message = string("Why the exam's label map was left out", null=True)
    n_findings = integer("Findings that tell of the calibration", null=False, low=0)
    likelihood_version = string("Hash of the likelihood of its calibrations", null=True)
    predicted_scales = string(
        "Scales that the header predicts of workstations with another norm or decay, as JSON by their name", null=True
    )
    peaks_path = string("File of its peaks, under PETAR_HOME")


class Calibrations(ShardRow):
    """One row an exam with peaks: how its report is read against its image."""

    exam_id = string("Exam, as the cohort names it", key=True)
    patient_id = string("Patient, as the cohort names it; decides the shard and the split")
    row_key = string("Hash of the row's inputs, code version and parameters; a row with an equal key is reused")
    suv_scale = real("Reported over measured SUV", None, null=False, above=0)
    slice_offset = integer("Reported slice less that of the peak", null=False, unit="slices")
    origin = choice("End of the patient that slices are counted from", ("head", "feet"), null=False)
    slice_grid = choice("Series whose slices are counted", ("pet", "ct"), null=False)
    value_noise = real("Noise of the values beside rounding, as a part of the value", None, null=False, low=0)
    rounding = choice("How values are shortened", ("round", "cut"), null=False)
    slice_spread = choice("How far from its peak a lesion is reported", ("exact", "loose"), null=False)
    calibration_source = choice("What it was taken from", CALIBRATION_SOURCES, null=False)
    calibration_llr = real("Log likelihood ratio against chance, in this exam", "nats")
    calibration_support = integer("Findings of the exam that agree", null=False, low=0)


class Lesions(ShardRow):
    """One row an accepted finding: where it lies in the image and how large it is, or why it is not there."""

    finding_id = string("Finding that was looked for", key=True)
    outcome = choice("`lesion`, or why it is none", IMAGE_OUTCOMES, null=False)
    explanation = string("What exactly decided", null=True, empty=True)
    evidence = choice("What the location rests on (docs/localisation.md)", EVIDENCE, null=True)
    posterior = real("How likely the located peak is the one that is meant", low=0, high=1)
    margin_nats = real("How far the best assignment of the exam's findings without this pair is behind", "nats")
    n_candidates = integer("Peaks that may be meant, as told", low=0)
    candidates = string(
        "They, the likeliest first, as JSON: n, position (x_mm, y_mm, z_mm, RAS), suv, prominence, organ, weight",
        null=True,
    )
    chance_peaks = real("Peaks that chance gives such a finding in this exam", "peaks", low=0)
    place_used = string("Words that decided where it may lie", null=True, empty=True)
    suv_scale = real("Reported over measured SUV, as the report was read", None, above=0)
    slice_offset = integer("Reported slice less that of the peak, as the report was read", unit="slices")
    origin = choice("End of the patient that its slices are counted from", ("head", "feet"), null=True)
    slice_grid = choice("Series whose slices it counts", ("pet", "ct"), null=True)
    value_noise = real("Noise of its values beside rounding, as a part of the value", None, low=0)
    rounding = choice("How its values are shortened", ("round", "cut"), null=True)
    slice_spread = choice("How far from its peak a lesion is reported", ("exact", "loose"), null=True)
    calibration_source = choice("What the reading was taken from", CALIBRATION_SOURCES, null=True)
    calibration_llr = real("Log likelihood ratio of the reading against chance, in this exam", "nats")
    calibration_support = integer("Findings of the exam that agree with it", low=0)
    belongs_llr = real("How much likelier than by chance the exam's findings are of this image", "nats")
    mirrored_llr = real("How much likelier they are with left and right exchanged", "nats")
    sentence = string("Text of the finding as it stands in the report", null=True)
    slice = integer("Reported axial slice", low=0)
    slice_k = integer("The same as index k, from the feet, 0-based; outside 0..shape_k - 1 where the image ends before")
    suvmax_reported = real("Reported SUVmax", "SUV", low=0)
    peak_i = integer("Hottest voxel, index i", low=0)
    peak_j = integer("Hottest voxel, index j", low=0)
    peak_k = integer("Hottest voxel, index k", low=0)
    peak_x_mm = real("Hottest voxel, to the patient's right (RAS)", "mm")
    peak_y_mm = real("Hottest voxel, to the front (RAS)", "mm")
    peak_z_mm = real("Hottest voxel, to the head (RAS)", "mm")
    centroid_i = real("Centroid of the mask, index i", low=0)
    centroid_j = real("Centroid of the mask, index j", low=0)
    centroid_k = real("Centroid of the mask, index k", low=0)
    centroid_x_mm = real("Centroid of the mask, to the patient's right (RAS)", "mm")
    centroid_y_mm = real("Centroid of the mask, to the front (RAS)", "mm")
    centroid_z_mm = real("Centroid of the mask, to the head (RAS)", "mm")
    body_middle_mm = real("Middle of the body on the slice of the hottest voxel (RAS x), as the PET shows it", "mm")
    box_i0 = integer("Box of the mask, first i", low=0)
    box_j0 = integer("Box of the mask, first j", low=0)
    box_k0 = integer("Box of the mask, first k", low=0)
    box_i1 = integer("Box of the mask, one past the last i", low=1)
    box_j1 = integer("Box of the mask, one past the last j", low=1)
    box_k1 = integer("Box of the mask, one past the last k", low=1)
    n_voxels = integer("Voxels of the mask", low=1)
    voxel_ml = real("Volume of a voxel", "mL", above=0)
    spacing_i_mm = real("Voxel size along i", "mm", above=0, high=100)
    spacing_j_mm = real("Voxel size along j", "mm", above=0, high=100)
    spacing_k_mm = real("Voxel size along k", "mm", above=0, high=100)
    suvmax = real("Measured SUVmax", "SUV", low=0)
    suvmean = real("Mean SUV of the mask", "SUV", low=0)
    suvpeak = real("Largest mean SUV of a 1 mL sphere (IBSI)", "SUV", low=0)
    mtv_ml = real("Metabolic tumour volume", "mL", above=0)
    tlg = real("Total lesion glycolysis, suvmean * mtv_ml", "SUV mL", low=0)
    diameter_mm = real("Largest 3D diameter", "mm", low=0)
    threshold_suv = real("Threshold at which the contour stopped", "SUV", low=0)
    background_suv = real(
        "Lower quartile of the shell around the contour; the median for a lesion in an organ", "SUV", low=0
    )
    tumour_to_background = real("suvmax over background_suv; null where the background is 0", None, low=0)
    iterations = integer("Steps of the contour", low=0)
    stop_reason = choice("Why the contour stopped", STOP_REASONS, null=True)
    touches_border = flag("Whether the mask touches the border of the image")
    method = string("Name of the contour method", null=True)
    organs_met = string(
        "Of brain, liver, heart, bladder and kidney those that a tenth and more of the mask lies in though the "
        "sentence does not name them; null without a label map",
        null=True,
        empty=True,
    )
    size_ratio = real("diameter_mm over the size that the sentence gives", None, low=0)
    neighbour_ml = real(
        "Volume that touches the mask, lies above its threshold and belongs to no finding; null where there is none",
        "mL",
        low=0,
    )
    neighbour_suvmax = real("SUVmax of that volume", "SUV", low=0)
    mask_path = string("Mask, under PETAR_HOME: uint8, cropped to its box", null=True)
    mask_source = choice(
        "Where the mask comes from: grown from the located peak, given with the exam, or given in place of a grown one",
        MASK_SOURCES,
        null=True,
    )
    nearest_suvmax_on_slice = real("Best maximum on the reported slice, where nothing was found", "SUV", low=0)
    nearest_slice_with_suvmax = integer("Nearest slice where the reported SUVmax occurs", low=0)
    correction_problem = string("Which correction of it could not be applied to the image, and why", null=True)
    shares_with = string("Other findings whose contour has voxels in common with this one", null=True, empty=True)

    @dy.rule()
    def lesion_is_measured(cls) -> pl.Expr:  # noqa: N805
        return _present_when(
            pl.col("outcome") == Outcome.LESION.value,
            *("suvmax", "suvmean", "mtv_ml", "n_voxels", "mask_path", "peak_x_mm", "peak_y_mm", "peak_z_mm"),
            *("centroid_x_mm", "centroid_y_mm", "centroid_z_mm"),
        )

    @dy.rule()
    def mean_under_max(cls) -> pl.Expr:  # noqa: N805
        return pl.col("suvmean") <= pl.col("suvmax") * (1 + 1e-5)

    @dy.rule()
    def volume_is_voxels(cls) -> pl.Expr:  # noqa: N805
        return (pl.col("mtv_ml") - pl.col("n_voxels") * pl.col("voxel_ml")).abs() <= 0.01 * pl.col("mtv_ml")

    @dy.rule()
    def tlg_is_product(cls) -> pl.Expr:  # noqa: N805
        return (pl.col("tlg") - pl.col("suvmean") * pl.col("mtv_ml")).abs() <= 0.01 * pl.col("tlg") + 1e-9

    @dy.rule()
    def box_in_order(cls) -> pl.Expr:  # noqa: N805
        return pl.all_horizontal(pl.col(f"box_{a}0") < pl.col(f"box_{a}1") for a in "ijk")


class _CandidateRow(ShardRow):
    """Columns of a candidate before its features."""

    # All again, for the key keeps its place only among columns that are declared together.
    exam_id = string("Exam, as the cohort names it")
    patient_id = string("Patient, as the cohort names it; decides the shard and the split")
    row_key = string("Hash of the row's inputs, code version and parameters; a row with an equal key is reused")
    candidate_id = string("<exam_id>:<voxel of its peak, i-j-k>", key=True)
    peak_i = integer("Voxel of its hottest peak, i", null=False, low=0)
    peak_j = integer("Voxel of its hottest peak, j", null=False, low=0)
    peak_k = integer("Voxel of its hottest peak, k, from the feet", null=False, low=0)
    peak_x_mm = real("The same place, to the patient's right (RAS)", "mm", null=False)
    peak_y_mm = real("The same place, to the front (RAS)", "mm", null=False)
    peak_z_mm = real("The same place, to the head (RAS)", "mm", null=False)
    slice = integer("Axial slice of the peak, from the head, 1-based", null=False, low=1)
    suvmax = real("SUV of the peak", "SUV", null=False, low=0)
    suvpeak = real("Mean SUV of a sphere of 1 mL around it (IBSI's local peak)", "SUV", null=False, low=0)
    prominence_suv = real("SUV less the highest level at which it is connected with a hotter peak", "SUV", null=False)
    region_ml = real("Volume connected with it above 0.45 of the SUVpeak and above its saddle", "mL", above=0)
    group_id = string("Hottest candidate of its group: peaks of one tumour, or nodes that touch; itself where alone")
    organ = string("Class of the label map that the peak lies in; null: none, or no map", null=True)
    side = choice("Side of the body, off the middle by 15 mm and more", ("left", "right"), null=True)
    has_organ_map = flag("Whether the exam has a label map", null=False)
    is_vetoed = flag(
        "Whether the peak lies in or beside an organ whose uptake is mostly its own; false without a map", null=False
    )


def _with_features(row: type[dy.Schema]) -> type[dy.Schema]:
    columns = {name: real(f.description, f.unit) for name, f in FEATURES.items()}
    doc = """One row a candidate: a local maximum (or several in one region) that may be a lesion, and its features."""
    return type("Candidates", (row,), {"__doc__": doc, "__module__": __name__, **columns})


Candidates = _with_features(_CandidateRow)


class Proposals(dy.Schema):
    """One row a proposal of an exam without a report: what is to be reviewed, and what reviewers said."""

    candidate_id = string("<exam_id>:<voxel of its hottest peak, i-j-k>", key=True)
    exam_id = string("Exam, as the cohort names it")
    patient_id = string("Patient, as the cohort names it")
    row_key = string("Hash of what its contour is made from; an equal one is reused")
    source = choice("What proposed it", ("model", "prominence", "command", "reviewer"), null=False)
    model = string("Version of the model: hash of its examples and code; of a command the command", null=True)
    p = real("Probability by the model, divided by the share of lesions that reports mention", low=0, high=1)
    p_calibrated = real("The same, calibrated by answers on the scanner", low=0, high=1)
    calibration = choice("Whether it is", ("calibrated", "not calibrated"), null=False)
    listed = choice("How it came into the review list; null: it is not in it", ("top", "random"), null=True)
    place = integer("Place in its exam's order, 1 the first", low=1)
    answer = choice("What reviewers said", PROPOSAL_ANSWERS, null=True)
    is_accepted = flag("Whether a draft report takes it", null=False)
    organ = string("As a reviewer named it, else by the label map", null=True)
    side = choice("Side of the body", ("left", "right"), null=True)
    slice = integer("Axial slice of the peak, from the head, 1-based", null=False, low=1)
    peak_i = integer("Voxel of its hottest peak, i", null=False, low=0)
    peak_j = integer("Voxel of its hottest peak, j", null=False, low=0)
    peak_k = integer("Voxel of its hottest peak, k, from the feet", null=False, low=0)
    peak_x_mm = real("The same place, to the patient's right (RAS)", "mm", null=False)
    peak_y_mm = real("The same place, to the front (RAS)", "mm", null=False)
    peak_z_mm = real("The same place, to the head (RAS)", "mm", null=False)
    suvmax = real("SUV of the peak", "SUV", null=False, low=0)
    suvmean = real("Mean SUV of its contour", "SUV", low=0)
    suvpeak = real("Largest mean SUV of a 1 mL sphere (IBSI)", "SUV", low=0)
    mtv_ml = real("Volume of its contour", "mL", above=0)
    tlg = real("Total lesion glycolysis, suvmean * mtv_ml", "SUV mL", low=0)
    diameter_mm = real("Largest 3D diameter", "mm", low=0)
    stop_reason = string("Why the contour stopped; of a command's region null", null=True)
    mask_path = string("Mask, under PETAR_HOME: uint8, cropped to its box; null without a contour", null=True)


class ExamPairs(dy.Schema):
    """One row an exam: the patient's last exam of the same tracer before it, and where that lies on it."""

    exam_id = string("Exam, as the cohort names it", key=True)
    patient_id = string("Patient, as the cohort names it")
    row_key = string("Hash of the row's inputs, code version and parameters; a row with an equal key is reused")
    prior_exam_id = string("The exam before it; null where there is none", null=True)
    reason = choice("Why there is none, or why it is not registered", PairReason, null=True)
    explanation = string("What exactly decided", null=True)
    days = integer("From the prior exam to this one", low=1, unit="days")
    matrix = string(
        "Upper three rows of the rigid transform from the prior exam's RAS mm to this exam's, 12 numbers", null=True
    )
    rotation_deg = real("Angle of its rotation", "degrees", low=0, high=180)
    correlation = real("Of the two PETs after registration, where both were scanned", low=-1, high=1)
    residual_mm = real("Median shift that is left over the blocks of the body", "mm", low=0)
    block_shifts = string("Of each block its centre and the shift that is left, RAS mm, 6 numbers", null=True)

    @dy.rule()
    def without_registration_has_reason(cls) -> pl.Expr:  # noqa: N805
        return _present_when(pl.col("matrix").is_null(), "reason")


class LesionLinks(dy.Schema):
    """One row a link: a finding of an exam and the lesion of the exam before that it is, or a lesion with no link."""

    link_id = string("Exam, finding before and finding now, parted by |", key=True)
    exam_id = string("Exam, as the cohort names it")
    patient_id = string("Patient, as the cohort names it")
    row_key = string("Hash of the link's inputs and the code version")
    prior_exam_id = string("The exam before it")
    finding_id = string("Finding of the exam; null where the lesion is gone or not linked", null=True)
    prior_finding_id = string("First finding of the same lesion at the exam before; null where it is new", null=True)
    tracked_as = string("The lesion's first finding over all exams: the same for one lesion")
    state = choice("What became of the lesion", LinkState)
    explanation = string("Why it is not linked", null=True)
    distance_mm = real("Between the two centroids after registration", "mm", low=0)
    days = integer("From the prior exam to this one", low=1, unit="days")
    comparison = choice("Change since the prior exam, as the sentence says", COMPARISONS, null=True)
    suvmax_change_percent = real("Change of the SUVmax; of several lesions the hottest", "%", low=-100)
    suvpeak_change_percent = real("Change of the SUVpeak; of several lesions the hottest", "%", low=-100)
    mtv_ml_change_percent = real("Change of the volume; of several lesions their sum", "%", low=-100)
    tlg_change_percent = real("Change of the TLG; of several lesions their sum", "%", low=-100)

    @dy.rule()
    def names_a_finding(cls) -> pl.Expr:  # noqa: N805
        return pl.col("finding_id").is_not_null() | pl.col("prior_finding_id").is_not_null()

    @dy.rule()
    def linked_has_both(cls) -> pl.Expr:  # noqa: N805
        linked = pl.col("state").is_in([LinkState.PERSISTING, LinkState.SPLIT, LinkState.MERGED])
        return _present_when(linked, "finding_id", "prior_finding_id", "distance_mm")

    @dy.rule()
    def not_linked_has_reason(cls) -> pl.Expr:  # noqa: N805
        return _present_when(pl.col("state") == LinkState.NOT_LINKED.value, "explanation")


class Samples(dy.Schema):
    """One row a question with its answer, for training and evaluation."""

    sample_id = string("Finding or proposal, or exam and structure", key=True)
    kind = choice(
        "What the mask shows; proposals that a reviewer accepted are trained on and never evaluated with",
        ("finding", "proposal", "anatomy"),
        null=False,
    )
    finding_id = string("Finding, null for the others", null=True)
    exam_id = string("Exam, as the cohort names it")
    patient_id = string("Patient, as the cohort names it")
    split = choice("By a hash of the patient, so a patient never moves", SPLITS, null=False)
    question = string("What the model is asked")
    target = string("What it should answer")
    suv_path = string("SUV volume, under PETAR_HOME")
    ct_path = string("CT volume on the PET's grid, null where there is none", null=True)
    mask_path = string("Mask, under PETAR_HOME")
    mask_label = integer("Value of the structure in the mask", null=False, low=1)
    region = string("Region of the body", null=True)
    organ = string("Organ", null=True)
    subsite = string("Part of the organ", null=True)
    laterality = choice("Side that the text names", LATERALITIES, null=True)
    comparison = choice("Change since the prior exam", COMPARISONS, null=True)
    suvmax = real("Measured SUVmax", "SUV", low=0)
    slice = integer("Axial slice, from the head, 1-based", low=0)

    @dy.rule()
    def finding_has_id(cls) -> pl.Expr:  # noqa: N805
        return _present_when(pl.col("kind") == "finding", "finding_id")


class Predictions(dy.Schema):
    """One row a lesion and model: the text that the model gave."""

    finding_id = string("Finding that was described", key=True)
    model = string("Model, or baseline", key=True)
    exam_id = string("Exam, as the cohort names it")
    patient_id = string("Patient, as the cohort names it")
    split = choice("Split of the patient", SPLITS, null=False)
    text = string("What the model generated, as it came", null=True, empty=True)
    text_measured = string("The same with measured numbers put in place of generated ones", null=True, empty=True)
    reference = string("The target text", null=True, empty=True)
    checkpoint = string("Checkpoint or source of the text", null=True)
    error = string("Why there is no text: what was expected, what came", null=True)


class Scores(dy.Schema):
    """One row a model, split, metric, kind of numbers and subset of the lesions."""

    model = string("Model, or baseline", key=True)
    split = string("Split, or the published test set", key=True)
    metric = string("Name of the metric", key=True)
    numbers = choice(
        "Numbers in the text: as the model wrote them, measured ones put in their place, or [#] in text and reference",
        SCORE_NUMBERS,
        key=True,
    )
    subset = string("Lesions that are scored: all, or those of a kind of evidence or of a size", key=True)
    value = real("Score over the whole split, null where it was not computed")
    low = real("Lower end of the 95 % interval, bootstrap over patients")
    high = real("Upper end of the same")
    n = integer("Predictions that the value rests on", low=0)
    signature = string("Package, version, variant and reference version", null=True)
    status = choice("Where the value comes from", SCORE_STATUSES, null=False)
    note = string("What is missing, what was left out", null=True, empty=True)
    n_left_out = integer(
        "Predictions that could not count: failed on the way, without reference, two of a lesion", low=0
    )
    cohort = string("Cohort whose lesions were described", null=True)
    data_version = string("Version of the curation that the references come from", null=True)

    @dy.rule()
    def computed_has_value(cls) -> pl.Expr:  # noqa: N805
        return _present_when(pl.col("status") == "computed", "value", "n", "signature")

    @dy.rule()
    def not_computed_has_note_and_no_value(cls) -> pl.Expr:  # noqa: N805
        missing = pl.col("status") == "not computed"
        return ~missing | (pl.col("value").is_null() & pl.col("note").is_not_null())

    @dy.rule()
    def interval_in_order(cls) -> pl.Expr:  # noqa: N805
        return pl.col("low") <= pl.col("high")


class Comparisons(dy.Schema):
    """One row two models, split and metric: how much better the first is on the lesions that both described."""

    model = string("Model, or baseline", key=True)
    other = string("Model that it is compared with", key=True)
    split = string("Split of the patients", key=True)
    metric = string("Name of the metric", key=True)
    difference = real("Score of `model` less that of `other`, null where it was not computed")
    low = real("Lower end of the 95 % interval, bootstrap over patients")
    high = real("Upper end of the same")
    p = real("Two-sided, by swapping the models' texts patient by patient", low=0, high=1)
    p_holm = real(
        "The same after Holm over the metrics of one question (words, place, ...) on which the two models differ",
        low=0,
        high=1,
    )
    n = integer("Lesions that both described and that the metric has a score for", low=0)
    note = string("What is missing", null=True)

    @dy.rule()
    def without_difference_has_note(cls) -> pl.Expr:  # noqa: N805
        return _present_when(pl.col("difference").is_null(), "note")


class Robustness(dy.Schema):
    """One row a model, change of the masks and metric: what the texts lose by it."""

    model = string("Model that described the lesions", key=True)
    split = string("Split of the patients", key=True)
    variant = string("What was done to the masks, with its amount", key=True)
    change = choice("The same without the amount", MASK_CHANGES, null=False)
    amount_mm = real("How far the edge or the mask was moved; 0 where nothing was or another lesion's was taken", "mm")
    metric = string("Name of the metric", key=True)
    dice = real("Mean Dice of the changed masks with the lesions' own", low=0, high=1)
    value = real("Score over the lesions, null where it was not computed")
    low = real("Lower end of the 95 % interval, bootstrap over patients")
    high = real("Upper end of the same")
    n = integer("Lesions that the value rests on", low=0)
    n_left_out = integer("Lesions without such a mask: eroded away, moved out of the image, alone in their exam", low=0)
    note = string("What was left out, and why", null=True)


class External(dy.Schema):
    """One row a lesion of the external set: where it lies, what was measured, and what the model says of it."""

    lesion_id = string("<exam_id>:<number of the component, largest first>", key=True)
    exam_id = string("Exam: its folder under the external set's, joined by -")
    patient_id = string("First folder under the external set's")
    model = string("Model that described it")
    text = string("What the model generated, as it came", null=True, empty=True)
    text_measured = string("The same with measured numbers put in place of generated ones", null=True, empty=True)
    error = string("Why there is no text", null=True)
    slice = integer("Axial slice of the hottest voxel, from the head, 1-based", low=1)
    slice_k = integer("The same as index k, from the feet, 0-based", low=0)
    suvmax = real("Measured SUVmax", "SUV", low=0)
    suvmean = real("Mean SUV of the mask", "SUV", low=0)
    suvpeak = real("Largest mean SUV of a 1 mL sphere (IBSI)", "SUV", low=0)
    mtv_ml = real("Metabolic tumour volume", "mL", above=0)
    tlg = real("Total lesion glycolysis, suvmean * mtv_ml", "SUV mL", low=0)
    diameter_mm = real("Largest 3D diameter", "mm", low=0)
    n_voxels = integer("Voxels of the mask", low=1)
    centroid_x_mm = real("Centroid of the mask, to the patient's right (RAS)", "mm")
    centroid_y_mm = real("Centroid of the mask, to the front (RAS)", "mm")
    centroid_z_mm = real("Centroid of the mask, to the head (RAS)", "mm")
    suv_path = string("SUV volume, under PETAR_HOME")
    ct_path = string("CT volume on the PET's grid, null where there is none", null=True)
    mask_path = string("Mask, under PETAR_HOME: uint8, cropped to its box")


class Ratings(dy.Schema):
    """One row a case, reader and text: what a physician gave it, blind to who wrote it."""

    case_id = string("Case, as the sheets name it", key=True)
    reader = string("Who rated", key=True)
    author = string("Who wrote the text: a model, or `report`", key=True)
    finding_id = string("Lesion that was described")
    patient_id = string("Patient of the lesion")
    is_external = flag("Whether the case is of the external set, without a report", null=False)
    anatomy = integer("Place: region, organ, part, side; 1 wrong, 3 right in part, 5 right", low=1, high=5)
    interpretation = integer("What it says of the lesion; 1 misleading, 5 as the reader would say it", low=1, high=5)
    utility = integer("Whether it could stand in a report; 1 useless, 3 after editing, 5 as it is", low=1, high=5)
    preference = choice("Which of the two texts the reader preferred", PREFERENCES, null=True)
    comment = string("What the reader wrote beside it", null=True)


class Agreement(dy.Schema):
    """One row a figure of the reader study: means, preferences, agreement of readers, metrics against readers."""

    statistic = string("What was computed: mean, preference, alpha (Krippendorff's, ordinal), spearman", key=True)
    subject = string("Of what: author, choice, criterion or metric", key=True)
    criterion = string("Criterion that was rated; `all`: the mean of the three", key=True)
    value = real("The figure, null where it could not be computed")
    low = real("Lower end of the 95 % interval, bootstrap over patients")
    high = real("Upper end of the same")
    n = integer("Ratings or cases that it rests on", low=0)
    status = choice("Where the value comes from", SCORE_STATUSES, null=False)
    note = string("What is missing", null=True)


class Reviews(dy.Schema):
    """One row a finding (or proposal) and reviewer: what a physician said of it."""

    finding_id = string("Finding or proposal that was reviewed", key=True)
    reviewer = string("Who answered", key=True)
    answer = choice("What was answered", REVIEW_ANSWERS, null=False)
    value = string("What was said with it: the organ of physiologic uptake", null=True)
    note = string("What the reviewer wrote beside it", null=True, empty=True)
    curation = string("Version of the curation that was reviewed", null=True)
    seen = string("Fingerprint of the finding as it was seen: contour, and fields", null=True)
    is_stale = flag("The finding changed since: not counted, to be reviewed again", null=False)


class Removals(ShardRow):
    """One row a row that was removed from the lake with its exam."""

    # Key columns keep their place only where they are declared together; a second departure is told from the first.
    exam_id = string("Exam, as the cohort named it")
    patient_id = string("Patient, as the cohort named it")
    row_key = string("The row_key that it had", key=True, empty=True)
    table = string("Table that it left", key=True)
    removed_key = string("Its primary key, parts joined by |", key=True)
    removed_at = string("When the cohort was seen without the exam, UTC", key=True)
    reason = string("Why it left")
    row_json = string("The row as JSON")


class Corrections(ShardRow):
    """One row a line of corrections.csv, with what became of it."""

    correction_id = string("Hash of the line, #2 for a repetition", key=True)
    finding_id = string("Finding that is corrected, as the line names it", null=True, empty=True)
    field = string("Field of it", null=True, empty=True)
    value = string("What it is to be; empty: unknown", null=True, empty=True)
    corrected_by = string("Who corrects", null=True, empty=True)
    corrected_at = string("When, as the line says", null=True, empty=True)
    status = choice("Whether it counts", CORRECTION_STATUSES, null=False)
    message = string("Why it does not count, and what to do", null=True)

    @dy.rule()
    def message_where_not_applied(cls) -> pl.Expr:  # noqa: N805
        return (pl.col("status") == "applied") | pl.col("message").is_not_null()


class Identifiers(dy.Schema):
    """One row an exam and kind of identifier in its report: the number found, never their text."""

    exam_id = string("Exam, as the cohort names it", key=True)
    kind = dy.String(
        primary_key=True,
        check={"choices": lambda c: c.is_in(list(IDENTIFIER_KINDS))},
        description="What was found: names, numbers of patients and exams, dates and so on",
        metadata=_meta(None, IDENTIFIER_KINDS),
    )
    patient_id = string("Patient, as the cohort names it")
    n = integer("How many", null=False, low=1)
    is_masked = flag("Whether they are hidden in every text of the lake", null=False)


class Quarantine(dy.Schema):
    """One row a row that broke the contract of its table and was kept out of it."""

    table = string("Table that it was meant for")
    shard = string("Shard of that table, `all` for a whole one")
    rules = string("Rules that it broke, joined by ;")
    exam_id = string("Exam, null where the row has none", null=True, empty=True)
    patient_id = string("Patient, null where the row has none", null=True, empty=True)
    row_json = string("The row as JSON")


TABLES: Mapping[str, type[dy.Schema]] = {
    "exams": Exams,
    "reports": Reports,
    "sentences": Sentences,
    "readings": Readings,
    "findings": Findings,
    "peaks": Peaks,
    "calibration": Calibrations,
    "lesions": Lesions,
    "candidates": Candidates,
    "proposals": Proposals,
    "exam_pairs": ExamPairs,
    "lesion_links": LesionLinks,
    "samples": Samples,
    "predictions": Predictions,
    "scores": Scores,
    "comparisons": Comparisons,
    "robustness": Robustness,
    "external": External,
    "ratings": Ratings,
    "agreement": Agreement,
    "reviews": Reviews,
    "removals": Removals,
    "corrections": Corrections,
    "identifiers": Identifiers,
    "quarantine": Quarantine,
}
SHARDED = (
    *("exams", "sentences", "readings", "findings", "peaks", "calibration", "lesions"),
    *("candidates", "removals", "corrections"),
)


class ContractError(ValueError):
    """A frame that does not have the columns of its table, which no single row can fix."""


@dataclass(frozen=True)
class ColumnContract:
    """Contract of a column, described for the UI, the catalog and the data dictionary."""

    name: str
    type: str
    description: str
    unit: str | None
    nullable: bool
    constraints: tuple[str, ...]


def schema_of(table: str) -> type[dy.Schema]:
    """Schema of a table; an unknown name raises a ContractError that lists the known ones."""
    try:
        return TABLES[table]
    except KeyError:
        raise ContractError(f"expected a table of the lake ({', '.join(TABLES)}), got {table!r}") from None


def describe(table: str) -> list[ColumnContract]:
    """Contract of every column of a table, in order."""
    schema = schema_of(table)
    return [_contract(name, column) for name, column in schema.columns().items()]


def _contract(name: str, column: dy.Column) -> ColumnContract:
    metadata = column.metadata or {}
    limits = [
        (">= ", getattr(column, "min", None)),
        ("> ", getattr(column, "min_exclusive", None)),
        ("<= ", getattr(column, "max", None)),
        ("< ", getattr(column, "max_exclusive", None)),
    ]
    constraints = ["primary key"] if column.primary_key else []
    constraints += [f"{sign}{limit:g}" for sign, limit in limits if limit is not None]
    constraints += ["not empty"] if getattr(column, "min_length", None) else []
    constraints += [f"one of: {', '.join(metadata['choices'])}"] if "choices" in metadata else []
    return ColumnContract(
        name,
        _TYPE_NAMES[type(column)],
        column.description or "",
        metadata.get("unit"),
        column.nullable,
        tuple(constraints),
    )


_TYPE_NAMES: Mapping[type[dy.Column], str] = {
    dy.String: "text",
    dy.Int64: "integer",
    dy.Float64: "real",
    dy.Bool: "boolean",
}


def describe_table(table: str) -> str:
    """One-line description of a row of the table."""
    return (schema_of(table).__doc__ or "").strip().splitlines()[0]


def signature_of(table: str) -> dict[str, Any]:
    """What of a table's schema decides about rows, as JSON takes it: every column with type, nullability, key and
    constraints, and the rules over several columns. Stored in every file.
    """
    return _signature(schema_of(table))


@cache
def _signature(schema: type[dy.Schema]) -> dict[str, Any]:
    rules = schema._schema_validation_rules()
    columns = (_contract(name, column) for name, column in schema.columns().items())
    return {
        "columns": {c.name: [c.type, c.nullable, *c.constraints] for c in columns},
        "rules": {name: str(rule.expr) for name, rule in sorted(rules.items())},
    }


def version_of(table: str) -> str:
    """Version of a table's schema: the hash of its signature."""
    return hash_of(signature_of(table))[:12]


def is_readable(signature: Mapping[str, Any], table: str) -> bool:
    """Whether rows of a schema with this signature are rows of today's: the same one, or without columns that are
    nullable and no key, which are null in them.
    """
    today = signature_of(table)
    columns = signature.get("columns", {})
    added = {name: column for name, column in today["columns"].items() if name not in columns}
    return (
        columns == {name: column for name, column in today["columns"].items() if name in columns}
        and bool(columns)
        and signature.get("rules") == today["rules"]
        and all(nullable and "primary key" not in constraints for _, nullable, *constraints in added.values())
    )


def rules_of(table: str) -> tuple[str, ...]:
    """Names of the rules that span several columns of a table."""
    return tuple(sorted(schema_of(table)._schema_validation_rules()))


def key_of(table: str) -> tuple[str, ...]:
    """Primary key of a table, or all of its columns where it has none: what its rows are sorted by."""
    schema = schema_of(table)
    return tuple(schema.primary_key() or schema.column_names())


def types_of(table: str) -> dict[str, pl.DataType]:
    """Polars type of every column, in order."""
    return {name: column.dtype for name, column in schema_of(table).columns().items()}


def empty(table: str) -> pl.DataFrame:
    """The table with no rows, fully typed."""
    return pl.DataFrame(schema=types_of(table))


def frame(table: str, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """The rows as a frame of the table's columns and types; what a row lacks is null.

    Enums and paths become text, sequences text joined by ", ". Values are only converted, not validated (`validate`
    does that). An unknown column or a value of another type raises a ContractError that names it.
    """
    types = types_of(table)
    unknown = sorted({name for row in rows for name in row} - set(types))
    if unknown:
        raise ContractError(
            f"table {table}: expected columns of its schema, got {', '.join(unknown)}: add them to tables/schemas.py"
        )
    columns = {}
    for name, dtype in types.items():
        values = [_plain(row.get(name)) for row in rows]
        try:
            columns[name] = pl.Series(name, values, dtype=dtype, strict=True)
        except (TypeError, pl.exceptions.PolarsError):
            columns[name] = _lenient_series(table, name, values, dtype)
    return pl.DataFrame(columns)


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(str(_plain(v)) for v in (sorted(value) if isinstance(value, set | frozenset) else value))
    return value.item() if hasattr(value, "item") else value


def _lenient_series(table: str, name: str, values: list[Any], dtype: pl.DataType) -> pl.Series:
    """A series of mixed but lossless values (1 among reals, 2.0 among integers); a lossy one raises and is named."""
    numeric: type[int] | type[float] | None = int if dtype == pl.Int64 else float if dtype == pl.Float64 else None
    out: list[Any] = []
    for value in values:
        right = value is None or (
            numeric is not None and isinstance(value, int | float) and not isinstance(value, bool)
        )
        if not right or (numeric is int and value is not None and value != int(value)):
            raise ContractError(
                f"table {table}, column {name}: expected {dtype}, got {value!r} ({type(value).__name__})"
            )
        out.append(value if value is None or numeric is None else numeric(value))
    return pl.Series(name, out, dtype=dtype)


def validate(table: str, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(good, bad): rows that keep the contract, in the table's columns and types, and the others with `broken` in
    front.

    `broken` names what was broken, joined by "; " ("suvmax|min", "lesion_is_measured", "primary_key"). Nullable
    columns that the frame lacks are filled with nulls. A missing required column, an unknown one, or one whose type
    can not become the schema's raises a ContractError: no row could fix that.
    """
    schema, types = schema_of(table), types_of(table)
    if rows.is_empty() and list(rows.schema.items()) == list(types.items()):
        return rows, _nothing_broken(types)
    unknown = [c for c in rows.columns if c not in types]
    if unknown:
        raise ContractError(
            f"table {table}: expected the columns of its schema, got {', '.join(unknown)} too: "
            "drop them or add them to pipelines/tables/schemas.py"
        )
    missing = [c for c in types if c not in rows.columns]
    required = [c for c in missing if not schema.columns()[c].nullable]
    if required:
        raise ContractError(f"table {table}: required columns are missing: {', '.join(required)}")
    full = (
        rows.with_columns(pl.lit(None, dtype=types[c]).alias(c) for c in missing)
        .select(list(types))
        .with_row_index(_ROW)
    )
    if full.schema == {_ROW: full.schema[_ROW], **types}:
        # Rows that have the types already are the usual case, and casting costs more than all rules together.
        result = schema.filter(full.drop(_ROW))
        if not len(result.failure):
            return result.result, _nothing_broken(types)
    lossy = _fractions_in_integers(full, types)
    try:
        result = schema.filter(full.join(lossy, on=_ROW, how="anti", maintain_order="left").drop(_ROW), cast=True)
        details = result.failure.details()
    except (dy.exc.SchemaError, dy.exc.ValidationError, pl.exceptions.PolarsError) as error:
        raise ContractError(f"table {table}: columns do not fit its schema: {first_line(error)}") from error
    broken = [c for c in details.columns if c not in types]
    bad = details.select(_broken_rules(broken), *types)
    if not lossy.is_empty():
        bad = pl.concat(
            [bad, full.join(lossy, on=_ROW, maintain_order="left").select("broken", *types)], how="vertical_relaxed"
        )
    return result.result, bad


def _nothing_broken(types: Mapping[str, pl.DataType]) -> pl.DataFrame:
    return pl.DataFrame(schema={"broken": pl.String(), **types})


_ROW = "__row"


def _broken_rules(rules: Sequence[str]) -> pl.Expr:
    if not rules:
        return pl.lit("", dtype=pl.String).alias("broken")
    names = [pl.when(pl.col(rule) == "invalid").then(pl.lit(rule)) for rule in sorted(rules)]
    return pl.concat_str(names, separator="; ", ignore_nulls=True).alias("broken")


def _fractions_in_integers(full: pl.DataFrame, types: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Rows where an integer came as a real with a fraction (or no finite number): a cast would cut it off unseen."""
    suspects = [c for c, dtype in types.items() if dtype == pl.Int64 and full.schema[c].is_float()]
    if not suspects:
        return pl.DataFrame(schema={_ROW: full.schema[_ROW], "broken": pl.String})
    wrong = {c: (pl.col(c) != pl.col(c).floor()) | ~pl.col(c).is_finite() for c in suspects}
    named = [pl.when(expr.fill_null(False)).then(pl.lit(f"{c}|whole")) for c, expr in wrong.items()]
    return full.select(_ROW, pl.concat_str(named, separator="; ", ignore_nulls=True).alias("broken")).filter(
        pl.col("broken") != ""
    )
