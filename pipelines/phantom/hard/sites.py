"""Where lesions of hard exams may be, beside the sites of the even phantom: large masses, and chains of nodes."""

# ruff: noqa: E501 - a table reads best with one site a line
from dataclasses import dataclass, replace

from pipelines.phantom.body import Point
from pipelines.phantom.sites import ABDOMEN, BONES, CHEST, SITES, Site

_MASS = ("mass", "tumor")

MASS_SITES: tuple[Site, ...] = (
    *(replace(s, nouns=_MASS, radius_mm=(20, 56), spread_mm=16) for s in SITES if s.subsite == "thigh"),
    *(replace(s, nouns=_MASS, radius_mm=(18, 52)) for s in SITES if s.organ == "lung"),
    *(replace(s, nouns=("metastasis", "mass"), radius_mm=(18, 46)) for s in SITES if s.subsite == "right lobe"),
    *(replace(s, nouns=_MASS, radius_mm=(18, 46)) for s in SITES if s.subsite == "gluteus maximus muscle"),
    Site(CHEST, "mediastinum", "anterior", "", "anterior mediastinal", "anterior mediastinum", _MASS, (18, 36), point=(8, 62, -390), spread_mm=8),
    Site(ABDOMEN, "retroperitoneum", "", "right", "right retroperitoneal", "right retroperitoneum", _MASS, (18, 48), point=(62, -8, -770), spread_mm=8),
    Site(ABDOMEN, "retroperitoneum", "", "left", "left retroperitoneal", "left retroperitoneum", _MASS, (18, 48), point=(-62, -8, -770), spread_mm=8),
    Site(ABDOMEN, "mesentery", "", "", "mesenteric", "small bowel mesentery", _MASS, (18, 52), point=(0, 36, -770), spread_mm=14),
    Site(BONES, "hip bone", "iliac bone", "right", "right iliac bone", "right iliac bone", ("lesion", "metastasis"), (18, 34), point=(92, -26, -812), spread_mm=10),
    Site(BONES, "hip bone", "iliac bone", "left", "left iliac bone", "left iliac bone", ("lesion", "metastasis"), (18, 34), point=(-92, -26, -812), spread_mm=10),
)  # fmt: skip
"""Sites of masses of up to 500 mL."""


@dataclass(frozen=True)
class Chain:
    """A chain of node stations: the site whose words its nodes have, and the path along which they lie (right side)."""

    site: Site
    path: tuple[Point, ...]


def _chain(subsite: str, side: str, path: tuple[Point, ...]) -> Chain:
    site = next(s for s in SITES if s.organ == "lymph node" and s.subsite == subsite and s.side == side)
    if side == "left":
        path = tuple((-x, y, z) for x, y, z in path)
    return Chain(site, path)


CHAINS: tuple[Chain, ...] = (
    *(_chain("level II cervical", s, ((38, 8, -204), (38, 4, -232), (36, 6, -262), (42, 12, -292))) for s in ("right", "left")),
    *(_chain("supraclavicular", s, ((42, 8, -280), (58, 16, -300), (84, 26, -310))) for s in ("right", "left")),
    *(_chain("axillary", s, ((142, 10, -345), (134, 4, -380), (124, 2, -425))) for s in ("right", "left")),
    _chain("lower paratracheal", "right", ((22, -2, -372), (24, -8, -408), (26, -12, -440))),
    _chain("subcarinal", "", ((4, -20, -436), (0, -26, -470))),
    *(_chain("hilar", s, ((40, -4, -430), (46, -16, -470))) for s in ("right", "left")),
    _chain("para-aortic", "", ((-30, -24, -690), (-30, -22, -760), (-30, -30, -790))),
    _chain("mesenteric", "", ((12, 20, -735), (16, 30, -800))),
    *(_chain("external iliac", s, ((52, -6, -800), (66, 30, -872), (72, 52, -915))) for s in ("right", "left")),
    *(_chain("inguinal", s, ((78, 66, -925), (86, 72, -990))) for s in ("right", "left")),
)  # fmt: skip
"""Stations where nodes touch."""
