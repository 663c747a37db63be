"""The pool of worker processes: values, errors, processes that die, a request to stop."""

import logging
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from pipelines.curation.engines.worker_pool import Task, WorkerDiedError, WorkerPool
from pipelines.curation.stages.stopping import forget_request, request_stop
from tests.support import worker_tasks

LOG = logging.getLogger("tests.worker_pool")


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(2, (), LOG) as pool:
        yield pool


def test_gives_each_value_with_the_key_of_its_task(pool: WorkerPool) -> None:
    tasks = [Task(f"task {n}", partial(worker_tasks.double, n), n) for n in range(5)]
    assert {f.task.key: f.value for f in pool.run(tasks)} == {n: 2 * n for n in range(5)}


def test_works_in_as_many_processes_as_it_has(pool: WorkerPool) -> None:
    found = {f.value for f in pool.run([Task("which", worker_tasks.process_of)] * 4)}
    assert len(found) == 2


@pytest.mark.parametrize(("concurrency", "each"), [(16, 8), (1, 1)])
def test_workers_share_the_limit_of_questions_to_a_server(pool: WorkerPool, concurrency: int, each: int) -> None:
    (finished,) = pool.run([Task("limit", partial(worker_tasks.in_flight, concurrency))])
    assert finished.value == each


def test_passes_on_what_a_task_logs(pool: WorkerPool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, LOG.name):
        list(pool.run([Task("double", partial(worker_tasks.double, 3))]))
    assert "doubled 3" in caplog.text


def test_gives_the_error_of_a_task_and_goes_on(pool: WorkerPool) -> None:
    tasks = [Task("bad", worker_tasks.fail), Task("good", partial(worker_tasks.double, 1))]
    found = {f.task.name: f for f in pool.run(tasks)}
    assert found["good"].value == 2
    assert "no luck" in str(found["bad"].error)


def test_tries_a_task_again_whose_process_died(pool: WorkerPool, tmp_path: object) -> None:
    (finished,) = pool.run([Task("shard 07", partial(worker_tasks.die_once, str(tmp_path)))])
    assert finished.value == "done"


def test_names_the_task_of_which_three_processes_died_and_does_the_others(
    pool: WorkerPool, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = [Task("shard 07", worker_tasks.die), Task("shard 08", partial(worker_tasks.double, 4))]
    with caplog.at_level(logging.INFO, LOG.name):
        found = {f.task.name: f for f in pool.run(tasks)}
    assert found["shard 08"].value == 8
    error = found["shard 07"].error
    assert isinstance(error, WorkerDiedError)
    assert "shard 07: its process died (signal 9) at exam E7 of `lesions`, shard 07, the last of 3 processes" in str(
        error
    )
    assert caplog.text.count("it is tried again") == 2


def test_a_stop_reaches_the_tasks_that_have_begun_and_no_other_begins() -> None:
    tasks = [Task(f"task {n}", worker_tasks.wait_for_stop, n) for n in range(3)]
    timer = threading.Timer(0.5, request_stop)
    try:
        with WorkerPool(2, (), LOG) as own:
            timer.start()
            found = [(f.task.key, f.value) for f in own.run(tasks)]
    finally:
        timer.cancel()
        forget_request()
    assert sorted(found) == [(0, "stopped"), (1, "stopped")]
