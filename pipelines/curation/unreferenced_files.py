"""Unreferenced files, left by a process that died between two writes: found and deleted."""

from pipelines.cohort.manifest import read_manifest
from pipelines.curation.shard_lock import shard_lock
from pipelines.tables import atomic
from pipelines.tables.home import Home, folder_name
from pipelines.tables.lake import Lake
from pipelines.tables.shards import N_SHARDS


def collect_files(home: Home) -> int:
    """How many masks, and folders of volumes, masks and exports, were taken away as no table names them.

    What a shard's writer works on is left alone: each shard is looked at while nobody writes it, and an exam that the
    cohort holds keeps its folders although its rows may not be there yet. Pinned versions hold their own links.
    """
    lake = Lake(home.lake)
    known: set[str] = set()
    n = 0
    for shard in range(N_SHARDS):
        with shard_lock(home, shard):
            own = {entry.exam_id for entry in read_manifest(home.manifest, shard)[1]}
            exams = set(lake.read_shard("exams", shard)["exam_id"])
            known |= {folder_name(exam_id) for exam_id in own | exams}
            named = {home.root / p for p in lake.read_shard("lesions", shard)["mask_path"].drop_nulls()}
            meta = lake.shard_meta("lesions", shard)
            # An exam whose computation failed keeps its masks: the next run may find the lesions as they were.
            failed = meta.inputs.get("failures", {}) if meta else {}
            for exam_id in exams:
                folder = home.mask_folder(exam_id)
                for path in home.files_below(folder):
                    if path not in named and exam_id not in failed:
                        home.remove(path)
                        n += 1
                for place in (folder, home.volume_folder(exam_id)):
                    n += atomic.clean_partials(place) if place.is_dir() else 0
    for parent in (home.volumes, home.masks, home.exports):
        for folder in home.folders_in(parent):
            if folder.name not in known:
                home.remove_folder(folder)
                n += 1
    return n
