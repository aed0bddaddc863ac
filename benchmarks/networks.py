"""What networks and trees add: function labels of few proteins, and whether vectors of trees tell the models that made them.

    python benchmarks/networks.py functions DATA -o OUT     # Deep Graph Infomax against embeddings and label propagation
    python benchmarks/networks.py trees DATA -o OUT         # InfoGraph against statistics of trees
    python benchmarks/networks.py figure OUT -o docs/images # both results as networks-benchmark.svg
    python benchmarks/networks.py page -o OUT               # frames per second of a page of 50,000 nodes, in Chromium

`functions`: proteins with one of the most frequent terms of GO (molecular function), embedded by the default model; a few
proteins of each term have labels, those of all others are predicted by logistic regression on raw embeddings, on Deep Graph
Infomax trained on their network (no labels), on both, and by label propagation (Zhou et al. 2004). The draws of the labelled
proteins are the unit of the intervals: every method sees the same. `trees`: trees simulated under three models, scaled to
one distribution of heights; graph vectors against Colless' index, gamma, height, and all three.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
TERMS, LONGEST, MOST = 8, 300, 100
"""Classes, the longest sequence, and proteins of a class."""
DRAWS = 20
NEIGHBOURS = 10
FAMILIES, TIPS = 240, (20, 60)


def summary(values: list[float]) -> dict[str, float]:
    """Return mean and 95 % interval of the mean over draws (normal)."""
    x = np.array(values)
    half = 1.96 * x.std(ddof=1) / len(x) ** 0.5
    return {"value": float(x.mean()), "low": float(x.mean() - half), "high": float(x.mean() + half)}


def macro_f1(truth: Labels, found: Labels) -> float:
    """Return the mean F1 of the classes."""
    from sklearn.metrics import f1_score

    return float(f1_score(truth, found, average="macro"))


def regression(x: Floats, known: Labels, y: Labels, rest: Labels) -> Labels:
    """Return the classes of the rest by logistic regression on the labelled ones; all rows are standardised together."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaled = StandardScaler().fit_transform(x)
    return LogisticRegression(max_iter=500).fit(scaled[known], y[known]).predict(scaled[rest])


def propagation(ends: Labels, weights: Floats, count: int, known: Labels, y: Labels, rest: Labels) -> Labels:
    """Return labels by local and global consistency: F = a S F + (1 - a) Y, a = 0.9, 50 rounds."""
    from scipy.sparse import coo_array, diags_array

    a, b = ends.T
    matrix = coo_array((np.r_[weights, weights], (np.r_[a, b], np.r_[b, a])), shape=(count, count)).tocsr()
    scale = diags_array(1 / np.sqrt(np.maximum(matrix.sum(axis=1), 1e-9)))
    matrix = scale @ matrix @ scale
    given = np.zeros((count, int(y.max()) + 1))
    given[known, y[known]] = 1
    found = given
    for _ in range(50):
        found = 0.9 * (matrix @ found) + 0.1 * given
    return found[rest].argmax(axis=1)


