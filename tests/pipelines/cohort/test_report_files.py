import base64
import json
import unicodedata

import polars as pl
import pytest

from pipelines.cohort.report_files import COLUMNS, ReportsError, find_reports, read_reports


@pytest.fixture
def write(tmp_path):
    def write(name, data):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    return write


class TestCsv:
    def test_reads_all_columns(self, write):
        frame = read_reports(
            write(
                "r.csv",
                'exam_id,patient_id,findings,impression,study_date,tracer\nE1,P1,"A, b.\nC.",I,2020-01-02,FDG\n',
            )
        )
        assert frame.rows() == [("E1", "P1", "A, b.\nC.", "I", "2020-01-02", "FDG", None, None)]
        assert tuple(frame.columns) == COLUMNS

    def test_byte_order_mark_and_semicolons(self, write):
        frame = read_reports(write("r.csv", "\ufeffexam_id;patient_id;findings\nE1;P1;Text, with comma.\n"))
        assert frame["findings"].to_list() == ["Text, with comma."]

    @pytest.mark.parametrize(("encoding", "name"), [("cp1252", "Windows-1252"), ("utf-16", "UTF-16")])
    def test_other_encodings_are_read_and_named(self, write, encoding, name):
        frame = read_reports(write("r.csv", "exam_id,patient_id,findings\nE1,P1,Größe 4 cm.\n".encode(encoding)))
        assert frame["findings"].item() == "Größe 4 cm."
        assert name in frame["problem"].item()

    def test_duplicate_exam_keeps_the_first_and_says_so(self, write):
        frame = read_reports(write("r.csv", "exam_id,patient_id,findings\nE1,P1,One.\nE2,P2,Two.\nE1,P1,Other.\n"))
        assert frame["findings"].to_list() == ["One.", "Two."]
        assert "2 times with different reports" in frame["problem"][0]

    def test_empty_report_is_a_row_with_its_problem(self, write):
        frame = read_reports(write("r.csv", "exam_id,patient_id,findings\nE1,P1,\nE2,P2,Two.\n"))
        assert frame["findings"].to_list() == [None, "Two."]
        assert "empty report" in frame["problem"][0]
        assert frame["problem"][1] is None

    def test_a_report_that_is_a_whole_file_is_named_and_not_read(self, write):
        frame = read_reports(write("r.csv", "exam_id,patient_id,findings\nE1,P1," + "word " * 11_000 + "\nE2,P2,A.\n"))
        assert frame["findings"].to_list() == [None, "A."]
        assert "very long report: 55,000 characters" in frame["problem"][0]

    def test_row_with_too_few_fields_is_named(self, write):
        frame = read_reports(write("r.csv", "exam_id,patient_id,findings\nE1,P1\nE2,P2,Two.\n"))
        assert "row 2 has 2 fields instead of 3" in frame["problem"][0]

    def test_missing_column_names_it(self, write):
        with pytest.raises(ReportsError, match="add findings"):
            read_reports(write("r.csv", "exam_id,patient_id\nE1,P1\n"))

    def test_binary_file_is_refused(self, write):
        with pytest.raises(ReportsError, match="binary"):
            read_reports(write("r.csv", b"PK\x03\x04\x00\x00\x00"))

    def test_ids_are_composed_and_without_blanks(self, write):
        text = f'exam_id,patient_id,findings\n{unicodedata.normalize("NFD", "Größe")}\u00a0," P1\u200b",A.\n'
        assert read_reports(write("r.csv", text)).row(0)[:2] == ("Größe", "P1")

    def test_the_column_that_is_filled_counts(self, write):
        frame = read_reports(write("r.csv", "exam_id,findings,report\nE1,,Text.\nE2,Other.,\n"))
        assert frame["findings"].to_list() == ["Text.", "Other."]

    def test_the_dates_of_a_column_tell_whether_days_come_first(self, write):
        rows = "E1,03/04/2021,A.\nE2,25/12/2020,B.\n"
        frame = read_reports(write("r.csv", f"exam_id,study_date,findings\n{rows}"))
        assert frame["study_date"].to_list() == ["2021-04-03", "2020-12-25"]
        frame = read_reports(write("s.csv", "exam_id,study_date,findings\nE1,03/04/2021,A.\nE2,12/25/2020,B.\n"))
        assert frame["study_date"].to_list() == ["2021-03-04", "2020-12-25"]
        assert not any("two days" in (problem or "") for problem in frame["problem"])

    def test_a_date_that_may_be_two_days_is_told(self, write):
        frame = read_reports(write("r.csv", "exam_id,study_date,findings\nE1,03/04/2021,A.\nE2,04.03.2021,B.\n"))
        assert [("two days" in (problem or "")) for problem in frame["problem"]] == [True, False]

    def test_a_second_row_of_names_is_no_exam(self, write):
        frame = read_reports(write("r.csv", "Exam ID,findings\nE1,A.\nexam_id,Findings\nE2,B.\n"))
        assert frame["exam_id"].to_list() == ["E1", "E2"]

    def test_a_first_row_that_is_a_report_is_not_repeated(self, write):
        with pytest.raises(ReportsError, match="no row of names") as caught:
            read_reports(write("r.csv", "E1,P1,Mrs. Zebrowski\nE2,P2,B.\n"))
        assert "zebrowski" not in str(caught.value).lower()

    def test_a_text_in_the_column_of_ids_is_told(self, write):
        frame = read_reports(write("r.csv", "exam_id,findings\n" + "word " * 80 + ",a\nE2,b\n"))
        assert "exam id of 399 characters" in frame["problem"][0]


