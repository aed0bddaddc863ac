"""Where to compute."""

from __future__ import annotations

import torch

from phylocli.core.errors import UsageError


def choose_device(name: str) -> torch.device:
    """Return the device that a name stands for; `auto` takes CUDA, then MPS, then the CPU.

    Raises:
        UsageError: no such device, or it is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"the device {name!r} cannot be used",
            why=str(error).split("\n", 1)[0],
            fix="choose auto, cpu, cuda or mps; 'phylocli doctor' lists what there is",
        ) from error
    return device
