"""All typed errors have a fix."""

from __future__ import annotations

import ast
import pickle
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import phylocli
from phylocli.core.errors import BadInputError

PACKAGE = Path(phylocli.__file__).parent

CONDITIONS = re.compile(r"\bmust\b|\bneeds\b")
"""Such a message names what is accepted, which is the fix."""

WITHOUT = {
    ("config/base.py", "UsageError"): "passes on the text of a validator, which says what is accepted",
    ("fetch/http.py", "ServiceError"): "cancelled because another request failed, whose error is shown",
    ("fetch/services/interpro.py", "_Lacking"): "caught; an annotation that a family does not have",
    ("train/parallel/world.py", "ElsewhereError"): "the error of rank 0 is shown",
    ("train/trainer.py", "ElsewhereError"): "the error of rank 0 is shown",
}
"""Errors for which nothing better can be said, by file and class, one of each."""


def error_classes(trees: Iterable[ast.Module]) -> set[str]:
    """Return the names of all subclasses of PhylocliError, less those whose fix has a default."""
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    found: set[str] = {"PhylocliError"}
    while (
        below := {
            node.name for node in classes if any(isinstance(base, ast.Name) and base.id in found for base in node.bases)
        }
        - found
    ):
        found |= below
    return found - {node.name for node in classes if any(map(has_default_fix, node.body))}


def has_default_fix(part: ast.stmt) -> bool:
    if not (isinstance(part, ast.FunctionDef) and part.name == "__init__" and part.args.defaults):
        return False
    defaults = dict(zip((a.arg for a in reversed(part.args.args)), reversed(part.args.defaults), strict=False))
    return isinstance(fix := defaults.get("fix"), ast.Constant) and bool(fix.value)


def errors_without_fix() -> Iterator[tuple[str, int, str, str]]:
    """Yield file, line, class and message of the errors that are made without a fix."""
    trees = {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
    classes = error_classes(trees.values())
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in classes):
                continue
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            fix = given.get("fix", node.args[2] if len(node.args) > 2 else None)
            if None in given or (fix is not None and not (isinstance(fix, ast.Constant) and not fix.value)):
                continue
            yield path.relative_to(PACKAGE).as_posix(), node.lineno, node.func.id, ast.unparse(node.args[0])


def test_every_error_names_a_fix_unless_its_message_does() -> None:
    found = [error for error in errors_without_fix() if not CONDITIONS.search(error[3])]
    unexpected = [error for error in found if (error[0], error[2]) not in WITHOUT]
    assert not unexpected, "give fix=…, or list it in WITHOUT with the reason"
    assert sorted((file, kind) for file, _, kind, _ in found) == sorted(WITHOUT)


def test_errors_keep_their_parts_between_processes() -> None:
    error = BadInputError("what", why="why", fix="fix")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.what, again.why, again.fix) == (BadInputError, "what", "why", "fix")
