"""Networks of proteins: lists of edges in tables, and GraphML.

Edges are read from tables with a column of each end (`source` and `target`, or the `query` and `target` of hits), and from
BLAST tabular output (`-outfmt 6` or 7, also written by DIAMOND and MMseqs2). GraphML (Brandes et al. 2002,
doi:10.1007/3-540-45848-4_59) is read by Cytoscape, Gephi, igraph and networkx.
"""

from __future__ import annotations

import io
import logging
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError
from phylocli.core.words import counted
from phylocli.formats.input_formats import TABLE_TEXT, format_of
from phylocli.formats.streams import PathLike, decode_head, decode_text, display_name, open_input, open_output
from phylocli.formats.tables.reading import parse_table, read_arrow

if TYPE_CHECKING:
    import polars as pl

logger = logging.getLogger(__name__)

IntArray = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

ENDS = (("source", "target"), ("query", "target"), ("id_a", "id_b"))
"""Names of the columns of the two ends of an edge."""

ATTRIBUTES = {
    "weight": ("weight",),
    "cosine": ("cosine",),
    "evalue": ("both_evalue", "align_evalue", "residues_evalue", "evalue"),
    "bits": ("bits", "bitscore", "align_bits"),
    "identity": ("identity", "fident", "pident"),
}
"""Attributes of edges that have a meaning for phylocli, and the columns they are read from: the first that is there.

Of hits that were aligned, `evalue` is that by which they are ranked, not that of the cosine. `identity` is a fraction;
`pident`, a percentage, is divided by 100."""

