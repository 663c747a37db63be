import threading

import pytest
import torch

from model.inputs.threads import limited_threads, prefetched


class TestPrefetched:
    def test_gives_every_value_in_order(self):
        assert list(prefetched(range(20), lambda k: k * k)) == [k * k for k in range(20)]

    def test_loads_while_the_last_is_used(self):
        third = threading.Event()
        values = prefetched(range(10), lambda k: third.set() if k == 2 else None, ahead=2)
        next(values)
        # Loaded although only the first was asked for.
        assert third.wait(timeout=10)
        values.close()

    def test_raises_where_the_value_would_have_come(self):
        values = prefetched([2, 1, 0, 5], lambda k: 10 // k)
        assert [next(values), next(values)] == [5, 10]
        with pytest.raises(ZeroDivisionError):
            next(values)

    def test_thread_ends_with_the_iterator(self):
        before = threading.active_count()
        values = prefetched(range(1000), lambda k: k)
        next(values)
        values.close()
        assert threading.active_count() == before


class TestLimitedThreads:
    def test_puts_back_what_it_found(self):
        before = torch.get_num_threads()
        with limited_threads(before + 1):
            assert torch.get_num_threads() == before + 1
        assert torch.get_num_threads() == before

    def test_zero_changes_nothing(self):
        before = torch.get_num_threads()
        with limited_threads(0):
            assert torch.get_num_threads() == before
