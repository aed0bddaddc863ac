"""`phylocli families`: time, memory, and agreement with Pfam domains, compared with MMseqs2 if installed.

    python benchmarks/families.py proteins.fasta.gz --reference families.sto.gz [--threads 2] [--limit N] [--json FILE]
    python benchmarks/families.py examples

The 20,000 proteins of the documentation are `DB.fasta.gz` of Debian's package mmseqs2-examples (`apt-get download`, then
`dpkg -x`; in usr/share/doc/mmseqs2/example-data).

The truth: profiles are built from the alignments of --reference (examples/families.sto by default), hmmsearch finds their
domains in the proteins (E-value at most 1e-5, half of the profile covered; where domains overlap the best score has the
place). A predicted place is the region of a family that overlaps most with a domain, by at least half of the shorter of the
two; a domain that none overlaps with counts as a family of its own. Homogeneity, completeness and V-measure (Rosenberg and
Hirschberg 2007) are over the domains of profiles that have two or more.

`examples` as the proteins takes the example families themselves, unlabelled: then the label of a member is the truth.

Each engine runs as a command in a process of its own, as a user would start it; time and peak memory are that process's and
its children's. `profile` and `mmseqs` are the engines of `phylocli families`, which write aligned records; `mmseqs-alone` is
`mmseqs easy-cluster` with the same settings and nothing after it, where it is installed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import polars as pl
from sklearn.metrics import homogeneity_completeness_v_measure

from phylocli.formats import read_families, read_sequences
from phylocli.formats.sequences import fasta
from phylocli.formats.sequences.fasta import Sequence
from phylocli.formats.streams import open_text_output
from phylocli.formats.tables import members_schema, read_table, write_table
from phylocli.hmmer import build_hmm

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "families.sto"
Place = tuple[int, int, str]


def true_domains(sequences: list[Sequence], references: list[str], threads: int = 1) -> dict[str, list[Place]]:
    """Return the Pfam domains of each sequence, (from, to, family), found by hmmsearch with known profiles."""
    import pyhmmer
    from pyhmmer import easel

    alphabet = easel.Alphabet.amino()
    block = easel.DigitalSequenceBlock(
        alphabet,
        [easel.TextSequence(name=str(i), sequence=s.residues).digitize(alphabet) for i, s in enumerate(sequences)],
    )
    profiles = []
    for family in (f for path in references for f in read_families(path)):
        profile = build_hmm(family)
        profile.name = family.label
        profiles.append(profile)
    found: dict[str, list[tuple[float, int, int, str]]] = defaultdict(list)
    for hits in pyhmmer.hmmsearch(profiles, block, cpus=threads, E=1e-5):
        for hit in hits:
            for domain in hit.domains:
                covered = domain.alignment.hmm_to - domain.alignment.hmm_from + 1
                if domain.i_evalue <= 1e-5 and 2 * covered >= hits.query.M:
                    place = (-domain.score, domain.env_from, domain.env_to, hits.query.name)
                    found[sequences[int(hit.name)].id].append(place)
    return {name: _best_first(places) for name, places in found.items()}


def _best_first(places: list[tuple[float, int, int, str]]) -> list[Place]:
    kept: list[Place] = []
    for _, start, end, family in sorted(places):
        if all(_overlap((start, end), other) <= 10 for other in kept):
            kept.append((start, end, family))
    return kept


def _overlap(a: tuple[int, int] | Place, b: tuple[int, int] | Place) -> int:
    return min(a[1], b[1]) - max(a[0], b[0]) + 1


def agreement(truth: dict[str, list[Place]], members: Path) -> dict[str, float]:
    """Return homogeneity, completeness and V-measure of a table of members over the true domains, and how many are found."""
    predicted: dict[str, list[Place]] = defaultdict(list)
    for name, start, end, family in read_table(members).select("id", "from", "to", "family").iter_rows():
        if family:
            predicted[name].append((start, end, family))
    sizes: dict[str, int] = defaultdict(int)
    for places in truth.values():
        for _, _, family in places:
            sizes[family] += 1
    labels, guesses, placed = [], [], 0
    for name in sorted(truth):
        for start, end, family in truth[name]:
            if sizes[family] < 2:
                continue
            shared = [(_overlap((start, end), p), p) for p in predicted.get(name, [])]
            shared = [(n, p) for n, p in shared if 2 * n >= min(end - start + 1, p[1] - p[0] + 1)]
            labels.append(family)
            guesses.append(max(shared)[1][2] if shared else f"{name}/{start}")
            placed += bool(shared)
    homogeneity, completeness, v_measure = homogeneity_completeness_v_measure(labels, guesses)
    return {
        "domains": len(labels),
        "placed": placed / max(len(labels), 1),
        "homogeneity": homogeneity,
        "completeness": completeness,
        "v_measure": v_measure,
    }


def run(engine: str, source: Path, folder: Path, threads: int) -> tuple[Path, dict[str, float]]:
    """Run an engine; return its table of members, and seconds, CPU seconds and peak memory of it and its children."""
    members = folder / f"{engine}.tsv"
    if engine == "mmseqs-alone":
        command = [
            "mmseqs",
            "easy-cluster",
            str(source),
            str(folder / "alone"),
            str(folder / "tmp"),
            "-s",
            "7.5",
            "-e",
            "0.001",
        ]
        command += ["-c", "0.6", "--cov-mode", "0", "--cluster-reassign", "1", "--threads", str(threads), "-v", "1"]
    else:
        command = [sys.executable, "-m", "phylocli", "families", str(source), "-o", str(folder / f"{engine}.sto")]
        command += ["--members", str(members), "--engine", engine, "--threads", str(threads)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        raise SystemExit(f"{engine} failed with status {status}")
    if engine == "mmseqs-alone":
        cluster_table(folder / "alone_cluster.tsv", source, members)
    scale = 2**30 if sys.platform == "darwin" else 2**20
    families = len({f for f in read_table(members)["family"].to_list() if f})
    return members, {
        "families": families,
        "wall_s": seconds,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_gib": usage.ru_maxrss / scale,
    }


def cluster_table(clusters: Path, source: Path, members: Path) -> None:
    """Write clusters of two and more as a table of members."""
    lengths = {s.id: len(s.residues) for s in read_sequences(source)}
    found: dict[str, list[str]] = defaultdict(list)
    # MMseqs2 shortens ids to what stands between bars.
    whole = {name.split("|")[1] if name.count("|") >= 2 else name: name for name in lengths}
    for line in clusters.read_text(encoding="utf-8").splitlines():
        head, member = line.split("\t")
        found[head].append(whole.get(member, member))
    rows = [
        (name, 1, lengths[name], head if len(names) > 1 else None, None, None)
        for head, names in found.items()
        for name in names
    ]
    schema = {
        "id": pl.String,
        "from": pl.Int32,
        "to": pl.Int32,
        "family": pl.String,
        "score": pl.Float64,
        "evalue": pl.Float64,
    }
    write_table(pl.DataFrame(rows, schema=schema, orient="row").sort("id"), members, members_schema())


def main() -> None:
    """Run the engines and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("proteins", help="FASTA, or the word 'examples'")
    parser.add_argument("--reference", action="append", help="Stockholm file of known families; may be repeated")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, help="take only so many sequences, evenly spaced")
    parser.add_argument("--engine", action="append", choices=["profile", "mmseqs", "mmseqs-alone"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    engines = arguments.engine or ["profile", *(["mmseqs", "mmseqs-alone"] if shutil.which("mmseqs") else [])]
    if arguments.proteins == "examples":
        known = list(read_families(EXAMPLES))
        sequences = [s for family in known for s in family.sequences()]
        truth = {s.id: [(1, len(s.residues), f.label)] for f in known for s in f.sequences()}
    else:
        sequences = list(read_sequences(arguments.proteins, on_duplicate="keep-first"))
        if arguments.limit and arguments.limit < len(sequences):
            step = len(sequences) / arguments.limit
            sequences = [sequences[int(i * step)] for i in range(arguments.limit)]
        truth = true_domains(sequences, arguments.reference or [str(EXAMPLES)], arguments.threads)
    residues = sum(len(s.residues) for s in sequences)
    known_domains = sum(map(len, truth.values()))
    print(
        f"{len(sequences)} sequences, {residues} residues, {arguments.threads} threads; the truth: {known_domains} domains "
        f"of {len({family for places in truth.values() for *_, family in places})} known families in {len(truth)} sequences",
        flush=True,
    )
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "proteins.fasta"
        with open_text_output(source) as stream:
            fasta.write(sorted(sequences, key=lambda s: s.id), stream)
        for engine in engines:
            members, cost = run(engine, source, folder, arguments.threads)
            rows.append({"engine": engine, **cost, **agreement(truth, members)})
    columns = list(rows[0])
    print("\t".join(columns))
    for row in rows:
        print("\t".join(f"{row[c]:.3f}" if isinstance(row[c], float) else str(row[c]) for c in columns))
    for other in rows[1:]:
        ratios = ", ".join(f"{c} {rows[0][c] / other[c]:.2f}" for c in ("wall_s", "cpu_s", "peak_gib", "v_measure"))
        print(f"{rows[0]['engine']} to {other['engine']}: {ratios}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
