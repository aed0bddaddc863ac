"""What holds of every command: light start-up, help with examples, exit codes."""

import inspect
import subprocess
import sys
from typing import Annotated, get_args, get_origin

import pytest

from phylocli.cli import modules

HEAVY = [
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


def test_help_loads_no_heavy_library():
    code = f"""
import sys
from typing import Annotated, get_args, get_origin
sys.argv = ["phylocli", "--help"]
from phylocli.cli import main
try:
    main()
except SystemExit as end:
    assert end.code in (0, None), end.code
print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "fetch" in done.stdout


@pytest.mark.parametrize("module", modules(), ids=COMMANDS)
def test_every_command_is_documented(module):
    assert module.__doc__
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


def float_options() -> list[tuple[list[str], str, object]]:
    """Return (command, option, declaration) of every option of decimal numbers."""
    found = []
    for module in modules():
        name = module.__name__.rsplit(".", 1)[1]
        grouped = hasattr(module, "app")
        commands = {c.name: c.callback for c in module.app.registered_commands} if grouped else {"": module.command}
        for sub, function in commands.items():
            for parameter in inspect.signature(function, eval_str=True).parameters.values():
                if get_origin(parameter.annotation) is Annotated:
                    kind, option = get_args(parameter.annotation)[:2]
                    if float in (kind, *get_args(kind)):
                        flag = next((d for d in option.param_decls or () if d.startswith("--")), None)
                        found.append(
                            ([name, *([sub] if sub else [])], flag or f"--{parameter.name.replace('_', '-')}", option)
                        )
    return found


def test_every_option_of_decimal_numbers_refuses_what_is_no_number_or_out_of_range(cli) -> None:
    options = float_options()
    assert len(options) > 20
    for command, flag, option in options:
        for value in ["nan"] + (["-1"] if option.min == 0 else []) + (["inf"] if option.max == 1 else []):
            done = cli(*command, f"{flag}={value}")
            assert done.exit_code == 2, (command, flag, value)
            assert "is not a number" in " ".join(done.stderr.split()), done.stderr
