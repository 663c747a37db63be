"""A micro model and a small synthetic lake: boxes of organ and lesion in noise, one exam without CT."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pytest
import torch

from model.petar.config import InputsConfig, LanguageConfig, ModelConfig, TrainingSettings, VisionConfig
from model.petar.tokenizer import PetarTokenizer, train_tokenizer
from pipelines.imaging.volume import Volume, save_nifti
from pipelines.tables.home import Home
from pipelines.tables.schemas import frame

torch.set_num_threads(1)

QUESTION = "Please describe the region highlighted in the PET image."


@pytest.fixture
def micro() -> ModelConfig:
    return ModelConfig(
        name="micro",
        vision=VisionConfig(image_shape=(8, 16, 16), patch_shape=(4, 8, 8), width=32, layers=1, heads=2, mlp_width=64),
        language=LanguageConfig(vocab_size=400, width=32, layers=1, heads=2, mlp_width=64, max_positions=128),
        inputs=InputsConfig(global_crop="whole", field_voxels=(60, 40, 40), slices_around=12, focal_margin_voxels=4),
        max_length=96,
    )


@pytest.fixture
def tokenizer() -> PetarTokenizer:
    return train_tokenizer(
        ["left lung nodule, SUVmax [#], slice [#]", "right liver lesion, SUVmax [#], slice [#]"] * 3, 400
    )


@pytest.fixture
def settings() -> TrainingSettings:
    return TrainingSettings(
        epochs=2, batch_size=4, learning_rate=3e-3, save_every_s=0, validation_samples=4, without_ct="air"
    )


@dataclass(frozen=True)
class Lake:
    home: Home
    samples: pl.DataFrame

    @property
    def train(self) -> pl.DataFrame:
        return self.samples.filter(pl.col("split") == "train")

    @property
    def val(self) -> pl.DataFrame:
        return self.samples.filter(pl.col("split") == "val")

    def with_row(self, index: int, **changes: object) -> pl.DataFrame:
        rows = self.samples.to_dicts()
        rows[index] |= changes
        return frame("samples", rows)


SHAPE, SPACING_MM = (24, 20, 40), (4.0, 4.0, 4.0)
AFFINE = np.array([[4.0, 0, 0, -46.0], [0, 4.0, 0, -38.0], [0, 0, 4.0, -700.0], [0, 0, 0, 1]])


def write_lake(home: Home, n_exams: int = 4) -> Lake:
    rng = np.random.default_rng(0)
    rows = []
    for e in range(n_exams):
        exam, side = f"E{e}", ("left", "right")[e % 2]
        pet = rng.uniform(0, 1, SHAPE).astype(np.float32)
        ct = np.where(pet > 0.1, 40, -1000).astype(np.int16)
        for n in range(3):
            # RAS+: the left is at small i.
            corner = (4 if side == "left" else 17, 6 + 3 * n, 8 + 9 * n)
            box = tuple(slice(c, c + 3) for c in corner)
            pet[box] = 6 + n
            mask = Volume(np.ones((3, 3, 3), np.uint8), _moved(corner))
            save_nifti(mask, home.root / f"masks/{exam}/{n}.nii.gz")
            rows.append(
                {
                    "sample_id": f"{exam}:{n}",
                    "kind": "finding",
                    "finding_id": f"{exam}:{n}",
                    "exam_id": exam,
                    "patient_id": f"P{e}",
                    "split": "val" if e == n_exams - 1 else "train",
                    "question": QUESTION,
                    "target": f"{side} lung nodule, SUVmax {6 + n}.0, slice {SHAPE[2] - corner[2] - 1}",
                    "suv_path": f"volumes/{exam}/SUV.nii",
                    "ct_path": None if e == 1 else f"volumes/{exam}/CT.nii",
                    "mask_path": f"masks/{exam}/{n}.nii.gz",
                    "mask_label": 1,
                    "laterality": side,
                    "suvmax": 6.0 + n,
                    "slice": SHAPE[2] - corner[2] - 1,
                }
            )
        save_nifti(Volume(pet, AFFINE), home.root / f"volumes/{exam}/SUV.nii")
        if e != 1:
            save_nifti(Volume(ct, AFFINE), home.root / f"volumes/{exam}/CT.nii")
    return Lake(home, frame("samples", rows))


def _moved(corner: tuple[int, ...]) -> np.ndarray:
    affine = AFFINE.copy()
    affine[:3, 3] += affine[:3, :3] @ np.array(corner)
    return affine


@pytest.fixture(scope="session")
def session_lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return write_lake(Home(tmp_path_factory.mktemp("lake")))


@pytest.fixture
def lake(session_lake: Lake) -> Lake:
    """Shared by all tests: read it, do not write to it."""
    return session_lake


@pytest.fixture
def no_mask(micro: ModelConfig) -> ModelConfig:
    return replace(micro, use_mask=False)
