"""Writing of sampled pairs: one table, the three tables of a split, or a description of the distances."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterable
from pathlib import Path

from phylocli.config.pairs import PairsConfig, SamplingConfig
from phylocli.core.errors import UsageError
from phylocli.formats.family import Family
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.streams import STDIO, PathLike, open_text_output
from phylocli.formats.tables import TableFormat, TableWriter, pairs_schema
from phylocli.pairs.bands import warn_if_narrow
from phylocli.pairs.sampler import EmptyBandError
from phylocli.pairs.sampling import StreamSampler
from phylocli.pairs.splits import PARTS, check_fractions, split_family
from phylocli.pairs.stats import distributions

logger = logging.getLogger(__name__)


def write_pairs(
    families: Iterable[Family], target: PathLike | None, config: SamplingConfig, table_format: TableFormat | None = None
) -> int:
    """Sample pairs into one table and return their number; see `iter_pairs`."""
    warn_if_narrow(config)
    drawer = StreamSampler(config)
    with TableWriter(target, pairs_schema(), table_format) as writer:
        for family in families:
            for frame in drawer.add(family):
                writer.write(frame)
        for frame in drawer.finish():
            writer.write(frame)
    write_sidecar(target, "pairs", config.to_parameters(), config.seed)
    return writer.rows


def split_path(target: PathLike, part: str) -> Path:
    """Return the path of a part of a split: `pairs.parquet` gives `pairs.train.parquet`."""
    path = Path(target)
    stem, dot, suffixes = path.name.partition(".")
    return path.with_name(f"{stem}.{part}{dot}{suffixes}")


def write_split(
    families: Iterable[Family],
    target: PathLike | None,
    config: PairsConfig,
    table_format: TableFormat | None = None,
) -> dict[str, int]:
    """Divide families into train, validation and test, and sample pairs within each part.

    Writes `NAME.train.EXT`, `NAME.validation.EXT` and `NAME.test.EXT`, and the split itself, `NAME.split.tsv`, with the
    columns family, clan, id, part. The number of pairs is divided by the fractions.

    Args:
        families: with trees.
        target: determines the names.
        config: which pairs to sample, and the kind of split (`holdout`; see `split_family`).
        table_format: None takes it from the suffix.

    Returns:
        Number of pairs in each part.

    Raises:
        UsageError: standard output as the target, an unknown kind of split, or wrong fractions.
        EmptyBandError: no part has a pair in the band.
    """
    if target is None or str(target) == STDIO:
        raise UsageError("a split is three tables and cannot go to standard output", fix="name an output with -o")
    if config.holdout is None:
        raise UsageError("no kind of holdout given", fix="set holdout to families, clans or clades")
    fractions = check_fractions(config.fractions)
    warn_if_narrow(config)
    parts = [part for part, fraction in zip(PARTS, fractions, strict=True) if fraction > 0]
    written: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        drawers, writers = {}, {}
        for part, fraction in zip(PARTS, fractions, strict=True):
            if part in parts:
                number = None if config.number is None else max(1, round(config.number * fraction))
                drawers[part] = StreamSampler(config.updated(number=number), part)
                writers[part] = stack.enter_context(TableWriter(split_path(target, part), pairs_schema(), table_format))
        listing = stack.enter_context(open_text_output(_listing_path(target)))
        listing.write("family\tclan\tid\tpart\n")
        for family in families:
            for part, members in split_family(family, config.holdout, fractions, config.seed):
                listing.writelines(f"{members.label}\t{members.clan}\t{name}\t{part}\n" for name in members.ids)
                for frame in drawers[part].add(members, family):
                    writers[part].write(frame)
        reasons = []
        for part in parts:
            try:
                for frame in drawers[part].finish():
                    writers[part].write(frame)
            except EmptyBandError as error:
                reasons.append(error)
                logger.warning(f"no pairs in the part {part}: {error.what}")
            written[part] = writers[part].rows
        if not any(written.values()):
            raise reasons[0]
    parameters = config.to_parameters()
    for path in (*(split_path(target, part) for part in parts), _listing_path(target)):
        write_sidecar(path, "pairs", parameters, config.seed)
    return written


def _listing_path(target: PathLike) -> Path:
    path = Path(target)
    return path.with_name(path.name.partition(".")[0] + ".split.tsv")


def write_distributions(families: Iterable[Family], target: PathLike | None, config: SamplingConfig) -> None:
    """Describe the distances of each family: bars for a terminal, else JSON, one object per line, with the bars on stderr.

    Raises:
        BadInputError: a family without a tree.
    """
    to_terminal = (target is None or str(target) == STDIO) and sys.stdout.isatty()
    with open_text_output(target) as stream:
        for found in distributions(families, config):
            text = "\n".join(found.lines())
            if to_terminal:
                stream.write(text + "\n")
            else:
                stream.write(json.dumps(found.as_json()) + "\n")
                logger.info(text)
