"""Choice of the device."""

from __future__ import annotations

import torch

from phylocli.core.errors import UsageError


def choose_device(name: str) -> torch.device:
    """Return the device with this name; `auto` selects CUDA, then MPS, then the CPU.

    Raises:
        UsageError: an unknown or unavailable device.
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
            fix="choose auto, cpu, cuda or mps; 'phylocli doctor' lists the available ones",
        ) from error
    return device
