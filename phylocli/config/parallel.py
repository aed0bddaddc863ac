"""Options of stages that consist of many independent pieces: processes of this machine, or a cluster."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from phylocli.config.base import Cli, Config, Layer
from phylocli.config.types import Jobs
from phylocli.core.errors import UsageError, unknown_name
from phylocli.core.threads import available_cores, threads_each
from phylocli.formats.toml import read_toml

BATCH_SYSTEMS = ("slurm", "pbs", "sge", "lsf")
LOCAL = "local"
_ADDRESS = re.compile(r"(tcp|tls|ws|wss|ucx|inproc)://\S+")
_TIME = re.compile(r"(\d+-)?\d+(:[0-5]\d){2}")


_USED = {"local": {"workers", "memory", "local_directory"}, "address": set[str]()}
"""Settings of clusters that are not batch systems."""


def _walltime(value: str) -> str:
    if not _TIME.fullmatch(value):
        raise ValueError(f"{value!r} is not a time; write hours, minutes and seconds, as in 02:00:00 or 1-12:00:00")
    return value


def _adapt(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+):(\d+)", value)
    if match is None or int(match[2]) < max(1, int(match[1])):
        raise ValueError(f"{value!r} is not a range of workers; write it as 1:200")
    return int(match[1]), int(match[2])


class ClusterConfig(Config):
    """A cluster, as described by a TOML file for `--cluster`; also what the short forms of that option stand for."""

    type: Literal["local", "address", "slurm", "pbs", "sge", "lsf"] = "local"
    """Kind of cluster: processes of this machine, a running scheduler, or a batch system."""
    address: str | None = None
    """Address of a running Dask scheduler."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Number of workers (0: all cores of this machine, or one for a batch system)."""
    adapt: Annotated[tuple[int, int] | None, BeforeValidator(_adapt)] = None
    """Minimum and maximum number of workers, as in 1:200; they are requested as long as there is work for them."""
    queue: str | None = None
    """Queue or partition."""
    account: str | None = None
    """Account or project that is charged."""
    cores: Annotated[int, Field(ge=1)] = 1
    """Cores per job."""
    processes: Annotated[int, Field(ge=1)] = 1
    """Workers per job, which share its cores and memory."""
    memory: str = "4 GB"
    """Memory per job, or per worker of a local cluster."""
    walltime: Annotated[str, AfterValidator(_walltime)] = "01:00:00"
    """Time limit of a job, in hours, minutes and seconds; a worker ends before it and is replaced, and the piece that it was
    computing is started again."""
    interface: str | None = None
    """Network interface of workers and scheduler, such as ib0."""
    python: str | None = None
    """Python interpreter of the workers; by default the one of this command."""
    prologue: tuple[str, ...] = ()
    """Lines of the job script before the worker starts, such as `module load python`."""
    directives: tuple[str, ...] = ()
    """Further directives of the job script, such as `--constraint=avx2`."""
    local_directory: str | None = None
    """Scratch folder of the workers, on their own disk."""
    log_directory: str | None = None
    """Folder for the output of the jobs; by default none is kept."""
    start_timeout: Annotated[int, Field(ge=1)] = 3600
    """Time in seconds to wait for the first worker."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        used = {"type", "start_timeout", *_USED.get(self.type, type(self).model_fields.keys() - {"address"}), "address"}
        if unused := sorted(self.model_fields_set - used):
            raise UsageError(f"a cluster of the type '{self.type}' does not use {', '.join(unused)}", fix="leave them out")
        if (self.type == "address") != (self.address is not None):
            raise UsageError("a cluster with an address has the type 'address', and no other", fix='write type = "address"')
        if self.address is not None and not _ADDRESS.fullmatch(self.address):
            raise UsageError(f"{self.address!r} is not the address of a scheduler", fix="write it as tcp://host:8786")
        return self

    @property
    def expected_workers(self) -> int:
        """Number of workers that are started; 1 if a running scheduler has them."""
        if self.adapt is not None:
            return self.adapt[1]
        return self.workers or (available_cores() if self.type == LOCAL else 1)

    @classmethod
    def parse(cls, text: str) -> ClusterConfig:
        """Return the cluster that the value of `--cluster` describes.

        Args:
            text: `local`, `local:4`, an address such as `tcp://host:8786`, a batch system, or the path of a TOML file.

        Raises:
            UsageError: none of these, or an unknown key in the file.
            BadInputError: a file that is not TOML.

        Examples:
            >>> from phylocli.config.parallel import ClusterConfig
            >>> ClusterConfig.parse("local:4").workers
            4
        """
        if _ADDRESS.fullmatch(text):
            return cls(type="address", address=text)
        kind, colon, number = text.partition(":")
        if kind == LOCAL:
            if colon and not (number.isascii() and number.isdigit() and int(number)):
                raise UsageError(f"{text!r} has no number of workers", fix="write it as local:4")
            return cls(workers=int(number or 0))
        if text in BATCH_SYSTEMS:
            return cls.model_validate({"type": text})
        if not text.endswith(".toml"):
            raise unknown_name(
                "unknown cluster", text, [LOCAL, *BATCH_SYSTEMS], more=", tcp://HOST:PORT, or a file that ends in .toml"
            )
        return cls._read(Path(text))

    @classmethod
    def _read(cls, path: Path) -> ClusterConfig:
        found = read_toml(path)
        return cls.layered([Layer(str(path), found.get("cluster", found), folder=path.parent)])


def _known(text: str | None) -> str | None:
    if text is not None:
        ClusterConfig.parse(text)
    return text


Cluster = Annotated[
    str | None,  # within, since pydantic does not keep the metadata of a member of a union
    AfterValidator(_known),
    Cli(
        "--cluster",
        metavar="local[:N]|tcp://HOST:PORT|slurm|FILE.toml",
        also=(LOCAL, *BATCH_SYSTEMS),
        decisive=False,
        file=True,
    ),
]


class ParallelConfig(Config):
    """Base of stages that consist of many independent pieces."""

    jobs: Jobs = 1
    cluster: Cluster = None
    """Run on a Dask cluster instead of processes: local workers, a running scheduler, a batch system (slurm, pbs, sge, lsf),
    or a TOML file."""

    def undivided(self, refusal: UsageError) -> Self:
        """Return the configuration for work that is not divided into pieces: without the jobs and cluster of files and of
        the environment, which are for every use of the command.

        Args:
            refusal: raised if the call itself, or the command line, gives jobs or a cluster.
        """
        default = type(self)()
        kept = self.updated(**{name: getattr(default, name) for name in ("jobs", "cluster") if name in self._ambient})
        if not kept.in_process:
            raise refusal
        return kept

    @property
    def in_process(self) -> bool:
        """Whether pieces are computed in this process, one after another."""
        return self.jobs == 1 and self.cluster is None

    @property
    def workers(self) -> int:
        """Number of processes or workers, as far as it is known before they are there: at least 1."""
        if self.cluster is None:
            return self.jobs or available_cores()
        return ClusterConfig.parse(self.cluster).expected_workers

    @property
    def threads_each(self) -> int:
        """Number of threads for each process or worker: the cores of this machine divided among `jobs`; 1 on a cluster."""
        return 1 if self.cluster is not None else threads_each(self.workers)