_BLAST = {"query": 0, "target": 1, "pident": 2, "evalue": 10, "bits": 11}
"""Fields of BLAST tabular output."""
_FIELDS = 12
_NUMBER = re.compile(r"NA|[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_LARGEST_LOG = 300.0
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Network:
    """An undirected graph of proteins, without loops and multiple edges.

    Attributes:
        name: name of the input, for messages.
        ids: the id of each node, (n,).
        ends: the two nodes of each edge, (m, 2), the smaller index first; sorted.
        attributes: of the edges by name, (m,) each, NaN where unknown; see `ATTRIBUTES`.

    Examples:
        >>> import numpy as np
        >>> from phylocli.formats.networks import Network
        >>> network = Network("two", ["a", "b", "c"], np.array([[0, 1]]), {"cosine": np.array([0.9])})
        >>> network.degree.tolist(), network.components.tolist()
        ([1, 1, 0], [0, 0, 1])
    """

    name: str
    ids: list[str]
    ends: IntArray
    attributes: dict[str, Floats] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, ids: list[str], a: IntArray, b: IntArray, attributes: Mapping[str, Floats]) -> Network:
        """Make a network of pairs of nodes in any order; of equal pairs the best is kept, see `ranks`; loops are dropped.

        Args:
            name, ids: see the class.
            a, b: the nodes of each pair, (m,).
            attributes: of the pairs, (m,) each.
        """
        low, high = np.minimum(a, b), np.maximum(a, b)
        order = np.lexsort([ranks(attributes, len(a)), high, low])
        low, high = low[order], high[order]
        first = np.r_[True, (low[1:] != low[:-1]) | (high[1:] != high[:-1])][: len(low)] & (low != high)
        kept = {key: np.asarray(values, dtype=np.float64)[order][first] for key, values in attributes.items()}
        return cls(name, ids, np.stack([low[first], high[first]], axis=1).astype(np.int64), kept)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def degree(self) -> IntArray:
        """The number of edges of each node, (n,)."""
        return np.bincount(self.ends.ravel(), minlength=len(self)).astype(np.int64)

    @cached_property
    def components(self) -> IntArray:
        """The connected component of each node, (n,), numbered from 0 by decreasing size."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        a, b = self.ends.T
        found = coo_array((np.ones(len(a), dtype=np.int8), (a, b)), shape=(len(self), len(self)))
        return by_size(connected_components(found, directed=False)[1])

    @cached_property
    def weights(self) -> Floats:
        """The weight of each edge, (m,): its attribute `weight`, else its cosine (at least 0), else its bits, else -log10 of
        its E-value (at most 300), else its identity, else 1.

        The first attribute that is known of any edge counts; edges of which it is unknown have the smallest weight of the
        others, with a warning.
        """
        logs = {"evalue": lambda e: -np.log10(np.maximum(e, 10**-_LARGEST_LOG))}
        for name in ("weight", "cosine", "bits", "evalue", "identity"):
            values = self.attributes.get(name)
            if values is None or not (known := np.isfinite(values)).any():
                continue
            found: Floats = np.maximum(logs.get(name, np.asarray)(values), 0)
            if not known.all():
                least = found[known].min()
                logger.warning(
                    f"{self.name}: the {name} of {counted(int((~known).sum()), 'edge')} of {len(known):,} is unknown; their "
                    f"weight is the smallest of the others, {least:.4g}"
                )
                found = np.where(known, found, least)
            return found
        return np.ones(len(self.ends))

    @property
    def columns(self) -> dict[str, Floats]:
        """The weights and the other attributes of the edges by name, (m,) each, as they are written."""
        return {"weight": self.weights} | {name: values for name, values in self.attributes.items() if name != "weight"}

    def where(self, kept: npt.NDArray[np.bool_]) -> Network:
        """Return the network with some of its edges, (m,), and all nodes."""
        return replace(self, ends=self.ends[kept], attributes={key: values[kept] for key, values in self.attributes.items()})

    def of_nodes(self, nodes: IntArray) -> Network:
        """Return the network of some nodes, given by ascending index, and of the edges between them."""
        place = np.full(len(self), -1, dtype=np.int64)
        place[nodes] = np.arange(len(nodes))
        inner = self.where(np.asarray((place[self.ends] >= 0).all(axis=1), dtype=np.bool_))
        return replace(inner, ids=[self.ids[node] for node in nodes], ends=place[inner.ends])

    def to_polars(self) -> pl.DataFrame:
        """Return the edges as a frame: `source`, `target`, and the `columns` (null: unknown)."""
        import polars as pl

        names = np.array(self.ids, dtype=object)
        a, b = self.ends.T
        ends = {"source": pl.Series(names[a], dtype=pl.String), "target": pl.Series(names[b], dtype=pl.String)}
        return pl.DataFrame({**ends, **self.columns}).with_columns(pl.col(pl.Float64).fill_nan(None))


def ranks(attributes: Mapping[str, Floats], count: int) -> IntArray:
    """Return the rank of each edge, (m,), the best 0: by E-value, weight, bits, cosine and identity; unknown is last.

    Args:
        attributes: of the edges, (m,) each.
        count: number of edges, m.
    """
    unknown = np.zeros(count)
    larger = ("identity", "cosine", "bits", "weight")  # is better; the last key of a lexical sort is the first to count
    keys = [np.nan_to_num(-attributes.get(key, unknown), nan=np.inf) for key in larger]
    keys.append(np.nan_to_num(attributes.get("evalue", unknown), nan=np.inf))
    found = np.empty(count, dtype=np.int64)
    found[np.lexsort(keys)] = np.arange(count)
    return found


def by_size(groups: npt.NDArray[np.integer]) -> IntArray:
    """Renumber groups (n,) by decreasing size, from 0; groups of equal size are in the order of their first members."""
    _, first, codes, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    number = np.empty(len(sizes), dtype=np.int64)
    number[np.lexsort((first, -sizes))] = np.arange(len(sizes))
    return number[codes]


def is_network(source: PathLike) -> bool:
    """Return whether a file is a table of edges or hits, or BLAST tabular output.

    Raises:
        BadInputError: the file does not exist, or is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_input(source) as stream:
        head = stream.peek()
    found = format_of(head)
    if found.holds == "table" and found is not TABLE_TEXT:
        try:
            columns = pq.read_schema(source).names  # not the table, which may be large
        except (pa.ArrowException, OSError):  # compressed, or in another format
            columns = read_arrow(source).column_names
        return _ends_of(columns) is not None
    if found.unmistakable:
        return False
    lines = decode_head(head).splitlines()
    return _is_blast(lines) or (bool(lines) and _ends_of(re.split("[\t,;]", lines[0])) is not None)


