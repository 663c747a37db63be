"""Importers: small sets in each layout become cohort folders with the same values; what is wrong is told."""

import json
from pathlib import Path

import nibabel
import numpy as np
import polars as pl
import pytest

from pipelines.cohort.importers.mapping import Layout, read_mapping
from pipelines.cohort.importers.plan import ImporterError, ImportPlan
from pipelines.cohort.importers.write import plan_import, write_cohort
from pipelines.cohort.manifest import scan_cohort
from pipelines.imaging.reading.exam import ExamError, read_exam
from pipelines.tables.home import Home
from tests.support.curations import curate_small
from tests.support.imported_sets import (
    ACTIVITY_OF_SUV_1,
    AFFINE,
    MTV_ML,
    SETS,
    SUVMAX,
    autopet,
    bids,
    images,
    nnunet,
    suv,
    table,
    write,
)


def imported(layout: Layout, source: Path, target: Path) -> ImportPlan:
    mapping = source.parent / "mapping.toml"
    plan = plan_import(layout, source, read_mapping(layout, mapping if mapping.exists() else None))
    write_cohort(plan, target, layout, source)
    return plan


@pytest.mark.parametrize("layout", SETS)
class TestLayouts:
    def test_exams_and_lesions_in_are_those_that_come_out_with_their_measures(self, layout, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        plan = imported(layout, SETS[layout](tmp_path / "set"), tmp_path / "cohort")
        assert plan.problems == ()
        lake = curate_small(Home(tmp_path / "home"), tmp_path / "cohort")
        exams = lake.read_table("exams").sort("exam_id")
        assert exams.select("exam_id", "status", "has_ct").rows() == [(e.exam_id, "ok", True) for e in plan.exams]
        rows = lake.read_table("lesions").to_dicts()
        assert [(r["mask_source"], round(r["suvmax"], 2), round(r["mtv_ml"], 2)) for r in rows] == [
            ("given", SUVMAX, MTV_ML)
        ] * 2
        texts = lake.read_table("findings")["sentence"].to_list()
        assert ("Node with SUV max of 9.0 (slice 6)." in texts) == (layout == "table")

    def test_the_folder_is_a_cohort_of_links(self, layout, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        plan = imported(layout, SETS[layout](tmp_path / "set"), tmp_path / "cohort")
        entries = scan_cohort(tmp_path / "cohort").entries
        assert [(e.exam_id, e.patient_id) for e in entries] == [(e.exam_id, e.patient_id) for e in plan.exams]
        assert all(p.is_symlink() for p in (tmp_path / "cohort" / "exams").rglob("*.nii.gz"))

    def test_importing_again_changes_nothing_and_what_left_the_set_goes(self, layout, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        source = SETS[layout](tmp_path / "set")
        plan = imported(layout, source, tmp_path / "cohort")
        before = sorted((p, p.is_symlink() and p.readlink()) for p in (tmp_path / "cohort").rglob("*"))
        imported(layout, source, tmp_path / "cohort")
        assert sorted((p, p.is_symlink() and p.readlink()) for p in (tmp_path / "cohort").rglob("*")) == before
        write_cohort(ImportPlan(plan.exams[:1]), tmp_path / "cohort", layout, source)
        assert [p.name for p in (tmp_path / "cohort" / "exams").iterdir()] == [plan.exams[0].exam_id]


class TestSplits:
    def test_of_two_folders_are_kept(self, tmp_path: Path) -> None:
        source = nnunet(tmp_path / "set")
        images(*(source / "imagesTs" / f"fdg_p3_2020_{n}.nii.gz" for n in ("0001", "0000")))
        plan = imported("nnunet", source, tmp_path / "cohort")
        assert [exam.split for exam in plan.exams] == ["train", "test", "train"]
        assert [entry.split for entry in scan_cohort(tmp_path / "cohort").entries] == ["train", "test", "train"]

    def test_of_one_folder_are_none(self, tmp_path: Path) -> None:
        assert {exam.split for exam in imported("nnunet", nnunet(tmp_path / "set"), tmp_path / "cohort").exams} == {
            None
        }

    @pytest.mark.parametrize(("n_folds", "splits"), [(1, ["train", "val"]), (2, [None, None])])
    def test_of_splits_final_are_kept_where_it_is_no_cross_validation(self, n_folds, splits, tmp_path: Path) -> None:
        fold = {"train": ["fdg_p1_2020"], "val": ["psma_p2_2021"]}
        (nnunet(tmp_path / "set") / "splits_final.json").write_text(json.dumps([fold] * n_folds))
        plan = imported("nnunet", tmp_path / "set", tmp_path / "cohort")
        assert [exam.split for exam in plan.exams] == splits
        assert ("2 folds for cross-validation" in "".join(plan.problems)) == (n_folds == 2)

    def test_of_a_column_are_kept_and_told_where_a_patient_has_two(self, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        source = table(tmp_path / "set")
        pl.read_csv(source).with_columns(Pat=pl.lit("P"), Set=pl.Series(["Training", "fold 3"])).write_csv(source)
        with (tmp_path / "set" / "mapping.toml").open("a") as file:
            file.write('split = "Set"\n')
        plan = imported("table", source, tmp_path / "cohort")
        assert [exam.split for exam in plan.exams] == ["train", None]
        assert plan.problems == ("row 2, exam E2: split 'fold 3' is none of train, val, test, left out",)
        pl.read_csv(source).with_columns(Set=pl.Series(["train", "test"])).write_csv(source)
        assert "in the splits test and train" in imported("table", source, tmp_path / "cohort").problems[0]

    def test_of_participants_are_kept(self, tmp_path: Path) -> None:
        path = bids(tmp_path / "set") / "participants.tsv"
        path.write_text("participant_id\tweight\tsplit\nsub-01\t70\tdev\nsub-02\t70\tn/a\n")
        assert [exam.split for exam in imported("bids", tmp_path / "set", tmp_path / "cohort").exams] == ["val", None]


class TestTables:
    def test_a_mask_file_with_a_label_each_finding_gives_one_lesion_a_row(self, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        source = table(tmp_path / "set")
        array = (suv() > 5).astype(np.uint8)
        array[4:6, 4:6, 5:7] = 2
        write(tmp_path / "set" / "img" / "E1" / "m.nii.gz", array)
        frame = pl.read_csv(source).filter(pl.col("Scan") == "E1")
        pl.concat([frame.with_columns(L=pl.lit(1)), frame.with_columns(L=pl.lit(2))]).write_csv(source)
        with (tmp_path / "set" / "mapping.toml").open("a") as file:
            file.write('label = "L"\n')
        plan = imported("table", source, tmp_path / "cohort")
        assert [(mask.label, mask.lesions) for mask in plan.exams[0].masks] == [(1, "whole"), (2, "whole")]
        assert len([p for p in (tmp_path / "cohort" / "exams" / "E1").iterdir() if "SEG" in p.name]) == 1

    def test_the_texts_of_a_mask_on_another_grid_stand_in_the_report(self, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        source = table(tmp_path / "set")
        write(tmp_path / "set" / "img" / "E1" / "m.nii.gz", np.ones((4, 4, 4), dtype=np.uint8))
        plan = imported("table", source, tmp_path / "cohort")
        assert plan.exams[0].findings == "Node with SUV max of 9.0 (slice 6)."
        assert "1 texts of masks that were left out stand in its report" in plan.problems[1]

    def test_names_left_to_fill_are_told_with_the_columns_of_the_table(self) -> None:
        with pytest.raises(ImporterError, match=r"columns\.exam.*\(scan, words\)"):
            read_mapping("table", Path("petarseg-11k"), ["scan", "words"])


class TestWhatIsWrong:
    @pytest.mark.parametrize("layout", ["autopet", "bids"])
    def test_another_layout_says_what_was_seen(self, layout, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        (tmp_path / "readme.txt").write_text("x")
        with pytest.raises(ImporterError, match=r"got other/, readme\.txt"):
            imported(layout, tmp_path, tmp_path / "cohort")

    def test_channels_that_leave_a_choice_are_asked_for(self, tmp_path: Path) -> None:
        (nnunet(tmp_path) / "dataset.json").write_text('{"channel_names": {"0": "a", "1": "b"}}')
        with pytest.raises(ImporterError, match="write pet_channel and ct_channel"):
            imported("nnunet", tmp_path, tmp_path / "cohort")

    def test_half_exams_are_told_and_the_rest_imported(self, tmp_path: Path) -> None:
        nnunet(tmp_path / "set")
        (tmp_path / "set" / "imagesTr" / "fdg_p1_2020_0001.nii.gz").unlink()
        plan = imported("nnunet", tmp_path / "set", tmp_path / "cohort")
        assert [exam.exam_id for exam in plan.exams] == ["psma_p2_2021"]
        assert any("case fdg_p1_2020: no PET" in problem for problem in plan.problems)

    def test_a_mask_on_another_grid_is_left_out_and_told(self, tmp_path: Path) -> None:
        autopet(tmp_path / "set")
        shifted = AFFINE.copy()
        shifted[0, 3] = 5
        write(tmp_path / "set" / "P1" / "a" / "SEG.nii.gz", (suv() > 5).astype(np.uint8), shifted)
        write(tmp_path / "set" / "P1" / "b" / "SEG.nii.gz", np.ones((4, 4, 4), dtype=np.uint8))
        plan = imported("autopet", tmp_path / "set", tmp_path / "cohort")
        assert [exam.masks for exam in plan.exams] == [(), ()]
        assert "up to 5 mm beside the PET's grid" in plan.problems[0]
        assert "it has shape (4, 4, 4), the PET (20, 20, 12)" in plan.problems[1]

    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
    def test_a_mask_whose_axes_are_stored_otherwise_is_on_the_grid(
        self, order: tuple[int, ...], tmp_path: Path
    ) -> None:
        path = autopet(tmp_path / "set") / "P1" / "a" / "SEG.nii.gz"
        image = nibabel.load(path)
        turned = nibabel.orientations.axcodes2ornt([("L", "P", "S")[axis] for axis in order])
        nibabel.save(image.as_reoriented(turned), path)
        plan = imported("autopet", tmp_path / "set", tmp_path / "cohort")
        assert plan.problems == ()
        assert [len(exam.masks) for exam in plan.exams] == [1, 1]

    def test_a_text_without_mask_and_the_reverse_are_told(self, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        source = table(tmp_path / "set")
        frame = pl.read_csv(source).with_columns(
            M=pl.when(pl.col("Scan") == "E1").then(None).otherwise(pl.col("M")),
            Words=pl.when(pl.col("Scan") == "E2").then(None).otherwise(pl.col("Words")),
        )
        frame.write_csv(source)
        plan = imported("table", source, tmp_path / "cohort")
        assert list(plan.problems) == [
            "row 1, exam E1: a text without a mask, put into the report",
            "row 2, exam E2: a mask without a text",
        ]
        assert [exam.findings for exam in plan.exams] == ["Node with SUV max of 9.0 (slice 6).", None]
        assert len(plan.exams) == 2

    def test_names_left_to_fill_and_columns_that_are_not_there_are_told(self, tmp_path: Path) -> None:
        with pytest.raises(ImporterError, match=r"columns\.ct, columns\.exam"):
            read_mapping("table")
        (tmp_path / "m.toml").write_text('[columns]\nexam = "Scan"\npet = "PET"\n')
        pl.DataFrame({"Scan": ["E1"], "image": ["x"]}).write_csv(tmp_path / "set.csv")
        with pytest.raises(ImporterError, match=r"expected columns pet = 'PET' .* got Scan, image"):
            plan_import("table", tmp_path / "set.csv", read_mapping("table", tmp_path / "m.toml"))

    @pytest.mark.parametrize(("text", "words"), [("x = 1", "Extra inputs"), ("a = ", "expected TOML")])
    def test_a_wrong_mapping_is_told(self, text: str, words: str, tmp_path: Path) -> None:
        (tmp_path / "m.toml").write_text(text)
        with pytest.raises(ImporterError, match=words):
            read_mapping("bids", tmp_path / "m.toml")

    def test_an_id_that_leads_out_of_the_cohort_or_comes_twice_is_left_out(self, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        source = table(tmp_path / "set")
        frame = pl.read_csv(source)
        rows = pl.concat([frame.with_columns(Scan=pl.lit(name)) for name in ("../../out", ".", "a" * 300, "E9")])
        rows.write_csv(source)
        plan = imported("table", source, tmp_path / "cohort")
        assert [exam.exam_id for exam in plan.exams] == ["E9"]
        assert sum("is no name of a folder" in problem for problem in plan.problems) == 3
        assert not (tmp_path / "out").exists()

    def test_a_target_inside_the_set_is_refused(self, tmp_path: Path) -> None:
        autopet(tmp_path / "set")
        with pytest.raises(ImporterError, match="outside of the data set"):
            imported("autopet", tmp_path / "set", tmp_path / "set" / "cohort")

    def test_a_folder_with_other_files_is_not_written_into(self, tmp_path: Path) -> None:
        autopet(tmp_path / "set")
        (tmp_path / "cohort").mkdir()
        (tmp_path / "cohort" / "mine.txt").write_text("x")
        with pytest.raises(ImporterError, match="with other files"):
            imported("autopet", tmp_path / "set", tmp_path / "cohort")

    def test_activity_without_a_weight_is_refused_with_what_is_missing(self, tmp_path: Path) -> None:
        (bids(tmp_path / "set") / "participants.tsv").write_text("participant_id\tsex\nsub-01\tF\n")
        plan = imported("bids", tmp_path / "set", tmp_path / "cohort")
        assert any("participants.tsv has no column weight" in problem for problem in plan.problems)
        with pytest.raises(
            ExamError, match=r"is in Bq/mL by its sidecar, not SUV, and the sidecar lacks PatientWeight:"
        ):
            read_exam(tmp_path / "cohort" / "exams" / "sub-01_ses-1", "sub-01_ses-1")


class TestNnunetVariants:
    @pytest.mark.parametrize(
        "about",
        [
            {"modality": {"0": "CT", "1": "PET"}, "labels": {"0": "background", "1": "lesion"}},
            {"channel_names": {"CT": 0, "FDG-PET (SUV)": 1}},
            {"channel_names": {"0": "CTres", "1": "adapted SUV"}},
            {"channel_names": {"0": "CT", "1": "noNorm"}},
        ],
    )
    def test_channels_of_both_versions_and_of_longer_names_are_known(self, about, tmp_path: Path) -> None:
        (nnunet(tmp_path / "set") / "dataset.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(about).encode())
        plan = imported("nnunet", tmp_path / "set", tmp_path / "cohort")
        assert plan.problems == ()
        assert {(exam.pet.name[-11:], exam.ct and exam.ct.name[-11:]) for exam in plan.exams} == {
            ("0001.nii.gz", "0000.nii.gz")
        }

    def test_a_channel_that_is_neither_is_told(self, tmp_path: Path) -> None:
        about = {"channel_names": {"0": "CT", "1": "PET", "2": "T2"}}
        (nnunet(tmp_path / "set") / "dataset.json").write_text(json.dumps(about))
        assert "'T2' (0002)" in imported("nnunet", tmp_path / "set", tmp_path / "cohort").problems[0]

    def test_what_is_ignored_is_no_lesion(self, tmp_path: Path) -> None:
        about = {"channel_names": {"0": "CT", "1": "PET"}, "labels": {"background": 0, "lesion": [1, 3], "ignore": 2}}
        (nnunet(tmp_path / "set") / "dataset.json").write_text(json.dumps(about))
        plan = imported("nnunet", tmp_path / "set", tmp_path / "cohort")
        assert {tuple(mask.label for mask in exam.masks) for exam in plan.exams} == {(1, 3)}

    def test_of_two_files_of_one_name_the_first_is_taken_and_the_other_told(self, tmp_path: Path) -> None:
        images(nnunet(tmp_path / "set") / "imagesTr" / "fdg_p1_2020_0001.nii")
        plan = imported("nnunet", tmp_path / "set", tmp_path / "cohort")
        assert plan.problems == ("imagesTr/fdg_p1_2020_0001.nii: left out, fdg_p1_2020_0001.nii.gz is there too",)
        assert plan.exams[0].pet.name == "fdg_p1_2020_0001.nii.gz"

    def test_images_without_a_channel_are_told(self, tmp_path: Path) -> None:
        images(nnunet(tmp_path / "set") / "imagesTr" / "case.nii.gz")
        assert imported("nnunet", tmp_path / "set", tmp_path / "cohort").problems == (
            "imagesTr: 1 images without a channel (_0000) left out: case.nii.gz",
        )

    def test_the_folder_above_says_what_lies_there(self, tmp_path: Path) -> None:
        nnunet(tmp_path / "raw" / "Dataset001_X")
        with pytest.raises(ImporterError, match=r"got Dataset001_X/: name the folder of the data set"):
            imported("nnunet", tmp_path / "raw", tmp_path / "cohort")

    def test_labels_whose_names_say_lesion_are_taken_and_the_others_told(self, tmp_path: Path) -> None:
        labels = {"background": 0, "liver": 1, "primary tumor": 2, "lymph node": 3}
        about = {"channel_names": {"0": "CT", "1": "PET"}, "labels": labels}
        (nnunet(tmp_path / "set") / "dataset.json").write_text(json.dumps(about))
        plan = imported("nnunet", tmp_path / "set", tmp_path / "cohort")
        assert {tuple(mask.label for mask in exam.masks) for exam in plan.exams} == {(2, 3)}
        assert plan.problems == ("labels that are no lesions by their names, left out: 'liver' (1)",)

    def test_files_that_dataset_json_lists_may_lie_anywhere(self, tmp_path: Path) -> None:
        root = nnunet(tmp_path / "set")
        (root / "imagesTr").rename(root / "elsewhere")
        case = "fdg_p1_2020"
        files = [f"elsewhere/{case}_{n}.nii.gz" for n in ("0000", "0001")]
        listed = {case: {"images": files, "label": f"labelsTr/{case}.nii.gz"}}
        about = {"channel_names": {"0": "CT", "1": "PET"}, "dataset": listed}
        (root / "dataset.json").write_text(json.dumps(about))
        plan = imported("nnunet", root, tmp_path / "cohort")
        assert [(exam.exam_id, exam.pet, len(exam.masks)) for exam in plan.exams] == [(case, root / files[1], 1)]
        assert plan.problems == ("label map psma_p2_2021: no images in imagesTr",)

    def test_a_set_without_label_maps_and_files_of_other_formats_are_told(self, tmp_path: Path) -> None:
        root = nnunet(tmp_path / "set")
        (root / "imagesTr" / "x_0000.mhd").write_text("x")
        (root / "labelsTr").rename(root / "labels")
        assert imported("nnunet", root, tmp_path / "cohort").problems == (
            "imagesTr: 1 files of formats that are not read: x_0000.mhd",
            "labelsTr: no label maps, the 2 cases of imagesTr are imported without",
        )


class TestAutopetVariants:
    def test_folders_that_are_links_are_followed_once(self, tmp_path: Path) -> None:
        autopet(tmp_path / "real")
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "A").symlink_to(tmp_path / "real" / "P1")
        (tmp_path / "set" / "B").symlink_to(tmp_path / "real" / "P1")
        (tmp_path / "real" / "P1" / "round").symlink_to(tmp_path / "set")
        plan = imported("autopet", tmp_path / "set", tmp_path / "cohort")
        assert [exam.exam_id for exam in plan.exams] == ["A-a", "A-b"]

    def test_links_to_files_that_are_not_there_are_told(self, tmp_path: Path) -> None:
        folder = autopet(tmp_path / "set") / "P1"
        for path in (folder / "a" / "SUV.nii.gz", folder / "b" / "SEG.nii.gz", folder / "b" / "CTres.nii.gz"):
            path.unlink()
            path.symlink_to("../.git/annex/none")
        plan = imported("autopet", tmp_path / "set", tmp_path / "cohort")
        assert [(exam.exam_id, exam.ct, exam.masks) for exam in plan.exams] == [("P1-b", None, ())]
        assert [problem.split(" is a link")[0] for problem in plan.problems] == [
            "exam P1-a: left out, its PET SUV.nii.gz",
            "exam P1-b: given mask left out: SEG.nii.gz",
            "exam P1-b: imported without its CT: CTres.nii.gz",
        ]

    def test_a_pet_in_activity_is_not_taken_for_suv(self, tmp_path: Path) -> None:
        folder = autopet(tmp_path / "set") / "P1" / "a"
        (folder / "SUV.nii.gz").unlink()
        images(folder / "PET.nii.gz", factor=ACTIVITY_OF_SUV_1)
        plan = imported("autopet", tmp_path / "set", tmp_path / "cohort")
        assert [exam.is_suv for exam in plan.exams] == [False, True]
        with pytest.raises(ExamError, match="holds activity"):
            read_exam(tmp_path / "cohort" / "exams" / "P1-a", "P1-a")


class TestBidsVariants:
    def test_each_run_has_its_own_mask(self, tmp_path: Path) -> None:
        folder = bids(tmp_path / "set") / "sub-01" / "ses-1" / "pet"
        for name in ("pet.nii.gz", "mask.nii.gz"):
            path = folder / f"sub-01_ses-1_{name}"
            path.rename(folder / f"sub-01_ses-1_run-1_{name}")
            images(folder / f"sub-01_ses-1_run-2_{name}")
        plan = imported("bids", tmp_path / "set", tmp_path / "cohort")
        runs = [(exam.exam_id, [mask.path.name for mask in exam.masks]) for exam in plan.exams[:2]]
        assert runs == [
            ("sub-01_ses-1_run-1", ["sub-01_ses-1_run-1_mask.nii.gz"]),
            ("sub-01_ses-1_run-2", ["sub-01_ses-1_run-2_mask.nii.gz"]),
        ]

    def test_masks_of_lesions_below_derivatives_are_taken_and_images_there_are_no_exams(self, tmp_path: Path) -> None:
        root = bids(tmp_path / "set")
        made = root / "derivatives" / "drawn" / "sub-01" / "ses-1" / "pet"
        images(made / "sub-01_ses-1_desc-preproc_pet.nii.gz", None, made / "sub-01_ses-1_label-lesion_mask.nii.gz")
        images(made / "sub-01_ses-1_desc-brain_mask.nii.gz")
        plan = imported("bids", root, tmp_path / "cohort")
        assert [exam.exam_id for exam in plan.exams] == ["sub-01_ses-1", "sub-02_ses-1"]
        assert sorted(mask.path.name for mask in plan.exams[0].masks) == [
            "sub-01_ses-1_label-lesion_mask.nii.gz",
            "sub-01_ses-1_mask.nii.gz",
        ]
        assert "sub-01_ses-1_desc-brain_mask.nii.gz left out" in plan.problems[0]

    @pytest.mark.parametrize(
        ("text", "encoding", "about"),
        [
            ("participant_id\tWeight (kg)\n01\t70,0\n02\t70\n", "utf-16", None),
            ("participant_id\tname\tBodyWeight\r\nsub-01\tJos\u00e9\t70\r\nsub-02\tB\t70\r\n", "latin-1", None),
            ("participant_id\tweight\nsub-01\t70000\nsub-02\t70000\n", "utf-8-sig", {"weight": {"Units": "g"}}),
        ],
    )
    def test_participants_in_odd_encodings_and_units(self, text, encoding, about, tmp_path: Path) -> None:
        root = bids(tmp_path / "set")
        (root / "participants.tsv").write_bytes(text.encode(encoding))
        (root / "participants.json").write_text(json.dumps(about))
        plan = imported("bids", root, tmp_path / "cohort")
        assert plan.problems == ()
        assert [(exam.sidecar or {})["PatientWeight"] for exam in plan.exams] == [70.0, 70.0]

    def test_the_weight_of_a_session_goes_before_that_of_the_participant(self, tmp_path: Path) -> None:
        root = bids(tmp_path / "set")
        (root / "sub-01" / "sub-01_sessions.tsv").write_text("session_id\tweight\nses-1\t64\nses-2\t60\n")
        (root / "sub-02" / "sub-02_sessions.tsv").write_text("session_id\tpathology\nses-1\tn/a\n")
        plan = imported("bids", root, tmp_path / "cohort")
        assert plan.problems == ()
        assert [(exam.sidecar or {})["PatientWeight"] for exam in plan.exams] == [64.0, 70.0]

    def test_a_json_file_with_a_byte_order_mark_is_read(self, tmp_path: Path) -> None:
        path = bids(tmp_path / "set") / "pet.json"
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        assert imported("bids", tmp_path / "set", tmp_path / "cohort").problems == ()

    def test_of_a_dseg_with_names_those_that_say_lesion_are_taken(self, tmp_path: Path) -> None:
        folder = bids(tmp_path / "set") / "sub-01" / "ses-1" / "pet"
        (folder / "sub-01_ses-1_mask.nii.gz").rename(folder / "sub-01_ses-1_dseg.nii.gz")
        (folder / "sub-01_ses-1_dseg.tsv").write_text("index\tname\n1\tlesion\n2\tliver\n")
        plan = imported("bids", tmp_path / "set", tmp_path / "cohort")
        assert [(mask.lesions, mask.label) for mask in plan.exams[0].masks] == [("labels", 1)]
        assert "that are no lesions, left out: 'liver' (2)" in plan.problems[0]

    def test_a_unit_that_is_none_of_mass_is_told_and_its_weights_left_out(self, tmp_path: Path) -> None:
        root = bids(tmp_path / "set")
        (root / "participants.json").write_text(json.dumps({"weight": {"Units": "stone"}}))
        plan = imported("bids", root, tmp_path / "cohort")
        assert "the unit of weight is none of kg" in plan.problems[0]
        assert ["PatientWeight" in (exam.sidecar or {}) for exam in plan.exams] == [False, False]


class TestTableVariants:
    @pytest.mark.parametrize(
        ("separator", "encoding"), [(";", "utf-8-sig"), ("\t", "utf-16"), (",", "latin-1"), ("|", "utf-8")]
    )
    def test_separators_and_encodings_are_known(self, separator, encoding, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        source = table(tmp_path / "set")
        frame = pl.read_csv(source).with_columns(
            Words=pl.lit("N\u0153ud p\u00e9" if encoding != "latin-1" else "p\u00e9")
        )
        source.write_bytes(frame.write_csv(separator=separator).encode(encoding))
        plan = imported("table", source, tmp_path / "cohort")
        assert [exam.masks[0].text for exam in plan.exams] == frame["Words"].to_list()

    def test_one_column_may_be_exam_and_patient_and_words_for_nothing_are_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        source = table(tmp_path / "set")
        pl.read_csv(source).with_columns(C=pl.lit("NaN"), M=pl.lit("x" * 400)).write_csv(source)
        columns = 'exam = "Scan"\npatient = "Scan"\npet = "P"\nct = "C"\nmask = "M"\n'
        (tmp_path / "set" / "mapping.toml").write_text(f"[columns]\n{columns}")
        plan = imported("table", source, tmp_path / "cohort")
        assert [(exam.patient_id, exam.ct, exam.masks) for exam in plan.exams] == [("E1", None, ()), ("E2", None, ())]
        assert [problem.split(", ")[1] for problem in plan.problems] == [
            "exam E1: its mask is not there",
            "exam E2: its mask is not there",
        ]

    def test_a_workbook_and_a_parquet_file_are_tables(self, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        source = table(tmp_path / "set")
        pl.read_csv(source).write_parquet(source.with_suffix(".parquet"))
        assert len(imported("table", source.with_suffix(".parquet"), tmp_path / "cohort").exams) == 2

    def test_names_of_columns_may_differ_in_case_blanks_and_composed_letters(self, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        source, mapping = table(tmp_path / "set"), tmp_path / "set" / "mapping.toml"
        pl.read_csv(source).rename({"Scan": " SCAN", "Words": "Wo\u0308rter"}).write_csv(source)
        mapping.write_text(mapping.read_text().replace("Words", "W\u00f6rter"))
        assert len(imported("table", source, tmp_path / "cohort").exams) == 2

    def test_paths_are_found_whichever_way_they_are_written(self, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        source = table(tmp_path / "set")
        (tmp_path / "set" / "img").rename(tmp_path / "set" / "B\u00fcro 1")
        pl.read_csv(source).with_columns(
            pl.col("P").str.replace("img", "Bu\u0308ro 1"),
            pl.col("C", "M").str.replace("img", "B\u00fcro 1").str.replace_all("/", "\\", literal=True),
        ).write_csv(source)
        plan = imported("table", source, tmp_path / "cohort")
        assert plan.problems == ()
        assert [(exam.ct is not None, len(exam.masks)) for exam in plan.exams] == [(True, 1)] * 2

    @pytest.mark.parametrize(
        ("label", "number"), [("2", 2), ("2.0", 2), ("2,00", 2), ("+2", 2), ("0", None), ("1,5", None), ("x", None)]
    )
    def test_labels_are_whole_numbers_however_they_are_written(self, label, number, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        source = table(tmp_path / "set")
        pl.read_csv(source).with_columns(L=pl.lit(label)).write_csv(source)
        with (tmp_path / "set" / "mapping.toml").open("a") as file:
            file.write('label = "L"\n')
        plan = imported("table", source, tmp_path / "cohort")
        assert [mask.label for exam in plan.exams for mask in exam.masks] == [number] * (2 if number else 0)

    def test_numbers_and_days_of_parquet_are_ids_and_dates(self, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        source = table(tmp_path / "set").with_suffix(".parquet")
        days = pl.Series(["2020-01-02", None]).str.to_datetime()
        frame = pl.read_csv(source.with_suffix(".csv")).with_columns(Scan=pl.Series([1.0, 2.0]), Day=days)
        frame.write_parquet(source)
        with (tmp_path / "set" / "mapping.toml").open("a") as file:
            file.write('study_date = "Day"\n')
        plan = imported("table", source, tmp_path / "cohort")
        assert [(exam.exam_id, exam.study_date) for exam in plan.exams] == [("1", "2020-01-02"), ("2", None)]

    def test_images_that_are_packed_into_the_table_are_told(self, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        source = table(tmp_path / "set").with_suffix(".parquet")
        frame = pl.read_csv(source.with_suffix(".csv")).with_columns(P=pl.struct(bytes=pl.lit(b"x"), path=pl.lit("a")))
        frame.write_parquet(source)
        with pytest.raises(ImporterError, match="expected text or numbers in the columns P"):
            imported("table", source, tmp_path / "cohort")

    def test_the_pet_of_an_exam_may_stand_in_any_of_its_rows(self, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        source = table(tmp_path / "set")
        frame = pl.read_csv(source).filter(pl.col("Scan") == "E1")
        pl.concat([frame.with_columns(P=pl.lit(None, pl.String)), frame.with_columns(Words=pl.lit("b"))]).write_csv(
            source
        )
        (exam,) = imported("table", source, tmp_path / "cohort").exams
        assert [mask.text for mask in exam.masks] == ["Node with SUV max of 9.0 (slice 6).", "b"]


class TestSeveralSetsInOneFolder:
    def test_exams_of_the_other_set_stay_and_each_can_be_imported_again(self, tmp_path: Path) -> None:
        (tmp_path / "t").mkdir()
        for layout, root in (("autopet", autopet(tmp_path / "a")), ("table", table(tmp_path / "t"))):
            imported(layout, root, tmp_path / "cohort")
        (tmp_path / "t" / "mapping.toml").rename(tmp_path / "t" / "columns.toml")
        before = {p.name: p.read_bytes() for p in (tmp_path / "cohort").iterdir() if p.is_file()}
        assert [e.exam_id for e in scan_cohort(tmp_path / "cohort").entries] == ["E1", "E2", "P1-a", "P1-b"]
        assert len(before["given_masks.csv"].splitlines()) == 5
        imported("autopet", tmp_path / "a", tmp_path / "cohort")
        assert {p.name: p.read_bytes() for p in (tmp_path / "cohort").iterdir() if p.is_file()} == before
        (tmp_path / "a" / "P1" / "b" / "SUV.nii.gz").unlink()
        imported("autopet", tmp_path / "a", tmp_path / "cohort")
        assert [e.exam_id for e in scan_cohort(tmp_path / "cohort").entries] == ["E1", "E2", "P1-a"]
        assert "P1-b" not in (tmp_path / "cohort" / "given_masks.csv").read_text()

    def test_an_exam_that_another_set_has_is_left_out_and_told(self, tmp_path: Path) -> None:
        plans = {name: plan_import("autopet", autopet(tmp_path / name), read_mapping("autopet")) for name in "ab"}
        assert write_cohort(plans["a"], tmp_path / "cohort", "autopet", tmp_path / "a") == ()
        told = write_cohort(plans["b"], tmp_path / "cohort", "autopet", tmp_path / "b")
        assert told == tuple(f"exam {e}: left out, {tmp_path / 'a'} has it too" for e in ("P1-a", "P1-b"))
        link = tmp_path / "cohort" / "exams" / "P1-a" / "SUV.nii.gz"
        assert link.readlink().is_relative_to(tmp_path / "a")
        # Once the first set is moved away, the second has the exams.
        (tmp_path / "a").rename(tmp_path / "away")
        assert write_cohort(plans["b"], tmp_path / "cohort", "autopet", tmp_path / "b") == ()
        assert link.readlink().is_relative_to(tmp_path / "b")

    def test_a_list_of_sets_that_cannot_be_read_is_told(self, tmp_path: Path) -> None:
        plan = imported("autopet", autopet(tmp_path / "set"), tmp_path / "cohort")
        (tmp_path / "cohort" / "import.json").write_text("{")
        with pytest.raises(ImporterError, match="import the sets into a new folder"):
            write_cohort(plan, tmp_path / "cohort", "autopet", tmp_path / "set")
