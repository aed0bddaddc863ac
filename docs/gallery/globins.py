"""Globins in two dimensions: principal components of their embeddings."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import phylocli

sequences = list(phylocli.read_sequences("examples/globins.fasta"))
vectors = phylocli.load_model("default").embed(sequences).numpy()
left, scale, _ = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
kinds = np.array([s.id[:3] if s.id[:3] in ("HBA", "HBB", "MYG") else "other" for s in sequences])

plt.rcParams["svg.hashsalt"] = "phylocli"  # the same bytes each time
figure, axes = plt.subplots(figsize=(5, 4))
for kind, label in (("HBA", "alpha"), ("HBB", "beta"), ("MYG", "myoglobin"), ("other", "other")):
    rows = kinds == kind
    axes.scatter(*(left[rows, :2] * scale[:2]).T, label=label, s=20)
axes.set(xlabel="first component", ylabel="second component")
axes.legend(frameon=False)
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images")
figure.savefig(folder / "gallery-globins.svg", metadata={"Date": None}, bbox_inches="tight")