def functions(data: Path, out: Path) -> dict[str, object]:
    """Return macro-F1 of each method with 1, 3 and 10 labelled proteins of a class, and its difference from embeddings."""
    from phylocli import EmbeddingTable, build_network, load_model, read_embeddings, train_model, write_network

    with gzip.open(data / "function" / "go_mf.tsv.gz") as stream:
        frame = pl.read_csv(stream.read(), separator="\t").filter(pl.col("sequence").str.len_chars() <= LONGEST)
    terms = frame["go_mf_terms"].str.split(",").to_list()
    counts = Counter(term for row in terms if len(row) == 1 for term in row)
    classes = [term for term, _ in counts.most_common(TERMS)]
    code = {term: place for place, term in enumerate(classes)}
    kept, y, seen = [], [], Counter()
    for row, of in enumerate(terms):
        if len(of) == 1 and of[0] in code and seen[of[0]] < MOST:
            seen[of[0]] += 1
            kept.append(row)
            y.append(code[of[0]])
    chosen, labels = frame[kept], np.array(y)
    table_path = out / "proteins.parquet"
    if not table_path.is_file():
        pairs = list(zip(chosen["accession"], chosen["sequence"], strict=True))
        load_model("default").embed(pairs).write(table_path)
    table: EmbeddingTable = read_embeddings(table_path)
    assert table.ids == chosen["accession"].to_list()
    raw = table.numpy().astype(np.float64)
    built = build_network(table_path, number=NEIGHBOURS, communities="components")
    write_network(built, out / "edges.parquet")
    # One configuration, fixed beforehand: the recipe's. Labels are not used.
    run = out / "dgi"
    if not (run / "model").is_dir():
        train_model([out / "edges.parquet"], run, recipe="dgi", features=str(table_path), device="cpu")
    learned = read_embeddings(run / "embeddings.parquet").numpy().astype(np.float64)
    ends, weights = built.network.ends, built.network.weights
    smooth = raw.copy()  # the mean with the neighbours: the convolution without learning
    for row in range(len(raw)):
        near = ends[(ends == row).any(axis=1)].ravel()
        smooth[row] = raw[np.r_[row, near[near != row]]].mean(axis=0)
    directions = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    both = np.concatenate([raw / raw.std(), learned / learned.std()], axis=1)
    methods: dict[str, Callable[[Labels, Labels], Labels]] = {
        "raw embeddings": lambda k, r: regression(raw, k, labels, r),
        "nearest labelled protein": lambda k, r: labels[k][(directions[r] @ directions[k].T).argmax(axis=1)],
        "mean with neighbours": lambda k, r: regression(smooth, k, labels, r),
        "Deep Graph Infomax": lambda k, r: regression(learned, k, labels, r),
        "embeddings + Deep Graph Infomax": lambda k, r: regression(both, k, labels, r),
        "label propagation": lambda k, r: propagation(ends, weights, len(raw), k, labels, r),
    }
    found: dict[str, object] = {"proteins": len(labels), "classes": classes, "edges": len(ends), "draws": DRAWS}
    for each in (1, 3, 10):
        scores: dict[str, list[float]] = {name: [] for name in methods}
        for draw in range(DRAWS):
            random = np.random.default_rng([draw, each])
            groups = [np.flatnonzero(labels == c) for c in range(len(classes))]
            known = np.concatenate([random.choice(group, each, replace=False) for group in groups])
            rest = np.setdiff1d(np.arange(len(labels)), known)
            for name, method in methods.items():
                scores[name].append(macro_f1(labels[rest], method(known, rest)))
        base = np.array(scores["raw embeddings"])
        found[f"{each} per class"] = {
            name: summary(values) | {"difference": summary(list(np.array(values) - base))} for name, values in scores.items()
        }
    return found


def grow(tips: int, kind: str, random: np.random.Generator) -> str:
    """Return a tree in Newick of random height: `yule` (pure birth), `coalescent` (Kingman), or `unbalanced` (large lineages
    are joined with preference)."""
    nodes = [(f"t{i}", 0.0) for i in range(tips)]  # text and height
    height = 0.0
    while len(nodes) > 1:
        k = len(nodes)
        rate = {"yule": k, "coalescent": k * (k - 1) / 2, "unbalanced": k}[kind]
        height += random.exponential(1 / rate)
        if kind == "unbalanced":  # the larger of two lineages is joined with preference
            sizes = np.array([text.count("t") for text, _ in nodes], dtype=float)
            i, j = random.choice(k, 2, replace=False, p=sizes / sizes.sum())
        else:
            i, j = random.choice(k, 2, replace=False)
        (a, low), (b, other) = nodes[i], nodes[j]
        nodes = [node for place, node in enumerate(nodes) if place not in (i, j)]
        nodes.append((f"({a}:{height - low:.6f},{b}:{height - other:.6f})", height))
    scale = random.uniform(0.5, 1.5) / height  # of all kinds alike
    return re.sub(r":([0-9.]+)", lambda found: f":{float(found[1]) * scale:.6f}", nodes[0][0]) + ";"


def statistics(text: str) -> list[float]:
    """Return Colless' index (normalised), gamma (Pybus & Harvey 2000) and height of an ultrametric tree."""
    from phylocli.formats.newick import parse

    tree = parse(text)
    tip, distance = tree.is_tip, tree.root_distances()
    below = tip.astype(int)
    for node in range(len(tree) - 1, 0, -1):
        below[tree.parent[node]] += below[node]
    n = int(tip.sum())
    colless = sum(abs(int(np.diff(below[children])[0])) for children in tree.children() if len(children) == 2)
    height = float(distance[tip].max())
    times = np.sort(distance[~tip])
    gaps = np.diff(np.r_[times, height])  # with 2, 3, …, n lineages
    total = np.cumsum(np.arange(2, n + 1) * gaps)
    gamma = (total[:-1].mean() - total[-1] / 2) / (total[-1] * np.sqrt(1 / (12 * (n - 2))))
    return [2 * colless / ((n - 1) * (n - 2)), float(gamma), height]


