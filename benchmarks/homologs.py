"""Homologs from a large database: what they add to retrieval, E-values and predictions, beside MMseqs2's profiles.

    python benchmarks/homologs.py DATA DATABASE.fasta -o FOLDER [--only REPORT …] [--rounds 3] [--number 20]

DATABASE has the proteins among which homologs are searched, here the 435,059 of Debian's `metastudent-data`
(`DATA/../tools/public_sets.py`). MMseqs2 must be installed. Homologs and embeddings are kept in FOLDER. Reports:

- folds: domains of the validation folds of SCOPe, all against all: sensitivity to the first domain of another fold, and
  pairs found at equal numbers of false hits, of single vectors, vectors of families, queries of one against targets of the
  other, smoothed families, and MMseqs2 with profiles from the same database; with 95 % intervals over folds, and
  CPU seconds;
- evalues: domains of other folds per query at E-values up to a limit;
- structure: 3Di and secondary structure of validation chains, from the sequence and from the family, by the heads of the
  model and by its residue predictor;
- probe: secondary structure of NetSurfP's validation part, by logistic regression on residue embeddings of both;
- tape: TAPE's remote homology, validation part, by a linear probe of both.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from cpu_time import cpu_seconds_with_children
from default_model import hidden_folds, interval_text, with_intervals
from smoothing import LEVELS, Values, embedded, is_current, over_folds, report, sensitivity

import phylocli
from phylocli.embed.families import embed_family_residues
from phylocli.formats.embeddings import EmbeddingTable, unit
from phylocli.models.heads import find_head
from phylocli.models.heads.base import UNKNOWN
from phylocli.predict import predict_families, predict_residues
from phylocli.probe import NamedSource
from phylocli.probe.benchmarks.tape_remote_homology import load as load_tape

REPORTS = ("folds", "evalues", "structure", "probe", "tape")
CHAINS, TRAINING = 300, 500
"""Validation chains whose states are predicted, and training chains of the probe."""
FALSE = (0.1, 1, 10)
"""Numbers of false hits per query."""

Records = list[tuple[str, str]]


def homologs(folder: Path, name: str, records: Records, options: argparse.Namespace) -> Path:
    """Return the file of homologs of sequences, which is made if it is not there; its name says the settings."""
    path = folder / f"{name}-{options.rounds}-{options.number}.sto.gz"
    if not path.is_file():
        start = cpu_seconds_with_children()
        given = {"rounds": options.rounds, "number": options.number}
        sequences = [phylocli.Sequence(*record) for record in records]
        found = phylocli.find_homologs(sequences, options.database, engine="mmseqs", threads=options.threads, **given)
        phylocli.write_families(found, path)
        spent = cpu_seconds_with_children() - start
        print(f"{name}: homologs of {len(records):,} sequences in {spent:.0f} CPU s, {spent / len(records):.3f} each")
    return path


def beside(path: Path) -> Path:
    """Return where the embeddings of the families of a file are kept."""
    return path.with_name(f"{path.name.removesuffix('.sto.gz')}.families.parquet")


def of_families(path: Path, table: EmbeddingTable) -> EmbeddingTable:
    """Return the embeddings of the families of a file, in the order of a table of their first members."""
    kept = beside(path)
    if not is_current(kept):
        start = cpu_seconds_with_children()
        count = phylocli.embed_file(path, kept, per_family=True)
        spent = cpu_seconds_with_children() - start
        print(f"{path.name}: {count:,} families embedded in {spent:.0f} CPU s, {spent / count:.3f} each", flush=True)
    found = phylocli.read_embeddings(kept)
    assert found.ids == table.ids, "other sequences"
    return found


def folds(folder: Path, labels: pl.DataFrame, one: EmbeddingTable, path: Path, options: argparse.Namespace) -> None:
    """Print sensitivities and what is found at equal numbers of false hits."""
    families = of_families(path, one)
    single, averaged = unit(one.numpy()), unit(families.numpy())
    sequences = dict(labels.select("id", "sequence").iter_rows())
    smoothed = {}
    for by, settings in (("cosine", {"neighbours": 10}), ("phmmer", {"neighbours": 20, "sequences": sequences})):
        start = cpu_seconds_with_children()
        smoothed[by] = phylocli.smooth_embeddings(families, by=by, **settings).numpy()
        print(f"smoothing of {len(labels):,} families by {by}: {cpu_seconds_with_children() - start:.1f} CPU s", flush=True)
    scores = {
        "one sequence": single @ single.T,
        "families": averaged @ averaged.T,
        "one sequence, among families": single @ averaged.T,
        **{f"families, smoothed by {by}": vectors @ vectors.T for by, vectors in smoothed.items()},
        "MMseqs2, profiles from the database": profile_search(folder, labels, options),
    }
    print(f"\n## Validation folds\n\n| | {' | '.join(LEVELS)} | at {FALSE} false hits a query |\n|---|---|---|---|---|")
    found: dict[str, Values] = {}
    for name, similarity in scores.items():
        found[name] = sensitivity(similarity, labels)
        print(f"| {name} | {over_folds(found[name], labels)} | {at_false_hits(similarity, labels)} |", flush=True)
    for name, values in found.items():
        if name != "families":
            differences = [a - b for a, b in zip(found["families"], values, strict=True)]
            print(f"| families minus {name} | {over_folds(differences, labels)} | |")


def at_false_hits(similarity: npt.NDArray[np.float32], labels: pl.DataFrame) -> str:
    """Return the fraction of pairs of a family and of a superfamily above the score at which so many per query are false."""
    same = {name: labels[name].to_numpy()[:, None] == labels[name].to_numpy() for name in LEVELS}
    others = np.sort(similarity[~same["fold"]])[::-1]
    wanted = [same["family"].copy(), same["superfamily"] & ~same["family"]]
    np.fill_diagonal(wanted[0], False)
    texts = []
    for number in FALSE:
        above = similarity > others[int(number * len(labels))]
        texts.append("/".join(f"{(pairs & above).sum() / pairs.sum():.3f}" for pairs in wanted))
    return ", ".join(texts)


def profile_search(folder: Path, labels: pl.DataFrame, options: argparse.Namespace) -> npt.NDArray[np.float32]:
    """Return minus the log E-values of MMseqs2 with profiles from the database, all against all, (n, n); -inf: no hit.

    Profiles are of all homologs found in as many rounds. The better of both directions counts, so that targets have
    profiles, too.
    """
    work = folder / f"profiles-{options.rounds}"
    hits = work / "hits.tsv"
    if not hits.is_file():
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        fasta = "".join(f">{row}\n{letters}\n" for row, letters in enumerate(labels["sequence"]))
        (work / "domains.fasta").write_text(fasta, encoding="utf-8")
        threads, start = ["--threads", str(options.threads)], cpu_seconds_with_children()
        large = ["-s", "5.7", "-e", "0.001", "--max-seqs", "1000", "--num-iterations", str(options.rounds), *threads]
        small = ["-s", "7.5", "-e", "10000", "--max-seqs", "2000", *threads]
        for command in (
            ["createdb", "domains.fasta", "domains"],
            ["createdb", str(options.database.resolve()), "database"],
            ["search", "domains", "database", "homologs", "tmp", *large],
            ["result2profile", "domains", "database", "homologs", "profiles", *threads],
            ["search", "profiles", "domains", "found", "tmp", *small],
            ["convertalis", "profiles", "domains", "found", "hits.part", "--format-output", "query,target,evalue", *threads],
        ):
            subprocess.run(["mmseqs", *command, "-v", "1"], check=True, cwd=work, stdout=subprocess.DEVNULL)
        (work / "hits.part").rename(hits)  # of a killed run, there are only some
        print(f"MMseqs2, profiles: {cpu_seconds_with_children() - start:.0f} CPU s", flush=True)
    scores = np.full((len(labels),) * 2, -np.inf, dtype=np.float32)
    for query, target, evalue in pl.read_csv(hits, separator="\t", has_header=False).iter_rows():
        scores[int(query), int(target)] = max(scores[int(query), int(target)], -np.log(max(float(evalue), 1e-300)))
    return np.maximum(scores, scores.T)


def evalues(labels: pl.DataFrame, one: EmbeddingTable, families: EmbeddingTable) -> None:
    """Print how many domains of other folds have an E-value up to a limit."""
    fold = dict(labels.select("id", "fold").iter_rows())
    limits = (0.001, 0.01, 0.1, 1, 10)
    print(
        f"\n## False hits a query at E ≤\n\n| queries, targets | {' | '.join(map(str, limits))} |\n|---|---|---|---|---|---|"
    )
    for name, queries, targets in (
        ("sequences, sequences", one, one),
        ("sequences, families", one, families),
        ("families, families", families, families),
        ("families, sequences", families, one),
    ):
        hits = phylocli.search(queries, targets, number=len(labels))
        query, target = (pl.col(column).replace_strict(fold) for column in ("query", "target"))
        wrong = hits.filter(query != target)
        counts = (f"{wrong.filter(pl.col('evalue') <= limit).height / len(labels):.3f}" for limit in limits)
        print(f"| {name} | {' | '.join(counts)} |", flush=True)


def structure(data: Path, folder: Path, options: argparse.Namespace) -> None:
    """Print the loss in nats and the accuracy of predictions for validation chains, with intervals over chains."""
    chains = pl.read_csv(data / "structures" / "chains.tsv.gz", separator="\t", infer_schema=False)
    chains = chains.filter(pl.col("split") == "valid")
    chains = chains[np.sort(np.random.default_rng(0).permutation(len(chains))[:CHAINS]).tolist()]
    records: Records = list(chains.select("chain", "sequence").iter_rows())
    path, model = homologs(folder, "chains", records, options), phylocli.Model.load("default")
    bare = phylocli.Model.load("default")
    bare.folder = None  # without the residue predictor, its heads predict
    sizes = np.array([len(family) - 1 for family in phylocli.read_families(path)])
    print(
        f"\n## Predictions for {len(chains)} validation chains, {np.mean(sizes > 0):.0%} with homologs, loss and accuracy\n"
    )
    for what, name in (("3di", "3di"), ("ss", "ss3")):
        head = find_head(name)
        targets = [head.targets(text) for text in chains["three_di" if what == "3di" else "dssp"]]
        for title, predicted in (
            ("sequence, heads", predict_residues(records, bare, what)),
            ("family, heads", predict_families(phylocli.read_families(path), bare, what)),
            ("sequence", predict_residues(records, model, what)),
            ("family", predict_families(phylocli.read_families(path), model, what)),
        ):
            sums = []
            for prediction, states in zip(predicted, targets, strict=True):
                known = np.flatnonzero(states != UNKNOWN)
                p = np.maximum(prediction.probabilities[known].astype(np.float64), 1e-12)
                right = (p.argmax(1) == states[known]).sum()
                sums.append((-np.log(p[np.arange(len(known)), states[known]]).sum(), right, len(known)))
            values = np.array(sums, dtype=np.float64)
            for group, chosen in (("all", sizes >= 0), ("20 homologs", sizes >= 20)):
                if chosen.any():
                    found = with_intervals(values[chosen], 0)
                    texts = " | ".join(interval_text(found, name) for name in ("loss", "accuracy"))
                    print(f"| {what} | {title} | {group}: {chosen.sum()} | {texts} |", flush=True)


def probe_residues(data: Path, folder: Path, options: argparse.Namespace) -> None:
    """Print Q3 of logistic regressions on residue embeddings of sequences and of families, with intervals over chains."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    table = pl.read_csv(data / "secondary_structure" / "train_valid.tsv.gz", separator="\t", infer_schema=False)
    rng = np.random.default_rng(0)
    training, validation = (table.filter(pl.col("split") == split) for split in ("train", "valid"))
    sizes = {"training": TRAINING, "validation": CHAINS}
    frames = {
        part: frame[np.sort(rng.permutation(len(frame))[: sizes[part]]).tolist()]
        for part, frame in (("training", training), ("validation", validation))
    }
    embedder = phylocli.load_model("default")
    print("\n## Secondary structure by logistic regression on residues, Q3\n")
    for title in ("sequence", "family"):
        found, labels, chains = {}, {}, []
        for part, frame in frames.items():
            records: Records = [(f"{part}{k}", text) for k, text in enumerate(frame["sequence"])]
            if title == "sequence":
                vectors = embedder.residues([text for _, text in records])
            else:
                path = homologs(folder, f"q3-{part}", records, options)
                vectors = [values for _, values in embed_family_residues(phylocli.read_families(path), embedder)]
            known = [np.frombuffer(mask.encode(), np.uint8) == ord("1") for mask in frame["resolved_mask"]]
            states = [np.frombuffer(text.encode(), np.uint8) for text in frame["ss3"]]
            found[part] = np.concatenate([v[k] for v, k in zip(vectors, known, strict=True)])
            labels[part] = np.concatenate([s[k] for s, k in zip(states, known, strict=True)])
            chains = [int(k.sum()) for k in known]
        scaler = StandardScaler().fit(found["training"])
        drawn = rng.permutation(len(found["training"]))[:200_000]
        fitted = LogisticRegression(max_iter=300).fit(scaler.transform(found["training"][drawn]), labels["training"][drawn])
        right = fitted.predict(scaler.transform(found["validation"])) == labels["validation"]
        sums = np.array([(0, part.sum(), len(part)) for part in np.split(right, np.cumsum(chains)[:-1])], dtype=np.float64)
        print(f"| {title} | {interval_text(with_intervals(sums, 0), 'accuracy')} |", flush=True)


