"""The training data of the default model, second generation: from public packages to a corpus folder, in resumable stages.

    python benchmarks/default_corpus.py SETS DATA -o CORPUS [--threads 2] [--stage NAME …] [--proteins N] [--chains N]

SETS is the folder in which Debian's `metastudent-data` and `promod3-data` were extracted (`usr/share` of `dpkg -x`). DATA
holds `families/`, `structures/`, `exclude/`, `scope/`, `tape_remote_homology/` and `secondary_structure/`; the script that
reads the packages, `public_sets.py`, is in `DATA/../tools`. MMseqs2 must be on PATH.

Each stage writes its files below CORPUS and records its settings and checksums in CORPUS/stages; a stage that is recorded
with the same settings is not repeated (delete its record to repeat it), and a killed one is done again (`remote` in parts).
The same arguments give the same bytes.

| stage | result |
|---|---|
| proteins | `proteins.fasta`: allowed sequences of 30 to --longest residues, named by their keys |
| chains | `chains.parquet`: PDB chains with 3Di, DSSP, profile and CATH superfamilies; part: train, validation, excluded |
| families | `families.sto.gz`, `members.parquet`: families of whole proteins with groups of 30 % identity |
| remote | `hits.parquet`: alignments of chains with proteins (three iterations of MMseqs2) |
| seeded | `seeded.sto.gz`: families of the homologs of a chain; `inherited.parquet`: structural labels of these homologs |
| cath | `cath.sto.gz`: domains of CATH superfamilies, aligned by FAMSA |
| clans | `clans.tsv`: homology between all families, as clans |
| labels | `labels.parquet`: residue labels of chains, homologs and family members, with sampling weights |
| inputs | `whole.sto.gz`, `remote.sto.gz`, `domains.sto.gz`, `structure.sto.gz`: families to train on, with their clans |
| leaks | `leaks.json`, `leaks.md`: what the training sequences share with evaluation sets |
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import logging
import re
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import phylocli
from phylocli.core import console
from phylocli.formats import read_families, read_sequences
from phylocli.formats.family import GROUP_TAG, Family
from phylocli.formats.streams import file_sha256
from phylocli.homologs.alignments import Homolog, family_of
from phylocli.mmseqs import aligned_pairs
from phylocli.views.pssm import Pssm

logger = logging.getLogger("default_corpus")

CHUNK = 2000
"""Chains a search; each search reads the index of the proteins once."""
QUERY_COVERAGE = 0.5
"""Fraction of a chain that a homolog covers."""
MOST_HOMOLOGS = 120
"""Homologs of a chain that make its family, and of which labels are inherited by at most a third."""
FEWEST = 4
"""Members of a family."""
EDGE_EVALUE = 1e-3
EDGE_COVERAGE = 0.5
LARGEST_CLAN = 0.05
"""Fraction of all families that may be in one clan."""
HIDDEN = {"SCOPe validation folds": 0.0, "dev families": 0.6}
"""Sets that the model is validated on, and the fraction of a sequence of theirs that a relative covers."""
SCREEN = ("-s", "5.7", "-e", "0.001", "--max-seqs", "1000")
"""Of the searches for leaks."""
FRACTIONS = {"chains": 0.3, "inherited": 0.45, "families": 0.25}
"""Of the labelled sequences of a step. With more of the chains, their labels are learnt by heart within 2,000 steps."""
PROFILED = 8
"""Members of a family that are labelled with its profile."""


@dataclass
class Corpus:
    """The folder, its sources, and the settings of the run."""

    folder: Path
    sets: Path
    data: Path
    options: argparse.Namespace

    def __getitem__(self, name: str) -> Path:
        return self.folder / name

    @property
    def threads(self) -> str:
        """As MMseqs2 takes them."""
        return str(self.options.threads)

    def mmseqs(self, folder: Path, *words: str) -> None:
        """Run MMseqs2 in a folder."""
        threaded = words[0] not in ("createdb", "convertmsa", "rmdb")
        command = ["mmseqs", *words, "-v", "1", *(["--threads", self.threads] if threaded else [])]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed: {(done.stderr or done.stdout)[-500:]}")

    def hits(self, queries: Path, targets: Path, *options: str) -> list[tuple[str, ...]]:
        """Search sequences with sequences; return query, target, identity, E-value, coverage of query and target."""
        work = self["work"] / "hits"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        columns = "query,target,fident,evalue,qcov,tcov"
        self.mmseqs(
            work,
            "easy-search",
            str(queries.resolve()),
            str(targets.resolve()),
            "hits.tsv",
            "tmp",
            *options,
            "--format-output",
            columns,
        )
        found = [tuple(line.split("\t")) for line in (work / "hits.tsv").read_text().splitlines()]
        shutil.rmtree(work)
        return sorted(found)


def write_fasta(path: Path, records: Iterable[tuple[str, str]]) -> None:
    """Write records atomically."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="ascii") as stream:
        stream.writelines(f">{name}\n{text}\n" for name, text in records)
    part.rename(path)


