"""A real SLURM on loopback: a command runs in its jobs, and survives the loss of one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from slurm import Slurm

pytestmark = [pytest.mark.slow, pytest.mark.needs("slurm")]


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    """Two nodes of one core."""
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, Slurm(Path(folder)) as cluster:
        yield cluster


def command(slurm: Slurm, folder: Path, *arguments: object) -> subprocess.Popen[bytes]:
    """Start phylocli with the configuration of the cluster."""
    environment = {**os.environ, **slurm.environment, "PHYLOCLI_STORE": str(folder / "store"), "NO_COLOR": "1"}
    words = [sys.executable, "-m", "phylocli", *map(str, arguments)]
    return subprocess.Popen(words, env=environment, cwd=folder, stderr=subprocess.PIPE)


def wait_until(ready: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_trees_from_jobs_of_slurm_are_those_of_one_process_although_a_job_is_cancelled(
    slurm: Slurm, tmp_path: Path, simulated_file: Callable[..., Path], cli: Callable[..., object]
) -> None:
    families = simulated_file(24, 24)
    cli("tree", families, "-o", tmp_path / "one.sto")
    (tmp_path / "slurm.toml").write_text(
        'type = "slurm"\nqueue = "main"\nmemory = "1 GB"\nworkers = 2\nwalltime = "00:30:00"\ninterface = "lo"\n'
    )
    process = command(slurm, tmp_path, "tree", families, "--cluster", tmp_path / "slurm.toml", "-o", tmp_path / "many.sto")
    partial = tmp_path / "many.sto.partial"
    wait_until(lambda: process.poll() is not None or (partial.exists() and partial.read_bytes().count(b"\n") > 3))
    assert process.poll() is None, process.communicate()[1].decode()
    jobs = slurm.run("squeue", "-h", "-o", "%i").stdout.split()
    slurm.run("scancel", "--signal=KILL", jobs[0])
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors.decode()
    assert (tmp_path / "many.sto").read_bytes() == (tmp_path / "one.sto").read_bytes()
    wait_until(lambda: not slurm.jobs(), 120)  # jobs end with the command


def test_shards_of_a_table_are_the_tasks_of_a_job_array(slurm: Slurm, tmp_path: Path, examples: Path) -> None:
    script = tmp_path / "embed.sh"
    line = (
        f"{sys.executable} -m phylocli embed {examples / 'globins.fasta'} -o {tmp_path}/parts/ --shard-size 10 --threads 1"
    )
    script.write_text(
        f"#!/bin/bash\n#SBATCH --array=1-2\n#SBATCH --output={tmp_path}/%a.log\n{line} --shard $SLURM_ARRAY_TASK_ID/2\n"
    )
    assert slurm.run("sbatch", str(script)).returncode == 0
    wait_until(lambda: len(list((tmp_path / "parts").glob("part-*.parquet"))) == 5 and not slurm.jobs())
    from phylocli.formats.embeddings import read_embeddings

    assert len(read_embeddings(tmp_path / "parts")) == 45


def test_example_script_trains_on_slurm(slurm: Slurm, tmp_path: Path, simulated_file: Callable[..., Path]) -> None:
    families = simulated_file(4, 12)
    text = (Path(__file__).parents[2] / "examples" / "train.slurm").read_text()
    for old, new in (
        ("--ntasks-per-node=4", "--ntasks-per-node=1"),
        ("#SBATCH --gpus-per-node=4\n", ""),
        ("--cpus-per-task=8", "--cpus-per-task=1"),
        ("--output=%x-%j.log", f"--output={tmp_path}/train.log"),
        ("exec python -m", f"exec {sys.executable} -m"),
    ):
        assert old in text
        text = text.replace(old, new)
    script = tmp_path / "train.slurm"
    script.write_text(text)
    options = ["--set", "encoder.preset=tiny", "--set", "batch.pairs=8", "--steps", "20", "--device", "cpu"]
    found = slurm.run("sbatch", str(script), str(families), str(tmp_path / "run"), *options)
    assert found.returncode == 0, found.stderr
    wait_until((tmp_path / "run" / "model" / "config.json").exists, 600)
    wait_until(lambda: not slurm.jobs())
