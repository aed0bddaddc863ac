"""examples/train.slurm parses, its options exist, and jobs go on until the run is done; with stand-ins for SLURM."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from phylocli.cli import load
from phylocli.formats import write_families
from phylocli.formats.family import Family

# Of sbatch's and srun's manual pages (SLURM 23.11).
SBATCH = {
    "job-name",
    "nodes",
    "ntasks-per-node",
    "gpus-per-node",
    "cpus-per-task",
    "time",
    "signal",
    "requeue",
    "open-mode",
    "output",
}
SRUN = {"kill-on-bad-exit"}

SRUN_STANDIN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
for ((i = 1; i < SLURM_NTASKS; i++)); do SLURM_PROCID=$i SLURM_LOCALID=$i "$@" & done
if [ "${LIMIT:-}" ]; then
    # SLURM: SIGTERM to every process of the step
    (until [ -f "$LIMIT" ]; do sleep 0.02; done; pkill -TERM -g 0 -f '^python -m phylocli train') &
fi
SLURM_PROCID=0 SLURM_LOCALID=0 "$@" && wait
"""
SCONTROL_STANDIN = """#!/bin/bash
if [ "$1" = show ]; then echo localhost; else echo "$@" >> scontrol.log; fi
"""


def test_the_script_parses_and_uses_options_that_exist(examples: Path) -> None:
    script = examples / "train.slurm"
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    text = script.read_text()
    assert set(re.findall(r"^#SBATCH --([a-z-]+)", text, re.MULTILINE)) <= SBATCH
    command = text[text.index("\nsrun ") :]
    assert set(re.findall(r"(?<=srun )--([a-z-]+)", command)) <= SRUN
    train = load("train")
    known = {option for parameter in train.params for option in parameter.opts}
    assert set(re.findall(r"\s(--?[a-z]+)(?=\s)", command[command.index('"$inputs"') :].split("\n")[0])) <= known
    usage = subprocess.run(["bash", script], capture_output=True, check=False)
    assert usage.returncode == 2 and b"usage" in usage.stderr


@pytest.mark.slow
def test_the_job_queues_itself_again_until_the_run_is_done(
    simulate: Callable[..., Family], examples: Path, tmp_path: Path
) -> None:
    write_families([simulate(f"PF{i:05d}", 20) for i in range(6)], tmp_path / "families.sto")
    for name, text in (("srun", SRUN_STANDIN), ("scontrol", SCONTROL_STANDIN)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        **{"SLURM_JOB_NODELIST": "localhost", "SLURM_JOB_ID": str(os.getpid()), "SLURM_NTASKS": "2"},
        **{"SLURM_NTASKS_PER_NODE": "2", "SLURM_CPUS_PER_TASK": "1"},
    }
    small = ["--device", "cpu", "--steps", "12", "--set", "encoder.preset=tiny", "--set", "checkpoints.every=2"]

    def job(**more: str) -> None:
        done = subprocess.run(
            ["bash", examples / "train.slurm", "families.sto", "run", *small],
            cwd=tmp_path,
            env={**environment, **more},
            capture_output=True,
            check=False,
            timeout=400,
            start_new_session=True,  # as SLURM: what is signalled is the job alone
        )
        assert done.returncode == 0, done.stderr.decode()

    job(LIMIT="run/checkpoints/step-00000002.pt")
    assert "requeue" in (tmp_path / "scontrol.log").read_text()
    assert not (tmp_path / "run" / "model").exists()
    job()
    assert (tmp_path / "scontrol.log").read_text().count("requeue") == 1
    assert pl.read_parquet(tmp_path / "run" / "metrics.parquet")["step"].to_list() == list(range(1, 13))
    assert (tmp_path / "run" / "model" / "config.json").is_file()