def write_table(path: Path, frame: pl.DataFrame) -> None:
    """Write a Parquet file atomically."""
    part = path.with_name(path.name + ".part")
    frame.write_parquet(part, compression="zstd")
    part.rename(path)


def read_fasta(path: Path) -> dict[str, str]:
    """Return sequences by id."""
    return {s.id: s.residues for s in read_sequences(path)}


# Proteins and chains


def public_sets(corpus: Corpus) -> Any:
    """Import the script that reads the packages."""
    sys.path.insert(0, str((corpus.data / ".." / "tools").resolve()))
    import public_sets as module

    return module


def proteins(corpus: Corpus) -> None:
    """Write the allowed proteins."""
    sets = public_sets(corpus)
    with gzip.open(corpus.data / "exclude" / "proteins.sha256-12.txt.gz", "rt") as stream:
        excluded = set(stream.read().split())
    longest = corpus.options.longest
    kept, left_out = [], 0
    for sequence in sets.proteins(corpus.sets / "metastudent-data" / "dataset_201401"):
        name = sets.key(sequence)
        if name in excluded:
            left_out += 1
        elif 30 <= len(sequence) <= longest:
            kept.append((name, sequence))
    assert len({name for name, _ in kept}) == len(kept), "two sequences have one key"
    if (number := corpus.options.proteins) and number < len(kept):
        kept = [kept[int(k * len(kept) / number)] for k in range(number)]
    logger.info(f"{len(kept):,} proteins; {left_out:,} excluded by their keys")
    write_fasta(corpus["proteins.fasta"], kept)


def chains(corpus: Corpus) -> None:
    """Write the chains with all their labels."""
    frame = pl.read_csv(corpus.data / "structures" / "chains.tsv.gz", separator="\t", infer_schema=False)
    frame = frame.with_columns(pl.col("cath").fill_null("")).sort("chain")
    if (number := corpus.options.chains) and number < frame.height:
        frame = frame[[int(k * frame.height / number) for k in range(number)]]
    wanted = dict(zip(frame["chain"], frame["sequence"], strict=True))
    profiles: dict[str, list[int]] = {}
    for chain in public_sets(corpus).chains(corpus.sets / "promod3" / "loop_data" / "structure_db.dat"):
        if wanted.get(chain["chain"]) == chain["sequence"]:
            profiles[chain["chain"]] = chain["profile"].ravel().tolist()
    logger.info(f"{frame.height:,} chains, {len(profiles):,} of them with a profile")
    parts = {"train": "train", "valid": "validation"}
    part = dict(zip(frame["chain"], (parts[split] for split in frame["split"]), strict=True))
    dropped = related(corpus, {name: text for name, text in wanted.items() if part[name] == "train"})
    logger.info(f"{len(dropped):,} training chains have relatives in the validation sets and are left out")
    part |= dict.fromkeys(dropped, "excluded")
    table = pl.DataFrame(
        {
            "id": frame["chain"],
            "part": [part[name] for name in frame["chain"]],
            "sequence": frame["sequence"],
            "three_di": frame["three_di"],
            "dssp": frame["dssp"],
            "profile": pl.Series([profiles.get(name) for name in frame["chain"]], dtype=pl.List(pl.UInt16)),
            "cath": frame["cath"],
        }
    )
    write_table(corpus["chains.parquet"], table)


def related(corpus: Corpus, sequences: dict[str, str], sets: dict[str, float] = HIDDEN) -> set[str]:
    """Return which sequences have a relative in the sets that the model is validated on: a hit of E ≤ 0.001.

    Args:
        corpus: the folder.
        sequences: by name.
        sets: of each evaluation set the fraction of a sequence that the hit must cover.
    """
    names = list(sequences)
    write_fasta(corpus["screened.fasta"], ((f"s{k}", sequences[name]) for k, name in enumerate(names)))
    found: set[str] = set()
    for name, coverage in sets.items():
        queries = corpus["queries.fasta"]
        write_fasta(queries, ((f"q{k}", text) for k, (_, text) in enumerate(evaluation_sets(corpus.data)[name])))
        hits = corpus.hits(queries, corpus["screened.fasta"], *SCREEN)
        found |= {names[int(target[1:])] for _, target, _, _, covered, _ in hits if float(covered) >= coverage}
        queries.unlink()
    corpus["screened.fasta"].unlink()
    return found


def training_chains(corpus: Corpus) -> pl.DataFrame:
    """Return the chains of the part train."""
    return pl.read_parquet(corpus["chains.parquet"]).filter(pl.col("part") == "train")


# Families


