"""Properties of all commands: fast start-up, help with examples, exit codes."""

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from phylocli.cli import _options, _summary, load, modules, names
from phylocli.formats.family import Family
from phylocli.store import Store

HEAVY = [
    "pydantic",
    "torch",
    "numpy",
    "polars",
    "pyarrow",
    "pyhmmer",
    "ete3",
    "skbio",
    "sklearn",
    "scipy",
    "pandas",
    "requests",
    "matplotlib",
    "Bio",
]
COMMANDS = [m.__name__.rsplit(".", 1)[1] for m in modules()]


def test_help_loads_no_heavy_library_and_no_command():
    code = f"""
import sys
sys.argv = ["phylocli", "--help"]
from phylocli.cli import main
try:
    main()
except SystemExit as end:
    assert end.code in (0, None), end.code
rooms = {{name.split(".")[1] for name in sys.modules if name.startswith("phylocli.")}}
commands = [name for name in sys.modules if name.startswith("phylocli.cli.") and not name.startswith("phylocli.cli._")]
print([name for name in {HEAVY!r} if name in sys.modules], sorted(rooms), commands, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[] ['cli', 'core'] []"
    assert "fetch" in done.stdout


def test_commands_on_families_do_not_load_torch(tmp_path):
    (tmp_path / "f.sto").write_text("# STOCKHOLM 1.0\n#=GF AC PF00001\na MKV-\nb MKIL\nc MRIL\n//\n")
    code = """
import sys
from phylocli.cli import main
for command in (["align", "f.sto", "-o", "a.sto"], ["tree", "f.sto", "--engine", "nj", "--no-refine", "-o", "t.sto"],
                ["pairs", "t.sto", "-n", "2", "-o", "p.tsv"]):
    sys.argv = ["phylocli", *command]
    try:
        main()
    except SystemExit as end:
        assert end.code in (0, None), (command, end.code)
    assert "torch" not in sys.modules, command
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", modules(), ids=COMMANDS)
def test_every_command_is_documented(module):
    assert module.__doc__
    assert _summary(module.__name__.rsplit(".", 1)[1]) == module.__doc__.split("\n", 1)[0]
    assert module.EXAMPLES
    name = module.__name__.rsplit(".", 1)[1].replace("_", "-")
    assert any(f"phylocli {name}" in example for example in module.EXAMPLES)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_in_examples(command):
    from typer.testing import CliRunner

    from phylocli.cli import build

    done = CliRunner().invoke(build(), [command.replace("_", "-"), "--help"])
    assert done.exit_code == 0, done.output
    assert f"phylocli {command.replace('_', '-')}" in done.output.split("Examples")[-1]


def test_exit_codes(phylocli, tmp_path):
    assert phylocli("--version").stdout.startswith(b"phylocli ")
    unknown = phylocli("nonsense")
    assert unknown.returncode == 2
    option = phylocli("doctor", "--nonsense")
    assert option.returncode == 2
    assert phylocli().returncode == 2


