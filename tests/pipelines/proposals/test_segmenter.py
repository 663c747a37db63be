"""A segmenter of others: a stub that writes a label map."""

import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.imaging.volume import Volume
from pipelines.proposals.segmenter import Segmenter, SegmenterError
from pipelines.settings import ProposalSettings

SUV = np.ones((20, 18, 16), np.float32)
SUV[4:8, 4:8, 4:8] = 6.0
SUV[12:15, 12:15, 10:13] = 9.0
VOLUME = Volume(SUV, np.diag([-4.0, 4.0, 4.0, 1.0])).canonical()
STUB = """
import sys, nibabel, numpy as np
image = nibabel.load(sys.argv[1])
labels = (np.asarray(image.dataobj) > float(sys.argv[3])).astype(np.uint8)
labels[0, 0, 0] = 2
nibabel.save(nibabel.Nifti1Image(labels, image.affine), sys.argv[2])
"""


def segmenter(tmp_path: Path, script: str, arguments: str, **values: float) -> Segmenter:
    path = tmp_path / "a stub.py"
    path.write_text(script)
    return Segmenter(ProposalSettings(command=f'{sys.executable} "{path}" {arguments}', **values))


def test_components_come_hottest_first(tmp_path: Path) -> None:
    found = segmenter(tmp_path, STUB, "{suv} {out} 3").components(VOLUME, None, "E1")
    assert [len(ijk) for ijk in found] == [27, 64]
    assert VOLUME.array[tuple(found[0].T)].min() == 9.0


def test_empty_label_map_is_a_result(tmp_path: Path) -> None:
    assert segmenter(tmp_path, STUB, "{suv} {out} 50").components(VOLUME, None, "E1") == []


@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        ("import sys; sys.exit('no weights')", "{suv} {out}", "no weights"),
        ("pass", "{suv} {out}", "expected a label map at {out}"),
        ("pass", "{suv} {ct} {out}", "expected a CT"),
        ("import time; time.sleep(60)", "{suv} {out}", "command_timeout_s"),
    ],
)
def test_failures_say_what_to_do(tmp_path: Path, script: str, arguments: str, words: str) -> None:
    with pytest.raises(SegmenterError, match=words.replace("{", r"\{")):
        segmenter(tmp_path, script, arguments, command_timeout_s=2.0).components(VOLUME, None, "E1")


@pytest.mark.parametrize("command", ["python {suv}", "no-such-program {suv} {out}", "python 'cut off {suv} {out}"])
def test_wrong_commands_are_refused_at_once(command: str) -> None:
    with pytest.raises(SegmenterError, match=r"proposals\.command"):
        Segmenter(ProposalSettings(command=command))
