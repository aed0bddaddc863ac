"""Contracts of plugins, built-in or installed: shapes, types and determinism by seed in real calls."""

from __future__ import annotations

import importlib.util
import inspect
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from phylocli.align.engines import Settings as AlignSettings
from phylocli.core import plugins
from phylocli.core.alphabet import AMINO_ACIDS, degap, encode_states, encode_tokens
from phylocli.core.errors import BadInputError, MissingDependencyError, PhylocliError
from phylocli.core.plugins import Kind
from phylocli.critics import build_critic
from phylocli.decoders import build_decoder, uniform_numbers
from phylocli.encoders import pad_batch
from phylocli.families.pool import Pool
from phylocli.families.searching import Settings as FamilySettings
from phylocli.formats import Sequence
from phylocli.formats.family import Family
from phylocli.formats.newick import NewickTree
from phylocli.modalities import parse
from phylocli.models.multimodal import tower
from phylocli.objectives import Batch, build_objective, needs_decoder, requirements_of
from phylocli.objectives.base.batch import Decoded, Removed
from phylocli.probe import Dataset
from phylocli.probe.inputs.embedding import Embedding
from phylocli.tree.settings import Settings as TreeSettings

ROWS = [
    "MKVLAAGIVGLCWERTYHPS",
    "MKVLSAGIV-LCWEHTYHPS",
    "MRVLSAGLVGYCFEHTFHPT",
    "MRILSPGLVGYWFEHSFKP-",
    "MRILSPGQVGYWFDHSFKPA",
]


def family() -> Family:
    newick = "(((a:0.1,b:0.2):0.3,(c:0.1,d:0.4):0.2):0.1,e:0.5);"
    return Family(list("abcde"), ROWS, aligned=True, accession="PF1", tree=NewickTree(newick))


def check(kind: Kind[Any], name: str) -> None:
    """Check that a plugin meets the contract of its kind."""
    plugin = kind.load(name)
    assert not list(plugins.missing_parts(kind.contract, plugin))
    assert len(kind.summary(name)) > 10
    assert len(kind.origins(name)) == 1
    try:
        CHECKS[kind.noun](plugin, name)
    except MissingDependencyError as error:  # an engine whose program is not on this machine tells how to get it
        assert error.fix


def check_view(plugin: Any, name: str) -> None:
    assert plugin.KIND in ("source", "transform", "addition")
    assert plugin.DISTANCE
    assert all(p.default is not p.empty for p in inspect.signature(plugin.make).parameters.values())
    view = plugin.make()
    if plugin.KIND == "source":
        alphabet = getattr(plugin, "ALPHABETS", ("protein",))[0]
        rows = ROWS if alphabet == "protein" else ["ACGTTGCAACGTTGCAACGT"] * 4 + ["ACGTTGCAACGATGCAACGT"]
        prepared = view.prepare(Family(list("abcde"), rows, aligned=True, tree=family().tree, alphabet=alphabet))
        a, b, distance = prepared.draw(6, np.random.default_rng(3))
        assert len(a) == len(b) == len(distance) == 6
        assert all(x.dtype == np.uint8 and x.ndim == 1 and len(x) for x in (*a, *b))
        assert np.asarray(distance).dtype == np.float64
        again = prepared.draw(6, np.random.default_rng(3))
        assert [x.tolist() for x in (*a, *b)] == [x.tolist() for x in (*again[0], *again[1])]
        return
    tokens = encode_tokens("MKVLAXGIVGLCWYHHERRNDPQSTF")
    before = tokens.copy()
    made, again = (view(tokens, np.random.default_rng(0)) for _ in range(2))
    assert made.dtype == np.uint8 and made.ndim == 1
    assert made.tolist() == again.tolist()
    assert tokens.tolist() == before.tolist(), "a view must not change its input"
    assert len(view(tokens[:1], np.random.default_rng(0))) >= 1
    assert isinstance(float(view.expected_distance), float)