def trees(out: Path) -> dict[str, object]:
    """Return the accuracy of each description of trees with 5 and 40 labelled trees of a kind."""

    from phylocli import read_embeddings, train_model

    random = np.random.default_rng(0)
    kinds = ("yule", "coalescent", "unbalanced")
    labels = np.arange(FAMILIES) % 3
    texts = [grow(int(random.integers(*TIPS)), kinds[kind], random) for kind in labels]
    path = out / "trees.sto"
    with path.open("w") as stream:
        for number, text in enumerate(texts):
            names = sorted({part.split(":")[0].lstrip("(") for part in text.split(",")})
            rows = "".join(f"{name} MKVLAAGIVG\n" for name in names)
            stream.write(f"# STOCKHOLM 1.0\n#=GF AC F{number}\n#=GF NH {text}\n{rows}//\n")
    run = out / "infograph"
    if not (run / "model").is_dir():
        train_model([path], run, recipe="infograph", device="cpu")
    table = read_embeddings(run / "embeddings.parquet")
    learned = table.numpy().astype(np.float64)
    known = np.array([statistics(text) for text in texts])
    sizes = np.array([[np.log(text.count("t"))] for text in texts])
    methods = {
        "number of tips": sizes,
        "Colless": known[:, :1],
        "gamma": known[:, 1:2],
        "height": np.log(known[:, 2:]),
        "Colless, gamma, height": np.c_[known[:, :2], np.log(known[:, 2])],
        "InfoGraph": np.sign(learned) * np.log1p(np.abs(learned)),
    }
    methods["all"] = np.c_[methods["Colless, gamma, height"], methods["InfoGraph"]]
    found: dict[str, object] = {"trees": FAMILIES, "kinds": kinds, "draws": DRAWS}
    for each in (5, 40):
        scores: dict[str, list[float]] = {name: [] for name in methods}
        for draw in range(DRAWS):
            order = np.random.default_rng([draw, each])
            train = np.concatenate([order.choice(np.flatnonzero(labels == c), each, replace=False) for c in range(3)])
            test = np.setdiff1d(np.arange(FAMILIES), train)
            for name, x in methods.items():
                scores[name].append(float((regression(x, train, labels, test) == labels[test]).mean()))
        found[f"{each} per kind"] = {name: summary(values) for name, values in scores.items()}
    return found


def figure(results: Path, out: Path) -> dict[str, object]:
    """Draw the results of `functions` and `trees` that are in a folder, with their intervals."""
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "phylocli"
    panels = [
        ("functions", "macro-F1 of functions", "labelled proteins per class", "per class", 1 / TERMS),
        ("trees", "accuracy of models of trees", "labelled trees per model", "per kind", 1 / 3),
    ]
    drawing, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for axis, (name, title, label, suffix, chance) in zip(axes, panels, strict=True):
        found = json.loads((results / f"{name}.json").read_text())
        sizes = [key for key in found if key.endswith(suffix)]
        methods = list(found[sizes[0]])
        for place, method in enumerate(methods):
            x = np.arange(len(sizes)) + (place - (len(methods) - 1) / 2) * 0.1
            value, low, high = (np.array([found[size][method][key] for size in sizes]) for key in ("value", "low", "high"))
            axis.errorbar(x, value, [value - low, high - value], fmt="o", ms=4, label=method)
        axis.axhline(chance, color="grey", lw=0.8, ls=":")
        axis.set(title=title, xlabel=label, ylim=(0, 1), xticks=range(len(sizes)))
        axis.set_xticklabels([size.split()[0] for size in sizes])
        axis.legend(fontsize=7, frameon=False, ncols=2)
    drawing.savefig(out / "networks-benchmark.svg", metadata={"Date": None})
    return {"figure": str(out / "networks-benchmark.svg")}


MOVES = {
    "pan": "left += 7 * Math.sin(k / 9); x = left; fire('pointermove', x, 400);",
    "zoom": "fire('wheel', 500, 400, { deltaY: k % 60 < 30 ? -60 : 60 });",
    "hover": "fire('pointermove', 200 + 5 * (k % 120), 250 + 3 * (k % 97));",
}
"""What a person does with the mouse in frame k."""
SECONDS = 6.0


