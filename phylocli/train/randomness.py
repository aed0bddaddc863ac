"""Random state of torch in each process of a run: seeding, saving and restoring."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence

import torch

from phylocli.train.parallel.world import World, stream
from phylocli.train.saved import RandomState

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def own_random_state(seed: int, rank: int, device: torch.device) -> Iterator[None]:
    """Seed torch (dropout) for the block, differently in each process, and restore the caller's random state afterwards."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(stream(seed, 0, rank) if rank else seed)
        yield


def random_state(device: torch.device) -> RandomState:
    """Return the random state of this process: of the CPU, and of the GPU that it computes on."""
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return {"random": torch.get_rng_state(), "random_cuda": cuda}


def restore(states: Sequence[RandomState], world: World, device: torch.device, seed: int, step: int) -> None:
    """Restore this process's own of the states of all processes; without one, seed it by the step.

    Args:
        states: as `random_state` gave them, by rank.
        world: the current processes.
        device: that this process computes on.
        seed: of the run.
        step: after which they were saved.
    """
    if len(states) != world.size:
        logger.warning(
            f"the run was done by {len(states)} processes and is resumed with {world.size}: batches and gradients are "
            "the same, random numbers inside the encoder (dropout) are not"
        )
        if world.rank >= len(states):
            torch.manual_seed(stream(seed, step, world.rank))
            return
    own = states[world.rank]
    torch.set_rng_state(own["random"])
    if own["random_cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(own["random_cuda"], device)