def check_encoder(plugin: Any, name: str) -> None:
    assert plugin.Encoder.PRESETS
    if name in ("plm", "language-model"):
        return  # their presets are on a hub; tests/encoders makes checkpoints
    torch.manual_seed(0)
    encoder = plugin.Encoder(**next(iter(plugin.Encoder.PRESETS.values()))).eval()
    long, short = (encode_tokens(text) for text in ("MKVLAAGIVGLCWERTYHPS", "MRVLSAG"))
    with torch.no_grad():
        tokens, mask = pad_batch([long, short])
        together = encoder(tokens, mask)
        assert together.shape == (2, len(long), encoder.dimension)
        alone = encoder(*pad_batch([short]))
        assert torch.allclose(together[1, : len(short)], alone[0], atol=1e-5), "an embedding must not depend on padding"
        assert torch.equal(encoder(tokens, mask, layer=encoder.depth)[mask], together[mask])
        assert encoder(tokens, mask, layer=0).shape == together.shape


def check_modality(plugin: Any, name: str) -> None:
    samples = {
        "profile": [[0.05] * 20] * 3,
        "nucleotides": "ACGTN",
        "secondary-structure": "HHEC",
        "smiles": "CC(=O)Cl",
        "selfies": "[C][=O]",
    }
    value = samples.get(name, "ACDE")
    (size,) = plugin.INPUT.values()
    assert set(plugin.INPUT) <= {"vocabulary", "inputs"} and size > 0
    assert set(plugin.ENCODER) == {"name", "preset", "pooling"}
    found = parse(name, value)
    assert len(found) and found.tolist() == parse(name, value).tolist()
    if "vocabulary" in plugin.INPUT:
        assert found.dtype.kind in "iu" and found.min() >= 0 and found.max() < size
    else:
        assert found.dtype == np.float32 and found.shape[1] == size
    for wrong in ({}, *([5] if "vocabulary" in plugin.INPUT else [])):  # one number may be a position
        with pytest.raises(BadInputError, match="a table, row 1"):
            parse(name, wrong, "a table, row 1")
    model = tower(name).eval()
    with torch.no_grad():
        together = model(*pad_batch([found, found[:1]]))
        alone = model(*pad_batch([found[:1]]))
    assert together.shape == (2, model.dimension)
    assert torch.allclose(together[1], alone[0], atol=1e-5), "a vector must not depend on padding"
    if hasattr(plugin, "augment"):
        again = [plugin.augment(value, np.random.default_rng(0)) for _ in range(2)]
        assert again[0] == again[1] and len(parse(name, again[0]))
        if name != "smiles" or importlib.util.find_spec("rdkit"):
            others = {str(plugin.augment(value, np.random.default_rng(seed))) for seed in range(8)}
            assert len(others) > 1, "another seed gives another form of the value"


def check_pooling(plugin: Any, name: str) -> None:
    torch.manual_seed(0)
    pooling = plugin.Pooling(8).eval()
    residues = torch.randn(2, 5, 8)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    with torch.no_grad():
        pooled = pooling(residues, mask)
        assert pooled.shape == (2, getattr(pooling, "dimension", 8))
        alone = pooling(residues[1:, :3], mask[1:, :3])
    assert torch.allclose(pooled[1], alone[0], atol=1e-6), "a pooled vector must not depend on padding"
    assert torch.isfinite(pooling(residues, torch.zeros_like(mask))).all()


