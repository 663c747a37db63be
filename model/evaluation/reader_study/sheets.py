"""The sheets: a folder of HTML a reader, which opens from disk and says nothing of who wrote what."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model.evaluation.reader_study.cases import KEY_NAME, Study, key_text
from pipelines.imaging.lesion_figures import lesion_figure
from pipelines.imaging.problems import ExamError
from pipelines.imaging.projections import mip_of
from pipelines.imaging.volume import load_nifti
from pipelines.review import html_page
from pipelines.tables import atomic
from pipelines.tables.errors import reason_of
from pipelines.tables.home import Home

_TEMPLATE = Path(__file__).with_name("sheet.html")


@dataclass(frozen=True)
class SheetsSummary:
    """Where the study lies, and pictures that could not be drawn with the reason, by case."""

    folder: Path
    sheets: Mapping[str, Path]
    n_drawn: int
    n_reused: int
    without_picture: Mapping[str, str]


def folder_name(reader: str) -> str:
    """A reader's name as a folder's."""
    return re.sub(r"[^\w.-]+", "_", reader)


def write_sheets(study: Study, home: Home, folder: Path) -> SheetsSummary:
    """Writes `sheets/<reader>/` (send one to each reader) and `key.json` (keep it) to the study's folder.

    Pictures are drawn once and copied; `home` is where the paths of volumes and masks start. A lesion that cannot be
    drawn keeps its texts and says so.
    """
    atomic.write_bytes(folder / KEY_NAME, key_text(study).encode())
    (folder / "ratings").mkdir(exist_ok=True)
    drawn, reused, missing = _draw(study, home, folder / "pictures")
    sheets = {}
    for reader in study.readers:
        own = folder / "sheets" / folder_name(reader)
        entries = []
        for case in study.order(reader):
            picture = folder / "pictures" / f"{case.case_id}.png"
            if case.case_id not in missing:
                atomic.write_bytes(own / "pictures" / picture.name, picture.read_bytes())
            entries.append(
                {
                    "id": case.case_id,
                    "texts": study.shown(reader, case),
                    "picture": None if case.case_id in missing else f"pictures/{picture.name}",
                }
            )
        data = {"study": study.study_id, "reader": reader, "cases": entries}
        script = f"const STUDY = {json.dumps(data, ensure_ascii=True, separators=(',', ':'))};\n"
        atomic.write_bytes(own / "data.js", script.encode())
        atomic.write_bytes(own / "index.html", html_page.render(_TEMPLATE))
        sheets[reader] = own / "index.html"
    return SheetsSummary(folder, sheets, drawn, reused, missing)


def _draw(study: Study, home: Home, pictures: Path) -> tuple[int, int, dict[str, str]]:
    """(drawn, reused, reasons of what is missing), exam by exam so that a volume is read once."""
    drawn = reused = 0
    missing: dict[str, str] = {}
    by_exam: dict[tuple[str, str | None], list[int]] = {}
    for at, case in enumerate(study.cases):
        if (pictures / f"{case.case_id}.png").exists():
            reused += 1
        else:
            by_exam.setdefault((case.suv_path, case.ct_path), []).append(at)
    for (suv_path, ct_path), found in by_exam.items():
        cases = [study.cases[at] for at in found]
        try:
            suv = load_nifti(home.file(suv_path))
            ct = load_nifti(home.file(ct_path)) if ct_path else None
            mip = mip_of(suv)
        except (ExamError, OSError, ValueError) as error:
            missing |= {case.case_id: f"the images cannot be read: {reason_of(error)}" for case in cases}
            continue
        for case in cases:
            try:
                png = lesion_figure(suv, ct, load_nifti(home.file(case.mask_path)), mip=mip)
                atomic.write_bytes(pictures / f"{case.case_id}.png", png)
                drawn += 1
            except (ExamError, OSError, ValueError) as error:
                missing[case.case_id] = f"the picture cannot be drawn: {reason_of(error)}"
    return drawn, reused, missing
