import threading

import pytest

from model.serving.shared_cache import SharedCache


class TestSharedCache:
    def cache(self, limit):
        return SharedCache(limit, len)

    def test_keeps_the_last_used_up_to_its_size(self):
        cache = self.cache(6)
        for key in ("a", "b", "a", "c"):
            cache.get(key, lambda key=key: key * 3)
        assert [cache.kept(key) for key in "abc"] == ["aaa", None, "ccc"]

    def test_a_value_that_is_too_large_is_given_and_not_kept(self):
        cache = self.cache(2)
        assert cache.get("a", lambda: "aaa") == "aaa"
        assert cache.kept("a") is None

    def test_threads_that_ask_at_once_share_what_one_makes(self):
        cache, made, begun, may_end = self.cache(9), [], threading.Event(), threading.Event()

        def make():
            begun.set()
            may_end.wait(10)
            made.append("aaa")
            return "aaa"

        found = []
        threads = [threading.Thread(target=lambda: found.append(cache.get("a", make))) for _ in range(4)]
        threads[0].start()
        begun.wait(10)
        for thread in threads[1:]:
            thread.start()
        may_end.set()
        for thread in threads:
            thread.join(10)
        assert (made, found) == (["aaa"], ["aaa"] * 4)

    def test_an_error_is_raised_and_the_next_call_tries_again(self):
        cache = self.cache(9)
        with pytest.raises(ZeroDivisionError):
            cache.get("a", lambda: 1 / 0)
        assert cache.get("a", lambda: "aaa") == "aaa"
