"""Pairs of homologs by patristic distance and by relation: the data of the experiment on views."""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from phylocli.config.infomax import InfomaxConfig
from phylocli.core.words import counted
from phylocli.formats import Family
from phylocli.formats.species import SpeciesRule
from phylocli.formats.streams import PathLike
from phylocli.infomax.inputs import (
    HELD_OUT,
    Sampled,
    Scored,
    data_path,
    divided,
    scored_arrays,
    scored_part,
    whole_domains,
    write_arrays,
)
from phylocli.pairs.patristic import Patristic
from phylocli.pairs.relations import Relations
from phylocli.tree import infer_trees

logger = logging.getLogger(__name__)

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Homologs:
    """Members of training families, and the distances of pairs within a family, both held out or neither.

    Attributes:
        features: of whole domains, standardised, (m, FEATURES).
        family: code of the family of each member, (m,).
        clan: code of its clan, or of its family if that is in no clan, (m,).
        is_held_out: (m,).
        pairs: numbers of the members, (p, 2).
        distance: patristic, in substitutions per site, (p,).
        relation: index of `phylocli.pairs.relations.RELATIONS`, (p,).
        unseen: members of families that were not trained on.
        seen: members of training families, tested on held-out ones.
    """

    features: Tensor
    family: Codes
    clan: Codes
    is_held_out: npt.NDArray[np.bool_]
    pairs: Codes
    distance: npt.NDArray[np.float64]
    relation: npt.NDArray[np.uint8]
    unseen: Scored
    seen: Scored


def make_homologs(families: PathLike, evaluate: PathLike | None, folder: Path, config: InfomaxConfig) -> Path:
    """Write the members of a random sample of families with their distances, and return the file; one that exists is kept.

    Trees of records are used as they are; those of other families are inferred from the sampled members. Relations need
    species, which are known from UniProt entry names, and are those of the whole tree.

    Args:
        families, evaluate, folder, config: as for `make_pairs`, with the same sample of families and members.

    Raises:
        BadInputError: as for `make_pairs`.
    """
    path = data_path("distances", folder, config, families, evaluate)
    if path.is_file():
        return path
    rng = np.random.default_rng(0)
    training, others, records = divided(families, evaluate, config, rng)
    held = [rng.random(len(family.halves)) < HELD_OUT for family in training]
    groups = {name: code for code, name in enumerate(dict.fromkeys(family.group for family in training))}
    sizes = [len(family.halves) for family in training]
    starts = np.cumsum([0, *sizes])
    parts = [
        _within(tree, [record.ids[k] for k in family.members], out, start)
        for family, record, tree, out, start in zip(
            training, (records[f.at] for f in training), _with_trees(training, records), held, starts, strict=False
        )
    ]
    pairs, distance, relation = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    arrays: dict[str, npt.NDArray[Any]] = {
        "features": np.concatenate([whole_domains(family.halves) for family in training]),
        "family": np.repeat(np.arange(len(training)), sizes),
        "clan": np.repeat([groups[family.group] for family in training], sizes),
        "is_held_out": np.concatenate(held),
        "pairs": pairs,
        "distance": distance,
        "relation": relation,
        **scored_arrays("homologs", families, training[: config.scored_families], held, others, rng),
    }
    write_arrays(path, arrays)
    logger.info(
        f"{len(pairs):,} pairs of homologs in {counted(len(training), 'family')}, up to {distance.max():.1f} substitutions "
        f"per site; {counted(int((relation > 0).sum()), 'pair')} with known species"
    )
    return path


def _with_trees(training: list[Sampled], records: list[Family]) -> list[Family]:
    """Return a family with a tree for each sample; missing trees are inferred from the sampled members."""
    bare = [family for family in training if not records[family.at].has_tree]
    subsets = (records[family.at].subset([records[family.at].ids[k] for k in family.members]) for family in bare)
    made = {family.at: tree for family, tree in zip(bare, infer_trees(subsets), strict=True)}
    return [made.get(family.at, records[family.at]) for family in training]


def _within(
    family: Family, names: list[str], out: npt.NDArray[np.bool_], start: int
) -> tuple[Codes, npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
    """Return the pairs of a family's sampled members that are both held out or neither, with distances and relations."""
    tree = family.require_tree()
    tips = tree.tip_names()
    prepared = Patristic(tree)
    relations = Relations.of(prepared, [SpeciesRule()(name) for name in tips])
    place = {name: k for k, name in enumerate(tips)}
    known = np.array([k for k, name in enumerate(names) if name in place], dtype=np.int64)
    i, j = np.triu_indices(len(known), 1)
    together = out[known[i]] == out[known[j]]
    first, second = known[i[together]], known[j[together]]
    at = np.array([place.get(name, -1) for name in names])
    distance = prepared.distance(at[first], at[second]) if len(first) else np.zeros(0)
    return start + np.stack([first, second], axis=1), distance, relations.codes(at[first], at[second])


@functools.lru_cache(maxsize=1)
def read_homologs(path: Path) -> Homologs:
    """Return the homologs of a file of `make_homologs`, standardised by the members that are not held out."""
    with np.load(path) as stored:
        arrays = dict(stored)
    features = torch.from_numpy(arrays["features"])
    train = features[~torch.from_numpy(arrays["is_held_out"])]
    mean, scale = train.mean(0), train.std()
    names = ("family", "clan", "is_held_out", "pairs", "distance", "relation")
    unseen, seen = (scored_part(name, arrays, mean, scale) for name in ("unseen", "seen"))
    return Homologs((features - mean) / scale, **{name: arrays[name] for name in names}, unseen=unseen, seen=seen)
