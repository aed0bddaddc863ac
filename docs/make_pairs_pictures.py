"""Draw the pictures of docs/pairs.md and docs/views.md from examples/families.sto; run from the project's root."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("svg")
import matplotlib.pyplot as plt

from phylocli import views
from phylocli.core.alphabet import decode_tokens
from phylocli.formats import Family, read_families
from phylocli.pairs import PairSampler
from phylocli.tree import infer_trees
from phylocli.views.base.preview import identity

IMAGES = Path(__file__).parent / "images"
BANDS = ((0.0, 0.3), (0.3, 1.0), (1.0, 2.0), (2.0, 3.0))
COLOURS = ("#0072b2", "#009e73", "#d55e00", "#cc79a7")
PER_VIEW = 120


def save(figure: plt.Figure, name: str) -> None:
    """Write a picture whose bytes depend on nothing but what it shows."""
    figure.savefig(IMAGES / name, metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)


def draw_tree(family: Family) -> None:
    """Draw a family's tree once for each band, with the path between two members drawn from it."""
    tree = family.require_tree()
    sampler = PairSampler(tree)
    x = tree.root_distances()
    y = np.zeros(len(tree))
    y[tree.tips()] = np.arange(sampler.n_tips)
    children = tree.children()
    for node in range(len(tree) - 1, -1, -1):
        if children[node]:
            y[node] = np.mean([y[child] for child in children[node]])
    figure, panels = plt.subplots(1, len(BANDS), figsize=(11, 4.2), sharey=True)
    for panel, (lo, hi), colour in zip(panels, BANDS, COLOURS, strict=True):
        i, j, distance = (a[0] for a in sampler.draw(1, lo, hi, np.random.default_rng(2)))
        meet = int(sampler.tree.ancestor(np.array([i]), np.array([j]))[0])
        path = set()
        for node in tree.tips()[[i, j]].tolist():
            while node != meet:
                path.add(node)
                node = int(tree.parent[node])  # noqa: PLW2901
        for node in range(1, len(tree)):
            up = int(tree.parent[node])
            style = {"color": colour, "lw": 2.2, "zorder": 3} if node in path else {"color": "0.65", "lw": 0.7}
            panel.plot([x[up], x[up], x[node]], [y[up], y[node], y[node]], solid_joinstyle="miter", **style)
        panel.plot(x[tree.tips()[[i, j]]], y[tree.tips()[[i, j]]], "o", color=colour, ms=5, zorder=4)
        panel.set_title(f"{lo:g} to {hi:g}: {sampler.count(lo, hi):,} pairs\nthis one at {distance:.2f}", fontsize=9)
        panel.set_yticks([])
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.tick_params(labelsize=8)
    figure.supxlabel(f"substitutions per site from the root of {family.accession} ({family.name})", fontsize=9)
    save(figure, "pairs-bands.svg")


def measured(family: Family, spec: str, parameters: dict[str, dict[str, object]], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return distances and identities of drawn views."""
    a, b, distance = views.build(spec, parameters).prepare(family).draw(n, np.random.default_rng(0))
    same = [identity(decode_tokens(s), decode_tokens(t)) for s, t in zip(a, b, strict=True)]
    return distance, np.array(same)


def draw_identity(family: Family) -> None:
    """Draw identity against distance for each view of one family."""
    figure, panel = plt.subplots(figsize=(7.5, 4.8))
    shown = {
        "phylogenetic": ("o", "#d55e00", {}),
        "ancestor": ("^", "#cc79a7", {}),
        "simulated": ("s", "#0072b2", {"simulated": {"min_dist": 0.02, "max_dist": 3.0}}),
    }
    for name, (mark, colour, parameters) in shown.items():
        distance, same = measured(family, name, parameters, PER_VIEW)
        panel.plot(distance, same, mark, color=colour, ms=4, alpha=0.6, label=name, mew=0)
    grid = np.linspace(0.05, 3.0, 13)
    for matrix, style in (("uniform", "-"), ("blosum62", "--")):
        means = [
            measured(family, "substitution", {"substitution": {"distance": float(d), "matrix": matrix}}, 12)[1].mean()
            for d in grid
        ]
        panel.plot(grid, means, style, color="#009e73", label=f"substitution, {matrix}")
    for name, colour in (("pssm", "0.25"), ("hmm-emission", "0.55")):
        _, same = measured(family, name, {}, 40)
        panel.axhline(np.median(same), color=colour, lw=1.2, ls=":", label=f"{name} (no distance; median)")
    still = {"masking": "P", "crop": "v", "multi-crop": "<", "spans": ">"}
    for place, (name, mark) in enumerate(still.items(), 1):  # no residue changes: at distance 0, beside each other
        _, same = measured(family, name, {}, 60)
        low, middle, high = np.quantile(same, [0.25, 0.5, 0.75])
        panel.errorbar(
            -0.07 * place, middle, [[middle - low], [high - middle]], fmt=mark, color="#7a5195", ms=5, lw=1,
            label=f"{name} (distance 0; quartiles)",
        )  # fmt: skip
    panel.set_xlabel("distance between the two views, expected substitutions per site")
    panel.set_ylabel("identity of their global alignment")
    panel.set_ylim(0, 1.02)
    panel.set_xlim(-0.35, 3.2)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(fontsize=8, frameon=False)
    panel.set_title(f"{family.accession} ({family.name}), {len(family)} members", fontsize=10)
    save(figure, "views-identity.svg")


def main() -> None:
    """Draw both pictures."""
    plt.rcParams.update({"svg.hashsalt": "phylocli", "svg.fonttype": "none", "font.family": "sans-serif"})
    IMAGES.mkdir(exist_ok=True)
    families = {f.accession: f for f in read_families("examples/families.sto") if f.accession == "PF00042"}
    (family,) = infer_trees(families.values())
    draw_tree(family)
    draw_identity(family)


if __name__ == "__main__":
    main()
