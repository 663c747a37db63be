import duckdb

from assets.summary import example_texts


class TestExampleTexts:
    def test_lesions_without_a_report_are_left_out_and_missing_texts_are_told(self):
        con = duckdb.connect()
        con.execute(
            "create table predictions as select * from (values "
            "('e:1', 'test', 'petar tiny', 'Left node.', 'Left hilar node.', null),"
            "('e:2', 'test', 'petar tiny', null, 'Right node.', null),"
            "('e:3', 'test', 'petar tiny', 'Liver lesion.', null, 'no answer in time'),"
            "('e:4', 'train', 'petar tiny', 'Bone lesion.', 'Bone lesion.', null)"
            ") as t(finding_id, split, model, reference, text_measured, error)"
        )
        assert example_texts(con) == [
            "texts on held-out lesions (2 of 2):",
            "  e:1",
            "    report  Left node.",
            "    model   Left hilar node.",
            "  e:3",
            "    report  Liver lesion.",
            "    model   no text: no answer in time",
        ]
