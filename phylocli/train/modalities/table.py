"""Tables with a column per modality, or family records: one item a row; batches as functions of seed and step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from phylocli.config.train import TrainConfig
from phylocli.core.errors import BadInputError, UsageError
from phylocli.core.plugins import MODALITIES
from phylocli.core.words import counted
from phylocli.formats import read_families
from phylocli.formats.input_formats import sniff_file
from phylocli.formats.streams import PathLike, display_name
from phylocli.formats.tables import read_table
from phylocli.modalities import Values, aligned, columns_of
from phylocli.models.multimodal import MultimodalModel
from phylocli.pairs import PARTS, Split
from phylocli.train.random_streams import RandomStream

if TYPE_CHECKING:
    import polars as pl

logger = logging.getLogger(__name__)

_PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Spellings of the parts of a table."""

IntArray = npt.NDArray[np.int64]


class VectorSource(Protocol):
    """What reads cells and embeds locked modalities: `phylocli.train.modalities.task.MultimodalTask`."""

    @property
    def multimodal(self) -> MultimodalModel:
        """The models of the modalities."""

    def vectors_of(self, modality: str, values: Sequence[Values | None]) -> list[Values | None]:
        """Return the vector of each value."""


@dataclass
class ModalityBatch:
    """N rows of a table.

    Attributes:
        values: tokens or numbers of the rows that have a modality, or, if it is locked, their vectors (D,), by modality.
        rows: the rows that have it, (n,), by modality.
        codes: a code of each row's value, (N,), -1 if it is missing, by modality; equal values have equal codes.
        family, clan: codes, (N,); rows without a family have codes of their own, those without a clan -1.
        negatives: which rows are negatives of each other: `clan`, `family` or `pair`.
    """

    values: dict[str, list[Values]]
    rows: dict[str, IntArray]
    codes: dict[str, IntArray]
    family: IntArray
    clan: IntArray
    negatives: str = "clan"

    def __len__(self) -> int:
        return len(self.family)

    def content(self) -> bytes:
        """Return the content of all values."""
        return b"".join(value.tobytes() for values in self.values.values() for value in values)

    @property
    def longest(self) -> int:
        """Number of positions of the longest value."""
        return max(len(value) for values in self.values.values() for value in values)

    @property
    def residues(self) -> int:
        """Total number of positions."""
        return sum(len(value) for values in self.values.values() for value in values)


@dataclass
class Items:
    """The rows of one or more tables that have at least two of the modalities.

    Attributes:
        ids: of the rows, or their tables and numbers.
        cells: the value of each row as it is in the table, None if it is missing, by modality.
        parsed: its tokens or numbers, by modality.
        family, clan: names, empty if unknown.
        source: number of the input of each row, (N,).
        part: `train`, `validation`, `test` (rows that are not used), or empty where the table has none.
        parse: reads a cell of a modality, as its encoder does.
        whole: the modalities whose values are not cropped, because their encoder has tokens and a limit of its own.
    """

    ids: list[str]
    cells: dict[str, list[object]]
    parsed: dict[str, list[Values | None]]
    family: list[str]
    clan: list[str]
    source: IntArray
    part: list[str]
    parse: Callable[[str, object], Values]
    whole: frozenset[str]

    def __len__(self) -> int:
        return len(self.ids)


