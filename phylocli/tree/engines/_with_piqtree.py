"""IQ-TREE from the piqtree package in a separate process: `python -P _with_piqtree.py ALIGNMENT MODEL SEED` prints JSON.

A separate process is needed because errors within IQ-TREE may end the process, and for time limits. This module does not
import phylocli, so that it starts quickly.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def infer(alignment: str, model: str, seed: int) -> dict[str, Any]:
    """Infer the maximum-likelihood tree of a FASTA alignment.

    Args:
        alignment: path of the file.
        model: model in IQ-TREE's notation, for example `LG+G4`; `MFP` uses the model with the best BIC by ModelFinder.
        seed: random seed.

    Returns:
        `newick`, `model`, `alpha` (None if the model has none) and `version`.
    """
    import cogent3
    import piqtree

    rows = cogent3.load_aligned_seqs(alignment, moltype="protein")
    chosen = model
    if model == "MFP":
        # Exclude names such as `cpREV` and `Q.plant`: ModelFinder returns them in upper case, which piqtree 0.8 cannot read.
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
    print(json.dumps(infer(sys.argv[1], sys.argv[2], int(sys.argv[3]))))  # noqa: T201  read by the parent process
