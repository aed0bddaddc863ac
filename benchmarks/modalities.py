"""Modalities: families of unseen clans named by text, GO terms, and retrieval of structure letters; resumable.

    python benchmarks/modalities.py DATA --go-names TERMS.tsv -o FOLDER [--steps 150] [--only naming|go|structure]
    python benchmarks/modalities.py DATA -o FOLDER --only masked [--masked-steps 200] [--seeds 0,1,2]

DATA is the folder of the evaluation sets; TERMS.tsv has the columns `term` and `name` of GO terms (GO.db, QuickGO). Two
models are trained. `text` (`--recipe clip --modalities sequence,text`, the default model as a locked encoder of sequences)
learns the descriptions of the training families and the names of the GO terms of training proteins (`--proteins` of up to
350 residues) that hold no domain of a dev family; `structure` (`--recipe clip --modalities sequence,three_di`, with the
default model as locked encoder, too) the training chains. Their settings are those that were best of a few (three of
`text`; shortened runs of `structure`) on clans held out of the training data, not on what follows:

- naming: members of the dev families, which share no clan with training families, are assigned to the description of one of
  the dev families. Baselines: random order; the description of the nearest training member, by the default model or by
  shared k-mers, compared with the candidates by their words (TF-IDF of character n-grams).
- go: the molecular functions of `--tested` validation proteins, scored by the cosine with the name of each term. Baselines:
  the frequencies of terms, and the terms of the best hits of DIAMOND, weighted by bits.
- structure: the sequence of each validation chain is searched among the structure letters of all, and back. Baselines:
  random order, and the order by difference in length, which is 0 for the right one; its ties are also ordered by the model.

- masked: masked autoencoding alone, beside contrast, and contrast alone, at equal steps: small encoders, trained on 400
  families of `families/train`, 20 members each, with the same pairs of homologs. Vectors are compared by the nearest member
  of dev families, residue vectors by a linear classifier of the 3Di letters of chains (300 of `train`, 200 of `valid`).

Intervals are 95 % bootstraps: over families, over proteins, and over chains; of `masked` of the means over seeds.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

import phylocli
from phylocli.core import console
from phylocli.models.multimodal import MultimodalModel

MEMBERS = 6
"""Members of each dev family that are named, and of each training family that are trained on."""
LONGEST = 350
"""Residues of a protein with GO terms."""

Floats = npt.NDArray[np.float64]


def key(sequence: str) -> str:
    """Return the key by which the list of excluded proteins names a sequence."""
    return hashlib.sha256(sequence.encode()).hexdigest()[:12]


def families(data: Path, part: str) -> pl.DataFrame:
    """Return up to `MEMBERS` members of each family: id, sequence, text, family, clan."""
    rows = []
    for family in phylocli.read_families(data / "families" / f"{part}.sto.gz"):
        sequences = list(family.sequences())
        for k in np.random.default_rng(0).permutation(len(sequences))[:MEMBERS].tolist():
            s = sequences[k]
            rows.append((s.id, s.residues, family.description, family.accession.split(".")[0], family.clan))
    return pl.DataFrame(rows, schema=["id", "sequence", "text", "family", "clan"], orient="row")


def functions(data: Path, names: dict[str, str]) -> pl.DataFrame:
    """Return proteins with GO terms: accession, split, terms, sequence; without those that hold a domain of a dev family."""
    excluded = set(pl.read_csv(data / "exclude" / "proteins.sha256-12.txt.gz", has_header=False).to_series())
    table = pl.read_csv(data / "function" / "go_mf.tsv.gz", separator="\t").drop_nulls("go_mf_terms")
    table = table.with_columns(
        pl.col("go_mf_terms").str.split(",").list.eval(pl.element().filter(pl.element().is_in([*names])))
    )
    return table.filter(
        (pl.col("go_mf_terms").list.len() > 0) & ~pl.col("sequence").map_elements(key, pl.String).is_in(excluded)
    )


def train(folder: Path, name: str, inputs: list[Path], options: list[str]) -> tuple[MultimodalModel, float]:
    """Train a model unless it is there; return it and the seconds that training took."""
    run = folder / name
    done = run / "seconds.json"
    if not done.is_file():
        started = time.monotonic()
        command = [sys.executable, "-m", "phylocli", "train", *map(str, inputs), "--resume", "-o", str(run), *options]
        subprocess.run(command, check=True)
        done.write_text(json.dumps(time.monotonic() - started))
    return MultimodalModel.load(run / "model"), float(json.loads(done.read_text()))


def pooled(folder: Path, name: str, sequences: list[str], model: MultimodalModel) -> npt.NDArray[np.float32]:
    """Return the pooled vectors of sequences by the model of sequences; kept in the folder."""
    kept = folder / f"{name}-{model.fingerprint[:12]}.npy"
    if not kept.is_file():
        from phylocli.embed import Embedder

        np.save(kept, Embedder(model.tower("sequence")).pooled(sequences))
    return np.asarray(np.load(kept))


def interval(values: Floats, groups: npt.NDArray[np.int64], seed: int = 0) -> tuple[float, float, float]:
    """Return the mean over groups of the means within them, and its 95 % bootstrap interval over groups."""
    means = np.bincount(groups, values) / np.bincount(groups)
    draws = np.random.default_rng(seed).integers(0, len(means), (2000, len(means)))
    low, high = np.quantile(means[draws].mean(1), [0.025, 0.975])
    return float(means.mean()), float(low), float(high)


def shown(name: str, figures: dict[str, tuple[float, float, float]]) -> str:
    """Return a row of a table in Markdown."""
    return f"| {name} | " + " | ".join(f"{v:.3f} ({low:.3f}–{high:.3f})" for v, low, high in figures.values()) + " |"


def ranks(scores: Floats, truth: npt.NDArray[np.int64]) -> Floats:
    """Return the expected rank of the right column of each row, from 1, ties in random order."""
    own = scores[np.arange(len(scores)), truth][:, None]
    return np.asarray(1 + (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2)


def naming(data: Path, folder: Path, model: MultimodalModel) -> None:
    """Print how often members of unseen clans are assigned to the description of their family."""
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer

    dev, known = families(data, "dev"), pl.concat([families(data, "train"), families(data, "more")])
    names = dev.unique("family", maintain_order=True)
    texts, accessions = names["text"].to_list(), names["family"].to_list()
    truth = np.array([accessions.index(family) for family in dev["family"]])
    vectors, seen = (
        pooled(folder, part, table["sequence"].to_list(), model) for part, table in (("dev", dev), ("train", known))
    )
    joint = model.joint("sequence", vectors)
    cosines = (joint @ model.embed("text", texts).T).astype(np.float64)
    words = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True).fit(known["text"].to_list() + texts)
    candidates = words.transform(texts)
    kmers = HashingVectorizer(analyzer="char", ngram_range=(3, 3), n_features=1 << 15, alternate_sign=False, lowercase=False)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (vectors, seen)]
    by_kmers = kmers.transform(dev["sequence"].to_list()) @ kmers.transform(known["sequence"].to_list()).T
    neighbours = {
        "nearest member, default model": (unit[0] @ unit[1].T).argmax(1),
        "nearest member, k-mers": np.asarray(by_kmers.argmax(1)).ravel(),
    }
    every = {
        "clip": cosines,
        **{
            name: np.asarray((words.transform([known["text"][i] for i in rows.tolist()]) @ candidates.T).todense())
            for name, rows in neighbours.items()
        },
        "random": np.zeros_like(cosines),
    }
    print(f"\n{len(dev)} members of {len(texts)} families of unseen clans, {len(texts)} descriptions\n")
    print("| | top-1 | top-5 | MRR |\n|---|---|---|---|")
    for name, scores in every.items():
        place = ranks(scores, truth)
        if name == "random":  # the expectation over all orders
            n = len(texts)
            exact = {"top-1": 1 / n, "top-5": 5 / n, "MRR": float((1 / np.arange(1, n + 1)).mean())}
            print(shown(name, {k: (v, v, v) for k, v in exact.items()}))
            continue
        values = {"top-1": place < 1.5, "top-5": place < 5.5, "MRR": 1 / place}
        print(shown(name, {k: interval(np.asarray(v, dtype=np.float64), truth) for k, v in values.items()}))
    _calibration(model, cosines, truth)


def _calibration(model: MultimodalModel, cosines: Floats, truth: npt.NDArray[np.int64]) -> None:
    """Print the expected calibration error with all families, and with the right one removed for half of the members."""
    removed = np.random.default_rng(0).random(len(truth)) < 0.5
    masked = cosines.copy()
    masked[np.flatnonzero(removed), truth[removed]] = -np.inf
    answers = np.where(removed, cosines.shape[1], truth)
    probabilities = model.calibration["text"].probabilities(masked)
    best, right = probabilities.max(1), probabilities.argmax(1) == answers
    bins = np.minimum((best * 10).astype(int), 9)
    error = sum(abs(best[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins))
    nats = -np.log(np.maximum(probabilities[np.arange(len(answers)), answers], 1e-12)).mean()
    print(
        f"\nCalibration, half of the members without their family: mean confidence {best.mean():.3f}, right "
        f"{right.mean():.3f}, expected calibration error {error:.3f}, {nats:.2f} nats "
        f"(uniform over classes and none: {np.log(cosines.shape[1] + 1):.2f}); 'none' in "
        f"{(probabilities.argmax(1) == cosines.shape[1])[removed].mean():.3f} of those without and "
        f"{(probabilities.argmax(1) == cosines.shape[1])[~removed].mean():.3f} of those with their family"
    )


def fmax(scores: Floats, truth: npt.NDArray[np.bool_]) -> float:
    """Return the maximum over thresholds of the F1 of mean precision (of proteins with predictions) and mean recall."""
    best = 0.0
    for threshold in np.unique(np.quantile(scores, np.concatenate([np.linspace(0, 0.9, 10), np.linspace(0.9, 1, 200)]))):
        predicted = scores >= threshold
        hits, count = (predicted & truth).sum(1), predicted.sum(1)
        if not count.any():
            continue
        precision, recall = (hits[count > 0] / count[count > 0]).mean(), (hits / truth.sum(1)).mean()
        best = max(best, 2 * precision * recall / max(precision + recall, 1e-12))
    return float(best)


def go(folder: Path, proteins: pl.DataFrame, names: dict[str, str], model: MultimodalModel, tested: int) -> None:
    """Print Fmax of the molecular functions of validation proteins."""
    proteins = proteins.filter(pl.col("sequence").str.len_chars() <= LONGEST)
    training, valid = (proteins.filter(pl.col("split") == part) for part in ("train", "valid"))
    valid = valid.sample(min(tested, valid.height), seed=0)
    terms = sorted({term for found in training["go_mf_terms"] for term in found})
    place = {term: k for k, term in enumerate(terms)}

    def matrix(table: pl.DataFrame) -> npt.NDArray[np.bool_]:
        found = np.zeros((table.height, len(terms)), dtype=bool)
        for row, list_of in enumerate(table["go_mf_terms"]):
            found[row, [place[t] for t in list_of if t in place]] = True
        return found

    truth, known = matrix(valid), matrix(training)
    usable = truth.any(1)
    valid, truth = valid.filter(pl.Series(usable)), truth[usable]
    joint = model.joint("sequence", pooled(folder, "go", valid["sequence"].to_list(), model))
    every: dict[str, Floats] = {
        "clip (names of terms)": (joint @ model.embed("text", [names[t] for t in terms]).T).astype(np.float64),
        "frequency": np.repeat(known.mean(0)[None], len(truth), 0),
    }
    if shutil.which("diamond"):
        every["DIAMOND, terms of hits"] = diamond(folder, training, valid, known)
    print(f"\n{len(valid)} proteins, {len(terms)} terms\n\n| | Fmax |\n|---|---|")
    draws = np.random.default_rng(0).integers(0, len(truth), (100, len(truth)))
    for name, scores in every.items():
        low, high = np.quantile([fmax(scores[d], truth[d]) for d in draws], [0.025, 0.975])
        print(shown(name, {"Fmax": (fmax(scores, truth), float(low), float(high))}))


def diamond(folder: Path, training: pl.DataFrame, valid: pl.DataFrame, known: npt.NDArray[np.bool_]) -> Floats:
    """Return the fraction of the bits of a protein's hits that have each term, (proteins, terms)."""
    hits = folder / "hits.tsv"
    if not hits.is_file():
        for name, table in (("training", training), ("valid", valid)):
            text = "".join(f">{k}\n{s}\n" for k, s in enumerate(table["sequence"]))
            (folder / f"{name}.fasta").write_text(text)
        base = [
            "diamond",
            "blastp",
            "--threads",
            "1",
            "-q",
            str(folder / "valid.fasta"),
            "-d",
            str(folder / "training.fasta"),
        ]
        options = ["--sensitive", "-e", "0.001", "-k", "20", "-o", str(hits), "-f", "6", "qseqid", "sseqid", "bitscore"]
        subprocess.run([*base, *options], check=True, capture_output=True)
    found = np.zeros((valid.height, known.shape[1]))
    total = np.zeros(valid.height)
    for query, target, bits in pl.read_csv(hits, separator="\t", has_header=False).iter_rows():
        found[query] += bits * known[target]
        total[query] += bits
    return np.asarray(found / np.maximum(total, 1e-9)[:, None])


