"""IQ-TREE from the piqtree package in a separate process: `python -P _with_piqtree.py ALIGNMENT MODEL SEED` prints JSON.

Errors within IQ-TREE may end the whole process, and so must timeouts. This file imports nothing of phylocli, so that it
starts quickly.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def infer(alignment: str, model: str, seed: int) -> dict[str, Any]:
    """Return the maximum-likelihood tree of a FASTA file as Newick, its model, α if it has one, and the version.

    Args:
        alignment: path of the file.
        model: in IQ-TREE's words, for example `LG+G4`; `MFP` takes the one that ModelFinder has the best BIC for.
        seed: for random numbers.
    """
    import cogent3
    import piqtree

    rows = cogent3.load_aligned_seqs(alignment, moltype="protein")
    chosen = model
    if model == "MFP":
        # Without names such as `cpREV` and `Q.plant`: ModelFinder answers in capitals, which piqtree 0.8 cannot read then.
        names = [m.value for m in piqtree.model.AaModel if m.value.isupper() and m.value != "GTR20"]
        chosen = str(piqtree.model_finder(rows, model_set=names, rand_seed=seed, num_threads=1).best_bic)
    tree = piqtree.build_tree(rows, chosen, rand_seed=seed, num_threads=1)
    return {
        "newick": tree.get_newick(with_distances=True),
        "model": chosen,
        "alpha": tree.params.get("RateGamma", {}).get("gamma_shape"),
        "version": getattr(piqtree, "__iqtree_version__", None) or f"of piqtree {piqtree.__version__}",
    }


if __name__ == "__main__":
    print(json.dumps(infer(sys.argv[1], sys.argv[2], int(sys.argv[3]))))  # noqa: T201  that is its answer
