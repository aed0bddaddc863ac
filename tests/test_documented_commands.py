"""Every command in README and docs: its options exist, and it runs, on small inputs with the names that the pages use."""

from __future__ import annotations

import gzip
import math
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
import text_checkpoints
import typer.main
from standin import Standin
from typer._click.exceptions import NoSuchOption, UsageError
from typer.testing import CliRunner

from phylocli.cli import build
from phylocli.formats import read_families, read_sequences, write_families

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "examples" / "README.md"]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)

NOT_RUN = re.compile(r"<!-- not run: .*? -->\n```.*?^```$", re.MULTILINE | re.DOTALL)

# Commands that are only parsed, by a pattern, with the reason.
PARSED_ONLY = {
    r"phylocli (fetch|store)\b": "needs the network, or the user's store",
    r"phylocli .*--benchmark": "needs published data",
    r"phylocli run (?!examples/demo|.*--dry-run)": "files of the reader's, or tests/cli/test_run.py runs it",
    r"encoder.name=plm": "needs a checkpoint, or downloads one",
    r"(facebook|Rostlab|sentence-transformers)/": "downloads a model; tests/checkpoints/test_hub.py does so",
    r"models rm": "removes a model; tests/checkpoints/test_hub.py does so",
    r"phylocli info(min|max)|phylocli mi benchmark": "trains many encoders; tests of each run small ones",
    r"torchrun|sbatch|--cluster slurm": "needs several processes or a cluster",
    r"alphabet[= ]dna": "run by tests/views and tests/cli/test_train.py",
    r"--baselines? phmmer": "run by tests/probe",
    r"phylocli serve\b": "runs until it is stopped; tests/serve/test_page.py runs it",
    r"[…]|CONFIG|NAME\b": "a pattern, not a command",
}
# Numbers that make a command quick.
SMALLER = {
    r"--steps \d+": "--steps 2",
    r"(phylocli train (?!--resume|.*latent-diffusion|.*(?:dgi|infograph)).*)": (
        r"\1 --steps 2 --set batch.pairs=8 --set validation.pairs=8"
    ),
    r"(phylocli train .*latent-diffusion.*)": r"\1 --steps 2 --set diffusion.batch=8",
    r"(phylocli train .*--recipe (?:dgi|infograph).*)": r"\1 --steps 2",
    r"(phylocli sweep .*)": r"\1 --set train.batch.pairs=8 --set train.validation.pairs=8 --set train.encoder.preset=tiny",
    r"--seeds 0,1,2": "--seeds 0",
    r"--number 20 --tips 45 --length 150": "--number 2 --tips 8 --length 60",
    r"--tips 200": "--tips 12",
    r"-n 10000": "-n 20",
}
FETCHES = "family_to_map.md"
"""The page whose commands fetch, here from the stand-in of the services."""
SMALL_FAMILIES = ("PF01073", "PF02460", "PF02790", "PF03773", "PF05893")


def lines_of(block: str) -> list[str]:
    """Return the command lines of a block, without prompts, comments and continuation."""
    text = re.sub(r"\\\n\s*", " ", block)
    prompted = re.findall(r"^\$ (.*)$", text, re.MULTILINE)
    found = prompted or [line for line in text.splitlines() if re.match(r"(phylocli|torchrun|sbatch|grep|zcat) ", line)]
    return [re.sub(r"\s{2,}#.*$", "", line).strip() for line in found]


def commands_of(page: Path) -> list[str]:
    """Return the command lines of a page's code blocks, in order; those of extending.md are run by test_extending.py."""
    text = NOT_RUN.sub("", page.read_text(encoding="utf-8"))
    blocks = [block for language, block in FENCE.findall(text) if language in ("", "bash", "console")]
    return [line for block in blocks for line in lines_of(block)]


def inline_commands_of(page: Path) -> list[str]:
    """Return the commands in running text and tables."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [c for c in re.findall(r"`(phylocli [a-z][^`\n]*)`", text) if not re.search(r"[…|]|\b[A-Z]{3,}\b", c)]


def smaller(line: str) -> str:
    for pattern, replacement in SMALLER.items():
        line = re.sub(pattern, replacement, line)
    return line


def stages(line: str) -> Iterator[tuple[list[str], str, str | None]]:
    """Yield each program of a line with its arguments, what joins it to the one before, and the file it is redirected to."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&>")
    lexer.whitespace_split = True
    words: list[str] = []
    joined, target = "", None
    tokens = iter(lexer)
    for token in tokens:
        if token in ("|", "&&"):
            yield words, joined, target
            words, joined, target = [], token, None
        elif token == ">":
            target = next(tokens)
        else:
            words.append(token)
    yield words, joined, target


