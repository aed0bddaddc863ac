"""Show versions, devices and optional engines, and how to install what is missing."""

from __future__ import annotations

from typing import Annotated

import typer

EXAMPLES = ["phylocli doctor", "phylocli doctor --json > bug_report.json"]


def command(json: Annotated[bool, typer.Option("--json", help="Print JSON, for a bug report.")] = False) -> None:
    """Show versions, devices and optional engines, and how to install what is missing.

    The exit code is 1 if a required library is missing.
    """
    from phylocli.core.errors import MissingDependencyError
    from phylocli.workflow.doctor import as_rows, diagnose

    findings = diagnose()
    if json:
        from json import dumps

        typer.echo(dumps(as_rows(findings), indent=2))
    else:
        mark = {"ok": "✓", "missing": "✗", "optional": "·", "unusable": "!"}
        width = max(len(f.name) for f in findings)
        group = ""
        for finding in findings:
            if finding.group != group:
                group = finding.group
                typer.echo(group)
            typer.echo(f"  {mark[finding.state]} {finding.name:<{width}}  {finding.detail}")
    missing = [f.name for f in findings if f.state == "missing"]
    if missing:
        raise MissingDependencyError(f"missing: {', '.join(missing)}", fix="pip install --upgrade phylocli")
