"""The hybrid bound on families: contrastive, autoencoder and hybrid models, trained alike, compared on three tasks.

    python benchmarks/hybrid.py train DATA -o FOLDER [--families 100] [--steps 2000] [--alphas 0,0.02,0.1,1] [--seeds 0]
                                                     [--decoder autoregressive [--decoder-dropout 0.3]] [--whole]
    python benchmarks/hybrid.py evaluate DATA -o FOLDER [--profiles Pfam-A.hmm] [--held-out 8] [--guidance 2]
    python benchmarks/hybrid.py figures DATA -o FOLDER
    python benchmarks/hybrid.py speed DATA -o FOLDER

DATA is the folder of the evaluation sets. Everything stays in FOLDER: what was interrupted continues, what is done is read.

`train` trains each α for as many steps, and a latent diffusion where there is a trained decoder; a fifth of the members of
each family is held out as whole clades, and nothing is chosen by them. `evaluate` prints, for all models in FOLDER:
reconstruction of held-out members; linear probes of y, w and z, fitted on training members (family, clan, composition) or on
chains of the training split (secondary structure) and scored on held-out ones; rank correlation with patristic distance;
reconstruction and probes of as many families of other clans, which no model was trained on (`unseen`); and the task
generation. Values are means over seeds, and intervals resample families (or chains) and seeds; differences from contrast
alone and from the autoencoder alone are of the same resampled families. `figures` draws interpolations as alignments, and
prints the identities of their ends and the lengths of reconstructions. `speed` measures training and generation in CPU
seconds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import torch
from distillation import key_of
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

import phylocli
from phylocli.config.assignments import nested
from phylocli.config.train import TrainConfig
from phylocli.core import console
from phylocli.core.alphabet import AMINO_ACIDS
from phylocli.core.memory import freed_memory_kept
from phylocli.core.threads import limit_threads
from phylocli.diffusion import DiffusionArchitecture, LatentDiffusion
from phylocli.formats.streams import file_sha256
from phylocli.generate import generate, interpolate, reconstruct
from phylocli.generate.decoding import decoded
from phylocli.models.config import DecoderArchitecture
from phylocli.models.latent_vectors import latent_vectors
from phylocli.models.model import Model
from phylocli.pairs import Split, split_clades
from phylocli.pairs.patristic import Patristic
from phylocli.probe import NamedSource
from phylocli.statistics import identity
from phylocli.statistics.bootstrap import resamples
from phylocli.train.data.loading import load_corpus
from phylocli.train.data.types import PairBatch
from phylocli.train.optimiser import make_optimiser
from phylocli.train.parallel.execution import choose_precision
from phylocli.train.task import ContrastiveTask

LENGTHS = (40, 120)
FEWEST_MEMBERS = 60
OF_A_CLAN = 4
HELD_OUT = 0.2
REPLICATES = 200
DROPOUT = 0.3
ALPHAS = (0.02, 0.0, 1.0, 0.1)
SETTINGS: dict[str, object] = {
    "view.crop.min_fraction": 0.8,
    "view.crop.max_length": 512,
    "encoder.preset": "tiny",
    "checkpoints.every": 50,
    "checkpoints.keep": 1,
    "checkpoints.best": "",
    "validation.every": 250,
    "validation.pairs": 256,
    "log.mfu": False,
}
"""Of all variants, over the recipe `hybrid`."""


def table_of(data: Path, name: str, fewest: int) -> pl.DataFrame:
    """Return the short families of a set with enough members, by accession."""
    table = pl.read_csv(data / "families" / f"{name}.tsv", separator="\t")
    return table.filter(pl.col("model_length").is_between(*LENGTHS) & (pl.col("n_seqs") >= fewest)).sort("accession")


def chosen_families(data: Path, number: int) -> list[str]:
    """Return accessions of short, large families: up to four of each clan that has several, then others, by accession."""
    table = table_of(data, "train", FEWEST_MEMBERS)
    clans = table.filter(pl.col("clan").is_not_null() & (pl.len().over("clan") > 1)).sort("clan", "accession")
    first = clans.group_by("clan", maintain_order=True).head(OF_A_CLAN)["accession"].to_list()
    rest = [name for name in table["accession"] if name not in first]
    return [*first, *rest][:number]


def unseen_families(data: Path, number: int) -> dict[str, list[str]]:
    """Return accessions of families of clans that no training family is of, by set: those of dev, then others of train."""
    train = table_of(data, "train", 0)
    seen = train.filter(pl.col("accession").is_in(chosen_families(data, number)))
    dev = table_of(data, "dev", 0)["accession"].to_list()[:number]
    others = train.filter(
        ~pl.col("accession").is_in(seen["accession"].to_list())
        & ~pl.col("clan").fill_null("").is_in(seen["clan"].drop_nulls().to_list())
        & (pl.col("n_seqs") >= FEWEST_MEMBERS)
    )
    return {"dev": dev, "train": others["accession"].to_list()[: number - len(dev)]}


def prepare(data: Path, folder: Path, number: int, unseen: bool = False) -> tuple[Path, Path]:
    """Write the families with their trees, and the split: a fifth of the members is held out, as whole clades.

    Args:
        data: the evaluation sets.
        folder: where the files are kept.
        number: of families.
        unseen: families that the models are not trained on; what is held out there is held out from the probes.
    """
    kind = "unseen-" * unseen
    families, split = folder / f"{kind}families-{number}.sto.gz", folder / f"{kind}split-{number}.parquet"
    if not families.is_file():
        of = unseen_families(data, number) if unseen else {"train": chosen_families(data, number)}
        names = {name.split(".")[0] for chosen in of.values() for name in chosen}
        every = (family for part in of for family in phylocli.read_families(data / "families" / f"{part}.sto.gz"))
        records = (family for family in every if family.accession in names)
        phylocli.write_families(phylocli.infer_trees(records, jobs=1), families)
    if not split.is_file():
        held_out = [(family, split_clades(family, HELD_OUT, 0)) for family in phylocli.read_families(families)]
        Split.of((f, [("validation", out), ("train", set(f.ids) - out)]) for f, out in held_out).write(split)
    return families, split


def variant(alpha: float) -> str:
    """Return the name of the model with this α."""
    return {0.0: "contrastive", 1.0: "autoencoder"}.get(alpha, f"hybrid-{alpha:g}")


def train(options: argparse.Namespace) -> None:
    """Train the models, and a latent diffusion for each that has a trained decoder."""
    folder = options.output
    families, split = prepare(options.data, folder, options.families)
    own: dict[str, object] = {**SETTINGS, "decoder.name": options.decoder}
    kind = f"-{options.decoder}" * (options.decoder != "convolutional")
    if options.decoder == "autoregressive":
        own["decoder.dropout"] = options.decoder_dropout
        kind += f"-dropout{options.decoder_dropout:g}" * (options.decoder_dropout != DROPOUT)
    if options.whole:
        kind += "-whole"
        own = {"view.name": "phylogenetic", **{key: value for key, value in own.items() if not key.startswith("view.")}}
    for seed, alpha in itertools.product(options.seeds, options.alphas):
        run = folder / f"{variant(alpha)}{kind}-{options.steps}-seed{seed}"
        started = time.process_time()
        phylocli.train_model(
            [families], run, recipe="hybrid", steps=options.steps, seed=seed, device="cpu", resume=True,
            cache=folder / "cache", settings={
                **own, "objective.alpha": alpha, "batch.pairs": options.pairs, "validation.split": str(split)
            },
        )  # fmt: skip
        print(run.name, f"{time.process_time() - started:.0f} CPU s", flush=True)
        if alpha:
            phylocli.train_model(
                [families], run.with_name(f"{run.name}-diffusion"), recipe="latent-diffusion", latents=str(run / "model"),
                steps=options.diffusion_steps, seed=seed, device="cpu", resume=True,
                settings={"validation.split": str(split), "diffusion.width": 256, "diffusion.depth": 3},
            )  # fmt: skip


def models_of(folder: Path) -> dict[str, Model]:
    """Return the trained models of a folder by name."""
    runs = sorted(path.parent for path in folder.glob("*-seed*/model") if "-diffusion" not in path.parent.name)
    return {run.name: Model.load(run / "model") for run in runs}


def stored(path: Path, work: Callable[[], dict[str, list[float]]]) -> dict[str, list[float]]:
    """Return stored results, or compute and store them; the name of the file has all that they depend on."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(work()), encoding="utf-8")
    return dict(json.loads(path.read_text(encoding="utf-8")))