def parse(words: list[str]) -> None:
    """Let the command line read the options of a command, without running it."""
    command = typer.main.get_command(build())
    name, arguments, context = words[0], words[1:], None
    while hasattr(command, "resolve_command"):
        context = command.make_context(name, list(arguments), parent=context, resilient_parsing=True)
        name, command, arguments = command.resolve_command(context, arguments)
    command.make_context(name, list(arguments), parent=context)
    hidden = {option for p in command.params if getattr(p, "hidden", False) for option in p.opts}
    shown = {option for p in command.params for option in p.opts} - hidden
    for word in hidden.intersection(arguments):
        if f"--{word.removeprefix('--no-')}" not in shown:
            raise NoSuchOption(f"{word} (an old name)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name if page.parent != ROOT / "examples" else "examples.md")
def test_the_options_in_a_page_exist(page: Path) -> None:
    complete, in_text = commands_of(page), inline_commands_of(page)
    for line in [*complete, *in_text]:
        for words, _, _ in stages(line):
            if "phylocli" in words[:6] and words[-1] != "phylocli":
                try:
                    parse(words[words.index("phylocli") :])
                except UsageError as error:
                    # In running text, arguments and values may be left out.
                    if line in complete or isinstance(error, NoSuchOption) or "No such command" in str(error):
                        pytest.fail(f"{line}\n{error}")


def write_genbank(records: dict[str, str], path: Path) -> None:
    from Bio.Seq import Seq
    from Bio.SeqIO import write
    from Bio.SeqRecord import SeqRecord

    about = {"molecule_type": "protein"}
    write([SeqRecord(Seq(text), id=f"g{i}", annotations=about) for i, text in enumerate(records.values())], path, "genbank")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small files under the names that the pages use."""
    folder = tmp_path_factory.mktemp("pool")
    shutil.copytree(ROOT / "examples", folder / "examples")
    small = [f for f in read_families(ROOT / "examples" / "families.sto") if f.accession in SMALL_FAMILIES]
    write_families(small, folder / "examples" / "families.sto")
    write_families([f for f in small if f.accession == "PF01073"], folder / "PF01073.sto")
    records = {s.id: s.residues for s in read_sequences(folder / "examples" / "families.sto")}
    fasta = "".join(f">{name}\n{text}\n" for name, text in records.items())
    for name in ("seqs", "db", "proteins", "mixed", "other"):
        (folder / f"{name}.fasta").write_text(fasta)
    (folder / "query.fasta").write_text("".join(fasta.partition("\n>")[0]) + "\n")
    (folder / "proteomes").mkdir()
    for packed in ("seqs.fasta.gz", "proteome.fasta.gz", "uniref50.fasta.gz", "proteomes/one.faa.gz"):
        (folder / packed).write_bytes(gzip.compress(fasta.encode()))
    write_genbank(records, folder / "genome.gbk")
    family = small[0]
    (folder / "alignment.fasta").write_text("".join(f">{i}\n{r}\n" for i, r in zip(family.ids, family.rows, strict=True)))
    labels = [(name, f.accession) for f in small for name in f.ids]
    (folder / "labels.tsv").write_text("id\tfamily\n" + "".join(f"{a}\t{b}\n" for a, b in labels))
    species = "".join(f"{name}\t{name.split('/')[0].rpartition('_')[2]}\n" for name, _ in labels)
    (folder / "species.tsv").write_text("id\tspecies\n" + species)
    texts = list(records.values())[:20]
    structures = {
        "id": list(records)[:20],
        "sequence": texts,
        "three_di": ["D" * len(text) for text in texts],
        "dssp": ["".join("HEC"[ord(c) % 3] for c in text) for text in texts],
        "profile": [[1.0] * 20 * len(text) for text in texts],
    }
    pl.DataFrame(structures).write_parquet(folder / "structures.parquet")
    parts = [(f"{name}.{k}", text[k:]) for name, text in records.items() for k in range(3)]
    annotated = {
        "id": [name for name, _ in parts],
        "sequence": [text for _, text in parts],
        "three_di": [text if k % 3 else None for k, (_, text) in enumerate(parts)],
        "text": [f"protein {name.replace('/', ' ')}" for name, _ in parts],
    }
    pl.DataFrame(annotated).write_parquet(folder / "annotated.parquet")
    (folder / "3di.fasta").write_text("".join(f">{i}\n{text[:60]}\n" for i, text in enumerate(texts)))
    (folder / "classes.tsv").write_text("label\tdescription\nglobin\toxygen transport\nkinase\tphosphate transfer\n")
    text_checkpoints.make("bert", folder / "text_checkpoint")
    for line in (
        "phylocli tree examples/families.sto -o trees.sto",
        "phylocli tree PF01073.sto --format newick -o topology.nwk",
        "phylocli train trees.sto -o run --steps 2 --set encoder.preset=tiny --set batch.pairs=8 --set validation.pairs=8",
        "phylocli embed seqs.fasta --model run/model -o emb.parquet",
        "phylocli embed seqs.fasta --model run/model --format csv -o emb.csv",
        "phylocli embed seqs.fasta --model run/model --untrained 1 -o random.parquet",
    ):
        run(line, folder)
    shutil.rmtree(folder / "run" / "checkpoints")
    shutil.copy(folder / "examples" / "globins.fasta", folder / "globins.fasta")
    shutil.copy(folder / "PF01073.sto", folder / "globins.sto")
    shutil.copy(folder / "topology.nwk", folder / "trees.nwk")
    shutil.copy(folder / "emb.parquet", folder / "a.parquet")
    shutil.copy(folder / "random.parquet", folder / "b.parquet")
    (folder / "demo" / "embeddings").mkdir(parents=True)
    shutil.copy(folder / "emb.parquet", folder / "demo" / "embeddings" / "trained.parquet")
    shutil.copy(folder / "random.parquet", folder / "demo" / "embeddings" / "untrained.parquet")
    shutil.copy(folder / "labels.tsv", folder / "demo" / "labels.tsv")
    for copy in ("families.sto", "inferred.sto", "truth.sto"):
        shutil.copy(folder / "trees.sto", folder / copy)
    return folder


def run(line: str, folder: Path) -> str:
    """Run a command line in a folder: phylocli in this process, other programs as they are. Return what a terminal shows."""
    data: bytes = b""
    messages = ""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for words, joined, target in stages(line):
            given = data if joined == "|" else b""
            if words[0] == "phylocli":
                done = CliRunner().invoke(build(), words[1:], input=given, catch_exceptions=False)
                assert done.exit_code == 0, f"{shlex.join(words)}\n{done.stderr}"
                data = done.stdout_bytes
                messages += done.stderr
            else:
                data = subprocess.run(words, input=given, capture_output=True, check=True).stdout
            if target:
                Path(target).write_bytes(data)
                data = b""
    return messages + data.decode()


# README in every run of the suite, the others with `make slow`.
RUN = [
    pytest.param(page, id=page.name, marks=[] if page.name == "README.md" else [pytest.mark.slow])
    for page in PAGES
    if page.name != "extending.md" and commands_of(page)
]


@pytest.mark.parametrize("page", RUN)
def test_the_commands_of_a_page_run_in_their_order(
    page: Path, pool: Path, tmp_path: Path, standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "work"
    shutil.copytree(pool, folder)
    monkeypatch.setenv("PHYLOCLI_STORE", str(tmp_path / "store"))
    for line in commands_of(page):
        fetches = page.name == FETCHES and line.startswith("phylocli fetch")
        if not fetches and any(re.search(pattern, line) for pattern in PARSED_ONLY):
            continue
        output = re.search(r"phylocli train .*-o (\S+)", line)
        if output and "--resume" not in line:
            shutil.rmtree(folder / output[1], ignore_errors=True)  # the pool's, or that of a command before
        run(smaller(line), folder)


def test_a_wrong_option_in_a_page_is_found() -> None:
    with pytest.raises(NoSuchOption, match="--min-dits"):
        parse(["phylocli", "pairs", "trees.sto", "--min-dits", "0.5"])


# What the pages show


class Shown(NamedTuple):
    """Command lines of a page, and the lines that the page shows below them."""

    commands: list[str]
    output: list[str]


NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?")
VARIES = re.compile(r"█+|─+|\d[\d.,]* (?:s|min)\b|\d[\d.,]* (?:a|per) second|(?<=\s)/home/me/\S*|(?<=\s)/tmp/\S*")


def shown_in(page: Path) -> list[Shown]:
    """Return the commands of a page with the output that it shows: after `$ …`, or in a text block after a bash block."""
    found: list[Shown] = []
    for language, block in FENCE.findall(NOT_RUN.sub("", page.read_text(encoding="utf-8"))):
        if re.search(r"^\$ ", block, re.MULTILINE):
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                line, _, output = part.partition("\n")
                found.append(Shown([re.sub(r"\s{2,}#.*$", "", line).strip()], output.splitlines()))
        elif language == "text" and found:
            found[-1] = found[-1]._replace(output=block.splitlines())
        elif language == "bash":
            found.append(Shown(lines_of(block), []))
    return found


def alike(expected: str, found: str) -> bool:
    """Return whether two lines have the same words, and numbers that differ by no more than machines do.

    `…` stands for any text. Times, the lengths of bars and branches, and paths may differ; numbers by 3 %, or, if they are
    as small as E-values, by a factor of ten.
    """
    expected, found = (" ".join(VARIES.sub(" ~ ", line).split()) for line in (expected, found))
    pattern = "".join(
        rf"({NUMBER.pattern})" if NUMBER.fullmatch(part) else ".*" if part == "…" else re.escape(part)
        for part in re.split(rf"({NUMBER.pattern}|…)", expected)
    )
    match = re.fullmatch(pattern, found)
    return match is not None and all(
        close(float(one.replace(",", "")), float(other.replace(",", "")))
        for one, other in zip(NUMBER.findall(expected.replace("…", " ")), match.groups(), strict=True)
    )


def close(one: float, other: float) -> bool:
    if 0 < max(one, other) < 1e-4:
        return min(one, other) > 0 and abs(math.log10(one / other)) < 1
    return math.isclose(one, other, rel_tol=0.03, abs_tol=0.011)


def first_difference(expected: list[str], found: list[str]) -> str | None:
    """Return the first expected line that is not found below the one before it.

    `…` alone in a line stands for any lines; more lines may precede the first and follow the last.
    """
    place, gap = 0, True
    for line in filter(None, map(str.strip, expected)):
        if line == "…":
            gap = True
            continue
        here = range(place, len(found) if gap else min(place + 1, len(found)))
        place = next((k + 1 for k in here if alike(line, found[k])), 0)
        if not place:
            return line
        gap = False
    return None


NOT_COMPARED = {
    "extending.md": "tests/test_extending.py runs it",
    "contributing.md": "shows the folders",
    "fetch.md": "shows what the services answer",
    "family_to_map.md": "shows what the services answer",
    "probe.md": "has tables of the reader's",
    "mi.md": "has the tables of `make demo`, two minutes",
}
QUICK = ("README.md", "simulate.md")
SHOWN = [
    pytest.param(page, id=page.name, marks=[] if page.name in QUICK else [pytest.mark.slow])
    for page in PAGES
    if page.name not in NOT_COMPARED and any(output for _, output in shown_in(page))
]
"""The pages that show output: the quick ones in every run of the suite, the others with `make slow`."""


NOT_RUN_HERE = {
    r"(species\.tsv|sites\.fasta|promoters\.fasta|other\.fasta|alignment\.fasta|hard_negatives=)": "files of the reader's",
    r"^ls$": "has columns on a terminal only",
    r"phylocli run examples/demo": "`make demo`, two minutes",
}
MADE_BEFORE = {"views.md": ["phylocli tree examples/families.sto -o families.sto"]}
"""Commands of other pages whose results a page uses."""


@pytest.mark.parametrize("page", SHOWN)
def test_commands_print_what_their_page_shows(page: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    one = [f for f in read_families(ROOT / "examples" / "families.sto") if f.accession == "PF01073"]
    write_families(one, tmp_path / "PF01073.sto")
    different = []
    for commands, output in [Shown(MADE_BEFORE.get(page.name, []), []), *shown_in(page)]:
        lines = [c for c in commands if not any(re.search(pattern, c) for pattern in {**PARSED_ONLY, **NOT_RUN_HERE})]
        printed = "".join(run(line, tmp_path) for line in lines)
        found = [text.strip() for text in printed.splitlines() if text.strip()]
        if lines and output and (expected := first_difference(output, found)):
            different.append(f"$ {lines}\n{printed}\nexpected: {expected}")
    assert not different, "\n\n".join(different)


@pytest.mark.parametrize(
    ("expected", "found", "same"),
    [
        ("2,163 pairs in 4.5 s", "2,170 pairs in 91 s", True),
        ("2,163 pairs", "2,263 pairs", False),
        ("E 1.1e-26 of x…", "E 4.2e-26 of x and more", True),
        ("E 1.1e-26", "E 1.1e-20", False),
        ("0.4 ████", "0.4 ███", True),
        ("a table", "the table", False),
    ],
)
def test_numbers_may_differ_as_machines_do_and_words_may_not(expected: str, found: str, same: bool) -> None:
    assert alike(expected, found) is same
