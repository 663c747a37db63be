from collections import Counter

import pytest

from model.splits import SplitSettings, split_of


class TestSplitOf:
    def test_keeps_the_shares(self):
        counts = Counter(split_of(f"P{i}") for i in range(5000))
        assert counts["test"] / 5000 == pytest.approx(0.1, abs=0.02)
        assert counts["val"] / 5000 == pytest.approx(0.1, abs=0.02)

    def test_a_patient_never_moves(self):
        # Written down once: a change of the rule would leak training patients into the test set.
        assert [split_of(f"P{i}") for i in (13, 20, 1)] == ["test", "val", "train"]

    def test_larger_test_share_keeps_the_test_patients(self):
        wide = SplitSettings(val=0.1, test=0.3)
        assert all(split_of(f"P{i}", wide) == "test" for i in range(500) if split_of(f"P{i}") == "test")

    def test_refuses_shares_that_leave_nothing_to_train_on(self):
        with pytest.raises(ValueError, match="shares"):
            SplitSettings(val=0.5, test=0.5)
