"""The batch sampler: families of each batch, and pairs sampled from them.

A batch is a function of the seed and the step only. Resuming is therefore exact, and any worker can prepare any batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from phylocli import views
from phylocli.core.errors import UsageError
from phylocli.pairs import Split
from phylocli.train.data.hard_negatives import HardNegatives
from phylocli.train.data.residue_labels import ResidueLabels
from phylocli.train.data.teachers import TeacherTargets
from phylocli.train.data.types import FamilySource, PairBatch, clan_codes
from phylocli.train.random_streams import RandomStream
from phylocli.views import Prepared, Tokens


class Corpus:
    """The training families, and the sampling of batches from them.

    With at least as many families as pairs per batch, families are sampled without replacement: each epoch goes through the
    families in a new random order, and those that do not fill a batch at its end are skipped. With fewer families, each
    contributes the same number of pairs to every batch, and some, chosen at random, one more. With a `family_power` other
    than 0, families are instead sampled with a probability proportional to size ** family_power, without replacement within
    a batch if there are enough.

    Args:
        families: the families, of which at least two may be contrasted.
        pairs: pairs per batch; 0 uses twice the number of families, but at least 32 and at most 256.
        seed: the random seed; with the step, it determines a batch.
        negatives: which pairs are negatives of each other: those of different clans (`clan`), of different families
            (`family`), or all (`pair`).
        family_power: exponent of the sampling probability, see above.
        every_view: whether to sample all views of the composition, not only a pair.
        hard: adds hard negatives of a batch's families to it.
        cross_family_fraction: fraction of pairs whose partner is from another family of the same clan: remote homologs at
            an unknown distance. Applies to families whose clan has other families in the corpus.
        labels: sequences with residue labels, some of which are added to each batch.
        input_fractions: fraction of the pairs of a batch from each input, by number of the input; empty samples families
            regardless of their input.
        split: returns the split into training and held-out members.
        teachers: the vectors of teachers, some of which are added to each batch.

    Raises:
        UsageError: no pair can have a negative.
    """

    def __init__(
        self,
        families: list[FamilySource],
        *,
        pairs: int,
        seed: int,
        negatives: str = "clan",
        family_power: float = 0.0,
        every_view: bool = False,
        hard: HardNegatives | None = None,
        cross_family_fraction: float = 0.0,
        labels: ResidueLabels | None = None,
        input_fractions: Sequence[float] = (),
        split: Callable[[], Split] | None = None,
        teachers: TeacherTargets | None = None,
    ) -> None:
        self.families = families
        self._split = split
        self.hard = hard
        self.cross_family_fraction = cross_family_fraction
        self.labels = labels
        self.teachers = teachers
        self.every_view = every_view
        self.pairs = pairs or min(256, max(32, 2 * len(families)))
        self.seed = seed
        self.negatives = negatives
        self._clan = clan_codes(families)
        size = np.array([f.size for f in families], dtype=np.float64)
        self._weight: npt.NDArray[np.float64] | None = size**family_power if family_power else None
        self._strata = self._stratified(input_fractions)
        self._homologs = {c: k for c in set(self._clan.tolist()) - {-1} if len(k := np.flatnonzero(self._clan == c)) > 1}
        self._check_negatives()

    def _check_negatives(self) -> None:
        names = ", ".join(f.label for f in self.families[:5])
        if self.negatives != "pair" and len(self.families) == 1:
            raise UsageError(
                f"there is only one family to train on ({names}), so no pair has a negative",
                why="members of the same family are homologous and are never contrasted with each other",
                fix="add families, or use --set batch.negatives=pair to contrast the members of the family",
            )
        if self.negatives == "clan" and len(set(self._clan.tolist())) == 1 and self._clan[0] >= 0:
            raise UsageError(
                f"all families ({names}) belong to the clan {self.families[0].clan}, so no pair has a negative",
                why="families of the same clan are homologous and are never contrasted with each other",
                fix="add families of other clans, or use --set batch.negatives=family to contrast families of one clan",
            )

    def _stratified(self, fractions: Sequence[float]) -> list[tuple[npt.NDArray[np.int64], int]]:
        """Return the families of each input, and the number of pairs of a batch that are of them."""
        if not fractions:
            return [(np.arange(len(self.families)), self.pairs)]
        source = np.array([f.input for f in self.families])
        exact = self.pairs * np.array(fractions) / sum(fractions)
        counts = exact.astype(np.int64)
        for k in np.argsort(counts - exact, kind="stable")[: self.pairs - counts.sum()]:  # largest remainders
            counts[k] += 1
        for k in np.flatnonzero(counts).tolist():
            if not (source == k).any():
                raise UsageError(f"no family of input {k + 1} can be used", fix="set its part of batch.input_fractions to 0")
        return [(np.flatnonzero(source == k), int(counts[k])) for k in np.flatnonzero(counts).tolist()]

    def split(self) -> Split:
        """Return the split into training and held-out members."""
        assert self._split is not None, "the corpus was not made by load_corpus"
        return self._split()

    def chosen(self, step: int) -> npt.NDArray[np.int64]:
        """Return the family index of each pair of a step, (pairs,)."""
        sampled = self._sampled(step)
        if self.hard is None:
            return sampled
        return self.hard.arrange(sampled, np.random.default_rng([self.seed, RandomStream.HARD_NEGATIVES, step]))

    def _sampled(self, step: int) -> npt.NDArray[np.int64]:
        several = len(self._strata) > 1
        parts = [
            families[self._sampled_of(families, pairs, step, (k,) if several else ())]
            for k, (families, pairs) in enumerate(self._strata)
        ]
        return np.concatenate(parts)

    def _sampled_of(
        self, among: npt.NDArray[np.int64], pairs: int, step: int, stratum: tuple[int, ...]
    ) -> npt.NDArray[np.int64]:
        """Return places among some families, (pairs,); `stratum` distinguishes the random numbers of sets of families."""
        families = len(among)
        if self._weight is not None:
            rng = np.random.default_rng([self.seed, RandomStream.ORDER, step, *stratum])
            weight = self._weight[among]
            return rng.choice(families, pairs, replace=families < pairs, p=weight / weight.sum())
        if families >= pairs:
            turn, place = divmod(step, families // pairs)
            order = np.random.default_rng([self.seed, RandomStream.ORDER, turn, *stratum]).permutation(families)
            return order[place * pairs : (place + 1) * pairs]
        rng = np.random.default_rng([self.seed, RandomStream.ORDER, step, *stratum])
        each, rest = divmod(pairs, families)
        return np.concatenate([np.repeat(np.arange(families), each), rng.permutation(families)[:rest]])

    def batch(self, step: int) -> PairBatch:
        """Return the batch of a step, counted from 0."""
        rng = np.random.default_rng([self.seed, RandomStream.VIEWS, step])
        drawn = self._draw([(f.training, i) for i, f in enumerate(self.families)], self.chosen(step), rng)
        drawn.first = step * self.pairs
        partners = drawn.family
        if self.cross_family_fraction:
            partners = self._replace_partners(drawn, np.random.default_rng([self.seed, RandomStream.CLAN, step]))
        if self.labels is not None:
            drawn.labelled = self.labels.batch(step)
        if self.teachers is not None:
            drawn.taught = self.teachers.batch(drawn.family.tolist() + partners.tolist(), drawn.a + drawn.b, step)
        return drawn

    def _replace_partners(self, drawn: PairBatch, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Replace some partners by members of another family of the same clan; return the family of each partner, (N,)."""
        partners = drawn.family.copy()
        for k, (family, clan) in enumerate(zip(drawn.family.tolist(), drawn.clan.tolist(), strict=True)):
            if clan not in self._homologs or rng.random() >= self.cross_family_fraction:
                continue
            others = self._homologs[clan][self._homologs[clan] != family]
            partners[k] = rng.choice(others)
            _, b, _ = self.families[partners[k]].training.draw(1, rng)
            drawn.b[k], drawn.distance[k] = b[0], np.nan
        return partners

    def validation(self, pairs: int) -> PairBatch | None:
        """Return up to `pairs` pairs of held-out members and as many labelled sequences, the same at every call.

        None if no members are held out.
        """
        held_out = [(f.held_out, i) for i, f in enumerate(self.families) if f.held_out is not None]
        if not held_out:
            return None
        rng = np.random.default_rng([self.seed, RandomStream.VALIDATION])
        order = rng.permutation(len(held_out))
        chosen = order[np.arange(pairs) % len(held_out)] if len(held_out) < pairs else order[:pairs]
        drawn = self._draw(held_out, chosen, rng)
        if self.labels is not None:
            drawn.labelled = self.labels.held_out(pairs)
        if self.teachers is not None:
            drawn.taught = self.teachers.batch(2 * drawn.family.tolist(), drawn.a + drawn.b, None)
        return drawn

    def _draw(
        self, sources: Sequence[tuple[Prepared, int]], chosen: npt.NDArray[np.int64], rng: np.random.Generator
    ) -> PairBatch:
        found: list[list[Tokens]] = []
        distances: list[npt.NDArray[np.float64]] = []
        family: list[int] = []
        for source, count in zip(*np.unique(chosen, return_counts=True), strict=True):
            prepared, code = sources[source]
            drawn, distance = self._views(prepared, int(count), rng)
            found = [view + more for view, more in zip(found, drawn, strict=True)] if found else drawn
            distances.append(distance)
            family += [code] * int(count)
        codes = np.array(family, dtype=np.int64)
        a, b, *rest = found
        return PairBatch(a, b, np.concatenate(distances), codes, self._clan[codes], self.negatives, rest)

    def _views(
        self, prepared: Prepared, n: int, rng: np.random.Generator
    ) -> tuple[list[list[Tokens]], npt.NDArray[np.float64]]:
        if self.every_view:
            return views.draw_all(prepared, n, rng)
        a, b, distance = prepared.draw(n, rng)
        return [a, b], distance
