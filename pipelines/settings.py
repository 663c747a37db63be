"""Every parameter of the project once: pydantic models, read from a cohort's petar.toml. Validation, and nothing else.

Each field holds its default, its range, and in its description what it is, its unit in brackets and where the default
comes from. docs/settings.md and docs/petar.schema.json are written from here by `pipelines.catalog.dictionary`.
"""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    ValidationError,
    model_validator,
)

COHORT_SETTINGS_NAME = "petar.toml"
"""File of a cohort folder with its settings."""

# Numbers as TOML writes them: an integer is a number, a boolean or a text never is.
Number = Annotated[float, Strict()]
Integer = Annotated[int, Strict()]
Flag = Annotated[bool, Strict()]
Fraction = Annotated[Number, Field(ge=0, le=1)]
ProperFraction = Annotated[Number, Field(ge=0, lt=1)]
OpenFraction = Annotated[Number, Field(gt=0, lt=1)]
Count = Annotated[Integer, Field(ge=0, le=10**9)]
Positive = Annotated[Integer, Field(ge=1, le=10**6)]
Requests = Annotated[Integer, Field(ge=1, le=10_000)]
Processes = Annotated[Integer, Field(ge=0, le=1024)]
Size = Annotated[Integer, Field(ge=0, le=4096)]
Tries = Annotated[Integer, Field(ge=0, le=100)]
Timeout = Annotated[Number, Field(gt=0, le=86_400)]
Wait = Annotated[Number, Field(ge=0, le=3600)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Url = Annotated[str, StringConstraints(pattern=r"^https?://\S+$")]
Split = Literal["train", "val", "test"]
Seed = Annotated[Integer, Field(ge=0, le=2**32 - 1)]


def _ascending(pair: tuple[float, float]) -> tuple[float, float]:
    if not pair[0] < pair[1]:
        raise ValueError(f"expected the lower of two different numbers first, got {pair[0]:g} and {pair[1]:g}")
    return pair


Millimetres = Annotated[Number, Field(ge=0, le=100)]
MillimetreRange = Annotated[tuple[Millimetres, Millimetres], AfterValidator(_ascending)]


class SettingsError(ValueError):
    """Settings that cannot be used; the message names file, table, key, value and what is allowed, a line each."""


class Settings(BaseModel):
    """A frozen table of parameters; a key that is no field is an error, and so is a number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def changed(self, **values: Any) -> Self:
        """The settings with some fields replaced, validated as if they were read."""
        return type(self).model_validate({**dict(self), **values})


S = TypeVar("S", bound=Settings)


class Norm(StrEnum):
    """By what the activity is divided: body weight, lean body mass (three formulas), body surface or ideal body
    weight."""

    BW = "bw"
    LBM_MORGAN = "lbm-morgan"
    LBM_JAMES = "lbm-james"
    LBM_JANMA = "lbm-janma"
    BSA = "bsa"
    IBW = "ibw"


class Origin(StrEnum):
    """The end of the patient from which reported slices are counted."""

    HEAD = "head"
    FEET = "feet"


class SliceGridKind(StrEnum):
    """The series whose slices a report counts."""

    PET = "pet"
    CT = "ct"


class SuvSettings(Settings):
    """The SUV of an exam that came as DICOM; a NIfTI is SUV already."""

    norm: Norm = Field(
        Norm.BW,
        description="Norm of the SUV that comes back, whatever the image states. Source: SUVbw is what is reported",
    )


class ExamSettings(Settings):
    """How an exam's images are read."""

    suv: SuvSettings = SuvSettings()
    largest_image_mib: Integer = Field(
        1024,
        ge=1,
        le=1_048_576,
        description="Unpacked size above which an image is not read: a small file may unpack without bound [MiB]."
        " Source: 600 x 600 x 700 voxels of a total-body scanner are 961 MiB",
    )

    @property
    def largest_image_bytes(self) -> int:
        """The largest size of one unpacked image, in bytes."""
        return self.largest_image_mib << 20


class ConsensusSettings(Settings):
    """When a finding of a report is accepted."""

    min_suvmax: Number | None = Field(
        2.5,
        ge=0,
        le=500,
        description="A finding below is rejected; 0 rejects none [SUV]. Source: weak-labelling paper",
    )
    require_anatomy: Flag = Field(
        True, description="Reject a finding whose sentence names no anatomy. Source: weak-labelling paper"
    )
    weights: Mapping[Name, Annotated[Number, Field(ge=0, le=100)]] = Field(
        {},
        description="Weight of a reader's vote by name, over the measured one [votes of `rules`]. Source: measured by"
        " the scorecard; one each, until it has run",
    )


class SliceConvention(Settings):
    """How a report numbers axial slices; the asset `slice_conventions` shows which convention a cohort follows."""

    origin: Origin = Field(Origin.HEAD, description="End of the patient to count from. Source: weak-labelling paper")
    base: Integer = Field(1, ge=0, le=1, description="Number of the first slice [slice]. Source: weak-labelling paper")
    grid: SliceGridKind = Field(
        SliceGridKind.PET, description="Series whose slices are counted. Source: weak-labelling paper"
    )


class PeakSettings(Settings):
    """Which local maxima of an exam are kept (docs/localisation.md)."""

    floor_suv: Number = Field(
        1.5,
        gt=0,
        le=50,
        description="Only voxels above are looked at [SUV]. Source: background uptake of soft tissue and blood",
    )
    least_prominence: OpenFraction = Field(
        0.03,
        description="Part of its value by which a maximum must exceed its saddle [ratio]. Source: image noise; "
        "docs/localisation.md",
    )
    least_prominence_suv: Number = Field(
        0.1, gt=0, le=10, description="The same as a difference [SUV]. Source: reports give SUV to one decimal"
    )


class CalibrationSettings(Settings):
    """How a report's numbers are read against the image (docs/localisation.md); null: estimated."""

    suv_scale: Number | None = Field(
        None, gt=0.2, le=5, description="Reported over measured SUV, fixed [ratio]. Source: null, estimated"
    )
    slice_offset: Integer | None = Field(
        None, ge=-50, le=50, description="Reported slice less that of the peak, fixed [slices]. Source: null, estimated"
    )
    accepted: str | None = Field(
        None,
        description="Name of an accepted version: its exams keep the calibration that they have in it. Source: null, "
        "estimated anew with each exam that comes",
    )
    detected: OpenFraction = Field(
        0.7,
        description="Part of the findings whose peak is in the list, with room for faulty ones [fraction]. Source: "
        "docs/localisation.md",
    )
    least_suv: Number = Field(
        2.0, ge=0, le=50, description="Findings below tell nothing of the scale [SUV]. Source: docs/localisation.md"
    )
    least_chance: OpenFraction = Field(
        0.02,
        description="Peaks that chance gives a finding at least, for an interval of 1.5 % [peaks]. Source: "
        "docs/localisation.md",
    )
    least_llr: Number = Field(
        8.0, ge=0, le=1000, description="A calibration is so far from chance [nats]. Source: docs/localisation.md"
    )
    least_support: Integer = Field(
        3, ge=1, le=1000, description="So many findings agree on it [findings]. Source: docs/localisation.md"
    )
    against_llr: Number = Field(
        5.0,
        ge=0,
        le=1000,
        description="An exam that is so much likelier with another calibration is not calibrated [nats]. Source: "
        "docs/localisation.md",
    )


class LocationSettings(Settings):
    """Which peak a finding means (docs/localisation.md)."""

    detected: OpenFraction = Field(
        0.95, description="Part of the findings whose peak is in the list [fraction]. Source: docs/localisation.md"
    )
    full_prominence: OpenFraction = Field(
        0.4,
        description="A peak that stands out by this part of its value is as likely a lesion as any [ratio]. Source: "
        "docs/localisation.md",
    )
    least_chance: OpenFraction = Field(
        0.002, description="Peaks that chance gives a finding at least [peaks]. Source: docs/localisation.md"
    )
    least_posterior: OpenFraction = Field(
        0.95, description="Posterior from which a location is accepted [fraction]. Source: docs/localisation.md"
    )
    least_margin_nats: Number = Field(
        3.0, ge=0, le=100, description="How far other assignments must be behind [nats]. Source: docs/localisation.md"
    )
    least_shown: OpenFraction = Field(
        0.05,
        description="Share of the posterior that all candidates of a finding have together where it is ambiguous and "
        "not absent [fraction]. Source: 1 in 20",
    )
    least_belongs_llr: Number = Field(
        1.0,
        ge=-1000,
        le=1000,
        description="How much likelier than chance the findings of an exam must be together, else report and image are "
        "taken as of two exams [nats]. Source: docs/localisation.md",
    )


class ContourSettings(Settings):
    """The contour that is grown from a peak. All but `method` and the limits of what is a lesion are constants of
    `adaptive` (docs/contours.md)."""

    method: Literal["adaptive", "published", "suvmax_41", "suvpeak_41", "suv_4", "percist"] = Field(
        "adaptive",
        description="`published`: iterative threshold of the weak-labelling paper; `suvmax_41`, `suvpeak_41`: 41 % of "
        "SUVmax, of SUVpeak; `suv_4`: SUV 4; `percist`: 1.5 times the liver's mean and two standard deviations. "
        "Source: docs/contours.md",
    )
    fwhm_mm: Number = Field(
        7.0,
        gt=0,
        le=30,
        description="Resolution of the reconstructed image, full width at half maximum [mm]. Source: scanners of the "
        "last 15 years with clinical reconstructions, 5 to 8",
    )
    level: Number = Field(
        0.95,
        gt=0.5,
        le=1.5,
        description="Where the contour lies between background (0) and the edge of a blurred sphere (1) [ratio]. "
        "Source: 1 in phantoms of even uptake, 0.9 in experts' contours",
    )
    shell_mm: MillimetreRange = Field(
        (5.0, 12.0),
        description="The background is read between these distances from the region: beyond the blur, before the next "
        "organ [mm]. Source: blurred spheres",
    )
    background_part: OpenFraction = Field(
        0.25,
        description="Quantile of that shell which is the background: neighbours can only raise it; the median where "
        "the sentence names an organ with uptake of its own [ratio]. Source: sarcomas",
    )
    organ_part: OpenFraction = Field(
        0.95,
        description="What lies in an organ of the label map and above this quantile of its uptake may be a lesion that "
        "grew into it [ratio]. Source: chosen for this project, one in twenty is noise",
    )
    lowest_part: OpenFraction = Field(
        0.25,
        description="No threshold of `adaptive` lies below this part of SUVpeak [ratio]. Source: hard phantoms and "
        "half of the sarcomas; lower ones take an organ with its lesion, 0.35 cuts tumours",
    )
    most_joined_ml: Number = Field(
        500.0,
        gt=0,
        le=100_000,
        description="A larger volume that joins within 10 % of the level is an organ, and no threshold lies so low "
        "[mL]. Source: livers have 1000 to 2000 mL; 300 cuts sarcomas, 1000 changes nothing",
    )
    flattest: Number = Field(
        0.9,
        gt=0,
        le=1,
        description="A threshold above this part of the maximum is no contour [ratio]. Source: the paper's limit",
    )
    fewest_voxels: Integer = Field(
        3, ge=1, le=10_000, description="Fewer are no region [voxels]. Source: a line of voxels has no volume"
    )
    most_cut: Fraction = Field(
        0.8,
        description="Part of a surface that a hotter neighbour or an organ may cut off: beyond it the lesion is a "
        "shoulder [ratio]. Source: phantom scenes",
    )
    most_border: Fraction = Field(
        0.2, description="Part of a surface that the image's border may cut off [ratio]. Source: phantom scenes"
    )
    largest_mm: Number = Field(
        256.0, ge=5, le=2000, description="Half the side of the largest box [mm]. Source: larger than any lesion"
    )


class LesionSettings(Settings):
    """How findings become lesions."""

    convention: SliceConvention = SliceConvention()
    peaks: PeakSettings = PeakSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    location: LocationSettings = LocationSettings()
    contour: ContourSettings = ContourSettings()
    midline_mm: Millimetres = Field(
        10.0,
        description="Half the width of the band about the middle of the body in which a lesion has no side [mm]. "
        "Source: chosen for this project",
    )


class CandidateSettings(Settings):
    """Which peaks of an exam are looked at as lesions that no report may have named."""

    least_suv: Number = Field(
        2.5, gt=0, le=100, description="Least SUV of a candidate [SUV]. Source: below it nothing is proposed in trials"
    )
    least_prominence: OpenFraction = Field(
        0.1,
        description="Least prominence over SUV of a candidate [ratio]. Source: noise of a voxel is about 5 to 10 %",
    )
    own_prominence: OpenFraction = Field(
        0.2,
        description="Prominence over SUV from which a peak in the region of a hotter one is no longer of its group"
        " [ratio]. Source: drawn exams, where lesions touch each other and hot organs; parts of one tumour have less",
    )


class CurationSettings(Settings):
    """The part that the tables of a curation depend on. Equal settings and equal inputs give equal tables."""

    exam: ExamSettings = ExamSettings()
    consensus: ConsensusSettings = ConsensusSettings()
    lesions: LesionSettings = LesionSettings()
    candidates: CandidateSettings = CandidateSettings()


class PrivacySettings(Settings):
    """What is kept out of the lake (docs/privacy.md)."""

    mask_reports: Flag = Field(
        False,
        description="Hide the identifiers that are found in report texts. Source: off, they are counted all the same",
    )
    hash_ids: Flag = Field(
        False,
        description="Exams and patients under keyed hashes of their ids, in paths too; needs PETAR_ID_KEY_FILE. "
        "Source: off, the cohort's own ids",
    )


class QualitySettings(Settings):
    """Limits of the quality checks that differ from cohort to cohort."""

    max_observation_age_days: Number = Field(
        8.0,
        gt=0,
        le=36_500,
        description="The cohort was observed within so many days [days]. Source: the weekly observation and a day",
    )
    max_exam_age_days: Number = Field(
        0.0,
        ge=0,
        le=36_500,
        description="A file of the cohort is newer; 0: a finished cohort never ages [days]. Source: off",
    )
    most_unusable: Fraction = Field(
        0.5,
        description="Share of the exams that may be without a volume [fraction]. Source: where more are, the "
        "cohort or its reading is wrong",
    )
    most_identifiers: Count = Field(
        0,
        description="Unmasked identifiers in reports that are put up with, over all exams [identifiers]. Source: none",
    )
    reopen_all: Flag = Field(
        False,
        description="Open every volume and mask again, also those whose size and time are as at the last check. "
        "Source: off, for speed",
    )


class ExportSettings(Settings):
    """Formats that are written for viewers; an exam that came as NIfTI gets no DICOM."""

    nifti: Flag = Field(True, description="Write NIfTI label maps. Source: both formats unless asked otherwise")
    dicom_seg: Flag = Field(True, description="Write DICOM SEG. Source: both formats unless asked otherwise")
    dicom_labelmap: Flag = Field(
        True,
        description="Write the SEG as a LABELMAP too, where no lesions overlap. Source: both unless asked otherwise",
    )
    keep_identity: Flag = Field(
        False,
        description="A SEG names the patient as its series does, for an archive to file it. Source: off, UIDs alone",
    )


class ReviewSettings(Settings):
    """The pages that reviewers open."""

    exam_pages: Flag = Field(
        True, description="Write a page with the whole exam for each exam of the queue. Source: trial with readers"
    )
    page_mb: Number = Field(
        15.0,
        ge=2,
        le=200,
        description="Size of an exam's page; where PET and CT need more they are averaged in blocks away from the "
        "findings [MB]. Source: opens in 1 s",
    )


class ReleaseSettings(Settings):
    """Releases of accepted curations (docs/releases.md)."""

    shard_mib: Count = Field(
        512,
        le=1_048_576,
        description="A file of a release is ended before the next exam would make it larger [MiB]. Source: the Hub's "
        "500 MB",
    )
    license: str = Field("", description="License of the data, as card and Croissant say it. Source: not known here")
    cite: str = Field("", description="How to cite the data, as Croissant says it. Source: not known here")


class FollowupSettings(Settings):
    """How two exams of a patient are laid on each other, and which lesions of them are the same."""

    grid_mm: Number = Field(
        8.0, gt=1, le=20, description="Voxel of the images that are registered [mm]. Source: blur of a PET and more"
    )
    most_suv: Number = Field(
        6.0, gt=0, le=100, description="SUV above it counts as this [SUV]. Source: bladder and tumour do not decide"
    )
    body_suv: Number = Field(
        0.3, gt=0, le=5, description="SUV above which a voxel is of the body [SUV]. Source: air 0.05, fat 0.3 and more"
    )
    least_overlap: ProperFraction = Field(
        0.5,
        description="Part of the shorter scan's slices that the other must show too [ratio]. Source: vertex or skull "
        "base to mid-thigh or to the bladder have more",
    )
    least_correlation: OpenFraction = Field(
        0.5,
        description="Correlation of the two PETs after registration from which they are of one body [ratio]. Source: "
        "phantom pairs 0.7 and more",
    )
    block_mm: Number = Field(
        64.0, gt=10, le=300, description="Side of a block whose own shift is measured [mm]. Source: size of an organ"
    )
    block_reach_mm: Number = Field(
        24.0, gt=1, le=100, description="Largest such shift along an axis [mm]. Source: breath and posture"
    )
    least_block_correlation: OpenFraction = Field(
        0.5, description="Correlation from which a block's shift counts [ratio]. Source: chosen for this project"
    )
    gate_mm: Number = Field(
        25.0,
        gt=0,
        le=200,
        description="Distance after registration up to which two lesions may be the same, beside the mean of their "
        "radii [mm]. Source: posture and breath leave up to 20 mm",
    )
    least_margin_mm: Number = Field(
        10.0,
        ge=0,
        le=200,
        description="What the next best links of all lesions must cost more for a link to count [mm]. Source: two "
        "lesions that lie nearer to each other than the residual cannot be told apart",
    )


class ProposalSettings(Settings):
    """What proposals are made by, which of them are reviewed, and which a draft report takes."""

    command: str = Field(
        "",
        description="Segmenter that proposes lesions, with {suv}, {ct} and {out} in place of files; empty: the model."
        " Source: an optional program",
    )
    command_timeout_s: Number = Field(
        3600.0, gt=0, le=604_800, description="For one exam [s]. Source: minutes on a GPU, below an hour on a CPU"
    )
    most_an_exam: Positive = Field(
        10,
        le=1000,
        description="Proposals of an exam that are reviewed [proposals]. Source: a reader's time",
    )
    from_top: Fraction = Field(
        0.8,
        description="Part of them that comes from the top of the list, the others at random from p 0.05 to 0.5 [ratio]."
        " Source: without these calibration cannot be measured",
    )
    least_p: Fraction = Field(
        0.05,
        description="Least calibrated probability of what is proposed from the top; one that is not calibrated leaves"
        " out nothing [ratio]. Source: chosen for this project",
    )
    mentioned: Annotated[Number, Field(gt=0, le=1)] = Field(
        0.8,
        description="Share of the lesions that reports mention, which probabilities are divided by [ratio]. Source:"
        " chosen for this project; reviewing exams with reports measures it",
    )
    accepted_p: OpenFraction = Field(
        0.95,
        description="Calibrated probability from which a draft report takes a proposal that nobody reviewed, where the"
        " exam has a label map [ratio]. Source: chosen for this project",
    )
    answer_weight: Number = Field(
        5.0,
        gt=0,
        le=1000,
        description="Weight of a reviewed proposal over a candidate that nobody reviewed [ratio]. Source: weak"
        " negatives are assumed",
    )
    most_exams: Positive = Field(
        500, description="Exams with reports that the model learns from, at most [exams]. Source: minutes of training"
    )
    inserted: Count = Field(
        100, le=10_000, description="Lesions put into an exam for training [lesions]. Source: trials on real exams"
    )
    inserted_exams: Count = Field(
        20, le=100_000, description="Exams that lesions are put into, at most [exams]. Source: seconds an exam"
    )
    phantom_exams: Count = Field(
        8, le=1000, description="Drawn exams that the model learns from too [exams]. Source: they prove little"
    )
    phantom_weight: Fraction = Field(
        0.3333, description="Weight of a candidate of theirs [ratio]. Source: trials on real exams"
    )


class AnatomySettings(Settings):
    """Where label maps of organs come from when an exam's folder holds none."""

    command: str = Field(
        "",
        description="TotalSegmentator's executable (path, or name on PATH); empty: only maps that are there are used."
        " Source: an optional program",
    )
    weights: str = Field(
        "", description="Folder with its weights; empty: where the program looks itself. Source: the program's own"
    )
    device: Annotated[str, StringConstraints(pattern=r"^(cpu|mps|gpu(:\d+)?)$")] = Field(
        "gpu", description="`gpu`, `gpu:1`, `mps` or `cpu`. Source: the program's own default"
    )
    fast: Flag = Field(
        False, description="The 3 mm model: a tenth of the time, coarser outlines. Source: the program's own default"
    )
    timeout_s: Number = Field(
        3600.0, gt=0, le=604_800, description="For one exam [s]. Source: minutes on a GPU, below an hour on a CPU"
    )


QUESTION = "Please describe the region highlighted in the PET image."
"""The paper's prompt for a finding."""


class SplitSettings(Settings):
    """Shares of validation and test patients; the rest trains."""

    val: ProperFraction = Field(0.1, description="Share of validation patients [ratio]. Source: PETAR paper, 80/10/10")
    test: ProperFraction = Field(0.1, description="Share of test patients [ratio]. Source: PETAR paper, 80/10/10")
    salt: str = Field("", description="Another salt assigns all patients again. Source: any will do")

    @model_validator(mode="after")
    def _some_train(self) -> Self:
        if self.val + self.test >= 1:
            raise ValueError(f"expected val + test < 1, so that some patients train, got {self.val:g} + {self.test:g}")
        return self


class SampleSettings(SplitSettings):
    """How samples are made of lesions and organs."""

    question: Name = Field(QUESTION, description="What is asked of a lesion. Source: PETAR paper")
    anatomy_per_exam: Integer = Field(
        0,
        ge=0,
        le=1000,
        description="At most so many organs of an exam, chosen by hash; 0: all, about a hundred [organs]. Source: all",
    )
    mask_numbers: Flag = Field(
        False,
        description="Write `[#]` in the answers for SUVs, slices and sizes, which are measured. Source: off, the "
        "model's inputs mask them",
    )


Voxels = tuple[Positive, Positive, Positive]
Window = Annotated[
    tuple[Annotated[Number, Field(ge=-5000, le=50_000)], Annotated[Number, Field(ge=-5000, le=50_000)]],
    AfterValidator(_ascending),
]
FloatType = Literal["float32", "bfloat16"]


def _preset(description: str, **limits: Any) -> Any:
    """A field that the preset sets where a cohort does not."""
    return Field(None, description=f"{description}. Source: preset", **limits)


class TrainingTable(Settings):
    """How stages are trained, where it differs from the preset (model/petar/config.py, M3D's recipe). What is not set
    is the preset's."""

    epochs: Positive | None = _preset("Passes over the samples [epochs]")
    batch_size: Positive | None = _preset("Samples of a batch [samples]")
    accumulation: Positive | None = _preset("Batches a step of the optimiser [batches]")
    learning_rate: Number | None = _preset("Peak learning rate [1/step]", gt=0, le=1)
    weight_decay: Number | None = _preset("Of AdamW [ratio]", ge=0, le=10)
    beta2: OpenFraction | None = _preset("Of AdamW [ratio]")
    warmup_fraction: Fraction | None = _preset("Part of the steps that warm up [ratio]")
    clip_norm: Number | None = _preset("Largest gradient norm [norm]", gt=0, le=10**6)
    precision: FloatType | None = _preset("bfloat16 is autocast")
    seed: Seed | None = _preset("Of weights, order and augmentation [seed]")
    workers: Processes | None = _preset("Processes that make inputs; 0: a thread [processes]")
    threads: Processes | None = _preset("Threads of torch on a CPU; 0: as many as it likes [threads]")
    cpu_parts: Annotated[Integer, Field(ge=1, le=1024)] | None = _preset(
        "Parts of a batch that a CPU computes side by side [parts]"
    )
    save_every_s: Wait | None = _preset("How often the state to go on from is saved; 0: after every step [s]")
    samples_per_epoch: Count | None = _preset("An epoch sees so many of the samples; 0: all [samples]")
    validation_samples: Count | None = _preset("At most so many are scored after an epoch [samples]")
    select_by: Literal["last", "loss", "fields"] | None = _preset(
        "Epoch that a stage ends with: the last, that of the lowest validation loss, or that whose texts of validation "
        "samples have most fields right"
    )
    early_stop_epochs: Count | None = _preset("Stop after so many epochs without a better one; 0: never [epochs]")
    without_ct: Literal["refuse", "air"] | None = _preset("A sample without CT where the model reads one")
    optimiser: Literal["adamw", "adamw8bit"] | None = _preset("`adamw8bit` needs bitsandbytes and a GPU")
    lora_rank: Size | None = Field(
        None,
        description="Rank of LoRA on the language model in the full stages; 0: none [rank]. Source: preset; M3D: 16",
    )
    lora_alpha: Number | None = _preset("Scale of LoRA [ratio]", gt=0, le=10**5)
    recompute_activations: Flag | None = _preset("Gradient checkpointing")
    compile: Flag | None = _preset("Compile each transformer block by torch.compile")
    loggers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] | None = _preset(
        "Where losses and rates go beside log.jsonl; W&B and MLflow are configured by WANDB_* and MLFLOW_*"
    )
    sharding: Literal["none", "full"] | None = _preset("Over several processes: DDP or FSDP")
    frozen_dtype: FloatType | None = _preset("Frozen weights are stored in; trained ones are float32")
    language_rate: Number | None = _preset("The language model's share of the learning rate [ratio]", ge=0, le=1000)
    mask_rate: Number | None = _preset("The mask embedding's share of the learning rate [ratio]", ge=0, le=1000)
    language_steps: Count | None = _preset("Steps that teach a language model without weights [steps]")
    tokenizer: str | None = _preset("Folder, GGUF file or hub id of a tokenizer; empty: that of the weights")
    language_weights: str | None = _preset(
        "Folder, GGUF file or hub id of the language model's weights, or `package:NAME==VERSION`, a GGUF in a package"
    )
    from_scratch: Flag | None = _preset("A language model without weights may start random")
    model_weights: str | None = _preset("File, folder or hub id of a whole public release")
    vision_weights: str | None = _preset("File, folder or hub id of a tower")


