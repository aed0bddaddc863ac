"""Fit the residue predictor of a model: 3Di and secondary structure from the columns of a sequence and its homologs.

    python benchmarks/residue_predictor.py features DATA HOMOLOGS.sto.gz -o FOLDER [--model default]
    python benchmarks/residue_predictor.py train FOLDER [--epochs 4] [--seed 0] [--threads 1]
    python benchmarks/residue_predictor.py combine FOLDER [--model default]
    python benchmarks/residue_predictor.py speed FOLDER [--model default]

DATA has `structures/chains.tsv.gz`: PDB chains with 3Di letters and DSSP, of which the part `train` is trained on and the
part `valid` is predicted. HOMOLOGS has the homologs of each, under the name of the chain; a chain that is missing has none.
Those of the default model are from the proteins of UniProt 2014-01 (Debian's `metastudent-data`) that may be trained on (not
those of `DATA/exclude`):

    phylocli homologs chains.fa --database proteins.fasta --engine mmseqs --rounds 3 --coverage 0.3 --number 40 -o HOMOLOGS

`features` writes the features of all residues (`phylocli.predict.columns`), of each chain with at most 20 homologs, with at
most 4, and alone. `train` draws one of the three for each piece of a chain, so that one network predicts from families and
from single sequences, and writes `network-SEED.safetensors`, with the average of the weights over the last hundred steps or
so. `combine` writes the networks of all seeds into the folder of the model, and prints loss and accuracy of the part
`valid`, with intervals over chains, of each network and of all together. `speed` prints the residues per CPU second of
predictions from 200 chains by the heads and by the networks, each alone on one thread, in turn.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import torch
from default_model import interval_text, with_intervals
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import phylocli
from phylocli.embed import Embedder
from phylocli.embed.families import members_of, residues_in_blocks
from phylocli.formats.family import Family
from phylocli.models.heads import find_head
from phylocli.models.heads.base import UNKNOWN
from phylocli.models.residue_predictor import FILE, ColumnNetwork, ResiduePredictor
from phylocli.predict import column_features

HOMOLOGS = {20: 0.5, 4: 0.2, 0: 0.3}
"""Maximum number of homologs of a chain, and how often a piece of it is drawn with so many."""

WEIGHTS = {"3di": 1.0, "ss3": 0.3, "ss8": 0.3}
"""Of the losses."""

WIDTH, DEPTH, DROPOUT = 128, 5, 0.2
LONGEST, PIECES = 192, 24
"""Residues of a piece, at most, and pieces of a step."""

RATE, DECAY, AVERAGED = 2e-3, 0.1, 0.01


def thinned(family: Family, most: int) -> Family:
    """Return a family with at most so many homologs of its first member, at equal intervals."""
    found = len(family) - 1
    places = np.unique(np.linspace(0, found - 1, most).round().astype(int)) if found > most else range(found)
    return family.subset([family.ids[0], *(family.ids[1 + place] for place in places)])


def features(options: argparse.Namespace) -> None:
    """Write the features of all chains for each number of homologs, `columns-N.npy`, and the chains, `chains.parquet`."""
    torch.set_num_threads(1)  # of short operations
    chains = pl.read_csv(options.data / "structures" / "chains.tsv.gz", separator="\t", infer_schema=False)
    model = phylocli.Model.load(options.model)
    embedder = Embedder(model)
    alone = {name: Family([name], [letters], name=name) for name, letters in chains.select("chain", "sequence").iter_rows()}
    families = alone | {family.label: family for family in phylocli.read_families(options.homologs) if family.label in alone}
    found = pl.Series("homologs", [len(families[name]) - 1 for name in chains["chain"]])
    options.output.mkdir(parents=True, exist_ok=True)
    chains.with_columns(found).write_parquet(options.output / "chains.parquet")
    for most in HOMOLOGS:
        start, parts = time.process_time(), []
        for name in chains["chain"]:
            family = thinned(families[name], most)
            members = members_of(family, model.alphabet)
            if members[0] != alone[name].rows[0]:
                raise SystemExit(f"{options.homologs}: the first member of {name} is not the chain")
            parts.append(column_features(model, members, residues_in_blocks(members, embedder), family).astype(np.float16))
        np.save(options.output / f"columns-{most}.npy", np.concatenate(parts))
        print(f"at most {most} homologs: {time.process_time() - start:.0f} CPU s", flush=True)


class Chains:
    """Features and targets of all chains, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.table = pl.read_parquet(folder / "chains.parquet")
        self.columns = {most: np.load(folder / f"columns-{most}.npy", mmap_mode="r") for most in HOMOLOGS}
        texts = {"3di": self.table["three_di"], "ss3": self.table["dssp"], "ss8": self.table["dssp"]}
        self.targets = {
            head: np.concatenate([find_head(head).targets(text) for text in texts[head]]).astype(np.int64)
            for head in WEIGHTS
        }
        lengths = self.table["sequence"].str.len_bytes().to_numpy()
        self.ends = np.cumsum(lengths)
        self.starts = self.ends - lengths
        assert {len(columns) for columns in self.columns.values()} == {self.ends[-1]}

    def part(self, name: str) -> list[int]:
        """Return the indices of the chains of a part, `train` or `valid`."""
        return np.flatnonzero(self.table["split"] == name).tolist()

    def pieces(self, rng: np.random.Generator) -> list[list[tuple[int, int]]]:
        """Return the training chains, cut into pieces at random places, in random batches."""
        found = []
        for chain in self.part("train"):
            start, end = int(self.starts[chain]), int(self.ends[chain])
            offset = int(rng.integers(LONGEST)) if end - start > LONGEST else 0
            edges = sorted({start, *range(start + offset, end, LONGEST), end})
            found += [(a, b) for a, b in itertools.pairwise(edges) if b - a >= 16]
        order = rng.permutation(len(found)).tolist()
        return [[found[k] for k in order[i : i + PIECES]] for i in range(0, len(order), PIECES)]

    def batch(
        self, pieces: list[tuple[int, int]], numbers: list[int]
    ) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        """Return features, mask and targets of pieces, each with at most so many homologs."""
        longest, width = max(b - a for a, b in pieces), next(iter(self.columns.values())).shape[1]
        columns = torch.zeros(len(pieces), longest, width)
        mask = torch.zeros(len(pieces), longest, dtype=torch.bool)
        targets = {head: torch.full((len(pieces), longest), UNKNOWN) for head in WEIGHTS}
        for row, ((a, b), most) in enumerate(zip(pieces, numbers, strict=True)):
            columns[row, : b - a] = torch.from_numpy(self.columns[most][a:b].astype(np.float32))
            mask[row, : b - a] = True
            for head, codes in self.targets.items():
                targets[head][row, : b - a] = torch.from_numpy(codes[a:b])
        return columns, mask, targets


