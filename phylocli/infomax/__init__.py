"""Does maximising information make good representations? Experiments on proteins (after Tschannen et al. 2020).

>>> from phylocli.infomax import study
>>> tables = study("infomax", experiments=["channel"], distances=[0.5, 1.0], critic_steps=200)
"""

from __future__ import annotations

from phylocli.infomax.study import study

__all__ = ["study"]
