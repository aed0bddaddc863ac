"""A real SLURM on loopback: munged, slurmctld and several slurmd, all of this user, in a folder of their own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")

CONFIG = """
ClusterName=loopback
SlurmctldHost={host}
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ReturnToService=2
SlurmdTimeout=300
MpiDefault=none
KillWait=5
{nodes}
PartitionName=main Nodes=n[1-{count}] Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """A cluster of `count` nodes of one core each; a context manager.

    Args:
        folder: for its files; its path must be short, since it holds a socket.
        count: number of nodes.
    """

    def __init__(self, folder: Path, count: int = 2) -> None:
        self.folder, self.count = folder, count
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Slurm:
        folder, count = self.folder, self.count
        (folder / "state").mkdir()
        for k in range(count):
            (folder / f"spool-n{k + 1}").mkdir()
        folder.chmod(0o755)
        ports = _free_ports(count + 1)
        host = socket.gethostname().split(".")[0]
        about = f"NodeHostname={host} NodeAddr=127.0.0.1 CPUs=1 RealMemory=2000 State=UNKNOWN"
        nodes = "\n".join(f"NodeName=n{k + 1} Port={ports[k + 1]} {about}" for k in range(count))
        text = CONFIG.format(
            host=f"{host}(127.0.0.1)", ports=ports, user=getpass.getuser(), folder=folder, nodes=nodes, count=count
        )
        (folder / "slurm.conf").write_text(text)
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        munge = [f"--key-file={key}", f"--socket={folder}/munge.socket", f"--pid-file={folder}/munge.pid"]
        munge += [f"--log-file={folder}/munged.log", f"--seed-file={folder}/munge.seed", "--foreground", "--force"]
        self._start("munged", *munge)
        self._wait((folder / "munge.socket").exists, "munged")
        self._start("slurmctld", "-D", "-i")
        for k in range(count):
            self._start("slurmd", "-D", "-N", f"n{k + 1}")
        self._wait(lambda: self.run("sinfo", "-h", "-o", "%T %D").stdout.strip() == f"idle {count}", "the nodes")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.run("scancel", "--user", getpass.getuser())
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of SLURM."""
        return subprocess.run(command, env={**os.environ, **self.environment}, capture_output=True, text=True, check=False)

    def jobs(self) -> list[str]:
        """Return the states of the jobs that have not ended."""
        done = self.run("squeue", "-h", "-o", "%T")
        done.check_returncode()  # no answer is not no job
        return done.stdout.split()

    def _start(self, program: str, *options: str) -> None:
        path = shutil.which(program) or f"/usr/sbin/{program}"
        log = (self.folder / f"{program}.out").open("ab")
        environment = {**os.environ, **self.environment}
        self._processes.append(subprocess.Popen([path, *options], env=environment, stdout=log, stderr=log))

    def _wait(self, ready: object, what: str) -> None:
        for _ in range(600):
            if ready():  # type: ignore[operator]
                return
            time.sleep(0.2)
        logs = "\n".join(f"{path.name}:\n{path.read_text()[-1500:]}" for path in sorted(self.folder.glob("*.[ol][uo]*")))
        raise RuntimeError(f"{what} did not start\n{logs}\n{self.run('sinfo').stdout}")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    found = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return found