def structure(chains: pl.DataFrame, model: MultimodalModel) -> None:
    """Print the recall of structure letters by sequence and back."""
    valid = chains.filter(pl.col("split") == "valid")
    letters, states = valid["sequence"].to_list(), valid["three_di"].to_list()
    cosines = (model.embed("sequence", letters) @ model.embed("three-di", states).T).astype(np.float64)
    length = np.array([len(s) for s in letters], dtype=np.float64)
    by_length = -np.abs(length[:, None] - length[None])
    every = {"clip": cosines, "length": by_length, "length, then clip": 10 * by_length + cosines}
    n, own = len(valid), np.arange(len(valid))
    print(f"\n{n} validation chains\n")
    print("| | sequence → 3Di, recall at 1 | at 10 | 3Di → sequence, recall at 1 | at 10 |\n|---|---|---|---|---|")
    for name, scores in every.items():
        row: dict[str, Any] = {}
        for way, matrix in (("to", scores), ("back", scores.T)):
            place = ranks(matrix, own)
            row |= {f"{way} {k}": interval((place < k + 0.5).astype(np.float64), own) for k in (1, 10)}
        print(shown(name, row))
    print(shown("random", {k: (x / n, x / n, x / n) for k, x in (("a", 1), ("b", 10), ("c", 1), ("d", 10))}))


