"""The queue in front of a model: questions that wait are answered together, and nothing waits for ever."""

import threading

import pytest

from model.serving.batching import Batcher, BatchLimits, QueueFullError


class Model:
    """Answers with the question doubled; the first batch waits until it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.began, self.go = threading.Event(), threading.Event()

    def answer(self, questions):
        self.batches.append(list(questions))
        self.began.set()
        assert self.go.wait(30)
        if 13 in questions:
            raise ValueError("unlucky")
        return [2 * question for question in questions]


@pytest.fixture
def model():
    made = Model()
    yield made
    made.go.set()


class TestBatcher:
    def test_what_waits_is_one_batch(self, model):
        batcher = Batcher(model.answer, BatchLimits(batch_size=4))
        first = batcher.ask(0)
        assert model.began.wait(30)
        rest = [batcher.ask(n) for n in range(1, 7)]
        model.go.set()
        assert [future.result(30) for future in (first, *rest)] == [0, 2, 4, 6, 8, 10, 12]
        assert model.batches == [[0], [1, 2, 3, 4], [5, 6]]

    def test_waits_for_questions_that_are_coming(self, model):
        model.go.set()
        batcher = Batcher(model.answer, BatchLimits(gather_s=30))
        with batcher.coming():
            first = batcher.ask(1)
            second = batcher.ask(2)
        assert (first.result(30), second.result(30)) == (2, 4)
        assert model.batches == [[1, 2]]

    def test_a_full_queue_is_told(self, model):
        batcher = Batcher(model.answer, BatchLimits(waiting=1))
        batcher.ask(0)
        assert model.began.wait(30)
        batcher.ask(1)
        with pytest.raises(QueueFullError, match="1 questions wait"):
            batcher.ask(2)

    def test_what_is_cancelled_is_not_computed(self, model):
        batcher = Batcher(model.answer)
        batcher.ask(0)
        assert model.began.wait(30)
        cancelled, kept = batcher.ask(1), batcher.ask(2)
        assert cancelled.cancel()
        model.go.set()
        assert kept.result(30) == 4
        assert model.batches == [[0], [2]]

    def test_an_error_is_that_of_its_batch_alone(self, model):
        model.go.set()
        batcher = Batcher(model.answer)
        with pytest.raises(ValueError, match="unlucky"):
            batcher.ask(13).result(30)
        assert batcher.ask(1).result(30) == 2