def test_doctor_knows_this_installation(phylocli):
    import json

    done = phylocli("doctor", "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    import torch

    assert rows["torch"]["state"] == "ok"
    assert rows["torch"]["detail"].split("+")[0] == torch.__version__.split("+")[0]


def test_shell_completion_is_offered(phylocli):
    assert b"--install-completion" in phylocli("--help").stdout
    done = phylocli(env={"_PHYLOCLI_COMPLETE": "complete_bash", "COMP_WORDS": "phylocli tr", "COMP_CWORD": "1"})
    assert {b"tree", b"train"} <= set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("phylocli families --engine m", ["mmseqs"]),
        ("phylocli pairs --scheme per", ["per-sequence", "per-family"]),
        ("phylocli align --engine ", ["auto", "famsa", "none", "profile"]),
        ("phylocli recipes show simcl", ["simclr"]),
        ("phylocli embed --model d", ["default"]),
        ("phylocli pairs --family PF0", ["PF00042", "PF00076"]),
        ("phylocli fetch PF0", ["PF00042", "PF00076"]),
        ("phylocli fetch Glo", ["Globin", "Globin_like"]),
        ("phylocli fetch glob", ["globin", "globin_like"]),
        ("phylocli align --family glob", ["globin", "globin_like"]),
        ("phylocli run PF0004", ["PF00042"]),
        ("phylocli run PF00042 CL00", ["CL0090"]),
        ("phylocli run fam", []),  # the shell completes files
        ("phylocli tree --engine v", ["veryfasttree"]),
        ("phylocli train --recipe simcl", ["simclr"]),
        ("phylocli sweep --recipes simcl", ["simclr"]),
        ("phylocli views phylogenetic+mask", ["phylogenetic+masking"]),
        ("phylocli models show d", ["default"]),
        ("phylocli store export PF00042 PF00", ["PF00042", "PF00076"]),
        ("phylocli embed --format n", ["npz", "npy"]),
        ("phylocli distances --metric pa", ["patristic"]),
        ("phylocli help tr", ["tree", "train"]),
    ],
)
def test_values_complete_in_the_shell(cli, tmp_path, words, expected):
    store = Store(tmp_path / "store")
    for accession, name in (("PF00042", "Globin"), ("PF00076", "RRM_1"), ("other", "globin_like")):
        store.write(Family(["a", "b"], ["MK", "ML"], name=name, accession=accession), "test", {})
    store.write_clan("CL0090", ["PF00042"])
    parts = words.split(" ")
    environment = {"_PHYLOCLI_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(parts) - 1)}
    assert cli(env=environment).stdout.split() == expected
    in_zsh = cli(env={"_PHYLOCLI_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": words}).stdout
    assert re.findall(r'^(?:.*\(\()?"([^"]+)"', in_zsh, re.MULTILINE) == expected


def float_options() -> list[tuple[list[str], str, float | None, float | None]]:
    """Return (command, option, minimum, maximum) of every option of decimal numbers, by what the help shows."""
    found = []
    for name in names():
        command = load(name)
        for sub, below in getattr(command, "commands", {"": command}).items():
            required = [p for p in below.params if p.required]
            given = [word for p in required for word in ([p.opts[-1], "x"] if p.param_type_name == "option" else ["x"])]
            for option in below.params:
                kind = getattr(option, "type_descriptor", None)
                if kind is None or option.param_type_name != "option" or option.hidden:
                    continue
                configuration = getattr(below.callback, "configuration", None)
                field = configuration.model_fields.get(option.name) if configuration else None
                kinds = {field.annotation, *get_args(field.annotation)} if field else {kind.annotation}
                if float in kinds:
                    found.append(([name, *([sub] if sub else []), *given], option.opts[-1], option.min, option.max))
    return found


def test_every_decimal_option_refuses_nan_and_values_out_of_range(cli) -> None:
    options = float_options()
    assert len(options) > 20
    for command, flag, low, high in options:
        for value in ["nan"] + (["-1"] if low == 0 else []) + (["inf"] if high == 1 else []):
            done = cli(*command, f"{flag}={value}")
            assert done.exit_code == 2, (command, flag, value)
            said = " ".join(done.stderr.split())
            assert "is not a number" in said or f"{flag} must be" in said, done.stderr


def test_help_shows_square_brackets_and_no_python_types(cli) -> None:
    for name in names():
        shown = cli(name, "--help", env={"COLUMNS": "100"}).stdout
        assert "<bool>" not in shown and "<str>" not in shown
    assert "[train]" in cli("train", "--help").stdout


@pytest.mark.parametrize("columns", ["60", "100", "200"])
def test_paragraphs_of_the_help_fill_the_terminal(cli, columns) -> None:
    text = cli("pairs", "--help", env={"COLUMNS": columns}).stdout
    paragraph = text[text.index("Reads Stockholm") : text.index("╭")].rstrip()
    words = [len(line.split()[0]) for line in paragraph.splitlines()]
    lines = [line.rstrip() for line in paragraph.splitlines()]
    assert all(len(line) + 1 + word > int(columns) - 3 for line, word in zip(lines[1:-1], words[2:], strict=True))


@pytest.mark.parametrize("arguments", ["--help", "embed --help", "recipes"])
def test_a_reader_that_stops_early_is_no_failure(arguments):
    code = "import sys; from phylocli.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr.read() == b""


def test_help_shows_that_of_a_command(cli):
    assert cli("help", "tree").stdout == cli("tree", "--help").stdout
    assert "Check all checksums" in cli("help", "store", "verify").stdout
    assert "Examples" in cli("help").stdout
    assert cli("help", "nonsense").exit_code == 2


def test_cite_names_the_paper_and_gives_bibtex_that_parses(cli):
    assert "Evolution Is All You Need" in cli("cite").stdout
    text = cli("cite", "--bibtex").stdout
    assert text.count("@") == 5 and text.count("{") == text.count("}")
    assert "@software{phylocli," in text and "author = {Lu, Amy X. and Lu, Alex X. and Moses, Alan}" in text


@pytest.mark.parametrize("width", ["40", "80", "200"])
def test_help_wraps_at_any_width_with_brackets_as_they_are_and_flags_without_types(cli, width):
    text = cli("train", "--help", env={"COLUMNS": width}).stdout
    assert max(map(len, text.splitlines())) <= int(width)
    assert "[train]" in text and "<bool>" not in text and "<str>" not in text
    for command in COMMANDS:
        shown = cli(command, "--help", env={"COLUMNS": width}).stdout
        assert "<bool>" not in shown and "\\[" not in shown


def test_every_shared_option_is_used_by_a_command() -> None:
    folder = Path(_options.__file__).parent
    used = " ".join(path.read_text() for path in folder.glob("*.py") if path.name != "_options.py")
    own = Path(_options.__file__).read_text()
    for name in re.findall(r"^(\w+) = Annotated", own, re.MULTILINE):
        assert re.search(rf"\b{name}\b", used), f"{name} is used nowhere"
