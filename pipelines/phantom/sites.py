"""Where lesions may be: each site with its place in the body and the words that a report uses for it."""

# ruff: noqa: E501 - a table reads best with one site a line
from dataclasses import dataclass

from pipelines.phantom.body import Point

HEAD_NECK, CHEST, ABDOMEN, BONES = "Head/Neck", "Chest", "Abdomen/Pelvis", "Musculoskeletal"
REGIONS = (HEAD_NECK, CHEST, ABDOMEN, BONES)

_ORDINALS = ("", "1st", "2nd", "3rd", "4th", "5th", "6th", "7th", "8th", "9th", "10th", "11th", "12th")


@dataclass(frozen=True)
class Site:
    """A kind of place for a lesion.

    `adjective` stands before a noun ("left axillary"), `location` after a preposition ("left axilla"); both carry the
    side where there is one. The centre is drawn in the voxels of `host` (a name in `body.LABELS`) or around `point`
    (body mm, spread `spread_mm`). `inside` is the least share of the lesion that must lie in its host.
    """

    region: str
    organ: str
    subsite: str
    side: str
    adjective: str
    location: str
    nouns: tuple[str, ...]
    radius_mm: tuple[float, float]
    host: str = ""
    inside: float = 0.0
    point: Point | None = None
    spread_mm: float = 6.0
    tracers: tuple[str, ...] = ("FDG", "DOTATATE", "DCFPyL")
    near_hot: bool = False


_NODE = ("lymph node", "node")
_BONE = ("lesion", "focus", "metastasis")


def _node(
    region: str,
    name: str,
    place: str,
    point: Point,
    side: str = "",
    radius_mm: tuple[float, float] = (5.5, 13),
    near_hot: bool = False,
) -> list[Site]:
    """A node station; where `side` is "both", the point is the right one and the left is its mirror image."""
    sides = ("right", "left") if side == "both" else (side,)
    sites = []
    for s in sides:
        x, y, z = point
        at = (-x, y, z) if side == "both" and s == "left" else point
        lead = f"{s} " if s else ""
        sites.append(
            Site(
                region,
                "lymph node",
                name,
                s,
                f"{lead}{name}",
                f"{lead}{place}",
                _NODE,
                radius_mm,
                point=at,
                near_hot=near_hot,
            )
        )
    return sites


def _sided(
    region: str,
    organ: str,
    subsite: str,
    host: str,
    nouns: tuple[str, ...],
    radius_mm: tuple[float, float],
    inside: float,
) -> list[Site]:
    """The same site on the right and on the left; `host` is the class name without its side."""
    return [
        Site(
            region,
            organ,
            subsite,
            s,
            f"{s} {subsite}",
            f"{s} {subsite}",
            nouns,
            radius_mm,
            host=f"{host}_{s}",
            inside=inside,
        )
        for s in ("right", "left")
    ]


def _lung() -> list[Site]:
    lobes = [
        ("right", "upper lobe", "lung_upper_lobe_right"), ("right", "middle lobe", "lung_middle_lobe_right"),
        ("right", "lower lobe", "lung_lower_lobe_right"), ("left", "upper lobe", "lung_upper_lobe_left"),
        ("left", "lower lobe", "lung_lower_lobe_left"),
    ]  # fmt: skip
    nouns = ("nodule", "mass", "lesion")
    return [
        Site(CHEST, "lung", lobe, s, f"{s} {lobe}", f"{s} {lobe}", nouns, (7, 24), host=host, inside=0.85)
        for s, lobe, host in lobes
    ]


def _spine() -> list[Site]:
    levels = ["C5", "C7", "T2", "T4", "T6", "T8", "T9", "T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5"]
    return [
        Site(
            BONES,
            "vertebra",
            v,
            "",
            f"{v} vertebral body",
            f"{v} vertebral body",
            _BONE,
            (6, 11),
            host=f"vertebrae_{v}",
            inside=0.4,
        )
        for v in levels
    ]


def _ribs() -> list[Site]:
    return [
        Site(
            BONES,
            "rib",
            f"{_ORDINALS[n]} rib",
            s,
            f"{s} {_ORDINALS[n]} rib",
            f"{s} {_ORDINALS[n]} rib",
            _BONE,
            (5.5, 9.5),
            host=f"rib_{s}_{n}",
        )
        for n in range(3, 11)
        for s in ("right", "left")
    ]


