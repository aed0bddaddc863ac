"""Training data: families and pairs tables as sources of fresh pairs, and which families make up which batch.

A batch is a function of the seed and the step alone. That makes resuming exact whatever happened before, and lets
batches be made in any order by any worker.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phylocli import console, views
from phylocli.alphabet import check_residues, degap, encode_tokens
from phylocli.errors import BadInputError, UsageError
from phylocli.formats import read_families
from phylocli.formats.family import Family
from phylocli.formats.streams import PathLike, display_name, open_input
from phylocli.formats.tables import read_table, require_columns
from phylocli.pairs import EmptyBandError, split_clades
from phylocli.train.hard import HardNegatives, load_hard_negatives
from phylocli.views import Prepared, Tokens

if TYPE_CHECKING:
    import polars as pl

    from phylocli.views import Composed, Pairs

# Streams of random numbers that must not meet: the order of families, the views, validation, hard negatives.
_ORDER, _VIEWS, _VALIDATION, _HARD = 1, 2, 3, 4

NEGATIVES = ("clan", "family", "pair")


@dataclass
class FamilySource:
    """One family of the corpus.

    Attributes:
        label: accession or name.
        clan: accession, empty where there is none.
        size: members that training sees.
        training: where pairs are drawn from.
        held_out: where validation pairs are drawn from; None where the family is too small to hold members out.
    """

    label: str
    clan: str
    size: int
    training: Prepared
    held_out: Prepared | None


@dataclass
class PairBatch:
    """N pairs ready for the model.

    Attributes:
        a, b: token arrays of the N first and the N second views.
        distance: evolutionary distance of each pair, substitutions per site, (N,), NaN where undefined.
        family: code of each pair's family, (N,) int64.
        clan: code of each pair's clan, (N,) int64, -1 where there is none.
        negatives: `clan`, `family` or `pair`: who may be contrasted.
        more: the third and further views, N token arrays each, where the objective asks for them.
        first: number of the first pair among all that the run draws.
    """

    a: list[Tokens]
    b: list[Tokens]
    distance: npt.NDArray[np.float64]
    family: npt.NDArray[np.int64]
    clan: npt.NDArray[np.int64]
    negatives: str = "clan"
    more: list[list[Tokens]] = field(default_factory=list)
    first: int = 0

    def __len__(self) -> int:
        return len(self.a)

    @property
    def residues(self) -> int:
        """Residues of all views."""
        return sum(len(tokens) for view in (self.a, self.b, *self.more) for tokens in view)


class Corpus:
    """The families that are trained on, and the law by which batches are drawn from them.

    With at least as many families as a batch has pairs, families are dealt without replacement: in each round every
    family comes up once, in a new order, and what does not fill a batch at the round's end is dealt anew, so a family is
    in a batch at most once. With fewer families each gives the same number of pairs to every batch, give or take one, by
    lot. A `family_power` other than 0 draws families with a probability in proportion to size ** family_power instead
    (without replacement within a batch as long as there are enough).

    Args:
        families: at least two that may be contrasted.
        pairs: pairs a batch; 0 takes twice the number of families, but at least 32 and at most 256.
        seed: with the step, decides everything.
        negatives: `clan`, `family` or `pair`: who may be contrasted.
        family_power: see above.
        every_view: draw all views that there are, not only a pair.
        hard: brings hard negatives of a batch's families into it.

    Raises:
        UsageError: nothing could be a negative.
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
    ) -> None:
        self.families = families
        self.hard = hard
        self.every_view = every_view
        self.pairs = pairs or min(256, max(32, 2 * len(families)))
        self.seed = seed
        self.negatives = negatives
        clans = {clan: code for code, clan in enumerate(sorted({f.clan for f in families if f.clan}))}
        self._clan = np.array([clans.get(f.clan, -1) for f in families], dtype=np.int64)
        size = np.array([f.size for f in families], dtype=np.float64)
        weight = size**family_power
        self._weight: npt.NDArray[np.float64] | None = weight / weight.sum() if family_power else None
        self._check_negatives()

    def _check_negatives(self) -> None:
        if self.negatives not in NEGATIVES:
            raise UsageError(f"batch.negatives is {self.negatives!r}", fix=f"choose one of {', '.join(NEGATIVES)}")
        names = ", ".join(f.label for f in self.families[:5])
        if self.negatives != "pair" and len(self.families) == 1:
            raise UsageError(
                f"there is only one family to train on ({names}), so no pair has a negative",
                why="members of one family are homologous and are never contrasted with each other",
                fix="add families, or say --set batch.negatives=pair to contrast the members of the family",
            )
        if self.negatives == "clan" and len(set(self._clan.tolist())) == 1 and self._clan[0] >= 0:
            raise UsageError(
                f"all families ({names}) belong to the clan {self.families[0].clan}, so no pair has a negative",
                why="families of one clan are homologous and are never contrasted with each other",
                fix="add families of other clans, or say --set batch.negatives=family to contrast families of one clan",
            )

    def chosen(self, step: int) -> npt.NDArray[np.int64]:
        """Return the indices of the families of a step's pairs, (pairs,)."""
        dealt = self._dealt(step)
        return dealt if self.hard is None else self.hard.arrange(dealt, np.random.default_rng([self.seed, _HARD, step]))

    def _dealt(self, step: int) -> npt.NDArray[np.int64]:
        families, pairs = len(self.families), self.pairs
        if self._weight is not None:
            rng = np.random.default_rng([self.seed, _ORDER, step])
            return rng.choice(families, pairs, replace=families < pairs, p=self._weight)
        if families >= pairs:
            turn, place = divmod(step, families // pairs)
            order = np.random.default_rng([self.seed, _ORDER, turn]).permutation(families)
            return order[place * pairs : (place + 1) * pairs]
        rng = np.random.default_rng([self.seed, _ORDER, step])
        each, rest = divmod(pairs, families)
        return np.concatenate([np.repeat(np.arange(families), each), rng.permutation(families)[:rest]])

    def batch(self, step: int) -> PairBatch:
        """Return the pairs of a step, the first of which is 0."""
        rng = np.random.default_rng([self.seed, _VIEWS, step])
        drawn = self._draw([(f.training, i) for i, f in enumerate(self.families)], self.chosen(step), rng)
        drawn.first = step * self.pairs
        return drawn

    def validation(self, pairs: int) -> PairBatch | None:
        """Return up to `pairs` pairs of held-out members, always the same; None where no family holds members out."""
        held_out = [(f.held_out, i) for i, f in enumerate(self.families) if f.held_out is not None]
        if not held_out:
            return None
        rng = np.random.default_rng([self.seed, _VALIDATION])
        order = rng.permutation(len(held_out))
        chosen = order[np.arange(pairs) % len(held_out)] if len(held_out) < pairs else order[:pairs]
        return self._draw(held_out, chosen, rng)

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


def load_corpus(inputs: list[PathLike], settings: dict[str, Any], seed: int, *, every_view: bool = False) -> Corpus:
    """Read families with trees and pairs tables and return the corpus.

    Families from which no pair can be drawn (a single member, no pair in the band) are left out with a note.

    Args:
        inputs: Stockholm records, or pairs tables as TSV, CSV, Parquet or Arrow; `-` is standard input.
        settings: of the run: `view`, `batch`, `validation`.
        seed: of the splits and of all draws.
        every_view: draw all views that there are, not only a pair.

    Raises:
        BadInputError: unreadable, or no family left.
        UsageError: the view does not exist or does not fit the inputs; nothing could be a negative.
    """
    view_settings = dict(settings["view"])
    view = views.build(view_settings.pop("name"), view_settings, settings["alphabet"])
    fraction = settings["validation"]["fraction"]
    if not 0 <= fraction < 1:
        raise UsageError(f"validation.fraction is {fraction:g}", fix="give a share from 0 to below 1")
    usable: list[FamilySource] = []
    skipped: dict[str, list[str]] = {}
    reasons: list[BadInputError] = []
    seen: dict[str, str] = {}
    for source in inputs:
        name = display_name(source)
        for label, made in _members(source, view, view_settings, fraction, seed):
            if label in seen:
                raise BadInputError(
                    f"the family {label} comes twice, from {seen[label]} and from {name}",
                    fix="give each family in one input only",
                )
            seen[label] = name
            if isinstance(made, FamilySource):
                usable.append(made)
            else:
                kind = "have no pair in the band" if isinstance(made, EmptyBandError) else "cannot be used"
                skipped.setdefault("have fewer than two members" if made.what == _TOO_FEW else kind, []).append(label)
                reasons.append(made)
    for why, labels in skipped.items():
        shown = ", ".join(labels[:5]) + (", …" if len(labels) > 5 else "")
        console.info(f"left out: {len(labels)} of {len(seen)} families {why} ({shown})")
    for reason in reasons:
        if reason.what != _TOO_FEW:
            console.detail(str(reason))
    if not usable:
        if len(reasons) == 1 and reasons[0].what != _TOO_FEW:
            raise reasons[0]
        raise BadInputError(
            "there is no family to train on",
            why=f"of {len(seen)} families " + "; ".join(f"{len(v)} {k}" for k, v in skipped.items()),
            fix=next((r.fix or r.what for r in reasons if r.what != _TOO_FEW), "give families of two or more members"),
        )
    usable.sort(key=lambda f: f.label)  # the order of the inputs does not matter
    batch = settings["batch"]
    hard = load_hard_negatives(batch["hard_negatives"], usable, batch["hard_share"]) if batch["hard_negatives"] else None
    return Corpus(
        usable,
        pairs=batch["pairs"],
        seed=seed,
        negatives=batch["negatives"],
        family_power=batch["family_power"],
        every_view=every_view,
        hard=hard,
    )


_TOO_FEW = "fewer than two members"


def _members(
    source: PathLike, view: Composed, view_settings: dict[str, Any], fraction: float, seed: int
) -> Iterator[tuple[str, FamilySource | BadInputError]]:
    with _at_rest(source) as (path, name):
        if _is_table(path):
            yield from _from_table(read_table(path), name, view, view_settings, fraction, seed)
            return
        for family in read_families(path):
            family.where = family.where.replace(str(path), name)
            if len(family) < 2:
                yield family.label, BadInputError(_TOO_FEW)
                continue
            try:
                yield family.label, _from_family(family, view, fraction, seed)
            except BadInputError as error:
                yield family.label, error


@contextlib.contextmanager
def _at_rest(source: PathLike) -> Iterator[tuple[Path, str]]:
    """Give an input as a file that can be read twice: to see what it is, and to read it."""
    name = display_name(source)
    path = Path(source)
    if name != "standard input" and (path.is_file() or not path.exists() or path.is_dir()):
        yield path, name
        return
    with tempfile.NamedTemporaryFile(prefix="phylocli-", suffix=".input") as copy:
        with open_input(source) as stream:
            shutil.copyfileobj(stream, copy)
        copy.flush()
        yield Path(copy.name), name


def _is_table(path: Path) -> bool:
    with open_input(path) as stream:
        head = stream.read(4096)
    if head[:4] in (b"PAR1", b"\xff\xff\xff\xff") or head[:6] == b"ARROW1":
        return True
    first = head.split(b"\n", 1)[0]
    return not head.lstrip().startswith((b"#", b">")) and (b"seq_a" in first or b"\t" in first)


def _from_family(family: Family, view: Composed, fraction: float, seed: int) -> FamilySource:
    """Return a family as a member of the corpus; whole clades are held out where it can spare them.

    Raises:
        BadInputError: the view cannot make pairs of the family.
    """
    held_out: Prepared | None = None
    if fraction > 0:
        out = _hold_out(family, fraction, seed)
        if len(out) >= 2 and len(family) - len(out) >= 2:
            with contextlib.suppress(BadInputError):  # no pair of held-out members in the band: none are held out
                held_out = view.prepare(family.subset(out))
                training = view.prepare(family.subset(set(family.ids) - out))
                return FamilySource(family.label, family.clan, len(family) - len(out), training, held_out)
    return FamilySource(family.label, family.clan, len(family), view.prepare(family), None)


def _hold_out(family: Family, fraction: float, seed: int) -> set[str]:
    if family.newick:
        return split_clades(family, fraction, seed)
    rng = np.random.default_rng(seed)
    return {family.ids[i] for i in rng.permutation(len(family))[: round(fraction * len(family))]}


class _TablePairs:
    """Draws rows of a pairs table uniformly, with replacement, and alters both sequences by the view's transforms."""

    def __init__(
        self, tokens: list[Tokens], rows: npt.NDArray[np.int64], distance: npt.NDArray[np.float64], view: Composed
    ) -> None:
        self.tokens, self.rows, self.distance, self.view = tokens, rows, distance, view

    def draw(self, n: int, rng: np.random.Generator) -> Pairs:
        chosen = rng.integers(0, len(self.rows), n)
        swap = rng.random(n) < 0.5
        pairs = np.where(swap[:, None], self.rows[chosen][:, ::-1], self.rows[chosen])
        a, b = self.view.transformed([[self.tokens[k] for k in pairs[:, side].tolist()] for side in (0, 1)], rng)
        return a, b, self.distance[chosen]

    def draw_all(self, n: int, rng: np.random.Generator) -> tuple[list[list[Tokens]], npt.NDArray[np.float64]]:
        a, b, distance = self.draw(n, rng)
        return [a, b, *([addition(t, rng) for t in b] for addition in self.view.additions)], distance


def _from_table(
    table: pl.DataFrame, name: str, view: Composed, view_settings: dict[str, Any], fraction: float, seed: int
) -> Iterator[tuple[str, FamilySource | BadInputError]]:
    """Yield the families of a pairs table; the band of the phylogenetic view selects among its rows.

    A share of each family's sequences is held out: rows of two held-out sequences serve validation, rows of one are not
    used.
    """
    import polars as pl

    require_columns(table, ["family", "id_a", "id_b", "seq_a", "seq_b"], name, "a pairs table")
    if table.height == 0:
        raise BadInputError(f"{name} holds no pairs", fix="check the command that made it")
    source = view.spec.split("+")[0]
    if source not in ("phylogenetic", *(n for n in view.spec.split("+") if not _is_source(n))):
        raise UsageError(
            f"the view {source!r} cannot be drawn from {name}",
            why="a pairs table holds its pairs already; only the transforms of a view apply to it",
            fix="give families with trees, or a view that starts with 'phylogenetic'",
        )
    for column, default in (("clan", pl.lit("")), ("distance", pl.lit(float("nan")))):
        if column not in table.columns:
            table = table.with_columns(default.alias(column))
    band = view_settings.get("phylogenetic", {})
    inside = pl.col("distance").cast(pl.Float64, strict=False)
    lo, hi = float(band.get("min_dist", 0.0)), float(band.get("max_dist", np.inf))
    text = [pl.col(c).cast(pl.String).fill_null("") for c in ("family", "clan", "id_a", "id_b", "seq_a", "seq_b")]
    table = table.select(*text, inside.alias("distance"))
    for (label,), rows in table.group_by("family", maintain_order=True):
        kept = rows.filter(~((pl.col("distance") < lo) | (pl.col("distance") > hi)) | pl.col("distance").is_nan())
        if kept.height == 0:
            what = f"{label}: no pair of {name} lies {lo:g} to {hi:g} substitutions per site apart"
            yield str(label), EmptyBandError(what)
            continue
        yield str(label), _table_member(str(label), kept, name, view, fraction, seed)


def _is_source(name: str) -> bool:
    from phylocli import registry

    return registry.load("views", name).KIND == "source"


def _table_member(label: str, rows: pl.DataFrame, name: str, view: Composed, fraction: float, seed: int) -> FamilySource:
    index: dict[tuple[str, str], int] = {}
    tokens: list[Tokens] = []
    pairs = np.empty((rows.height, 2), dtype=np.int64)
    for side, suffix in enumerate("ab"):
        for row, key in enumerate(zip(rows[f"id_{suffix}"], rows[f"seq_{suffix}"], strict=True)):
            if key not in index:
                check_residues(key[1], key[0], f"{name}, family {label}", view.alphabet)
                residues = degap(key[1])
                if not residues:
                    raise BadInputError(f"{name}, family {label}: {key[0]!r} has no residues in seq_{suffix}")
                index[key] = len(tokens)
                tokens.append(encode_tokens(residues, view.alphabet))
            pairs[row, side] = index[key]
    distance = rows["distance"].to_numpy()
    clan = rows["clan"][0]
    if fraction > 0:
        out = np.zeros(len(tokens), dtype=bool)
        out[np.random.default_rng(seed).permutation(len(tokens))[: round(fraction * len(tokens))]] = True
        held, kept = out[pairs].all(1), ~out[pairs].any(1)
        if held.any() and kept.any():
            return FamilySource(
                label,
                clan,
                int((~out).sum()),
                _TablePairs(tokens, pairs[kept], distance[kept], view),
                _TablePairs(tokens, pairs[held], distance[held], view),
            )
    return FamilySource(label, clan, len(tokens), _TablePairs(tokens, pairs, distance, view), None)


def chunks_by_length(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Return indices in groups of similar length, each at most `tokens` with padding (a longer one stands alone)."""
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    groups: list[list[int]] = []
    for i in order:  # ascending, so that the newest sequence is the widest of its group
        if groups and (len(groups[-1]) + 1) * lengths[i] <= tokens:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def prefetched(corpus: Corpus, steps: range) -> Iterator[PairBatch]:
    """Yield the batches of these steps; the next two are made by another thread meanwhile."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, thread_name_prefix="phylocli-batches") as pool:
        ahead = iter(steps)
        waiting = [pool.submit(corpus.batch, step) for step in itertools.islice(ahead, 2)]
        try:
            while waiting:
                batch = waiting.pop(0).result()
                waiting += [pool.submit(corpus.batch, step) for step in itertools.islice(ahead, 1)]
                yield batch
        finally:
            for future in waiting:
                future.cancel()