class StageTables(Settings):
    """Training of single stages, over `[model.training]`."""

    anatomy_projector: TrainingTable = TrainingTable()
    anatomy_mask: TrainingTable = TrainingTable()
    anatomy_full: TrainingTable = TrainingTable()
    findings_projector: TrainingTable = TrainingTable()
    findings_mask: TrainingTable = TrainingTable()
    findings_full: TrainingTable = TrainingTable()


class InputsTable(Settings):
    """How an exam becomes the model's input arrays, where it differs from the preset."""

    pet_window_suv: Window | None = _preset("SUV that become 0 and 1 [SUV]")
    ct_window_hu: Window | None = _preset("HU that become 0 and 1 [HU]")
    spacing_mm: Number | None = _preset("Grid of the crops [mm]", gt=0, le=50)
    global_crop: Literal["whole", "around"] | None = _preset(
        "`whole`: from the head down (paper); `around`: the lesion (release)"
    )
    field_voxels: Voxels | None = _preset("Field (z, y, x) on that grid [voxels]")
    slices_around: Positive | None = _preset("Above and below the lesion [slices]")
    focal_crop: Literal["cube", "box"] | None = _preset(
        "`cube` around the mask (paper) or its `box` and a margin (release)"
    )
    focal_margin_voxels: Size | None = _preset("Margin of the box [voxels]")
    focal_jitter: Fraction | None = _preset(
        "Centre and side of the training cube move by this part of the side [ratio]"
    )
    global_jitter_voxels: Size | None = _preset(
        "The global crop of training moves by so many of the tower's voxels [voxels]"
    )


