"""Experiments on maximising mutual information: estimators, critics, encoders, and the information evolution leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phylocli.config.infomax import InfomaxConfig

EXAMPLES = [
    "phylocli infomax families.sto -o infomax",
    "phylocli infomax train.sto -o infomax --evaluate others.sto --experiments equal-information --until-nats 0.5,1",
    "phylocli infomax -o infomax --experiments channel",
    "phylocli infomax -o infomax --experiments channel --distances 0.2,1,3 --sites 20 --alpha 0.7 --seeds 0,1",
]
NO_ARGS_IS_HELP = True


def command(
    config: InfomaxConfig,
    families: Annotated[
        str | None,
        typer.Argument(metavar="FAMILIES", help="Aligned family records (Stockholm); channel and ceilings need none."),
    ] = None,
    *,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the study.")],
    evaluate: Annotated[
        Path | None,
        typer.Option(
            "--evaluate", metavar="FAMILIES", help="Measure quality on these families instead of on a third of FAMILIES."
        ),
    ] = None,
) -> None:
    """Measure whether maximising mutual information makes good representations, and how well it can be measured.

    Questions of Tschannen et al. (2020), on proteins. DIR gets, for each experiment, a figure (.svg), means with intervals
    over seeds (.tsv, .parquet) and the rows of all runs (-runs.tsv, .parquet), and infomax.html with all of them; the same
    command resumes an interrupted study.
    """
    from phylocli.infomax import study

    study(output, families, config, evaluate=evaluate)
