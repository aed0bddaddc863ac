"""The default model: training on the corpus, fits after training, validation, and the scaling curve, all resumable.

    python benchmarks/default_model.py train CORPUS DATA -o RUN [--steps 1600] [--minutes 25] [--preset small]
    python benchmarks/default_model.py finish CORPUS DATA -o RUN [--set kernel.features=1024]
    python benchmarks/default_model.py ensemble CORPUS DATA -o FOLDER --members RUN_1 RUN_2 … [--set kernel.features=2048]
    python benchmarks/default_model.py evaluate CORPUS DATA -o RUN [--only REPORT]
    python benchmarks/default_model.py subset CORPUS DATA -o FOLDER --families 3000
    python benchmarks/default_model.py scaling CORPUS DATA -o FOLDER [--steps 400] [--families 500,1000,2000,5000]

CORPUS is the folder of `default_corpus.py`, DATA that of the evaluation sets. `train` runs the recipe `evolution-structure`
at low priority: 128 pairs and 48 labelled sequences a step, 1,024 features. With `--minutes` it ends with a checkpoint after
that time, and the same command continues; the learning rate follows `--steps`. `finish` fits kernel means and whitening
to the last checkpoint again, with other settings, and replaces RUN/model. `ensemble` joins the models of complete runs and
fits both to them together: FOLDER/model. `evaluate` measures RUN/model on validation
sets only: domains of the hidden SCOPe folds, the dev families, TAPE's and NetSurfP's validation parts, and 3Di and secondary
structure of the chains of the part validation, with 95 % intervals. `scaling` trains with that many families, the same
fraction of every input, for equal steps, and evaluates each; `subset` writes so many families. What is done is read.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from experiments import fewer, labels_of

import phylocli
from phylocli.config.assignments import nested, parse_assignment
from phylocli.config.train import TrainConfig
from phylocli.core import console
from phylocli.formats.tables import read_table
from phylocli.models.ensemble import join_models
from phylocli.models.heads import find_head
from phylocli.models.heads.base import UNKNOWN
from phylocli.models.model import Model
from phylocli.predict import predict_residues
from phylocli.probe import NamedSource
from phylocli.probe.inputs.tables import parse_source
from phylocli.train.data.loading import load_corpus
from phylocli.train.finalize import finalization_steps
from phylocli.train.parallel.execution import choose_precision
from phylocli.train.run_folder import load_task, model_card

INPUTS = {"whole": 0.45, "remote": 0.2, "domains": 0.1, "structure": 0.25}
"""Inputs of the corpus, and the fraction of the pairs of a step that is of each."""
REPORTS = ("chains", "scope", "dev", "structure", "tape")
MEMBERS = 25
"""Members of each dev family."""


def train(corpus: Path, run: Path, options: argparse.Namespace, inputs: list[Path] | None = None) -> Path:
    """Train, or continue; return the model folder, which is complete when all steps are done."""
    model = run / "model"
    if (model / "config.json").is_file():
        return model
    inputs = inputs or [corpus / f"{name}.sto.gz" for name in INPUTS]
    fractions = [INPUTS[path.name.partition(".")[0]] for path in inputs]
    settings = [
        f"residues.labels={corpus / 'labels.parquet'}",
        f"batch.input_fractions={fractions}",
        "residues.weights.profile=0.5",
        f"encoder.preset={options.preset}",
        "checkpoints.every=50",
        "validation.every=100",
        *options.set,
    ]
    command = [sys.executable, "-m", "phylocli", "train", *map(str, inputs), "--recipe", options.recipe, "--resume"]
    command += ["-o", str(run), "--steps", str(options.steps), "--seed", str(options.seed)]
    command += ["--cache", str(corpus / "cache"), *itertools.chain.from_iterable(("--set", text) for text in settings)]
    process = subprocess.Popen(["nice", "-n", "10", *command])
    try:
        process.wait(60 * options.minutes if options.minutes else None)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)  # ends after the step, with a checkpoint
        process.wait()
    if process.returncode not in (0, 128 + signal.SIGTERM, -signal.SIGTERM):  # stopped before the first step, perhaps
        raise SystemExit(process.returncode)
    return model


def fitted(
    run: Path,
    target: Path,
    changes: dict[str, Any] | None = None,
    *,
    trained: bool = True,
    members: list[Path] | None = None,
    cache: Path | bool = True,
) -> Path:
    """Fit kernel means and whitening to the last checkpoint of a run again, with other settings.

    With `trained=False` they are fitted to the initial weights: what they are worth by themselves. With `members`, runs of
    the same recipe, they are fitted to the ensemble of their models.
    """
    config = TrainConfig.read(run / "config.toml").updated(**changes or {})
    if not trained:
        config = config.updated(encoder={"start": "", "average_coefficient": 0.0})
    task = load_task(run, trained=trained)
    if members:
        task.model = join_models([Model.load(member / "model") for member in members])
    task.execution.precision = choose_precision("auto", task.device)
    corpus = load_corpus(
        [path if Path(path).is_absolute() else run.parent / path for path in config.inputs], config, cache=cache
    )
    for step in finalization_steps(config):
        step.fit(task, corpus)
    return task.model.save(target, model_card(config, corpus, task.model, read_table(run / "metrics.parquet").to_dicts()))


def hidden_folds(data: Path, folder: Path) -> Path:
    """Write the domains of the hidden folds where the benchmark `scope` looks for them, and return the folder."""
    target = folder / "hidden" / "scope" / "dev.tsv"
    target.parent.mkdir(parents=True, exist_ok=True)
    folds = (data / "scope" / "validation_folds.txt").read_text().split()
    table = pl.read_csv(data / "scope" / "dev.tsv.gz", separator="\t", infer_schema=False)
    table.filter(pl.col("fold").is_in(folds)).write_csv(target, separator="\t")
    return folder / "hidden"


def score_chains(model: Model, corpus: Path, seed: int = 0) -> dict[str, dict[str, float]]:
    """Return the loss in nats and the accuracy of each head on the validation chains, with 95 % intervals over chains."""
    model = copy.copy(model)
    model.folder = None  # without its residue predictor, the heads predict
    table = pl.read_parquet(corpus / "chains.parquet")
    training, held_out = (table.filter(pl.col("part") == part) for part in ("train", "validation"))
    found: dict[str, dict[str, float]] = {}
    for what, name in (("3di", "3di"), ("ss", "ss3"), ("ss8", "ss8"), ("profile", "profile")):
        if name not in model.heads:
            continue
        head = find_head(name)
        rows = held_out.filter(pl.col(head.column).is_not_null())
        predicted = predict_residues(list(rows.select("id", "sequence").iter_rows()), model, what)
        sums = []  # of each chain: loss, correct, residues
        for prediction, cell in zip(predicted, rows[head.column], strict=True):
            targets, p = head.targets(cell), np.maximum(prediction.probabilities.astype(np.float64), 1e-12)
            if targets.ndim == 1:
                known = np.flatnonzero(targets != UNKNOWN)
                loss = -np.log(p[known, targets[known]]).sum()
                correct = (p[known].argmax(1) == targets[known]).sum()
            else:
                q = targets.astype(np.float64)
                known = np.flatnonzero(q.sum(1) > 0)
                q = q[known] / q[known].sum(1, keepdims=True)
                loss = (q * (np.log(np.maximum(q, 1e-12)) - np.log(p[known]))).sum()
                correct = (p[known].argmax(1) == q.argmax(1)).sum()
            sums.append((loss, correct, len(known)))
        found[name] = with_intervals(np.array(sums, dtype=np.float64), seed)
        if name == "3di":
            frequent, own = (np.concatenate([head.targets(text) for text in part["three_di"]]) for part in (training, rows))
            found[name]["unigram"] = unigram_loss(frequent, own)
    return found


def unigram_loss(training: npt.NDArray[np.int8], held_out: npt.NDArray[np.int8]) -> float:
    """Return the loss in nats of the frequencies of states in other chains; residues of unknown state do not count."""
    known, wanted = training[training != UNKNOWN], held_out[held_out != UNKNOWN]
    counts = np.bincount(known, minlength=int(wanted.max()) + 1)
    return float(-np.log(counts / counts.sum())[wanted].mean())


def with_intervals(sums: npt.NDArray[np.float64], seed: int, replicates: int = 1000) -> dict[str, float]:
    """Return loss and accuracy per residue from sums over chains, (n, 3), with bootstrap intervals over chains."""
    rng = np.random.default_rng(seed)
    drawn = np.array([sums[rng.integers(0, len(sums), len(sums))].sum(0) for _ in range(replicates)])
    total, result = sums.sum(0), {}
    for column, name in enumerate(("loss", "accuracy")):
        result[name] = float(total[column] / total[2])
        low, high = np.quantile(drawn[:, column] / drawn[:, 2], [0.025, 0.975]).tolist()
        result |= {f"{name}_low": low, f"{name}_high": high}
    return {**result, "chains": float(len(sums))}


def interval_text(found: dict[str, float], name: str) -> str:
    """Return a value of `with_intervals` with its interval."""
    return f"{found[name]:.3f} ({found[f'{name}_low']:.3f}–{found[f'{name}_high']:.3f})"


def evaluate(corpus: Path, data: Path, folder: Path, options: argparse.Namespace) -> None:
    """Measure the model of a run on the validation sets; print the reports."""
    models = [NamedSource("model", folder / "model"), *(parse_source(text) for text in options.also)]
    wanted = options.only or list(REPORTS)
    if "chains" in wanted:
        found = score_chains(Model.load(folder / "model"), corpus)
        (folder / "chains.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        for name, value in found.items():
            text = ", ".join(f"{key} {x:.3f}" for key, x in value.items())
            print(f"{name} on validation chains: {text}", flush=True)
    common = {"models": models, "projection": "none"}
    if "scope" in wanted:
        target = folder / "scope_report"
        phylocli.run_probes(
            [],
            None,
            target,
            benchmark="scope",
            data=hidden_folds(data, folder),
            tasks=["retrieval"],
            baselines=options.baselines or ["untrained", "dipeptides"],
            **common,
        )
        print((target / "report.md").read_text(encoding="utf-8"), flush=True)
    if "dev" in wanted:
        dev, target = corpus / "dev.sto.gz", folder / "dev_report"
        if not dev.is_file():
            few = (fewer(family, MEMBERS) for family in phylocli.read_families(data / "families" / "dev.sto.gz"))
            phylocli.write_families(phylocli.infer_trees(few, jobs=options.threads), dev)
        phylocli.run_probes(
            [],
            labels_of(dev, folder),
            target,
            sequences=dev,
            trees=dev,
            tasks=["retrieval", "patristic"],
            baselines=["untrained", "tripeptides"],
            **common,
        )
        print((target / "report.md").read_text(encoding="utf-8"), flush=True)
    for name, benchmark in (("structure", "secondary-structure"), ("tape", "tape-remote-homology")):
        if name in wanted:
            target = folder / f"{name}_report"
            phylocli.run_probes([], None, target, benchmark=benchmark, data=data, baselines=["untrained"], **common)
            print((target / "report.md").read_text(encoding="utf-8"), flush=True)


def subset(corpus: Path, folder: Path, number: int, seed: int) -> list[Path]:
    """Write so many random families, the same fraction of every input; a smaller subset is part of a larger one."""
    sizes = {name: sum(line.startswith("#=GF AC") for line in _lines(corpus / f"{name}.sto.gz")) for name in INPUTS}
    fraction = number / sum(sizes.values())
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, size in sizes.items():
        path = folder / f"{name}.sto.gz"
        paths.append(path)
        if not path.is_file():
            chosen = set(np.random.default_rng(seed).permutation(size)[: max(2, round(fraction * size))].tolist())
            found = phylocli.read_families(corpus / path.name)
            phylocli.write_families((family for k, family in enumerate(found) if k in chosen), path)
    return paths


def _lines(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        yield from stream


def scaling(corpus: Path, data: Path, folder: Path, options: argparse.Namespace) -> None:
    """Train with increasing numbers of families for equal steps, and print a table."""
    rows = []
    for text in [*options.families.split(","), "all"]:
        part = folder / text
        inputs = None if text == "all" else subset(corpus, part, int(text), options.seed)
        model = train(corpus, part / "run", options, inputs)
        if not (model / "config.json").is_file():
            raise SystemExit("the time is over; the same command continues")
        result = part / "result.json"
        if not result.is_file():
            reports = options.only or ["chains", "scope", "dev"]
            evaluate(corpus, data, part / "run", argparse.Namespace(**{**vars(options), "only": reports, "also": []}))
            values = json.loads((part / "run" / "chains.json").read_text()) if "chains" in reports else {}
            scores: dict[str, list[float]] = {
                f"{name} {key}": [v[key], v[f"{key}_low"], v[f"{key}_high"]]
                for name, v in values.items()
                for key in ("loss", "accuracy")
            }
            for report in (name for name in ("scope", "dev") if name in reports):
                table = pl.read_parquet(part / "run" / f"{report}_report" / "metrics.parquet")
                for row in table.filter(pl.col("embedding") == "model").iter_rows(named=True):
                    if row["metric"] in ("sensitivity to first FP", "patristic correlation"):
                        scores[f"{report} {row['level']}"] = [row["value"], row["low"], row["high"]]
            result.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
        rows.append((text, json.loads(result.read_text())))
    names = list(dict.fromkeys(name for _, scores in rows for name in scores))
    lines = [f"| families | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for text, scores in rows:
        cells = ["{:.3f} ({:.3f}–{:.3f})".format(*scores[name]) if name in scores else "–" for name in names]
        lines.append(f"| {text} | {' | '.join(cells)} |")
    (folder / "scaling.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def main() -> None:
    """Run a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["train", "finish", "ensemble", "evaluate", "scaling", "subset"])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--recipe", default="evolution-structure")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--minutes", type=float, help="end with a checkpoint after that time (of each run in 'scaling')")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of the training run, or of the fits"
    )
    parser.add_argument("--untrained", action="store_true", help="of 'finish': initial weights, RUN/untrained")
    parser.add_argument("--members", type=Path, nargs="+", metavar="RUN", help="of 'ensemble'")
    parser.add_argument("--families", default="500,1000,2000,5000", help="of 'scaling', besides all; of 'subset'")
    parser.add_argument("--only", action="append", choices=REPORTS, help="of the evaluation; may be repeated")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=MODEL", help="another model beside it")
    parser.add_argument("--baselines", action="append", help="of the SCOPe folds: phmmer, mmseqs2, diamond, …")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    options.corpus = options.corpus.resolve()
    console.show_messages(console.NORMAL if options.command in ("train", "finish", "ensemble") else console.QUIET)
    if options.command == "train":
        model = train(options.corpus, options.output, options)
        print(model if (model / "config.json").is_file() else "the time is over; the same command continues")
    elif options.command == "evaluate":
        evaluate(options.corpus, options.data, options.output, options)
    elif options.command == "finish":
        run, changes = options.output, nested(dict(parse_assignment(text) for text in options.set))
        target = run / ("untrained" if options.untrained else "model")
        print(fitted(run, target, changes, trained=not options.untrained, cache=options.corpus / "cache"))
    elif options.command == "ensemble":
        changes = nested(dict(parse_assignment(text) for text in options.set))
        members, target = options.members, options.output / "model"
        print(fitted(members[0], target, changes, members=members, cache=options.corpus / "cache"))
    elif options.command == "subset":
        print(*subset(options.corpus, options.output, int(options.families), options.seed), sep="\n")
    else:
        scaling(options.corpus, options.data, options.output, options)


if __name__ == "__main__":
    main()
