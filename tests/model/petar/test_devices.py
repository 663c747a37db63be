import pytest
import torch

from model.petar.devices import DeviceError, pick_device


class TestPickDevice:
    def test_takes_what_is_there(self) -> None:
        assert pick_device("cpu") == torch.device("cpu")
        assert pick_device().type in ("cpu", "cuda")

    @pytest.mark.parametrize("name", ["", "gpu", "cuda:99", "cpu:x", "meta", "hpu"])
    def test_names_what_is_there_where_the_named_one_is_not(self, name: str) -> None:
        with pytest.raises(DeviceError, match=r"expected a device that is there \(cpu"):
            pick_device(name)
