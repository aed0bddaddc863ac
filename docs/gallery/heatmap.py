"""Cosine similarities of globins, in the order of their tree."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import phylocli

globins = next(f for f in phylocli.read_families("examples/families.sto") if f.accession == "PF00042")
(family,) = phylocli.infer_trees([globins])
letters = {s.id: s for s in family.sequences()}
order = family.tree.tip_names()  # from the top of the drawn tree to its bottom
vectors = phylocli.load_model("default").embed([letters[name] for name in order]).numpy()
unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

plt.rcParams["svg.hashsalt"] = "phylocli"  # the same bytes each time
figure, axes = plt.subplots(figsize=(6, 5.4))
image = axes.imshow(unit @ unit.T, cmap="viridis")
axes.set_yticks(range(0, len(order), 3), [name.split("/")[0] for name in order[::3]], fontsize=6)
axes.set_xticks([])
figure.colorbar(image, label="cosine similarity", shrink=0.8)
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images")
figure.savefig(folder / "gallery-heatmap.svg", metadata={"Date": None}, bbox_inches="tight")
