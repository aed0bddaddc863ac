"""After the last step: kernel means of residues, on the axes along which homologs agree, put beside the pooled features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from phylocli.core import console
from phylocli.core.errors import UsageError
from phylocli.statistics.plda import MEMBERS, check_freedom, fit_axes, freedom_of

if TYPE_CHECKING:
    from phylocli.train.data.batch_sampler import Corpus
    from phylocli.train.data.types import Members
    from phylocli.train.task import Learner

KERNEL = 7  # stream of random numbers, apart from those of `phylocli.train.data.batch_sampler` and the whitening


def check_kernel(corpus: Corpus, settings: dict[str, Any], residue: int) -> None:
    """Raise, before a run starts, where at its end no kernel could be fitted.

    Args:
        corpus: of the run.
        settings: of the run: `kernel`, `whitening`.
        residue: features of a residue.

    Raises:
        UsageError: settings that make no sense, or too few aligned families.
    """
    kernel = settings["kernel"]
    if kernel["features"] == 0:
        return
    try:
        check_freedom(sum(freedom_of(columns) for _, columns in _sampled(corpus)), residue)
    except UsageError as error:
        raise UsageError(error.what, error.why, f"{error.fix}, or say --set kernel.features=0") from None


@torch.no_grad()
def add_kernel(learner: Learner, corpus: Corpus, settings: dict[str, Any]) -> None:
    """Fit axes to residues of training members and give the model a kernel on them; held-out members take no part.

    Args:
        learner: whose model gets the kernel.
        corpus: of the run.
        settings: `kernel`: `features`, `axes`, `width`; nothing is done where features is 0.
    """
    if settings["features"] == 0:
        return
    learner.eval()
    found = fit_axes(((learner.residues(tokens), columns) for tokens, columns in _sampled(corpus)), settings["axes"])
    mean, axes = torch.from_numpy(found.mean), torch.from_numpy(found.axes)
    learner.model.add_kernel(settings["features"], mean, axes, settings["width"], corpus.seed)
    console.info(
        f"kernel means: {settings['features']} random features on {axes.shape[1]} axes of {found.residues:,} residues, "
        f"along which homologs correlate by up to {found.correlation[0]:.2f}"
    )


def _sampled(corpus: Corpus) -> Iterator[tuple[list[npt.NDArray[np.uint8]], npt.NDArray[np.int64]]]:
    """Yield, of each aligned family, some members and the match columns of all their residues in one array."""
    for code, source in enumerate(corpus.families):
        members: Members = source.members()
        if members.columns is None:
            continue
        rng = np.random.default_rng([corpus.seed, KERNEL, code])
        picked = np.sort(rng.permutation(len(members.tokens))[:MEMBERS]).tolist()
        columns = np.concatenate([members.columns[k] for k in picked]).astype(np.int64)
        yield [members.tokens[k] for k in picked], columns