class TestParquet:
    def test_ids_that_became_reals_are_whole_numbers(self, tmp_path):
        pl.DataFrame({"exam_id": [4711.0], "findings": ["A."]}).write_parquet(tmp_path / "r.parquet")
        assert read_reports(tmp_path / "r.parquet")["exam_id"].item() == "4711"

    def test_reads_numbers_as_text(self, tmp_path):
        pl.DataFrame({"exam_id": [7], "patient_id": [1], "findings": ["A."]}).write_parquet(tmp_path / "r.parquet")
        assert read_reports(tmp_path / "r.parquet").row(0)[:3] == ("7", "1", "A.")

    def test_damaged_file_is_refused(self, write):
        with pytest.raises(ReportsError, match="cannot be read"):
            read_reports(write("r.parquet", b"PAR1 no"))


class TestTextFolder:
    def test_file_is_the_exam_and_folder_the_patient(self, write, tmp_path):
        write("reports/P1/E1.txt", "One.")
        write("reports/E2.txt", "Two.")
        frame = read_reports(tmp_path / "reports")
        assert sorted(frame.select("exam_id", "patient_id", "findings").rows()) == [
            ("E1", "P1", "One."),
            ("E2", None, "Two."),
        ]

    def test_empty_folder_is_refused(self, tmp_path):
        with pytest.raises(ReportsError, match="got none"):
            read_reports(tmp_path)


def diagnostic_report(**extra):
    return {"resourceType": "DiagnosticReport", "id": "r1", "subject": {"reference": "Patient/P9"}, **extra}


