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
    """Seed torch for the block, differently in each process, and restore the caller's random state afterwards.

    The seed determines dropout masks.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(stream(seed, 0, rank) if rank else seed)
        yield


def random_state(device: torch.device) -> RandomState:
    """Return the state of torch's random number generators in this process: the CPU's, and the GPU's if `device` is one."""
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return {"random": torch.get_rng_state(), "random_cuda": cuda}


def restore(states: Sequence[RandomState], world: World, device: torch.device, seed: int, step: int) -> None:
    """Restore the random state of this process, or seed it from the run's seed and the step if none was saved for its rank.

    Args:
        states: results of `random_state`, ordered by rank.
        world: the current processes.
        device: the device of this process.
        seed: the seed of the run.
        step: the step after which the states were saved.
    """
    if len(states) != world.size:
        logger.warning(
            f"the run was started with {len(states)} processes and is resumed with {world.size}: batches and gradients are "
            "the same, but random numbers inside the encoder (dropout) differ"
        )
        if world.rank >= len(states):
            torch.manual_seed(stream(seed, step, world.rank))
            return
    own = states[world.rank]
    torch.set_rng_state(own["random"])
    if own["random_cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(own["random_cuda"], device)
