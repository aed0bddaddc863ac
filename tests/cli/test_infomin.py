"""`phylocli infomin`: invalid input is rejected before anything is computed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_impossible_sweeps_are_refused_before_computing(phylocli: Callable[..., Any], tmp_path: Path) -> None:
    families = EXAMPLES / "families.sto"
    for arguments, said in (
        (["--quality", "beauty"], "--quality must be retrieval, clan or patristic"),
        (["--bands", "1:0.5"], "'1:0.5' is not a distance band"),
        (["--views", "no-such-view"], "no-such-view"),
    ):
        found = phylocli("infomin", families, "-o", tmp_path / "out", *arguments)
        assert found.returncode == 2 and said in found.stderr.decode(), found.stderr
        assert not (tmp_path / "out").exists()