def fit_scale(network: ColumnNetwork, chains: Chains, rng: np.random.Generator) -> None:
    """Set the means and standard deviations of the features, from some training chains."""
    drawn = rng.permutation(chains.part("train"))[:500]
    values = np.concatenate([chains.columns[max(HOMOLOGS)][chains.starts[k] : chains.ends[k]] for k in drawn]).astype(
        np.float32
    )
    network.mean.copy_(torch.from_numpy(values.mean(0)))
    network.scale.copy_(torch.from_numpy(values.std(0) + 1e-3))


def network_of(chains: Chains) -> ColumnNetwork:
    """Return an untrained network."""
    features = next(iter(chains.columns.values())).shape[1]
    states = {head: len(find_head(head).states) for head in WEIGHTS}
    return ColumnNetwork(features, states, width=WIDTH, depth=DEPTH, dropout=DROPOUT)


def train(options: argparse.Namespace) -> None:
    """Train a network, and write it."""
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    rng = np.random.default_rng(options.seed)
    chains = Chains(options.folder)
    network = network_of(chains)
    fit_scale(network, chains, rng)
    print(f"{sum(p.numel() for p in network.parameters()):,} parameters", flush=True)
    steps = int(options.epochs * len(chains.pieces(rng)))
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.1)
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(1 - AVERAGED))
    start, losses = time.process_time(), []
    for step, pieces in enumerate(batches(chains, rng, steps), 1):
        numbers = rng.choice(list(HOMOLOGS), len(pieces), p=list(HOMOLOGS.values())).tolist()
        columns, mask, targets = chains.batch(pieces, numbers)
        logits = network(columns, mask)
        found = {
            head: F.cross_entropy(of.transpose(1, 2), targets[head], ignore_index=UNKNOWN) for head, of in logits.items()
        }
        optimizer.zero_grad()
        torch.stack([WEIGHTS[head] * loss for head, loss in found.items()]).sum().backward()
        clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        averaged.update_parameters(network)
        losses.append(found["3di"].item())
        if step % 250 == 0 or step == steps:
            spent = time.process_time() - start
            print(f"step {step}/{steps} · 3Di {np.mean(losses[-250:]):.3f} nats · {spent:.0f} CPU s", flush=True)
    save_file(averaged.module.state_dict(), options.folder / f"network-{options.seed}.safetensors")