def frames(browser: Any, move: str) -> Floats:
    """Return the durations of the frames of a page, in ms, while the mouse does something in each."""
    script = """new Promise((done) => {
      const map = document.getElementById('map'), box = map.getBoundingClientRect(), times = [];
      let k = 0, left = 500, x = 0, before = 0;
      const fire = (kind, x, y, more) => map.dispatchEvent(new (kind === 'wheel' ? WheelEvent : PointerEvent)(kind,
        { clientX: box.left + x, clientY: box.top + y, pointerId: 1, bubbles: true, cancelable: true, ...more }));
      map.setPointerCapture = () => {};
      if (PANS) fire('pointerdown', left, 400);
      const start = performance.now();
      const step = (now) => {
        if (before) times.push(now - before);
        before = now;
        if (now - start > MILLISECONDS) { fire('pointerup', x, 400); done(times); return; }
        MOVE; k++;
        requestAnimationFrame(step);
      };
      requestAnimationFrame(step); })"""
    script = script.replace("MOVE;", MOVES[move]).replace("PANS", str(move == "pan").lower())
    return np.array(browser.run(script.replace("MILLISECONDS", str(SECONDS * 1000))))


def cpu_seconds(root: int) -> float:
    """Return the CPU time of a process and of all that it has started."""
    children: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                children.setdefault(int(fields[1]), []).append(int(folder.name))
                used[int(folder.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    found, waiting = 0.0, [root]
    while waiting:
        number = waiting.pop()
        found += used.get(number, 0.0)
        waiting += children.get(number, [])
    return found


def page(out: Path, path: Path | None, count: int = 50_000, degree: int = 8) -> None:
    """Print the times of frames of a page; None: of a simulated network of so many nodes and edges per node."""
    root = Path(__file__).resolve().parents[1]
    sys.path.insert(0, str(root / "tests" / "services"))
    from browser import Browser

    if path is None and not (path := out / f"{count}-{degree}.html").is_file():
        rng = np.random.default_rng(0)
        group = np.sort((rng.pareto(1.2, count) * 40).astype(int) % max(2, count // 60))
        a = rng.integers(0, count, count * degree)
        near = np.clip(a + rng.geometric(0.03, len(a)) * rng.choice([-1, 1], len(a)), 0, count - 1)
        b = np.where(
            group[near] == group[a], near, np.where(rng.random(len(a)) < 0.02, rng.integers(0, count, len(a)), near)
        )
        ends = np.unique(np.sort(np.c_[a, b][a != b], axis=1), axis=0)
        weights = rng.beta(4, 2, len(ends)).round(3)
        edges = pl.DataFrame({"source": [f"p{k}" for k in ends[:, 0]], "target": [f"p{k}" for k in ends[:, 1]]})
        edges.with_columns(weight=weights).write_parquet(out / "edges.parquet")
        command = [sys.executable, "-m", "phylocli", "network", str(out / "edges.parquet"), "-o", str(path)]
        subprocess.run(command, check=True)
    print(f"{path.name}, window of 1,200 x 900 pixels, Chromium without a GPU, {SECONDS:g} s each\n")
    print("| | frames per second | 95th percentile of a frame, ms | CPU per frame, ms |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, Browser(Path(folder)) as browser:
        start = time.monotonic()
        browser.open(path.resolve().as_uri())
        ready = time.monotonic() - start
        browser.wait("document.documentElement.dataset.edgesDrawn === 'true'")
        complete = time.monotonic() - start
        browser.screenshot(out / "whole.png")
        for move in MOVES:
            before = cpu_seconds(browser.process)
            times = frames(browser, move)
            used = 1000 * (cpu_seconds(browser.process) - before) / len(times)
            if move == "zoom":
                browser.screenshot(out / "moving.png")
            print(f"| {move} | {1000 / times.mean():.0f} | {np.quantile(times, 0.95):.0f} | {used:.0f} |", flush=True)
        browser.wait("document.documentElement.dataset.edgesDrawn === 'true'")
        browser.screenshot(out / "rest.png")
    print(f"\nThe page answers after {ready:.1f} s, and all edges are drawn after {complete:.1f} s.")


def main() -> None:
    """Run one part, and print and write its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("functions", "trees", "figure", "page"))
    parser.add_argument("data", type=Path, nargs="?", help="of 'page': a page to measure instead of a simulated one")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    if given.part == "page":
        page(given.output, given.data)
        return
    if given.data is None:
        parser.error(f"'{given.part}' needs a folder")
    if given.part == "figure":
        found = figure(given.data, given.output)
    else:
        found = functions(given.data, given.output) if given.part == "functions" else trees(given.output)
        (given.output / f"{given.part}.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
