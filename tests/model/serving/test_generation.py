import numpy as np
import polars as pl
import pytest
import torch

from model.inputs.numbers import Measured
from model.inputs.tensors import LesionDataset, SampleError, place_mask
from model.petar.checkpoints import Contract, build_model, load_checkpoint, save_checkpoint
from model.serving.describe import describe_files
from model.serving.generation import Decoding, answer, describe, generate
from model.serving.questions import measure
from pipelines.imaging.volume import Volume, load_nifti, save_nifti
from pipelines.tables import schemas


@pytest.fixture
def checkpoint(micro, tokenizer, tmp_path):
    torch.manual_seed(3)
    save_checkpoint(tmp_path / "checkpoint", build_model(micro, tokenizer), tokenizer, Contract(micro))
    return tmp_path / "checkpoint"


class TestAnswer:
    def test_batch_gives_what_each_sample_gives_alone(self, checkpoint, lake, micro):
        loaded = load_checkpoint(checkpoint)
        # Questions of different lengths, so that rows are padded.
        questions = [
            "Where?",
            "Please describe the region highlighted in the PET image.",
            "What is it and on which side?",
        ]
        samples = lake.samples.head(3).with_columns(pl.Series("question", questions))
        data = LesionDataset(samples, micro, loaded.tokenizer, lake.home, answers=False)
        items = [data[i] for i in range(3)]
        together = answer(loaded, items, max_new_tokens=12)
        assert together == [answer(loaded, [item], max_new_tokens=12)[0] for item in items]

    def test_greedy_equals_step_by_step_argmax(self, checkpoint, lake, micro):
        loaded = load_checkpoint(checkpoint)
        item = LesionDataset(lake.samples, micro, loaded.tokenizer, lake.home, answers=False)[0]
        ids = list(item.encoded.prompt)
        for _ in range(6):
            tokens = torch.tensor([ids])
            with torch.no_grad():
                logits = loaded.model(tokens, torch.ones_like(tokens), item.images[None], item.focal[None])
            ids.append(int(logits[0, -1].argmax()))
        assert answer(loaded, [item], max_new_tokens=6) == [loaded.tokenizer.decode(ids[len(item.encoded.prompt) :])]


class TestGenerate:
    def test_gives_a_row_a_finding_in_order(self, checkpoint, lake):
        predictions = generate(lake.samples, checkpoint, lake.home, Decoding(batch_size=5, max_new_tokens=8))
        good, bad = schemas.validate("predictions", predictions)
        assert bad.is_empty()
        assert len(good) == len(lake.samples)
        assert predictions["finding_id"].to_list() == lake.samples["finding_id"].to_list()
        assert predictions["reference"].to_list() == lake.samples["target"].to_list()
        assert set(predictions["model"]) == {"petar-micro"}

    def test_broken_sample_is_told_and_the_others_done(self, checkpoint, lake):
        told = []
        samples = lake.with_row(1, mask_path="masks/none.nii.gz")
        predictions = generate(
            samples, checkpoint, lake.home, Decoding(max_new_tokens=4), on_problem=lambda *x: told.append(x)
        )
        assert predictions["text"].is_null().to_list() == [i == 1 for i in range(len(samples))]
        assert told[0][0] == "E0:1"


class TestMeasure:
    def test_reads_the_mask(self):
        array = np.zeros((10, 10, 10), np.float32)
        array[2:5, 3, 4] = [2, 8, 5]
        mask = np.zeros((10, 10, 10), np.uint8)
        mask[2:5, 3, 4] = 1
        pet = Volume(array, np.diag([2.0, 2.0, 2.0, 1.0]))
        measured = measure(pet, place_mask(Volume(mask, pet.affine), pet))
        assert measured == Measured(suvmax=8.0, slice=6, suvmean=5.0, diameter_mm=6.0, mtv_ml=pytest.approx(0.024))


class TestDescribe:
    def files(self, lake):
        return {
            name: lake.home.root / path
            for name, path in (
                ("pet", "volumes/E0/SUV.nii"),
                ("ct", "volumes/E0/CT.nii"),
                ("mask", "masks/E0/1.nii.gz"),
            )
        }

    def test_says_what_generate_says(self, checkpoint, lake):
        files = {name: load_nifti(path) for name, path in self.files(lake).items()}
        said = describe(files["pet"], files["ct"], files["mask"], checkpoint, max_new_tokens=8)
        assert said.text == generate(lake.samples.head(2), checkpoint, lake.home, Decoding(max_new_tokens=8))["text"][1]
        assert said.measured.suvmax == 7.0

    def test_orientation_of_the_files_does_not_matter(self, checkpoint, lake):
        files = {name: load_nifti(path) for name, path in self.files(lake).items()}
        flip = np.diag([-1.0, -1.0, 1.0, 1.0])

        def flipped(volume):
            shift = np.eye(4)
            shift[:2, 3] = [n - 1 for n in volume.shape[:2]]
            return Volume(volume.array[::-1, ::-1], volume.affine @ shift @ flip)

        straight = describe(files["pet"], files["ct"], files["mask"], checkpoint, max_new_tokens=8)
        turned = describe(*(flipped(files[n]) for n in ("pet", "ct", "mask")), checkpoint, max_new_tokens=8)
        assert turned == straight

    def test_files_are_read(self, checkpoint, lake):
        files = self.files(lake)
        assert describe_files(str(checkpoint), files["pet"], files["mask"]).measured.suvmax == 7.0

    def test_file_that_cannot_be_used_is_named(self, checkpoint, lake, tmp_path):
        empty = save_nifti(
            Volume(np.zeros((3, 3, 3), np.uint8), np.diag([4.0, 4.0, 4.0, 1.0])), tmp_path / "empty.nii.gz"
        )
        with pytest.raises(SampleError, match="mask"):
            describe_files(str(checkpoint), self.files(lake)["pet"], empty)
        with pytest.raises(SampleError, match="nowhere"):
            describe_files(str(checkpoint), tmp_path / "nowhere.nii", empty)
