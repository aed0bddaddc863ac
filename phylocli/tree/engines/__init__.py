"""Tree engines, one a file: `infer(states, settings)` gives an unrooted tree whose tips are row numbers.

An engine sees at least four different rows of states and nothing else: no names, no duplicates, no rows without residues. It
returns the tree and one line saying what it did (program, version, model, parameters).
"""