def main() -> None:
    """Run the reports that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("database", type=Path, metavar="DATABASE")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--only", nargs="*", choices=REPORTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--number", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    folder, data, wanted = options.output, options.data, options.only or REPORTS
    labels = pl.read_csv(hidden_folds(data, folder) / "scope" / "dev.tsv", separator="\t", infer_schema=False)
    records: Records = list(labels.select("id", "sequence").iter_rows())
    one = embedded(folder / "scope.parquet", records)
    if {"folds", "evalues"} & {*wanted}:
        path = homologs(folder, "scope", records, options)
    if "folds" in wanted:
        folds(folder, labels, one, path, options)
    if "evalues" in wanted:
        evalues(labels, one, of_families(path, one))
    if "structure" in wanted:
        structure(data, folder, options)
    if "probe" in wanted:
        probe_residues(data, folder, options)
    if "tape" in wanted:
        frame = load_tape(data, "valid").frame
        records = list(frame.select("id", "sequence").iter_rows())
        table = embedded(folder / "tape.parquet", records)
        path = homologs(folder, "tape", records, options)
        of_families(path, table)
        tables = [
            NamedSource("families", beside(path)),
            NamedSource("sequences", folder / "tape.parquet"),
        ]
        report(folder, "tape", tables, None, benchmark="tape-remote-homology", data=data, tasks=())


if __name__ == "__main__":
    main()
