"""Tree engines, one per file: `infer(states, settings)` returns an unrooted tree whose tips are row numbers.

An engine gets only at least four distinct rows of states: no names, no duplicates, no rows without residues. It returns the
tree and a description in one line (program, version, model, parameters).
"""