def resampled(statistic: Callable[[np.ndarray], float], n: int, groups: np.ndarray | None = None) -> list[float]:
    """Return a statistic of items 0 … n − 1, and then of 200 resamples of groups of them, the same for every model."""
    return [float(statistic(index)) for index in (np.arange(n), *resamples(n, REPLICATES, 0, groups))]


def summary(seeds: Sequence[Sequence[float]], others: Sequence[Sequence[float]] = ()) -> tuple[float, float, float]:
    """Return the mean over seeds and its 95 % interval over resampled families and seeds; with `others`, of the difference.

    Args:
        seeds: of each seed, what `resampled` returns.
        others: the same of the model that is subtracted.
    """
    rng, draws, value = np.random.default_rng(0), np.zeros(REPLICATES), 0.0
    for sign, of in ((1, seeds), (-1, others)):
        if len(of):
            array = np.array(of)
            value += sign * array[:, 0].mean()
            chosen = rng.integers(len(array), size=(len(array), REPLICATES))
            draws += sign * array[chosen, 1 + np.arange(REPLICATES)].mean(0)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(value), float(low), float(high)


def some_members(families: Path, split: Path, kept: dict[str, int]) -> list[tuple[str, str, str, str]]:
    """Return family, clan, part and letters of at most so many members of each part of each family."""
    parts, rng, found = Split.read(split), np.random.default_rng(0), []
    for family in phylocli.read_families(families):
        letters = {sequence.id: sequence.residues for sequence in family.sequences()}
        for part, most in kept.items():
            ids = sorted(parts.ids(family.label, part))
            chosen = [ids[k] for k in rng.permutation(len(ids))[:most]]
            found += [(family.label, family.clan or family.label, part, letters[name]) for name in chosen]
    return found


