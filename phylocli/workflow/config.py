"""The configuration of a run: one TOML file, or nothing but families and the defaults below."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from phylocli.errors import BadInputError, UsageError
from phylocli.formats.streams import PathLike


@dataclass
class RunConfig:
    """What a run does. Each table of the TOML file is one field; unknown keys are errors.

    Attributes:
        families: files with families (Stockholm, FASTA), or accessions, which are fetched.
        clans: clan accessions, all of whose families are fetched.
        seed: of every random choice in the run.
        holdout: `fraction` of each family's members that training never sees, taken as whole clades.
        align: options of `phylocli align`.
        tree: options of `phylocli tree`.
        pairs: options of `phylocli pairs`.
        train: options of `phylocli train`; everything but `recipe`, `steps` and `device` is a setting (`--set`).
        embed: options of `phylocli embed`.
        probe: options of `phylocli probe`.
    """

    families: list[str] = field(default_factory=list)
    clans: list[str] = field(default_factory=list)
    seed: int = 0
    holdout: dict[str, Any] = field(default_factory=dict)
    align: dict[str, Any] = field(default_factory=dict)
    tree: dict[str, Any] = field(default_factory=dict)
    pairs: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    embed: dict[str, Any] = field(default_factory=dict)
    probe: dict[str, Any] = field(default_factory=dict)

    # What a table may hold; None takes any key and leaves the judgement to the stage.
    _KNOWN = {  # noqa: RUF012
        "holdout": {"fraction"},
        "align": {"method", "hmm", "trim", "min_coverage", "threads"},
        "tree": {"engine", "model", "jobs", "timeout", "root"},
        "pairs": {"min_dist", "max_dist", "n", "weighting"},
        "train": None,
        "embed": {"pool", "half", "device"},
        "probe": {"tasks"},
    }

    def check(self, where: str) -> None:
        """Raise where a table holds a key that its stage does not have.

        Raises:
            UsageError: naming the key and those that are known.
        """
        for table, known in self._KNOWN.items():
            for key in getattr(self, table):
                if known is not None and key not in known:
                    raise UsageError(f"{where}: [{table}] has no option {key!r}", fix=f"known: {', '.join(sorted(known))}")
        fraction = self.holdout.get("fraction", 0.3)
        if not 0 < fraction < 1:
            raise UsageError(f"{where}: [holdout] fraction is {fraction}, it must lie between 0 and 1")
        if not self.families and not self.clans:
            raise UsageError(f"{where} names no families", fix='say families = ["PF00042", "my_families.sto"]')

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as plain tables, for writing beside the results."""
        return asdict(self)


def load(path: PathLike) -> RunConfig:
    """Read a configuration file; files that it names are relative to its folder.

    Raises:
        BadInputError: not TOML.
        UsageError: unknown tables or keys, wrong types.
    """
    file = Path(path)
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInputError(f"{path}: no such file", fix="check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} is not TOML", why=str(error)) from error
    known = {f.name: f for f in fields(RunConfig)}
    for key, value in data.items():
        if key not in known:
            raise UsageError(f"{path}: unknown entry {key!r}", fix=f"known: {', '.join(known)}")
        wanted = {"families": list, "clans": list, "seed": int}.get(key, dict)
        if not isinstance(value, wanted):
            raise UsageError(f"{path}: {key} must be a {wanted.__name__}, not {value!r}")
    config = RunConfig(**data)
    config.families = [str(file.parent / f) if (file.parent / f).is_file() else f for f in config.families]
    config.check(str(path))
    return config


def from_arguments(arguments: Sequence[str]) -> RunConfig:
    """Return the configuration for what the command line names: one TOML file, or families (files, accessions, clans)."""
    if len(arguments) == 1 and arguments[0].endswith(".toml"):
        return load(arguments[0])
    config = RunConfig(
        families=[a for a in arguments if not a.startswith("CL")], clans=[a for a in arguments if a.startswith("CL")]
    )
    config.check("the command line")
    return config
