"""The configuration of a run: one TOML file, or nothing but families and the defaults below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from phylocli.core.alphabet import check_alphabet
from phylocli.core.errors import UsageError
from phylocli.formats.streams import PathLike
from phylocli.formats.toml import read_toml

LIMITS = ("min_identity", "max_identity", "min_coverage")


@dataclass
class RunConfig:
    """What a run does. Each table of the TOML file is one field; unknown keys are errors.

    Attributes:
        families: files with families (Stockholm, FASTA), or accessions, which are fetched.
        clans: clan accessions, all of whose families are fetched.
        seed: of every random choice in the run.
        alphabet: `protein`, or `dna`: what pairs are compared as and the model is trained on. Trees of nucleotides are by
            their share of differences only (`[tree] model = "p"`): the models of substitution are of proteins.
        holdout: `fraction` of each family's members that training never sees, taken as whole clades.
        align: options of `phylocli align`.
        tree: options of `phylocli tree`.
        pairs: options of `phylocli pairs`. `hard_negatives` (as its option of that name) and `negatives` list the hard
            negatives of the families and bring them into the batches of training.
        train: options of `phylocli train`; everything but `recipe`, `steps` and `device` is a setting (`--set`).
        embed: options of `phylocli embed`.
        probe: options of `phylocli probe`.
    """

    families: list[str] = field(default_factory=list)
    clans: list[str] = field(default_factory=list)
    seed: int = 0
    alphabet: str = "protein"
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
        "pairs": {"min_dist", "max_dist", "n", "weighting", *LIMITS, "hard_negatives", "negatives"},
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
        check_alphabet(self.alphabet)
        if self.alphabet == "dna" and self.tree.get("model") != "p":
            raise UsageError(
                f"{where}: the trees of a run on nucleotides cannot be by a model of amino acids",
                fix='say [tree] model = "p", or infer trees with another program and give them to pairs and train',
            )
        if self.train.get("alphabet", self.alphabet) != self.alphabet:
            raise UsageError(f"{where}: [train] alphabet is not that of the run", fix="say alphabet once, above all tables")
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
    data = read_toml(file)
    known = {f.name: f for f in fields(RunConfig)}
    for key, value in data.items():
        if key not in known:
            raise UsageError(f"{path}: unknown entry {key!r}", fix=f"known: {', '.join(known)}")
        wanted = {"families": list, "clans": list, "seed": int, "alphabet": str}.get(key, dict)
        if not isinstance(value, wanted):
            raise UsageError(f"{path}: {key} must be a {wanted.__name__}, not {value!r}")
    config = RunConfig(**data)
    config.families = [str(file.parent / f) if (file.parent / f).is_file() else f for f in config.families]
    how = config.pairs.get("hard_negatives")
    if how and (file.parent / str(how)).exists():
        config.pairs["hard_negatives"] = str(file.parent / str(how))
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