def families(corpus: Corpus) -> None:
    """Group the proteins into families."""
    command = [sys.executable, "-m", "phylocli", "families", str(corpus["proteins.fasta"]), "--engine", "mmseqs"]
    command += ["--min-size", str(FEWEST), "--prefix", "UP", "--singletons", "drop", "--threads", corpus.threads]
    command += ["--members", str(corpus["members.parquet"]), "-o", str(corpus["families.sto.gz"])]
    subprocess.run(command, check=True)


HIT_COLUMNS = "query,target,fident,evalue,bits,qstart,qend,tstart,tend,qlen,tlen,cigar"


def remote(corpus: Corpus) -> None:
    """Search the proteins with the training chains, in parts that are kept."""
    work, parts = corpus["work"] / "remote", corpus["remote"]
    wanted, settings = json.dumps(settings_of(corpus, "remote"), indent=2), parts / "settings.json"
    if not settings.is_file() or settings.read_text() != wanted:  # what an interrupted run has left is of other sequences
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(parts, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    parts.mkdir(exist_ok=True)
    settings.write_text(wanted)
    seeds = training_chains(corpus)
    chunks = range(0, seeds.height, CHUNK)
    if not (work / "proteins.dbtype").is_file():
        corpus.mmseqs(work, "createdb", str(corpus["proteins.fasta"].resolve()), "proteins")
    for number, start in enumerate(chunks):
        part = parts / f"{number:03d}.tsv"
        if part.is_file():
            continue
        begun = time.monotonic()
        chunk = seeds[start : start + CHUNK]
        write_fasta(work / "seeds.fasta", zip(chunk["id"], chunk["sequence"], strict=True))
        for stale in [*work.glob("seeds*"), *work.glob("found*")]:
            if stale.suffix != ".fasta":
                stale.unlink()
        shutil.rmtree(work / "tmp", ignore_errors=True)
        corpus.mmseqs(work, "createdb", "seeds.fasta", "seeds")
        iterations = ["--num-iterations", "3", "-s", "5.7", "-e", "0.001", "--max-seqs", "600", "-a"]
        corpus.mmseqs(work, "search", "seeds", "proteins", "found", "tmp", *iterations)
        corpus.mmseqs(work, "convertalis", "seeds", "proteins", "found", "found.tsv", "--format-output", HIT_COLUMNS)
        (work / "found.tsv").rename(part)
        logger.info(f"remote {number + 1} of {len(chunks)}: {time.monotonic() - begun:.0f} s")
    frames = [
        pl.read_csv(
            part, separator="\t", has_header=False, new_columns=HIT_COLUMNS.split(","), schema_overrides={"cigar": pl.String}
        )
        for part in sorted(parts.glob("*.tsv"))
        if part.stat().st_size
    ]
    write_table(corpus["hits.parquet"], pl.concat(frames).sort("query", "evalue", "target", "qstart", "tstart"))
    shutil.rmtree(parts)
    shutil.rmtree(work)


def spread(hits: pl.DataFrame, most: int) -> list[dict[str, Any]]:
    """Return at most so many hits, evenly spaced by identity, so that near and far homologs are among them."""
    ordered = hits.sort("fident", "target", descending=[True, False])
    places = (
        sorted({int(k * ordered.height / most) for k in range(most)}) if ordered.height > most else range(ordered.height)
    )
    return ordered[list(places)].to_dicts()


def seeded(corpus: Corpus) -> None:
    """Write the families of the chains' homologs, and the labels that these inherit."""
    sequences = read_fasta(corpus["proteins.fasta"])
    members = pl.read_parquet(corpus["members.parquet"]).select("id", "group").drop_nulls().unique("id", maintain_order=True)
    group = dict(members.iter_rows())
    covered = (pl.col("qend") - pl.col("qstart") + 1) >= QUERY_COVERAGE * pl.col("qlen")
    hits = pl.read_parquet(corpus["hits.parquet"]).filter(covered)
    hits = hits.unique(["query", "target"], keep="first", maintain_order=True)  # the best region of a protein
    # The chain whose labels a protein may inherit: the one with most bits.
    ranked = hits.select("target", "query", "bits").sort("bits", "query", descending=True, maintain_order=True)
    best = dict(ranked.unique("target", keep="first").select("target", "query").iter_rows())
    of_chain = {str(name): part for (name,), part in hits.partition_by("query", as_dict=True).items()}
    inherited: list[dict[str, Any]] = []

    def records() -> Iterator[Family]:
        for chain in training_chains(corpus).iter_rows(named=True):
            if chain["id"] not in of_chain or of_chain[chain["id"]].height + 1 < FEWEST:
                continue
            chosen = spread(of_chain[chain["id"]], MOST_HOMOLOGS)
            regions = [sequences[hit["target"]][hit["tstart"] - 1 : hit["tend"]] for hit in chosen]
            inherited.extend(inheritance(chain, chosen, regions, best))
            yield seed_family(chain, chosen, regions, group)

    phylocli.write_families(records(), corpus["seeded.sto.gz"])
    schema = {"id": pl.String, "sequence": pl.String, "three_di": pl.String, "dssp": pl.String, "weight": pl.Float64}
    write_table(corpus["inherited.parquet"], pl.DataFrame(inherited, schema=schema, orient="row").sort("id"))
    logger.info(f"{len(inherited):,} homologs inherit structural labels")


def seed_family(chain: dict[str, Any], hits: list[dict[str, Any]], regions: list[str], group: dict[str, str]) -> Family:
    """Return a chain and its homologs, aligned, with the groups of these."""
    homologs = [
        Homolog(0, hit["tstart"] - 1, region, aligned_pairs(hit["qstart"] - 1, hit["cigar"]), hit["evalue"])
        for hit, region in zip(hits, regions, strict=True)
    ]
    names = [f"{hit['target']}/{hit['tstart']}-{hit['tend']}" for hit in hits]
    heads = {
        name: [(GROUP_TAG, group[hit["target"]])] for name, hit in zip(names, hits, strict=True) if hit["target"] in group
    }
    label = f"SEED_{chain['id']}"
    family = family_of(phylocli.Sequence(chain["id"], chain["sequence"]), homologs, names)
    return replace(family, accession=label, name=label, sequence_features=heads)


def inheritance(
    chain: dict[str, Any], hits: list[dict[str, Any]], regions: list[str], best: dict[str, str]
) -> Iterator[dict[str, Any]]:
    """Yield the labels of homologs whose best chain this is, weighted by identity and coverage."""
    own = [(hit, region) for hit, region in zip(hits, regions, strict=True) if best[hit["target"]] == chain["id"]]
    for hit, region in own[:: max(1, 3 * len(own) // MOST_HOMOLOGS)]:
        labels = {name: ["."] * len(region) for name in ("three_di", "dssp")}
        for query, target in aligned_pairs(hit["qstart"] - 1, hit["cigar"]).tolist():
            for name, letters in labels.items():
                letters[target] = chain[name][query]
        covered = (hit["qend"] - hit["qstart"] + 1) / hit["qlen"]
        yield {
            "id": f"{hit['target']}/{hit['tstart']}-{hit['tend']}",
            "sequence": region,
            **{name: "".join(letters) for name, letters in labels.items()},
            "weight": hit["fident"] * covered,
        }


def domains_of(length: int, cath: str) -> list[tuple[str, int, int]]:
    """Return the CATH domains of a chain, superfamily and places from 0, end open.

    Ranges have the numbers of the PDB file. A single domain is the whole chain; several are placed relative to the first
    residue of the first one, if together they are as long as the chain, within a tenth.

    Args:
        length: of the chain.
        cath: `1.10.8.10:3-90 1.10.8.60:91-160`, with `;` or `,` or blanks between, or empty.
    """
    found = [(name, int(a), int(b)) for name, a, b in re.findall(r"(\d+\.\d+\.\d+\.\d+):(-?\d+)-(-?\d+)", cath)]
    names = {name for name, _, _ in found}
    if len(names) == 1:
        return [(found[0][0], 0, length)]
    if not found:
        return []
    first, last = min(a for _, a, _ in found), max(b for _, _, b in found)
    if abs(last - first + 1 - length) > length / 10:
        return []
    spans: dict[str, list[int]] = {}
    for name, a, b in found:
        spans.setdefault(name, []).extend((a - first, b - first + 1))
    placed = [(name, max(0, min(ends)), min(length, max(ends))) for name, ends in spans.items()]
    return [(name, a, b) for name, a, b in placed if b - a >= 30]


def accession_of(superfamily: str) -> str:
    """Return the accession of a CATH superfamily; what follows a point would be a version."""
    return f"CATH_{superfamily.replace('.', '_')}"


def cath(corpus: Corpus) -> None:
    """Write the CATH superfamilies with two or more domains of training chains."""
    members: dict[str, dict[str, str]] = defaultdict(dict)
    for chain in training_chains(corpus).iter_rows(named=True):
        for superfamily, start, end in domains_of(len(chain["sequence"]), chain["cath"]):
            members[superfamily][f"{chain['id']}/{start + 1}-{end}"] = chain["sequence"][start:end]
    found = [
        Family(list(part), list(part.values()), accession=accession_of(name), name=name, aligned=False)
        for name, part in sorted(members.items())
        if len(part) > 1
    ]
    logger.info(f"{len(found):,} CATH superfamilies with {sum(map(len, found)):,} domains")
    aligned = phylocli.align_families(found, engine="famsa", threads=corpus.options.threads)
    phylocli.write_families(aligned, corpus["cath.sto.gz"])


# Homology between families


class Clans:
    """Sets of families, joined along edges; sets with different labels of one kind, and too large ones, are not joined.

    Args:
        label: kind and label of families: different Pfam clans must not be joined, nor different CATH topologies.
        most: families in one set.
    """

    def __init__(self, label: dict[str, tuple[str, str]], most: int) -> None:
        self.parent: dict[str, str] = {}
        self.size: Counter[str] = Counter()
        self.labels = {name: dict([pair]) for name, pair in label.items()}  # of sets, by kind
        self.most, self.refused = most, 0

    def find(self, name: str) -> str:
        """Return the representative of a family's set."""
        if name not in self.parent:
            self.parent[name], self.size[name] = name, 1
        while self.parent[name] != name:
            self.parent[name] = self.parent[self.parent[name]]
            name = self.parent[name]
        return name

    def join(self, one: str, two: str, *, always: bool = False) -> None:
        """Join the sets of two families, unless that is refused."""
        a, b = sorted((self.find(one), self.find(two)))
        if a == b:
            return
        first, second = self.labels.get(a, {}), self.labels.get(b, {})
        differ = any(first[kind] != second[kind] for kind in first.keys() & second.keys())
        if not always and (differ or self.size[a] + self.size[b] > self.most):
            self.refused += 1
            return
        self.parent[b] = a
        self.size[a] += self.size[b]
        self.labels[a] = {**second, **first}

    def names(self) -> dict[str, str]:
        """Return the clan of each family that is in one with others, named by its labels or its first family."""
        sets: dict[str, list[str]] = defaultdict(list)
        for name in self.parent:
            sets[self.find(name)].append(name)
        found = {}
        for head, members in sets.items():
            labels = self.labels.get(head, {})
            clan = "_".join(labels[kind] for kind in sorted(labels)) or f"CLAN_{min(members)}"
            if len(members) > 1:
                found |= dict.fromkeys(members, clan)
        return found


SOURCES = ("families.sto.gz", "seeded.sto.gz", "pfam.sto.gz", "cath.sto.gz")


def clans(corpus: Corpus) -> None:
    """Write the clan of every family: profiles against representatives, members in common, CATH topologies, Pfam clans."""
    with gzip.GzipFile(corpus["pfam.sto.gz"], "wb", mtime=0) as stream:
        for name in ("train", "more"):
            with gzip.open(corpus.data / "families" / f"{name}.sto.gz") as source:
                shutil.copyfileobj(source, stream)
    work = corpus["work"] / "clans"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    label: dict[str, tuple[str, str]] = {}
    heads: list[tuple[str, str]] = []  # representatives: the longest member
    regions: dict[str, list[tuple[str, int, int]]] = defaultdict(list)  # of proteins: family and place
    with gzip.open(work / "all.sto.gz", "wt") as stream:
        for source in SOURCES:
            for family in read_families(corpus[source]):
                accession = family.accession
                if source == "pfam.sto.gz" and family.clan:
                    label[accession] = "Pfam", family.clan
                if source == "cath.sto.gz":
                    label[accession] = "CATH", accession.rpartition("_")[0]  # the topology
                whole = {s.id: s.residues for s in family.sequences()}
                longest = max(sorted(whole), key=lambda name: len(whole[name]))
                heads.append((accession, whole[longest]))
                if source in ("families.sto.gz", "seeded.sto.gz"):
                    for name, text in whole.items():
                        protein, _, place = name.partition("/")
                        start = int(place.partition("-")[0]) if place else 1
                        regions[protein].append((accession, start, start + len(text) - 1))
                if family.aligned:
                    rows = some_rows(family)
                    lines = "".join(f"{k} {row}\n" for k, row in enumerate(rows))
                    stream.write(f"# STOCKHOLM 1.0\n#=GF ID {accession}\n#=GF AC {accession}\n{lines}//\n")
    write_fasta(work / "heads.fasta", heads)
    corpus.mmseqs(work, "convertmsa", "all.sto.gz", "msa")
    corpus.mmseqs(work, "msa2profile", "msa", "profiles", "--match-mode", "1", "--match-ratio", "0.5")
    corpus.mmseqs(work, "createdb", "heads.fasta", "heads")
    limits = ["-s", "5.7", "-e", str(EDGE_EVALUE), "-c", str(EDGE_COVERAGE), "--cov-mode", "0", "--max-seqs", "1000"]
    corpus.mmseqs(work, "search", "profiles", "heads", "edges", "tmp", *limits)
    corpus.mmseqs(work, "convertalis", "profiles", "heads", "edges", "edges.tsv", "--format-output", "query,target,evalue")
    edges = shared_members(regions)
    for line in (work / "edges.tsv").read_text().splitlines():
        one, two, evalue = line.split("\t")
        if one != two:
            edges.append((float(evalue), *sorted((one, two))))
    made = Clans(label, max(2, int(LARGEST_CLAN * len(heads))))
    for name, _ in heads:
        made.find(name)
    first_of: dict[tuple[str, str], str] = {}
    for name, pair in sorted(label.items()):
        made.join(name, first_of.setdefault(pair, name), always=True)
    for _, one, two in sorted(set(edges)):
        made.join(one, two)
    names = made.names()
    sizes = Counter(names.values()).most_common(3)
    logger.info(
        f"{len(heads):,} families, {len(names):,} of them in {len(set(names.values())):,} clans, the largest of "
        f"{', '.join(str(n) for _, n in sizes)}; {len(set(edges)):,} edges, {made.refused:,} of them refused"
    )
    frame = pl.DataFrame(sorted(names.items()), schema={"family": pl.String, "clan": pl.String}, orient="row")
    frame.write_csv(corpus["clans.tsv"], separator="\t")
    shutil.rmtree(work)


def some_rows(family: Family, most: int = 200) -> list[str]:
    """Return the rows of a family's match columns, of evenly spaced members."""
    match = family.match_columns()
    chosen = sorted({int(k * len(family) / most) for k in range(most)}) if len(family) > most else range(len(family))
    rows = (np.frombuffer(family.rows[k].encode(), dtype="S1")[match] for k in chosen)
    return [row.tobytes().decode().upper().replace(".", "-") for row in rows]


def shared_members(regions: dict[str, list[tuple[str, int, int]]]) -> list[tuple[float, str, str]]:
    """Return an edge for families with at least two regions in common, half of the longer one each; best first."""
    counts: Counter[tuple[str, str]] = Counter()
    for places in regions.values():
        for k, (one, a, b) in enumerate(places):
            for two, c, d in places[k + 1 :]:
                shared = min(b, d) - max(a, c) + 1
                if one != two and 2 * shared >= max(b - a, d - c) + 1:
                    counts[min(one, two), max(one, two)] += 1
    return [(10.0 ** -(n + 3), one, two) for (one, two), n in counts.items() if n > 1]


# What is trained on


def labels(corpus: Corpus) -> None:
    """Write the residue labels of chains, their homologs, and members of families, with sampling weights."""
    columns = ["id", "part", "sequence", "three_di", "dssp", "profile"]
    chain_rows = pl.read_parquet(corpus["chains.parquet"]).filter(pl.col("part") != "excluded").select(columns)
    chain_rows = chain_rows.with_columns(pl.lit(1.0).alias("weight"))
    inherited = pl.read_parquet(corpus["inherited.parquet"])
    dropped = related(corpus, dict(inherited.select("id", "sequence").iter_rows()))
    logger.info(f"{len(dropped):,} homologs have relatives in the validation sets and are left out")
    inherited = inherited.filter(~pl.col("id").is_in(sorted(dropped))).with_columns(
        pl.lit("train").alias("part"), pl.lit(None, dtype=pl.List(pl.UInt16)).alias("profile")
    )
    profiled = pl.DataFrame(list(family_profiles(corpus)), schema_overrides={"profile": pl.List(pl.UInt16)})
    if profiled.height:
        texts = dict(profiled.select("id", "sequence").iter_rows())
        dropped = related(corpus, texts, {"dev families": HIDDEN["dev families"]})
        profiled = profiled.filter(~pl.col("id").is_in(sorted(dropped)))
        missing = [pl.lit(None, dtype=pl.String).alias(name) for name in ("three_di", "dssp")]
        profiled = profiled.with_columns(*missing, pl.lit("train").alias("part"), pl.lit(1.0).alias("weight"))
    parts = {"chains": chain_rows, "inherited": inherited, "families": profiled}
    scaled = []
    for name, frame in parts.items():
        if not frame.height:
            continue
        training = frame.filter(pl.col("part") == "train")["weight"].sum()
        scaled.append(frame.select(*columns, pl.col("weight") * (FRACTIONS[name] / training)))
        logger.info(f"labels of {name}: {frame.height:,} sequences")
    write_table(corpus["labels.parquet"], pl.concat(scaled))


def family_profiles(corpus: Corpus) -> Iterator[dict[str, Any]]:
    """Yield members of different groups of each family of ten or more groups, with its profile at their residues.

    The members are those with the largest fractions of residues in match columns, at most one of each group.
    """
    view = Pssm()
    for family in itertools.chain.from_iterable(
        read_families(corpus[name]) for name in ("families.sto.gz", "seeded.sto.gz")
    ):
        codes = family.group_codes()
        codes = np.arange(len(family)) if codes is None else codes
        if len(set(codes.tolist())) < 10:
            continue
        match = np.flatnonzero(family.match_columns())
        frequencies = view.frequencies(family)[:, :20]
        total = frequencies.sum(axis=1, keepdims=True)
        frequencies = np.divide(frequencies, total, out=np.zeros_like(frequencies), where=total > 0)
        place = np.full(family.columns, -1)
        place[match] = np.arange(len(match))
        columns = family.residue_columns()
        order = np.argsort([-(place[own] >= 0).mean() for own in columns], kind="stable")
        _, first = np.unique(codes[order], return_index=True)
        for k in order[np.sort(first)[:PROFILED]].tolist():
            at = place[columns[k]]
            rows = np.where((at >= 0)[:, None], np.round(10000 * frequencies[at]), 0).astype(np.uint16)
            yield {
                "id": f"{family.accession}/{family.ids[k]}",
                "sequence": family.sequences()[k].residues,
                "profile": rows.ravel().tolist(),
            }


INPUTS = {"whole": "families.sto.gz", "remote": "seeded.sto.gz", "domains": "pfam.sto.gz", "structure": "cath.sto.gz"}


def inputs(corpus: Corpus) -> None:
    """Write the families again, with their clans, and without proteins that hold a domain of a dev family.

    Most are excluded by their keys; those that the profiles of the dev families did not find are left out here.
    """
    clan = dict(pl.read_csv(corpus["clans.tsv"], separator="\t", infer_schema=False).iter_rows())
    built = ("whole", "remote")
    texts = {s.residues for name in built for family in read_families(corpus[INPUTS[name]]) for s in family.sequences()}
    dropped = related(corpus, {text: text for text in sorted(texts)}, {"dev families": HIDDEN["dev families"]})
    logger.info(f"{len(dropped):,} of {len(texts):,} sequences hold a domain of a dev family and are left out")

    def marked(name: str) -> Iterator[Family]:
        for family in read_families(corpus[INPUTS[name]]):
            kept = [s.id for s in family.sequences() if name not in built or s.residues not in dropped]
            if len(kept) < min(FEWEST, len(family)):
                continue
            whole = len(kept) == len(family)
            yield replace(family if whole else family.subset(kept), clan=clan.get(family.accession, ""))

    for name in INPUTS:
        phylocli.write_families(marked(name), corpus[f"{name}.sto.gz"])


# Leakage


def evaluation_sets(data: Path) -> dict[str, list[tuple[str, str]]]:
    """Return the sequences of the evaluation sets."""
    folds = set((data / "scope" / "validation_folds.txt").read_text().split())
    scope = pl.read_csv(data / "scope" / "dev.tsv.gz", separator="\t", infer_schema=False)
    scope = scope.filter(pl.col("fold").is_in(folds))
    tape = pl.read_csv(data / "tape_remote_homology" / "valid.tsv.gz", separator="\t", infer_schema=False)
    second = pl.read_csv(data / "secondary_structure" / "train_valid.tsv.gz", separator="\t", infer_schema=False)
    second = second.filter(pl.col("split") == "valid")
    dev = [(s.id, s.residues) for family in read_families(data / "families" / "dev.sto.gz") for s in family.sequences()]
    return {
        "SCOPe validation folds": list(scope.select("id", "sequence").iter_rows()),
        "dev families": dev,
        "TAPE remote homology, validation": [(f"t{k}", text) for k, text in enumerate(tape["sequence"])],
        "NetSurfP secondary structure, validation": list(second.select("id", "sequence").iter_rows()),
    }


RULES = {
    ("structure", "SCOPe validation folds"): "forbidden",
    ("proteins", "dev families"): "forbidden",
    ("structure", "dev families"): "forbidden",
}
"""Where a homolog is forbidden: structural labels of chains with a relative in the folds that are validated on, and domains
of the dev families in what is built here. All else is permitted, and counted; some of the given Pfam families, the input
`domains`, have dev domains inserted."""


def leaks(corpus: Corpus) -> None:
    """Search the evaluation sets with MMseqs2 in the training sequences, and report what they have in common."""
    write_fasta(corpus["proteins_in.fasta"], training_sequences(corpus, ("whole", "remote")))
    write_fasta(corpus["domains_in.fasta"], training_sequences(corpus, ("domains",)))
    labelled = pl.read_parquet(corpus["labels.parquet"]).filter(
        (pl.col("part") == "train") & pl.col("three_di").is_not_null()
    )
    write_fasta(corpus["structure_in.fasta"], zip(labelled["id"], labelled["sequence"], strict=True))
    rows = []
    for name, records in evaluation_sets(corpus.data).items():
        queries = corpus["queries.fasta"]
        write_fasta(queries, ((f"q{k}", text) for k, (_, text) in enumerate(records)))
        for source in ("proteins", "domains", "structure"):
            found = corpus.hits(queries, corpus[f"{source}_in.fasta"], *SCREEN)
            near: dict[str, float] = defaultdict(float)
            covered = set()
            for query, _, identity, _, query_coverage, _ in found:
                near[query] = max(near[query], float(identity))
                if float(query_coverage) >= 0.6:
                    covered.add(query)
            rows.append(
                {
                    "training": source,
                    "evaluation": name,
                    "sequences": len(records),
                    "rule": RULES.get((source, name), "permitted"),
                    "with a homolog (E ≤ 0.001)": len(near),
                    "covered by 60 %": len(covered),
                    "25 % identical": sum(x >= 0.25 for x in near.values()),
                    "90 % identical": sum(x >= 0.9 for x in near.values()),
                }
            )
            logger.info(f"leaks: {rows[-1]}")
        queries.unlink()
    corpus["leaks.json"].write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    columns = list(rows[0])
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(str(row[c]) for c in columns)} |" for row in rows]
    violated = [r for r in rows if r["rule"] == "forbidden" and r["covered by 60 %"]]
    verdict = (
        "Forbidden homologs were found." if violated else "No forbidden homolog that covers 60 % of an evaluated sequence."
    )
    corpus["leaks.md"].write_text("\n".join([*lines, "", verdict, ""]), encoding="utf-8")
    print(corpus["leaks.md"].read_text(encoding="utf-8"))


def training_sequences(corpus: Corpus, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield each different sequence of some inputs, named by its number."""
    seen: set[str] = set()
    for name in names:
        for family in read_families(corpus[f"{name}.sto.gz"]):
            for sequence in family.sequences():
                if sequence.residues not in seen:
                    seen.add(sequence.residues)
                    yield f"s{len(seen)}", sequence.residues


# Stages


@dataclass(frozen=True)
class Stage:
    """What makes some files of the corpus from others."""

    make: Callable[[Corpus], None]
    needs: tuple[str, ...]
    writes: tuple[str, ...]


STAGES = {
    "proteins": Stage(proteins, (), ("proteins.fasta",)),
    "chains": Stage(chains, (), ("chains.parquet",)),
    "families": Stage(families, ("proteins",), ("families.sto.gz", "members.parquet")),
    "remote": Stage(remote, ("proteins", "chains"), ("hits.parquet",)),
    "seeded": Stage(seeded, ("families", "remote"), ("seeded.sto.gz", "inherited.parquet")),
    "cath": Stage(cath, ("chains",), ("cath.sto.gz",)),
    "clans": Stage(clans, ("families", "seeded", "cath"), ("pfam.sto.gz", "clans.tsv")),
    "labels": Stage(labels, ("families", "seeded"), ("labels.parquet",)),
    "inputs": Stage(inputs, ("clans",), tuple(f"{name}.sto.gz" for name in INPUTS)),
    "leaks": Stage(leaks, ("inputs", "labels"), ("leaks.json", "leaks.md")),
}


def settings_of(corpus: Corpus, name: str) -> dict[str, Any]:
    """Return what the files of a stage depend on: options, and checksums of the files that it needs."""
    before = {need: json.loads((corpus["stages"] / f"{need}.json").read_text())["files"] for need in STAGES[name].needs}
    options = {key: getattr(corpus.options, key) for key in ("proteins", "chains", "longest")}
    return {"options": options, "needs": before}


def run(corpus: Corpus, name: str) -> None:
    """Do a stage, unless it is recorded with the same settings and inputs."""
    stage, record = STAGES[name], corpus["stages"] / f"{name}.json"
    wanted = settings_of(corpus, name)
    if record.is_file() and all(corpus[file].is_file() for file in stage.writes):
        known = json.loads(record.read_text())
        if {"options": known["options"], "needs": known["needs"]} == wanted:
            logger.info(f"{name}: done before")
            return
    record.unlink(missing_ok=True)
    logger.info(f"{name} …")
    wall = time.monotonic()
    stage.make(corpus)
    files = {file: file_sha256(corpus[file]) for file in stage.writes}
    record.write_text(json.dumps({**wanted, "files": files}, indent=2) + "\n", encoding="utf-8")
    logger.info(f"{name}: {time.monotonic() - wall:.0f} s")


def main() -> None:
    """Run the stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--longest", type=int, default=2000, help="residues of the longest protein")
    parser.add_argument("--proteins", type=int, default=0, help="only so many proteins, evenly spaced, for a try")
    parser.add_argument("--chains", type=int, default=0, help="only so many chains, evenly spaced, for a try")
    parser.add_argument("--stage", action="append", choices=list(STAGES), help="only this stage; may be repeated")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    console.show_messages(console.QUIET)
    corpus = Corpus(options.output, options.sets, options.data, options)
    corpus["stages"].mkdir(parents=True, exist_ok=True)
    for name in STAGES:
        if options.stage is None or name in options.stage:
            run(corpus, name)


if __name__ == "__main__":
    main()