class LayoutTable(Settings):
    """What the model's weights expect of their inputs, where it differs from the preset. A model that starts from a
    release or a checkpoint takes what that was trained on."""

    x_from: Literal["right", "left"] | None = _preset("Where the x axis begins: the patient's right or left")
    border: Literal["pad", "clip"] | None = _preset("Crops beyond the exam: 0, or clipped and stretched (release)")
    resize: Literal["area", "trilinear"] | None = _preset("From the crop to the tower's input; release: trilinear")
    foreground_crop: Flag | None = _preset("Cut crops to PET > 0 (release)")
    ct_class_token: Flag | None = _preset("The CT's own tower has a CLS token")
    text: Literal["apart", "joint"] | None = _preset("Question and answer encoded apart, or as one text (release)")
    questions: tuple[Name, ...] | None = _preset("What a lesion is asked, one of them; empty: the sample's question")


class VisionTable(Settings):
    """The 3D vision transformer, where it differs from the preset."""

    image_shape: Voxels | None = _preset("Input (z, y, x) [voxels]")
    patch_shape: Voxels | None = _preset("Patch (z, y, x) [voxels]")
    width: Positive | None = _preset("Width of a token [channels]")
    layers: Positive | None = _preset("Blocks [layers]")
    heads: Positive | None = _preset("Attention heads [heads]")
    mlp_width: Positive | None = _preset("Width inside a block [channels]")
    attention: Literal["sdpa", "plain"] | None = _preset("torch's fused attention, or MONAI's own")