def read_network(source: PathLike | None) -> Network:
    """Read a network from a table of edges or hits, or from BLAST tabular output; see the module.

    Nodes are in the order of their first occurrence. A pair of a node with itself adds the node only.

    Raises:
        BadInputError: the input is in another format, an id is missing, an attribute has a value that is not a number, or a
            weight is negative.
    """
    import polars as pl

    with open_input(source) as stream:
        data = stream.read()
    name = display_name(source)
    text = not format_of(data[:4096]).unmistakable
    blast = text and _is_blast(decode_head(data[:65_536]).splitlines())
    frame = _read_blast(decode_text(data, name), name) if blast else parse_table(data, name)
    ends = _ends_of(frame.columns)
    if ends is None:
        raise BadInputError(
            f"{name} is not a table of edges",
            why=f"it has the columns {', '.join(frame.columns[:12])}",
            fix="name the columns of the ends of an edge source and target, or query and target",
        )
    for column in ends:
        lacking = frame[column].cast(pl.String).fill_null("").str.strip_chars() == ""
        if lacking.any():
            raise BadInputError(f"{name}: row {(lacking.arg_max() or 0) + 1} has no {column}", fix="remove the row")
    both = [frame[column].cast(pl.String).str.strip_chars() for column in ends]
    interleaved = pl.concat([both[0].to_frame("id"), both[1].to_frame("id")])
    order = pl.int_range(len(frame), eager=True)
    ids = (
        interleaved.with_columns(place=pl.concat([order * 2, order * 2 + 1]))
        .sort("place")["id"]
        .unique(maintain_order=True)
        .to_list()
    )
    place = {identity: row for row, identity in enumerate(ids)}
    a, b = (np.array([place[identity] for identity in column], dtype=np.int64) for column in both)
    attributes = {}
    for key, names in ATTRIBUTES.items():
        given = next((column for column in names if column in frame.columns), None)
        if given is not None:
            attributes[key] = _numbers(frame[given], name) / (100 if given == "pident" else 1)
    weights = attributes.get("weight")
    if weights is not None and (negative := weights < 0).any():
        row = int(negative.argmax())
        raise BadInputError(
            f"{name}: weight of row {row + 1} is {weights[row]:g}", why="weights are not negative", fix="correct the row"
        )
    return Network.of(name, ids, a, b, attributes)


def _numbers(column: pl.Series, name: str) -> Floats:
    import polars as pl

    values = column.cast(pl.Float64, strict=False)
    wrong = values.is_null() & column.is_not_null()
    if wrong.any():
        row = wrong.arg_max() or 0
        raise BadInputError(
            f"{name}: {column.name} of row {row + 1} is {column[row]!r}, not a number", fix="correct the row"
        )
    found: Floats = values.fill_null(np.nan).to_numpy().astype(np.float64)
    return found


def _ends_of(columns: Iterable[str]) -> tuple[str, str] | None:
    names = {column.strip().strip('"') for column in columns}
    return next((ends for ends in ENDS if names >= set(ends)), None)


def _is_blast(lines: list[str]) -> bool:
    """Return whether lines are BLAST tabular output: at least twelve fields, of which the third to twelfth are numbers."""
    fields = next((line.split("\t") for line in lines if not line.startswith("# ")), [])
    return _are_blast(fields)


def _are_blast(fields: list[str]) -> bool:
    return len(fields) >= _FIELDS and all(_NUMBER.fullmatch(text.strip()) for text in fields[2:_FIELDS])


def _read_blast(text: str, name: str) -> pl.DataFrame:
    import polars as pl

    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip() and line[:2] != "# "]
    rows = []
    for number, line in lines:
        fields = line.split("\t")
        if not _are_blast(fields):
            raise BadInputError(
                f"{name}: line {number} is not a line of BLAST tabular output",
                fix="write the twelve columns of -outfmt 6 (of --format-mode 0 in MMseqs2)",
            )
        rows.append([None if (part := fields[place].strip()) == "NA" else part for place in _BLAST.values()])
    return pl.DataFrame(rows, schema=dict.fromkeys(_BLAST, pl.String), orient="row")


