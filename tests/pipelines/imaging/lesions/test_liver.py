"""The liver's uptake, with a label map and without one."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from pipelines.imaging.lesions.liver import find_liver
from pipelines.imaging.organ_labels import LABELS
from pipelines.imaging.volume import Volume

SPACING = 4.0
LIVER_MM, SPLEEN_MM, BRAIN_MM = (250.0, 120.0, 150.0), (90.0, 100.0, 150.0), (170.0, 120.0, 330.0)


def body(*, liver_suv: float = 2.5, seed: int = 0) -> tuple[Volume, np.ndarray]:
    """A trunk with liver (right, +x), spleen and brain, and its label map."""
    rng = np.random.default_rng(seed)
    x, y, z = (np.arange(n) * SPACING for n in (85, 60, 100))
    points = np.stack(np.meshgrid(x, y, z, indexing="ij"), axis=-1)

    def inside(centre, radii) -> np.ndarray:
        return (((points - centre) / radii) ** 2).sum(-1) < 1

    suv = np.where(inside((170, 120, 200), (165, 110, 400)), 0.6, 0.0)
    liver = inside(LIVER_MM, (65, 70, 70))
    suv[liver] = liver_suv
    suv[inside(SPLEEN_MM, (25, 35, 45))] = 2.0
    suv[inside(BRAIN_MM, (70, 80, 60))] = 9.0
    suv = gaussian_filter(suv, 3 / SPACING) * (1 + 0.08 * gaussian_filter(rng.standard_normal(suv.shape), 1.0))
    labels = np.where(liver, LABELS["liver"], 0).astype(np.uint8)
    return Volume(suv.astype(np.float32), np.diag([SPACING, SPACING, SPACING, 1.0])), labels


class TestFindLiver:
    @pytest.mark.parametrize("with_map", [True, False])
    def test_lies_in_the_liver_and_has_its_uptake(self, with_map):
        volume, labels = body()
        found = find_liver(volume, labels if with_map else None)
        assert found is not None
        assert found.mean_suv == pytest.approx(2.5, rel=0.05)
        assert found.sd_suv < 0.2 * found.mean_suv
        at = tuple(np.rint(np.array(found.centre_mm) / SPACING).astype(int))
        assert labels[at] == LABELS["liver"]

    @pytest.mark.parametrize("with_map", [True, False])
    def test_is_null_where_the_image_holds_none(self, with_map):
        volume, labels = body()
        legs = Volume(volume.array[:, :, 75:], volume.affine)
        assert find_liver(legs, labels[:, :, 75:] if with_map else None) is None

    def test_is_null_where_its_uptake_is_no_livers(self):
        volume, labels = body(liver_suv=12.0)
        assert find_liver(volume, labels) is None