def check_decoder(plugin: Any, name: str) -> None:
    torch.manual_seed(0)
    decoder = build_decoder(name, 6, {"max_length": 30}).eval()
    z = torch.randn(2, 6)
    tokens, mask = pad_batch([encode_tokens(text) for text in ("MKVLAXGIVGLC", "MRVLSAG")])
    with torch.no_grad():
        steps = decoder.steps(z, tokens, mask)
        assert steps.ndim == 2 and len(steps) == 2 and (steps <= 1e-5).all(), "steps are log probabilities"
        total = decoder.log_likelihood(z, tokens, mask)
        assert torch.allclose(total, steps.sum(1), atol=1e-4)
        alone = decoder.log_likelihood(z[1:], tokens[1:, :7], mask[1:, :7])
    assert torch.allclose(alone, total[1:], atol=1e-3), "a likelihood must not depend on padding"
    uniform = uniform_numbers(2, decoder.draws, seed=0)
    made, again = (decoder.sample(z, uniform) for _ in range(2))
    assert [x.tolist() for x in made] == [x.tolist() for x in again]
    assert all(x.dtype == np.uint8 and 1 <= len(x) <= decoder.max_length for x in made)
    z.requires_grad_()
    decoder.log_likelihood(z, tokens, mask).sum().backward()
    assert z.grad is not None and torch.isfinite(z.grad).all()


def check_critic(plugin: Any, name: str) -> None:
    torch.manual_seed(0)
    critic = plugin.Critic(6)
    a, b = torch.randn(5, 6, requires_grad=True), torch.randn(7, 6)
    scores = critic(a, b)
    assert scores.shape == (5, 7)
    assert torch.isfinite(scores).all()
    assert torch.allclose(critic(a[1:2], b[2:3])[0, 0], scores[1, 2], atol=1e-5), "a score must depend on its pair only"
    scores.sum().backward()
    assert a.grad is not None


def check_objective(plugin: Any, name: str) -> None:
    n, length, features = 6, 12, 6
    torch.manual_seed(0)
    critic = build_critic("gaussian" if needs_decoder(name) else "cosine", features)
    objective = build_objective(name, critic, dimension=features, features=features)
    wanted = requirements_of(objective)
    assert isinstance(objective, nn.Module)
    torch.manual_seed(1)
    a, b = (torch.randn(n, 0 if wanted.views == "none" else features, requires_grad=True) for _ in range(2))
    residues = torch.randn(n, length, features, requires_grad=True)
    mask = torch.ones(n, length, dtype=torch.bool)
    batch = Batch.of_families(torch.arange(n), distance=torch.rand(n))
    batch.more = [torch.randn(n, features) for _ in range(2)]
    batch.residues, batch.mask, batch.segments, batch.present = residues, mask, residues, mask
    nats = torch.full((n,), -40.0, requires_grad=True)
    batch.decoded = Decoded(nats, torch.randint(0, 20, (n, length)), torch.full((n,), length))
    kept = torch.arange(length) % 2 == 0
    batch.removed = Removed(torch.randint(0, 20, (n, length)), mask, kept.expand(n, -1))
    if wanted.removal:  # the residues are then those that remain
        batch.residues, batch.mask = residues[:, kept], mask[:, kept]
    if wanted.classes:
        objective.set_classes(batch.clan)
    objective(a, b, batch)
    if hasattr(objective, "after_step"):
        objective.after_step()  # what a memory bank takes in enters here
    losses = []
    objective.eval()
    for _ in range(2):
        torch.manual_seed(2)
        terms = objective(a, b, batch)
        losses.append(terms["loss"])
    assert losses[0].shape == ()
    assert torch.isfinite(losses[0])
    assert torch.equal(*losses), "in evaluation, an objective must not change its state"
    losses[0].backward()
    assert any(x.grad is not None and x.grad.abs().sum() > 0 for x in (a, b, residues))


def check_tree_engine(plugin: Any, name: str) -> None:
    states = encode_states(ROWS)
    made, again = (plugin.infer(states, TreeSettings(alpha=1.0)) for _ in range(2))
    tree = made.tree
    assert sorted(tree.tip_names()) == [str(row) for row in range(len(ROWS))]
    assert tree.parent[0] == -1 and (tree.parent[1:] < np.arange(1, len(tree))).all()
    assert np.isfinite(tree.length[1:]).all()
    assert made.description
    assert tree.length.tolist() == again.tree.length.tolist()