MASKED = {
    "reconstruction alone": ["--recipe", "mae"],
    "reconstruction beside contrast": ["--recipe", "mae", "--set", "objective.alpha=0.5"],
    "contrast alone, of what is left": ["--recipe", "mae", "--set", "objective.alpha=0"],
    "contrast alone, of whole sequences": ["--recipe", "simclr", "--set", "objective.name=infonce"],
    "without training": [],
}
"""Options of each variant of `masked`; all contrast by InfoNCE at temperature 0.1."""


def fewer(family: phylocli.Family, members: int) -> phylocli.Family:
    """Return a family reduced to a maximum number of members, sampled with a fixed seed."""
    order = np.random.default_rng(0).permutation(len(family))[:members]
    return family.subset({family.ids[k] for k in order})


def masked(data: Path, folder: Path, steps: int, seeds: list[int]) -> None:
    """Print how well vectors retrieve dev families and clans, and residue vectors tell 3Di letters, for each variant."""
    training = folder / "masked.sto.gz"
    if not training.is_file():
        first = itertools.islice(phylocli.read_families(data / "families" / "train.sto.gz"), 400)
        phylocli.write_families(phylocli.infer_trees((fewer(f, 20) for f in first), jobs=1), training)
    dev = families(data, "dev")
    chains = pl.read_csv(data / "structures" / "chains.tsv.gz", separator="\t")
    chains = chains.filter(pl.col("sequence").str.len_chars() <= LONGEST)
    parts = [chains.filter(pl.col("split") == s).sample(n, seed=0) for s, n in (("train", 300), ("valid", 200))]
    print("\n| | family | clan | 3Di accuracy | 3Di, nats |\n|---|---|---|---|---|")
    every: dict[str, dict[str, Floats]] = {}
    for name, given in MASKED.items():
        found: list[dict[str, Floats]] = []
        for seed in seeds:
            kept = folder / f"masked-{steps}" / f"{'_'.join(given[1::2]) or 'untrained'}-{seed}"
            if not (kept / "values.npz").is_file():
                model = kept / "run" / "model"
                if given:
                    base = [
                        "--steps",
                        str(steps),
                        "--seed",
                        str(seed),
                        *MASKED_SETTINGS,
                        "--resume",
                        "-o",
                        str(kept / "run"),
                    ]
                    subprocess.run([sys.executable, "-m", "phylocli", "train", str(training), *given, *base], check=True)
                else:
                    phylocli.Model.create("convolutional", preset="tiny", seed=seed).save(model)
                np.savez(kept / "values.npz", **evaluated(phylocli.load_model(model), dev, *parts))
            found.append(dict(np.load(kept / "values.npz")))
        cells = []
        every[name] = {key: np.mean([f[key] for f in found], axis=0) for key in found[0]}
        for key in ("family", "clan", "accuracy", "nats"):
            groups = found[0][f"{key} of"]
            value, low, high = interval(np.mean([f[key] for f in found], axis=0), groups)
            each = [interval(f[key], groups)[0] for f in found]
            cells.append(f"{value:.3f} ({low:.3f}–{high:.3f}; seeds {min(each):.3f}–{max(each):.3f})")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print("\nDifferences from an encoder without training, paired\n")
    *trained, last = every
    for name in trained:
        keys = ("family", "clan", "accuracy", "nats")
        pairs = {k: interval(every[name][k] - every[last][k], found[0][f"{k} of"]) for k in keys}
        print(shown(name, pairs))


