"""Output of families with trees as Stockholm records or Newick, or to the family store."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping

from phylocli.config.tree import TreeConfig
from phylocli.core.errors import unknown_name
from phylocli.formats import stockholm
from phylocli.formats.family import Family
from phylocli.formats.output_formats import NEWICK, STOCKHOLM, format_by_suffix
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.streams import PathLike, open_text_output, recorded_inputs, recording_inputs
from phylocli.formats.streams.recording import InputRecord, record_input
from phylocli.store import Store

FORMATS = ("stockholm", "newick")


def write_trees(
    families: Iterable[Family],
    target: PathLike | None,
    config: TreeConfig,
    *,
    format: str | None = None,
    store: PathLike | None = None,
    to_store: bool = False,
    inputs: MutableMapping[str, list[InputRecord]] | None = None,
) -> int:
    """Write families with trees one at a time, and return their number.

    Args:
        families: families with trees, as yielded by `infer_trees`.
        target: path of the output; `-` or None is standard output. A file has provenance next to it.
        config: the configuration, for the provenance.
        format: `stockholm` or `newick` (one line per family, in order); None determines it from the suffix.
        store: folder of the family store; None is the default store.
        to_store: whether to write to the store instead of `target`.
        inputs: by label, the inputs of each family that goes to the store, besides those that all have in common; they are
            removed as families are written. None: the same for all.

    Raises:
        UsageError: unknown format.
    """
    format = format or format_by_suffix(target, STOCKHOLM | NEWICK, "stockholm", what="trees", otherwise="--format")
    if format not in FORMATS:
        raise unknown_name("unknown tree format", format, FORMATS)
    count = 0
    if to_store:
        destination = Store(store)
        for family in families:
            known = [*recorded_inputs(), *(inputs.pop(family.label, []) if inputs is not None else [])]
            with recording_inputs():
                for record in known:
                    record_input(record)
                destination.write(family, "tree", {"notes": family.notes})
            count += 1
        return count
    with open_text_output(target) as stream:
        for family in families:
            if format == "newick":
                stream.write(family.require_tree().to_newick() + "\n")
            else:
                stockholm.write_family(family, stream)
            if target is None:
                stream.flush()  # so that the next stage of a pipe can start with it
            count += 1
    write_sidecar(target, "tree", {**config.to_parameters(), "format": format}, config.seed)
    return count
