"""What is measured on a candidate, by name: unit and description of each number. Missing is null.

Values are ratios to the candidate's own SUV, shapes, places in the body's frame, CT and label map. None of them
compares candidates of one exam with each other: such numbers did not carry over to other exams.
"""

from collections.abc import Mapping
from dataclasses import dataclass

SHELLS_MM: tuple[tuple[float, float], ...] = ((0, 4), (4, 8), (8, 12), (12, 18), (18, 26), (26, 38))
"""Shells around a peak [mm]: from the scanner's resolution to beyond a large lesion's edge."""
ORGAN_GROUPS: Mapping[str, tuple[str, ...]] = {
    "brain": ("brain", "skull"),
    "heart": ("heart", "atrial_appendage_left"),
    "liver": ("liver", "gallbladder"),
    "spleen": ("spleen",),
    "kidney": ("kidney_right", "kidney_left", "kidney_cyst_left", "kidney_cyst_right"),
    "bladder": ("urinary_bladder", "prostate"),
    "gut": ("stomach", "duodenum", "small_bowel", "colon", "esophagus"),
    "lung": (
        "lung_upper_lobe_left",
        "lung_lower_lobe_left",
        "lung_upper_lobe_right",
        "lung_middle_lobe_right",
        "lung_lower_lobe_right",
    ),
    "bone": ("sacrum", "hip", "femur", "humerus", "scapula", "clavicula", "vertebrae", "rib", "sternum"),
    "vessel": ("aorta", "superior_vena_cava", "inferior_vena_cava", "pulmonary_vein"),
}
"""Organs of a label map in groups; a name stands for the classes that begin with it."""


@dataclass(frozen=True)
class Feature:
    """A number of a candidate."""

    description: str
    unit: str | None = None


def _shells() -> dict[str, Feature]:
    found = {}
    for low, high in SHELLS_MM:
        name, where = f"shell_{high:g}", f"in the shell {low:g} to {high:g} mm around the peak over its SUV"
        found[f"{name}_mean"] = Feature(f"Mean SUV {where}", "ratio")
        found[f"{name}_high"] = Feature(f"Highest SUV {where}", "ratio")
        if low > 0:
            found[f"{name}_low"] = Feature(f"Lowest SUV {where}", "ratio")
            found[f"{name}_sd"] = Feature(f"Standard deviation of the SUV {where}", "ratio")
    return found


PET_FEATURES: Mapping[str, Feature] = {
    "log_uptake": Feature("Natural logarithm of the SUV of the peak"),
    "prominence": Feature("SUV less its saddle, over SUV", "ratio"),
    "suvpeak_ratio": Feature("SUVpeak (1 mL) over SUV", "ratio"),
    "mean_ratio": Feature("Mean SUV of the region over SUV", "ratio"),
    "level_ratio": Feature("Level of the region over SUV", "ratio"),
    "log_region": Feature("Natural logarithm of the region's volume in mL"),
    "log_above_saddle": Feature("Natural logarithm of the volume in mL connected with the peak above its saddle"),
    "leak": Feature("1 where the region leaks"),
    "sphericity": Feature("Surface of a sphere of the region's volume over the region's own, by voxel faces", "ratio"),
    "elongation": Feature("Shortest over longest principal axis of the region", "ratio"),
    "flatness": Feature("Middle over longest principal axis of the region", "ratio"),
    "ln_peaks": Feature("Natural logarithm of the number of candidates in the region"),
    **_shells(),
    "mirror_high": Feature("Highest SUV within 12 mm of the mirrored place over SUV", "ratio"),
    "mirror_mean": Feature("Mean SUV within 12 mm of the mirrored place over SUV", "ratio"),
    "above_high": Feature("Highest SUV 15 to 35 mm towards the head, within 8 mm across, over SUV", "ratio"),
    "below_high": Feature("The same towards the feet", "ratio"),
    "along": Feature("Place along the body: 0 at the shoulders, 1 at the bladder"),
    "across": Feature("Distance from the body's middle, to the patient's right, over half its width", "ratio"),
    "depth": Feature("Place between back (0) and front (1)", "ratio"),
    "to_edge_mm": Feature("Distance to the nearest side of the body across it", "mm"),
    "to_end_mm": Feature("Distance to the nearer end of the image along the body", "mm"),
    "to_top_mm": Feature("Distance to the upper end of the image, at most 400", "mm"),
}  # fmt: skip
CT_FEATURES: Mapping[str, Feature] = {
    "ct_mean": Feature("Mean CT number within 6 mm of the peak", "HU"),
    "ct_low": Feature("Lowest CT number within 6 mm of the peak", "HU"),
    "ct_high": Feature("Highest CT number within 6 mm of the peak", "HU"),
    "ct_sd": Feature("Standard deviation of the CT numbers within 6 mm of the peak", "HU"),
    "ct_shell_mean": Feature("Mean CT number 8 to 15 mm around the peak", "HU"),
    "ct_shell_sd": Feature("Standard deviation of the CT numbers 8 to 15 mm around the peak", "HU"),
    "ct_air": Feature("Part of the voxels within 15 mm below -400 HU", "ratio"),
    "ct_fat": Feature("Part of the voxels within 15 mm of -150 to -30 HU", "ratio"),
    "ct_soft": Feature("Part of the voxels within 15 mm of 0 to 100 HU", "ratio"),
    "ct_bone": Feature("Part of the voxels within 15 mm above 180 HU", "ratio"),
    "ct_mirror": Feature("Mean CT number within 6 mm of the mirrored place", "HU"),
}
MAP_FEATURES: Mapping[str, Feature] = {
    **{
        f"to_{name}_mm": Feature(f"Distance to the {name} of the label map, 0 inside, at most 60", "mm")
        for name in ORGAN_GROUPS
    },
    "over_organ": Feature("SUV over the 90th percentile of the organ that the peak lies in", "ratio"),
}  # fmt: skip
FEATURES: Mapping[str, Feature] = {**PET_FEATURES, **CT_FEATURES, **MAP_FEATURES}
"""All of them in the order in which the model reads them."""