MASKED_SETTINGS = [
    part
    for setting in ("encoder.preset=tiny", "view.name=phylogenetic+crop", "batch.pairs=48", "log.mfu=false")
    for part in ("--set", setting)
]


def evaluated(model: phylocli.Embedder, dev: pl.DataFrame, training: pl.DataFrame, valid: pl.DataFrame) -> dict[str, Any]:
    """Return whether the nearest member is of the family, and of the clan among other families; and per chain the accuracy
    of 3Di letters and their cross-entropy; each with the number of the family or chain it is of."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    vectors = model.pooled(dev["sequence"].to_list())
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    family, clan = dev["family"].to_numpy(), dev["clan"].to_numpy()
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    same = family[:, None] == family[None]
    nearest = family[cosines.argmax(1)] == family
    relatives = (clan[:, None] == clan[None]) & (clan[:, None] != "") & ~same
    has = relatives.any(1)
    outside = np.where(same, -2, cosines)[has].argmax(1)
    of = np.unique(family, return_inverse=True)[1]

    def residues(chains: pl.DataFrame) -> list[Floats]:
        return [np.asarray(x, dtype=np.float64) for x in model.residues(chains["sequence"].to_list())]

    seen, states = np.concatenate(residues(training)), np.array(list("".join(training["three_di"])))
    scaler = StandardScaler().fit(seen)
    classifier = LogisticRegression(C=1.0, max_iter=400).fit(scaler.transform(seen), states)
    place = {letter: k for k, letter in enumerate(classifier.classes_)}
    scores = {"accuracy": [], "nats": []}
    for x, letters in zip(residues(valid), valid["three_di"], strict=True):
        logs = classifier.predict_log_proba(scaler.transform(x))
        truth = np.array([place[letter] for letter in letters])
        scores["accuracy"].append(float((logs.argmax(1) == truth).mean()))
        scores["nats"].append(float(-logs[np.arange(len(truth)), truth].mean()))
    own = np.arange(len(valid))
    return {
        "family": nearest.astype(np.float64),
        "family of": of,
        "clan": relatives[has][np.arange(has.sum()), outside].astype(np.float64),
        "clan of": np.unique(family[has], return_inverse=True)[1],
        **{key: np.array(values) for key, values in scores.items()},
        "accuracy of": own,
        "nats of": own,
    }


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--go-names", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--structure-steps", type=int, default=120)
    parser.add_argument("--proteins", type=int, default=1500)
    parser.add_argument("--tested", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--masked-steps", type=int, default=200)
    parser.add_argument("--seeds", default="0,1,2", help="of 'masked'")
    parser.add_argument("--only", action="append", choices=["naming", "go", "structure", "masked"])
    options = parser.parse_args()
    console.show_messages(console.QUIET)
    folder, wanted = options.output, set(options.only or ["naming", "go", "structure", "masked"])
    folder.mkdir(parents=True, exist_ok=True)
    if "masked" in wanted:
        masked(options.data, folder, options.masked_steps, [int(seed) for seed in options.seeds.split(",")])
    if wanted == {"masked"}:
        return
    if options.go_names is None:
        parser.error("--go-names is needed")
    named = pl.read_csv(options.go_names, separator="\t")
    names = {t: n for t, n in named.select("term", "name").iter_rows() if t != n}
    seed = ["--seed", str(options.seed), "--set", "log.mfu=false"]
    if wanted & {"naming", "go"}:
        proteins = functions(options.data, names)
        inputs = [folder / "families.parquet", folder / "go.parquet"]
        pl.concat([families(options.data, part) for part in ("train", "more")]).write_parquet(inputs[0])
        rows = proteins.filter((pl.col("split") == "train") & (pl.col("sequence").str.len_chars() <= LONGEST))
        rows = rows.sample(min(options.proteins, rows.height), seed=0).explode("go_mf_terms")
        rows.select(
            id="accession", sequence="sequence", text=pl.col("go_mf_terms").replace_strict(names), family="accession"
        ).write_parquet(inputs[1])
        settings = [
            *("modality.sequence.model=default", "modality.sequence.locked=true"),
            *("batch.pairs=256", "batch.input_fractions=0.5,0.5", "validation.pairs=512"),
        ]
        given = [part for setting in settings for part in ("--set", setting)]
        base = ["--recipe", "clip", "--modalities", "sequence,text", "--steps", str(options.steps), *seed]
        model, seconds = train(folder, f"text-{options.steps}-{options.seed}", inputs, [*base, *given])
        print(f"text: {options.steps} steps in {seconds:,.0f} s")
        if "naming" in wanted:
            naming(options.data, folder, model)
        if "go" in wanted:
            go(folder, proteins, names, model, options.tested)
    if "structure" in wanted:
        chains = pl.read_csv(options.data / "structures" / "chains.tsv.gz", separator="\t")
        table = folder / "chains.parquet"
        cath = pl.col("cath").str.extract(r"^(\d+\.\d+\.\d+\.\d+)")  # the superfamily of the first domain
        training = chains.filter(pl.col("split") == "train")
        training.select(
            "sequence", "three_di", id="chain", family=cath, clan=cath.str.extract(r"^(\d+\.\d+\.\d+)")
        ).write_parquet(table)
        base = ["--recipe", "clip", "--modalities", "sequence,three_di", "--steps", str(options.structure_steps), *seed]
        settings = [
            *("modality.sequence.model=default", "modality.sequence.locked=true", "modality.three-di.preset=tiny"),
            *("optimiser.weight_decay=0.5", "batch.pairs=256", "multiview.max_length=400"),
            *("validation.pairs=512", "validation.every=40", "checkpoints.model=best"),
        ]
        given = [part for setting in settings for part in ("--set", setting)]
        model, seconds = train(folder, f"structure-{options.structure_steps}-{options.seed}", [table], [*base, *given])
        print(f"\nstructure: {options.structure_steps} steps in {seconds:,.0f} s")
        structure(chains, model)


if __name__ == "__main__":
    main()