def combine(options: argparse.Namespace) -> None:
    """Write all networks into the folder of the model, and print what they reach."""
    paths = sorted(options.folder.glob("network-*.safetensors"))
    if not paths:  # the predictor of the model would be replaced by an empty one
        raise SystemExit(f"{options.folder} has no networks: run 'train' first")
    chains, model = Chains(options.folder), phylocli.Model.load(options.model)
    assert model.folder is not None
    networks = []
    for path in paths:
        networks.append(network_of(chains))
        networks[-1].load_state_dict(load_file(path))
    ResiduePredictor(networks).save(model.folder / FILE, model.fingerprint)
    print(f"| {len(chains.part('valid')):,} chains | at most | head | loss, nats | accuracy |\n|---|---|---|---|---|")
    for seed, network in enumerate(networks if len(networks) > 1 else []):
        report(f"network {seed + 1}", ResiduePredictor([network]), chains)
    together = ResiduePredictor.load(model)
    assert together is not None
    report("all networks" if len(networks) > 1 else "the network", together, chains)


def speed(options: argparse.Namespace) -> None:
    """Print the residues per CPU second of predictions from single sequences."""
    torch.set_num_threads(1)
    records = list(pl.read_parquet(options.folder / "chains.parquet").select("chain", "sequence")[:200].iter_rows())
    models = {"heads": phylocli.Model.load(options.model), "networks": phylocli.Model.load(options.model)}
    models["heads"].folder = None
    number = sum(len(letters) for _, letters in records)
    for title in [*models] * 3:
        start = time.process_time()
        for _ in phylocli.predict_residues(records, models[title], "3di"):
            pass
        print(f"| {title} | {number / (time.process_time() - start):,.0f} |", flush=True)


def batches(chains: Chains, rng: np.random.Generator, steps: int) -> Iterator[list[tuple[int, int]]]:
    """Yield so many batches, epoch after epoch."""
    while steps > 0:
        for pieces in chains.pieces(rng)[:steps]:
            steps -= 1
            yield pieces


def report(title: str, predictor: ResiduePredictor, chains: Chains) -> None:
    """Print loss and accuracy of the validation chains, with intervals over chains."""
    valid = chains.part("valid")
    number = chains.table["homologs"].to_numpy()[valid]
    predictor.eval()
    for most in HOMOLOGS:
        sums: dict[str, list[tuple[float, int, int]]] = {head: [] for head in WEIGHTS}
        with torch.inference_mode():
            for chain in valid:
                columns, mask, targets = chains.batch([(int(chains.starts[chain]), int(chains.ends[chain]))], [most])
                for head, logs in predictor(columns, mask).items():
                    known, codes = targets[head][0] != UNKNOWN, targets[head][0]
                    loss = F.nll_loss(logs[0], codes, ignore_index=UNKNOWN, reduction="sum").item()
                    sums[head].append((loss, int((logs[0].argmax(1) == codes)[known].sum()), int(known.sum())))
        for head, rows in sums.items():
            values = np.array(rows, dtype=np.float64)
            groups = {"": number >= 0} | ({" (chains with 20 or more)": number >= 20} if most == max(HOMOLOGS) else {})
            for group, chosen in groups.items():
                if chosen.any():
                    reached = with_intervals(values[chosen], 0)
                    figures = " | ".join(interval_text(reached, name) for name in ("loss", "accuracy"))
                    print(f"| {title} | {most} homologs{group} | {head} | {figures} |", flush=True)


def main() -> None:
    """Make features, or train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    part = parts.add_parser("features")
    part.add_argument("data", type=Path)
    part.add_argument("homologs", type=Path)
    part.add_argument("-o", "--output", type=Path, required=True)
    part.set_defaults(function=features)
    other = parts.add_parser("train")
    other.add_argument("--epochs", type=float, default=4)
    other.add_argument("--seed", type=int, default=0)
    other.add_argument("--threads", type=int, default=1)
    other.set_defaults(function=train)
    last = parts.add_parser("combine")
    last.set_defaults(function=combine)
    timed = parts.add_parser("speed")
    timed.set_defaults(function=speed)
    for each in (other, last, timed):
        each.add_argument("folder", type=Path)
    for each in (part, last, timed):
        each.add_argument("--model", default="default")
    options = parser.parse_args()
    options.function(options)


if __name__ == "__main__":
    main()
