"""The device that a model is put on, checked before anything is loaded."""

import torch


class DeviceError(ValueError):
    """There is no such device; the message says what there is."""


def pick_device(name: str = "auto") -> torch.device:
    """The named device (cpu, cuda, cuda:1, ...); `auto` is the first GPU where there is one.

    Raises:
        DeviceError: the name is none of torch's, or the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # The count makes no context on a GPU, which an array would.
    gpus = [f"cuda:{n}" for n in range(torch.cuda.device_count())]
    try:
        device = torch.device(name)
        if device.type == "cuda":
            is_there = (device.index or 0) < len(gpus)
        else:
            is_there = torch.empty(0, device=device).device.type != "meta"
    # A build without a backend has no implementation, or fails an assertion.
    except (RuntimeError, AssertionError, NotImplementedError, ImportError):
        is_there = False
    if not is_there:
        there = ", ".join(["cpu", *gpus])
        raise DeviceError(f"expected a device that is there ({there}), got {name!r}: name one of them")
    return device
