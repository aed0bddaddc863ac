"""Kernel features: a kernel mean embedding of the residues on the axes along which homologs correlate, appended to the
pooled features."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from phylocli.config.train import KernelConfig
from phylocli.core.errors import UsageError
from phylocli.statistics.plda import MEMBERS, check_freedom, fit_axes, freedom_of
from phylocli.train.data.batch_sampler import Corpus
from phylocli.train.data.types import Members
from phylocli.train.random_streams import RandomStream
from phylocli.train.task import ContrastiveTask

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class KernelFeatures:
    """Fits the axes of a Gaussian kernel to residues of training members and adds its random features to the model.

    Attributes:
        config: number of features, number of axes, and kernel width.
    """

    config: KernelConfig

    def check(self, task: ContrastiveTask, corpus: Corpus) -> None:
        """Raise a UsageError if there are too few aligned residues."""
        residues = sum(freedom_of(columns) for _, columns in _sampled(corpus))
        try:
            check_freedom(residues, task.model.encoder.dimension)
        except UsageError as error:
            raise UsageError(error.what, error.why, f"{error.fix}, or use --set kernel.features=0") from None

    @torch.no_grad()
    def fit(self, task: ContrastiveTask, corpus: Corpus) -> None:
        """Fit the axes and add the features to the model."""
        task.eval()
        found = fit_axes(((task.embed_residues(tokens), columns) for tokens, columns in _sampled(corpus)), self.config.axes)
        mean, axes = torch.from_numpy(found.mean), torch.from_numpy(found.axes)
        task.model.add_kernel(self.config.features, mean, axes, self.config.width, corpus.seed)
        logger.info(
            f"kernel features: {self.config.features} random features on {axes.shape[1]} axes, fitted to {found.residues:,} "
            f"residues (correlation of homologs up to {found.correlation[0]:.2f})"
        )


def _sampled(corpus: Corpus) -> Iterator[tuple[list[npt.NDArray[np.uint8]], npt.NDArray[np.int64]]]:
    """Yield a sample of the members of each aligned family, and the match columns of all their residues, concatenated."""
    for code, source in enumerate(corpus.families):
        members: Members = source.members()
        if members.columns is None:
            continue
        rng = np.random.default_rng([corpus.seed, RandomStream.KERNEL, code])
        picked = np.sort(rng.permutation(len(members.tokens))[:MEMBERS]).tolist()
        columns = np.concatenate([members.columns[k] for k in picked]).astype(np.int64)
        yield [members.tokens[k] for k in picked], columns
