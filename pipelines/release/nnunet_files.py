"""nnU-Net's raw layout of a release: CT and PET as channels, lesions (without physiologic uptake) as label 1."""

import json
import re
from pathlib import Path

from pipelines.release.contents import ExamImages, ReleaseExam


class NnunetFiles:
    """A raw data set of nnU-Net. Exams without a CT are left out, since every case must have all channels; those of the
    test split are in `imagesTs`, and `splits_final.json` keeps validation apart from training."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder / f"Dataset001_{re.sub(r'[^A-Za-z0-9]+', '', name) or 'PETAR'}"
        self._cases: dict[str, list[str]] = {"train": [], "val": [], "test": []}
        self.n_left_out = 0

    def add(self, exam: ReleaseExam, images: ExamImages) -> None:
        """Writes an exam as one case."""
        if images.ct is None:
            self.n_left_out += 1
            return
        end = "Ts" if exam.split == "test" else "Tr"
        files = {
            f"images{end}/{exam.exam_id}_0000.nii.gz": images.ct,
            f"images{end}/{exam.exam_id}_0001.nii.gz": images.pet,
            f"labels{end}/{exam.exam_id}.nii.gz": images.lesion,
        }
        for name, data in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        self._cases[exam.split].append(exam.exam_id)

    def close(self) -> None:
        """Writes what describes the data set, where there is a case."""
        if not any(self._cases.values()):
            return
        trained = self._cases["train"] + self._cases["val"]
        about = {
            "channel_names": {"0": "CT", "1": "PET"},
            "labels": {"background": 0, "lesion": 1},
            "numTraining": len(trained),
            "file_ending": ".nii.gz",
        }
        splits = [{"train": self._cases["train"], "val": self._cases["val"]}]
        for name, content in (("dataset.json", about), ("splits_final.json", splits)):
            (self.folder / name).write_text(json.dumps(content, indent=1) + "\n")