class TestFhir:
    def test_presented_form(self, write):
        data = base64.b64encode(b"Left node SUV 4.2 (slice 8).").decode()
        resource = diagnostic_report(
            identifier=[{"value": "ACC1", "type": {"coding": [{"code": "ACSN"}]}}],
            presentedForm=[{"contentType": "text/plain", "data": data}],
            conclusion="Node.",
            effectiveDateTime="2020-02-03T10:00:00Z",
        )
        frame = read_reports(write("r.json", json.dumps(resource)))
        assert frame.row(0) == ("ACC1", "P9", "Left node SUV 4.2 (slice 8).", "Node.", "2020-02-03", None, None, None)

    def test_bundle_and_narrative(self, write):
        bundle = {
            "resourceType": "Bundle",
            "entry": [
                {"resource": diagnostic_report(text={"div": "<div><p>One &amp; two.</p><p>Three.</p></div>"})},
                {"resource": {"resourceType": "Patient", "id": "P9"}},
            ],
        }
        frame = read_reports(write("r.json", json.dumps(bundle)))
        assert frame["findings"].to_list() == ["One & two.\nThree."]

    def test_result_observations(self, write):
        resource = diagnostic_report(
            contained=[{"resourceType": "Observation", "id": "o", "valueString": "Node."}], result=[{"reference": "#o"}]
        )
        assert read_reports(write("r.json", json.dumps(resource)))["findings"].item() == "Node."

    @pytest.mark.parametrize(
        ("reference", "patient"),
        [
            ("Patient/P9", "P9"),
            ("Patient/P9/_history/2", "P9"),
            ("https://a.org/fhir/Patient/P9", "P9"),
            ("Patient?identifier=https://a.org/mrn|P9", "P9"),
            ("#p", "M7"),
            ("urn:uuid:0b1", "M8"),
            ("#nobody", None),
            ("urn:uuid:0b2", "0b2"),
        ],
    )
    def test_patient_by_reference(self, write, reference, patient):
        contained = {"resourceType": "Patient", "id": "p", "identifier": [{"value": "M7"}]}
        report = diagnostic_report(contained=[contained]) | {"subject": {"reference": reference}}
        beside = {"resourceType": "Patient", "id": "x", "identifier": [{"value": " "}, {"value": "M8"}]}
        entries = [{"resource": report}, {"fullUrl": "urn:uuid:0b1", "resource": beside}]
        bundle = {"resourceType": "Bundle", "entry": entries}
        assert read_reports(write("r.json", json.dumps(bundle)))["patient_id"].item() == patient

    @pytest.mark.parametrize("status", ["entered-in-error", "cancelled"])
    def test_report_that_was_taken_back_is_not_read(self, write, status):
        said = {"text": {"div": "<div>Left node SUV 4.2 (slice 8).</div>"}, "conclusion": "Node."}
        row = read_reports(write("r.json", json.dumps(diagnostic_report(status=status, **said)))).row(0, named=True)
        assert (row["findings"], row["impression"]) == (None, None)
        assert status in row["problem"]

    def test_two_reports_of_an_exam_that_differ_in_the_conclusion_alone_are_told(self, write):
        both = [diagnostic_report(conclusion=said) for said in ("Node.", "No node.")]
        assert "with different reports" in read_reports(write("r.json", json.dumps(both)))["problem"].item()

    @pytest.mark.parametrize(
        ("first", "second", "used"),
        [
            ({"status": "preliminary"}, {"status": "final"}, 1),
            ({"status": "final"}, {"status": "preliminary"}, 0),
            ({"status": "final"}, {"status": "amended"}, 1),
            ({"status": "entered-in-error"}, {"status": "partial"}, 1),
            ({"status": "final", "issued": "2026-02-01"}, {"status": "final", "issued": "2026-02-03"}, 1),
            ({"status": "final"}, {"status": "final"}, 0),
        ],
    )
    def test_of_an_exams_reports_the_latest_state_is_read(self, write, first, second, used):
        texts = ("Left node.", "Right node.")
        both = [
            diagnostic_report(text={"div": f"<div>{text}</div>"}, **state)
            for text, state in zip(texts, (first, second), strict=True)
        ]
        row = read_reports(write("r.json", json.dumps(both))).row(0, named=True)
        assert row["findings"] == texts[used]
        assert "2 times with different reports" in row["problem"]

    def test_pdf_alone_is_named(self, write):
        resource = diagnostic_report(presentedForm=[{"contentType": "application/pdf", "data": "JVBERg=="}])
        assert "application/pdf" in read_reports(write("r.json", json.dumps(resource)))["problem"].item()

    def test_other_resource_is_refused(self, write):
        with pytest.raises(ReportsError, match="DiagnosticReport"):
            read_reports(write("r.json", '{"resourceType": "Patient"}'))

    @pytest.mark.parametrize(
        "value",
        [None, True, 0, 1e308, "", "\ud800", [], [None], [[]], {}, {"value": [1]}, {"reference": {}}, [{"data": 5}]],
    )
    def test_whatever_stands_where_another_type_should_the_report_is_a_row(self, write, value):
        resource = diagnostic_report(
            identifier=[{"value": "ACC1", "type": {"coding": [{"code": "ACSN"}]}}],
            presentedForm=[{"contentType": "text/plain", "data": "QQ=="}],
            contained=[{"resourceType": "Observation", "id": "o", "valueString": "Node."}],
            result=[{"reference": "#o"}],
            text={"div": "<div>A</div>"},
            conclusion="B",
            effectivePeriod={"start": "2020"},
        )
        damaged = [{**resource, key: value, "id": key} for key in resource if key not in ("resourceType", "id")]
        frame = read_reports(
            write("r.json", json.dumps([*damaged, {**resource, "id": value}, diagnostic_report(id="other")]))
        )
        assert "other" in frame["exam_id"].to_list()

    def test_a_broken_line_of_ndjson_is_a_row_beside_the_others(self, write):
        lines = [json.dumps(diagnostic_report(id="a")), '{"resourceType": "Diag', json.dumps(diagnostic_report(id="b"))]
        frame = read_reports(write("r.ndjson", "\n".join(lines)))
        assert frame["exam_id"].to_list() == ["a", "r line 2", "b"]
        assert "no JSON" in frame["problem"][1]

    def test_a_lone_surrogate_is_a_lost_letter(self, write):
        row = read_reports(write("r.json", json.dumps(diagnostic_report(text={"div": "Node \ud800."})))).row(
            0, named=True
        )
        assert row["findings"] == "Node \ufffd."
        assert "letters were lost" in row["problem"]

    def test_markup_without_its_end_is_read_at_once(self, write):
        division = "<script>" * 50_000 + "<p" * 50_000
        frame = read_reports(write("r.json", json.dumps(diagnostic_report(text={"div": division}))))
        assert frame.height == 1

    def test_damaged_file_in_a_folder_stops_nobody(self, write, tmp_path):
        write("reports/a.json", "{broken")
        write("reports/b.txt", "Two.")
        frame = read_reports(tmp_path / "reports")
        assert frame.filter(pl.col("exam_id") == "b")["findings"].item() == "Two."
        assert "no JSON" in frame.filter(pl.col("exam_id") == "a")["problem"].item()


class TestFinding:
    def test_cohort_without_reports_gives_none(self, tmp_path):
        assert find_reports(tmp_path) is None

    def test_csv_is_found(self, write, tmp_path):
        path = write("reports.csv", "exam_id,findings\n")
        assert find_reports(tmp_path) == path

    @pytest.mark.parametrize("name", ["Reports.csv", "report.csv", "reports.tsv", "REPORTS.XLSX", "reports.Parquet"])
    def test_other_names_are_found(self, write, tmp_path, name):
        path = write(name, "exam_id,findings\n")
        assert find_reports(tmp_path) == path

    def test_the_usual_name_comes_first(self, write, tmp_path):
        for name in ("Reports.csv", "reports.xlsx", "report.csv"):
            write(name, "exam_id,findings\n")
        path = write("reports.csv", "exam_id,findings\n")
        assert find_reports(tmp_path) == path

    def test_path_that_is_not_there(self, tmp_path):
        with pytest.raises(ReportsError, match="not there"):
            read_reports(tmp_path / "none.csv")
