"""The one label dictionary of organs: TotalSegmentator v2, task `total`.

The phantom paints with it, label maps are read with it, and questions about organs are made of it.
"""

from collections.abc import Mapping

LABEL_SCHEME = "totalsegmentator-v2-total"
"""Named in errors and in what is made from label maps; another release of the classes is another one."""
ORGAN_MAP_NAME = "ANATOMY.nii"
"""File of an exam's label map, beside its volumes."""
ORGAN_MAP_SOURCES = ("TOTALSEG.nii.gz", "TOTALSEG.nii", "totalsegmentator.nii.gz", "segmentations.nii.gz")
"""Names under which an exam's folder may hold a multi-label map of TotalSegmentator's `total` task."""


def _sides(name: str, order: tuple[str, str] = ("left", "right")) -> list[str]:
    return [f"{name}_{side}" for side in order]


_RIGHT_FIRST = ("right", "left")

_CLASS_NAMES: tuple[str, ...] = (
    "spleen", *_sides("kidney", _RIGHT_FIRST), "gallbladder", "liver", "stomach", "pancreas",
    *_sides("adrenal_gland", _RIGHT_FIRST), "lung_upper_lobe_left", "lung_lower_lobe_left", "lung_upper_lobe_right",
    "lung_middle_lobe_right", "lung_lower_lobe_right", "esophagus", "trachea", "thyroid_gland", "small_bowel",
    "duodenum", "colon", "urinary_bladder", "prostate", *_sides("kidney_cyst"), "sacrum", "vertebrae_S1",
    *(f"vertebrae_L{n}" for n in range(5, 0, -1)), *(f"vertebrae_T{n}" for n in range(12, 0, -1)),
    *(f"vertebrae_C{n}" for n in range(7, 0, -1)), "heart", "aorta", "pulmonary_vein", "brachiocephalic_trunk",
    *_sides("subclavian_artery", _RIGHT_FIRST), *_sides("common_carotid_artery", _RIGHT_FIRST),
    *_sides("brachiocephalic_vein"), "atrial_appendage_left", "superior_vena_cava", "inferior_vena_cava",
    "portal_vein_and_splenic_vein", *_sides("iliac_artery"), *_sides("iliac_vena"), *_sides("humerus"),
    *_sides("scapula"), *_sides("clavicula"), *_sides("femur"), *_sides("hip"), "spinal_cord",
    *_sides("gluteus_maximus"), *_sides("gluteus_medius"), *_sides("gluteus_minimus"), *_sides("autochthon"),
    *_sides("iliopsoas"), "brain",
    "skull", *(f"rib_{side}_{n}" for side in ("left", "right") for n in range(1, 13)), "sternum", "costal_cartilages",
)  # fmt: skip

CLASSES: Mapping[int, str] = dict(enumerate(_CLASS_NAMES, 1))
"""Label value -> class name: 117 classes from 1."""

LABELS: Mapping[str, int] = {name: label for label, name in CLASSES.items()}
"""Class name -> label value."""

PHYSIOLOGIC: Mapping[int, str] = {
    LABELS[name]: name for name in ("brain", "liver", "heart", "urinary_bladder", "kidney_right", "kidney_left")
}
"""Label value -> class name of the organs that a contour must not enter unawares: their uptake is often a lesion's."""