def check_aligner(plugin: Any, name: str) -> None:
    given = family()
    rows, reference, description = plugin.align(given, AlignSettings(threads=1))
    assert [degap(row).upper() for row in rows] == [s.residues for s in given.sequences()]
    assert len({len(row) for row in rows}) == 1
    assert reference == "" or len(reference) == len(rows[0])
    assert description


def check_family_engine(plugin: Any, name: str) -> None:
    rng = np.random.default_rng(0)
    letters = ["".join(rng.choice(list(AMINO_ACIDS), 60)) for _ in range(3)]
    pool = Pool(Sequence(f"s{i}{j}", text[:j] + "A" + text[j + 1 :]) for i, text in enumerate(letters) for j in (5, 30, 50))
    assert plugin.describe()
    found = []
    for _ in range(2):
        with ThreadPoolExecutor(2) as executor:
            groups = plugin.group(pool, FamilySettings(threads=2), executor)
        found.append([[hit.region for hit in group.members] for group in groups])
    assert found[0] == found[1]
    taken = [(r.sequence, at) for regions in found[0] for r in regions for at in range(r.start, r.end + 1)]
    assert taken
    assert len(set(taken)) == len(taken), "a residue is in one group at most"
    assert all(0 <= s < len(pool) and 1 <= at <= pool.lengths[s] for s, at in taken)


def check_probe(plugin: Any, name: str) -> None:
    rng = np.random.default_rng(1)
    fold = rng.integers(0, 4, 60)
    labels = {
        "family": [f"x{f}{k}" for f, k in zip(fold, rng.integers(0, 3, 60), strict=True)],
        "fold": [f"x{f}" for f in fold],
    }
    ids = [f"s{i}" for i in range(60)]
    quantity = rng.normal(size=60).round(3).tolist()
    data = Dataset.from_labels(pl.DataFrame({"id": ids, **labels, "quantity": quantity}), "labels")
    embedding = Embedding("e", ids, rng.normal(size=(60, 5)).astype(np.float32))
    assert plugin.TITLE
    assert plugin.METRICS
    assert all(metric.meaning and metric.better in ("higher", "lower", None) for metric in plugin.METRICS.values())
    for level in plugin.levels(data)[:1]:
        made, again = (plugin.measure(data, embedding, level, 0) for _ in range(2))
        estimates = made.estimates
        assert {e.metric for e in estimates} <= set(plugin.METRICS)
        assert [e.value for e in estimates] == [e.value for e in again.estimates]
        for one in estimates:
            assert one.rows is None or len(one.rows) == one.n
            if one.statistic is not None:  # on all items once, the statistic is the estimate
                assert one.statistic(np.arange(one.n)) == pytest.approx(one.value, rel=1e-6)


def check_baseline(plugin: Any, name: str) -> None:
    ids, sequences = ["a", "b", "c"], ["MKVLAAGIVG", "MRVLSAGLVG", "MRILSPGLVW"]
    made, again = (plugin.embed(name, ids, sequences) for _ in range(2))
    assert list(made.ids) == ids and made.baseline
    assert made.vectors.dtype == np.float32 and len(made.vectors) == 3
    assert np.isfinite(made.vectors).all() and made.vectors.tolist() == again.vectors.tolist()
    rows = np.arange(3)
    assert made.similarity(rows)(rows).shape == (3, 3)


def check_benchmark(plugin: Any, name: str) -> None:
    assert plugin.PARTS and len(set(plugin.PARTS)) == len(plugin.PARTS)
    with tempfile.TemporaryDirectory() as folder, pytest.raises(PhylocliError):
        plugin.load(Path(folder), plugin.PARTS[0])


CHECKS = {
    "view": check_view,
    "modality": check_modality,
    "encoder": check_encoder,
    "pooling": check_pooling,
    "decoder": check_decoder,
    "critic": check_critic,
    "objective": check_objective,
    "tree engine": check_tree_engine,
    "aligner": check_aligner,
    "family engine": check_family_engine,
    "probe": check_probe,
    "baseline": check_baseline,
    "benchmark": check_benchmark,
}