NodeColumns = Mapping[str, list[str | None] | IntArray | Floats]
"""Attributes of nodes by name, (n,) each: text, whole numbers or numbers."""


RESERVED = frozenset({"suid", "name", "shared name", "selected", "interaction", "shared interaction"})
"""Columns that Cytoscape has in every table, in lower case; it does not tell names apart by case."""


def column_names(names: Iterable[str], taken: Iterable[str]) -> list[str]:
    """Return names that Cytoscape accepts beside others: `label_` precedes those that are taken or reserved.

    Examples:
        >>> from phylocli.formats.networks import column_names
        >>> column_names(["Family", "family", "Selected", "Degree"], ["degree"])
        ['Family', 'label_family', 'label_Selected', 'label_Degree']
    """
    used, found = {*RESERVED, *(name.casefold() for name in taken)}, []
    for name in names:
        free = name
        while free.casefold() in used:
            free = f"label_{free}"
        used.add(free.casefold())
        found.append(free)
    return found


def write_graphml(network: Network, target: PathLike | None, nodes: NodeColumns) -> None:
    """Write a network as GraphML, with the ids as the names of its nodes.

    Characters that XML does not allow are left out of texts.

    Args:
        network: the network; the attributes of its edges are `weight` and those that it has.
        target: a path, or `-`/None for standard output.
        nodes: attributes of the nodes, besides `name`.
    """
    edges = network.columns
    with open_output(target) as raw:
        stream = io.TextIOWrapper(raw, encoding="utf-8", newline="\n", write_through=False)
        stream.write('<?xml version="1.0" encoding="UTF-8"?>\n<graphml xmlns="http://graphml.graphdrawing.org/xmlns">\n')
        for kind, columns in (("node", {"name": network.ids, **nodes}), ("edge", edges)):
            for key, values in columns.items():
                of = "string" if isinstance(values, list) else "long" if values.dtype.kind == "i" else "double"
                stream.write(f'<key id={_attribute(f"{kind}-{key}")} for="{kind}" ')
                stream.write(f'attr.name={_attribute(key)} attr.type="{of}"/>\n')
        stream.write(f'<graph id={_attribute(network.name)} edgedefault="undirected">\n')
        names = [_attribute(identity) for identity in network.ids]
        rows = _rows("node", {"name": network.ids, **nodes}, len(network))
        stream.writelines(f"<node id={name}>{row}</node>\n" for name, row in zip(names, rows, strict=True))
        for (a, b), row in zip(network.ends.tolist(), _rows("edge", edges, len(network.ends)), strict=True):
            stream.write(f"<edge source={names[a]} target={names[b]}>{row}</edge>\n")
        stream.write("</graph>\n</graphml>\n")
        stream.flush()
        stream.detach()


def _attribute(text: str) -> str:
    return quoteattr(_ILLEGAL.sub("", text))


def _content(text: str) -> str:
    """Return a text as XML, without entities where possible: Cytoscape keeps only what follows the last one."""
    plain = escape(text)
    return plain if plain == text or "]]>" in text else f"<![CDATA[{text}]]>"


def _rows(kind: str, columns: Mapping[str, list[str] | list[str | None] | IntArray | Floats], count: int) -> Iterable[str]:
    """Yield the data elements of each node or edge; unknown values have none."""
    marked = [(f"<data key={_attribute(f'{kind}-{key}')}>", _texts(values)) for key, values in columns.items()]
    for row in range(count):
        yield "".join(f"{start}{texts[row]}</data>" for start, texts in marked if texts[row] is not None)


def _texts(values: list[str] | list[str | None] | IntArray | Floats) -> list[str | None]:
    if isinstance(values, list):
        return [None if value is None else _content(_ILLEGAL.sub("", value)) for value in values]
    if values.dtype.kind == "f":
        return [None if math.isnan(value) else f"{value:.7g}" for value in values.tolist()]
    return [str(value) for value in values.tolist()]