def read_items(inputs: Sequence[PathLike], model: MultimodalModel) -> Items:
    """Read tables with columns of modalities, and `id`, `family`, `clan` and `part` if they have them.

    Args:
        inputs: tables in any format that `read_table` reads.
        model: reads the cells of its modalities.

    Raises:
        BadInputError: a table has fewer than two of the modalities, a cell is not of its modality or no part, or no row of
            a table has two.
    """
    names = model.modalities
    whole = frozenset(name for name in names if hasattr(model.tower(name).encoder, "parse"))
    empty: tuple[dict[str, list[object]], dict[str, list[Values | None]]] = {n: [] for n in names}, {n: [] for n in names}
    found = Items([], *empty, [], [], np.zeros(0, np.int64), [], model.parse, whole)
    source: list[int] = []
    lacking = 0
    for number, path in enumerate(inputs):
        frame, shown = _read(path), display_name(path)
        columns = {n: next((c for c in columns_of(n) if c in frame.columns), None) for n in names}
        if sum(column is not None for column in columns.values()) < 2:
            wanted = ", ".join(columns_of(n)[0] for n in names)
            raise BadInputError(
                f"{shown} has fewer than two of the columns {wanted}",
                why=f"it has {', '.join(frame.columns[:12])}",
                fix="rename its columns, or name other modalities",
            )
        cells = {n: frame[c].to_list() if c is not None else [None] * frame.height for n, c in columns.items()}
        plain = {
            c: [_text(value) for value in frame[c].to_list()] if c in frame.columns else [""] * frame.height
            for c in ("id", "family", "clan", "part")
        }
        has_parts = any(plain["part"])
        for row in range(frame.height):
            values = {n: cells[n][row] if cells[n][row] not in (None, "") else None for n in names}
            if sum(value is not None for value in values.values()) < 2:
                lacking += 1
                continue
            name = plain["id"][row] or f"{shown}:{row + 1}"
            part = _PARTS.get(plain["part"][row].lower(), "")
            if has_parts and not part:
                raise BadInputError(
                    f"{shown}, row {row + 1} ({name}), column part: {plain['part'][row]!r} is not a part",
                    fix="write train, validation or test in each row, or leave out the column",
                )
            for n, value in values.items():
                found.cells[n].append(value)
                where = f"{shown}, row {row + 1} ({name}), column {columns[n]}"
                found.parsed[n].append(None if value is None else model.parse(n, value, where))
            found.ids.append(name)
            found.family.append(plain["family"][row])
            found.clan.append(plain["clan"][row])
            found.part.append(part)
            source.append(number)
        if number not in source[-1:]:
            form = sniff_file(path) if Path(path).is_file() else None
            of_sequences = f" is {form.phrase}, in which" if form is not None and form.holds == "sequences" else ":"
            raise BadInputError(
                f"{shown}{of_sequences} no row has two modalities", fix=f"give rows with at least two of {', '.join(names)}"
            )
    if lacking:
        logger.info(f"left out {counted(lacking, 'row')} with fewer than two of {', '.join(names)}")
    found.source = np.array(source, dtype=np.int64)
    return found


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def _read(path: PathLike) -> pl.DataFrame:
    """Return a table, or the members of family records: id, sequence, text (the family's description), family, clan."""
    import polars as pl

    if not Path(path).is_file() or sniff_file(path).holds != "sequences":
        return read_table(path)
    rows = [
        (s.id, s.residues, family.description or None, family.label, family.clan)
        for family in read_families(path)
        for s in family.sequences()
    ]
    columns = ("id", "sequence", "text", "family", "clan")
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")


