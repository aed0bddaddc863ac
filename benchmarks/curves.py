"""Draw a run's curves: loss, and the bound in nats on held-out members with its ceiling.

python benchmarks/curves.py RUN/metrics.parquet -o curves.svg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from phylocli.formats.tables import read_table


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("metrics", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "phylocli"
    from matplotlib import pyplot

    table = read_table(options.metrics)
    million = table["residues"].cum_sum().to_numpy() / 1e6
    loss = table["loss"].to_numpy()
    width = max(1, len(loss) // 200)
    smooth = np.convolve(loss, np.ones(width) / width, mode="valid")
    checked = table["val_bound"].is_not_null().to_numpy()
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8, 3), layout="constrained")
    left.plot(million[width - 1 :], smooth, color="#2a6f97")
    left.set(xlabel="million residues", ylabel=f"loss, mean of {width} steps")
    right.plot(million[checked], table["val_bound"].to_numpy()[checked], color="#2a6f97", label="held-out members")
    right.axhline(float(table["val_ceiling"].drop_nulls()[-1]), color="#999999", linestyle="--", label="ceiling, log N")
    right.set(xlabel="million residues", ylabel="InfoNCE, nats", ylim=(0, None))
    right.legend(frameon=False, loc="lower right")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(options.output, metadata={"Date": None})


if __name__ == "__main__":
    main()
