"""Cosine similarity of embeddings against patristic distance in the tree of a family."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import phylocli

globins = next(f for f in phylocli.read_families("examples/families.sto") if f.accession == "PF00042")
(family,) = phylocli.infer_trees([globins])
pairs = phylocli.sample_pairs([family], number=500, seed=0)
table = phylocli.load_model("default").embed(family.sequences())
row = {name: i for i, name in enumerate(table.ids)}
unit = table.numpy() / np.linalg.norm(table.numpy(), axis=1, keepdims=True)
cosine = [float(unit[row[a]] @ unit[row[b]]) for a, b in zip(pairs["id_a"], pairs["id_b"], strict=True)]

plt.rcParams["svg.hashsalt"] = "phylocli"  # the same bytes each time
figure, axes = plt.subplots(figsize=(5, 4))
axes.scatter(pairs["distance"], cosine, s=8, alpha=0.6)
axes.set(xlabel="patristic distance (substitutions per site)", ylabel="cosine similarity")
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images")
figure.savefig(folder / "gallery-distance.svg", metadata={"Date": None}, bbox_inches="tight")
