import json

import pytest

from pipelines.reports.llm.answers import AnswerCache
from pipelines.reports.llm.llm_reader import LlmReader
from pipelines.reports.llm.offline import BatchError, Taken, take_batch, write_batch
from pipelines.reports.llm.prompting import load_prompt
from pipelines.reports.llm.servers import ServerSettings
from pipelines.reports.passages import passages_of
from pipelines.reports.sentences import split_report
from tests.support.stub_server import right_answer


@pytest.fixture
def reader(tmp_path):
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        # Nobody listens there: what is read comes from the batch.
        server = ServerSettings("m", "http://127.0.0.1:9/v1", max_retries=0, give_up_after=1)
        yield LlmReader("llm", server, load_prompt("passage-v1"), cache)


def passages(n=3):
    texts = [f"Left lung nodule with SUV max of {3 + i / 10:.1f} (slice {80 + i})." for i in range(n)]
    return [p for text in [*texts, texts[0]] for p in passages_of(split_report("E1", text))]


def answered(path, finish="stop", status=200):
    """What `vllm run-batch` makes of a file of questions."""
    lines = []
    for line in path.read_text().splitlines():
        question = json.loads(line)
        content = right_answer(question["body"]["messages"][-1]["content"])
        choice = {"message": {"role": "assistant", "content": content}, "finish_reason": finish}
        body = {"choices": [choice]} if status == 200 else None
        lines.append({"custom_id": question["custom_id"], "response": {"status_code": status, "body": body}})
    out = path.with_name("out.jsonl")
    out.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return out


class TestBatch:
    def test_what_is_taken_back_is_read_without_a_server(self, reader, tmp_path):
        questions = tmp_path / "in.jsonl"
        assert write_batch(reader, passages(), reader.cache, questions) == 3
        assert take_batch(reader, passages(), reader.cache, answered(questions)) == Taken(kept=3)
        readings = reader.read(passages())
        assert [m.slice for r in readings for m in r.mentions] == [80, 81, 82, 80]

    def test_only_what_has_no_answer_is_written(self, reader, tmp_path):
        questions = tmp_path / "in.jsonl"
        write_batch(reader, passages(1), reader.cache, questions)
        take_batch(reader, passages(1), reader.cache, answered(questions))
        assert write_batch(reader, passages(3), reader.cache, questions) == 2

    @pytest.mark.parametrize(
        ("how", "taken"), [({"finish": "length"}, Taken(cut=2)), ({"status": 500}, Taken(failed=2))]
    )
    def test_cut_and_failed_answers_are_left_to_the_next_run(self, reader, tmp_path, how, taken):
        questions = tmp_path / "in.jsonl"
        write_batch(reader, passages(2), reader.cache, questions)
        assert take_batch(reader, passages(2), reader.cache, answered(questions, **how)) == taken
        assert len(reader.cache) == 0

    def test_answers_to_other_passages_are_counted(self, reader, tmp_path):
        questions = tmp_path / "in.jsonl"
        write_batch(reader, passages(3), reader.cache, questions)
        assert take_batch(reader, passages(1), reader.cache, answered(questions)) == Taken(kept=1, unknown=2)

    def test_another_file_is_refused_by_name_and_line(self, reader, tmp_path):
        path = tmp_path / "other.jsonl"
        path.write_text("[1]\n")
        with pytest.raises(BatchError, match=r"line 1 of .*other\.jsonl"):
            take_batch(reader, passages(1), reader.cache, path)