class LanguageTable(Settings):
    """The language model, where it differs from the preset."""

    vocab_size: Positive | None = _preset("Tokens at most [tokens]")
    width: Positive | None = _preset("Width of a token [channels]")
    layers: Positive | None = _preset("Blocks [layers]")
    heads: Positive | None = _preset("Attention heads [heads]")
    kv_heads: Size | None = _preset("Heads of keys and values; 0: as many [heads]")
    mlp_width: Positive | None = _preset("Width inside a block [channels]")
    max_positions: Positive | None = _preset("Longest text [tokens]")
    rope_theta: Number | None = _preset("Base of the rotary positions [ratio]", gt=0, le=10**9)
    norm_eps: Number | None = _preset("Added to the mean square in norms [ratio]", gt=0, le=1)
    tied_embeddings: Flag | None = _preset("The output layer is the embedding of the input")


class ModelSettings(Settings):
    """Which model is trained, and for how long; what is not set is the preset's."""

    preset: Literal["tiny", "small", "small-lm", "petar-4b"] = Field(
        "tiny",
        description="`tiny` (a CPU, minutes), `small` (one consumer GPU), `small-lm` (SmolLM2-135M, a CPU in hours) or "
        "`petar-4b`. Source: runs anywhere",
    )
    effort: Number = Field(
        1.0,
        gt=0,
        le=1000,
        description="Part of the preset's epochs, and of the steps that teach a model without weights its language, "
        "to train [ratio]. Source: the whole",
    )
    use_mask: Flag | None = _preset("Give the model the mask")
    use_ct: Flag | None = _preset("Give it the CT")
    use_focal: Flag | None = _preset("Give it the focal crop")
    use_anatomy_pretraining: Flag | None = _preset("Train on organs first")
    shared_towers: Flag | None = _preset("One tower for PET and CT (paper)")
    pool: Annotated[Integer, Field(ge=1, le=64)] | None = _preset(
        "Patches averaged along each axis before the projector [patches]"
    )
    mask_numbers: Flag | None = _preset("Targets carry [#] in place of measured numbers")
    max_length: Positive | None = _preset("Of one sample, image tokens included [tokens]")
    training: TrainingTable = TrainingTable()
    stages: StageTables = StageTables()
    inputs: InputsTable = InputsTable()
    layout: LayoutTable = LayoutTable()
    vision: VisionTable = VisionTable()
    language: LanguageTable = LanguageTable()


