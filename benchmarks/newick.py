"""Trees as arrays compared with ete3: reading, traversal, writing, and conversion.

    python benchmarks/newick.py                 # 100,000 tips: a random tree, and a ladder of 20,000
    python benchmarks/newick.py --tips 10000 --ladder 5000

CPU seconds, the least of three. `walk`: the distance of every tip from the root. A ladder is as deep as a tree can be, which
code that recurses does not survive; `failed` names the error.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from phylocli.formats.newick import parse
from phylocli.formats.tree import Tree, import_ete
from phylocli.simulate import random_tree


def seconds(work: Callable[[], Any], times: int = 3) -> tuple[Any, float]:
    """Return what `work` returns, and its CPU seconds, the least of some tries."""
    best = np.inf
    for _ in range(times):
        start = time.process_time()
        found = work()
        best = min(best, time.process_time() - start)
    return found, best


def attempt(work: Callable[[], Any]) -> tuple[Any, str]:
    """Return what `work` returns and its time as text, or None and the name of its error."""
    try:
        found, best = seconds(work)
    except (RecursionError, MemoryError, ValueError) as error:
        return None, f"failed: {type(error).__name__}"
    return found, f"{best:.2f}"


def ladder(tips: int) -> Tree:
    """Return a tree in which every inner node has a tip and the next inner node for children."""
    inner = 2 * np.arange(tips - 1)
    parent = np.empty(2 * tips - 1, dtype=np.int64)
    parent[0] = -1
    parent[1::2] = inner  # a tip
    parent[2::2] = inner  # the next inner node, at last a tip
    names = [f"s{i // 2}" if i % 2 else "" for i in range(2 * tips - 1)]
    names[-1] = f"s{tips}"
    return Tree(parent, np.full(2 * tips - 1, 0.01), names)


def ete_depths(tree: Any) -> dict[str, float]:
    """Return the distance of every tip from the root, in one walk without recursion."""
    depth = {}
    found = {}
    for node in tree.traverse("preorder"):
        depth[node] = depth[node.up] + node.dist if node.up else 0.0
        if node.is_leaf():
            found[node.name] = depth[node]
    return found


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tips", type=int, default=100_000)
    parser.add_argument("--ladder", type=int, default=20_000)
    arguments = parser.parse_args()
    ete3 = import_ete()
    rows = (
        ("random", random_tree(arguments.tips, np.random.default_rng(0))),
        ("ladder", ladder(arguments.ladder)),
    )
    print(f"{'tree':7} {'tips':>7} {'what':20} {'arrays':>8} {'ete3':>24}")
    for label, tree in rows:
        tips = len(tree.tips())

        def say(what: str, ours: str, theirs: str, label: str = label, tips: int = tips) -> None:
            print(f"{label:7} {tips:7} {what:20} {ours:>8} {theirs:>24}", flush=True)

        text = tree.to_newick()
        ours, our_time = attempt(lambda text=text: parse(text))
        theirs, their_time = attempt(lambda text=text: ete3.Tree(text, format=1))
        say("read Newick", our_time, their_time)
        depths, our_time = attempt(lambda ours=ours: ours.root_distances()[ours.tips()])
        if theirs is not None:
            their_depths, their_time = attempt(lambda theirs=theirs: ete_depths(theirs))
            assert np.allclose(depths, [their_depths[name] for name in ours.tip_names()])
            say("walk", our_time, their_time)
        _, our_time = attempt(ours.to_newick)
        if theirs is not None:
            say("write Newick", our_time, attempt(lambda theirs=theirs: theirs.write(format=5))[1])
        converted, our_time = attempt(ours.to_ete)
        say("arrays to ete3", our_time, "")
        back, our_time = attempt(lambda converted=converted: Tree.from_ete(converted))
        assert np.array_equal(back.parent, ours.parent)
        assert back.names == ours.names
        say("ete3 to arrays", our_time, "")


if __name__ == "__main__":
    main()