def vectors_of(model: Model, letters: Sequence[str]) -> np.ndarray:
    """Return latent vectors, (n, Z)."""
    return latent_vectors(model, [model.encode(text) for text in letters]).double().numpy()


def reconstruction(model: Model, members: list[tuple[str, str, str, str]]) -> dict[str, list[float]]:
    """Return mean identity and perplexity per residue of reconstructed members; families are resampled."""
    found = list(reconstruct([text for *_, text in members], model))
    alike = np.array([x.identity for x in found])
    nats, residues = (
        np.array([x.log_likelihood for x in found]),
        np.array([len(x.sequence.residues) for x in found]),
    )
    groups = np.unique([family for family, *_ in members], return_inverse=True)[1]
    return {
        "identity": resampled(lambda index: alike[index].mean(), len(found), groups),
        "perplexity": resampled(lambda index: np.exp(-nats[index].sum() / residues[index].sum()), len(found), groups),
    }


def probes(model: Model, members: list[tuple[str, str, str, str]], data: Path | None) -> dict[str, list[float]]:
    """Return accuracies and R² of linear probes of y, w and z; of secondary structure, too, given the evaluation sets."""
    family, clan, part, letters = (np.array(column) for column in zip(*members, strict=True))
    z = vectors_of(model, letters.tolist())
    fit, test = part == "train", part == "validation"
    composition = np.array([[text.count(x) / len(text) for x in AMINO_ACIDS] for text in letters])
    groups = np.unique(family[test], return_inverse=True)[1]
    found = {}
    for name in ("y", "w", "z"):
        at = slice(None) if name == "z" else model.part(name)
        x = StandardScaler().fit(z[fit][:, at]).transform(z[:, at])
        for level, labels in (("family", family), ("clan", clan)):
            probe = LogisticRegression(C=0.1, max_iter=100, tol=1e-2).fit(x[fit], labels[fit])
            correct = probe.predict(x[test]) == labels[test]
            found[f"{name} {level}"] = resampled(lambda k, c=correct: c[k].mean(), len(correct), groups)
        predicted = RidgeCV(np.logspace(-1, 4, 6)).fit(x[fit], composition[fit]).predict(x[test])
        found[f"{name} composition"] = resampled(
            lambda k, p=predicted, t=composition[test]: r2_score(t[k], p[k]), int(test.sum()), groups
        )
        if data is not None:
            found[f"{name} structure"] = structure(model, data, at)
    return found