class ScoreSettings(Settings):
    """How scores and their intervals are made. A metric whose file, folder or server is not named says so."""

    n_resamples: Positive = Field(
        1000, description="Bootstrap draws of patients [draws]. Source: usual for 95 % intervals"
    )
    seed: Seed = Field(20251027, description="Of the draws [seed]. Source: arbitrary")
    level: OpenFraction = Field(0.95, description="Level of the intervals [ratio]. Source: usual")
    text_column: Literal["text_measured", "text", "text_masked"] = Field(
        "text_measured",
        description="Text that models are compared by: with measured numbers, as the model wrote it, or with [#] for "
        "numbers in text and reference. Source: PETAR paper",
    )
    size_edges_ml: tuple[Positive, ...] = Field(
        (1, 10),
        description="Volumes at which lesions are divided for scores by size, rising [mL]. Source: spheres of 12 and "
        "27 mm, about 2 and 5 times a scanner's resolution",
    )
    wordnet: Path | None = Field(
        None,
        description="METEOR: folder of WordNet 3.0's database files; not set: where nltk and Debian put it. Source: "
        "METEOR",
    )
    bertscore_model: Path | None = Field(
        None,
        description="BERTScore: folder of a language model as transformers saves it. Source: roberta-large is usual",
    )
    bertscore_layer: Integer = Field(
        17,
        ge=0,
        le=1000,
        description="Hidden layer whose vectors are compared [layer]. Source: usual for roberta-large",
    )
    bartscore_model: Path | None = Field(
        None, description="BARTScore: folder of a BART as transformers saves it. Source: bart-large-cnn is usual"
    )
    ratescore_python: Path | None = Field(
        None,
        description="RaTEScore: interpreter of an environment with the package RaTEScore. Source: it needs numpy < 2",
    )
    ratescore_weights: tuple[Path, Path] | None = Field(
        None, description="RaTEScore: folders of its entity recogniser and its embedding model. Source: RaTEScore"
    )
    green_url: Url | None = Field(
        None, description="GREEN: base URL of an OpenAI-compatible server with the judge's weights. Source: none"
    )
    green_model: Name = Field(
        "StanfordAIMI/GREEN-RadLlama2-7b", description="GREEN: the judge as the server names it. Source: GREEN paper"
    )
    green_prompt: Path | None = Field(
        None,
        description="GREEN: a prompt with {reference} and {candidate} in it; not set: this project's. Source: GREEN",
    )
    green_in_flight: Requests = Field(
        16, description="GREEN: questions at once [requests]. Source: chosen for this project"
    )
    green_timeout_s: Timeout = Field(120.0, description="GREEN: of one question [s]. Source: chosen for this project")
    green_max_tokens: Positive = Field(1024, description="GREEN: of an answer [tokens]. Source: GREEN")
    green_retries: Tries = Field(
        3, description="GREEN: further tries of a question [tries]. Source: chosen for this project"
    )
    green_cache: Path | None = Field(
        None,
        description="GREEN: file of answers, so that no pair is judged twice; not set: below PETAR_HOME. Source: not "
        "judged twice",
    )
    device: Annotated[str, StringConstraints(pattern=r"^(cpu|mps|cuda(:\d+)?)$")] = Field(
        "cpu",
        description="Device of the metrics that are models: `cpu`, `mps`, `cuda` or `cuda:1`. Source: runs anywhere",
    )