class ModalityCorpus:
    """Rows for training and for validation, and the sampling of batches.

    Families are sampled with a probability proportional to size ** family_power (0: equally often), without replacement
    within a batch if there are enough, and of each a random row; a row without a family is a family of its own. All rows of
    a family are of its clan, if one of them names it, and clans that share a family are one. Whole clans, families without a
    clan, and rows without a family are held out at random, but rows of a table with a column `part` keep their part. Other
    rows of their clan are for training if one of them is, else held out if one of them is.

    Args:
        items: the rows.
        config: of the run.
        vectors: of locked modalities, for each row its vector (D,) or None.

    Raises:
        UsageError: fewer than two rows remain for training, the numbers of inputs and fractions differ, or an encoder with
            tokens of its own reads more of them than `multiview.max_length`.
    """

    def __init__(self, items: Items, config: TrainConfig, vectors: Mapping[str, list[Values | None]]) -> None:
        self.items, self.config, self.vectors = items, config, vectors
        self.seed = config.seed
        self.family = _codes([family or i for i, family in enumerate(items.family)])
        self.group = _connected(self.family, items.clan)
        clans: dict[int, str] = {}
        for group, clan in zip(self.group.tolist(), items.clan, strict=True):
            if clan:
                clans.setdefault(group, clan)
        self.clans = [clans.get(group, "") for group in self.group.tolist()]
        self.clan = np.where(np.array([bool(clan) for clan in self.clans]), self.group, -1)
        self.codes = {name: _codes_of_values(parsed) for name, parsed in items.parsed.items()}
        held_out, unused = self._hold_out()
        self.held_out, self.training = np.flatnonzero(held_out), np.flatnonzero(~(held_out | unused))
        if len(self.training) < 2:
            raise UsageError("fewer than two rows remain for training", fix="lower validation.fraction, or give more rows")
        self._check_lengths()
        self.pairs = min(config.batch.pairs or 256, len(self.training))
        self._strata = self._stratified()
        self._aligned = set(aligned(items.cells)) - set(vectors)

    def _check_lengths(self) -> None:
        """Raise a UsageError if a value that cannot be cropped is too long."""
        most, used = self.config.multiview.max_length, np.concatenate([self.training, self.held_out]).tolist()
        for name in sorted(self.items.whole - set(self.vectors)):
            longest = max((len(value) for row in used if (value := self.items.parsed[name][row]) is not None), default=0)
            if longest > most:
                raise UsageError(
                    f"the encoder of {name} reads {longest:,} tokens of a value, more than multiview.max_length = {most:,}",
                    why="values of an encoder with tokens of its own are not cropped",
                    fix=f"raise multiview.max_length, or lower modality.{name}.parameters.max_length if it has one",
                )

    def _hold_out(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Return which rows are held out, and which are not used at all, (N,) each."""
        part = np.array(self.items.part)
        for group in np.unique(self.group[part != ""]).tolist():
            rows = self.group == group
            known = set(part[rows].tolist())
            part[rows & (part == "")] = next(name for name in ("train", "validation", "test") if name in known)
        free = part == ""
        groups = np.unique(self.group[free])
        order = np.random.default_rng([self.seed, RandomStream.TABLE_HELD_OUT]).permutation(groups)
        out = order[: int(self.config.validation.fraction * len(groups))]
        return (part == "validation") | (free & np.isin(self.group, out)), part == "test"

    def _stratified(self) -> list[tuple[list[IntArray], npt.NDArray[np.float64], int]]:
        """Return for each input, or for all together, the rows of each family, its probability, and rows per batch."""
        fractions = self.config.batch.input_fractions
        inputs = int(self.items.source.max()) + 1
        if fractions and len(fractions) != inputs:
            raise UsageError(
                f"batch.input_fractions has {len(fractions)} numbers for {counted(inputs, 'input')}",
                fix="give one per input",
            )
        strata = []
        exact = self.pairs * np.cumsum([0, *fractions]) / sum(fractions) if fractions else np.array([0, self.pairs])
        bounds = np.round(exact).astype(int)
        for k, count in enumerate(np.diff(bounds).tolist()):
            rows = self.training[self.items.source[self.training] == k] if fractions else self.training
            if not count:
                continue
            if not len(rows):
                raise UsageError(
                    f"no row of input {k + 1} is left for training", fix="set its part of batch.input_fractions to 0"
                )
            order = rows[np.argsort(self.family[rows], kind="stable")]
            families = np.split(order, np.flatnonzero(np.diff(self.family[order])) + 1)
            weight = np.array([len(family) for family in families], dtype=np.float64) ** self.config.batch.family_power
            strata.append((families, weight / weight.sum(), count))
        return strata

    def content(self) -> bytes:
        """Return what rows there are, and what is trained on."""
        return repr((self.items.ids, self.items.family, self.training.tolist())).encode()

    def batch(self, step: int) -> ModalityBatch:
        """Return the batch of a step, counted from 0."""
        rng = np.random.default_rng([self.seed, RandomStream.TABLE_ROWS, step])
        rows: list[int] = []
        for families, probability, count in self._strata:
            chosen = rng.choice(len(families), count, replace=len(families) < count, p=probability)
            rows += [int(families[k][rng.integers(len(families[k]))]) for k in chosen.tolist()]
        return self.of_rows(np.array(rows), np.random.default_rng([self.seed, RandomStream.TABLE_CROPS, step]))

    def validation(self, most: int) -> ModalityBatch | None:
        """Return up to `most` held-out rows, of different families as far as there are, the same at every call."""
        if len(self.held_out) < 2:
            return None
        rows = np.random.default_rng([self.seed, RandomStream.TABLE_EVALUATED]).permutation(self.held_out)
        first = np.unique(self.family[rows], return_index=True)[1]
        others = np.setdiff1d(np.arange(len(rows)), first)
        return self.of_rows(rows[np.concatenate([np.sort(first), others])][:most], None)

    def of_rows(self, rows: IntArray, rng: np.random.Generator | None) -> ModalityBatch:
        """Return a batch of the given rows, cropped and augmented at random, or the first positions without `rng`."""
        values: dict[str, list[Values]] = {}
        present: dict[str, IntArray] = {}
        places: dict[tuple[int, int], int] = {}
        for name, parsed in self.items.parsed.items():
            present[name] = np.array([k for k, row in enumerate(rows.tolist()) if parsed[row] is not None], dtype=np.int64)
            values[name] = [self._value(name, int(rows[k]), rng, places) for k in present[name].tolist()]
        codes = {name: codes[rows] for name, codes in self.codes.items()}
        return ModalityBatch(values, present, codes, self.family[rows], self.clan[rows], self.config.batch.negatives)

    def _value(self, name: str, row: int, rng: np.random.Generator | None, places: dict[tuple[int, int], int]) -> Values:
        if name in self.vectors:
            vector = self.vectors[name][row]
            assert vector is not None
            return vector
        value = self.items.parsed[name][row]
        augment = getattr(MODALITIES.load(name), "augment", None)
        most = self.config.multiview.max_length
        if augment is not None and rng is not None:
            other = self.items.parse(name, augment(self.items.cells[name][row], rng))
            value = value if name in self.items.whole and len(other) > most else other
        assert value is not None
        if len(value) <= most or name in self.items.whole:
            return value
        if rng is None:
            return value[:most]
        if name not in self._aligned:
            start = int(rng.integers(len(value) - most + 1))
        else:  # residues of one length in several modalities correspond
            start = places.setdefault((row, len(value)), int(rng.integers(len(value) - most + 1)))
        return value[start : start + most]

    def write_split(self, path: Path) -> None:
        """Write which rows are for training and which for validation."""
        import polars as pl

        items = self.items
        rows = [
            (items.family[row] or items.ids[row], self.clans[row], items.ids[row], part)
            for part, rows in zip(PARTS, (self.training, self.held_out), strict=False)
            for row in rows.tolist()
        ]
        table = pl.DataFrame(rows, schema=dict.fromkeys(("family", "clan", "id", "part"), pl.String), orient="row")
        Split(table.unique(["family", "id"], keep="first", maintain_order=True)).write(path)


def _codes(names: Sequence[Any]) -> IntArray:
    """Return a code for each name, (N,), in the order of their first occurrence."""
    known: dict[Any, int] = {}
    return np.array([known.setdefault(name, len(known)) for name in names], dtype=np.int64)


def _connected(family: IntArray, clans: Sequence[str]) -> IntArray:
    """Return a code for each set of families that clans connect, (N,), from family codes (N,) and names of clans."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows = np.flatnonzero([bool(clan) for clan in clans])
    count = int(family.max()) + 1
    clan = count + _codes([clans[row] for row in rows.tolist()])
    edges = coo_array((np.ones(len(rows)), (family[rows], clan)), shape=(count + len(rows),) * 2)
    found: IntArray = connected_components(edges, directed=False)[1][family].astype(np.int64)
    return found


def _codes_of_values(values: Sequence[Values | None]) -> IntArray:
    codes = _codes([None if value is None else (value.shape, value.tobytes()) for value in values])
    return np.where(np.array([value is None for value in values]), -1, codes)


def load_modalities(config: TrainConfig, task: VectorSource) -> ModalityCorpus:
    """Read the tables of a run; the vectors of locked modalities are computed now, once.

    Args:
        config: with `inputs` and `modalities`.
        task: reads cells, and computes the vectors of locked modalities.

    Raises:
        BadInputError, UsageError: see `read_items` and `ModalityCorpus`.
    """
    items = read_items(config.inputs, task.multimodal)
    vectors = {name: task.vectors_of(name, items.parsed[name]) for name in config.modalities if config.tower(name).locked}
    return ModalityCorpus(items, config, vectors)