SITES: tuple[Site, ...] = (
    Site(HEAD_NECK, "thyroid gland", "lobe", "right", "right thyroid lobe", "right lobe of the thyroid gland", ("nodule", "focus"), (6, 9), point=(18, 24, -266), spread_mm=3),
    Site(HEAD_NECK, "thyroid gland", "lobe", "left", "left thyroid lobe", "left lobe of the thyroid gland", ("nodule", "focus"), (6, 9), point=(-18, 24, -266), spread_mm=3),
    Site(HEAD_NECK, "parotid gland", "superficial lobe", "right", "right parotid", "right parotid gland", ("nodule", "lesion"), (6, 10), point=(50, 2, -178), spread_mm=3),
    Site(HEAD_NECK, "parotid gland", "superficial lobe", "left", "left parotid", "left parotid gland", ("nodule", "lesion"), (6, 10), point=(-50, 2, -178), spread_mm=3),
    Site(HEAD_NECK, "tongue", "base", "", "base of tongue", "base of the tongue", ("mass", "lesion"), (8, 14), point=(0, 32, -208), spread_mm=4),
    *_node(HEAD_NECK, "level II cervical", "neck at level II", (36, 6, -222), "both", (5.5, 11)),
    *_node(HEAD_NECK, "supraclavicular", "supraclavicular fossa", (46, 14, -297), "both", (5.5, 10)),
    *_lung(),
    *_node(CHEST, "hilar", "hilum", (40, -12, -452), "both", (6, 17)),
    *_node(CHEST, "axillary", "axilla", (138, 6, -372), "both", (6, 17)),
    *_node(CHEST, "lower paratracheal", "lower paratracheal station", (22, -8, -408), "both", (6, 11)),
    *_node(CHEST, "subcarinal", "subcarinal station", (4, -20, -446), "", (6, 12), near_hot=True),
    *_node(CHEST, "internal mammary", "internal mammary chain", (34, 84, -400), "both", (5.5, 8)),
    Site(CHEST, "breast", "upper outer quadrant", "right", "right breast", "upper outer quadrant of the right breast", ("mass", "lesion"), (7, 14), point=(92, 96, -420), spread_mm=5),
    Site(CHEST, "breast", "upper outer quadrant", "left", "left breast", "upper outer quadrant of the left breast", ("mass", "lesion"), (7, 14), point=(-92, 96, -420), spread_mm=5),
    Site(ABDOMEN, "liver", "right lobe", "", "right hepatic lobe", "right lobe of the liver", ("lesion", "metastasis"), (8, 25), host="liver", inside=0.95),
    Site(ABDOMEN, "liver", "left lobe", "", "left hepatic lobe", "left lobe of the liver", ("lesion", "metastasis"), (8, 13), point=(-10, 46, -610), spread_mm=8, host="liver", inside=0.9),
    Site(ABDOMEN, "spleen", "", "", "splenic", "spleen", ("lesion",), (7, 13), host="spleen", inside=0.9, tracers=("FDG",)),
    *_sided(ABDOMEN, "adrenal gland", "adrenal", "adrenal_gland", ("nodule", "mass"), (7, 12), 0.0),
    Site(ABDOMEN, "pancreas", "head", "", "pancreatic head", "head of the pancreas", ("mass", "lesion"), (8, 13), point=(30, 18, -672), spread_mm=5),
    Site(ABDOMEN, "pancreas", "tail", "", "pancreatic tail", "tail of the pancreas", ("mass", "lesion"), (7, 12), point=(-62, -8, -636), spread_mm=4, tracers=("FDG",)),
    Site(ABDOMEN, "colon", "ascending", "", "ascending colon", "ascending colon", ("mass", "lesion"), (8, 15), point=(92, 12, -780), spread_mm=8),
    *_node(ABDOMEN, "mesenteric", "small bowel mesentery", (12, 20, -760), "", (6, 12)),
    *_node(ABDOMEN, "para-aortic", "para-aortic chain", (-30, -26, -708), "", (6, 11), near_hot=True),
    *_node(ABDOMEN, "external iliac", "external iliac chain", (66, 34, -872), "both", (6, 12)),
    *_node(ABDOMEN, "obturator", "obturator fossa", (56, 20, -902), "both", (6, 10), near_hot=True),
    *_node(ABDOMEN, "inguinal", "groin", (78, 72, -940), "both", (6, 12)),
    *_spine(),
    *_ribs(),
    Site(BONES, "sternum", "body", "", "sternal", "body of the sternum", _BONE, (6, 10), host="sternum", inside=0.4),
    *_sided(BONES, "scapula", "scapula", "scapula", _BONE, (6, 11), 0.0),
    *_sided(BONES, "humerus", "humeral head", "humerus", _BONE, (7, 13), 0.5),
    Site(BONES, "hip bone", "iliac bone", "right", "right iliac bone", "right iliac bone", _BONE, (7, 17), point=(92, -26, -812), spread_mm=10),
    Site(BONES, "hip bone", "iliac bone", "left", "left iliac bone", "left iliac bone", _BONE, (7, 17), point=(-92, -26, -812), spread_mm=10),
    Site(BONES, "sacrum", "", "", "sacral", "sacrum", _BONE, (7, 12), host="sacrum", inside=0.4),
    Site(BONES, "femur", "proximal", "right", "proximal right femoral", "proximal right femur", _BONE, (7, 12), point=(122, 0, -970), spread_mm=4),
    Site(BONES, "femur", "proximal", "left", "proximal left femoral", "proximal left femur", _BONE, (7, 12), point=(-122, 0, -970), spread_mm=4),
    *_sided(BONES, "muscle", "gluteus maximus muscle", "gluteus_maximus", ("mass", "lesion"), (10, 24), 0.6),
    Site(BONES, "soft tissue", "thigh", "right", "right proximal thigh soft tissue", "soft tissues of the right proximal thigh", ("mass", "lesion"), (12, 34), point=(92, 34, -1010), spread_mm=12),
    Site(BONES, "soft tissue", "thigh", "left", "left proximal thigh soft tissue", "soft tissues of the left proximal thigh", ("mass", "lesion"), (12, 34), point=(-92, 34, -1010), spread_mm=12),
)  # fmt: skip
"""All sites. Organs with a side carry it in the words; the liver's lobes are "right" and "left" lobes of one organ
(no laterality).
"""