class VlmSettings(Settings):
    """A vision-language model on an OpenAI-compatible server that describes held-out lesions too."""

    name: str = Field(
        "", description="What it is called in the tables; empty: the model's name. Source: the model's name"
    )
    model: str = Field("", description="Model as the server names it. Source: none, it has to be given")
    base_url: Url = Field("http://127.0.0.1:8000/v1", description="Of the server. Source: a server on this machine")
    api_key_env: str = Field(
        "", description="Environment variable that holds the key; empty: none is needed. Source: a server of one's own"
    )
    images: Flag = Field(
        True, description="Off: the model gets the measurements alone, for one that takes no pictures. Source: on"
    )
    concurrency: Requests = Field(16, description="Questions at once [requests]. Source: chosen for this project")
    timeout_s: Timeout = Field(120.0, description="Of one question [s]. Source: chosen for this project")
    max_retries: Tries = Field(5, description="Further tries of a question [tries]. Source: chosen for this project")
    give_up_after: Requests = Field(
        8, description="Failures in a row after which the server is down [questions]. Source: chosen for this project"
    )
    max_tokens: Positive = Field(256, description="Of an answer [tokens]. Source: longer than any finding")

    @property
    def label(self) -> str:
        """The model's name in the tables."""
        return self.name or self.model


