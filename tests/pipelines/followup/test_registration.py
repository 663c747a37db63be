"""Registration: a body that was moved comes back to its place, and two that are none are refused."""

import numpy as np
import pytest

from pipelines.followup.registration import Registration, RegistrationError, register
from pipelines.imaging.volume import Volume
from pipelines.settings import FollowupSettings
from tests.support.bodies import SHAPE, body, turned

SETTINGS = FollowupSettings()


class TestRegister:
    def test_finds_a_turn_and_a_shift(self) -> None:
        prior = body()
        exam, moved = turned(prior, 6.0, (9.0, -7.0, 60.0))
        found = register(exam, prior, SETTINGS)
        points = np.array([[0.0, 0.0, -300.0], [60.0, 20.0, -200.0], [-50.0, -30.0, -450.0]])
        wanted = points @ moved[:3, :3].T + moved[:3, 3]
        assert np.linalg.norm(found.apply(points) - wanted, axis=1).max() < 4.0
        assert found.rotation_deg == pytest.approx(6.0, abs=1.0)
        assert found.correlation > 0.9
        assert found.residual_mm < 3.0

    def test_gives_the_same_twice(self) -> None:
        prior = body()
        exam, _ = turned(prior, 2.0, (0.0, 5.0, -30.0))
        matrices = [register(exam, prior, SETTINGS).matrix for _ in range(2)]
        assert np.array_equal(*matrices)

    def test_refuses_an_image_without_a_body(self) -> None:
        empty = Volume(np.zeros(SHAPE, np.float32), body().affine)
        with pytest.raises(RegistrationError, match="expected a body in both scans"):
            register(body(), empty, SETTINGS)

    def test_refuses_what_correlates_too_little(self) -> None:
        noise = np.random.default_rng(1).uniform(0.3, 5, SHAPE).astype(np.float32)
        with pytest.raises(RegistrationError, match="of one body"):
            register(body(), Volume(noise, body().affine), SETTINGS)


def test_back_is_the_inverse_of_follow() -> None:
    matrix = np.eye(4)
    matrix[:3, 3] = (10.0, -20.0, 100.0)
    blocks = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 300.0]])
    found = Registration(matrix, 0.9, 4.0, blocks, np.array([[4.0, 0.0, 0.0], [0.0, 0.0, -8.0]]))
    points = np.array([[5.0, 6.0, 7.0], [-30.0, 12.0, 190.0]])
    assert np.linalg.norm(found.back(found.follow(points)) - points, axis=1).max() < 1.5