@cache
def chains(model: Model, data: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return latent vectors, contents of helix and strand, and which are for the fit, of chains of known structure."""
    table = pl.read_csv(data / "structures" / "chains.tsv.gz", separator="\t").filter(
        pl.col("sequence").str.len_chars().is_between(40, 250)
    )
    few = pl.concat([table.filter(pl.col("split") == x).sample(n, seed=0) for x, n in (("train", 1500), ("valid", 500))])
    content = np.array([[text.count("H") / len(text), text.count("E") / len(text)] for text in few["dssp"].to_list()])
    z = vectors_of(model, [text.upper() for text in few["sequence"].to_list()])
    return z, content, np.array(few["split"].to_list()) == "train"


def structure(model: Model, data: Path, at: slice) -> list[float]:
    """Return R² of the contents of helix and strand of chains, from these features."""
    z, content, fit = chains(model, data)
    x = StandardScaler().fit(z[fit][:, at]).transform(z[:, at])
    predicted, target = RidgeCV(np.logspace(-1, 4, 6)).fit(x[fit], content[fit]).predict(x[~fit]), content[~fit]
    return resampled(lambda k: r2_score(target[k], predicted[k]), len(target))


def patristic(model: Model, families: Path, split: Path) -> dict[str, list[float]]:
    """Return the mean rank correlation of cosine and patristic distances of held-out members within families."""
    parts, values = Split.read(split), {"y": [], "w": [], "z": []}
    for family in phylocli.read_families(families):
        ids = [name for name in family.ids if parts.part_of(family.label, name) == "validation"][:30]
        if len(ids) < 8:
            continue
        letters = {sequence.id: sequence.residues for sequence in family.sequences()}
        tree = Patristic(family.require_tree())
        place = {name: k for k, name in enumerate(family.require_tree().tip_names())}
        at = np.array([place[name] for name in ids])
        i, j = np.triu_indices(len(ids), 1)
        distance = tree.distance(at[i], at[j])
        z = vectors_of(model, [letters[name] for name in ids])
        for name, found in values.items():
            x = z if name == "z" else z[:, model.part(name)]
            x = x / np.linalg.norm(x, axis=1, keepdims=True)
            found.append(float(spearmanr(1 - (x[i] * x[j]).sum(1), distance)[0]))
    arrays = {name: np.array(found) for name, found in values.items()}
    return {f"{name} patristic": resampled(lambda k, a=a: np.nanmean(a[k]), len(a)) for name, a in arrays.items()}


def generated(folder: Path, families: Path, number: int, guidance: float = 1.0) -> list[NamedSource]:
    """Generate as many sequences of each family by each diffusion, once, and return the files, named by what they are of."""
    labels = [family.label for family in phylocli.read_families(families) for _ in range(number)]
    found = []
    for run in sorted(folder.glob("*-diffusion")):
        key = key_of([file_sha256(path) for path in sorted((run / "model").glob("*.safetensors"))], labels)
        for temperature in (0.0, 1.0):
            name = f"{run.name.removesuffix('-diffusion')}-T{temperature:g}" + f"-guidance{guidance:g}" * (guidance != 1)
            target = folder / "generated" / f"{name}-{key}.fasta"
            target.parent.mkdir(exist_ok=True)
            if not target.is_file():
                model = Model.load(run / "model")
                diffusion = LatentDiffusion.load(run / "model", model.fingerprint)
                codes = torch.tensor([diffusion.code(label) for label in labels])
                z = diffusion.sample(codes, seed=0, guidance=guidance)
                texts = decoded(model, z, temperature=temperature, seed=0)
                records = zip(labels, texts, strict=True)
                target.write_text("".join(f">{i} family={label}\n{x}\n" for i, (label, x) in enumerate(records)))
            found.append(NamedSource(name, target))
    return found


def of_unseen(found: dict[str, list[float]]) -> dict[str, list[float]]:
    """Return results under the names of those of families that the models were not trained on."""
    return {f"unseen: {column}": values for column, values in found.items()}


def print_table(columns: Iterable[str], rows: dict[str, list[str]]) -> None:
    """Print a Markdown table, a line for each row."""
    names = list(columns)
    print(f"\n| | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def print_estimates(rows: dict[str, dict[str, list[list[float]]]]) -> None:
    """Print means over seeds with intervals, a column for each model."""
    metrics = list(dict.fromkeys(metric for row in rows.values() for metric in row))
    names = [f"{name} ({len(next(iter(row.values())))})" for name, row in rows.items()]
    cells = {m: ["{:.3f} ({:.3f}–{:.3f})".format(*summary(row[m])) for row in rows.values()] for m in metrics}
    print_table(names, cells)


def print_differences(rows: dict[str, dict[str, list[list[float]]]]) -> None:
    """Print differences from contrast alone and from the autoencoder alone of as many steps; * where 0 is outside."""
    for reference in ("contrastive", "autoencoder"):
        pairs = {name: f"{reference}-{name.rpartition('-')[2]}" for name in rows}
        pairs = {name: other for name, other in pairs.items() if other in rows and other != name}
        cells: dict[str, list[str]] = {}
        for metric in rows[next(iter(rows))]:
            for name, other in pairs.items():
                value, low, high = summary(rows[name][metric], rows[other][metric])
                mark = "*" * (low > 0 or high < 0)
                cells.setdefault(metric, []).append(f"{value:+.3f}{mark} ({low:+.3f} to {high:+.3f})")
        if pairs:
            print_table((f"{name} − {other}" for name, other in pairs.items()), cells)


def evaluate(options: argparse.Namespace) -> None:
    """Print the tables."""
    folder, number = options.output, options.held_out
    families, split = prepare(options.data, folder, options.families)
    unseen = prepare(options.data, folder, options.families, unseen=True)
    held_out = some_members(families, split, {"validation": number})
    members = some_members(families, split, {"train": 20, "validation": number})
    new, new_members = (
        some_members(*unseen, kept) for kept in ({"validation": number}, {"train": 20, "validation": number})
    )
    rows: dict[str, dict[str, list[list[float]]]] = {}
    for name, model in models_of(folder).items():
        key = key_of(model.fingerprint, *map(file_sha256, (families, split, *unseen)), number, REPLICATES)
        work: dict[str, Callable[[], dict[str, list[float]]]] = {
            "reconstruction": lambda m=model: reconstruction(m, held_out),
            "probes": lambda m=model: probes(m, members, options.data),
            "patristic": lambda m=model: patristic(m, families, split),
            "unseen-reconstruction": lambda m=model: of_unseen(reconstruction(m, new)),
            "unseen-probes": lambda m=model: of_unseen(probes(m, new_members, None)),
        }
        for kind, task in work.items():
            for column, values in stored(folder / "results" / f"{name}-{kind}-{key}.json", task).items():
                rows.setdefault(name.rpartition("-seed")[0], {}).setdefault(column, []).append(values)
        print(name, flush=True)
    print_estimates(rows)
    print_differences(rows)
    if not options.generated:
        return
    some = folder / "generation.sto"
    phylocli.write_families(itertools.islice(phylocli.read_families(families), options.generated), some)
    sets = generated(folder, some, number, options.guidance)
    profiles = file_sha256(Path(options.profiles)) if options.profiles else ""
    key = key_of([Path(str(made.source)).name for made in sets], file_sha256(some), file_sha256(split), number, profiles)
    target = folder / f"generation-{key}"
    if not (target / "metrics.parquet").is_file():
        rng = np.random.default_rng(0)
        table = pl.DataFrame(Split.read(split).table)
        order = table.with_columns(order=pl.lit(rng.random(table.height)))
        few = order.filter(
            (pl.col("part") == "train") | (pl.col("order").rank("ordinal").over("family", "part") <= number)
        ).drop("order")
        few.write_csv(folder / "few.tsv", separator="\t")
        phylocli.run_probes(
            sets, folder / "few.tsv", target, sequences=some,
            tasks=["generation"], profiles=options.profiles, replicates=500, device="cpu",
        )  # fmt: skip
    found = pl.read_parquet(target / "metrics.parquet").filter(pl.col("embedding") != "chance")
    metrics = list(dict.fromkeys(found["metric"]))
    print(f"\n| | {' | '.join(metrics)} |\n|---|{'---|' * len(metrics)}")
    for (name,), part in found.group_by("embedding", maintain_order=True):
        values = {row["metric"]: row for row in part.iter_rows(named=True)}
        cells = ["–" if m not in values else "{value:.3g} ({low:.3g}–{high:.3g})".format(**values[m]) for m in metrics]
        print(f"| {name} | {' | '.join(cells)} |")


def figures(options: argparse.Namespace) -> None:
    """Draw interpolations between held-out members of a family as alignments, coloured by residue."""
    import matplotlib

    matplotlib.use("Agg")
    from pyfamsa import Aligner
    from pyfamsa import Sequence as Named

    def named(texts: list[str]) -> list[Named]:
        return [Named(str(k).encode(), text.encode()) for k, text in enumerate(texts)]

    from matplotlib import pyplot as plt
    from matplotlib.colors import ListedColormap

    folder = options.output
    families, split = prepare(options.data, folder, options.families)
    model = models_of(folder)[options.model]
    parts = Split.read(split)
    every = list(phylocli.read_families(families))
    chosen = [f for f in every if f.label in options.pairs_of] or every[:2]
    groups = ("AVILMC", "FWYH", "STNQ", "DE", "KR", "G", "P")
    colours = ["#7fb3d5", "#45b39d", "#a9dfbf", "#c39bd3", "#ec7063", "#f5b041", "#f7dc6f"]
    code = {letter: k for k, group in enumerate(groups) for letter in group}
    kinds = (("all", "all of z"), ("y", "y only"), ("w", "w only"))
    figure, axes = plt.subplots(len(chosen), 3, figsize=(17, 2.6 * len(chosen)), squeeze=False)
    for row, family in zip(axes, chosen, strict=True):
        letters = {sequence.id: sequence.residues for sequence in family.sequences()}
        names = sorted(parts.ids(family.label, "validation"))
        first, last = names[0], max(names[1:], key=lambda k: -identity(letters[names[0]], letters[k]))
        for axis, (part, title) in zip(row, kinds, strict=True):
            line = interpolate(letters[first], letters[last], model, steps=8, part=part)
            texts = [letters[first], *(x.residues for x in line), letters[last]]
            rows = {int(row.id): row.sequence.decode() for row in Aligner(threads=1).align(named(texts))}
            grid = np.array([[code.get(c, np.nan) for c in rows[k]] for k in range(10)], dtype=float)
            axis.imshow(grid, cmap=ListedColormap(colours), vmin=-0.5, vmax=6.5, aspect="auto", interpolation="nearest")
            axis.set_yticks(range(10), [first, *(f"t = {x.t:.2f}" for x in line), last], fontsize=6)
            axis.set_xticks([])
            axis.axhline(0.5, color="black", linewidth=1)
            axis.axhline(8.5, color="black", linewidth=1)
            axis.set_title(f"{family.name}: {title}", fontsize=9)
    handles = [plt.Rectangle((0, 0), 1, 1, color=c) for c in colours]
    figure.legend(handles, groups, ncol=7, loc="lower center", fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(folder / "interpolation.png", dpi=80)
    print(folder / "interpolation.png")
    ends_of_interpolations(model, some_members(families, split, {"validation": 2}))
    held_out = some_members(families, split, {"validation": options.held_out})
    letters = [text for *_, text in held_out]
    again = reconstruct(letters, model)
    ratios = [len(x.residues) / len(text) for x, text in zip(again, letters, strict=True)]
    low, middle, high = np.quantile(ratios, [0.1, 0.5, 0.9])
    print(f"decoded length / length: median {middle:.2f}, 10 % below {low:.2f}, 10 % above {high:.2f}")


def ends_of_interpolations(model: Model, members: list[tuple[str, str, str, str]]) -> None:
    """Print the identity of the last with the first sequence of interpolations of two members of each family."""
    of: dict[str, list[str]] = {}
    for family, _, _, text in members:
        of.setdefault(family, []).append(text)
    pairs = [texts for texts in of.values() if len(texts) == 2]
    for part in ("all", "y", "w"):
        lines = [interpolate(a, b, model, steps=2, part=part) for a, b in pairs]
        alike = np.array([identity(line[0].residues, line[1].residues, of="longer") for line in lines])
        value, low, high = summary([resampled(lambda k, alike=alike: alike[k].mean(), len(alike))])
        print(f"interpolation, {part}: identity of the ends {value:.2f} ({low:.2f}–{high:.2f}), {len(alike)} pairs")


def speed(options: argparse.Namespace) -> None:
    """Print the rate of training, as a fraction of that of matrix products, and the time of generation."""
    from torch.utils.flop_counter import FlopCounterMode
    from train import matrix_rate

    families, split = prepare(options.data, options.output, options.families)
    for preset, decoder in itertools.product(options.presets, options.decoders):
        settings = {
            **SETTINGS, "encoder.preset": preset, "batch.pairs": 64, "validation.split": str(split), "decoder.name": decoder
        }  # fmt: skip
        config = TrainConfig.of(None, {"recipe": "hybrid", "inputs": (str(families),), **nested(settings)})
        task, corpus = ContrastiveTask(config).train(), load_corpus([families], config, cache=options.output / "cache")
        task.execution.precision = choose_precision("auto", torch.device("cpu"))
        optimiser = make_optimiser(task, config.optimiser)
        batch = corpus.batch(0)

        def step(
            batch: PairBatch = batch, task: ContrastiveTask = task, optimiser: torch.optim.Optimizer = optimiser
        ) -> None:
            optimiser.zero_grad()
            task(batch)["loss"].backward()
            optimiser.step()
            task.after_step()

        with freed_memory_kept():
            step()
            with FlopCounterMode(display=False) as counter:
                step()
            work = counter.get_total_flops()
            width = {"tiny": 64, "small": 128}[preset]
            rates, gemms = [], []
            for _ in range(options.rounds):  # in turn, for the speed of a shared machine drifts
                gemms.append(matrix_rate(task.execution.precision, 5 * width, width, seconds=options.seconds / 4))
                started, done = time.process_time(), 0
                while time.process_time() - started < options.seconds:
                    step()
                    done += work
                rates.append(done / (time.process_time() - started))
            gemms.append(matrix_rate(task.execution.precision, 5 * width, width, seconds=options.seconds / 4))
        ratios = [rate / (before + after) * 2 for rate, before, after in zip(rates, gemms, gemms[1:], strict=False)]
        print(
            f"training, {preset}, {decoder}: {np.median(rates) / 1e9:.0f} GFLOP/s, matrix products "
            f"{np.median(gemms) / 1e9:.0f} GFLOP/s, ratio {np.median(ratios):.0%} ({min(ratios):.0%}–{max(ratios):.0%})",
            flush=True,
        )
    convolutional = DecoderArchitecture("convolutional", {})
    pooled = {"segments": 8, "channels": 32}
    model = Model.create(
        "convolutional", preset="small", pooling="segment-mean", pooling_parameters=pooled, decoder=convolutional
    )
    length = model.eval().require_decoder().length
    with torch.no_grad():
        length.parameters_of.weight.zero_()
        length.parameters_of.bias.copy_(torch.tensor([np.log(200), -5.0]))
    diffusion = LatentDiffusion(DiffusionArchitecture(model.dimension)).eval()
    started, wall = time.process_time(), time.perf_counter()
    sizes = [len(x.residues) for x in generate(model, diffusion, number=1000, steps=50)]
    cpu, wall = time.process_time() - started, time.perf_counter() - wall
    print(f"generation: 1,000 sequences of {np.mean(sizes):.0f} residues, 50 steps: {cpu:.1f} CPU s, {wall:.1f} s")


def numbers(text: str) -> list[float]:
    """Return comma-separated numbers."""
    return [float(part) for part in text.split(",")]


def main() -> None:
    """Run a stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["train", "evaluate", "figures", "speed"])
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--families", type=int, default=100)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--diffusion-steps", type=int, default=2000)
    parser.add_argument("--alphas", type=numbers, default=list(ALPHAS))
    parser.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[0])
    parser.add_argument("--decoder", default="convolutional", help="of the models that are trained")
    parser.add_argument("--decoder-dropout", type=float, default=DROPOUT, help="of the decoder autoregressive")
    parser.add_argument("--whole", action="store_true", help="train on whole members, not on crops")
    parser.add_argument("--held-out", type=int, default=8, help="members of each family that are evaluated")
    parser.add_argument("--generated", type=int, default=100, help="families of which sequences are generated; 0: none")
    parser.add_argument("--guidance", type=float, default=1.0, help="of the generated sequences towards their family")
    parser.add_argument("--profiles", help="HMMER3 profiles with gathering thresholds")
    parser.add_argument("--model", default="hybrid-0.02-2000-seed0", help="of the figures")
    parser.add_argument("--pairs-of", nargs="+", default=[], help="families of the figures; by default the first two")
    parser.add_argument("--presets", nargs="+", default=["small", "tiny"], help="encoders whose training is timed")
    parser.add_argument("--decoders", nargs="+", default=["convolutional"], help="decoders whose training is timed")
    parser.add_argument("--seconds", type=float, default=8.0, help="CPU time of each measurement of speed")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of training, between those of matrix products")
    options = parser.parse_args()
    console.show_messages(console.NORMAL)
    limit_threads()
    options.output.mkdir(parents=True, exist_ok=True)
    {"train": train, "evaluate": evaluate, "figures": figures, "speed": speed}[options.stage](options)


if __name__ == "__main__":
    main()