class CheckpointSettings(Settings):
    """Another checkpoint of `model/` that describes held-out lesions too: M3D-RAD, an earlier PETAR, another site's."""

    name: str = Field("", description="What it is called in the tables. Source: none, it has to be given")
    folder: Path | None = Field(None, description="Folder of the checkpoint. Source: none, it has to be given")


class RobustnessSettings(Settings):
    """How masks are changed to see what a model's texts lose by it."""

    split: Split = Field("test", description="Split of the lesions. Source: never trained on")
    margins_mm: tuple[Annotated[Number, Field(ge=-100, le=100)], ...] = Field(
        (-6.0, -3.0, 3.0, 6.0, 12.0),
        description="The mask's edge is moved by so much: inwards below 0, outwards above [mm]. Source: differences "
        "of readers",
    )
    shifts_mm: tuple[Annotated[Number, Field(ge=0, le=1000)], ...] = Field(
        (5.0, 10.0, 20.0, 40.0), description="The mask is moved by so much [mm]. Source: up to another organ"
    )
    n_lesions: Positive = Field(
        200, description="At most so many, drawn by a hash of their ids [lesions]. Source: intervals of 5 %"
    )


class StudySettings(Settings):
    """The reader study: which texts are rated, by whom."""

    readers: tuple[Name, ...] = Field(
        ("reader-1", "reader-2"),
        min_length=1,
        max_length=100,
        description="One sheet each, in an order of its own. Source: PETAR paper, two readers",
    )
    model: str = Field("", description="Model whose texts are rated; empty: PETAR's own. Source: PETAR paper")
    split: Split = Field("test", description="Split of the lesions. Source: never trained on")
    n_cases: Integer = Field(116, ge=0, le=100_000, description="Lesions with a report [cases]. Source: PETAR paper")
    n_external: Integer = Field(
        32, ge=0, le=100_000, description="Lesions of the external set, without a report [cases]. Source: PETAR paper"
    )
    seed: Seed = Field(1, description="Of the draw [seed]. Source: arbitrary")


class ReaderTrainingSettings(Settings):
    """How `petar reader train` trains a reader of reports (docs/reports.md)."""

    generated: Positive = Field(
        12_000, description="Passages drawn from the generator [passages]. Source: a loss that falls no further"
    )
    redrawn: Count = Field(
        4,
        description="Times that each labelled or reviewed text is taken, its numbers drawn anew [times]. Source: trial",
    )
    epochs: Positive = Field(4, description="Passes over all of these [passes]. Source: a loss that falls no further")
    batch: Positive = Field(32, description="Texts a step [texts]. Source: memory of a CPU")
    learning_rate: Number = Field(
        2e-3, gt=0, le=1, description="Largest, of Adam [ratio]. Source: trial; LoRA takes a tenth"
    )
    width: Positive = Field(64, description="Of the tagger's embeddings [features]. Source: 1.1 million parameters")
    hidden: Positive = Field(128, description="Of each direction of the tagger's LSTM [features]. Source: the same")
    lora_rank: Positive = Field(16, description="Of the low-rank matrices [ratio]. Source: Hu et al. 2021")
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, max_length=20)] = Field(
        (0, 1, 2),
        description="A reader is trained with each; it has a vote where all are better [seed]. Source: arbitrary",
    )
    held_out: OpenFraction = Field(
        0.3, description="Part of the reviewed texts that it is measured on and never trained on [ratio]. Source: usual"
    )
    least_held_out: Positive = Field(
        50, description="Fewer held-out texts decide nothing, and it has no vote [texts]. Source: intervals of 0.1"
    )
    checkpoint_steps: Positive = Field(
        100, description="Steps between two states that a killed training resumes from [steps]. Source: a minute"
    )


class EvaluationSettings(Settings):
    """How texts are scored, which other models are asked, and what is studied beside. Relative paths start at the
    cohort folder."""

    scores: ScoreSettings = ScoreSettings()
    predictions: Path | None = Field(
        None,
        description="Folder of predictions as files, one model a file; not set: `predictions` under PETAR_HOME. "
        "Source: PETAR_HOME",
    )
    vlm: tuple[VlmSettings, ...] = Field((), description="Vision-language models on servers. Source: none")
    checkpoint: tuple[CheckpointSettings, ...] = Field((), description="Further checkpoints. Source: none")
    ablation_effort: Number = Field(
        1.0,
        gt=0,
        le=1000,
        description="Part of a stage's epochs that an arm of the ablation is trained for [ratio]. Source: the whole",
    )
    robustness: RobustnessSettings = RobustnessSettings()
    external: Path | None = Field(None, description="Folder of an external set in autoPET's layout. Source: none")
    external_min_ml: Number = Field(
        0.2, ge=0, le=1000, description="Smaller components are named and left out [mL]. Source: a few voxels"
    )
    study: StudySettings = StudySettings()


class RunSettings(Settings):
    """How a curation is run; no row depends on it."""

    workers: Count = Field(
        0,
        le=4096,
        description="Processes that curate side by side; PETAR_WORKERS and --workers go before it; 0: as many as there"
        " are cores and 2.5 GB of free memory for [processes]. Source: peak memory of a worker on total-body exams",
    )


class ProjectSettings(CurationSettings):
    """Every parameter of the project; each field is a key or a table of petar.toml."""

    readers_file: str = Field(
        "",
        description="TOML beside the cohort that names the readers; empty: rules alone. Source: runs anywhere",
    )
    labelled_file: str = Field(
        "",
        description="CSV of labelled sentences beside the cohort that the scorecard adds to the package's own. "
        "Source: none",
    )
    exports: ExportSettings = ExportSettings()
    release: ReleaseSettings = ReleaseSettings()
    followup: FollowupSettings = FollowupSettings()
    review: ReviewSettings = ReviewSettings()
    proposals: ProposalSettings = ProposalSettings()
    anatomy: AnatomySettings = AnatomySettings()
    samples: SampleSettings = SampleSettings()
    model: ModelSettings = ModelSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    reader_training: ReaderTrainingSettings = ReaderTrainingSettings()
    privacy: PrivacySettings = PrivacySettings()
    quality: QualitySettings = QualitySettings()
    run: RunSettings = RunSettings()

    @property
    def curation(self) -> CurationSettings:
        """The part that the tables of the curation depend on."""
        return CurationSettings(
            exam=self.exam, consensus=self.consensus, lesions=self.lesions, candidates=self.candidates
        )


