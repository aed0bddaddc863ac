"""Tree engines, one per module: `infer(states, settings)` returns an unrooted tree whose tips are row numbers.

An engine receives at least four distinct rows, each with residues. It returns the tree and a one-line description (program,
version, model, parameters).
"""