def load_settings(path: Path | None, cohort: Path | None = None) -> ProjectSettings:
    """The settings in a TOML file, whose tables are the fields of `ProjectSettings`; without a file, those in
    `petar.toml` of the cohort folder where there is one, else the defaults.

    Raises:
        SettingsError: the file is not there, is no TOML, or holds settings that are not allowed; all are named.
    """
    if path is None and cohort is not None and (cohort / COHORT_SETTINGS_NAME).is_file():
        path = cohort / COHORT_SETTINGS_NAME
    if path is None:
        return ProjectSettings()
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise SettingsError(f"expected a settings file, got {path} ({reason}): correct PETAR_SETTINGS") from error
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"expected text in UTF-8 in {path}, got byte {error.start} that is none: save it as UTF-8"
        ) from error
    return validated(ProjectSettings, parse(text, str(path)), str(path))


def parse(text: str, where: str) -> dict[str, Any]:
    """TOML text as a dict.

    Raises:
        SettingsError: it is no TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(
            f"expected TOML in {where}, got none {toml_place(error)}: write lines of the form name = value"
        ) from error


def toml_place(error: tomllib.TOMLDecodeError) -> str:
    """Where a text stopped to be TOML."""
    found = re.search(r"line (\d+), column (\d+)", str(error))
    return f"at line {found[1]}, column {found[2]}" if found else "at its end"


def overlaid(settings: ProjectSettings, values: Mapping[str, Any], where: str) -> ProjectSettings:
    """The settings with those that a run names, nested as in petar.toml, in place of their own.

    Raises:
        SettingsError: some are not allowed; `where` is what the message calls the run.
    """
    return validated(type(settings), _merged(settings.model_dump(), values), where)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(below)
    for name, value in above.items():
        both = isinstance(value, Mapping) and isinstance(found.get(name), Mapping)
        found[name] = _merged(found[name], value) if both else value
    return found


def validated(kind: type[S], values: Mapping[str, Any], where: str) -> S:
    """Values as the settings they describe; what they leave out has its default.

    Raises:
        SettingsError: some are not allowed: one line each with `where`, table, key, value and what is allowed.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        schema = _schema(kind)
        raise SettingsError("\n".join(_line(schema, one, where) for one in error.errors())) from error


@cache
def _schema(kind: type[Settings]) -> dict[str, Any]:
    return kind.model_json_schema()


def _line(schema: Mapping[str, Any], error: Mapping[str, Any], where: str) -> str:
    """One line about one wrong setting; `error` as pydantic gives it."""
    loc = list(error["loc"])
    if error["type"] == "missing" and loc and isinstance(loc[-1], int):
        # A list that is too short is told as the list.
        loc.pop()
    *tables, key = loc or [""]
    node, unit = schema, ""
    for part in loc:
        node = _inside(schema, node, part)
        unit = unit or unit_of(node.get("description", ""))
    # The key of an item in a list is the list's.
    numbers = [f"item {key + 1} of "] if isinstance(key, int) else []
    while isinstance(key, int) and tables:
        key = tables.pop()
    path = ".".join(part if isinstance(part, str) else str(part + 1) for part in tables)
    place = f"{numbers[0] if numbers else ''}{key}{f' in [{path}]' if path else ''} of {where}"
    if error["type"] == "extra_forbidden":
        names = sorted(resolved(schema, _inside(schema, schema, *tables)).get("properties", {}))
        near = get_close_matches(str(key), names, n=1)
        table = f" in [{path}]" if path else ""
        todo = f"did you mean {near[0]}?" if near else "correct the name or remove it"
        return f"expected one of {', '.join(names)}{table} of {where}, got {key}: {todo}"
    if error["type"] == "value_error":
        return f"{error['ctx']['error']!s} in {place}: correct it"
    got = repr(error["input"])
    return (
        f"expected {allowed(schema, node)}{f' [{unit}]' if unit else ''} for {place}, got {got}: correct or remove it"
    )


def unit_of(description: str) -> str:
    """The unit in a field's description, empty where it has none."""
    found = re.search(r"\[([^\]#]+)\]", description)
    return found[1] if found else ""


def _inside(schema: Mapping[str, Any], node: Mapping[str, Any], *parts: str | int) -> Mapping[str, Any]:
    """The schema of a field, an item or an entry of a node; empty where the schema has none."""
    for part in parts:
        node = resolved(schema, node)
        if isinstance(part, int):
            listed: Sequence[Mapping[str, Any]] = node.get("prefixItems", ())
            node = listed[part] if part < len(listed) else node.get("items", {})
        else:
            node = node.get("properties", {}).get(part) or node.get("additionalProperties") or {}
    return node


def resolved(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    """A node with its reference followed, and without the choice of leaving it out."""
    if "anyOf" in node:
        rest = {name: value for name, value in node.items() if name != "anyOf"}
        node = {**rest, **next(one for one in node["anyOf"] if one.get("type") != "null")}
    if "$ref" in node:
        node = {**schema["$defs"][node["$ref"].rpartition("/")[2]], **node}
    return node


_KINDS = {
    "number": "a number",
    "integer": "an integer",
    "string": "a text",
    "boolean": "true or false",
    "object": "a table",
}
_LIMITS = (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<"))


def allowed(schema: Mapping[str, Any], node: Mapping[str, Any]) -> str:
    """What a node of a JSON schema allows, in words: "a number >= 0 and <= 5"."""
    node = resolved(schema, node)
    if "enum" in node or "const" in node:
        return f"one of {', '.join(str(value) for value in node.get('enum') or [node['const']])}"
    if node.get("type") == "array":
        items = node.get("prefixItems") or [node.get("items", {})]
        words = [allowed(schema, item) for item in items]
        count = f"{len(items)} values" if "prefixItems" in node else "values"
        return f"a list of {count}, each {words[0]}" if len(set(words)) == 1 else f"a list of {'; '.join(words)}"
    limits = " and ".join(f"{sign} {node[name]}" for name, sign in _LIMITS if name in node)
    pattern = f"of the form {node['pattern']}" if "pattern" in node else ""
    return " ".join(part for part in (_KINDS.get(node.get("type", ""), "a value"), limits, pattern) if part)
